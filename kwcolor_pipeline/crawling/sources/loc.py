"""The source `loc`: the Library of Congress through its JSON API.

Belongs here: the addresses of listings and how to read them (https://www.loc.gov/apis/json-and-yaml/).
Fetching them, waiting and retrying do not.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

from kwcolor_pipeline.crawling.dates import read_date
from kwcolor_pipeline.crawling.licences import read_licence
from kwcolor_pipeline.crawling.sources.base import Candidate, Limits, ListingPage, ListingProblem, PagedSource
from kwcolor_pipeline.crawling.sources.reading import catalogued_tone, json_object, text, web_address, whole_number
from kwcolor_pipeline.home import fingerprint
from kwcolor_pipeline.photos.manifest import KOREAN_WAR_YEARS, UNDATED
from kwcolor_pipeline.settings import LocSettings


class LocSource(PagedSource):
    """Collections of the Library of Congress by the year in which a photograph was taken.

    The API lists a photograph dated with a range under every year of the range; it is taken in its
    own partition only. What has no year is found by listing a collection without asking for one.
    """

    name = "loc"
    about = "the Library of Congress, by default the colour photographs of the FSA and OWI"
    year_meaning = "taken"
    listing_statuses = frozenset({404})

    def __init__(self, settings: LocSettings, partitions: Sequence[str], *, target: bool) -> None:
        self.base_url = settings.base_url.rstrip("/")
        self.base_url_is_set = "base_url" in settings.model_fields_set
        self._page_size = settings.page_size
        self._collections = settings.korean_war_collections if target else settings.collections
        self._search = {"q": settings.korean_war_query, "fa": "online-format:image"} if target else {}
        self._years = KOREAN_WAR_YEARS if target else range(settings.first_year, settings.last_year + 1)
        self._partitions = partitions
        # https://www.loc.gov/apis/json-and-yaml/working-within-limits/
        self.page_limits = Limits(((settings.requests_per_10s, 10), (settings.requests_per_minute, 60)), at_once=1)
        self.picture_limits = Limits(((settings.downloads_per_10s, 10),), at_once=4)

    def covers(self, partitions: Sequence[str]) -> set[str]:
        return {*map(str, self._years), UNDATED} & set(partitions)

    def first_pages(self, key: str) -> Iterable[str]:
        dates = {} if key == UNDATED else {"dates": f"{key}/{key}"}
        query = {"fo": "json", "c": self._page_size, "sp": 1, **dates, "at": "results,pagination", **self._search}
        for collection in self._collections:
            yield f"{self.base_url}/{collection.strip('/')}/?{urlencode(query, safe='/,:')}"

    def read_page(self, key: str, url: str, status: int, body: bytes) -> ListingPage:
        listing = json_object(body)
        if status == 404:
            return ListingPage()  # how the API says that there are no results
        results, pagination = listing.get("results"), listing.get("pagination")
        if not isinstance(results, list) or not isinstance(pagination, dict):
            raise ListingProblem("the answer has no results and pagination")
        found = [self._candidate(record, url) for record in results if _is_item(record)]
        page = int(parse_qs(urlsplit(url).query)["sp"][0])
        pages = whole_number(pagination.get("total"))
        more = results and pages is not None and page < pages
        return ListingPage(self.belonging(key, found, self._partitions), [_with_page(url, page + 1)] if more else [])

    def _candidate(self, record: dict[str, Any], page_url: str) -> Candidate:
        item = record["item"]
        landing_url = web_address(record.get("url") or record.get("id"), page_url)
        picture = _largest_picture(record.get("image_url"), page_url)
        date_text = text(item.get("date")) or text(record.get("date"))
        date = read_date(date_text) or read_date(_years(record.get("dates")))
        licence = read_licence(
            text(item.get("rights_advisory")) or text(item.get("rights")),
            web_address(_last_word(text(item.get("rights_information")))),
        )
        refusal = licence.refusal if picture else "missing_file: the record names no picture"
        if record.get("access_restricted") is True:
            refusal = "licence: access is restricted"
        return Candidate(
            source=self.name,
            source_id=_identifier(record, item),
            file_url=picture or landing_url or page_url,
            landing_url=landing_url,
            title=text(item.get("title")) or text(record.get("title")),
            creator=_creators(item),
            licence=licence.text,
            licence_url=licence.url,
            date_text=date_text,
            first_year=date.first if date else None,
            last_year=date.last if date else None,
            date_precision=date.described if date else None,
            catalogued_tone=catalogued_tone(text(item.get("medium"))),
            refusal=refusal,
        )


def _is_item(record: Any) -> bool:
    """True of a photograph's record; the collection's own page among the results has no item."""
    return isinstance(record, dict) and isinstance(record.get("item"), dict)


def _with_page(url: str, page: int) -> str:
    parts = urlsplit(url)
    query = [(name, str(page) if name == "sp" else value) for name, value in parse_qsl(parts.query)]
    return urlunsplit(parts._replace(query=urlencode(query, safe="/,:")))


def _years(dates: Any) -> str | None:
    """The years of ``["1943-01-01T00:00:00Z", …]``: the API fills up a bare year to its first day."""
    listed = [text(one) or "" for one in (dates if isinstance(dates, list) else [dates])]
    return " or ".join(one[:4] for one in listed if one) or None


def _last_word(sentence: str | None) -> str | None:
    return sentence.split()[-1] if sentence else None


def _largest_picture(addresses: Any, base: str) -> str | None:
    """The address with the most pixels by its ``#h=..&w=..``; the last where none says its size."""
    listed = [one for one in (addresses if isinstance(addresses, list) else [addresses]) if isinstance(one, str)]
    usable = [(_pixels(one), place, address) for place, one in enumerate(listed) if (address := web_address(one, base))]
    return max(usable)[2] if usable else None


def _pixels(address: str) -> int:
    size = parse_qs(address.partition("#")[2])
    height, width = (size.get(side, ["0"])[0] for side in ("h", "w"))
    return int(height) * int(width) if len(height + width) < 20 and (height + width).isdecimal() else 0


def _identifier(record: dict[str, Any], item: dict[str, Any]) -> str:
    """The item's number: the last part of its address ``…/item/<number>/``."""
    address = text(record.get("id")) or text(item.get("id")) or text(record.get("url")) or ""
    return address.rstrip("/").rpartition("/")[2] or f"unnumbered-{fingerprint(record)[:16]}"


def _creators(item: dict[str, Any]) -> str | None:
    creators = item.get("creators")
    names = [text(one.get("title")) for one in creators if isinstance(one, dict)] if isinstance(creators, list) else []
    return "; ".join(name for name in names if name) or text(item.get("contributors"))
