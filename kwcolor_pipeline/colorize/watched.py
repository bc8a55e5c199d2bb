"""The watched folder: which pictures in it are new, and colorizing those, each once by its name and content.

Belongs here: the folder, where its results go, and what was done before. When it is looked into is in
``orchestration.watched_folder``, which Dagster loads: torch is imported when there is something to colorize.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kwcolor_pipeline.colorize.formats import is_picture
from kwcolor_pipeline.home import sha256_of, write_json
from kwcolor_pipeline.settings import Settings, SettingsProblem

if TYPE_CHECKING:
    from kwcolor_pipeline.colorize.batch import BatchReport

#: Seconds for which nobody may have written to a picture: one that is being copied into the folder is left for later.
_SETTLED = 10.0


@dataclass(frozen=True)
class _Seen:
    """What a picture was when it was colorized, or could not be: its sha256, and its size and time of writing."""

    sha256: str
    stamp: str


def new_pictures(settings: Settings) -> dict[str, str]:
    """Names of the pictures directly in the watched folder that were not seen as they are now, with their stamps.

    Empty where no folder is set. Raises SettingsProblem where it cannot be read.
    """
    folder = settings.watch.folder
    if folder is None:
        return {}
    seen = _seen(settings)
    found = _pictures(folder)
    return {name: stamp for name, stamp in found.items() if name not in seen or seen[name].stamp != stamp}


def colorize_new(settings: Settings, bundle: Path, model: str) -> "BatchReport":
    """Colorize every new picture into the folder of the results, and remember it, also where it could not be.

    A picture that only has another date is not colorized again. Raises SettingsProblem where nothing can be begun.
    """
    from kwcolor_pipeline.colorize.batch import BatchReport, colorize_files

    folder = settings.watch.folder
    if folder is None:
        raise SettingsProblem("No folder is watched; set KWCOLOR_WATCH__FOLDER.")
    seen = _seen(settings)
    now = {name: _Seen(sha256_of(folder / name), stamp) for name, stamp in new_pictures(settings).items()}
    unlike = [name for name, picture in now.items() if name not in seen or seen[name].sha256 != picture.sha256]
    stems = {Path(name).stem: name for name in seen if (folder / name).exists()}
    taken = [name for name in unlike if stems.get(Path(name).stem, name) != name]
    files = [folder / name for name in unlike if name not in taken]
    output = settings.watch.output or folder / "colorized"
    report = BatchReport()
    if files:  # what is there already is the result of what a picture was before
        report = colorize_files(settings, files, output, bundle, model, settings.watch.format, again=True)
    report.problems += [
        f"{folder / name} would be written over the result of {stems[Path(name).stem]}; rename it." for name in taken
    ]
    _remember(settings, folder, seen | now)
    return report


def _pictures(folder: Path) -> dict[str, str]:
    """Pictures directly in the folder, with their stamps."""
    found = {}
    try:
        for path in sorted(folder.iterdir()):
            if not is_picture(path) or not path.is_file():
                continue
            status = path.stat()
            if not 0 <= time.time() - status.st_mtime < _SETTLED:  # a date in the future is a camera's
                found[path.name] = f"{status.st_size} {status.st_mtime_ns}"
    except OSError as error:
        raise SettingsProblem(
            f"The watched folder {folder} cannot be read ({error.strerror}); correct KWCOLOR_WATCH__FOLDER."
        ) from error
    return found


def _seen(settings: Settings) -> dict[str, _Seen]:
    """The pictures of this folder that were dealt with; none where the record is damaged or of another folder."""
    try:
        record = json.loads(settings.paths.watched.read_text(encoding="utf-8"))
        if record["folder"] != str(settings.watch.folder):
            return {}
        return {name: _Seen(**picture) for name, picture in record["pictures"].items()}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return {}


def _remember(settings: Settings, folder: Path, seen: Mapping[str, _Seen]) -> None:
    pictures = {name: {"sha256": picture.sha256, "stamp": picture.stamp} for name, picture in seen.items()}
    write_json(settings.paths.watched, {"folder": str(folder), "pictures": pictures})
