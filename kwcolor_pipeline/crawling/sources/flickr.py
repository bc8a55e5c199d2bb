"""The source `flickr`: Flickr Commons through Flickr's API.

Belongs here: the addresses of searches and how to read their answers
(https://www.flickr.com/services/api/flickr.photos.search.html, https://www.flickr.com/services/api/misc.dates.html,
https://www.flickr.com/services/api/flickr.photos.licenses.getInfo.html). Fetching them, waiting and retrying do not.
"""

import calendar
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from kwcolor_pipeline.crawling.dates import ArchiveDate, read_date
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
from kwcolor_pipeline.settings import FlickrSettings

_PAGE_SIZE = 500
#: Flickr lists no more photographs for one search, however many it counts.
_MOST_RESULTS = 4000
#: Fields of the picture's sizes, largest first; the original's is missing where its owner keeps it.
_SIZES = ("url_o", "url_6k", "url_5k", "url_4k", "url_3k", "url_k", "url_h", "url_l", "url_c", "url_z")
_EXTRAS = ",".join(("license", "owner_name", "date_taken", *_SIZES))
_CC = "https://creativecommons.org"
#: Flickr's licences by their number; those with a kind are allowed.
_LICENCES = {
    0: Licence(None, "All rights reserved", None),
    1: Licence(None, "CC BY-NC-SA 2.0", f"{_CC}/licenses/by-nc-sa/2.0/"),
    2: Licence(None, "CC BY-NC 2.0", f"{_CC}/licenses/by-nc/2.0/"),
    3: Licence(None, "CC BY-NC-ND 2.0", f"{_CC}/licenses/by-nc-nd/2.0/"),
    4: Licence("CC BY", "CC BY 2.0", f"{_CC}/licenses/by/2.0/"),
    5: Licence("CC BY-SA", "CC BY-SA 2.0", f"{_CC}/licenses/by-sa/2.0/"),
    6: Licence(None, "CC BY-ND 2.0", f"{_CC}/licenses/by-nd/2.0/"),
    7: Licence("no known restrictions", "No known copyright restrictions", "https://www.flickr.com/commons/usage/"),
    8: Licence("public domain", "United States Government Work", "http://www.usa.gov/copyright.shtml"),
    9: Licence("CC0", "CC0 1.0", f"{_CC}/publicdomain/zero/1.0/"),
    10: Licence("public domain", "Public Domain Mark 1.0", f"{_CC}/publicdomain/mark/1.0/"),
    11: Licence("CC BY", "CC BY 4.0", f"{_CC}/licenses/by/4.0/"),
    12: Licence("CC BY-SA", "CC BY-SA 4.0", f"{_CC}/licenses/by-sa/4.0/"),
    13: Licence(None, "CC BY-ND 4.0", f"{_CC}/licenses/by-nd/4.0/"),
    14: Licence(None, "CC BY-NC 4.0", f"{_CC}/licenses/by-nc/4.0/"),
    15: Licence(None, "CC BY-NC-SA 4.0", f"{_CC}/licenses/by-nc-sa/4.0/"),
    16: Licence(None, "CC BY-NC-ND 4.0", f"{_CC}/licenses/by-nc-nd/4.0/"),
}
#: Errors of Flickr's that pass: search, service or operation unavailable.
_PASSING = {10, 105, 106, 201}
_INVALID_KEY = 100


class FlickrSource(KeyedSource):
    """Photographs that institutions share in Flickr Commons, by the year in which they were taken.

    A year with more photographs than Flickr lists for one search is asked for month by month. There is no
    `undated`: Flickr gives a photograph of unknown date the day of its upload, so no search finds it by
    its lack of a date.
    """

    name = "flickr"
    about = "Flickr Commons, photographs that museums and archives share"
    key_of = "Flickr's API"
    key_is_had = "at https://www.flickr.com/services/apps/create/"

    def __init__(self, settings: FlickrSettings, partitions: Sequence[str], *, target: bool) -> None:
        # https://www.flickr.com/services/developer/api/ asks for no more than 3,600 queries an hour and key.
        super().__init__(settings, partitions, Limits(((settings.queries_per_hour, 3600),), at_once=1), target=target)

    def page_secrets(self) -> dict[str, str]:
        return {"api_key": self._key}

    def first_pages(self, key: str) -> Iterable[str]:
        if key not in self.covers([key]):
            return
        for words in self._queries:
            query = {
                "method": "flickr.photos.search",
                "format": "json",
                "nojsoncallback": 1,
                "is_commons": 1,
                "media": "photos",
                "text": words,
                "min_taken_date": f"{key}-01-01 00:00:00",
                "max_taken_date": f"{key}-12-31 23:59:59",
                "sort": "date-posted-asc",  # what is added while the pages are read comes last
                "extras": _EXTRAS,
                "per_page": _PAGE_SIZE,
                "page": 1,
            }
            yield f"{self.base_url}/services/rest/?{urlencode(query, safe=',:')}"

    def read_page(self, key: str, url: str, status: int, body: bytes) -> ListingPage:
        listing = json_object(body)
        if listing.get("stat") != "ok":
            raise self._failure(listing)
        photos = listing.get("photos")
        listed = photos.get("photo") if isinstance(photos, dict) else None
        if not isinstance(listed, list):
            raise ListingProblem("the answer has no list of photos")
        asked = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        page, total = whole_number(asked.get("page")) or 1, whole_number(nested(photos, "total"))
        if page == 1 and total is not None and total > _MOST_RESULTS and _is_year(asked):
            return ListingPage(next_pages=_months(url, asked))
        found = [self._candidate(photo, url) for photo in objects(listed)]
        mine = self.belonging(key, found, self._partitions)
        pages = min(whole_number(nested(photos, "pages")) or 1, _MOST_RESULTS // _PAGE_SIZE)
        more = [_changed(url, page=page + 1)] if listed and page < pages else []
        return ListingPage(mine, more, _excess(key, asked, total) if page == 1 else None)

    def _failure(self, listing: dict[str, Any]) -> ListingProblem:
        """The problem that `stat: fail` names (https://www.flickr.com/services/api/response.json.html)."""
        code, said = whole_number(listing.get("code")), text(listing.get("message")) or "no reason"
        said = said.replace(self._key, "…")[:200] if self._key else said[:200]
        if code == _INVALID_KEY:
            return ListingRefused(
                "Flickr does not accept the key; correct KWCOLOR_FLICKR__API_KEY "
                "(keys are had at https://www.flickr.com/services/apps/create/)."
            )
        if code is None or code in _PASSING:
            return ListingProblem(f"Flickr answers with a failure: {said}")
        return ListingRefused(f"Flickr refuses the search (error {code}, {said}); correct KWCOLOR_FLICKR__QUERIES.")

    def _candidate(self, photo: dict[str, Any], page_url: str) -> Candidate:
        number, owner = text(photo.get("id")), text(photo.get("owner"))
        landing_url = _landing_url(owner, number)
        pictures = (web_address(photo.get(size)) for size in _SIZES)
        picture = next((address for address in pictures if address), None)
        date_text, date = _taken(photo)
        licence = _licence(photo.get("license"))
        file_url = picture or landing_url or page_url
        return Candidate(
            source=self.name,
            source_id=number or file_url,
            file_url=file_url,
            landing_url=landing_url,
            title=text(photo.get("title")),
            creator=text(photo.get("ownername")),
            licence=licence.text,
            licence_url=licence.url,
            date_text=date_text,
            first_year=date.first if date else None,
            last_year=date.last if date else None,
            date_precision=date.described if date else None,
            refusal=licence.refusal if picture else "missing_file: the record names no picture",
        )


def _taken(photo: dict[str, Any]) -> tuple[str | None, ArchiveDate | None]:
    """When it was taken: as Flickr says it, and as far as its granularity makes it known.

    A date marked as unknown is that of the upload (https://www.flickr.com/services/api/misc.dates.html).
    """
    taken, granularity = text(photo.get("datetaken")), whole_number(photo.get("datetakengranularity")) or 0
    if taken is None or photo.get("datetakenunknown") not in (None, 0, "0"):
        return None, None
    exact = taken[:10]
    if granularity >= 8:
        exact = f"circa {taken[:4]}"
    elif granularity >= 6:
        exact = taken[:4]
    elif granularity >= 4:
        exact = taken[:7]
    return f"{taken[:100]}, granularity {granularity}", read_date(exact)


def _licence(value: Any) -> Licence:
    """The licence that Flickr numbers so; one that refuses says its number, for there may be new ones."""
    number = whole_number(value)
    licence = _LICENCES.get(number) if number is not None else None
    if licence and licence.kind:
        return licence
    said = f"Flickr licence {text(value) or 'none'}"[:100]
    return Licence(None, f"{licence.text} ({said})", licence.url) if licence else Licence(None, said, None)


def _landing_url(owner: str | None, number: str | None) -> str | None:
    if not owner or not number or not number.isascii() or not number.isdecimal() or len(number) > 30:
        return None
    return f"https://www.flickr.com/photos/{quote(owner[:100], safe='@')}/{number}/"


def _is_year(asked: dict[str, str]) -> bool:
    return asked.get("min_taken_date", "")[4:10] == "-01-01" and asked.get("max_taken_date", "")[4:10] == "-12-31"


def _months(url: str, asked: dict[str, str]) -> list[str]:
    """The same search for each month of its year."""
    year = whole_number(asked.get("min_taken_date", "")[:4]) or 1
    return [
        _changed(
            url,
            min_taken_date=f"{year:04d}-{month:02d}-01 00:00:00",
            max_taken_date=f"{year:04d}-{month:02d}-{calendar.monthrange(year, month)[1]:02d} 23:59:59",
        )
        for month in range(1, 13)
    ]


def _changed(url: str, **values: object) -> str:
    parts = urlsplit(url)
    query = [(name, values.get(name, value)) for name, value in parse_qsl(parts.query, keep_blank_values=True)]
    return urlunsplit(parts._replace(query=urlencode(query, safe=",:")))


def _excess(key: str, asked: dict[str, str], total: int | None) -> str | None:
    """The sentence about photographs that Flickr counts and does not list; None where it lists them all."""
    if total is None or total <= _MOST_RESULTS:
        return None
    month = asked.get("min_taken_date", "")[:7]
    return (
        f"flickr {key}: {total} photographs of {month} match {asked.get('text', '')!r} and Flickr lists only "
        f"{_MOST_RESULTS} of them; use more words in KWCOLOR_FLICKR__QUERIES."
    )
