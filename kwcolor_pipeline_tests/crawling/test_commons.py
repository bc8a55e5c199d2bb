import json
from random import Random
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.crawling.sources.base import ListingPage, ListingProblem, ListingRefused
from kwcolor_pipeline.crawling.sources.commons import CommonsSource
from kwcolor_pipeline.photos.manifest import crawl_partitions, korean_war_partitions
from kwcolor_pipeline.settings import CommonsSettings, SettingsProblem, load_settings
from kwcolor_pipeline_tests.crawling.mutations import mutated

UPLOAD = "https://upload.wikimedia.org/wikipedia/commons"


def commons(target=False, **facts):
    lists = {"categories": ["Kodachromes"], "searches": [], "korean_war_categories": [], "korean_war_searches": []}
    partitions = korean_war_partitions() if target else crawl_partitions()
    return CommonsSource(CommonsSettings(**{**lists, **facts}), partitions, target=target)


def info(number=1, mime="image/jpeg", without=(), **told):
    """What the API says of a file; ``told`` are fields of its description."""
    about = {
        "DateTime": "2011-03-04 05:06:07",
        "DateTimeOriginal": "1943",
        "Artist": '<bdi><a href="//commons.wikimedia.org/wiki/Creator:Jack_Delano">Jack&nbsp;Delano</a></bdi>',
        "ObjectName": f"Tank {number}",
        "LicenseShortName": "Public domain",
        "UsageTerms": "Public domain",
        **told,
    }
    facts = {
        "timestamp": "2011-03-04T05:06:07Z",
        "size": 5_000_000,
        "width": 4000,
        "height": 3000,
        "thumburl": f"{UPLOAD}/thumb/a/ab/Tank_{number}.jpg/1920px-Tank_{number}.jpg",
        "thumbwidth": 1920,
        "thumbheight": 1440,
        "url": f"{UPLOAD}/a/ab/Tank_{number}.jpg",
        "descriptionurl": f"https://commons.wikimedia.org/wiki/File:Tank_{number}.jpg",
        "descriptionshorturl": f"https://commons.wikimedia.org/w/index.php?curid={number}",
        "sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "mime": mime,
        "extmetadata": {
            name: {"value": value, "source": "commons-desc-page", "hidden": ""}
            for name, value in about.items()
            if value
        },
    }
    return {name: value for name, value in facts.items() if name not in without}


def file(number=1, described=True, **facts):
    page = {"pageid": number, "ns": 6, "title": f"File:Tank {number}.jpg", "imagerepository": "local"}
    return {**page, "imageinfo": [info(number, **facts)]} if described else page


def subcategory(title, number=900):
    return {"pageid": number, "ns": 14, "title": f"Category:{title}"}


def answer(*pages, going_on=None, complete=True):
    return {
        **({"batchcomplete": True} if complete else {}),
        **({"continue": going_on} if going_on else {}),
        **({"query": {"pages": list(pages)}} if pages else {}),
    }


def read(source, url, body, key="1943"):
    return source.read_page(key, url, 200, json.dumps(body).encode())


def read_one(key="1943", source=None, **facts):
    """The candidates of an answer with one file."""
    source = source or commons()
    (page,) = source.first_pages(key)
    return read(source, page, answer(file(**facts)), key).candidates


def crawl(source, wiki, key="1943"):
    """All that is listed, and the titles in the order asked; ``wiki`` answers the parameters of an address."""
    waiting, asked, found, problems = list(source.first_pages(key)), [], {}, []
    for url in waiting:  # grows
        query = {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}
        asked.append(query.get("gcmtitle") or query["gsrsearch"])
        page = read(source, url, wiki(query), key)
        waiting += [one for one in page.next_pages if one not in waiting]
        found.update((one.source_id, one) for one in page.candidates)
        problems += [page.problem] if page.problem else []
        assert len(asked) < 100
    return found, asked, problems


def parameters(url):
    return {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}


def test_the_address_of_a_category():
    (page,) = commons(categories=["category:color_photographs  of X"]).first_pages("1943")
    assert page.startswith("https://commons.wikimedia.org/w/api.php?")
    query = parameters(page)
    told = set(query.pop("iiextmetadatafilter").split("|"))
    assert told == {"DateTimeOriginal", "Artist", "ObjectName", "LicenseShortName", "UsageTerms", "LicenseUrl"}
    assert query == {
        "action": "query",
        "format": "json",
        "formatversion": "2",
        "generator": "categorymembers",
        "gcmtitle": "Category:Color photographs of X",
        "gcmtype": "file|subcat",
        "gcmlimit": "50",
        "prop": "imageinfo",
        "iiprop": "url|size|mime|sha1|timestamp|extmetadata",
        "iiurlwidth": "1920",
        "maxlag": "5",
    }


def test_the_address_of_a_search():
    (page,) = commons(categories=[], searches=["Kodachrome {year}"]).first_pages("1943")
    query = parameters(page)
    assert (query["generator"], query["gsrnamespace"]) == ("search", "6")
    assert query["gsrsearch"] == "filetype:bitmap Kodachrome 1943"


def test_what_is_named_by_year_is_not_asked_for_undated():
    source = commons(categories=["X in {year}", "Y", "Category:Y", " "], searches=["Z {year}"])
    assert len(list(source.first_pages("1943"))) == 3
    (undated,) = source.first_pages("undated")
    assert parameters(undated)["gcmtitle"] == "Category:Y"


def test_it_covers_its_years_and_undated():
    years = {"1940", "1941", "undated"}
    assert commons(first_year=1940, last_year=1941).covers(crawl_partitions()) == years
    assert commons(target=True).covers(korean_war_partitions()) == {"1950", "1951", "1952", "1953", "undated"}


def test_the_target_asks_for_its_own_entries():
    source = commons(target=True, korean_war_categories=["Korean War in {year}"], korean_war_searches=["Korea"])
    assert [urlsplit(page).query.count("1951") for page in source.first_pages("1951")] == [1, 0]
    empty = read(commons(target=True, korean_war_categories=["X"]), *_first_and_nothing(target=True))
    assert empty.problem.endswith("correct KWCOLOR_COMMONS__KOREAN_WAR_CATEGORIES.")


def _first_and_nothing(target):
    (page,) = commons(target=target, korean_war_categories=["X"]).first_pages("1951")
    return page, answer()


def test_the_defaults_can_be_asked():
    for target, key in ((False, "1943"), (True, "1953")):
        (source,) = open_sources(["commons"], load_settings(contact="me@example.org"), target)
        titles = [parameters(page).get("gcmtitle") for page in source.first_pages(key)]
        assert ("Category:Korean War in February 1953" in titles) == target
        assert source.page_limits.at_once == 1
        assert (source.picture_limits.at_once, source.picture_limits.bytes_per_second) == (2, 3_125_000)
        assert not source.base_url_is_set


def test_a_file_is_read():
    (found,) = read_one(LicenseUrl="https://creativecommons.org/publicdomain/mark/1.0/")
    assert found.source_id == "M1"
    assert found.file_url == f"{UPLOAD}/thumb/a/ab/Tank_1.jpg/1920px-Tank_1.jpg"
    assert found.landing_url == "https://commons.wikimedia.org/wiki/File:Tank_1.jpg"
    assert (found.title, found.creator) == ("Tank 1", "Jack Delano")
    assert (found.licence, found.licence_url) == (
        "Public domain",
        "https://creativecommons.org/publicdomain/mark/1.0/",
    )
    assert (found.date_text, found.first_year, found.last_year, found.date_precision) == ("1943", 1943, 1943, "year")
    assert (found.year_published, found.refusal) == (None, None)


def test_the_title_of_the_file_stands_in_for_a_missing_one():
    (found,) = read_one(ObjectName=None)
    assert found.title == "Tank 1"


def test_the_original_is_taken_where_no_width_is_asked_for_or_none_is_given():
    source = commons(picture_width=0)
    assert "iiurlwidth" not in next(iter(source.first_pages("1943")))
    assert read_one(source=source)[0].file_url == f"{UPLOAD}/a/ab/Tank_1.jpg"
    assert read_one(without=["thumburl"])[0].file_url == f"{UPLOAD}/a/ab/Tank_1.jpg"


def test_a_width_that_commons_does_not_serve_is_a_problem_of_the_settings():
    settings = load_settings(contact="me@example.org", commons={"picture_width": 1000})
    with pytest.raises(SettingsProblem, match="KWCOLOR_COMMONS__PICTURE_WIDTH to one of 20, 40"):
        open_sources(["commons"], settings, False)


@pytest.mark.parametrize(
    ("written", "shown", "years"),
    [
        ("1943-06-01 10:11:12", "1943-06-01 10:11:12", (1943, 1943)),
        ('<time class="dtstart" datetime="1943-06">June 1943</time>', "June 1943", (1943, 1943)),
        ('<time class="dtstart" datetime="1943-06-05">5.6.43</time>', "5.6.43", (1943, 1943)),
        ('<time datetime="1942">42</time> or <time datetime="1943">43</time>', "42 or 43", (1942, 1943)),
        (
            'between 1942 and 1944\n<div style="display: none;">date QS:P571,+1950-00-00T00:00:00Z/7</div>',
            "between 1942 and 1944",
            (1942, 1944),
        ),
        ('1943<div style="display:none">date QS:P571,+2011', "1943", (1943, 1943)),
        ("Unknown date", "Unknown date", None),
        (None, None, None),
    ],
)
def test_the_date_taken(written, shown, years):
    key = str(years[0]) if years else "undated"
    (found,) = read_one(key, DateTimeOriginal=written)
    assert found.date_text == shown
    assert (found.first_year, found.last_year) == (years or (None, None))


def test_a_doubt_outside_the_time_element_is_kept():
    (found,) = read_one(DateTimeOriginal='circa <time class="dtstart" datetime="1943">1943</time>')
    assert found.date_precision == "year, uncertain"


def test_the_upload_is_no_date_taken():
    assert read_one("2011", DateTimeOriginal=None) == []


def test_a_file_belongs_to_its_own_year_only():
    assert read_one("1944", DateTimeOriginal="between 1943 and 1944") == []
    (found,) = read_one("undated", DateTimeOriginal="1950")
    assert found.refusal.startswith("outside_years: 1950")


def test_a_file_without_a_date_is_of_its_categorys_year():
    source = commons(categories=["Tanks in {year}"], searches=["Tanks {year}"])
    category, search = source.first_pages("1943")
    (found,) = read(source, category, answer(file(1, DateTimeOriginal=None))).candidates
    assert (found.first_year, found.date_text) == (1943, "Category:Tanks in 1943")
    assert found.date_precision == "year, uncertain"
    assert read(source, category, answer(file(2, DateTimeOriginal="1942"))).candidates == []
    assert read(source, search, answer(file(3, DateTimeOriginal=None))).candidates == []


@pytest.mark.parametrize(
    ("facts", "refusal"),
    [
        ({"mime": "image/svg+xml"}, "not_an_image: image/svg+xml"),
        ({"mime": "application/pdf"}, "not_an_image: application/pdf"),
        ({"mime": "image/vnd.djvu"}, "not_an_image: image/vnd.djvu"),
        ({"mime": "video/webm"}, "not_an_image: video/webm"),
        ({"without": ["url", "thumburl"]}, "missing_file: the wiki names no file"),
        ({"LicenseShortName": "CC BY-NC 2.0", "UsageTerms": None}, "licence: CC BY-NC 2.0"),
        ({"LicenseShortName": None, "UsageTerms": None}, "licence: none is stated"),
        ({"LicenseShortName": "No restrictions", "UsageTerms": "Unclear"}, "licence: Unclear"),
        (
            {"LicenseShortName": "CC BY-SA 4.0", "LicenseUrl": "https://creativecommons.org/licenses/by-nc/4.0"},
            "licence: CC BY-SA 4.0",
        ),
        ({"mime": "image/tiff"}, None),
        ({"LicenseShortName": None, "UsageTerms": "Creative Commons Attribution-Share Alike 4.0"}, None),
        ({"LicenseShortName": "No restrictions", "UsageTerms": "No known copyright restrictions"}, None),
    ],
)
def test_what_is_refused_is_listed(facts, refusal):
    (found,) = read_one(**facts)
    assert found.refusal == refusal
    assert found.file_url.startswith("https://")


def test_batches_follow_each_other_without_what_belonged_to_the_last():
    source = commons()
    (first,) = source.first_pages("1943")
    (second,) = read(
        source, first, answer(file(1, False), complete=False, going_on={"iicontinue": "Tank|1", "continue": "||"})
    ).next_pages
    assert parameters(second)["iicontinue"] == "Tank|1"
    going_on = {"gcmcontinue": "file|54|2", "continue": "gcmcontinue||"}
    (third,) = read(source, second, answer(file(1), going_on=going_on)).next_pages
    assert parameters(third) == {**parameters(first), **going_on}
    assert read(source, third, answer(file(2))).next_pages == []


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_of_a_batch_are_put_together_and_only_what_none_describes_is_missing(parts):
    def wiki(query):
        part = int(query.get("iicontinue", "0"))
        pages = [file(number, number % parts == part and number != 7) for number in range(1, 13)]
        if part + 1 == parts:
            return answer(*pages)
        return answer(*pages, complete=False, going_on={"iicontinue": str(part + 1), "continue": "||"})

    found, asked, problems = crawl(commons(), wiki)
    assert set(found) == {f"M{number}" for number in range(1, 13) if number != 7}
    assert not any(one.refusal for one in found.values())
    assert (len(asked), problems) == (parts, [])
    missing, _, _ = crawl(commons(), wiki, "undated")
    assert set(missing) == {"M7"}
    assert missing["M7"].refusal.startswith("missing_file: ")
    assert missing["M7"].landing_url == "https://commons.wikimedia.org/?curid=7"
    of_the_year, _, _ = crawl(commons(categories=["Tanks in {year}"]), wiki)
    assert set(of_the_year) == {*found, *missing}


def test_a_file_that_the_wiki_has_lost_is_missing():
    source = commons()
    (page,) = source.first_pages("undated")
    lost = {**file(described=False), "imageinfo": [{"filemissing": True}]}
    (found,) = read(source, page, answer(lost), "undated").candidates
    assert (found.source_id, found.title, found.refusal) == ("M1", "Tank 1", "missing_file: the wiki names no file")


def test_a_broken_part_asked_for_again_and_a_new_crawl_lose_nothing():
    source = commons()
    going_on = {"iicontinue": "x", "continue": "||"}
    for _ in range(2):  # the second crawl begins anew after the first was broken off
        (first,) = source.first_pages("1943")
        (second,) = read(source, first, answer(file(1), file(2, False), complete=False, going_on=going_on)).next_pages
        with pytest.raises(ListingProblem):
            source.read_page("1943", second, 200, b"<html>")
    assert [one.source_id for one in read(source, second, answer(file(1, False), file(2))).candidates] == ["M2"]


def test_a_later_part_without_the_first_is_a_problem():
    source = commons()
    (first,) = source.first_pages("1943")
    with pytest.raises(ListingProblem):
        read(source, f"{first}&iicontinue=x", answer(file(1, False)))


def test_parts_of_two_categories_do_not_mix():
    def wiki(query):
        number = {"Category:A": 1, "Category:B": 3}[query["gcmtitle"]]
        part = query.get("iicontinue") == "x"
        pages = (file(number, not part), file(number + 1, part))
        going_on = None if part else {"iicontinue": "x", "continue": "||"}
        return answer(*pages, complete=part, going_on=going_on)

    found, asked, _ = crawl(commons(categories=["A", "B"]), wiki)
    assert sorted(found) == ["M1", "M2", "M3", "M4"]
    assert not any(one.refusal for one in found.values())
    assert asked == ["Category:A", "Category:B"] * 2


TREE = {"Kodachromes": ["A", "B"], "A": ["Kodachromes", "C", "A"], "B": ["C"], "C": ["D", "Kodachromes"], "D": []}


def tree(query):
    name = query["gcmtitle"].removeprefix("Category:")
    number = 1 + list(TREE).index(name)
    deeper = TREE[name] if "subcat" in query["gcmtype"] else []
    return answer(*map(subcategory, deeper), file(number))


@pytest.mark.parametrize(("depth", "listed"), [(0, 1), (1, 3), (2, 4), (3, 5), (5, 5)])
def test_subcategories_are_followed_to_their_depth_once_each(depth, listed):
    found, asked, problems = crawl(commons(subcategory_depth=depth), tree)
    assert len(found) == len(asked) == len(set(asked)) == listed
    assert problems == []


def test_a_category_met_again_nearer_to_the_root_is_followed_from_there():
    def wiki(query):
        match query["gcmtitle"].removeprefix("Category:"), "gcmcontinue" in query:
            case "Kodachromes", False:
                return answer(subcategory("A"), going_on={"gcmcontinue": "subcat||1", "continue": "gcmcontinue||"})
            case "Kodachromes", True:
                return answer(*([subcategory("Filler"), subcategory("C")]))
            case "A", _:
                return answer(subcategory("C"))
            case "C", _:
                return answer(*([subcategory("D")] if "subcat" in query["gcmtype"] else []), file(1))
            case "D", _:
                return answer(file(2))
        return answer()

    source = commons(subcategory_depth=2)
    (root,) = source.first_pages("1943")
    more, a = read(source, root, wiki(parameters(root))).next_pages
    (deep,) = read(source, a, wiki(parameters(a))).next_pages
    _, near = read(source, more, wiki(parameters(more))).next_pages
    assert parameters(deep)["gcmtitle"] == parameters(near)["gcmtitle"] == "Category:C"
    assert read(source, deep, wiki(parameters(deep))).next_pages == []
    (found,) = read(source, near, wiki(parameters(near))).next_pages
    assert parameters(found)["gcmtitle"] == "Category:D"


def test_depth_is_never_sent():
    source = commons(subcategory_depth=2, categories=["X in {year}"])
    (root,) = source.first_pages("1943")
    (deeper,) = read(source, root, answer(subcategory("A"))).next_pages
    assert set(parameters(deeper)) == set(parameters(root))
    assert urlsplit(deeper).fragment


def test_an_empty_category_is_told_and_an_empty_search_or_year_is_not():
    source = commons(categories=["X", "Y in {year}"], searches=["Z"])
    year, fixed, search = source.first_pages("1943")
    empty = read(source, fixed, answer())
    assert empty == ListingPage(
        problem="commons: Category:X is empty or does not exist; correct KWCOLOR_COMMONS__CATEGORIES."
    )
    assert read(source, year, answer()) == read(source, search, answer()) == ListingPage()
    assert read(source, fixed, answer(subcategory("A"))).problem is None


def test_a_search_that_finds_more_than_is_listed_is_told():
    source = commons(categories=[], searches=["tank"])
    (first,) = source.first_pages("1943")
    page = read(source, first, answer(file(), going_on={"gsroffset": 50, "continue": "gsroffset||"}))
    assert [parameters(one)["gsroffset"] for one in page.next_pages] == ["50"]
    last = read(source, first, answer(file(), going_on={"gsroffset": 10_000, "continue": "gsroffset||"}))
    assert (len(last.candidates), last.next_pages) == (1, [])
    assert "narrow it in KWCOLOR_COMMONS__SEARCHES" in last.problem


def test_a_file_without_a_number_is_told():
    source = commons()
    (page,) = source.first_pages("1943")
    spoilt = {**file(2), "pageid": "two"}
    deleted = {"ns": 6, "title": "File:Gone.jpg", "missing": True}
    listing = read(source, page, answer(file(1), spoilt, deleted, 7))
    assert [one.source_id for one in listing.candidates] == ["M1"]
    assert listing.problem.startswith("commons: 2 of the files in Category:Kodachromes came without a number")


@pytest.mark.parametrize(
    "code",
    ["maxlag", "ratelimited", "readonly", "internal_api_error_DBQueryError", "cirrussearch-too-busy-error"],
)
def test_errors_that_pass_are_asked_for_again(code):
    source = commons()
    (page,) = source.first_pages("1943")
    with pytest.raises(ListingProblem, match=f"{code}: Waiting") as raised:
        read(source, page, {"error": {"code": code, "info": "Waiting for a host.", "lag": 6}})
    assert not isinstance(raised.value, ListingRefused)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [("invalidcategory", "correct KWCOLOR_COMMONS__CATEGORIES."), ("badcontinue", "crawl again later.")],
)
def test_errors_that_stay_name_the_remedy(code, remedy):
    source = commons()
    (page,) = source.first_pages("1943")
    with pytest.raises(ListingRefused) as raised:
        read(source, page, {"error": {"code": code, "info": "No."}})
    assert str(raised.value) == f"commons: the wiki refuses to list Category:Kodachromes ({code}: No); {remedy}"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": {"pages": []}},
        {"batchcomplete": True, "query": []},
        {"batchcomplete": True, "query": {"pages": "none"}},
        {"error": "maxlag"},
        answer(file(), going_on={"gcmcontinue": ["x"]}),
        answer(file(), going_on={"gcmcontinue": "x" * 5000}),
        answer(file(), going_on={"gcmcontinue": "\ud800"}),
        answer(file(), going_on={"action": "purge"}),
        answer(file(), going_on={"gcmtitle": "Category:Other", "continue": "-||"}),
        answer(file(), complete=False, going_on={"gcmcontinue": "x", "continue": "-||"}),
        {**answer(file()), "continue": {}},
        {**answer(file()), "continue": "gcmcontinue"},
    ],
)
def test_what_is_no_listing_is_a_problem(body):
    source = commons()
    (page,) = source.first_pages("1943")
    with pytest.raises(ListingProblem):
        read(source, page, body)


def test_a_listing_that_goes_round_in_a_circle_is_a_problem():
    source = commons()
    (url,) = source.first_pages("1943")
    for token in ("a", "b"):
        (url,) = read(source, url, answer(file(), going_on={"gcmcontinue": token})).next_pages
    for token in ("b", "a"):
        with pytest.raises(ListingProblem, match="listed before"):
            read(source, url, answer(file(), going_on={"gcmcontinue": token}))


def survives(body, later_part=False):
    """What any answer has to end in: a page of usable candidates and addresses, or a ListingProblem."""
    source = commons(subcategory_depth=2, searches=["tank"])
    url, _ = source.first_pages("undated")
    if later_part:
        going_on = {"iicontinue": "x", "continue": "||"}
        (url,) = read(source, url, answer(file(1, False), complete=False, going_on=going_on), "undated").next_pages
    try:
        page = source.read_page("undated", url, 200, body)
    except ListingProblem:
        return 0
    for found in page.candidates:
        assert urlsplit(found.file_url).scheme in ("http", "https")
        assert urlsplit(found.file_url).hostname
        assert urlsplit(found.landing_url).scheme in ("http", "https")
        assert found.source_id[0] == "M"
        assert int(found.source_id[1:]) > 0
        json.dumps([found.title, found.creator, found.date_text, found.refusal], ensure_ascii=False).encode()
        assert source.partition(found, crawl_partitions()) == "undated" or found.refusal
    for following in page.next_pages:
        following.encode("ascii")
        assert following.startswith("https://commons.wikimedia.org/w/api.php?action=query&")
    return len(page.candidates)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
DESCRIPTION = st.dictionaries(
    st.sampled_from(["DateTimeOriginal", "Artist", "ObjectName", "LicenseShortName", "UsageTerms", "LicenseUrl"]),
    JSON | st.fixed_dictionaries({"value": JSON}),
)
INFO = st.dictionaries(st.sampled_from(["url", "thumburl", "descriptionurl", "mime"]), JSON) | JSON
PAGE = st.fixed_dictionaries(
    {"pageid": st.integers() | JSON},
    optional={"ns": st.sampled_from([6, 14]) | JSON, "title": st.text() | JSON, "imageinfo": st.lists(INFO) | JSON},
)
ANSWER = st.fixed_dictionaries(
    {},
    optional={
        "batchcomplete": st.just(True) | JSON,
        "continue": st.dictionaries(st.sampled_from(["gcmcontinue", "iicontinue", "continue"]), JSON) | JSON,
        "query": st.fixed_dictionaries({"pages": st.lists(PAGE) | JSON}) | JSON,
        "error": st.fixed_dictionaries({"code": JSON, "info": JSON}) | JSON,
    },
)


@given(ANSWER | JSON, st.booleans())
def test_answers_of_any_shape_are_read_or_refused(body, later_part):
    survives(json.dumps(body).encode(), later_part)


@given(DESCRIPTION, INFO)
def test_descriptions_of_any_shape_are_read(about, facts):
    record = {**file(), "imageinfo": [{**facts, "extmetadata": about} if isinstance(facts, dict) else facts]}
    source = commons()
    (page,) = source.first_pages("1943")
    listing = json.dumps(answer(record)).encode()
    years = [key for key in crawl_partitions() if source.read_page(key, page, 200, listing).candidates]
    assert len(years) <= 2  # its own, and refused among the undated


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(body):
    survives(body)


def test_ten_thousand_spoilt_answers_are_read_or_refused():
    good = answer(
        file(1, DateTimeOriginal='<time class="dtstart" datetime="1943-06">June 1943</time>'),
        file(2, DateTimeOriginal=None),
        file(3, described=False),
        subcategory("Tanks"),
        going_on={"gcmcontinue": "file|54|3", "continue": "gcmcontinue||"},
    )
    random = Random(20_261_122)
    read_some = sum(survives(json.dumps(mutated(good, random)).encode(), random.random() < 0.2) for _ in range(10_000))
    assert read_some > 10_000  # most mutations spoil one place only


@pytest.mark.parametrize("address", ["javascript:alert(1)", "file:///etc/passwd", "http://[::1", "//", 7, None])
def test_unusable_addresses_are_never_taken(address):
    source = commons()
    (page,) = source.first_pages("1943")
    record = file()
    record["imageinfo"][0].update(url=address, thumburl=address, descriptionurl=address)
    (found,) = read(source, page, answer(record)).candidates
    assert found.file_url == found.landing_url == "https://commons.wikimedia.org/?curid=1"
    assert found.refusal.startswith("missing_file")
