"""One request at a time, politely: limits, waiting, retrying.

Belongs here: what holds for every request to an archive, be it a listing or a picture. What is asked
for, and what becomes of it, does not.
"""

import collections
import email.utils
import functools
import random
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from kwcolor_pipeline.settings import DownloadSettings

#: Answers that may be different a moment later.
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_WINDOW = 10.0
#: Added to the window: the archive counts when requests arrive, and they arrive unevenly.
_MARGIN = 0.3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
#: A crawl waits no longer than this when told to; it gives up and says so.
_LONGEST_RETRY_AFTER = 900.0
_LONGEST_REDIRECT_CHAIN = 5
_PIECE = 65536
_PASSING_ERRORS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.HTTPError,
)


class Stopped(Exception):
    """The crawl is being stopped; the request was not made."""


class RequestFailed(Exception):
    """No usable answer after all attempts; the message is a short word, then details."""


class RequestRefused(Exception):
    """An answer that will not change; the message is a short word, then details."""


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    status: int
    body: bytes
    etag: str | None
    last_modified: str | None


class RateLimiter:
    """At most ``per_10s`` requests to a host in ten seconds, and none while a host asked to wait."""

    def __init__(self, per_10s: int) -> None:
        self._per_10s = per_10s
        self._lock = threading.Lock()
        self._times: dict[str, collections.deque[float]] = collections.defaultdict(collections.deque)
        self._closed_until: dict[str, float] = collections.defaultdict(float)

    def wait(self, host: str, stop: threading.Event) -> None:
        """Return when a request to ``host`` may be made; raises Stopped when ``stop`` is set before."""
        while (pause := self._pause_before(host)) > 0:
            if stop.wait(pause):
                break
        if stop.is_set():
            raise Stopped

    def close(self, host: str, seconds: float) -> None:
        """Let no request to ``host`` through for ``seconds``."""
        with self._lock:
            self._closed_until[host] = max(self._closed_until[host], time.monotonic() + seconds)

    def _pause_before(self, host: str) -> float:
        """Seconds to wait before asking again; 0 when a request is granted, and counted."""
        with self._lock:
            now, times = time.monotonic(), self._times[host]
            while times and times[0] <= now - _WINDOW - _MARGIN:
                times.popleft()
            if self._closed_until[host] > now:
                return self._closed_until[host] - now
            if len(times) >= self._per_10s:
                return times[0] + _WINDOW + _MARGIN - now
            times.append(now)
            return 0.0


@functools.cache
def shared_limiter(kind: str, per_10s: int) -> RateLimiter:  # noqa: ARG001 - part of the cache key
    """The limiter of all requests of a ``kind`` in this process: an archive counts across crawls."""
    return RateLimiter(per_10s)


class Requester:
    """Asks for addresses and gives complete answers, within the limits for one picture."""

    def __init__(self, session: requests.Session, limits: DownloadSettings, stop: threading.Event) -> None:
        self._session = session
        self._limits = limits
        self._stop = stop

    def get(self, url: str, limiter: RateLimiter, statuses: Collection[int]) -> Answer:
        """The answer to GET ``url`` when its status is among ``statuses``.

        What may pass (429, 5xx, broken connections, bodies that end early) is tried again with growing
        pauses, or after the seconds that the archive asks for.
        Raises RequestRefused (`http_404`, `http_410`, `too_large`, `redirect_loop`, `unsafe_redirect`,
        `bad_address`),
        RequestFailed (any other status or error), Stopped.
        """
        host = urlsplit(url).netloc
        for attempt in range(1, self._limits.attempts + 1):
            limiter.wait(host, self._stop)
            problem, told_to_wait = "", 0.0
            try:
                answer, told_to_wait = self._get_once(url, limiter)
                if answer.status in statuses:
                    return answer
                problem = f"http_{answer.status}"
            except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL) as error:
                raise RequestRefused(f"bad_address: {error}") from error
            except _PASSING_ERRORS as error:
                problem = f"broken_connection: {type(error).__name__}"
            else:
                self._give_up_unless_passing(answer.status)
            if told_to_wait > _LONGEST_RETRY_AFTER:
                raise RequestFailed(f"{problem}: asked to wait {told_to_wait:.0f} seconds")
            if told_to_wait:
                limiter.close(host, told_to_wait)
            elif attempt < self._limits.attempts:
                self._stop.wait(pause_after(attempt))
        raise RequestFailed(f"{problem} after {self._limits.attempts} attempts")

    def _give_up_unless_passing(self, status: int) -> None:
        if status in (404, 410):
            raise RequestRefused(f"http_{status}")
        if status not in _PASSING:
            raise RequestFailed(f"http_{status}")

    def _get_once(self, url: str, limiter: RateLimiter) -> tuple[Answer, float]:
        """One answer, redirects followed, and the seconds that it asks to wait before the next try."""
        deadline = time.monotonic() + self._limits.total_timeout
        timeouts = (self._limits.connect_timeout, self._limits.read_timeout)
        for _ in range(_LONGEST_REDIRECT_CHAIN):
            with self._session.get(url, stream=True, timeout=timeouts, allow_redirects=False) as response:
                if not response.is_redirect:
                    return self._read(response, deadline)
                url = redirected(url, response.headers["Location"])
            limiter.wait(urlsplit(url).netloc, self._stop)
        raise RequestRefused("redirect_loop")

    def _read(self, response: requests.Response, deadline: float) -> tuple[Answer, float]:
        headers, status = response.headers, response.status_code
        wait = seconds_to_wait(headers.get("Retry-After")) if status in _PASSING else 0.0
        return Answer(status, self._body(response, deadline), headers.get("ETag"), headers.get("Last-Modified")), wait

    def _body(self, response: requests.Response, deadline: float) -> bytes:
        """The body, read piece by piece as it arrives so that neither size nor time is exceeded."""
        body = bytearray()
        while piece := response.raw.read1(_PIECE, decode_content=True):
            body += piece
            if len(body) > self._limits.max_bytes:
                raise RequestRefused(f"too_large: more than {self._limits.max_bytes} bytes")
            if time.monotonic() > deadline:
                raise requests.Timeout(f"longer than {self._limits.total_timeout} seconds")
            if self._stop.is_set():
                raise Stopped
        return bytes(body)


def redirected(url: str, location: str) -> str:
    """The address that ``url`` redirects to: on the same host and port, or from http to its https.

    Raises RequestRefused for any other, so that an archive's answer cannot send the crawler into the
    operator's own network.
    """
    try:
        target = urljoin(url, location)
        origins = [(parts.scheme, parts.hostname, parts.port) for parts in (urlsplit(url), urlsplit(target))]
    except ValueError as error:
        raise RequestRefused(f"unsafe_redirect: {error}") from error
    (_, host, port), (scheme, target_host, _) = origins
    to_https = scheme == "https" and host == target_host and origins[1][2] in (None, 443) and port in (None, 80)
    if origins[0] != origins[1] and not to_https:
        raise RequestRefused(f"unsafe_redirect: to {scheme}://{target_host}")
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
