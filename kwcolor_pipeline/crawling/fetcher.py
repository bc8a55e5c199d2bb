"""Fetching from the network: icrawler's feeder, parser, downloader, storage, queue and crawler.

Belongs here: what icrawler's classes are given to do, and where they are corrected. icrawler 0.6.10
loses photographs silently: its queue marks an item as seen before there is room for it, its downloader
leaves when it has been idle for five seconds, an exception ends a thread unnoticed. Here every task
ends in the intake, and listing pages that cannot be read raise ListingFailed at the end.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests
from icrawler import Crawler, Downloader, Feeder, Parser
from icrawler.storage import BaseStorage
from icrawler.utils import CachedQueue, ProxyPool, Session, Signal, ThreadPool

from kwcolor_pipeline import __version__
from kwcolor_pipeline.crawling.addresses import AddressGuard, GuardedAdapter, origin_of
from kwcolor_pipeline.crawling.intake import Intake
from kwcolor_pipeline.crawling.listings import ListingMemory
from kwcolor_pipeline.crawling.pace import Pace, Stopped
from kwcolor_pipeline.crawling.requesting import (
    Answer,
    Ask,
    Requester,
    RequestFailed,
    RequestRefused,
    Traffic,
    pause_after,
)
from kwcolor_pipeline.crawling.robots import PRODUCT
from kwcolor_pipeline.crawling.sources.base import (
    Candidate,
    Limits,
    ListingPage,
    ListingProblem,
    ListingRefused,
    PagedSource,
)
from kwcolor_pipeline.photos.manifest import ManifestRow
from kwcolor_pipeline.settings import Settings

_DOWNLOADER_THREADS = 4
_CONNECTIONS = 16
_ROBOTS_LIMITS = Limits(((10, 10),), at_once=2)
#: A listing that never ends is one that is broken; the largest here has some hundred pages.
_MOST_PAGES = 20_000
#: Seconds between looks at whether work has arrived or has ended.
_POLL = 0.05


class ListingFailed(Exception):
    """Some listing pages could not be read, so photographs may be missing; one sentence for each."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = sentences


class LosslessQueue(CachedQueue):
    """A queue that takes each item once, and remembers only items that it had room for."""

    def __init__(self, maxsize: int) -> None:
        super().__init__(maxsize)
        self._seen: set[str] = set()
        self._seen_lock = threading.Lock()

    def put(
        self,
        item: Any,
        block: bool = True,
        timeout: float | None = None,
        dup_callback: Callable[[Any], None] | None = None,
    ) -> None:
        name = item["file_url"] + "\n" + item["candidate"].source_id if isinstance(item, dict) else item
        with self._seen_lock:
            is_new = name not in self._seen
            self._seen.add(name)
        if not is_new:
            if dup_callback:
                dup_callback(item)
            return
        try:
            queue.Queue.put(self, item, block, timeout)
        except queue.Full:
            with self._seen_lock:
                self._seen.discard(name)
            raise


@dataclass(frozen=True)
class _Plan:
    """What the three thread pools share in one crawl."""

    source: PagedSource
    key: str
    requester: Requester
    pages: Pace
    pictures: Pace
    memory: ListingMemory
    intake: Intake
    attempts: int
    stop: threading.Event


class _Accountable(ThreadPool):
    """A thread pool that keeps the error which ended a thread, and then stops the crawl."""

    plan: _Plan
    signal: Signal
    fatal: BaseException | None = None

    def worker_exec(self, *_args: Any, **_kwargs: Any) -> None:
        try:
            self.work()
        except Stopped:
            self.logger.debug("thread stopped")
        except BaseException as error:  # noqa: BLE001 - the crawl raises it in the main thread
            self.fatal = error
            self.signal.set(reach_max_num=True)

    def work(self) -> None:
        """What one thread does."""
        raise NotImplementedError

    def next_item(self, ended: str) -> Any:
        """The next item of the queue; None when it is empty and the signal ``ended`` was set before.

        The order matters: what came in before the signal is still seen.
        """
        while not self.signal.get("reach_max_num"):
            is_last_look = self.signal.get(ended)
            try:
                return self.in_queue.get(timeout=_POLL)
            except queue.Empty:
                if is_last_look:
                    return None
        return None


class PageFeeder(_Accountable, Feeder):
    """Feeds the pages that a listing starts with."""

    def work(self) -> None:
        for page in self.plan.source.first_pages(self.plan.key):
            self.output(page)


class PageParser(_Accountable, Parser):
    """Reads listing pages, passes their photographs on and follows them to further pages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.failures: list[str] = []

    def work(self) -> None:
        read = 0
        while (url := self.next_item("feeder_exited")) is not None:
            try:
                page = self._page(url)
            except (RequestRefused, RequestFailed, ListingProblem) as problem:
                self.failures.append(self._sentence(url, problem))
                continue
            read += 1
            if page.problem:
                self.failures.append(page.problem)
            if read >= _MOST_PAGES:
                self.failures.append(f"{self.plan.source.name}: the listing did not end after {read} pages.")
                return
            for further in page.next_pages:
                self.input(further)
            for candidate in page.candidates:
                if self.plan.intake.wants(candidate):
                    self._pass_on(candidate)

    def _page(self, url: str) -> ListingPage:
        """The page; an answer that is no listing is asked for again: archives show error pages with status 200."""
        plan = self.plan
        kept = plan.memory.recall(plan.source.name, url)
        if kept:
            return plan.source.read_page(plan.key, url, *kept)
        attempt = 1
        while True:
            answer = plan.requester.get(self._ask(url))
            try:
                page = plan.source.read_page(plan.key, url, answer.status, answer.body)
            except ListingRefused:
                raise
            except ListingProblem:
                if attempt >= plan.attempts:
                    raise
            else:
                body = _without(answer.body, plan.source.page_secrets(), plan.source.page_headers())
                plan.memory.remember(plan.source.name, url, answer.status, body)
                return page
            plan.stop.wait(max(pause_after(attempt), min(answer.told_to_wait, 60.0)))
            attempt += 1

    def _ask(self, url: str) -> Ask:
        source = self.plan.source
        return Ask(
            url,
            self.plan.pages,
            statuses={200, *source.listing_statuses},
            secrets=source.page_secrets(),
            secret_headers=source.page_headers(),
            heeds_robots=not (source.has_api or source.ignores_robots),
        )

    def _sentence(self, url: str, problem: Exception) -> str:
        """What went wrong with a page, and the remedy."""
        source, key = self.plan.source.name, self.plan.key
        if isinstance(problem, ListingRefused):
            return str(problem) if str(problem).startswith(source) else f"{source} {key}: {problem}"
        return f"{source} {key}: the listing {url} could not be read ({problem}); {_remedy(source, key, str(problem))}."

    def _pass_on(self, candidate: Candidate) -> None:
        task = {"file_url": candidate.file_url, "candidate": candidate}
        while not self.signal.get("reach_max_num"):
            with contextlib.suppress(queue.Full):
                self.output(task, timeout=_POLL)
                return


def _without(body: bytes, *secrets: Mapping[str, str]) -> bytes:
    """The page without the keys it was asked for with: some archives repeat them in their answers."""
    for secret in (value for group in secrets for value in group.values()):
        body = body.replace(secret.encode(), b"") if secret else body
    return body


def _remedy(source: str, key: str, problem: str) -> str:
    again = f"crawl {key} again"
    setting = f"KWCOLOR_{source.upper()}"
    match problem.partition(":")[0].partition(" ")[0]:
        case "unreachable" | "unsafe_address" | "bad_address" | "robots_unreachable":
            return f"check the network and {setting}__BASE_URL, then {again}"
        case "robots":
            return (
                "use archives that offer an API, such as KWCOLOR_SOURCES=loc,commons, "
                f"or take it on yourself with {setting}__IGNORE_ROBOTS=true"
            )
        case "http_429" | "unsafe_redirect" if source == "google":
            return "Google asks for consent or refuses programs; use archives, such as KWCOLOR_SOURCES=loc,commons"
        case "http_401":
            return f"check {setting}__API_KEY, then {again}"
        case "http_403":
            return f"it refuses this program at present; check the key if the source has one, and {again} later"
        case _:
            return f"{again} later"


class PictureDownloader(_Accountable, Downloader):
    """Fetches pictures; every task ends as stored, rejected or failed."""

    def work(self) -> None:
        while (task := self.next_item("parser_exited")) is not None:
            self._finish(task["candidate"])

    def _finish(self, candidate: Candidate) -> None:
        """Raises Stopped, and OSError where the picture or its outcome cannot be written."""
        plan = self.plan
        conditions = plan.intake.conditions(candidate)
        ask = Ask(
            candidate.file_url,
            plan.pictures,
            statuses=(200, 304) if conditions else (200,),
            headers=conditions,
            heeds_opt_out=True,
        )
        try:
            answer = plan.requester.get(ask)
        except Stopped:
            raise
        except RequestRefused as refused:
            plan.intake.refuse(candidate, str(refused))
        except RequestFailed as failed:
            plan.intake.fail(candidate, str(failed))
        except Exception as error:  # noqa: BLE001 - one photograph's trouble, recorded as its outcome
            plan.intake.fail(candidate, f"error: {type(error).__name__}: {error}")
        else:
            self.storage.write(candidate, answer)


class IntakeStorage(BaseStorage):
    """Where downloaded pictures go: the intake, which judges and stores them by their content."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def write(self, candidate: Candidate, answer: Answer) -> ManifestRow:
        if answer.status == 304:
            return self._intake.confirm(candidate)
        self._intake.count_download(len(answer.body))
        return self._intake.take(candidate, answer.body, etag=answer.etag, last_modified=answer.last_modified)

    def exists(self, candidate: Candidate) -> bool:
        return False

    def max_file_idx(self) -> int:
        return 0


class PlainSession(Session):
    """A session that connects to checked addresses only, reads no proxies or passwords from the environment, and
    follows no redirects itself.

    Without the override requests reads a redirect's whole body, however long, even when told not to follow.
    """

    def __init__(self, proxy_pool: ProxyPool, headers: dict[str, str], guard: AddressGuard) -> None:
        super().__init__(proxy_pool)
        self.trust_env = False
        self.adapters.clear()
        for scheme in ("https://", "http://"):
            self.mount(scheme, GuardedAdapter(guard, _CONNECTIONS))
        self.headers = requests.structures.CaseInsensitiveDict(headers)

    def resolve_redirects(self, *_args: Any, **_kwargs: Any) -> Iterator[Any]:
        return iter(())


class ListingCrawler(Crawler):
    """One crawl of one source; made anew for each.

    ``edition`` names the run that the crawl belongs to: what it has listed is not asked for again in it.
    Whoever sets ``cancelled`` ends the crawl early.
    """

    def __init__(
        self,
        settings: Settings,
        source: PagedSource,
        intake: Intake,
        traffic: Traffic,
        edition: str | None,
        cancelled: threading.Event,
    ) -> None:
        self._contact = settings.contact
        self._guard = AddressGuard(_trusted(source))
        self._stop = threading.Event()
        super().__init__(
            PageFeeder,
            PageParser,
            PictureDownloader,
            downloader_threads=_DOWNLOADER_THREADS,
            storage=IntakeStorage(intake),
        )
        self.feeder.out_queue = self.parser.in_queue = LosslessQueue(0)
        self.parser.out_queue = self.downloader.in_queue = LosslessQueue(5 * _DOWNLOADER_THREADS)
        self._intake = intake
        self._source = source
        self._limits = settings.download
        self._traffic = traffic
        self._folder = settings.paths.network
        self._edition = edition
        self._cancelled = cancelled

    def set_logger(self, log_level: int = logging.INFO) -> None:
        self.logger = logging.getLogger(__name__)

    def set_proxy_pool(self, pool: ProxyPool | None = None) -> None:
        self.proxy_pool = pool or ProxyPool()

    def set_session(self, headers: dict[str, str] | None = None) -> None:
        self.session = PlainSession(self.proxy_pool, headers or identification(self._contact), self._guard)

    def crawl_listing(self, key: str) -> None:
        """Crawl partition ``key``.

        Raises ListingFailed when listing pages could not be read; all that was listed is crawled then.
        Raises OSError when nothing can be written any more.
        """
        source, paces = self._source, self._folder / "paces"
        plan = _Plan(
            source=source,
            key=key,
            requester=Requester(
                self.session, self._limits, self._stop, self._traffic, Pace(paces, "robots", _ROBOTS_LIMITS)
            ),
            pages=Pace(paces, f"{source.name} listings", source.page_limits),
            pictures=Pace(paces, f"{source.name} pictures", source.picture_limits),
            memory=ListingMemory(self._folder / "listings", self._edition),
            intake=self._intake,
            attempts=self._limits.attempts,
            stop=self._stop,
        )
        pools = (self.feeder, self.parser, self.downloader)
        try:
            for pool in pools:
                pool.plan = plan
                pool.start()
            self._run()
        finally:
            self._stop.set()
            self.signal.set(reach_max_num=True)
            self.session.close()
        for pool in pools:
            if pool.fatal:
                raise pool.fatal
        if self.parser.failures:
            raise ListingFailed(self.parser.failures)

    def _run(self) -> None:
        """Tell each pool when the one before it has ended, until all have."""
        while self.downloader.is_alive():
            if self._cancelled.is_set():
                raise Stopped
            self.signal.set(feeder_exited=not self.feeder.is_alive(), parser_exited=not self.parser.is_alive())
            time.sleep(_POLL)


def _trusted(source: PagedSource) -> list[tuple[str, int]]:
    """The one host and port that may be private: where the operator's settings say that the archive is."""
    origin = origin_of(source.base_url) if source.base_url_is_set else None
    return [origin] if origin else []


def identification(contact: str | None) -> dict[str, str]:
    """The headers of every request: who asks, how to reach them, and by what.

    The form is the one of https://foundation.wikimedia.org/wiki/Policy:Wikimedia_Foundation_User-Agent_Policy.
    """
    return {
        "User-Agent": f"{PRODUCT}/{__version__} ({contact}) requests/{requests.__version__}",
        "Accept": "*/*",
        "Accept-Encoding": "gzip, deflate",
        "Connection": "keep-alive",
    }
