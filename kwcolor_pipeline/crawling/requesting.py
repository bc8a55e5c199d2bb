"""One request at a time, politely and safely: limits, robots.txt, checked addresses, waiting, retrying.

Belongs here: what holds for every request, be it for a listing or a picture. What is asked for, and what becomes
of it, does not.
"""

import collections
import email.utils
import random
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import urllib3

from kwcolor_pipeline.crawling.addresses import UnsafeAddress, origin_of
from kwcolor_pipeline.crawling.pace import LimitSpent, Pace, Stopped
from kwcolor_pipeline.crawling.robots import LARGEST_ROBOTS, NO_RULES, RobotsRules, opt_out
from kwcolor_pipeline.settings import DownloadSettings

#: Answers that may be different a moment later.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
#: A crawl waits no longer than this when told to; it gives up and says so.
_LONGEST_RETRY_AFTER = 900.0
#: RFC 9309, 2.3.1.2: five redirects of a robots.txt are followed. The same holds for everything else.
_LONGEST_REDIRECT_CHAIN = 5
_PIECE = 65536
_PASSING_ERRORS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.HTTPError,
)
#: A host counts as unreachable when this many connections in a row failed, over at least this many seconds.
_GIVE_UP_AFTER, _GIVE_UP_SECONDS = 8, 60.0


class RequestFailed(Exception):
    """No usable answer after all attempts; the message is a short word, then details."""


class RequestRefused(Exception):
    """An answer that will not change; the message is a short word, then details."""


@dataclass(frozen=True)
class Ask:
    """What is asked for, and under which conditions."""

    url: str
    pace: Pace
    statuses: Collection[int] = (200,)
    """HTTP statuses whose body is wanted"""
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Query parameters and, below, headers that only the host of ``url`` may see"""
    secret_headers: Mapping[str, str] = field(default_factory=dict)
    heeds_robots: bool = True
    """False for an archive's documented API"""
    heeds_opt_out: bool = False
    """True for pictures, which X-Robots-Tag may forbid to learn from"""
    max_bytes: int | None = None
    """Largest body; that of the settings where None"""
    cut_short: bool = False
    """A longer body is cut there instead of refused"""


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    status: int
    body: bytes
    etag: str | None
    last_modified: str | None
    told_to_wait: float = 0.0
    """seconds that the host asks to wait before the next request"""


@dataclass
class HostTraffic:
    """What one host was asked and gave."""

    requests: int = 0
    bytes: int = 0
    not_modified: int = 0
    told_to_wait: int = 0
    """answers 429 or 503 with Retry-After"""


class Traffic:
    """Requests and bytes by host; safe to use from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hosts: dict[str, HostTraffic] = {}

    def count(self, host: str, **amounts: int) -> None:
        """Add to the counts of ``host``; keywords are fields of HostTraffic."""
        with self._lock:
            traffic = self._hosts.setdefault(host, HostTraffic())
            for name, amount in amounts.items():
                setattr(traffic, name, getattr(traffic, name) + amount)

    def by_host(self) -> dict[str, HostTraffic]:
        """The counts so far, most bytes first."""
        with self._lock:
            return dict(sorted(self._hosts.items(), key=lambda item: (-item[1].bytes, item[0])))


class _Reachability:
    """Which hosts have stopped accepting connections, so that thousands of pictures are not tried in vain."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: dict[str, tuple[int, float]] = {}

    def is_lost(self, host: str) -> bool:
        with self._lock:
            count, since = self._failures.get(host, (0, 0.0))
        return count >= _GIVE_UP_AFTER and time.monotonic() - since >= _GIVE_UP_SECONDS

    def failed(self, host: str) -> None:
        with self._lock:
            count, since = self._failures.get(host, (0, time.monotonic()))
            self._failures[host] = count + 1, since

    def answered(self, host: str) -> None:
        with self._lock:
            self._failures.pop(host, None)


class Requester:
    """Asks for addresses and gives complete answers, within the limits for one picture.

    ``robots_pace`` is how robots.txt files are asked for.
    """

    def __init__(
        self,
        session: requests.Session,
        limits: DownloadSettings,
        stop: threading.Event,
        traffic: Traffic,
        robots_pace: Pace,
    ) -> None:
        self._session = session
        self._limits = limits
        self._stop = stop
        self._traffic = traffic
        self._robots_pace = robots_pace
        self._robots: dict[str, RobotsRules | RequestFailed] = {}
        self._robots_locks: dict[str, threading.Lock] = collections.defaultdict(threading.Lock)
        self._reachability = _Reachability()

    def get(self, ask: Ask) -> Answer:
        """The answer when its status is among those wanted.

        What may pass (429, 5xx, broken connections, bodies that end early) is tried again with growing
        pauses, or after the seconds that the archive asks for.
        Raises RequestRefused (`robots`, `noai` and the like, `http_404`, `http_410`, `too_large`,
        `redirect_loop`, `unsafe_redirect`, `unsafe_address`, `bad_address`), RequestFailed (any other
        status or error), Stopped.
        """
        host = urlsplit(ask.url).netloc.lower()
        for attempt in range(1, self._limits.attempts + 1):
            if self._reachability.is_lost(host):
                raise RequestFailed(f"unreachable: {host} has accepted no connection for a while")
            told_to_wait = 0.0
            try:
                answer = self._follow(ask)
                if answer.status in ask.statuses:
                    return answer
                problem, told_to_wait = f"http_{answer.status}", answer.told_to_wait
            except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL) as error:
                raise RequestRefused(f"bad_address: {type(error).__name__}") from error
            except LimitSpent as spent:
                raise RequestFailed(f"limit_spent: {spent}") from spent
            except _PASSING_ERRORS as error:
                problem = _described(error)
            else:
                _give_up_unless_passing(answer.status)
            if told_to_wait > _LONGEST_RETRY_AFTER:
                raise RequestFailed(f"{problem}: asked to wait {told_to_wait:.0f} seconds")
            if told_to_wait:
                ask.pace.close(host, told_to_wait)
            elif attempt < self._limits.attempts:
                self._stop.wait(pause_after(attempt))
        raise RequestFailed(f"{problem} after {self._limits.attempts} attempts")

    def _follow(self, ask: Ask) -> Answer:
        """One answer, redirects followed; every address on the way is checked like the first."""
        url, home = ask.url, origin_of(ask.url)
        for hop in range(_LONGEST_REDIRECT_CHAIN + 1):
            try:
                if ask.heeds_robots:
                    self._heed_robots(url)
                answer, location = self._once(ask, url, with_secrets=origin_of(url) == home)
            except UnsafeAddress as error:
                raise RequestRefused(f"{'unsafe_redirect' if hop else 'unsafe_address'}: {error}") from error
            if location is None:
                return answer
            url = redirected(url, location)
        raise RequestRefused("redirect_loop")

    def _once(self, ask: Ask, url: str, with_secrets: bool) -> tuple[Answer, str | None]:
        """One request: its answer, and where it redirects to."""
        host = urlsplit(url).netloc.lower()
        timeouts = (self._limits.connect_timeout, self._limits.read_timeout)
        headers = {**ask.headers, **(ask.secret_headers if with_secrets else {})}
        asked = _with_query(url, ask.secrets) if with_secrets and ask.secrets else url
        with ask.pace.turn(host, self._stop) as answered:
            deadline = time.monotonic() + self._limits.total_timeout
            try:
                response = self._session.get(
                    asked, stream=True, timeout=timeouts, allow_redirects=False, headers=headers
                )
            except (requests.ConnectionError, requests.Timeout):
                self._traffic.count(host, requests=1)
                self._reachability.failed(host)
                raise
            self._traffic.count(host, requests=1)  # an address that is refused was not asked
            answered()
            self._reachability.answered(host)
            with response:
                if response.is_redirect:
                    return Answer(response.status_code, b"", None, None), response.headers["Location"]
                return self._read(ask, host, response, deadline), None

    def _read(self, ask: Ask, host: str, response: requests.Response, deadline: float) -> Answer:
        headers, status = response.headers, response.status_code
        wait = seconds_to_wait(headers.get("Retry-After"))
        tags = response.raw.headers.getlist("X-Robots-Tag") if ask.heeds_opt_out and status in (200, 304) else []
        directive = opt_out(tags)
        if directive:
            raise RequestRefused(f"{directive}: X-Robots-Tag of the answer")
        self._traffic.count(host, not_modified=status == 304, told_to_wait=bool(wait) and status in _PASSING)
        body = self._body(ask, host, response, deadline)
        return Answer(status, body, headers.get("ETag"), headers.get("Last-Modified"), wait)

    def _body(self, ask: Ask, host: str, response: requests.Response, deadline: float) -> bytes:
        """The body, read piece by piece as it arrives so that neither size nor time is exceeded."""
        largest = ask.max_bytes or self._limits.max_bytes
        body = bytearray()
        try:
            while piece := response.raw.read1(_PIECE, decode_content=True):
                body += piece
                if len(body) > largest:
                    if ask.cut_short:
                        break
                    raise RequestRefused(f"too_large: more than {largest} bytes")
                if time.monotonic() > deadline:
                    raise requests.Timeout(f"longer than {self._limits.total_timeout} seconds")
                if self._stop.is_set():
                    raise Stopped
        finally:
            transferred = response.raw.tell()  # as it came, before it was unpacked
            self._traffic.count(host, bytes=transferred)
            ask.pace.received(host, transferred)
        return bytes(body[:largest])

    def _heed_robots(self, url: str) -> None:
        """Raises RequestRefused where the site's robots.txt disallows ``url``, RequestFailed where it has none to read.

        RFC 9309, 2.3.1: no robots.txt allows everything, one that cannot be reached allows nothing for now.
        """
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc.lower()}"
        with self._robots_locks[site]:
            if site not in self._robots:
                self._robots[site] = self._rules_of(site)
        rules = self._robots[site]
        if isinstance(rules, RequestFailed):
            raise RequestFailed(str(rules))
        if not rules.allows(url):
            raise RequestRefused(f"robots: {parts.netloc}'s robots.txt disallows {parts.path}")

    def _rules_of(self, site: str) -> RobotsRules | RequestFailed:
        statuses = frozenset(range(200, 300)) | (frozenset(range(400, 500)) - _PASSING)
        ask = Ask(
            f"{site}/robots.txt",
            self._robots_pace,
            statuses=statuses,
            heeds_robots=False,
            max_bytes=LARGEST_ROBOTS,
            cut_short=True,
        )
        try:
            answer = self.get(ask)
        except RequestRefused as refused:
            word, _, details = str(refused).partition(": ")
            if word == "unsafe_address":
                raise UnsafeAddress(details) from refused
            if word == "unsafe_redirect":
                return RequestFailed(f"robots_unreachable: {site}/robots.txt ({refused})")
            return NO_RULES  # such as a redirect without end: RFC 9309, 2.3.1.2
        except RequestFailed as failed:
            return RequestFailed(f"robots_unreachable: {site}/robots.txt ({failed})")
        return RobotsRules(answer.body) if answer.status < 300 else NO_RULES


def redirected(url: str, location: str) -> str:
    """The http(s) address that ``url`` redirects to.

    Raises RequestRefused for any other; which hosts may be connected to is checked at the connection.
    """
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
    except ValueError as error:
        raise RequestRefused(f"unsafe_redirect: {error}") from error
    if origin_of(target) is None:
        raise RequestRefused(f"unsafe_redirect: to {scheme}: and not to http or https")
    return target


def pause_after(attempt: int) -> float:
    """Seconds to wait after a failed attempt (the first is 1): doubling, half of it by chance."""
    longest: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
    return longest * random.uniform(0.5, 1.0)


def seconds_to_wait(retry_after: str | None) -> float:
    """What a Retry-After header asks for (RFC 9110, 10.2.3: seconds or a date); 0 where it asks nothing."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        until = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    # a date has whole seconds: add one so as not to come back too early
    return max(0.0, until - time.time() + 1.0)


def _give_up_unless_passing(status: int) -> None:
    if status in (404, 410):
        raise RequestRefused(f"http_{status}")
    if status not in _PASSING:
        raise RequestFailed(f"http_{status}")


def _described(error: Exception) -> str:
    """A passing error as a short word and what is behind it, without the addresses that libraries put in."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, urllib3.exceptions.NameResolutionError):
            return "unreachable: the name of the host cannot be resolved"
        if isinstance(chain, urllib3.exceptions.NewConnectionError):
            return "unreachable: the host does not accept connections"
        reason = chain.args[0] if chain.args and isinstance(chain.args[0], BaseException) else None
        chain = getattr(chain, "reason", None) or reason or chain.__cause__
        if not isinstance(chain, BaseException):
            break
    if isinstance(error, requests.ConnectTimeout):
        return "unreachable: the host does not answer"
    if isinstance(error, requests.exceptions.SSLError):
        return "unreachable: the host's certificate is not accepted"
    if isinstance(error, requests.Timeout):
        return "too_slow: the answer took too long"
    return f"broken_connection: {type(error).__name__}"


def _with_query(url: str, more: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    return parts._replace(query="&".join(filter(None, [parts.query, urlencode(more)]))).geturl()
