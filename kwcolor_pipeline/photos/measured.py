"""Measure each photograph once: a Parquet table beside the results, keyed by photo_id.

Belongs here: which photographs are new, measuring them in threads, saving as it goes, and throwing
away what an older version measured. What is measured is the caller's affair.
"""

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from kwcolor_pipeline.home import atomic_path

log = logging.getLogger(__name__)

#: What was measured of one photograph; ``error`` is set instead where it could not be read.
Row = dict[str, Any]
#: Called with the number of photographs done and the number to do.
Progress = Callable[[int, int], None]

#: Rows measured between two saves: what a killed run has to measure again at most.
SAVE_EVERY = 500
_VERSION_KEY = b"kwcolor_version"
# What PIL raises for pictures that are damaged, truncated, unknown or unreasonably large.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def measure_once(
    path: Path,
    version: str,
    photo_ids: Sequence[str],
    measure: Callable[[str], Row],
    schema: pa.Schema,
    progress: Progress | None = None,
    threads: int = 2,
) -> tuple[dict[str, Row], int]:
    """The rows of ``photo_ids``, and how many of them had to be measured now.

    ``path`` keeps every row ever measured by ``version`` (its columns are ``photo_id``, ``schema``'s
    and ``error``); a table of another version or other columns is measured anew. A photograph that
    cannot be read gets a row with ``error`` and is not tried again; a missing file
    (FileNotFoundError) is a broken store and is raised.
    """
    columns = pa.schema([("photo_id", pa.string()), *schema, ("error", pa.string())])
    columns = columns.with_metadata({_VERSION_KEY: version.encode()})
    rows = _read(path, columns)
    unseen = [photo_id for photo_id in dict.fromkeys(photo_ids) if photo_id not in rows]
    pool = ThreadPoolExecutor(threads)
    try:
        measured = _shown(pool.map(lambda photo_id: _row(photo_id, measure), unseen), len(unseen), progress)
        for batch in _batched(measured):
            rows |= {row["photo_id"]: row for row in batch}
            _write(path, rows, columns)
    finally:
        # An error or an interrupt must not wait for the photographs that are still queued.
        pool.shutdown(cancel_futures=True)
    return {photo_id: rows[photo_id] for photo_id in photo_ids}, len(unseen)


def _batched(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, SAVE_EVERY)):
        yield batch


def _row(photo_id: str, measure: Callable[[str], Row]) -> Row:
    try:
        return {"photo_id": photo_id, **measure(photo_id), "error": None}
    except FileNotFoundError:
        raise
    except _UNREADABLE as error:
        log.warning("photograph %s… cannot be read: %s", photo_id[:12], error)
        return {"photo_id": photo_id, "error": f"{type(error).__name__}: {error}"}


def _shown(measured: Iterator[Row], total: int, progress: Progress | None) -> Iterator[Row]:
    for done, row in enumerate(tqdm(measured, total=total, unit="photo", disable=None, leave=False), start=1):
        if progress:
            progress(done, total)
        yield row


def _read(path: Path, columns: pa.Schema) -> dict[str, Row]:
    if not path.exists():
        return {}
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        log.warning("%s is damaged and is measured anew: %s", path, error)
        return {}
    if not table.schema.equals(columns, check_metadata=True):
        return {}
    return {row["photo_id"]: row for row in table.to_pylist()}


def _write(path: Path, rows: dict[str, Row], columns: pa.Schema) -> None:
    table = pa.Table.from_pylist([rows[photo_id] for photo_id in sorted(rows)], schema=columns)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
