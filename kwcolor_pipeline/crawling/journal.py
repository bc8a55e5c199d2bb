"""What became of a partition's photographs, kept while a crawl runs.

Belongs here: outcomes known from the last manifest and from the journal that a killed crawl left, and
appending new ones. How an outcome is reached does not.
"""

import errno
import os
import threading
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pydantic

from kwcolor_pipeline.crawling.sources.base import Candidate
from kwcolor_pipeline.photos.manifest import SCHEMA, ManifestRow, Status, read_manifest

Identity = tuple[str, str, str]

#: Columns of a manifest that are about the picture's bytes, and so hold of it whatever lists it.
OF_A_PICTURE = ("photo_id", "width", "height", "bytes", "mime", "etag", "last_modified")
_PICTURES = pa.schema([SCHEMA.field(name) for name in ("file_url", *OF_A_PICTURE)])


def identity_of(listed: Candidate | ManifestRow) -> Identity:
    """What makes two listings the same photograph: source, identifier and address."""
    return listed.source, listed.source_id, listed.file_url


class Ledger:
    """Outcomes before this crawl (``known``) and of this crawl (``rows``); safe to use from threads."""

    def __init__(self, manifest: Path, journal: Path) -> None:
        self._manifest = manifest
        self._journal = journal
        self._lock = threading.Lock()
        self._elsewhere: _Elsewhere | None = None
        self._handle: FileIO | None = None
        self.known: dict[Identity, ManifestRow] = {identity_of(row): row for row in read_manifest(manifest)}
        self.known.update((identity_of(row), row) for row in _recover(journal))
        self.rows: dict[Identity, ManifestRow] = {}

    def elsewhere(self, file_url: str) -> dict[str, Any] | None:
        """What the manifests of the asset's other years say of the picture (``OF_A_PICTURE``) that one has stored
        from that address; None where none has.
        """
        with self._lock:
            if self._elsewhere is None:
                others = sorted(set(self._manifest.parent.glob("*.parquet")) - {self._manifest})
                self._elsewhere = _Elsewhere(others)
            return self._elsewhere.find(file_url)

    def record(self, row: ManifestRow) -> None:
        """Note an outcome that was reached now; it is in the journal when this returns."""
        with self._lock:
            if self._handle is None:
                self._journal.parent.mkdir(parents=True, exist_ok=True)
                self._handle = self._journal.open("ab", buffering=0)
            _append(self._handle, row.model_dump_json().encode() + b"\n")
            self.rows[identity_of(row)] = row

    def keep(self, row: ManifestRow) -> None:
        """Note that an outcome from before still holds."""
        with self._lock:
            self.rows[identity_of(row)] = row

    def all_rows(self) -> list[ManifestRow]:
        """This crawl's rows, and those of before that archives did not list this time: nothing seen is forgotten.

        A local file that is no longer listed is the operator's own decision, and goes.
        """
        with self._lock:
            unlisted = [row for identity, row in self.known.items() if identity not in self.rows]
            return [*self.rows.values(), *(row for row in unlisted if not row.file_url.startswith("file:"))]

    def close(self) -> None:
        """Let go of the journal's file; it stays for the next crawl to read."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
                self._handle = None

    def forget(self) -> None:
        """Remove the journal; its rows are in the manifest by now."""
        self.close()
        self._journal.unlink(missing_ok=True)


class _Elsewhere:
    """What other years have stored from the network, by address: all of it, so in few bytes a photograph."""

    def __init__(self, manifests: Iterable[Path]) -> None:
        stored = [_stored_from_the_network(manifest) for manifest in manifests]
        self._rows = pa.concat_tables([*stored, _PICTURES.empty_table()])
        self._place = {address: place for place, address in enumerate(self._rows["file_url"].to_pylist())}
        self._rows = self._rows.select(OF_A_PICTURE)

    def find(self, file_url: str) -> dict[str, Any] | None:
        place = self._place.get(file_url)
        if place is None:
            return None
        found: dict[str, Any] = self._rows.slice(place, 1).to_pylist()[0]
        return found


def _stored_from_the_network(manifest: Path) -> pa.Table:
    table = pq.read_table(manifest, columns=[*_PICTURES.names, "status"])
    rows = zip(table["file_url"].to_pylist(), table["status"].to_pylist(), strict=True)
    wanted = [status == Status.STORED and not address.startswith("file:") for address, status in rows]
    return table.filter(pa.array(wanted, pa.bool_())).select(_PICTURES.names)


def _append(handle: FileIO, line: bytes) -> None:
    """Write the whole line or, where the disk is full, none of it: rows behind a torn line would be lost."""
    start = os.fstat(handle.fileno()).st_size
    try:
        written = handle.write(line)
        if written < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), handle.name)
    except OSError:
        handle.truncate(start)
        raise


def _recover(journal: Path) -> list[ManifestRow]:
    """The rows of a journal up to its first damaged line; what follows is cut off.

    A killed process tears the last line at most. Photographs whose rows are lost are asked for again.
    """
    if not journal.exists():
        return []
    rows, whole = [], 0
    data = journal.read_bytes()
    for line in _lines(data):
        try:
            rows.append(ManifestRow.model_validate_json(line))
        except pydantic.ValidationError:
            break
        whole += len(line)
    if whole < len(data):
        with journal.open("r+b") as handle:
            handle.truncate(whole)
    return rows


def _lines(data: bytes) -> Iterator[bytes]:
    """The lines that are ended by a newline."""
    return (line + b"\n" for line in data.split(b"\n")[:-1])
