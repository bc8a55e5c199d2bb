"""From listed photographs to manifest rows: what is still to be read, what is stored, what is refused.

Belongs here: deciding on one photograph and noting the outcome. Where its bytes come from does not.
"""

import datetime
import threading
from collections.abc import Callable
from typing import Any, Literal

from kwcolor_pipeline.crawling.journal import Identity, Ledger, identity_of
from kwcolor_pipeline.crawling.sources.base import Candidate
from kwcolor_pipeline.crawling.validation import Picture, Refused, judge
from kwcolor_pipeline.photos.manifest import ManifestRow, Status
from kwcolor_pipeline.photos.store import PhotoStore, photo_id_of
from kwcolor_pipeline.photos.takedown import TAKEN_DOWN, Takedowns
from kwcolor_pipeline.settings import DownloadSettings

Tone = Literal["any", "bw"]
Progress = Callable[[str, int, int], None]
#: Reasons that cost no request to find again, and that settings or a site may have changed since.
_DECIDED_ANEW = frozenset({"licence", "outside_years", "missing_file", "not_a_picture", "robots", TAKEN_DOWN})
#: What an archive answers that no longer has a picture.
_GONE = ("http_404", "http_410")


class Intake:
    """Takes in the photographs of one partition; safe to use from threads.

    Every method that notes an outcome raises OSError when it cannot be written. ``progress`` is told, after
    each photograph, its source, how many are finished and how many listed.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: PhotoStore,
        limits: DownloadSettings,
        wanted_tone: Tone,
        progress: Progress,
        takedowns: Takedowns | None = None,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._limits = limits
        self._wanted_tone = wanted_tone
        self._progress = progress
        self._takedowns = takedowns or Takedowns()
        self._lock = threading.Lock()
        self._listed: set[Identity] = set()
        self._id_of_address: dict[str, str] = {}
        self._rechecked: dict[Identity, ManifestRow] = {}
        self._finished = 0
        self.downloaded = 0
        self.downloaded_bytes = 0

    @property
    def listed(self) -> int:
        """Photographs that the sources listed this time."""
        return len(self._listed)

    def wants(self, candidate: Candidate, etag: str | None = None) -> bool:
        """Note that ``candidate`` is listed; True when its bytes have to be read.

        Not when this crawl has met it or another of its address already, when it is refused without
        reading, when another year has stored the same address, or when its outcome is known and final:
        stored and rejected ones are, failed ones are not, nor are stored ones whose file is gone, nor any
        whose ``etag`` (size and time of a local file) has changed or which is due to be asked for again.
        """
        with self._lock:
            if identity_of(candidate) in self._listed:
                return False
            self._listed.add(identity_of(candidate))
        previous = self._ledger.known.get(identity_of(candidate))
        taken_down = self._takedowns.covers(
            previous.photo_id if previous else None, (candidate.file_url, candidate.landing_url)
        )
        refusal = f"{TAKEN_DOWN}: {taken_down}" if taken_down else candidate.refusal
        if refusal:
            self.reject(candidate, refusal)
            return False
        with self._lock:
            owner = self._id_of_address.setdefault(candidate.file_url, candidate.source_id)
        if previous and self._is_final(previous) and (etag is None or previous.etag == etag):
            if etag is None and self._is_due(previous):
                with self._lock:
                    self._rechecked[identity_of(candidate)] = previous
                return True
            self._ledger.keep(previous.model_copy(update=_metadata(candidate)))
            self._finish(candidate)
            return False
        if owner != candidate.source_id:
            self.reject(candidate, f"duplicate: the same file as {owner}", etag)
            return False
        return not (etag is None and self._taken_over(candidate))

    def conditions(self, candidate: Candidate) -> dict[str, str]:
        """Headers that ask for the picture only if it is no longer the one that is stored; none for a new one.

        RFC 9110, 13.1: If-None-Match, and If-Modified-Since for archives that give no ETag.
        """
        previous = self._rechecked.get(identity_of(candidate))
        if previous is None:
            return {}
        headers = {"If-None-Match": previous.etag, "If-Modified-Since": previous.last_modified}
        return {name: value for name, value in headers.items() if value}

    def take(
        self, candidate: Candidate, data: bytes, *, etag: str | None, last_modified: str | None = None
    ) -> ManifestRow:
        """Judge the bytes of ``candidate``, store the picture or reject it, and note the outcome."""
        facts: dict[str, Any] = {"bytes": len(data), "etag": etag, "last_modified": last_modified}
        taken_down = self._takedowns.covers(photo_id_of(data))
        try:
            if taken_down:
                raise Refused(f"{TAKEN_DOWN}: {taken_down}")
            picture = judge(data, self._limits, in_full=self._wanted_tone == "bw")
            self._check_tone(picture)
        except Refused as refused:
            return self._note(candidate, Status.REJECTED, str(refused), **facts)
        facts |= {"width": picture.width, "height": picture.height, "mime": picture.mime}
        photo_id = self._store.put(data, picture.pil_format)
        return self._note(candidate, Status.STORED, None, photo_id=photo_id, **facts)

    def confirm(self, candidate: Candidate) -> ManifestRow:
        """Note that the archive still has the picture that is stored (HTTP 304)."""
        return self._renew(candidate, None)

    def refuse(self, candidate: Candidate, reason: str) -> None:
        """Note that the network refuses ``candidate``: rejected, unless it is stored and merely gone by now."""
        if identity_of(candidate) in self._rechecked and reason.startswith(_GONE):
            self._renew(candidate, f"gone: {reason} when it was asked for again")
        else:
            self.reject(candidate, reason)

    def reject(self, candidate: Candidate, reason: str, etag: str | None = None) -> None:
        """Note that ``candidate`` is refused."""
        self._note(candidate, Status.REJECTED, reason, etag=etag)

    def fail(self, candidate: Candidate, reason: str) -> None:
        """Note that ``candidate`` could not be read now; the next crawl tries again. A stored one stays stored."""
        previous = self._rechecked.get(identity_of(candidate))
        if previous:
            self._ledger.keep(previous.model_copy(update=_metadata(candidate)))
            self._finish(candidate)
        else:
            self._note(candidate, Status.FAILED, reason)

    def count_download(self, size: int) -> None:
        """Count a file of ``size`` bytes that came over the network."""
        with self._lock:
            self.downloaded += 1
            self.downloaded_bytes += size

    def _is_final(self, row: ManifestRow) -> bool:
        if row.status == Status.STORED and row.photo_id:
            return is_in_store(self._store, row.photo_id)
        return row.status == Status.REJECTED and (row.reason or "").partition(":")[0] not in _DECIDED_ANEW

    def _is_due(self, row: ManifestRow) -> bool:
        """Whether a stored picture was not asked for in a long time, and the archive gave what asking needs."""
        if row.status != Status.STORED or not (row.etag or row.last_modified):
            return False
        age = datetime.datetime.now(datetime.UTC) - (row.checked_at or row.retrieved_at)
        return age >= datetime.timedelta(days=self._limits.recheck_days)

    def _taken_over(self, candidate: Candidate) -> bool:
        """Whether another year has stored the picture of this address, so that its bytes need not be fetched."""
        other = self._ledger.elsewhere(candidate.file_url)
        if other is None or not other["photo_id"] or not is_in_store(self._store, other["photo_id"]):
            return False
        self._note(candidate, Status.STORED, None, **other)
        return True

    def _renew(self, candidate: Candidate, reason: str | None) -> ManifestRow:
        """Note that a stored picture was asked for again and stays."""
        now = datetime.datetime.now(datetime.UTC)
        previous = self._rechecked[identity_of(candidate)]
        row = previous.model_copy(update={**_metadata(candidate), "checked_at": now, "reason": reason})
        self._ledger.record(row)
        self._finish(candidate)
        return row

    def _check_tone(self, picture: Picture) -> None:
        if self._wanted_tone == "bw":
            from kwcolor_pipeline.photos.curation import looks_coloured

            if looks_coloured(picture.image):
                raise Refused("in_colour")

    def _note(self, candidate: Candidate, status: Status, reason: str | None, **facts: Any) -> ManifestRow:
        row = ManifestRow(
            source=candidate.source,
            source_id=candidate.source_id,
            file_url=candidate.file_url,
            **_metadata(candidate),
            retrieved_at=datetime.datetime.now(datetime.UTC),
            status=status,
            reason=reason,
            **facts,
        )
        self._ledger.record(row)
        self._finish(candidate)
        return row

    def _finish(self, candidate: Candidate) -> None:
        with self._lock:
            self._finished += 1
            finished, listed = self._finished, len(self._listed)
        self._progress(candidate.source, finished, listed)


def is_in_store(store: PhotoStore, photo_id: str) -> bool:
    """True when the file of ``photo_id`` is there."""
    try:
        store.find(photo_id)
    except FileNotFoundError:
        return False
    return True


def _metadata(candidate: Candidate) -> dict[str, Any]:
    return {
        "landing_url": candidate.landing_url,
        "title": candidate.title,
        "creator": candidate.creator,
        "licence": candidate.licence,
        "licence_url": candidate.licence_url,
        "date_text": candidate.date_text,
        "year_taken": candidate.first_year,
        "year_taken_last": candidate.last_year,
        "date_precision": candidate.date_precision,
        "catalogued_tone": candidate.catalogued_tone,
        "year_published": candidate.year_published,
    }
