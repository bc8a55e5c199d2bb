"""The crawl of one partition: all its sources, into the manifest and the photo store.

Belongs here: the order of things (what is known, what is listed, what is read, what is written) and
the report. How the network is asked is in `fetcher`, how one photograph is decided on in `intake`.
"""

import collections
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from kwcolor_pipeline.crawling.intake import Intake, Progress, Tone, is_in_store
from kwcolor_pipeline.crawling.journal import Ledger
from kwcolor_pipeline.crawling.sources.base import (
    Candidate,
    LocalSource,
    PagedSource,
    Source,
    file_status,
    file_version,
    local_path,
)
from kwcolor_pipeline.home import Result, fingerprint
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, data_version_of, read_manifest, write_manifest
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import DownloadSettings, Settings

#: To be raised when the crawl decides differently on the same files.
CODE_VERSION = 1
_READER_THREADS = 4


@dataclass(frozen=True)
class CrawlReport:
    """What a crawl of one partition came to."""

    asset: str
    key: str
    rows: int
    """Rows of the manifest: this crawl's, and what archives listed before"""
    listed: int
    """Photographs that the sources listed this time"""
    stored: int
    rejected: dict[str, int]
    """Count by the first word of the reason"""
    failed: int
    downloaded: int
    """Files that came over the network this time"""
    bytes: int
    """Their size"""
    data_version: str
    manifest: Path
    incomplete: list[str]
    """A plain sentence for each listing that could not be read"""
    listing_fingerprint: str | None
    """Hash of what local sources list; None where a crawl alone can tell, or where something failed"""


def crawl_partition(
    settings: Settings,
    sources: Sequence[Source],
    asset: str,
    key: str,
    *,
    wanted_tone: Tone = "any",
    progress: Callable[[str, int, int], None] | None = None,
) -> CrawlReport:
    """Bring the manifest of partition ``key`` of ``asset`` up to date.

    Only what is not known yet is read: outcomes of the last manifest, and of a crawl that was killed,
    hold. With ``wanted_tone="bw"`` pictures in colour are rejected. ``progress`` is told the source,
    how many photographs are finished and how many are listed so far.
    Raises SettingsProblem when a local source's index cannot be read. A listing on the network that
    cannot be read does not raise; it is named in the report, and the other sources are crawled.
    """
    paths = settings.paths
    manifest = manifest_path(settings, asset, key)
    ledger = Ledger(manifest, manifest.with_name(f"{key}.journal.jsonl"))
    active = _covering(sources, key)
    listing = None if any(isinstance(source, PagedSource) for source in active) else _listing_fingerprint(active, key)
    incomplete: list[str] = []
    with _shown(f"{asset} {key}", progress) as tell:
        intake = Intake(ledger, PhotoStore(paths.photos), settings.download, wanted_tone, tell)
        for source in active:
            if isinstance(source, LocalSource):
                _read_files(source, key, intake, settings.download)
            elif isinstance(source, PagedSource):
                incomplete += _fetch(source, key, intake, settings)
    for identity, row in ledger.known.items():
        if identity not in ledger.rows and not row.file_url.startswith("file:"):
            ledger.keep(row)
    rows = list(ledger.rows.values())
    write_manifest(manifest, rows)
    report = _report(asset, key, rows, intake, manifest, incomplete, listing)
    _result(report).write(manifest.with_suffix(".json"))
    ledger.close()
    return report


def is_current(settings: Settings, sources: Sequence[Source], asset: str, key: str) -> bool:
    """True when a crawl would find nothing new, which only local sources can tell without crawling.

    The listing is the one that the last crawl finished without failures, every picture that it stored
    is still there, and it stored some of what was listed: a year that failed that check is tried again.
    """
    active = _covering(sources, key)
    manifest = manifest_path(settings, asset, key)
    recorded = Result.read(manifest.with_suffix(".json"))
    if recorded is None or not manifest.exists() or any(isinstance(source, PagedSource) for source in active):
        return False
    stored_none = recorded.summary["listed"] > 0 and recorded.summary["stored"] == 0
    if stored_none or recorded.fingerprint != _listing_fingerprint(active, key):
        return False
    store = PhotoStore(settings.paths.photos)
    return all(is_in_store(store, row.photo_id) for row in read_manifest(manifest) if row.photo_id)


def manifest_path(settings: Settings, asset: str, key: str) -> Path:
    """Where the manifest of a partition lies."""
    return settings.paths.manifests / asset / f"{key}.parquet"


def _covering(sources: Sequence[Source], key: str) -> list[Source]:
    return [source for source in sources if source.covers([key])]


def _listing_fingerprint(sources: Sequence[Source], key: str) -> str:
    listings = [source.listing_fingerprint(key) for source in sources if isinstance(source, LocalSource)]
    return fingerprint([CODE_VERSION, listings])


def _fetch(source: PagedSource, key: str, intake: Intake, settings: Settings) -> list[str]:
    """Crawl a source on the network; sentences about listings that could not be read."""
    from kwcolor_pipeline.crawling.fetcher import ListingCrawler, ListingFailed

    try:
        ListingCrawler(settings, intake).crawl_listing(source, key)
    except ListingFailed as failed:
        return failed.sentences
    return []


def _read_files(source: LocalSource, key: str, intake: Intake, limits: DownloadSettings) -> None:
    """Take in a local source's files with a few threads, no more of them in memory than threads."""
    waiting: set[Future[None]] = set()
    with ThreadPoolExecutor(_READER_THREADS) as readers:
        for candidate in source.candidates(key):
            waiting.add(readers.submit(_read_file, candidate, intake, limits))
            if len(waiting) >= 4 * _READER_THREADS:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        for future in waiting:
            future.result()


def _read_file(candidate: Candidate, intake: Intake, limits: DownloadSettings) -> None:
    status = file_status(candidate.file_url)
    version = file_version(status)
    if not intake.wants(candidate, version):
        return
    if status is None:
        intake.reject(candidate, "missing_file", version)
    elif not S_ISREG(status.st_mode):
        intake.reject(candidate, "not_an_image: not a file", version)
    elif status.st_size > limits.max_bytes:
        intake.reject(candidate, f"too_large: {status.st_size} bytes", version)
    else:
        try:
            data = local_path(candidate.file_url).read_bytes()
        except OSError as error:
            intake.fail(candidate, f"unreadable: {error.strerror}")
        else:
            intake.take(candidate, data, etag=version)


def _report(
    asset: str,
    key: str,
    rows: list[ManifestRow],
    intake: Intake,
    manifest: Path,
    incomplete: list[str],
    listing: str | None,
) -> CrawlReport:
    statuses = collections.Counter(row.status for row in rows)
    reasons = [(row.reason or "").partition(":")[0] for row in rows if row.status == Status.REJECTED]
    return CrawlReport(
        asset=asset,
        key=key,
        rows=len(rows),
        listed=intake.listed,
        stored=statuses[Status.STORED],
        rejected=dict(sorted(collections.Counter(reasons).items())),
        failed=statuses[Status.FAILED],
        downloaded=intake.downloaded,
        bytes=intake.downloaded_bytes,
        data_version=data_version_of(rows),
        manifest=manifest,
        incomplete=incomplete,
        listing_fingerprint=None if statuses[Status.FAILED] else listing,
    )


def _result(report: CrawlReport) -> Result:
    return Result(
        fingerprint=report.listing_fingerprint or "",
        data_version=report.data_version,
        summary={
            "rows": report.rows,
            "listed": report.listed,
            "stored": report.stored,
            "rejected": report.rejected,
            "failed": report.failed,
            "downloaded": report.downloaded,
            "bytes": report.bytes,
            "incomplete": report.incomplete,
        },
    )


@contextmanager
def _shown(title: str, progress: Progress | None) -> Iterator[Progress]:
    """Progress for a person at a terminal, besides ``progress``."""
    from tqdm import tqdm

    with tqdm(desc=title, total=0, unit="photo", disable=not sys.stderr.isatty()) as bar:

        def tell(source: str, finished: int, listed: int) -> None:
            bar.total = listed
            bar.update(finished - bar.n)
            if progress:
                progress(source, finished, listed)

        yield tell
