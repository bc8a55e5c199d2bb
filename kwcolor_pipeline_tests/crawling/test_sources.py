import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwcolor_pipeline.crawling.sources import NAMES, open_sources
from kwcolor_pipeline.crawling.sources.base import ListingPage, ListingProblem
from kwcolor_pipeline.crawling.sources.loc import LocSource
from kwcolor_pipeline.photos.manifest import crawl_partitions, korean_war_partitions
from kwcolor_pipeline.settings import LocSettings, SettingsProblem, load_settings
from kwcolor_pipeline_tests.crawling.mutations import mutated

PAGE = "http://a/collections/test/?fo=json&c=100&sp=1&dates=1943/1943&at=results,pagination"


def loc(target=False, **facts):
    partitions = korean_war_partitions() if target else crawl_partitions()
    return LocSource(LocSettings(**facts), partitions, target=target)


def read(record, source=None, total=1, key="1943"):
    body = json.dumps({"results": [record], "pagination": {"total": total}}).encode()
    return (source or loc()).read_page(key, PAGE, 200, body)


def item(**changes):
    rights = ["No known restrictions on publication."]
    return {
        "title": "A\n title",
        "date": "1943",
        "contributors": ["Delano, Jack"],
        "rights_advisory": rights,
        **changes,
    }


def record(**changes):
    return {
        "id": "http://www.loc.gov/item/2017877351/",
        "url": "//www.loc.gov/item/2017877351/",
        "image_url": ["https://tile.loc.gov/a_150px.jpg#h=116&w=150", "//tile.loc.gov/b.jpg#h=750&w=1024"],
        "item": item(),
        **changes,
    }


def test_unknown_names_list_the_known():
    with pytest.raises(SettingsProblem, match="'bing' is not a source; sources are ") as problem:
        open_sources(["sample", "bing"], load_settings(), False)
    assert {"sample", "folder:PATH", "loc"} <= set(NAMES)
    assert all(name in str(problem.value) for name in NAMES)


def test_sources_are_opened_by_their_names():
    settings = load_settings(contact="a@b.c")
    names = [name for name in NAMES if ":" not in name]
    for target in (False, True):
        assert [source.name for source in open_sources(names, settings, target)] == names


@pytest.mark.parametrize("spec", ["folder:", "folder", "sample:x", "loc:x", ""])
def test_malformed_names(spec):
    with pytest.raises(SettingsProblem, match="is not a source"):
        open_sources([spec], load_settings(contact="a@b.c"), False)


def test_a_missing_folder(tmp_path):
    with pytest.raises(SettingsProblem, match="is not a folder"):
        open_sources([f"folder:{tmp_path}/none"], load_settings(), False)


@pytest.mark.parametrize("contact", [None, "", " ", "a@b.c\r\nX: y", "Jos\u00e9"])
def test_the_network_needs_a_contact(contact):
    with pytest.raises(SettingsProblem, match="KWCOLOR_CONTACT"):
        open_sources(["loc"], load_settings(contact=contact), False)


def test_a_source_named_twice_is_opened_once():
    assert len(open_sources(["sample", "sample"], load_settings(), False)) == 1


def test_sample_lists_colour_by_year_and_targets_undated():
    (colour,) = open_sources(["sample"], load_settings(), False)
    (target,) = open_sources(["sample"], load_settings(), True)
    assert "2015" in colour.covers(crawl_partitions())
    assert {one.source_id for one in colour.candidates("2015")} == {"astronaut"}
    assert target.covers(korean_war_partitions()) == {"undated"}
    assert "camera" in {one.source_id for one in target.candidates("undated")}
    ids = [one.source_id for key in colour.covers(crawl_partitions()) for one in colour.candidates(key)]
    assert len(ids) == len(set(ids))
    assert not set(ids) & {one.source_id for one in target.candidates("undated")}
    assert len(target.listing_fingerprint("undated")) == 64


def test_loc_covers_its_years():
    assert loc().covers(crawl_partitions()) == {"1939", "1940", "1941", "1942", "1943", "1944", "undated"}
    assert loc(target=True).covers(korean_war_partitions()) == {"1950", "1951", "1952", "1953", "undated"}
    assert loc(first_year=1943, last_year=1943).covers(["1942", "1943"]) == {"1943"}


def test_loc_addresses():
    (page,) = loc(base_url="http://a/", collections=["collections/test"]).first_pages("1943")
    assert page == PAGE
    (searched,) = loc(target=True).first_pages("1951")
    assert "/photos/?" in searched
    assert "q=Korean+War" in searched
    assert len(list(loc(collections=["collections/one", "/collections/two/"]).first_pages("1943"))) == 2


def test_loc_lists_the_whole_collection_for_what_has_no_year():
    (page,) = loc(base_url="http://a", collections=["collections/test"]).first_pages("undated")
    assert page == PAGE.replace("&dates=1943/1943", "")


def test_loc_manners():
    source = loc(requests_per_10s=7, requests_per_minute=30, downloads_per_10s=9)
    assert source.page_limits.windows == ((7, 10), (30, 60))
    assert source.page_limits.at_once == 1
    assert source.picture_limits.windows == ((9, 10),)
    assert source.has_api
    assert source.problem() is None
    assert not source.base_url_is_set
    assert loc(base_url="https://www.loc.gov").base_url_is_set


def test_loc_reads_a_record():
    (found,) = read(record()).candidates
    assert found.file_url == "http://tile.loc.gov/b.jpg"
    assert found.landing_url == "http://www.loc.gov/item/2017877351/"
    assert (found.source_id, found.title, found.creator) == ("2017877351", "A title", "Delano, Jack")
    assert (found.first_year, found.last_year, found.date_precision) == (1943, 1943, "year")
    assert (found.licence, found.refusal) == ("No known restrictions on publication.", None)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"rights_advisory": ["Rights status not evaluated."]}, "licence: Rights status not evaluated."),
        ({"rights_advisory": "Publication may be restricted."}, "licence: Publication may be restricted."),
        ({"rights_advisory": None, "rights": "No known restrictions"}, None),
        ({"rights_advisory": None}, "licence: none is stated"),
        ({"rights_advisory": 7}, "licence: 7"),
        ({"rights_information": "No known restrictions. https://www.loc.gov/rr/print/res/071_fsab.html"}, None),
        (
            {"rights_information": "See https://creativecommons.org/licenses/by-nc/4.0/"},
            "licence: No known restrictions on publication.",
        ),
    ],
)
def test_loc_judges_the_rights_of_each_item(changes, refusal):
    assert read(record(item=item(**changes))).candidates[0].refusal == refusal


def test_loc_restricted_items_are_listed_and_refused():
    (found,) = read(record(access_restricted=True)).candidates
    assert found.refusal.startswith("licence: access is restricted")


def test_loc_undated_takes_what_no_year_takes():
    (undated,) = read(record(item=item(date="n.d.")), key="undated").candidates
    assert (undated.first_year, undated.refusal) == (None, None)
    assert read(record(item=item(date="1943")), key="undated").candidates == []
    (early,) = read(record(item=item(date="1901")), key="undated").candidates
    assert (early.first_year, early.refusal) == (1901, None)
    (uncovered,) = read(record(item=item(date="1950")), key="undated").candidates
    assert uncovered.refusal == "outside_years: 1950 is not covered by loc"
    (both,) = read(record(item=item(date="1950", rights_advisory="No")), key="undated").candidates
    assert both.refusal == "licence: No"


def test_loc_takes_the_date_that_it_can_read():
    assert read(record(item={"date": "no date"}, dates=["1943-01-01T00:00:00Z"])).candidates[0].first_year == 1943
    assert read(record(item={"date": "[between 1940 and 1946]"})).candidates == []  # belongs to 1940


def test_loc_record_without_a_usable_picture_is_listed_and_refused():
    for addresses in (None, [], ["javascript:alert(1)", "file:///etc/passwd", "http://[::1"], [7]):
        (found,) = read(record(image_url=addresses)).candidates
        assert found.refusal.startswith("missing_file")


def test_loc_follows_pages_to_the_last():
    assert read(record(), total=2).next_pages == [PAGE.replace("sp=1", "sp=2")]
    assert read(record(), total=1).next_pages == []
    assert read(record(), total="many").next_pages == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"results": 1, "pagination": {}}', b"[" * 100_000])
def test_what_is_no_listing_is_a_problem(body):
    with pytest.raises(ListingProblem):
        loc().read_page("1943", PAGE, 200, body)


def test_a_404_without_json_is_a_problem_and_with_json_an_empty_listing():
    assert loc().read_page("1943", PAGE, 404, b'{"status": 404}').candidates == []
    with pytest.raises(ListingProblem):
        loc().read_page("1943", PAGE, 404, b"<html>no such page</html>")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["id", "url", "title", "date", "dates", "image_url", "access_restricted"]
ITEM_FIELDS = ["id", "title", "date", "creators", "contributors", "rights", "rights_advisory", "rights_information"]


def check(source, key, body):
    """Every answer gives candidates that can be recorded, or a problem; returns how many candidates."""
    try:
        listing = source.read_page(key, PAGE, 200, body)
    except ListingProblem:
        return 0
    assert isinstance(listing, ListingPage)
    for found in listing.candidates:
        assert found.file_url.startswith(("http://", "https://"))
        assert found.source_id
        assert not any(ord(character) < 32 for character in found.source_id)
        assert found.landing_url is None or found.landing_url.startswith(("http://", "https://"))
        assert source.partition(found, crawl_partitions()) == key or key == "undated"
    assert all(page.startswith("http://a/") for page in listing.next_pages)
    return len(listing.candidates)


@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON),
    st.dictionaries(st.sampled_from(ITEM_FIELDS), JSON),
    st.sampled_from(["1943", "undated"]),
)
def test_records_of_any_shape_are_read_or_refused(fields, about, key):
    listing = {"results": [{**fields, "item": {"date": "1943", **about}}], "pagination": {"total": 1}}
    check(loc(), key, json.dumps(listing).encode())


def test_ten_thousand_spoilt_answers_are_read_or_refused():
    random, source, found = Random(1), loc(), 0
    about = item(creators=[{"title": "Delano, Jack"}], rights_information="No known restrictions.")
    records = [record(item=about, dates=["1943-01-01T00:00:00Z"], access_restricted=False) for _ in range(3)]
    good = {"results": [*records, {"title": "About this collection"}], "pagination": {"total": 2, "current": 1}}
    for turn in range(10_000):
        found += check(source, "undated" if turn % 4 == 0 else "1943", json.dumps(mutated(good, random)).encode())
    assert found > 10_000
