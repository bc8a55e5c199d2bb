"""The picture formats that are taken and given, by the endings of file names, and which files a person means.

Belongs here: names only. Nothing heavy is imported: Dagster loads this to look into the watched folder.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

#: File name endings that `kwcolor colorize` takes and gives, with Pillow's names of the formats.
FORMATS = {
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "png": "PNG",
    "tif": "TIFF",
    "tiff": "TIFF",
    "webp": "WEBP",
    "heic": "HEIF",
    "heif": "HEIF",
    "jp2": "JPEG2000",
}
#: Endings that are only taken.
_TAKEN_ONLY = ("gif", "bmp", "j2k", "jpf", "jpx")
#: For a result in its original's format: what is only taken becomes a PNG.
SAME = "same"
#: Formats that hold more than 8 bits of a channel.
DEEP = ("PNG", "TIFF", "HEIF", "JPEG2000")


def ending_of(path: Path) -> str:
    """The ending of a file's name in small letters, without its dot."""
    return path.suffix.lower().lstrip(".")


def ending_for(path: Path, wanted: str) -> str:
    """The ending of the result of ``path``: the wanted one, or for `same` its own where that can be written."""
    if wanted != SAME:
        return wanted
    return ending_of(path) if ending_of(path) in FORMATS else "png"


def is_picture(path: Path) -> bool:
    """Whether the name is that of a picture that can be taken; hidden files are none."""
    return (ending_of(path) in FORMATS or ending_of(path) in _TAKEN_ONLY) and not path.name.startswith(".")


def photograph_files(given: Sequence[Path]) -> Iterator[Path]:
    """The files that are meant by files and folders: a folder stands for the pictures directly in and below it."""
    for path in given:
        if path.is_dir():
            yield from (found for found in sorted(path.rglob("*")) if is_picture(found) and found.is_file())
        else:
            yield path
