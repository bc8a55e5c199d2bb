import json
from dataclasses import asdict
from random import Random
from urllib.parse import parse_qs, urlsplit

import pytest

from kwcolor_pipeline.crawling.sources.base import ListingPage, ListingProblem, ListingRefused
from kwcolor_pipeline.crawling.sources.europeana import EuropeanaSource
from kwcolor_pipeline.photos.manifest import crawl_partitions, korean_war_partitions
from kwcolor_pipeline.settings import EuropeanaSettings
from kwcolor_pipeline_tests.crawling.mutations import mutated

KEY = "europeana-key-5c1e"
CC = "http://creativecommons.org/"


def europeana(target=False, **facts):
    partitions = korean_war_partitions() if target else crawl_partitions()
    return EuropeanaSource(EuropeanaSettings(**{"api_key": KEY, **facts}), partitions, target=target)


def item(**changes):
    number = changes.get("id", "/2021672/resource_document_mauritshuis_670")
    return {
        "id": number,
        "type": "IMAGE",
        "title": ["Soldaten", "Soldiers"],
        "dcTitleLangAware": {"de": ["Soldaten"], "en": ["Soldiers"]},
        "dcCreatorLangAware": {"def": ["http://data.europeana.eu/agent/1", "Müller, Anna"]},
        "year": ["1943"],
        "rights": [f"{CC}publicdomain/mark/1.0/"],
        "edmIsShownBy": ["https://museum.example/pictures/1.jpg"],
        "edmIsShownAt": ["https://museum.example/1"],
        "edmPreview": ["https://api.europeana.eu/thumbnail/v2/url.json?uri=x&type=IMAGE"],
        "dataProvider": ["Museum"],
        # The API writes the key into these.
        "guid": f"https://www.europeana.eu/item{number}?utm_campaign={KEY}",
        "link": f"https://api.europeana.eu/record{number}.json?wskey={KEY}",
        **changes,
    }


def answer(*items, **changes):
    listed = {
        "apikey": KEY,
        "success": True,
        "requestNumber": 999,
        "itemsCount": len(items),
        "totalResults": len(items),
    }
    return {**listed, "items": list(items), **changes}


def page_of(source, key="1943"):
    return next(iter(source.first_pages(key)))


def read(value, key="1943", source=None, status=200, url=None):
    source = source or europeana()
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return source.read_page(key, url or page_of(source, key), status, body)


def one(**changes):
    (found,) = read(answer(item(**changes))).candidates
    return found


def test_without_a_key_it_says_what_to_do():
    for key in (None, "", " ", "a\nb"):
        sentence = europeana(api_key=key).problem()
        assert "KWCOLOR_EUROPEANA__API_KEY" in sentence
        assert "apis.europeana.eu" in sentence
    assert europeana().problem() is None


def test_the_key_goes_by_header_and_is_not_taken_from_the_answer():
    source = europeana()
    assert source.page_headers() == {"X-Api-Key": KEY}
    assert source.page_secrets() == {}
    page = read(answer(item(), nextCursor="AoE/abc=="), source=source)
    assert page.candidates
    assert KEY not in repr(page) + page_of(source)


def test_a_year_asks_for_its_open_pictures():
    query = parse_qs(urlsplit(page_of(europeana(queries=["war"]))).query)
    assert query["qf"] == ["YEAR:1943", "TYPE:IMAGE"]
    assert (query["query"], query["reusability"], query["media"]) == (["war"], ["open"], ["true"])
    assert (query["rows"], query["profile"], query["cursor"]) == (["100"], ["rich"], ["*"])


def test_covers_its_years_and_has_no_undated():
    assert europeana(first_year=1941, last_year=1942).covers(crawl_partitions()) == {"1941", "1942"}
    assert europeana(target=True).covers(korean_war_partitions()) == {"1950", "1951", "1952", "1953"}
    assert list(europeana().first_pages("undated")) == []


def test_reads_a_record():
    found = one()
    assert found.source_id == "/2021672/resource_document_mauritshuis_670"
    assert found.file_url == "https://museum.example/pictures/1.jpg"
    assert found.landing_url == "https://www.europeana.eu/item/2021672/resource_document_mauritshuis_670"
    assert (found.title, found.creator) == ("Soldiers", "Müller, Anna")
    assert (found.first_year, found.last_year, found.date_precision, found.date_text) == (1943, 1943, "year", "1943")
    assert (found.licence_url, found.refusal) == (f"{CC}publicdomain/mark/1.0/", None)


def test_fields_may_be_texts_lists_or_maps_of_languages():
    found = one(
        title="Soldaten",
        dcTitleLangAware=None,
        dcCreatorLangAware=None,
        dcCreator="Anna",
        year="1943",
        rights=f"{CC}licenses/by-sa/4.0/",
        edmIsShownBy={"def": ["https://museum.example/2.jpg"]},
    )
    assert (found.title, found.creator, found.first_year) == ("Soldaten", "Anna", 1943)
    assert (found.file_url, found.refusal) == ("https://museum.example/2.jpg", None)


@pytest.mark.parametrize(
    "rights",
    [
        [f"{CC}licenses/by-nc/4.0/"],
        ["http://rightsstatements.org/vocab/InC/1.0/"],
        [f"{CC}publicdomain/zero/1.0/", f"{CC}licenses/by-nd/4.0/"],
        ["all mine"],
        [],
        None,
        [7],
    ],
)
def test_what_is_not_open_is_refused(rights):
    assert one(rights=rights).refusal.startswith("licence: ")


@pytest.mark.parametrize("path", ["publicdomain/zero/1.0/", "licenses/by/3.0/", "licenses/by-sa/4.0/"])
def test_open_licences(path):
    assert one(rights=[CC + path]).refusal is None


def test_records_without_a_usable_picture_are_listed_and_refused():
    for address in (None, [], ["javascript:alert(1)", "http://[::1"], {}, 7):
        found = one(edmIsShownBy=address)
        assert found.refusal.startswith("missing_file")
        assert found.file_url == found.landing_url
    assert one(type="TEXT").refusal == "not_an_image: TEXT"


@pytest.mark.parametrize("number", ["//evil.example/x", "/1/../../x y", "1", "/1/a?b=c", "/1/a#b"])
def test_an_odd_identifier_makes_no_landing_page(number):
    found = one(id=number)
    assert (found.source_id, found.landing_url) == (number, None)


def test_the_records_own_years_decide_its_partition():
    both = item(id="/1/a", year=["1943", "1939"])
    assert read(answer(both)).candidates == []
    (found,) = read(answer(both), "1939").candidates
    assert (found.first_year, found.last_year, found.date_precision) == (1939, 1943, "range")
    assert read(answer(item(year=None))).candidates == []


def test_pages_follow_the_cursor_to_the_last():
    source = europeana()
    (second,) = read(answer(item(), nextCursor="AoE/abc+d=="), source=source).next_pages
    query = parse_qs(urlsplit(second).query)
    assert query["cursor"] == ["AoE/abc+d=="]
    assert query["qf"] == ["YEAR:1943", "TYPE:IMAGE"]
    assert read(answer(item(id="/1/b")), source=source, url=second).next_pages == []
    assert read(answer(nextCursor="AoE"), source=source, url=second).next_pages == []


@pytest.mark.parametrize("cursor", ["", 7, ["a"], "\ud800", "a b", "x" * 5000])
def test_a_cursor_that_cannot_be_followed_is_told(cursor):
    page = read(answer(item(), nextCursor=cursor))
    assert (len(page.candidates), page.next_pages) == (1, [])
    assert page.problem.startswith("europeana 1943: ")


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_accepted_names_the_remedy(status):
    with pytest.raises(ListingRefused, match="KWCOLOR_EUROPEANA__API_KEY"):
        read(b"<html>", status=status)
    with pytest.raises(ListingRefused, match="KWCOLOR_EUROPEANA__API_KEY"):
        read({"apikey": KEY, "success": False, "error": "API key is not registered", "code": "401-AR"})


def test_a_failure_is_asked_for_again_and_a_bad_search_is_not():
    with pytest.raises(ListingProblem) as passing:
        read({"success": False, "error": f"Internal error for {KEY}"})
    with pytest.raises(ListingRefused, match="KWCOLOR_EUROPEANA__QUERIES") as final:
        read({"success": False, "error": f"Invalid query parameter {KEY}"}, status=400)
    assert not isinstance(passing.value, ListingRefused)
    assert KEY not in str(passing.value) + str(final.value)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"success": true, "items": 7}', b"<html>", b"[" * 100_000])
def test_what_is_no_listing_is_a_problem(body):
    with pytest.raises(ListingProblem):
        read(body)


def test_ten_thousand_spoilt_answers_are_read_or_refused():
    random, source = Random(1943), europeana()
    good = answer(item(), item(id="/1/b", title="b", year="1943", rights=f"{CC}licenses/by/4.0/"), nextCursor="AoE")
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
        assert all(further.startswith("https://api.europeana.eu/record/v2/") for further in page.next_pages)
    assert found > 5_000
