"""The source `europeana`: museums, libraries and archives of Europe through Europeana's Search API.

Belongs here: the addresses of searches and how to read their answers
(https://europeana.atlassian.net/wiki/spaces/EF/pages/2385739812/Search+API). Fetching them, waiting and retrying
do not.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from kwcolor_pipeline.crawling.dates import read_date
from kwcolor_pipeline.crawling.licences import Licence, read_licence
from kwcolor_pipeline.crawling.sources.base import (
    Candidate,
    Limits,
    ListingPage,
    ListingProblem,
    ListingRefused,
)
from kwcolor_pipeline.crawling.sources.keyed import KeyedSource
from kwcolor_pipeline.crawling.sources.reading import json_object, objects, text, web_address
from kwcolor_pipeline.settings import EuropeanaSettings

_PAGE_SIZE = 100
_IDENTIFIER = re.compile(r"/[A-Za-z0-9_-]{1,100}/[^\s/?#]{1,500}")
_CURSOR = re.compile(r"[!-~]{1,2000}")
_SAYS_KEY = re.compile(r"api ?key|wskey", re.IGNORECASE)
_BAD_KEY = (
    "Europeana does not accept the key; correct KWCOLOR_EUROPEANA__API_KEY (keys are had at https://apis.europeana.eu)."
)


class EuropeanaSource(KeyedSource):
    """Openly licensed pictures of Europe's institutions, by the year that Europeana derives from their dates.

    A record may have several years, such as that of the photograph and that of its copy; it is found under
    each of them and taken in the partition of the first. There is no `undated`: Europeana is searched by
    year, and without one it holds tens of millions of pictures that no year's search leads to.
    """

    name = "europeana"
    about = "museums and archives of Europe through Europeana"
    key_of = "Europeana's APIs"
    key_is_had = "at https://apis.europeana.eu"
    listing_statuses = frozenset({400, 401, 403})

    def __init__(self, settings: EuropeanaSettings, partitions: Sequence[str], *, target: bool) -> None:
        # Europeana asks for fair use, with few requests at once and pauses between them, and names no number:
        # https://europeana.atlassian.net/wiki/pages/viewpage.action?pageId=2712010758
        super().__init__(settings, partitions, Limits(((20, 10),), at_once=1), target=target)

    def page_headers(self) -> dict[str, str]:
        return {"X-Api-Key": self._key}

    def first_pages(self, key: str) -> Iterable[str]:
        if key not in self.covers([key]):
            return
        for words in self._queries:
            query = [
                ("query", words),
                ("qf", f"YEAR:{key}"),
                ("qf", "TYPE:IMAGE"),
                ("reusability", "open"),
                ("media", "true"),
                ("profile", "rich"),
                ("rows", _PAGE_SIZE),
                ("cursor", "*"),
            ]
            yield f"{self.base_url}/record/v2/search.json?{urlencode(query, safe=':')}"

    def read_page(self, key: str, url: str, status: int, body: bytes) -> ListingPage:
        if status in (401, 403):
            raise ListingRefused(_BAD_KEY)
        listing = json_object(body)
        if status == 400 or listing.get("success") is False:
            raise self._failure(status, listing)
        items = listing.get("items")
        if not isinstance(items, list):
            raise ListingProblem("the answer has no list of items")
        found = [self._candidate(item, url) for item in objects(items)]
        mine = self.belonging(key, found, self._partitions)
        cursor = listing.get("nextCursor")
        if not items or cursor is None:  # the last page has none
            return ListingPage(mine)
        if not isinstance(cursor, str) or not _CURSOR.fullmatch(cursor):
            problem = (
                f"europeana {key}: Europeana does not say where the listing {url} goes on; crawl {key} again later."
            )
            return ListingPage(mine, problem=problem)
        return ListingPage(mine, [_with_cursor(url, cursor)])

    def _failure(self, status: int, listing: dict[str, Any]) -> ListingProblem:
        said = text(listing.get("error")) or text(listing.get("message")) or "no reason"
        if _SAYS_KEY.search(said):
            return ListingRefused(_BAD_KEY)
        said = said.replace(self._key, "…")[:200] if self._key else said[:200]
        if status == 400:
            return ListingRefused(f"Europeana refuses the search ({said}); correct KWCOLOR_EUROPEANA__QUERIES.")
        return ListingProblem(f"Europeana answers with a failure: {said}")

    def _candidate(self, item: dict[str, Any], page_url: str) -> Candidate:
        # The addresses `guid` and `link` of an item hold the key that asked for it.
        number = text(item.get("id"))
        is_known = bool(number and _IDENTIFIER.fullmatch(number))
        landing_url = f"https://www.europeana.eu/item{quote(number)}" if number and is_known else None
        picture = _first_address(item.get("edmIsShownBy"))
        years = _texts(item.get("year"))
        date = read_date("; ".join(years))
        licence = _licence(item)
        file_url = picture or landing_url or page_url
        return Candidate(
            source=self.name,
            source_id=number or file_url,
            file_url=file_url,
            landing_url=landing_url,
            title=_first(item.get("dcTitleLangAware")) or _first(item.get("title")),
            creator=_names(item),
            licence=licence.text,
            licence_url=licence.url,
            date_text="; ".join(years)[:2000] or None,
            first_year=date.first if date else None,
            last_year=date.last if date else None,
            date_precision=date.described if date else None,
            refusal=_no_picture(item, picture) or licence.refusal,
        )


def _with_cursor(url: str, cursor: str) -> str:
    parts = urlsplit(url)
    query = [(name, cursor if name == "cursor" else value) for name, value in parse_qsl(parts.query)]
    return urlunsplit(parts._replace(query=urlencode(query, safe=":")))


def _no_picture(item: dict[str, Any], picture: str | None) -> str | None:
    if picture is None:
        return "missing_file: the record names no picture"
    kind = text(item.get("type"))
    return f"not_an_image: {kind[:200]}" if kind and kind != "IMAGE" else None


def _licence(item: dict[str, Any]) -> Licence:
    """The licence that `rights` names; of several the first that refuses."""
    licences = [read_licence(None, address) for one in _texts(item.get("rights")) if (address := web_address(one))]
    refusing = [licence for licence in licences if licence.refusal]
    stated = [*refusing, *licences]
    return stated[0] if stated else read_licence(_first(item.get("rights")))


def _texts(value: Any) -> list[str]:
    """The texts of a field that may be one, a list of them, or a map of languages; of a map English first."""
    if isinstance(value, dict):
        value = value.get("en") or value.get("def") or next(iter(value.values()), None)
    listed = value if isinstance(value, list) else [value]
    return [one for part in listed[:100] if not isinstance(part, (dict, list)) and (one := text(part))]


def _first(value: Any) -> str | None:
    return next(iter(_texts(value)), None)


def _first_address(value: Any) -> str | None:
    return next((address for one in _texts(value) if (address := web_address(one))), None)


def _names(item: dict[str, Any]) -> str | None:
    """Who made it; addresses of persons, which stand among the names, are left out."""
    said = _texts(item.get("dcCreatorLangAware")) or _texts(item.get("dcCreator"))
    names = [one for one in said if not one.startswith(("http://", "https://"))]
    return "; ".join(dict.fromkeys(names))[:2000] or None
