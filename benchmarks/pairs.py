"""How many pairs are written a second, beside the loop that the paper made its grey pictures with?

Belongs here: the two ways, the measurement and its promises. How pairs are made is the package's.

The paper's loop is `Image.open(path).convert("L").save(grey)`: one grey JPEG, as large as its original, and no
pair; the colours stay where they are. Ours writes a colour JPEG, a grey PNG and a JSON description of each
photograph into shards, with index, hashes and ledger, all synced to the disk: the whole of `make_pairs`.

`training size`: photographs whose shortest side is 256, the size of a pair. `1280x960`: larger ones, which ours
scales down. Both ways have one process; they take turns, and medians of the turns count. Beside them stand ours in
processes on all cores, another photograph added to a year that is there, and the floor: decoding, scaling and
encoding what a pair holds, by Pillow alone.
"""

import io
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pictures import prepare
from PIL import Image, ImageOps
from report import Promise, conclude, machine_facts, options, say, table

from kwcolor_pipeline.photos.pairs import make_pairs
from kwcolor_pipeline.photos.parallel import available_cores
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import Settings

#: Sizes of the photographs, and how many times slower than the paper's loop ours may be.
SIZES = {"training size": (None, 4.0), "1280x960": ((1280, 960), 6.0)}
_PAIR_SIDE = 256
_TURNS = 5
_PACKAGES = ("kwcolor_pipeline", "pillow", "numpy", "pyarrow")


class Home:
    """A home whose store and curated photographs are filled by hand: what was kept is not the question here."""

    def __init__(self, root: Path, pictures: Sequence[bytes]) -> None:
        self.settings = Settings(home=root, pairs={"size": _PAIR_SIDE})
        self._store = PhotoStore(self.settings.paths.photos)
        self._rows = [self._row(data) for data in pictures]

    @property
    def originals(self) -> list[Path]:
        return [self._store.find(row["photo_id"]) for row in self._rows]

    def hold(self, count: int) -> None:
        """Let the first ``count`` photographs be all that are kept."""
        for asset in ("deduplicated_photos", "curated_photos"):
            path = self.settings.paths.manifests / asset / "all.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(self._rows[:count]), path)

    def _row(self, data: bytes) -> dict[str, Any]:
        photo_id = self._store.put(data, "JPEG")
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
        said = {name: f"{name} of {photo_id[:8]}" for name in ("title", "creator", "landing_url")}
        said |= {"source": "folder", "partition": "1942", "date_text": "1942", "licence": "CC0", "licence_url": None}
        box = {"left": 0, "top": 0, "right": width, "bottom": height}
        return {"photo_id": photo_id, "cluster_id": photo_id, "kept": True, "representative": True, **said, **box}


def scans(folder: Path, size: tuple[int, int] | None, count: int, photos: Path | None) -> tuple[list[bytes], str]:
    """``count`` JPEG files of ``size``, or with the shortest side of a pair; and what they are."""
    sources, what = prepare(count, folder, photos)
    chance = np.random.default_rng(0)
    made = []
    for source in sources:
        with Image.open(source) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        scale = _PAIR_SIDE / min(picture.size)
        wanted = size or (round(picture.width * scale), round(picture.height * scale))
        picture = ImageOps.fit(picture, wanted, Image.Resampling.BICUBIC)
        # Grain of its own, or what was enlarged would be easier to encode than a scan.
        grain = chance.normal(0, 3, (wanted[1], wanted[0], 1)).astype(np.float32)
        picture = Image.fromarray((np.asarray(picture, np.float32) + grain).clip(0, 255).astype(np.uint8))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        made.append(buffer.getvalue())
    return made, what


def by_the_paper(paths: Sequence[Path], folder: Path) -> None:
    """Its loop."""
    folder.mkdir()
    for path in paths:
        Image.open(path).convert("L").save(folder / path.name)


def at_the_floor(paths: Sequence[Path]) -> None:
    """Decode, scale and encode by Pillow what a pair holds, and keep nothing."""
    for path in paths:
        picture = Image.open(path).convert("RGB")
        scale = _PAIR_SIDE / min(picture.size)
        if scale < 1:
            size = (round(picture.width * scale), round(picture.height * scale))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        picture.save(io.BytesIO(), "JPEG", quality=95, subsampling=0)
        picture.convert("L").save(io.BytesIO(), "PNG")


def measure(home: Home, work: Path) -> dict[str, list[float]]:
    """Seconds of each turn, by way."""
    paths, pairs = home.originals, home.settings.paths.pairs
    home.hold(len(paths))

    def from_nothing(workers: int | None) -> Callable[[], object]:
        shutil.rmtree(pairs, ignore_errors=True)
        return lambda: make_pairs(home.settings, workers=workers)

    def with_one_more() -> Callable[[], object]:
        shutil.rmtree(pairs, ignore_errors=True)
        home.hold(len(paths) - 1)
        make_pairs(home.settings)
        home.hold(len(paths))
        return lambda: make_pairs(home.settings, workers=1)

    ways: dict[str, Callable[[], Callable[[], object]]] = {
        "ours": lambda: from_nothing(1),
        "the paper's loop": lambda: lambda: by_the_paper(paths, work / "grey"),
        "floor": lambda: lambda: at_the_floor(paths),
        "ours on all cores": lambda: from_nothing(None),
        "ours, one photograph more": with_one_more,
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(_TURNS):
        for name, prepared in ways.items():
            work_to_do = prepared()
            start = time.perf_counter()
            work_to_do()
            seconds[name].append(time.perf_counter() - start)
            shutil.rmtree(work / "grey", ignore_errors=True)
    return seconds


def main() -> int:
    """Measure and report; the exit status."""
    asked = options(__doc__ or "").parse_args()
    counts = {"training size": 150, "1280x960": 60} if asked.quick else {"training size": 1000, "1280x960": 300}
    measured: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="kwcolor-benchmark-") as temporary:
        folder = Path(temporary)
        machine = machine_facts(_PACKAGES, folder)
        for name, (size, _) in SIZES.items():
            work = folder / name
            work.mkdir()
            pictures, what = scans(work / "sources", size, counts[name], asked.photos)
            home = Home(work / "home", pictures)
            seconds = {way: statistics.median(turns) for way, turns in measure(home, work).items()}
            stored = sum(path.stat().st_size for path in home.settings.paths.pairs.glob("*/*.tar"))
            measured[name] = {
                "photographs": len(home.originals),
                "pictures": what,
                "bytes_of_an_original": sum(map(len, pictures)) / len(pictures),
                "bytes_of_a_pair": stored / len(home.originals),
                "seconds": seconds,
                "a_second": {way: len(home.originals) / taken for way, taken in seconds.items()},
                "times_the_papers_loop": seconds["ours"] / seconds["the paper's loop"],
                "times_the_floor": seconds["ours"] / seconds["floor"],
            }
            say(f"{name}: {len(home.originals)} photographs done")
    say()
    ways = [way for way in measured["1280x960"]["seconds"] if way != "ours, one photograph more"]
    rows = [[way, *(measured[name]["a_second"][way] for name in SIZES)] for way in ways]
    say(table([f"a second (all cores: {available_cores()})", *SIZES], rows))
    rows = [
        ["one photograph more, seconds", *(one["seconds"]["ours, one photograph more"] for one in measured.values())]
    ]
    rows += [[name, *(one[name] for one in measured.values())] for name in ("times_the_floor", "bytes_of_a_pair")]
    say(table(["", *SIZES], rows))
    promises = [
        Promise.at_most(
            f"times_slower_{name.replace(' ', '_')}",
            measured[name]["times_the_papers_loop"],
            bound,
            f"seconds of ours over the paper's loop's, one process each, {counts[name]} photographs, "
            f"medians of {_TURNS} turns",
        )
        for name, (_, bound) in SIZES.items()
    ]
    scaled = [f"{count} photographs of {name}" for name, count in counts.items()] if asked.quick else []
    return conclude(asked, "pairs", promises, {"sizes": measured, "cores": available_cores()}, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
