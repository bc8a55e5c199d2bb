"""What became of a partition's photographs, kept while a crawl runs.

Belongs here: outcomes known from the last manifest and from the journal that a killed crawl left, and
appending new ones. How an outcome is reached does not.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pydantic

from kwcolor_pipeline.crawling.sources.base import Candidate
from kwcolor_pipeline.photos.manifest import ManifestRow, read_manifest

Identity = tuple[str, str, str]


def identity_of(listed: Candidate | ManifestRow) -> Identity:
    """What makes two listings the same photograph: source, identifier and address."""
    return listed.source, listed.source_id, listed.file_url


class Ledger:
    """Outcomes before this crawl (``known``) and of this crawl (``rows``); safe to use from threads."""

    def __init__(self, manifest: Path, journal: Path) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self.known: dict[Identity, ManifestRow] = {identity_of(row): row for row in read_manifest(manifest)}
        self.known.update((identity_of(row), row) for row in _recover(journal))
        self.rows: dict[Identity, ManifestRow] = {}

    def record(self, row: ManifestRow) -> None:
        """Note an outcome that was reached now; it is in the journal when this returns."""
        with self._lock:
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            with self._journal.open("ab") as handle:
                handle.write(row.model_dump_json().encode() + b"\n")
            self.rows[identity_of(row)] = row

    def keep(self, row: ManifestRow) -> None:
        """Note that an outcome from before still holds."""
        with self._lock:
            self.rows[identity_of(row)] = row

    def close(self) -> None:
        """Forget the journal; its rows are in the manifest by now."""
        self._journal.unlink(missing_ok=True)


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
