"""The crawl of one partition: all its sources, into the manifest and the photo store.

Belongs here: the order of things (what is known, what is listed, what is read, what is written) and
the report. How the network is asked is in `fetcher`, how one photograph is decided on in `intake`.
"""

import collections
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from kwcolor_pipeline.crawling.intake import Intake, Progress, Tone, is_in_store
from kwcolor_pipeline.crawling.journal import Ledger
from kwcolor_pipeline.crawling.requesting import HostTraffic, Traffic
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
from kwcolor_pipeline.photos.takedown import TAKEN_DOWN, Takedowns
from kwcolor_pipeline.settings import DownloadSettings, Settings, SettingsProblem

if TYPE_CHECKING:
    from kwcolor_pipeline.crawling.fetcher import ListingCrawler

#: To be raised when the crawl decides differently on the same files.
CODE_VERSION = 1
_READER_THREADS = 4
#: Gives for a source's name a context in which the source may be asked, unless the event is set before.
TurnOf = Callable[[str, threading.Event], AbstractContextManager[None]]


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
    hosts: dict[str, HostTraffic]
    """What each host was asked and gave this time"""
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
    edition: str | None = None,
    turn_of: TurnOf = lambda *_: nullcontext(),
) -> CrawlReport:
    """Bring the manifest of partition ``key`` of ``asset`` up to date.

    Only what is not known yet is read: outcomes of the last manifest, and of a crawl that was killed,
    hold. With ``wanted_tone="bw"`` pictures in colour are rejected. ``progress`` is told the source,
    how many photographs are finished and how many are listed so far. ``edition`` names the run: listing
    pages that it has read for another year, or before a retry, are not asked for again. ``turn_of``
    gives for a source's name a context in which it may be asked; sources are asked side by side.
    A source that cannot be asked, or not wholly, does not raise: it is named in the report, with the
    remedy, and the others are crawled.
    Raises SettingsProblem when a local source's index cannot be read or the manifest cannot be written.
    """
    manifest = manifest_path(settings, asset, key)
    active = _covering(sources, key)
    listing = None if any(isinstance(source, PagedSource) for source in active) else _listing_fingerprint(active, key)
    traffic, cancelled = Traffic(), threading.Event()
    with (
        closing(Ledger(manifest, manifest.with_name(f"{key}.journal.jsonl"))) as ledger,
        _shown(f"{asset} {key}", progress) as tell,
    ):
        store, takedowns = PhotoStore(settings.paths.photos), Takedowns.load(settings.paths)
        intake = Intake(ledger, store, settings.download, wanted_tone, tell, takedowns)

        def crawl_source(source: Source) -> list[str]:
            try:
                if isinstance(source, LocalSource):
                    _read_files(source, key, intake, settings.download)
                elif isinstance(source, PagedSource):
                    from kwcolor_pipeline.crawling.fetcher import ListingCrawler

                    crawler = ListingCrawler(settings, source, intake, traffic, edition, cancelled)
                    return _fetch(crawler, source, key, lambda: turn_of(source.name, cancelled))
            except OSError as error:
                return [f"{source.name} {key}: {_cannot_write(settings, key, error)}"]
            return []

        incomplete = [sentence for told in _side_by_side(crawl_source, active, cancelled) for sentence in told]
        rows = ledger.all_rows()
        try:
            write_manifest(manifest, rows)
            report = _report(asset, key, rows, intake, manifest, incomplete, listing, traffic)
            _result(report).write(manifest.with_suffix(".json"))
        except OSError as error:
            raise SettingsProblem(f"{asset} {key}: {_cannot_write(settings, key, error)}") from error
        ledger.forget()
    return report


def _side_by_side(
    crawl_source: Callable[[Source], list[str]], sources: Sequence[Source], cancelled: threading.Event
) -> list[list[str]]:
    """What ``crawl_source`` gives for each source, crawled at the same time: hosts wait for none but themselves.

    All are finished before an error of one is raised; an interruption sets ``cancelled``.
    """
    if not sources:
        return []
    with ThreadPoolExecutor(len(sources)) as crawls:
        waiting = [crawls.submit(crawl_source, source) for source in sources]
        try:
            return [crawl.result() for crawl in waiting]
        except Exception:
            raise
        except BaseException:
            cancelled.set()
            raise


def _cannot_write(settings: Settings, key: str, error: OSError) -> str:
    return (
        f"{error.filename or settings.home} cannot be read or written ({error.strerror or error}); make room or set "
        f"KWCOLOR_HOME to another folder, then crawl {key} again: what is stored already stays."
    )


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
    taken_down = recorded.summary["rejected"].get(TAKEN_DOWN, 0)
    stored_none = recorded.summary["listed"] > taken_down and recorded.summary["stored"] == 0
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


def _fetch(
    crawler: "ListingCrawler", source: PagedSource, key: str, turn: Callable[[], AbstractContextManager[None]]
) -> list[str]:
    """Crawl a source on the network; sentences about what could not be asked or read."""
    from kwcolor_pipeline.crawling.fetcher import ListingFailed

    problem = source.problem()
    if problem:
        return [problem]
    try:
        with turn():
            crawler.crawl_listing(key)
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
    traffic: Traffic,
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
        hosts=traffic.by_host(),
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
