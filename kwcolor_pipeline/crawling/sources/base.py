"""What a source is, and the candidate photographs that it lists.

Belongs here: the interface that the crawl knows sources by. How one archive answers belongs in its
own module beside this one; fetching, judging and storing pictures do not.
"""

import abc
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_to_bytes, urlsplit

from kwcolor_pipeline.photos.manifest import UNDATED, partition_of


@dataclass(frozen=True)
class Candidate:
    """A photograph that a source lists, before its bytes are seen."""

    source: str
    source_id: str
    file_url: str
    landing_url: str | None = None
    title: str | None = None
    creator: str | None = None
    licence: str | None = None
    licence_url: str | None = None
    date_text: str | None = None
    first_year: int | None = None
    last_year: int | None = None
    date_precision: str | None = None
    """How exact the date is: a `dates.Precision`, with `uncertain` added where the archive doubts it."""
    catalogued_tone: str | None = None
    """`colour` or `bw`: what the archive says the original is; None where it does not say."""
    year_published: int | None = None
    refusal: str | None = None
    """Reason to refuse it without reading it: a short word, then details."""


class ListingProblem(Exception):
    """A listing that a source cannot make sense of; the message says what it is instead.

    It is asked for again a few times: archives show error pages with status 200.
    """


class ListingRefused(ListingProblem):
    """An answer that asking again will not change; the message names the remedy in a whole sentence."""


class Source(abc.ABC):
    """Somewhere that photographs come from."""

    name: str
    #: What it holds, and which licences it lets through, for people.
    about: str
    licence_rule: str = "your own: recorded, not judged"
    year_meaning: Literal["taken", "published"]

    @abc.abstractmethod
    def covers(self, partitions: Sequence[str]) -> set[str]:
        """Those of ``partitions`` that this source has, or may have, photographs for; asks no network."""

    def partition(self, candidate: Candidate, partitions: Sequence[str]) -> str:
        """The candidate's partition, by the year that this source answers for."""
        if self.year_meaning == "published":
            return partition_of(candidate.year_published, candidate.year_published, partitions)
        return partition_of(candidate.first_year, candidate.last_year, partitions)


class LocalSource(Source):
    """A source whose pictures are files on this machine."""

    @abc.abstractmethod
    def candidates(self, key: str) -> Iterator[Candidate]:
        """The photographs of partition ``key``, each with a ``file://`` address."""

    @abc.abstractmethod
    def listing_fingerprint(self, key: str) -> str:
        """Hash of what is listed for ``key`` and of the files' sizes and times; reads no picture."""


@dataclass(frozen=True)
class ListingPage:
    """What one listing page holds: photographs, and the addresses of further pages."""

    candidates: list[Candidate] = field(default_factory=list)
    next_pages: list[str] = field(default_factory=list)
    problem: str | None = None
    """A sentence where the listing is known to leave photographs out; the year then counts as incomplete."""


_SPANS: dict[float, str] = {60: "a minute", 3600: "an hour", 30 * 86400: "30 days"}


@dataclass(frozen=True)
class Limits:
    """What a host publishes about how it may be asked for one kind of thing."""

    windows: tuple[tuple[int, float], ...] = ()
    """(n, s): at most n requests in s seconds; all of them hold"""
    at_once: int = 1
    """Requests under way at the same time"""
    bytes_per_second: int | None = None
    """Of the last ten seconds"""

    def __str__(self) -> str:
        parts = [f"{count} in {_SPANS.get(seconds, f'{seconds:g} s')}" for count, seconds in self.windows]
        parts += [f"{self.bytes_per_second * 8 / 1e6:g} Mbit/s"] if self.bytes_per_second else []
        return ", ".join([*parts, "one at a time" if self.at_once == 1 else f"{self.at_once} at a time"])


class PagedSource(Source):
    """A source on the network that lists its photographs page by page.

    An object reads the pages of one crawl, one after the other in one thread; the same object may be
    used for another year afterwards.
    """

    licence_rule = "each record's own, if it is public domain, CC0, CC BY, CC BY-SA or without known restrictions"
    #: How listing pages and pictures may be asked for, each host for itself.
    page_limits: Limits
    picture_limits: Limits
    #: HTTP statuses besides 200 whose body is a listing all the same.
    listing_statuses: frozenset[int] = frozenset()
    #: Whether listing pages are a documented API, which is meant for programs whatever robots.txt says.
    has_api: bool = True
    #: Whether the operator wants listing pages asked for that robots.txt disallows; pictures never are.
    ignores_robots: bool = False
    #: Where the archive is asked; tests and mirrors set another.
    base_url: str
    #: True where the operator has set `base_url`: its host and port may then be a private address.
    base_url_is_set: bool = False

    def problem(self) -> str | None:
        """Why this source cannot be asked, with the remedy, in one sentence; None where it can."""
        return None

    def page_headers(self) -> dict[str, str]:
        """Headers of requests for listing pages, such as a key; they are sent to `base_url`'s host only."""
        return {}

    def page_secrets(self) -> dict[str, str]:
        """Query parameters of listing pages that no log or manifest may show, such as a key."""
        return {}

    def belonging(self, key: str, found: Iterable[Candidate], partitions: Sequence[str]) -> list[Candidate]:
        """Those of ``found`` whose partition is ``key``.

        `undated` also gets, refused, those whose year is a partition that this source does not cover: no
        year's crawl would list them otherwise.
        """
        covered, mine = self.covers(partitions), []
        for candidate in found:
            partition = self.partition(candidate, partitions)
            if partition == key:
                mine.append(candidate)
            elif key == UNDATED and partition not in covered:
                refusal = candidate.refusal or f"outside_years: {partition} is not covered by {self.name}"
                mine.append(replace(candidate, refusal=refusal))
        return mine

    @abc.abstractmethod
    def first_pages(self, key: str) -> Iterable[str]:
        """Addresses of the pages that the listing of partition ``key`` starts with, without secrets."""

    @abc.abstractmethod
    def read_page(self, key: str, url: str, status: int, body: bytes) -> ListingPage:
        """The photographs of partition ``key`` on this page, and where to go on.

        Raises ListingProblem when the answer is no listing, ListingRefused when it stays so.
        """


def local_path(file_url: str) -> Path:
    """The path that a ``file://`` address names, which need not be UTF-8."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(file_url).path)))


def file_status(file_url: str) -> os.stat_result | None:
    """Status of a local file, links followed; None where there is none or it cannot be reached."""
    try:
        return local_path(file_url).stat()
    except (OSError, ValueError):
        return None


def file_version(status: os.stat_result | None) -> str:
    """What changes when a local file changes: size in bytes and time of modification in ns."""
    return f"{status.st_size}-{status.st_mtime_ns}" if status else "absent"
