"""Many picture files at once, for the command line and the watched folder.

Belongs here: which files are meant, where their results go, and keeping the network busy: while it looks at one
photograph the next is read and the one before is written.
"""

import glob
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from kwcolor_pipeline.colorize.engine import PLAIN, Colorizer, Rendering, open_colorizer
from kwcolor_pipeline.colorize.files import colorized, is_colorized, write_colorized
from kwcolor_pipeline.colorize.formats import FORMATS, SAME, ending_for, ending_of, photograph_files
from kwcolor_pipeline.colorize.merge import Colour
from kwcolor_pipeline.colorize.notes import notes_on
from kwcolor_pipeline.colorize.provenance import MARKED, Marking, Signer
from kwcolor_pipeline.colorize.reading import Photograph, UnreadablePhotograph, in_eight_bits, read_photograph, shown
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import Settings, SettingsProblem

#: Longest side of each half of a side by side picture.
_SIDE_BY_SIDE = 1600
_LISTS = ("txt", "lst")


@dataclass
class BatchReport:
    """Files that were written, and one sentence for each that could not be colorized.

    ``skipped`` were there already; ``notes`` are sentences about photographs that were colorized.
    """

    written: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    path: Path
    result: Path


@dataclass(frozen=True)
class _Wanted:
    """How photographs are colorized and written."""

    colorizer: Colorizer
    model: str
    rendering: Rendering
    marking: Marking
    signer: Signer | None
    side_by_side: bool


def colorize_files(
    settings: Settings,
    given: Sequence[Path],
    output: Path,
    bundle: Path,
    model: str,
    ending: str,
    *,
    rendering: Rendering = PLAIN,
    marking: Marking = MARKED,
    again: bool = False,
    side_by_side: bool = False,
) -> BatchReport:
    """Colorize what is ``given`` into ``output``; a result keeps its file's stem and gets ``ending``, or `same`.

    Given are files, folders, patterns such as `scans/*.tif`, and lists: a text file (`.txt`, `.lst`) with a path on
    each line, or a manifest (`.parquet`). A result that is there already is left as it is, unless ``again``; so a run
    that was interrupted goes on where it was.
    Raises SettingsProblem when nothing can be begun: an unknown format, a path that does not exist,
    no picture at all, an output that is a file, a certificate that cannot sign.
    """
    if ending not in FORMATS and ending != SAME:
        raise SettingsProblem(
            f"`{ending}` is not a format that can be written; use one of: {', '.join(FORMATS)}, or `{SAME}`."
        )
    if output.exists() and not output.is_dir():
        raise SettingsProblem(f"{shown(output)} is a file; give a folder for the results.")
    files = _to_colorize(settings, given, output)
    if not files:
        raise SettingsProblem(f"There is no picture in {', '.join(shown(path) for path in given)}.")
    signer = _signer(marking)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsProblem(
            f"{shown(output)} cannot be made ({error.strerror}); give another folder with -o."
        ) from error
    report = BatchReport()
    jobs = _jobs(files, output, ending, marking, again, report)
    if jobs:
        colorizer = open_colorizer(bundle, settings.device)
        _colorize(settings, jobs, _Wanted(colorizer, model, rendering, marking, signer, side_by_side), report)
    return report


def _signer(marking: Marking) -> Signer | None:
    if marking.certificate is None and marking.private_key is None:
        return None
    if marking.certificate is None or marking.private_key is None:
        raise SettingsProblem("To sign results give both a certificate and its private key.")
    return Signer(marking.certificate, marking.private_key)


def _jobs(
    files: Sequence[Path], output: Path, ending: str, marking: Marking, again: bool, report: BatchReport
) -> list[_Job]:
    """What is to be done; what is not is told in ``report``."""
    originals = {path.resolve() for path in files}
    taken: dict[Path, Path] = {}
    jobs: list[_Job] = []
    for path in files:
        result = output / f"{path.stem}.{ending_for(path, ending)}"
        there = result.exists()
        ours = there and result.resolve() not in originals and is_colorized(result)
        if result in taken:
            report.problems.append(
                f"{shown(path)} would be written over the result of {shown(taken[result])}; it is skipped."
            )
            continue
        if result.resolve() in originals or (there and not ours and (marking.hidden or again)):
            report.problems.append(
                f"{shown(path)} would be written over {shown(result)}, an original; give another folder with -o."
            )
            continue
        taken[result] = path
        if there and not again:
            report.skipped.append(result)
        else:
            jobs.append(_Job(path, result))
    return jobs


def _colorize(settings: Settings, jobs: Sequence[_Job], wanted: _Wanted, report: BatchReport) -> None:
    limit = settings.colorize.max_pixels
    with ThreadPoolExecutor(1, "read") as reading, ThreadPoolExecutor(1, "write") as writing:
        ahead = _ahead(reading, jobs, limit)
        behind: tuple[_Job, Photograph, Future[None]] | None = None
        for job, read in zip(
            tqdm(jobs, desc="colorize", unit="photo", disable=not sys.stderr.isatty()), ahead, strict=True
        ):
            try:
                photograph = read.result()
                pages = colorized(wanted.colorizer, photograph, ending_of(job.result), wanted.rendering)
            except UnreadablePhotograph as error:
                report.problems.append(str(error))
                continue
            except (MemoryError, RuntimeError) as error:
                report.problems.append(_no_memory(job.path, error))
                continue
            if behind is not None:
                _finish(*behind, report)
            behind = (job, photograph, writing.submit(_write, job, photograph, pages, wanted))
        if behind is not None:
            _finish(*behind, report)


def _ahead(reading: ThreadPoolExecutor, jobs: Sequence[_Job], limit: int) -> Iterator[Future[Photograph]]:
    """The photographs, each read while the one before it is colorized."""
    following: Future[Photograph] | None = None
    for number, job in enumerate(jobs):
        now = following or reading.submit(read_photograph, job.path, limit, "KWCOLOR_COLORIZE__MAX_PIXELS")
        now.exception()  # waits, so that no more than one is read ahead
        following = None
        if number + 1 < len(jobs):
            path = jobs[number + 1].path
            following = reading.submit(read_photograph, path, limit, "KWCOLOR_COLORIZE__MAX_PIXELS")
        yield now


def _finish(job: _Job, photograph: Photograph, written: Future[None], report: BatchReport) -> None:
    try:
        written.result()
    except UnreadablePhotograph as error:
        report.problems.append(str(error))
    except OSError as error:
        report.problems.append(f"{shown(job.result)} cannot be written: {error.strerror or error}.")
    except (MemoryError, RuntimeError) as error:
        report.problems.append(_no_memory(job.path, error))
    else:
        report.written.append(job.result)
        report.notes.extend(notes_on(photograph))


def _no_memory(path: Path, error: Exception) -> str:
    """The sentence for a photograph that is too large for this machine; raises what is something else."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "memory" in str(error):
        return f"{shown(path)} needs more memory than there is; nothing was written for it."
    raise error


def _write(job: _Job, photograph: Photograph, pages: list[Colour], wanted: _Wanted) -> None:
    if wanted.side_by_side:
        beside = job.result.with_name(f"{job.result.stem}-side-by-side.jpg")
        both = _beside(photograph.frames[0], pages[0])
        write_colorized(beside, both, photograph, wanted.model, wanted.marking, wanted.signer)
    # Last, so that a photograph whose result is there is done.
    write_colorized(job.result, pages, photograph, wanted.model, wanted.marking, wanted.signer)


def _beside(gray: np.ndarray, colour: Colour) -> Colour:
    """Grey and colour beside each other, no larger than a screen."""
    height, width = gray.shape
    scale = min(1.0, _SIDE_BY_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    halves = [Image.fromarray(in_eight_bits(gray)).convert("RGB"), Image.fromarray(in_eight_bits(colour))]
    return np.concatenate([np.asarray(half.resize(size, Image.Resampling.LANCZOS)) for half in halves], axis=1)


def _to_colorize(settings: Settings, given: Sequence[Path], output: Path) -> list[Path]:
    """Every file once; results of an earlier call in a folder below a given one are not originals."""
    meant = [path for one in given for path in _meant(settings, one)]
    folders = {path.resolve() for path in meant if path.is_dir()}
    results = output.resolve()
    earlier = results not in folders
    files = {path.resolve(): path for path in photograph_files(meant)}
    named = set(meant)
    return [path for real, path in files.items() if not (earlier and results in real.parents and path not in named)]


def _meant(settings: Settings, given: Path) -> list[Path]:
    """The files and folders that an argument stands for."""
    if given.is_dir():
        return [given]
    if given.exists():
        if ending_of(given) in _LISTS:
            return _listed(given)
        return _in_manifest(settings, given) if ending_of(given) == "parquet" else [given]
    found = sorted(glob.iglob(str(given), recursive=True)) if glob.has_magic(str(given)) else []  # noqa: PTH207
    if not found:
        raise SettingsProblem(f"{shown(given)} does not exist.")
    return [Path(path) for path in found]


def _listed(file: Path) -> list[Path]:
    """The paths on the lines of a text file, from its own folder where they do not begin at the root."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsProblem(f"The list {shown(file)} cannot be read: {error}.") from error
    return [file.parent / line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _in_manifest(settings: Settings, file: Path) -> list[Path]:
    """The stored photographs of a manifest of this home, or the files of any table with a column `path`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise SettingsProblem(f"{shown(file)} is not a manifest: {error}.") from error
    if "path" in table.column_names:
        return [file.parent / str(path) for path in table["path"].to_pylist() if path]
    if not {"photo_id", "status"} <= set(table.column_names):
        raise SettingsProblem(f"{shown(file)} has neither a column `path` nor `photo_id` and `status`.")
    store = PhotoStore(settings.paths.photos)
    stored = {
        row["photo_id"]: None for row in table.select(["photo_id", "status"]).to_pylist() if row["status"] == "stored"
    }
    try:
        return [store.find(photo_id) for photo_id in stored if photo_id]
    except FileNotFoundError as error:
        raise SettingsProblem(f"{error}.") from error
