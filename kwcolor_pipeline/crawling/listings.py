"""Listing pages that one run has read already, so that it asks for each of them once.

Belongs here: remembering answers between the years of one run, and between a step and its retries. A later run
asks again: archives grow.
"""

import json
import shutil
import time
from pathlib import Path

from kwcolor_pipeline.home import fingerprint, write_json

#: Seconds after which what an unfinished run left is removed.
_KEPT = 24 * 3600.0


class ListingMemory:
    """The pages of the run ``edition`` below ``folder``; with None nothing is remembered."""

    def __init__(self, folder: Path, edition: str | None) -> None:
        self._folder = folder / fingerprint(edition)[:24] if edition else None
        if self._folder and not self._folder.exists():
            _forget_old(folder)

    def recall(self, source: str, url: str) -> tuple[int, bytes] | None:
        """Status and body of the page; None where this run has not read it."""
        if self._folder is None:
            return None
        try:
            kept = json.loads(self._path(self._folder, source, url).read_text())
            return int(kept["status"]), str(kept["body"]).encode("latin-1")
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def remember(self, source: str, url: str, status: int, body: bytes) -> None:
        """Keep a page that was understood."""
        if self._folder is not None:
            kept = {"url": url, "status": status, "body": body.decode("latin-1")}
            write_json(self._path(self._folder, source, url), kept)

    @staticmethod
    def _path(folder: Path, source: str, url: str) -> Path:
        return folder / f"{fingerprint([source, url])[:32]}.json"


def _forget_old(folder: Path) -> None:
    for edition in folder.iterdir() if folder.exists() else ():
        if time.time() - edition.stat().st_mtime > _KEPT:
            shutil.rmtree(edition, ignore_errors=True)
