"""Measure each photograph once: a Parquet table beside the results, keyed by photo_id.

Belongs here: which photographs are new, measuring them on all cores, saving as it goes, and throwing
away what an older version measured. What is measured is the caller's affair.
"""

import functools
import itertools
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from kwcolor_pipeline.home import atomic_path
from kwcolor_pipeline.photos.parallel import on_all_cores

log = logging.getLogger(__name__)

#: What was measured of one photograph; ``error`` is set instead where it could not be read.
Row = dict[str, Any]
#: Called with the number of photographs done and the number to do.
Progress = Callable[[int, int], None]

#: Rows measured between two saves: what a killed run has to measure again at most.
SAVE_EVERY = 500
_VERSION_KEY = b"kwcolor_version"
#: What PIL raises for pictures that are damaged, truncated, unknown or unreasonably large.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def measure_once(
    path: Path,
    version: str,
    photo_ids: Sequence[str],
    measure: Callable[[str], Row],
    schema: pa.Schema,
    progress: Progress | None = None,
    workers: int | None = None,
) -> tuple[dict[str, Row], int]:
    """The rows of ``photo_ids``, and how many of them had to be measured now.

    ``path`` keeps every row ever measured by ``version`` (its columns are ``photo_id``, ``schema``'s
    and ``error``); a table of another version or other columns is measured anew. A photograph that
    cannot be read gets a row with ``error`` and is not tried again; a missing file
    (FileNotFoundError) is a broken store and is raised. ``workers`` processes measure, by default one a core.

    What is measured is saved in hidden files beside ``path``, which are added to it in the end, so that
    saving costs the same however large the table is. A killed run leaves them, and the next one goes on.
    """
    columns = pa.schema([("photo_id", pa.string()), *schema, ("error", pa.string())])
    columns = columns.with_metadata({_VERSION_KEY: version.encode()})
    parts = sorted(path.parent.glob(f".{path.name}.*.rows.part"))
    tables = [_read(part, columns) for part in (path, *parts)]
    rows = {row["photo_id"]: row for table in tables for row in table.to_pylist()}
    unseen = [photo_id for photo_id in dict.fromkeys(photo_ids) if photo_id not in rows]
    measured = on_all_cores(functools.partial(_row, measure), unseen, workers)
    for batch in _batched(_shown(measured, len(unseen), progress)):
        rows |= {row["photo_id"]: row for row in batch}
        tables.append(pa.Table.from_pylist(batch, schema=columns))
        if len(batch) == SAVE_EVERY:
            parts.append(path.with_name(f".{path.name}.{secrets.token_hex(8)}.rows.part"))
            _write(parts[-1], tables[-1])
    if unseen or parts:
        # Read again: another run may have added to it meanwhile.
        _write(path, _merged([_read(path, columns), *tables]))
        for part in parts:
            part.unlink(missing_ok=True)
    return {photo_id: rows[photo_id] for photo_id in photo_ids}, len(unseen)


def _batched(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, SAVE_EVERY)):
        yield batch


def _row(measure: Callable[[str], Row], photo_id: str) -> Row:
    try:
        return {"photo_id": photo_id, **measure(photo_id), "error": None}
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        return {"photo_id": photo_id, "error": f"{type(error).__name__}: {error}"}


def _shown(measured: Iterator[Row], total: int, progress: Progress | None) -> Iterator[Row]:
    for done, row in enumerate(tqdm(measured, total=total, unit="photo", disable=None, leave=False), start=1):
        if row["error"]:
            log.warning("photograph %s… cannot be read: %s", row["photo_id"][:12], row["error"])
        if progress:
            progress(done, total)
        yield row


def _read(path: Path, columns: pa.Schema) -> pa.Table:
    """The table at ``path``; an empty one where there is none, or one of another version, or a damaged one."""
    empty = columns.empty_table()
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        return empty
    except pa.ArrowInvalid as error:
        log.warning("%s is damaged and is measured anew: %s", path, error)
        return empty
    return table if table.schema.equals(columns, check_metadata=True) else empty


def _merged(tables: list[pa.Table]) -> pa.Table:
    """One row for each photograph, ordered by photo_id."""
    table = pa.concat_tables(tables)
    places = {photo_id: place for place, photo_id in enumerate(table["photo_id"].to_pylist())}
    return table.take([places[photo_id] for photo_id in sorted(places)])


def _write(path: Path, table: pa.Table) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
