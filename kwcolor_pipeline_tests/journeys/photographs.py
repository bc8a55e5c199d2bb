"""Folders of real photographs for journeys: the colour pictures that the wheels carry, cut into distinct parts."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from kwcolor_pipeline_tests.photos.pictures import COLOUR_SAMPLES, wheel_file

# The two motorcycles are nearly one picture; copies are the affair of other tests.
_PICTURES = [sample for sample in COLOUR_SAMPLES if "motorcycle_right" not in sample[1]]


def parts(cells: int = 4) -> Iterator[Image.Image]:
    """Distinct colour pictures of 96 pixels a side at most, always in the same order: 8 for each of cells x cells."""
    for place in range(cells * cells):
        row, column = divmod(place, cells)
        for package, path in _PICTURES:
            with Image.open(wheel_file(package, path)) as picture:
                width, height = picture.width // cells, picture.height // cells
                part = picture.convert("RGB").crop(
                    (column * width, row * height, (column + 1) * width, (row + 1) * height)
                )
            part.thumbnail((96, 96))
            yield part


class PhotoFolder:
    """A folder source with an ``index.csv``; photographs are added to its years and taken away again.

    Of 4 ``cells`` a side there are 128 photographs, of 6 there are 288.
    """

    def __init__(self, root: Path, cells: int = 4) -> None:
        self.root = root
        self._parts = parts(cells)
        self._rows: dict[str, tuple[str, str]] = {}
        root.mkdir(parents=True)

    def add(self, years: Mapping[str, int]) -> None:
        """So many photographs more for each year."""
        for year, count in years.items():
            for _ in range(count):
                name = f"{year}/{len(self._rows):04}.jpg"
                path = self.root / name
                path.parent.mkdir(exist_ok=True)
                next(self._parts).save(path, quality=92)
                self._rows[name] = (year, f"Photograph {len(self._rows)}")
        self._write()

    def add_grey(self, year: str, package: str, path: str) -> None:
        """A grey photograph for the target domain."""
        name = f"{year}-{Path(path).name}"
        with Image.open(wheel_file(package, path)) as picture:
            picture.resize((80, 64)).save(self.root / name)
        self._rows[name] = (year, f"Grey {name}")
        self._write()

    def remove(self, year: str, count: int) -> None:
        for name in [name for name, (its_year, _) in self._rows.items() if its_year == year][:count]:
            del self._rows[name]
            (self.root / name).unlink()
        self._write()

    def _write(self) -> None:
        with (self.root / "index.csv").open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["file", "id", "year", "title", "licence"])
            writer.writerows([name, name, year, title, "CC0 1.0"] for name, (year, title) in self._rows.items())
