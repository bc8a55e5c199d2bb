"""The source `folder:PATH`: the operator's own photographs.

Belongs here: reading a folder's ``index.csv``, or where there is none finding pictures and their
years. Reading and judging the pictures' bytes does not.
"""

import csv
import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kwcolor_pipeline.crawling.dates import read_date, year_range
from kwcolor_pipeline.crawling.sources.base import Candidate, LocalSource, file_status, file_version
from kwcolor_pipeline.crawling.sources.reading import catalogued_tone
from kwcolor_pipeline.home import fingerprint
from kwcolor_pipeline.settings import SettingsProblem

INDEX = "index.csv"
_REQUIRED = ("file", "id")
_PICTURES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp"}
_YEAR_IN_NAME = re.compile(r"(?<![0-9])(?:1[89]|20)[0-9]{2}(?![0-9])")
_EXIF_GROUP, _DATE_TIME_ORIGINAL = 0x8769, 0x9003


class FolderSource(LocalSource):
    """Photographs below ``root`` by the year in which they were taken.

    Years come from ``root/index.csv``; without one from EXIF DateTimeOriginal, else from the nearest
    folder whose name holds exactly one year. A photograph without a year is undated.
    Raises SettingsProblem when ``root`` is no folder or its index cannot be read.
    """

    name = "folder"
    about = "your own scans"
    year_meaning = "taken"

    def __init__(self, root: Path, partitions: Sequence[str]) -> None:
        if not root.is_dir():
            raise SettingsProblem(f"folder:{root} is not a folder; create it or correct KWCOLOR_SOURCES.")
        self._root = root.absolute()
        self._partitions = partitions
        self._inside = _Inside(self._root)

    def covers(self, partitions: Sequence[str]) -> set[str]:
        return {self.partition(candidate, self._partitions) for candidate in self._listing()} & set(partitions)

    def candidates(self, key: str) -> Iterator[Candidate]:
        return (candidate for candidate in self._listing() if self.partition(candidate, self._partitions) == key)

    def listing_fingerprint(self, key: str) -> str:
        return fingerprint(
            [[asdict(listed), file_version(file_status(listed.file_url))] for listed in self.candidates(key)]
        )

    def _listing(self) -> Iterator[Candidate]:
        index = self._root / INDEX
        return self._indexed(index) if index.is_file() else self._found()

    def _indexed(self, index: Path) -> Iterator[Candidate]:
        for row in _rows(index):
            date = read_date(row.get("year"))
            yield Candidate(
                source=self.name,
                source_id=row["id"],
                file_url=_uri(self._root / row["file"]),
                landing_url=row.get("landing_url") or None,
                title=row.get("title") or None,
                creator=row.get("creator") or None,
                licence=row.get("licence") or None,
                licence_url=row.get("licence_url") or None,
                date_text=row.get("year") or None,
                first_year=date.first if date else None,
                last_year=date.last if date else None,
                date_precision=date.described if date else None,
                catalogued_tone=catalogued_tone(row.get("tone")),
                refusal=self._inside.refusal(row["file"]),
            )

    def _found(self) -> Iterator[Candidate]:
        for path in sorted(self._root.rglob("*")):
            relative = path.relative_to(self._root)
            hidden = any(part.startswith(".") for part in relative.parts)
            if hidden or path.suffix.lower() not in _PICTURES or path.is_dir():
                continue
            refusal = self._inside.refusal(str(relative))
            year = None if refusal else _exif_year(path) or _folder_year(path.parent, self._root)
            yield Candidate(
                source=self.name,
                source_id=_printable(relative.as_posix()),
                file_url=path.as_uri(),
                title=_printable(path.stem),
                date_text=str(year) if year else None,
                first_year=year,
                last_year=year,
                refusal=refusal,
            )


@dataclass
class _Inside:
    """Tells whether a file that an index names really lies below ``root``, links followed."""

    root: Path

    def __post_init__(self) -> None:
        self._real_root = os.path.realpath(self.root)
        self._real_folders: dict[str, str] = {}

    def refusal(self, name: str) -> str | None:
        """Reason to refuse the file that is written ``name``; None where it may be read."""
        if Path(name).is_absolute() or "\0" in name or not self._lies_inside(name):
            return f"outside_folder: {name!r} does not lie below the folder"
        return None

    def _lies_inside(self, name: str) -> bool:
        folder, base = os.path.split(os.path.join(self.root, name))  # noqa: PTH118 - `..` has to stay
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        real = os.path.realpath(Path(self._real_folders[folder]) / base)
        return os.path.commonpath([self._real_root, real]) == self._real_root


def _rows(index: Path) -> Iterator[Mapping[str, str]]:
    """The rows of an index.

    Raises SettingsProblem that names the file, the line and the remedy.
    """
    line = 1
    try:
        with index.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, strict=True, restval="")
            missing = [column for column in _REQUIRED if column not in (reader.fieldnames or [])]
            if missing:
                raise SettingsProblem(
                    f"{index}, line 1: the column `{missing[0]}` is missing; "
                    f"add it (required are {', '.join(_REQUIRED)})."
                )
            for row in reader:
                line = reader.line_num
                empty = [column for column in _REQUIRED if not row[column].strip()]
                if empty:
                    raise SettingsProblem(f"{index}, line {line}: `{empty[0]}` is empty; fill it or remove the line.")
                yield row
    except UnicodeDecodeError as error:
        line = index.read_bytes().count(b"\n", 0, _first_undecodable(index)) + 1
        raise SettingsProblem(f"{index}, line {line}: not UTF-8; save the file as UTF-8.") from error
    except csv.Error as error:
        raise SettingsProblem(f"{index}, line {line + 1}: {error}; correct the quotes of this line.") from error


def _first_undecodable(index: Path) -> int:
    """Offset of the first byte that is not UTF-8; the file's size where all are."""
    data = index.read_bytes()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return len(data)


def _uri(path: Path) -> str:
    return path.as_uri() if "\0" not in str(path) else f"file://{str(path).split(chr(0))[0]}"


def _printable(name: str) -> str:
    """A file name that UTF-8 can write: undecodable bytes are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def _exif_year(path: Path) -> int | None:
    """Year of EXIF DateTimeOriginal; None where the file has none that can be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            text = image.getexif().get_ifd(_EXIF_GROUP).get(_DATE_TIME_ORIGINAL)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error, Image.DecompressionBombError):
        return None  # what is wrong with the file is told when its bytes are judged
    years = year_range(str(text)[:4]) if text else None
    return years[0] if years else None


def _folder_year(folder: Path, root: Path) -> int | None:
    """The year in the nearest folder name, up to ``root``, that holds exactly one."""
    while True:
        years = set(_YEAR_IN_NAME.findall(folder.name))
        if len(years) == 1:
            return int(years.pop())
        if folder == root:
            return None
        folder = folder.parent
