"""Many picture files at once, for the command line."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from kwcolor_pipeline.colorize.engine import open_colorizer
from kwcolor_pipeline.colorize.files import (
    FORMATS,
    UnreadablePhotograph,
    is_colorized,
    photograph_files,
    read_photograph,
    write_colorized,
)
from kwcolor_pipeline.settings import Settings, SettingsProblem


@dataclass
class BatchReport:
    """Files that were written, and one sentence for each that could not be."""

    written: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def colorize_files(
    settings: Settings, given: Sequence[Path], output: Path, bundle: Path, model: str, ending: str
) -> BatchReport:
    """Colorize files and folders into ``output``; a result keeps its file's stem and gets ``ending``.

    Raises SettingsProblem when nothing can be begun: an unknown format, a path that does not exist,
    no picture at all, an output that is a file.
    """
    if ending not in FORMATS:
        raise SettingsProblem(f"`{ending}` is not a format that can be written; use one of: {', '.join(FORMATS)}.")
    for path in given:
        if not path.exists():
            raise SettingsProblem(f"{path} does not exist.")
    if output.exists() and not output.is_dir():
        raise SettingsProblem(f"{output} is a file; give a folder for the results.")
    files = _to_colorize(given, output)
    if not files:
        raise SettingsProblem(f"There is no picture in {', '.join(map(str, given))}.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsProblem(f"{output} cannot be made ({error.strerror}); give another folder with -o.") from error
    colorizer = open_colorizer(bundle, settings.device)
    report = BatchReport()
    originals = {path.resolve() for path in files}
    taken: dict[Path, Path] = {}
    for path in tqdm(files, desc="colorize", unit="photo", disable=not sys.stderr.isatty()):
        result = output / f"{path.stem}.{ending}"
        if result in taken:
            report.problems.append(f"{path} would be written over the result of {taken[result]}; it is skipped.")
            continue
        if result.resolve() in originals or (result.exists() and not is_colorized(result)):
            report.problems.append(f"{path} would be written over {result}, an original; give another folder with -o.")
            continue
        taken[result] = path
        try:
            photograph = read_photograph(path, settings.download.max_pixels)
            write_colorized(result, colorizer(photograph.gray), photograph, model)
        except UnreadablePhotograph as error:
            report.problems.append(str(error))
            continue
        report.written.append(result)
    return report


def _to_colorize(given: Sequence[Path], output: Path) -> list[Path]:
    """Every file once; results of an earlier call in a folder below a given one are not originals."""
    folders = {path.resolve() for path in given if path.is_dir()}
    results = output.resolve()
    earlier = results not in folders
    files = {path.resolve(): path for path in photograph_files(list(given))}
    return [path for real, path in files.items() if not (earlier and results in real.parents and path not in given)]
