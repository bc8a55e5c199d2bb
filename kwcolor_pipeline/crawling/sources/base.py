"""What a source is, and the candidate photographs that it lists.

Belongs here: the interface that the crawl knows sources by. How one archive answers belongs in its
own module beside this one; fetching, judging and storing pictures do not.
"""

import abc
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_to_bytes, urlsplit

from kwcolor_pipeline.photos.manifest import partition_of


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
    year_published: int | None = None
    refusal: str | None = None
    """Reason to refuse it without reading it: a short word, then details."""


class ListingProblem(Exception):
    """A listing that a source cannot make sense of; the message is one plain sentence."""


class Source(abc.ABC):
    """Somewhere that photographs come from."""

    name: str
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


class PagedSource(Source):
    """A source on the network that lists its photographs page by page."""

    #: Listing pages and pictures that may be asked for in ten seconds.
    pages_per_10s: int
    pictures_per_10s: int
    #: HTTP statuses besides 200 whose body is a listing all the same.
    listing_statuses: frozenset[int] = frozenset()

    @abc.abstractmethod
    def first_pages(self, key: str) -> Iterable[str]:
        """Addresses of the pages that the listing of partition ``key`` starts with."""

    @abc.abstractmethod
    def read_page(self, key: str, url: str, status: int, body: bytes) -> ListingPage:
        """The photographs of partition ``key`` on this page, and where to go on.

        Raises ListingProblem when the answer is no listing.
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
