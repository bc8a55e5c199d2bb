"""What people decided about photographs: a plain CSV that wins over every rule.

Belongs here: where the file lies, reading it, and adding a line to it, whoever wrote it before: the
review page, an editor, a spreadsheet or version control. What a decision leads to is curation's affair.
"""

import codecs
import contextlib
import csv
import datetime
import fcntl
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from kwcolor_pipeline.home import atomic_path
from kwcolor_pipeline.settings import Settings, SettingsProblem

#: What may stand in the column ``decision``; ``undecided`` takes back what was decided before.
KEEP, REJECT, UNDECIDED = "keep", "reject", "undecided"
DECISIONS = (KEEP, REJECT, UNDECIDED)

#: Columns of a new file. Only the first two are needed; a file that exists keeps its own columns.
COLUMNS = ("photo_id", "decision", "decided_at", "note")


def decisions_path(settings: Settings) -> Path:
    """The file of the decisions; it need not exist."""
    return settings.review.decisions or settings.paths.root / "review" / "decisions.csv"


def read_decisions(path: Path) -> dict[str, str]:
    """What is decided: photo_id -> keep or reject; the last line about a photograph counts.

    Nothing where there is no file or an empty one. Raises SettingsProblem that names the line where
    it cannot be understood.
    """
    try:
        return _parsed(path.read_bytes(), path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsProblem(f"{path} cannot be read ({error.strerror}); remedy that or name another file.") from error


def append_decision(path: Path, photo_id: str, decision: str, note: str = "") -> None:
    """Add a line about a photograph; ``undecided`` takes back what earlier lines say about it.

    The whole file is replaced, so that nobody ever sees a part of a line; threads and processes wait
    for each other. What is in the file stays as it is: columns, line ends and a byte order mark.
    Raises SettingsProblem where the file is damaged or cannot be written; nothing is changed then.
    """
    if decision not in DECISIONS:
        raise ValueError(f"the decision is {decision!r}; it has to be one of {', '.join(DECISIONS)}")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    fields = dict(zip(COLUMNS, (photo_id, decision, now, note), strict=True))
    # Where the file is a link into a folder under version control, that file is written.
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path) as written:
            _parsed(written, path)
            with atomic_path(path) as temporary:
                temporary.write_bytes(_with_line(written, fields))
                shutil.copymode(path, temporary)
    except OSError as error:
        raise SettingsProblem(
            f"{path} cannot be written ({error.strerror}); remedy that or name another file."
        ) from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bytes]:
    """The bytes of the file, which is made where it is missing; nobody else changes it meanwhile."""
    while True:
        with path.open("a+b") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Whoever had the lock before has put a new file in this one's place.
            if _is_at(handle, path):
                handle.seek(0)
                yield handle.read()
                return


def _is_at(handle: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _parsed(data: bytes, path: Path) -> dict[str, str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsProblem(f"{path} is not UTF-8 text ({error.reason}); save it as CSV in UTF-8.") from error
    table = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return _last_words(table, path) if text.strip() else {}
    except csv.Error as error:
        raise SettingsProblem(f"{path}, line {table.line_num} is no line of a CSV ({error}); correct it.") from error


def _last_words(table: Any, path: Path) -> dict[str, str]:
    """What the lines that the csv reader ``table`` gives decide."""
    columns = next(table)
    if not {"photo_id", "decision"} <= set(columns):
        raise SettingsProblem(f"{path} needs a first line with the columns photo_id and decision.")
    at_id, at_decision = columns.index("photo_id"), columns.index("decision")
    decisions: dict[str, str] = {}
    for line in table:
        line += [""] * (len(columns) - len(line))
        photo_id, decision = line[at_id].strip(), line[at_decision].strip()
        if not photo_id and not decision:  # a spreadsheet's empty line
            continue
        if decision not in DECISIONS:
            raise SettingsProblem(
                f"{path}, line {table.line_num}: the decision is {decision!r}; write {', '.join(DECISIONS[:-1])} "
                f"or {DECISIONS[-1]}."
            )
        decisions[photo_id] = decision
    return {photo_id: decision for photo_id, decision in decisions.items() if decision != UNDECIDED}


def _with_line(written: bytes, fields: dict[str, str]) -> bytes:
    """``written`` and one line in its manner: its columns in their order, its line ends."""
    text = written.decode("utf-8-sig")
    columns = next(csv.reader(io.StringIO(text, newline=""))) if text.strip() else COLUMNS
    line_end = "\r\n" if "\r\n" in text else "\n"
    added = io.StringIO(newline="")
    table = csv.DictWriter(added, columns, restval="", extrasaction="ignore", lineterminator=line_end)
    if not text.strip():
        written = codecs.BOM_UTF8 if written.startswith(codecs.BOM_UTF8) else b""
        table.writeheader()
    elif not text.endswith(("\n", "\r")):  # written by hand, without an end to its last line
        added.write(line_end)
    table.writerow(fields)
    return written + added.getvalue().encode()
