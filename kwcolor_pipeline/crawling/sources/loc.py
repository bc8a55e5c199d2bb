"""The source `loc`: the Library of Congress through its JSON API.

Belongs here: the addresses of listings and how to read them (https://www.loc.gov/apis/json-and-yaml/).
Fetching them, waiting and retrying do not.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urldefrag, urlencode, urljoin, urlsplit, urlunsplit

from kwcolor_pipeline.crawling.dates import year_range
from kwcolor_pipeline.crawling.sources.base import Candidate, ListingPage, ListingProblem, PagedSource
from kwcolor_pipeline.photos.manifest import KOREAN_WAR_YEARS, UNDATED
from kwcolor_pipeline.settings import LocSettings

_LONGEST_TEXT = 2000


class LocSource(PagedSource):
    """Collections of the Library of Congress by the year in which a photograph was taken.

    The API lists a photograph dated with a range under every year of the range; it is taken in its
    own partition only. What the Library lists without any year is not reached by a year's listing.
    """

    name = "loc"
    year_meaning = "taken"
    listing_statuses = frozenset({404})

    def __init__(self, settings: LocSettings, partitions: Sequence[str], *, target: bool) -> None:
        self._base_url = settings.base_url
        self._page_size = settings.page_size
        self._collections = settings.korean_war_collections if target else settings.collections
        self._search = {"q": settings.korean_war_query, "fa": "online-format:image"} if target else {}
        self._years = KOREAN_WAR_YEARS if target else range(settings.first_year, settings.last_year + 1)
        self._partitions = partitions
        self.pages_per_10s = settings.requests_per_10s
        self.pictures_per_10s = settings.downloads_per_10s

    def covers(self, partitions: Sequence[str]) -> set[str]:
        return {str(year) for year in self._years} & set(partitions)

    def first_pages(self, key: str) -> Iterable[str]:
        if key == UNDATED:
            return
        query = {"fo": "json", "c": self._page_size, "sp": 1, "dates": f"{key}/{key}", "at": "results,pagination"}
        for collection in self._collections:
            yield f"{self._base_url}/{collection.strip('/')}/?{urlencode({**query, **self._search}, safe='/,:')}"

    def read_page(self, key: str, url: str, status: int, body: bytes) -> ListingPage:
        listing = _json_object(body)
        if status == 404:
            return ListingPage()  # how the API says that there are no results
        results, pagination = listing.get("results"), listing.get("pagination")
        if not isinstance(results, list) or not isinstance(pagination, dict):
            raise ListingProblem("the answer has no results and pagination")
        found = [self._candidate(record, url) for record in results if _is_item(record)]
        mine = [candidate for candidate in found if self.partition(candidate, self._partitions) == key]
        page = int(parse_qs(urlsplit(url).query)["sp"][0])
        pages = pagination.get("total")
        more = results and isinstance(pages, int) and page < pages
        return ListingPage(mine, [_with_page(url, page + 1)] if more else [])

    def _candidate(self, record: dict[str, Any], page_url: str) -> Candidate:
        item = record["item"]
        landing_url = _web_address(record.get("url") or record.get("id"), page_url)
        picture = _largest_picture(record.get("image_url"), page_url)
        date_text = _text(item.get("date")) or _text(record.get("date"))
        years = year_range(date_text) or year_range(_text(record.get("dates")))
        return Candidate(
            source=self.name,
            source_id=_identifier(record, item),
            file_url=picture or landing_url or page_url,
            landing_url=landing_url,
            title=_text(item.get("title")) or _text(record.get("title")),
            creator=_creators(item),
            licence=_text(item.get("rights_advisory")) or _text(item.get("rights")),
            licence_url=_web_address(_last_word(_text(item.get("rights_information"))), None),
            date_text=date_text,
            first_year=years[0] if years else None,
            last_year=years[1] if years else None,
            refusal=None if picture else "missing_file: the record names no picture",
        )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        listing = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ListingProblem("the answer is not JSON") from error
    if not isinstance(listing, dict):
        raise ListingProblem("the answer is not a JSON object")
    return listing


def _is_item(record: Any) -> bool:
    """True of a photograph's record; the collection's own page among the results has no item."""
    return isinstance(record, dict) and isinstance(record.get("item"), dict)


def _with_page(url: str, page: int) -> str:
    parts = urlsplit(url)
    query = [(name, str(page) if name == "sp" else value) for name, value in parse_qsl(parts.query)]
    return urlunsplit(parts._replace(query=urlencode(query, safe="/,:")))


def _text(value: Any) -> str | None:
    """One line of text of a field that may be text or a list of texts; None where there is none."""
    parts = [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, str)]
    return " ".join(" ".join(parts).split())[:_LONGEST_TEXT] or None


def _last_word(text: str | None) -> str | None:
    return text.split()[-1] if text else None


def _web_address(value: Any, base: str | None) -> str | None:
    """An absolute http(s) address, without its fragment; None where the value is none."""
    if not isinstance(value, str):
        return None
    try:
        address = urldefrag(urljoin(base or "", value.strip())).url
        parts = urlsplit(address)
    except ValueError:  # such as an unclosed IPv6 bracket
        return None
    return address if parts.scheme in ("http", "https") and parts.hostname else None


def _largest_picture(addresses: Any, base: str) -> str | None:
    """The address with the most pixels by its ``#h=..&w=..``; the last where none says its size."""
    listed = [text for text in (addresses if isinstance(addresses, list) else [addresses]) if isinstance(text, str)]
    usable = [
        (_pixels(text), place, address) for place, text in enumerate(listed) if (address := _web_address(text, base))
    ]
    return max(usable)[2] if usable else None


def _pixels(address: str) -> int:
    size = parse_qs(address.partition("#")[2])
    height, width = (size.get(side, ["0"])[0] for side in ("h", "w"))
    return int(height) * int(width) if len(height + width) < 20 and (height + width).isdecimal() else 0


def _identifier(record: dict[str, Any], item: dict[str, Any]) -> str:
    """The item's number: the last part of its address ``…/item/<number>/``."""
    address = _text(record.get("id")) or _text(item.get("id")) or _text(record.get("url")) or ""
    return address.rstrip("/").rpartition("/")[2] or "unknown"


def _creators(item: dict[str, Any]) -> str | None:
    creators = item.get("creators")
    names = [_text(one.get("title")) for one in creators if isinstance(one, dict)] if isinstance(creators, list) else []
    return "; ".join(name for name in names if name) or _text(item.get("contributors"))
