"""The source `google`: Google Images, where the paper found its photographs.

Belongs here: the addresses of result pages and how to read them. There is no API and no documentation
of the page; the forms that are read are those that programs have met since 2014: arrays given to
``AF_initDataCallback``, and before February 2020 one JSON object a picture. Fetching does not belong here.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from kwcolor_pipeline.crawling.sources.base import (
    Candidate,
    Limits,
    ListingPage,
    ListingProblem,
    ListingRefused,
    PagedSource,
)
from kwcolor_pipeline.crawling.sources.reading import nested, text, text_of_html, web_address
from kwcolor_pipeline.photos.manifest import FIRST_WEB_YEAR, UNDATED
from kwcolor_pipeline.settings import GoogleSettings

_PAGE_STEP = 100
#: Offsets from here on repeat earlier results.
_END = 1000
#: From so many results of a query on, Google may be what ended the list; it gives 700 to 1000.
_MAY_BE_CUT_OFF = 700
#: Real pages have at most 3 MB and about 100 pictures.
_LARGEST_PAGE = 10_000_000
_MOST_ON_A_PAGE = 1000
_LONGEST_SIDE = 100_000
#: Parts of a page that are tried as JSON; real pages have fewer than ten.
_MOST_BLOCKS = 20
_LONGEST_OBJECT = 20_000

# The patterns are applied to pages of any content: every repetition is bounded, and none can begin
# inside another's reach, so that the time grows with the length of the page only.
_BLOCK = re.compile(
    r"AF_initDataCallback\(\{[^\[\]{}]{0,200}?data:\s{0,9}(?:function\(\)\s{0,9}\{\s{0,9}return\s{0,9})?"
)
_HEX_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\x([0-9a-fA-F]{2})")
_ESCAPE = re.compile(r"(?<!\\)\\{1,8}(?:u([0-9a-fA-F]{4})|([\"'/]))")
_SIZED = re.compile(
    r'\[\s{0,20}"(https?://[^"\s\\<>]{1,4000})"\s{0,20},\s{0,20}([0-9]{1,6})\s{0,20},\s{0,20}([0-9]{1,6})\s{0,20}\]'
)
_META = re.compile(r'"ou"\s{0,9}:\s{0,9}"')
_OWN_HOST = re.compile(r"(?:.*\.)?(?:gstatic\.com|google\.(?:com|[a-z]{2}|com?\.[a-z]{2}))")


class GoogleSource(PagedSource):
    """Google Images by the year in which a page published a picture.

    A year's results are asked for as the paper did: photographs in colour, restricted to pages dated in
    that year. That says nothing about when a picture was taken. The target domain's partitions are years
    of exposure, which Google cannot tell: its photographs are asked for without a date, in grey, and
    are all undated.

    Google states no licence, so every picture is refused unless `google.allow_unknown_licence` is set. Its
    robots.txt disallows result pages unless `google.ignore_robots` is set. What it serves to programs is mostly
    a page that holds scripts and no results; that raises ListingRefused.
    """

    name = "google"
    about = "Google Images, as the paper did; refuses programs mostly"
    licence_rule = "none is stated: refused unless google.allow_unknown_licence is set"
    year_meaning = "published"
    has_api = False
    listing_statuses = frozenset({403})

    def __init__(self, settings: GoogleSettings, partitions: Sequence[str], *, target: bool) -> None:
        self.base_url = settings.base_url.rstrip("/")
        self.base_url_is_set = "base_url" in settings.model_fields_set
        self.ignores_robots = settings.ignore_robots
        self.page_limits = Limits(((settings.requests_per_10s, 10),), at_once=1)
        self.picture_limits = Limits(((settings.downloads_per_10s, 10),), at_once=2)
        queries = settings.korean_war_queries if target else settings.queries
        self._queries = [query for query in queries if query.strip()]
        self._setting = "KWCOLOR_GOOGLE__KOREAN_WAR_QUERIES" if target else "KWCOLOR_GOOGLE__QUERIES"
        sources = "KWCOLOR_KOREAN_WAR_SOURCES" if target else "KWCOLOR_SOURCES"
        self._remedy = f"set {sources}=loc,commons to ask the archives instead."
        self._licence_refusal = (
            None
            if settings.allow_unknown_licence
            else "licence: Google states none; KWCOLOR_GOOGLE__ALLOW_UNKNOWN_LICENCE=true stores it all the same"
        )
        self._target = target
        self._partitions = partitions
        self._met: dict[tuple[str, str], list[str]] = {}
        """What the pages of a query have shown so far, in the partition that is being crawled"""

    def problem(self) -> str | None:
        return None if self._queries else f"google has no words to search for; set {self._setting}."

    def covers(self, partitions: Sequence[str]) -> set[str]:
        if self._target:
            return {UNDATED} & set(partitions)
        return {key for key in partitions if key != UNDATED and int(key) >= FIRST_WEB_YEAR}

    def first_pages(self, key: str) -> Iterable[str]:
        for query in self._queries:
            yield self._address(key, query, 0)

    def read_page(self, key: str, url: str, status: int, body: bytes) -> ListingPage:
        if status in (403, 429):
            raise ListingRefused(f"Google refuses requests of programs (status {status}); {self._remedy}")
        if len(body) > _LARGEST_PAGE:
            raise ListingProblem(f"the answer has {len(body)} bytes, more than a result page can have")
        page = _ResultPage(body.decode("utf-8", "replace"))
        if not page.results:
            self._refuse_unless_empty(page)
        query, start = _asked(url)
        met = self._met.setdefault((key, query), [])
        if start == 0:
            met.clear()
        brings_more = not set(met).issuperset(page.results)
        if brings_more:
            met += page.results
        goes_on = brings_more and start + _PAGE_STEP < _END
        found = [self._candidate(key, url, result) for result in page.results.values()]
        return ListingPage(
            self.belonging(key, found, self._partitions),
            [self._address(key, query, start + _PAGE_STEP)] if goes_on else [],
            None if goes_on or len(met) < _MAY_BE_CUT_OFF else self._cut_off(key, query, len(met)),
        )

    def _address(self, key: str, query: str, start: int) -> str:
        filters = ["itp:photo", "ic:gray" if self._target else "ic:color"]
        if key != UNDATED:
            filters += ["cdr:1", f"cd_min:01/01/{key}", f"cd_max:12/31/{key}"]
        asked = {"q": query, "tbm": "isch", "tbs": ",".join(filters), "ijn": start // _PAGE_STEP, "start": start}
        return f"{self.base_url}/search?{urlencode(asked, safe='/,:')}"

    def _candidate(self, key: str, page_url: str, result: "_Result") -> Candidate:
        missing = None if result.picture else "missing_file: Google gives no address for the picture"
        return Candidate(
            source=self.name,
            source_id=hashlib.sha256(result.given.encode("utf-8", "surrogatepass")).hexdigest()[:16],
            file_url=result.picture or result.landing_url or page_url,
            landing_url=result.landing_url,
            title=result.title,
            creator=result.creator,
            year_published=None if key == UNDATED else int(key),
            refusal=missing or self._licence_refusal,
        )

    def _cut_off(self, key: str, query: str, given: int) -> str:
        return (
            f"{self.name} {key}: Google gave {given} results of the query {query!r} and gives no more, so some may be "
            f"missing; add narrower queries to {self._setting}."
        )

    def _refuse_unless_empty(self, page: "_ResultPage") -> None:
        """Raise what a page without results is; return where Google says in its usual form that it has none."""
        lowered = page.source.lower()
        if "unusual traffic" in lowered or "captcha-form" in lowered or "/sorry/index" in lowered:
            raise ListingRefused(
                f"Google served its page about unusual traffic, which holds no pictures; {self._remedy}"
            )
        if "consent.google." in lowered:
            raise ListingRefused(f"Google served its consent page, which holds no pictures; {self._remedy}")
        if "encrypted-tbn" in lowered:
            raise ListingRefused(f"Google served a result page in a form that is not known here; {self._remedy}")
        if page.has_data:
            return
        if "enablejs" in lowered or ("<noscript" in lowered and "http-equiv" in lowered and "refresh" in lowered):
            raise ListingRefused(f"Google served its script-only page, which holds no pictures; {self._remedy}")
        raise ListingProblem("the answer is no result page of Google Images")


@dataclass(frozen=True)
class _Result:
    """One picture as a page gives it."""

    given: str
    """What the page gives as its address"""
    picture: str | None
    """The address; None where it is one inside Google, as of pictures within PDF files"""
    landing_url: str | None = None
    title: str | None = None
    creator: str | None = None


class _ResultPage:
    """A result page: its pictures by what it gives as their addresses, each once.

    Raises ListingProblem where there are more than a result page can have.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        #: Whether Google's arrays are there, with or without results.
        self.has_data = False
        self.results: dict[str, _Result] = {}
        rest = self._read_blocks(_HEX_ESCAPE.sub(r"\1\\u00\2", source))
        rest = rest.replace("&quot;", '"').replace("&#34;", '"')
        self._add(_in_objects(rest))
        self._add(_in_text(rest))

    def _read_blocks(self, page: str) -> str:
        """Read the arrays that are JSON; returns the page without them."""
        rest, end = [], 0
        for block in islice(_BLOCK.finditer(page), _MOST_BLOCKS):
            if block.end() < end:
                continue  # text inside the arrays before
            try:
                data, after = json.JSONDecoder().raw_decode(page, block.end())
            except (ValueError, RecursionError):
                continue
            self.has_data |= isinstance(data, list) and bool(data)
            self._add(_in_arrays(data))
            rest.append(page[end : block.end()])
            end = after
        return " ".join([*rest, page[end:]])

    def _add(self, results: Iterable[_Result]) -> None:
        for result in results:
            self.results.setdefault(result.given, result)
            if len(self.results) > _MOST_ON_A_PAGE:
                raise ListingProblem(f"the answer has more than {_MOST_ON_A_PAGE} pictures, and a result page 100")


def _in_arrays(data: Any) -> Iterator[_Result]:
    """Pictures in nested arrays: ``["address", height, width]``, with what is known of them beside."""
    waiting: list[list[Any] | dict[Any, Any]] = [[data]]
    while waiting:
        one = waiting.pop()
        inside = [
            child for child in (one.values() if isinstance(one, dict) else one) if isinstance(child, (list, dict))
        ]
        about = next((found for child in inside if (found := nested(child, "2003")) is not None), None)
        for child in inside:
            if _is_sized(child):
                yield from _result(child[0], nested(about, 2), nested(about, 3), nested(about, 5))
        waiting += [child for child in reversed(inside) if not _is_sized(child)]


def _in_objects(page: str) -> Iterator[_Result]:
    """Pictures of the older form: an object each, ``{"ou": address, "ru": landing page, "pt": title, …}``."""
    for found in islice(_META.finditer(page), _MOST_ON_A_PAGE + 1):
        start = page.rfind("{", max(0, found.start() - _LONGEST_OBJECT), found.start())
        try:
            about, _ = json.JSONDecoder().raw_decode(page[start : start + _LONGEST_OBJECT])
        except (ValueError, RecursionError):
            about = None
        plain = _unescaped(page[found.end() : found.end() + _LONGEST_OBJECT].partition('"')[0])
        yield from _result(nested(about, "ou") or plain, nested(about, "ru"), nested(about, "pt"))


def _in_text(page: str) -> Iterator[_Result]:
    """Pictures anywhere else, however their arrays are escaped; nothing more is known of them."""
    for address, height, width in _SIZED.findall(_unescaped(page)):
        if _is_sized([address, int(height), int(width)]):
            yield from _result(address)


def _result(address: Any, landing_url: Any = None, title: Any = None, creator: Any = None) -> Iterator[_Result]:
    """The picture; nothing where it is Google's own, such as a thumbnail, or no address at all."""
    if not isinstance(address, str):
        return
    picture = web_address(address.replace("&amp;", "&"))
    is_inside_google = address.startswith("x-raw-image:")
    if not is_inside_google and (picture is None or _OWN_HOST.fullmatch(urlsplit(picture).hostname or "")):
        return
    yield _Result(
        given=picture or address,
        picture=picture,
        landing_url=web_address(landing_url),
        title=text_of_html(title) if isinstance(title, str) else None,
        creator=text(creator) if isinstance(creator, str) else None,
    )


def _is_sized(value: Any) -> bool:
    """True of an address with a height and a width that a picture can have, in pixels."""
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
        return False
    return all(type(side) is int and 0 < side <= _LONGEST_SIDE for side in value[1:])


def _unescaped(source: str) -> str:
    """Text without the escapes of script strings, also where such strings are nested."""
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], source)
    # characters beyond U+FFFF are written as two
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _asked(url: str) -> tuple[str, int]:
    """The words and the offset that the address of a result page asks for."""
    asked = parse_qs(urlsplit(url).query)
    return asked["q"][0], int(asked["start"][0])
