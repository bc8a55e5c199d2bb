import json
from dataclasses import asdict
from random import Random
from urllib.parse import parse_qs, urlsplit

import pytest

from kwcolor_pipeline.crawling.licences import ALLOWED
from kwcolor_pipeline.crawling.sources.base import ListingPage, ListingProblem, ListingRefused
from kwcolor_pipeline.crawling.sources.flickr import FlickrSource
from kwcolor_pipeline.photos.manifest import crawl_partitions, korean_war_partitions
from kwcolor_pipeline.settings import FlickrSettings
from kwcolor_pipeline_tests.crawling.mutations import mutated

KEY = "flickr-key-19d2"
STATIC = "https://live.staticflickr.com/65535/"


def flickr(target=False, **facts):
    partitions = korean_war_partitions() if target else crawl_partitions()
    return FlickrSource(FlickrSettings(**{"api_key": KEY, "queries": ["color"], **facts}), partitions, target=target)


def photo(**changes):
    return {
        "id": "2179930812",
        "owner": "8623220@N02",
        "secret": "1234567890",
        "server": "65535",
        "farm": 66,
        "title": "Operating a hand drill",
        "ispublic": 1,
        "license": "7",
        "datetaken": "1943-02-01 00:00:00",
        "datetakengranularity": "4",
        "datetakenunknown": "0",
        "ownername": "The Library of Congress",
        "url_o": f"{STATIC}2179930812_o.jpg",
        "height_o": 4000,
        "width_o": "5000",
        "url_l": f"{STATIC}2179930812_b.jpg",
        **changes,
    }


def answer(*photos, pages=1, total=None, page=1):
    return {
        "photos": {"page": page, "pages": pages, "perpage": 500, "total": total or len(photos), "photo": list(photos)},
        "stat": "ok",
    }


def page_of(source, key="1943"):
    return next(iter(source.first_pages(key)))


def read(value, key="1943", source=None, url=None):
    source = source or flickr()
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return source.read_page(key, url or page_of(source, key), 200, body)


def one(**changes):
    (found,) = read(answer(photo(**changes))).candidates
    return found


def asked(url):
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_without_a_key_it_says_what_to_do():
    for key in (None, "", " ", "a\nb"):
        sentence = flickr(api_key=key).problem()
        assert "KWCOLOR_FLICKR__API_KEY" in sentence
        assert "flickr.com/services/apps/create" in sentence
    assert flickr().problem() is None


def test_the_key_is_a_secret_of_the_address():
    source = flickr()
    assert source.page_secrets() == {"api_key": KEY}
    assert KEY not in repr(read(answer(photo(), pages=3), source=source)) + page_of(source)


def test_a_year_asks_for_its_photographs_in_the_commons():
    query = asked(page_of(flickr()))
    assert query["method"] == "flickr.photos.search"
    assert (query["is_commons"], query["media"], query["per_page"], query["text"]) == ("1", "photos", "500", "color")
    assert (query["min_taken_date"], query["max_taken_date"]) == ("1943-01-01 00:00:00", "1943-12-31 23:59:59")
    assert {"license", "date_taken", "owner_name", "url_o", "url_k", "url_l"} <= set(query["extras"].split(","))


def test_covers_its_years_and_has_no_undated():
    assert flickr(first_year=1941, last_year=1942).covers(crawl_partitions()) == {"1941", "1942"}
    assert flickr(target=True).covers(korean_war_partitions()) == {"1950", "1951", "1952", "1953"}
    assert list(flickr().first_pages("undated")) == []


def test_reads_a_photograph():
    found = one()
    assert (found.source_id, found.file_url) == ("2179930812", f"{STATIC}2179930812_o.jpg")
    assert found.landing_url == "https://www.flickr.com/photos/8623220@N02/2179930812/"
    assert (found.title, found.creator) == ("Operating a hand drill", "The Library of Congress")
    assert (found.first_year, found.date_precision) == (1943, "month")
    assert found.date_text == "1943-02-01 00:00:00, granularity 4"
    assert (found.licence, found.refusal) == ("No known copyright restrictions", None)


def test_the_largest_size_that_there_is():
    assert one(url_o=None).file_url.endswith("_b.jpg")
    assert one(url_o=None, url_k=f"{STATIC}k.jpg").file_url.endswith("k.jpg")
    assert one(url_o="javascript:alert(1)").file_url.endswith("_b.jpg")
    none = one(url_o=None, url_l="http://[::1")
    assert none.refusal.startswith("missing_file")
    assert none.file_url == none.landing_url


@pytest.mark.parametrize(
    ("taken", "granularity", "expected"),
    [
        ("1943-02-03 12:00:00", "0", (1943, "day")),
        ("1943-02-01 00:00:00", 4, (1943, "month")),
        ("1943-01-01 00:00:00", "6", (1943, "year")),
        ("1943-01-01 00:00:00", "8", (1943, "year, uncertain")),
        ("1943-00-00 00:00:00", None, (1943, "year")),
    ],
)
def test_dates_are_as_exact_as_flickr_knows_them(taken, granularity, expected):
    found = one(datetaken=taken, datetakengranularity=granularity)
    assert (found.first_year, found.date_precision) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"datetakenunknown": "1"},
        {"datetakenunknown": 1},
        {"datetakenunknown": True},
        {"datetaken": "0000-00-00 00:00:00"},
        {"datetaken": None},
    ],
)
def test_a_date_that_flickr_made_up_is_none(changes):
    assert read(answer(photo(**changes))).candidates == []


def test_the_photographs_own_date_decides_its_partition():
    assert read(answer(photo(datetaken="1944-01-01 00:00:00"))).candidates == []


@pytest.mark.parametrize("number", range(17))
def test_licences(number):
    found = one(license=str(number))
    if number in (4, 5, 7, 8, 9, 10, 11, 12):
        assert found.refusal is None
        assert found.licence_url.startswith(
            ("https://creativecommons.org/", "https://www.flickr.com/", "http://www.usa")
        )
    else:
        assert found.refusal.startswith("licence: ")
        assert f"Flickr licence {number}" in found.refusal


@pytest.mark.parametrize("value", ["17", None, "", "7.0", -1, 7.5, [], "seven", "7" * 40])
def test_licences_that_nobody_knows_are_refused(value):
    assert one(license=value).refusal.startswith("licence: Flickr licence")


def test_licence_kinds_are_the_allowed_ones():
    from kwcolor_pipeline.crawling.sources.flickr import _LICENCES

    kinds = {licence.kind for licence in _LICENCES.values()}
    assert kinds == {None, *ALLOWED}


def test_pages_to_the_last():
    source = flickr()
    first = read(answer(photo(), pages=2, total=600), source=source)
    (second,) = first.next_pages
    assert asked(second) == {**asked(page_of(source)), "page": "2"}
    assert read(answer(photo(), pages=2, total=600, page=2), source=source, url=second).next_pages == []
    assert first.problem is None


def test_a_year_too_large_for_one_search_is_asked_for_by_month():
    page = read(answer(photo(), pages=11, total="5210"))
    assert page.candidates == []
    assert len(page.next_pages) == 12
    assert page.problem is None
    spans = [(asked(url)["min_taken_date"], asked(url)["max_taken_date"]) for url in page.next_pages]
    assert spans[0] == ("1943-01-01 00:00:00", "1943-01-31 23:59:59")
    assert spans[1] == ("1943-02-01 00:00:00", "1943-02-28 23:59:59")
    assert spans[11] == ("1943-12-01 00:00:00", "1943-12-31 23:59:59")
    assert all(asked(url)["page"] == "1" for url in page.next_pages)


def test_a_month_too_large_for_one_search_is_told_and_read_as_far_as_it_goes():
    source = flickr()
    january = read(answer(photo(), pages=11, total=5210), source=source).next_pages[0]
    page = read(answer(photo(datetaken="1943-01-01 00:00:00"), pages=11, total=5210), source=source, url=january)
    assert len(page.candidates) == 1
    assert "5210" in page.problem
    assert "KWCOLOR_FLICKR__QUERIES" in page.problem
    for number in range(2, 9):
        (january,) = page.next_pages
        assert asked(january)["page"] == str(number)
        page = read(answer(photo(), pages=11, total=5210, page=number), source=source, url=january)
        assert page.problem is None
    assert page.next_pages == []  # page 9 would repeat what Flickr lists already


def failing(code, message="no"):
    return {"stat": "fail", "code": code, "message": message}


def test_an_invalid_key_is_final_and_names_the_remedy():
    with pytest.raises(ListingRefused, match="KWCOLOR_FLICKR__API_KEY"):
        read(failing(100, f"Invalid API Key ({KEY})"))


@pytest.mark.parametrize("code", [10, 105, 106, 201, "105", None])
def test_failures_that_pass_are_asked_for_again(code):
    with pytest.raises(ListingProblem) as problem:
        read(failing(code))
    assert not isinstance(problem.value, ListingRefused)


def test_other_failures_are_final_and_do_not_show_the_key():
    with pytest.raises(ListingRefused, match="KWCOLOR_FLICKR__QUERIES") as refused:
        read(failing(3, f"Parameterless searches have been disabled for {KEY}"))
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"stat": "ok"}', b'{"stat": "ok", "photos": {"photo": {}}}', b"jsonFlickrApi({})"]
)
def test_what_is_no_listing_is_a_problem(body):
    with pytest.raises(ListingProblem):
        read(body)


def test_ten_thousand_spoilt_answers_are_read_or_refused():
    random, source = Random(1943), flickr()
    good = answer(photo(), photo(id="2", license="4", datetakengranularity="8"), photo(id="3"), pages=3, total=1200)
    url, found = page_of(source), 0
    for _ in range(10_000):
        try:
            page = read(mutated(good, random), source=source, url=url)
        except ListingProblem:
            continue
        assert isinstance(page, ListingPage)
        for candidate in page.candidates:
            assert candidate.file_url.startswith(("http://", "https://"))
            assert candidate.source_id
            json.dumps(asdict(candidate), ensure_ascii=False).encode()  # can be written
            found += 1
        assert all(further.startswith("https://api.flickr.com/services/rest/?") for further in page.next_pages)
    assert found > 5_000
