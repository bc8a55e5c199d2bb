"""The source `commons`: categories and searches of Wikimedia Commons through the MediaWiki API.

Belongs here: the addresses of listings and how to read them. Fetching them, waiting and retrying do not; nor does
judging by titles or categories whether a picture is wanted.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

from kwcolor_pipeline.crawling.dates import ArchiveDate, read_date
from kwcolor_pipeline.crawling.licences import Licence, read_licence
from kwcolor_pipeline.crawling.sources.base import (
    Candidate,
    Limits,
    ListingPage,
    ListingProblem,
    ListingRefused,
    PagedSource,
)
from kwcolor_pipeline.crawling.sources.reading import (
    catalogued_tone,
    json_object,
    nested,
    text,
    text_of_html,
    web_address,
    whole_number,
)
from kwcolor_pipeline.photos.manifest import KOREAN_WAR_YEARS, UNDATED
from kwcolor_pipeline.settings import CommonsSettings, SettingsProblem

#: Widths that upload.wikimedia.org serves (https://phabricator.wikimedia.org/T414805).
PICTURE_WIDTHS = (20, 40, 60, 120, 250, 330, 500, 960, 1280, 1920, 3840)
#: Members a batch: https://www.mediawiki.org/wiki/API:Imageinfo makes no more than 50 addresses of copies at once.
_BATCH = 50
#: The search engine lists no further (https://www.mediawiki.org/wiki/API:Search).
_MOST_FOUND = 10_000
#: 25 Mbit/s (https://wikitech.wikimedia.org/wiki/Robot_policy).
_BYTES_PER_SECOND = 25_000_000 // 8
_CATEGORY_NAMESPACE = 14
_YEAR = "{year}"
_BITMAPS = frozenset(
    {"image/jpeg", "image/png", "image/gif", "image/tiff", "image/webp", "image/bmp", "image/x-ms-bmp"}
)
_TOLD = ("DateTimeOriginal", "Artist", "ObjectName", "LicenseShortName", "UsageTerms", "LicenseUrl")
_CONTINUATION = re.compile(r"[a-z]{0,20}(continue|offset)")
#: Errors that pass (https://www.mediawiki.org/wiki/API:Errors_and_warnings); `cirrussearch` is the search engine.
_PASSING = re.compile(r"maxlag|ratelimited|readonly|internal_api_error.*|cirrussearch-.*(busy|backend).*")
#: Templates hide the same once more for programs, such as `date QS:P571,+1950-00-00T00:00:00Z/7`; and a tag cut short.
_HIDDEN = re.compile(r"<(\w+)\b[^<>]*\bdisplay:\s*none[^<>]*>.*?(?:</\1>|$)|<[a-z/][^<>]*$", re.IGNORECASE)
_TIME = re.compile(r"<time\b[^<>]*\bdatetime=[\"']([^\"'<>]+)[\"'][^<>]*>[^<]*", re.IGNORECASE)


@dataclass(frozen=True)
class _Place:
    """Where in a listing a page's address is.

    The fragment, which is not sent, says how deep below the settings' categories it is and whether the
    settings name it for one year.
    """

    query: dict[str, str]
    depth: int
    for_year: bool

    @classmethod
    def of(cls, url: str) -> "_Place":
        parts = urlsplit(url)
        notes = parse_qs(parts.fragment)
        return cls(dict(parse_qsl(parts.query)), int(notes.get("depth", ["0"])[0]), "for_year" in notes)

    @property
    def category(self) -> str | None:
        """Title of the category; None in a search."""
        return self.query.get("gcmtitle")

    @property
    def listing(self) -> tuple[str, int]:
        """What all pages of one category or search have in common."""
        return self.name, self.depth

    @property
    def name(self) -> str:
        """The category or search, for a message."""
        return self.category or f"the search `{self.query.get('gsrsearch', '')}`"

    @property
    def is_first(self) -> bool:
        """True of the page that a category or search begins with."""
        return not any(map(_CONTINUATION.fullmatch, self.query))

    @property
    def is_later_part(self) -> bool:
        """True of a page that goes on with the properties of a batch whose members were listed before."""
        return "iicontinue" in self.query


class CommonsSource(PagedSource):
    """Files of Wikimedia Commons by the year in which a photograph was taken.

    A batch of files may be answered in several parts, each with what is known of some of its files
    (https://www.mediawiki.org/wiki/API:Continue); what no part describes is listed as missing. Subcategories are
    followed down to a depth; each is listed once, so cycles among them end.
    """

    name = "commons"
    about = "Wikimedia Commons, by categories and searches"
    year_meaning = "taken"

    def __init__(self, settings: CommonsSettings, partitions: Sequence[str], *, target: bool) -> None:
        """Raises SettingsProblem where the width is none that Commons allows."""
        if settings.picture_width and settings.picture_width not in PICTURE_WIDTHS:
            raise SettingsProblem(
                f"Commons serves no pictures {settings.picture_width} pixels wide; set KWCOLOR_COMMONS__PICTURE_WIDTH "
                f"to one of {', '.join(map(str, PICTURE_WIDTHS))}, or to 0 for the original files."
            )
        self.base_url = settings.base_url.rstrip("/")
        self.base_url_is_set = "base_url" in settings.model_fields_set
        self._width = settings.picture_width
        self._depth = settings.subcategory_depth
        categories = settings.korean_war_categories if target else settings.categories
        self._categories = list(dict.fromkeys(_category_title(one) for one in categories if one.strip()))
        searches = settings.korean_war_searches if target else settings.searches
        self._searches = list(dict.fromkeys(" ".join(one.split()) for one in searches if one.strip()))
        self._settings_prefix = "KWCOLOR_COMMONS__" + ("KOREAN_WAR_" if target else "")
        self._years = KOREAN_WAR_YEARS if target else range(settings.first_year, settings.last_year + 1)
        self._partitions = partitions
        # https://www.mediawiki.org/wiki/API:Etiquette asks for serial requests and maxlag and names no number; the
        # numbers are ours. Of pictures, two at once and their bandwidth are limited, not their count.
        self.page_limits = Limits(((settings.requests_per_10s, 10), (settings.requests_per_minute, 60)), at_once=1)
        self.picture_limits = Limits(at_once=2, bytes_per_second=_BYTES_PER_SECOND)
        self._forget()

    def _forget(self) -> None:
        #: The smallest depth at which a category is being listed.
        self._depth_of: dict[str, int] = {}
        #: Of a batch that is not complete: its files by number; None once one has been described.
        self._waiting: dict[tuple[str, int], dict[int, dict[str, Any] | None]] = {}
        #: The page that went on to an address: another one doing so has gone round in a circle.
        self._leads_to: dict[str, str] = {}

    def covers(self, partitions: Sequence[str]) -> set[str]:
        return {*map(str, self._years), UNDATED} & set(partitions)

    def first_pages(self, key: str) -> Iterable[str]:
        self._forget()  # what an earlier crawl left unfinished is listed anew
        categories, searches = _entries(self._categories, key), _entries(self._searches, key)
        self._depth_of = dict.fromkeys(categories, 0)
        pages = [self._category_page(title, 0, for_year) for title, for_year in categories.items()]
        return pages + [self._search_page(words) for words in searches]

    def read_page(self, key: str, url: str, status: int, body: bytes) -> ListingPage:
        listing, place = json_object(body), _Place.of(url)
        self._raise_error(listing, place)
        is_complete = listing.get("batchcomplete") in (True, "")  # "" in the API's older format
        following = self._following(listing, url, place)
        if not is_complete and not (following and _Place.of(following).is_later_part):
            raise ListingProblem("the batch is neither complete nor goes on")  # seen of a search that was too busy
        if place.is_later_part and place.listing not in self._waiting:
            raise ListingProblem("the part before this one was not read")
        records, problems = _records(listing, place)
        members = [record for record in records if not _is_category(record)]
        subcategories = [record for record in records if _is_category(record)]
        found = self._files(members, place, key, is_complete)
        if place.is_first and not records and is_complete and following is None:
            problems += self._nothing_found(place)
        if following and (whole_number(_Place.of(following).query.get("gsroffset")) or 0) >= _MOST_FOUND:
            following = None
            problems.append(
                f"commons: {place.name} finds {_MOST_FOUND} photographs or more, and no more are listed; "
                f"narrow it in {self._setting(place)}."
            )
        next_pages = self._subcategory_pages(subcategories, place)
        if following:
            self._leads_to[following] = url
            next_pages.insert(0, following)
        return ListingPage(self.belonging(key, found, self._partitions), next_pages, " ".join(problems) or None)

    def _category_page(self, title: str, depth: int, for_year: bool) -> str:
        kinds = "file|subcat" if depth < self._depth else "file"
        query = {"generator": "categorymembers", "gcmtitle": title, "gcmtype": kinds, "gcmlimit": _BATCH}
        return self._page(query, depth, for_year)

    def _search_page(self, words: str) -> str:
        searched = words if "filetype:" in words else f"filetype:bitmap {words}"
        # by time of upload, so that no file changes its place while the pages are asked for
        query = {"gsrsearch": searched, "gsrnamespace": 6, "gsrlimit": _BATCH, "gsrsort": "create_timestamp_asc"}
        return self._page({"generator": "search", **query}, 0, False)

    def _page(self, generator: dict[str, Any], depth: int, for_year: bool) -> str:
        query = {
            "action": "query",
            "format": "json",
            "formatversion": 2,
            **generator,
            "prop": "imageinfo",
            "iiprop": "url|size|mime|sha1|timestamp|extmetadata",
            "iiextmetadatafilter": "|".join(_TOLD),
            **({"iiurlwidth": self._width} if self._width else {}),
            "maxlag": 5,
        }
        notes = {**({"depth": depth} if depth else {}), **({"for_year": 1} if for_year else {})}
        address = f"{self.base_url}/w/api.php?{urlencode(query, safe='|:')}"
        return f"{address}#{urlencode(notes)}" if notes else address

    def _following(self, listing: dict[str, Any], url: str, place: _Place) -> str | None:
        """The address that the answer goes on with; None where it is the last.

        What the last answer added is left out: it belongs to the batch before.
        """
        told = listing.get("continue")
        if told is None:
            return None
        if not isinstance(told, dict) or not told:
            raise ListingProblem("the answer does not say how it goes on")
        added = {name: _token(value) for name, value in told.items() if _CONTINUATION.fullmatch(name)}
        if len(added) < len(told) or None in added.values():
            raise ListingProblem("the answer does not say in a usable way how it goes on")
        kept = {name: value for name, value in place.query.items() if not _CONTINUATION.fullmatch(name)}
        following = urlunsplit(urlsplit(url)._replace(query=urlencode({**kept, **added}, safe="|:")))
        if following == url or self._leads_to.get(following, url) != url:
            raise ListingProblem("the answer goes on with what was listed before")
        return following

    def _files(self, members: Sequence[dict[str, Any]], place: _Place, key: str, is_complete: bool) -> list[Candidate]:
        """The files that are described here, and those of a complete batch that no part has described."""
        waiting = dict(self._waiting[place.listing]) if place.is_later_part else {}
        found = []
        for page in members:
            number = _number(page)
            if "imageinfo" in page:
                found.append(self._candidate(page, number, place, key))
                waiting[number] = None
            else:
                waiting.setdefault(number, page)
        if is_complete:
            self._waiting.pop(place.listing, None)
            found += [self._candidate(page, number, place, key) for number, page in waiting.items() if page]
        else:
            self._waiting[place.listing] = waiting
        return found

    def _candidate(self, page: dict[str, Any], number: int, place: _Place, key: str) -> Candidate:
        info = nested(page, "imageinfo", 0)
        about = nested(info, "extmetadata")
        file_page = f"{self.base_url}/?curid={number}"
        copy = _address(nested(info, "thumburl")) if self._width else None
        picture = copy or _address(nested(info, "url"))
        mime, licence = text(nested(info, "mime")), _licence(about)
        date_text, date = _date(nested(about, "DateTimeOriginal", "value"))
        if date is None and place.for_year and place.category and key.isdecimal():
            date_text, date = date_text or place.category, ArchiveDate(int(key), int(key), "year", uncertain=True)
        if picture is None:
            refusal: str | None = "missing_file: the wiki names no file"
        elif mime and mime not in _BITMAPS:
            refusal = f"not_an_image: {mime[:100]}"
        else:
            refusal = licence.refusal
        return Candidate(
            source=self.name,
            source_id=f"M{number}",
            file_url=picture or file_page,
            landing_url=_address(nested(info, "descriptionurl")) or file_page,
            title=_visible(nested(about, "ObjectName", "value")) or _file_title(text(page.get("title"))),
            creator=_visible(nested(about, "Artist", "value")),
            licence=licence.text,
            licence_url=licence.url,
            date_text=date_text,
            first_year=date.first if date else None,
            last_year=date.last if date else None,
            date_precision=date.described if date else None,
            catalogued_tone=catalogued_tone(place.category, _visible(nested(about, "Categories", "value"))),
            refusal=refusal,
        )

    def _subcategory_pages(self, subcategories: Sequence[dict[str, Any]], place: _Place) -> list[str]:
        """The first pages of subcategories that are not listed yet, or only deeper down than here."""
        depth, pages = place.depth + 1, []
        for record in subcategories:
            title = text(record.get("title"))
            if title and depth <= self._depth and depth < self._depth_of.get(title, depth + 1):
                self._depth_of[title] = depth
                pages.append(self._category_page(title, depth, place.for_year))
        return pages

    def _nothing_found(self, place: _Place) -> list[str]:
        """A sentence about a category of the settings without members, unless it is one of many years."""
        if place.category is None or place.depth or place.for_year:
            return []
        return [f"commons: {place.category} is empty or does not exist; correct {self._setting(place)}."]

    def _setting(self, place: _Place) -> str:
        return self._settings_prefix + ("CATEGORIES" if place.category else "SEARCHES")

    def _raise_error(self, listing: dict[str, Any], place: _Place) -> None:
        """Raise ListingProblem for an error that passes, ListingRefused for any other."""
        if "error" not in listing:
            return
        code = text(nested(listing, "error", "code"))
        said = (text(nested(listing, "error", "info")) or "without a reason").rstrip(".")[:300]
        if code is None or _PASSING.fullmatch(code):
            raise ListingProblem(f"{code or 'an error'}: {said}")
        remedy = "crawl again later" if code == "badcontinue" else f"correct {self._setting(place)}"
        raise ListingRefused(f"commons: the wiki refuses to list {place.name} ({code[:100]}: {said}); {remedy}.")


def _entries(written: Sequence[str], key: str) -> dict[str, bool]:
    """The categories or searches for partition ``key``, and whether each is for that year alone."""
    year_or_none = None if key == UNDATED else key
    fixed = {one: False for one in written if _YEAR not in one}
    dated = {one.replace(_YEAR, year_or_none): True for one in written if _YEAR in one} if year_or_none else {}
    return {**dated, **fixed}


def _category_title(written: str) -> str:
    """A category as the wiki writes it: `Category:`, a capital, spaces for underscores."""
    named = re.sub(r"^\s*category\s*:", "", written.replace("_", " "), flags=re.IGNORECASE)
    words = " ".join(named.split())
    return f"Category:{words[:1].upper()}{words[1:]}"


def _records(listing: dict[str, Any], place: _Place) -> tuple[list[dict[str, Any]], list[str]]:
    """The pages of an answer, and a sentence where some cannot be told apart.

    Raises ListingProblem where the answer has something else in their place.
    """
    query = listing.get("query", {})
    pages = query.get("pages", []) if isinstance(query, dict) else None
    if isinstance(pages, dict):  # as the API's older format has them
        pages = list(pages.values())
    if not isinstance(pages, list):
        raise ListingProblem("the answer has no list of pages")
    usable = [page for page in pages if isinstance(page, dict) and _number(page)]
    deleted = [page for page in pages if isinstance(page, dict) and page.get("missing") and not _number(page)]
    lost = len(pages) - len(usable) - len(deleted)
    if not lost:
        return usable, []
    return usable, [f"commons: {lost} of the files in {place.name} came without a number; crawl again later."]


def _number(page: dict[str, Any]) -> int:
    """The number of a page, by which the parts of an answer are put together; 0 where it has none."""
    return max(whole_number(page.get("pageid")) or 0, 0)


def _is_category(page: dict[str, Any]) -> bool:
    namespace = page.get("ns")
    if isinstance(namespace, int) and not isinstance(namespace, bool):
        return namespace == _CATEGORY_NAMESPACE
    return (text(page.get("title")) or "").startswith("Category:")


def _token(value: Any) -> str | None:
    """A value of `continue`; None where it is none that the API makes."""
    token = text(value)
    return token if token is not None and str(value) == token else None


def _address(value: Any) -> str | None:
    """A whole http(s) address, or one that only leaves out `https:`; None for any other."""
    return web_address(f"https:{value}" if isinstance(value, str) and value.startswith("//") else value)


def _marked(value: Any) -> str:
    """HTML on one line, without the parts that are not shown."""
    return _HIDDEN.sub(" ", text(value) or "")


def _visible(value: Any) -> str | None:
    return text_of_html(_marked(value))


def _date(value: Any) -> tuple[str | None, ArchiveDate | None]:
    """DateTimeOriginal as a reader sees it, and what it means: by its `datetime` attributes where it has any."""
    shown = _visible(value)
    return shown, read_date(text_of_html(_TIME.sub(r" \1 ", _marked(value)))) or read_date(shown)


def _licence(about: Any) -> Licence:
    """The licence that a file's description names; its long form where the short one says too little."""
    short, terms = (_visible(nested(about, name, "value")) for name in ("LicenseShortName", "UsageTerms"))
    vague = short is None or short.lower() == "no restrictions"
    return read_licence((terms or short) if vague else short, _address(_visible(nested(about, "LicenseUrl", "value"))))


def _file_title(title: str | None) -> str | None:
    """`Tank` of `File:Tank.jpg`."""
    name = (title or "").partition(":")[2] or title or ""
    stem, dot, ending = name.rpartition(".")
    return (stem if dot and stem and len(ending) <= 5 else name).strip() or None
