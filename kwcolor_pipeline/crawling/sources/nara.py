"""The source `nara`: the US National Archives through the Catalog API v2.

Belongs here: the addresses of searches and how to read their answers (https://catalog.archives.gov/api/v2/api-docs/,
https://github.com/usnationalarchives/Catalog-API). Fetching them, waiting and retrying do not.
"""

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from kwcolor_pipeline.crawling.dates import read_date
from kwcolor_pipeline.crawling.licences import Licence
from kwcolor_pipeline.crawling.sources.base import (
    Candidate,
    Limits,
    ListingPage,
    ListingProblem,
    ListingRefused,
)
from kwcolor_pipeline.crawling.sources.keyed import KeyedSource
from kwcolor_pipeline.crawling.sources.reading import json_object, nested, objects, text, web_address, whole_number
from kwcolor_pipeline.photos.manifest import UNDATED
from kwcolor_pipeline.settings import NaraSettings

_PAGE_SIZE = 100
_MONTH = 30 * 86400.0
#: As the Catalog calls the kind of record that photographs are.
_PHOTOGRAPHS = "Photographs and other Graphic Materials"
_PICTURE_ENDINGS = (".jpg", ".jpeg", ".jpe", ".png", ".gif", ".tif", ".tiff", ".bmp", ".jp2", ".webp")


class NaraSource(KeyedSource):
    """Photographs of the National Archives by the year in which they were taken.

    A year asks the Catalog for the records that it dates in that year; each is taken in the partition of
    its own dates. `undated` asks without a year, so it reads the whole search, for the Catalog cannot be
    asked for records that have no date. A record's digital objects are one photograph each.
    """

    name = "nara"
    about = "the US National Archives' catalog"
    licence_rule = "records whose use is unrestricted"
    has_undated = True
    key_of = "the National Archives' Catalog API"
    key_is_had = "from Catalog_API@nara.gov"
    listing_statuses = frozenset({400, 401, 403})

    def __init__(self, settings: NaraSettings, partitions: Sequence[str], *, target: bool) -> None:
        super().__init__(
            settings, partitions, Limits(((20, 10), (settings.queries_per_month, _MONTH)), at_once=1), target=target
        )

    def page_headers(self) -> dict[str, str]:
        return {"x-api-key": self._key}

    def first_pages(self, key: str) -> Iterable[str]:
        dates = {} if key == UNDATED else {"startDate": f"{key}-01-01", "endDate": f"{key}-12-31"}
        # Only a search that begins with `searchAfter=*` gives cursors that can be followed.
        rest = {"availableOnline": "true", "typeOfMaterials": _PHOTOGRAPHS, "limit": _PAGE_SIZE, "searchAfter": "*"}
        for words in self._queries:
            yield f"{self.base_url}/records/search?{urlencode({'q': words, **dates, **rest})}"

    def read_page(self, key: str, url: str, status: int, body: bytes) -> ListingPage:
        _raise_refusals(status)
        hits = nested(_listing(body), "body", "hits", "hits")
        if not isinstance(hits, list):
            raise ListingProblem("the answer has no list of hits")
        records = [(record, text(hit.get("_id"))) for hit in objects(hits) if (record := _record(hit))]
        found = [candidate for record, number in records for candidate in self._candidates(record, number, url)]
        mine = self.belonging(key, found, self._partitions)
        cursor = _cursor(hits)
        if not hits:
            return ListingPage(mine)
        if cursor is None or cursor == dict(parse_qsl(urlsplit(url).query)).get("searchAfter"):
            problem = f"nara {key}: the Catalog does not say where the listing {url} goes on; crawl {key} again later."
            return ListingPage(mine, problem=problem)
        return ListingPage(mine, [_with_cursor(url, cursor)])

    def _candidates(self, record: dict[str, Any], number: str | None, page_url: str) -> list[Candidate]:
        """The photographs of one record; one that is refused where it has none, so that it is not forgotten."""
        listed = objects(record.get("digitalObjects")) or [{}]
        return [self._candidate(record, number, one, page_url) for one in listed]

    def _candidate(self, record: dict[str, Any], number: str | None, file: dict[str, Any], page_url: str) -> Candidate:
        na_id = text(record.get("naId")) or number
        landing_url = f"https://catalog.archives.gov/id/{na_id}" if na_id and _is_number(na_id) else None
        picture = web_address(file.get("objectUrl"))
        date_text = _date_text(record)
        date = read_date(date_text)
        licence = _licence(record)
        file_url = picture or landing_url or page_url
        return Candidate(
            source=self.name,
            source_id="/".join(part for part in (na_id, text(file.get("objectId"))) if part) or file_url,
            file_url=file_url,
            landing_url=landing_url,
            title=text(record.get("title")),
            creator=_creators(record),
            licence=licence.text,
            date_text=date_text,
            first_year=date.first if date else None,
            last_year=date.last if date else None,
            date_precision=date.described if date else None,
            refusal=_no_photograph(record, file, picture) or licence.refusal,
        )


def _raise_refusals(status: int) -> None:
    """The answers that asking again does not change: a wrong key, a spent one, a search without words."""
    if status == 401:
        raise ListingRefused(
            f"the Catalog refuses the key; correct KWCOLOR_NARA__API_KEY (keys are had {NaraSource.key_is_had})."
        )
    if status == 403:
        raise ListingRefused(
            "the Catalog refuses the key for now, as it does when the queries of a month are used up; "
            "crawl again next month, or ask Catalog_API@nara.gov for more."
        )
    if status == 400:
        raise ListingRefused("the Catalog does not understand the search; correct KWCOLOR_NARA__QUERIES.")


def _listing(body: bytes) -> dict[str, Any]:
    try:
        return json_object(body)
    except ListingProblem as problem:
        if not body.lstrip().startswith(b"<"):
            raise
        hint = "a web page, which the Catalog shows where it does not accept KWCOLOR_NARA__API_KEY"
        raise ListingProblem(f"the answer is not JSON but {hint}") from problem


def _record(hit: dict[str, Any]) -> dict[str, Any] | None:
    record = nested(hit, "_source", "record")
    return record if isinstance(record, dict) else None


def _cursor(hits: list[Any]) -> str | None:
    """Where the listing goes on: the number of the last record, which is all that its `sort` holds."""
    order = nested(hits, -1, "sort")
    cursor = text(order[0]) if isinstance(order, list) and len(order) == 1 else None
    return cursor if cursor and _is_number(cursor) else None


def _with_cursor(url: str, cursor: str) -> str:
    parts = urlsplit(url)
    query = [(name, cursor if name == "searchAfter" else value) for name, value in parse_qsl(parts.query)]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _is_number(written: str) -> bool:
    return len(written) <= 30 and written.isascii() and written.isdecimal()


def _licence(record: dict[str, Any]) -> Licence:
    """`Unrestricted` says that the Archives know of no restriction; everything else refuses."""
    status = text(nested(record, "useRestriction", "status"))
    specific = text(nested(record, "useRestriction", "specificUseRestrictions"))
    if status == "Unrestricted" and not specific:
        return Licence("no known restrictions", "use restriction: Unrestricted", None)
    said = " ".join(part for part in (status, specific) if part)
    return Licence(None, f"use restriction: {said}" if said else None, None)


def _no_photograph(record: dict[str, Any], file: dict[str, Any], picture: str | None) -> str | None:
    """Why a digital object cannot be a photograph; None where it may be one."""
    if picture is None:
        return "missing_file: the record names no picture"
    kinds = text(record.get("generalRecordsTypes"))
    if kinds and "photograph" not in kinds.lower():
        return f"not_a_photograph: {kinds[:200]}"
    kind = text(file.get("objectType"))
    if kind:
        return None if kind.lower().startswith("image") else f"not_an_image: {kind[:200]}"
    name = PurePosixPath(urlsplit(picture).path).name
    return None if name.lower().endswith(_PICTURE_ENDINGS) else f"not_an_image: {name[:200]}"


def _date_text(record: dict[str, Any]) -> str | None:
    """The record's dates in one line: when it was made, or else the time that it covers."""
    made = record.get("productionDates")
    written = [one for date in (made if isinstance(made, list) else [made]) if (one := _written(date))]
    if written:
        return "; ".join(written[:20])
    for first, last in (("coverageStartDate", "coverageEndDate"), ("inclusiveStartDate", "inclusiveEndDate")):
        ends = [one for name in (first, last) if (one := _written(record.get(name)))]
        if ends:
            return " to ".join(dict.fromkeys(ends))
    return None


def _written(date: Any) -> str | None:
    """A date of the Catalog: year, month and day as far as they are known, and the cataloguer's doubt.

    `logicalDate` beside them is a whole date even where only the year is known, so only its year is taken.
    """
    if not isinstance(date, dict):
        return text(date)
    year = whole_number(date.get("year")) or whole_number((text(date.get("logicalDate")) or "")[:4])
    if year is None or not 0 < year < 10_000:
        return None
    parts = [f"{year:04d}"]
    for name, largest in (("month", 12), ("day", 31)):
        number = whole_number(date.get(name))
        if number is None or not 1 <= number <= largest:
            break
        parts.append(f"{number:02d}")
    qualifier = date.get("dateQualifier")
    doubt = text(nested(qualifier, "termName") if isinstance(qualifier, dict) else qualifier)
    return " ".join([*([doubt] if doubt else []), "-".join(parts)])


def _creators(record: dict[str, Any]) -> str | None:
    """Photographers where they are named, otherwise the agency."""
    for field in ("contributors", "creators"):
        names = [name for one in objects(record.get(field)) if (name := text(one.get("heading")))]
        if names:
            return "; ".join(dict.fromkeys(names))[:2000]
    return None
