import json
from dataclasses import asdict
from random import Random

import pytest

from kwcolor_pipeline.crawling.sources.base import ListingPage, ListingProblem, ListingRefused
from kwcolor_pipeline.crawling.sources.nara import NaraSource
from kwcolor_pipeline.photos.manifest import crawl_partitions, korean_war_partitions
from kwcolor_pipeline.settings import NaraSettings
from kwcolor_pipeline_tests.crawling.mutations import mutated

KEY = "nara-key-7f3a"


def nara(target=False, **facts):
    partitions = korean_war_partitions() if target else crawl_partitions()
    return NaraSource(NaraSettings(**{"api_key": KEY, **facts}), partitions, target=target)


def file(number, **changes):
    return {
        "objectId": str(number),
        "objectUrl": f"https://s3.amazonaws.com/NARA/live/{number}.jpg",
        "objectType": "Image (JPG)",
        "objectFilename": f"{number}.jpg",
        "objectFileSize": 123456,
        **changes,
    }


def record(**changes):
    return {
        "naId": 531340,
        "title": "Riveter at\nwork",
        "levelOfDescription": "item",
        "generalRecordsTypes": ["Photographs and other Graphic Materials"],
        "productionDates": [{"logicalDate": "1943-06-01", "year": 1943, "month": 6, "day": 1}],
        "contributors": [{"heading": "Palmer, Alfred T.", "contributorType": "Photographer"}],
        "creators": [{"heading": "Office of War Information.", "creatorType": "Most Recent"}],
        "useRestriction": {"status": "Unrestricted"},
        "digitalObjects": [file(11)],
        **changes,
    }


def answer(*records):
    hits = [
        {"_id": str(one.get("naId")), "_source": {"record": one}, "sort": [number]}
        for number, one in enumerate(records, 700)
    ]
    return {"statusCode": 200, "body": {"hits": {"total": {"value": len(hits), "relation": "eq"}, "hits": hits}}}


def page_of(source, key="1943"):
    return next(iter(source.first_pages(key)))


def read(value, key="1943", source=None, status=200, url=None):
    source = source or nara()
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return source.read_page(key, url or page_of(source, key), status, body)


def one(**changes):
    (found,) = read(answer(record(**changes))).candidates
    return found


def test_without_a_key_it_says_what_to_do():
    for key in (None, "", "  ", "a\r\nX-Evil: 1", "schlüssel"):
        sentence = nara(api_key=key).problem()
        assert "KWCOLOR_NARA__API_KEY" in sentence
        assert "Catalog_API@nara.gov" in sentence
    assert nara().problem() is None


def test_the_key_goes_by_header_only():
    source = nara()
    page = read(answer(record()), source=source)
    assert source.page_headers() == {"x-api-key": KEY}
    assert source.page_secrets() == {}
    assert KEY not in repr(page) + "".join(source.first_pages("1943"))
    assert KEY not in repr(NaraSettings(api_key=KEY))


def test_a_year_asks_for_its_dates_and_undated_for_all():
    assert "startDate=1943-01-01&endDate=1943-12-31" in page_of(nara())
    assert "searchAfter=%2A" in page_of(nara())
    assert "Date=" not in page_of(nara(), "undated")
    assert len(list(nara(queries=["a", "b"]).first_pages("1943"))) == 2
    assert page_of(nara(base_url="http://127.0.0.1:9/api/v2/")).startswith(
        "http://127.0.0.1:9/api/v2/records/search?q="
    )
    assert "q=Korean+War&" in page_of(nara(target=True), "1951")


def test_covers_its_years_and_undated():
    assert nara(first_year=1941, last_year=1942).covers(crawl_partitions()) == {"1941", "1942", "undated"}
    assert nara(target=True).covers(korean_war_partitions()) == {"1950", "1951", "1952", "1953", "undated"}


def test_reads_a_record():
    found = one()
    assert found.source_id == "531340/11"
    assert found.file_url == "https://s3.amazonaws.com/NARA/live/11.jpg"
    assert found.landing_url == "https://catalog.archives.gov/id/531340"
    assert (found.title, found.creator) == ("Riveter at work", "Palmer, Alfred T.")
    assert (found.date_text, found.first_year, found.date_precision) == ("1943-06-01", 1943, "day")
    assert found.refusal is None
    assert found.licence == "use restriction: Unrestricted"


def test_a_record_has_a_candidate_for_each_file_and_refuses_what_is_no_picture():
    files = [
        file(1),
        file(2, objectType="Portable Document File (PDF)"),
        file(3, objectType=None, objectUrl="https://s3.amazonaws.com/NARA/3.TIF"),
        file(4, objectType=None, objectUrl="https://s3.amazonaws.com/NARA/4.mp4"),
        file(5, objectUrl="javascript:alert(1)"),
    ]
    found = read(answer(record(digitalObjects=files))).candidates
    assert [candidate.source_id for candidate in found] == [f"531340/{number}" for number in range(1, 6)]
    reasons = [(candidate.refusal or "stored").partition(":")[0] for candidate in found]
    assert reasons == ["stored", "not_an_image", "stored", "not_an_image", "missing_file"]
    assert found[1].refusal == "not_an_image: Portable Document File (PDF)"


def test_a_record_without_files_is_listed_and_refused():
    for none in (None, [], "x", [7]):
        found = one(digitalObjects=none)
        assert found.refusal.startswith("missing_file")
        assert (found.source_id, found.file_url) == ("531340", "https://catalog.archives.gov/id/531340")


def test_scanned_papers_are_refused():
    assert one(generalRecordsTypes=["Textual Records"]).refusal == "not_a_photograph: Textual Records"
    assert one(generalRecordsTypes=None).refusal is None


@pytest.mark.parametrize(
    ("restriction", "words"),
    [
        (
            {"status": "Restricted - Possibly", "specificUseRestrictions": ["Copyright"]},
            "Restricted - Possibly Copyright",
        ),
        ({"status": "Restricted - Fully"}, "Restricted - Fully"),
        ({"status": "Undetermined"}, "Undetermined"),
        ({"status": "Unrestricted", "specificUseRestrictions": ["Copyright"]}, "Copyright"),
        ({"status": ["Unrestricted", "Restricted"]}, "Restricted"),
        ({}, "none is stated"),
        (None, "none is stated"),
        ("Unrestricted", "none is stated"),
    ],
)
def test_only_unrestricted_use_is_allowed(restriction, words):
    refusal = one(useRestriction=restriction).refusal
    assert refusal.startswith("licence: ")
    assert words in refusal


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ({"productionDates": [{"year": 1943, "logicalDate": "1943-01-01"}]}, (1943, 1943, "year")),
        ({"productionDates": [{"year": 1943, "month": 6, "logicalDate": "1943-06-01"}]}, (1943, 1943, "month")),
        ({"productionDates": [{"logicalDate": "1943-01-01"}]}, (1943, 1943, "year")),
        ({"productionDates": [{"year": 1943, "dateQualifier": "ca."}]}, (1943, 1943, "year, uncertain")),
        ({"productionDates": [{"year": 1943, "dateQualifier": {"termName": "?"}}]}, (1943, 1943, "year, uncertain")),
        ({"productionDates": [{"year": 1943, "month": 13, "day": 40}]}, (1943, 1943, "year")),
        ({"productionDates": [{"year": 1943}, {"year": 1944}]}, (1943, 1944, "range")),
        (
            {"productionDates": None, "coverageStartDate": {"year": 1943}, "coverageEndDate": {"year": 1945}},
            (1943, 1945, "range"),
        ),
        ({"productionDates": None, "coverageStartDate": "1943"}, (1943, 1943, "year")),
    ],
)
def test_dates(dates, expected):
    found = one(**dates)
    assert (found.first_year, found.last_year, found.date_precision) == expected


def test_the_records_own_date_decides_its_partition():
    records = [
        record(naId=1, productionDates=[{"year": 1943}]),
        record(naId=2, productionDates=[{"year": 1944}]),
        record(naId=3, productionDates=None),
        record(naId=4, productionDates=[{"year": 2012}]),
    ]
    assert [found.source_id for found in read(answer(*records)).candidates] == ["1/11"]
    undated = {found.source_id: found.refusal for found in read(answer(*records), "undated").candidates}
    assert undated == {"3/11": None, "4/11": "outside_years: 2012 is not covered by nara"}


def test_pages_follow_the_cursor_until_one_is_empty():
    source = nara()
    first = read(answer(record(), record(naId=2)), source=source)
    (second_url,) = first.next_pages
    assert second_url == page_of(source).replace("searchAfter=%2A", "searchAfter=701")
    last = read(answer(), source=source, url=second_url)
    assert (last.candidates, last.next_pages, last.problem) == ([], [], None)


@pytest.mark.parametrize("order", [None, [], [104.5, "701"], ["../x"], {"a": 1}])
def test_a_page_that_does_not_say_where_it_goes_on_is_told(order):
    listing = answer(record())
    listing["body"]["hits"]["hits"][-1]["sort"] = order
    page = read(listing)
    assert len(page.candidates) == 1
    assert page.next_pages == []
    assert page.problem.startswith("nara 1943: ")


def test_a_cursor_that_stands_still_is_told():
    listing = answer(record())
    stuck = page_of(nara()).replace("%2A", "700")
    assert read(listing, url=stuck).problem


@pytest.mark.parametrize(("status", "word"), [(401, "KWCOLOR_NARA__API_KEY"), (403, "month"), (400, "NARA__QUERIES")])
def test_refusals_name_the_remedy(status, word):
    with pytest.raises(ListingRefused, match=word) as refused:
        read(b'{"message": "no"}', status=status)
    assert KEY not in str(refused.value)


def test_a_web_page_instead_of_json_points_at_the_key():
    with pytest.raises(ListingProblem, match="KWCOLOR_NARA__API_KEY"):
        read(b"<!doctype html><html></html>")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"body": {"hits": {"hits": 7}}}', b"[" * 100_000, b"\xff"])
def test_what_is_no_listing_is_a_problem(body):
    with pytest.raises(ListingProblem):
        read(body)


def test_ten_thousand_spoilt_answers_are_read_or_refused():
    random, source = Random(1943), nara()
    good = answer(record(), record(naId=2, digitalObjects=[file(2), file(3)], productionDates=None))
    pages = {key: page_of(source, key) for key in ("1943", "undated")}
    found = 0
    for number in range(10_000):
        key = ("1943", "undated")[number % 2]
        try:
            page = read(mutated(good, random), key, source, url=pages[key])
        except ListingProblem:
            continue
        assert isinstance(page, ListingPage)
        for candidate in page.candidates:
            assert candidate.file_url.startswith(("http://", "https://"))
            assert candidate.source_id
            json.dumps(asdict(candidate), ensure_ascii=False).encode()  # can be written
            found += 1
        assert all(url.startswith("https://catalog.archives.gov/api/v2/") for url in page.next_pages)
    assert found > 5_000
