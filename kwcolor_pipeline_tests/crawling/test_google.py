import contextlib
import html
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwcolor_pipeline.crawling.crawl import crawl_partition
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.crawling.sources.base import Limits, ListingPage, ListingProblem, ListingRefused
from kwcolor_pipeline.crawling.sources.google import GoogleSource
from kwcolor_pipeline.photos.manifest import crawl_partitions, korean_war_partitions
from kwcolor_pipeline.settings import GoogleSettings, load_settings
from kwcolor_pipeline_tests.crawling.mutations import mutated

PICTURE = "https://photos.example.org/a.jpg"
THUMBNAIL = ["https://encrypted-tbn0.gstatic.com/images?q=tbn:ANd9GcA&s", 168, 300]
SHELL = (
    "<html><noscript><meta http-equiv='refresh' content='0;url=/httpservice/retry/enablejs?sei=x'></noscript>"
    "<script>var shell = 1;</script></html>"
)


def google(target=False, **facts):
    partitions = korean_war_partitions() if target else crawl_partitions()
    return GoogleSource(GoogleSettings(**facts), partitions, target=target)


def result(address=PICTURE, height=600, width=800, about=True):
    details = [None, "d1", "https://example.org/page?id=1", "A soldier&#39;s jeep", None, "Palmer, Alfred T."]
    known = {"2001": [1], "2003": details} if about else {}
    return [1, [0, "d1", THUMBNAIL, [address, height, width], None, 0, "rgb(96,88,80)", None, 0, known]]


def arrays(*results):
    return [None, [[None, [*results]]], "words"]


def scripted(data, key="ds:1", before="data:", after=", sideChannel: {}"):
    return f"<script nonce=\"x\">AF_initDataCallback({{key: '{key}', hash: '2', {before}{data}{after}}});</script>"


def escaped(data):
    written = json.dumps(data)
    for character in "=&<>'":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return written


def page_of(*results):
    return f"<!doctype html><html><body>{scripted('[]', 'ds:0')}{scripted(escaped(arrays(*results)))}</body></html>"


def read(page, source=None, key="2019", start=0, status=200):
    source = source or google()
    url = next(iter(source.first_pages(key))).replace("ijn=0&start=0", f"ijn={start // 100}&start={start}")
    return source.read_page(key, url, status, page.encode("utf-8", "surrogatepass"))


def addresses(page):
    return [found.file_url for found in read(page).candidates]


def test_asks_as_the_paper_did():
    source = google(base_url="http://a/", queries=["tanks & jeeps", " ", "war"])
    first, second = source.first_pages("2019")
    assert source.base_url == "http://a"
    assert first.startswith("http://a/search?q=tanks+%26+jeeps&tbm=isch&tbs=itp:photo,ic:color,cdr:1,")
    assert parse_qs(urlsplit(second).query) == {
        "q": ["war"],
        "tbm": ["isch"],
        "tbs": ["itp:photo,ic:color,cdr:1,cd_min:01/01/2019,cd_max:12/31/2019"],
        "ijn": ["0"],
        "start": ["0"],
    }


def test_the_target_is_asked_for_in_grey_and_without_a_date():
    source = google(target=True)
    (page,) = source.first_pages("undated")
    assert "tbs=itp:photo,ic:gray&" in page
    (found,) = read(page_of(result()), source, "undated").candidates
    assert (found.first_year, found.year_published) == (None, None)
    assert source.partition(found, korean_war_partitions()) == "undated"


def test_covers_the_years_that_pages_can_be_dated_in():
    covered = google().covers(crawl_partitions())
    assert {"2005", "2019"} <= covered
    assert not covered & {"1943", "2004", "undated"}
    assert google(target=True).covers(korean_war_partitions()) == {"undated"}


def test_says_which_setting_is_missing():
    assert google().problem() is None
    assert "KWCOLOR_GOOGLE__QUERIES" in google(queries=[]).problem()
    assert "KWCOLOR_GOOGLE__KOREAN_WAR_QUERIES" in google(target=True, korean_war_queries=[" "]).problem()


def test_manners():
    assert not google().has_api
    assert not google().ignores_robots
    assert google(ignore_robots=True).ignores_robots
    assert not google().base_url_is_set
    assert google(base_url="http://127.0.0.1:1").base_url_is_set
    assert google().page_limits == Limits(((5, 10),), at_once=1)
    assert google().picture_limits == Limits(((20, 10),), at_once=2)
    assert google(downloads_per_10s=3).picture_limits.windows == ((3, 10),)


def test_reads_a_result():
    (found,) = read(page_of(result())).candidates
    assert found.file_url == PICTURE
    assert found.landing_url == "https://example.org/page?id=1"
    assert (found.title, found.creator) == ("A soldier's jeep", "Palmer, Alfred T.")
    assert (found.first_year, found.date_text, found.year_published) == (None, None, 2019)
    assert (found.licence, found.licence_url) == (None, None)
    assert len(found.source_id) == 16


def test_a_picture_keeps_its_identifier():
    (one,), (other,) = (read(page_of(result(about=about))).candidates for about in (True, False))
    assert one.source_id == other.source_id
    (another,) = read(page_of(result("https://photos.example.org/b.jpg"))).candidates
    assert another.source_id != one.source_id


def test_without_a_licence_only_where_the_operator_wants_it():
    (found,) = read(page_of(result())).candidates
    assert found.refusal.startswith("licence: Google states none")
    assert "KWCOLOR_GOOGLE__ALLOW_UNKNOWN_LICENCE" in found.refusal
    (found,) = read(page_of(result()), google(allow_unknown_licence=True)).candidates
    assert found.refusal is None


@pytest.mark.parametrize(
    "address",
    [
        "https://a.org/p.jpeg",
        "https://a.org/p.webp",
        "https://a.org/p.PNG?w=1&h=2",
        "http://a.org/photo/17",
        "https://a.org/q?u=it's<b>",
        "https://a.org/caf%C3%A9.jpg",
        "https://lh3.googleusercontent.com/abc=s0",
        "https://a.org/p.jpg?copy=2&reg=3",
    ],
)
def test_every_type_of_address(address):
    assert addresses(page_of(result(address))) == [address]


def test_thumbnails_and_googles_own_pictures_are_no_results():
    own = ["https://www.google.com/a.png", "https://google.co.kr/a.png", "https://ssl.gstatic.com/a.png"]
    assert addresses(page_of(result(), *map(result, own))) == [PICTURE]


def test_a_picture_that_google_alone_has_is_listed_and_refused():
    (found,) = read(page_of(result("x-raw-image:///0123abcd")), google(allow_unknown_licence=True)).candidates
    assert found.refusal.startswith("missing_file")
    assert found.file_url == "https://example.org/page?id=1"


@pytest.mark.parametrize("size", [(0, 0), (-1, 5), (10**9, 5), (None, 5), (True, True), ("600", "800"), (1.5, 2)])
def test_what_has_no_size_is_no_picture(size):
    assert addresses(page_of(result("https://a.org/no.jpg", *size), result())) == [PICTURE]


@pytest.mark.parametrize("address", ["javascript:alert(1)", "file:///etc/passwd", "http://[::1", "ftp://a.org/a.jpg"])
def test_addresses_that_are_none(address):
    assert addresses(page_of(result(address), result())) == [PICTURE]


def test_a_picture_once_a_page_and_in_its_order():
    others = [f"https://a.org/{n}" for n in range(5)]
    assert addresses(page_of(*map(result, [*others, others[2], others[0]]))) == others


WRITTEN = {
    "compact": json.dumps(arrays(result()), separators=(",", ":")),
    "hexadecimal": json.dumps(arrays(result())).replace("=", "\\x3d").replace("&", "\\x26"),
    "escaped solidus": json.dumps(arrays(result())).replace("/", "\\/"),
    "spread": json.dumps(arrays(result()), indent=4),
}


@pytest.mark.parametrize("data", WRITTEN.values(), ids=WRITTEN)
def test_ways_of_writing_the_arrays(data):
    for page in (
        scripted(data),
        scripted(data, before="isError:  false , data:"),
        scripted(data, before="data:function(){return ", after="}"),
    ):
        (found,) = read(page).candidates
        assert (found.file_url, found.title) == (PICTURE, "A soldier's jeep")


IN_TEXT = json.dumps(arrays(result("https://a.org/p?x=1&y=2")))
SCANNED = {
    "no JSON": scripted(IN_TEXT[:-1] + ",undefined]"),
    "cut": scripted(IN_TEXT)[: len(IN_TEXT) - 20],
    "a variable": f"<script>var m = {{'a': {IN_TEXT}}};</script>",
    "a string": f"<script>f({json.dumps(IN_TEXT)});</script>",
    "a string in a string": f"<script>f({json.dumps(json.dumps(IN_TEXT))});</script>",
    "hexadecimal": "<script>f('" + IN_TEXT.replace('"', "\\x22").replace("&", "\\u0026") + "');</script>",
    "an attribute": f'<div data-m="{html.escape(IN_TEXT)}"></div>',
}


@pytest.mark.parametrize("page", SCANNED.values(), ids=SCANNED)
def test_results_outside_of_the_arrays_are_found(page):
    assert addresses(page) == ["https://a.org/p?x=1&y=2"]


def test_both_kinds_on_one_page():
    assert addresses(page_of(result()) + SCANNED["a variable"]) == [PICTURE, "https://a.org/p?x=1&y=2"]


@pytest.mark.parametrize("change", [lambda meta: meta, html.escape, lambda meta: meta[:-1]])
def test_older_pages(change):
    meta = {"oh": 600, "ou": "https://a.org/p?x=1", "ow": 800, "pt": "Jeep", "ru": "https://a.org/", "tu": THUMBNAIL[0]}
    written = change(json.dumps(meta).replace("=", "\\u003d"))
    (found,) = read(f'<div class="rg_meta notranslate">{written}</div>').candidates
    assert found.file_url == "https://a.org/p?x=1"
    assert found.title in ("Jeep", None)


def test_an_empty_result_page_is_an_empty_listing():
    assert read(page_of()) == ListingPage()


UNUSABLE = {
    "script-only": SHELL,
    "consent": '<form action="https://consent.google.com/save" method="post"></form>' + scripted("[1]"),
    "unusual traffic": "Our systems have detected unusual traffic from your computer network.",
    "not known": scripted("[1]") + f'<img src="{THUMBNAIL[0]}">',
}


@pytest.mark.parametrize(("words", "page"), UNUSABLE.items())
def test_what_google_serves_instead_of_results(words, page):
    with pytest.raises(ListingRefused, match=f"Google .*{words}.*KWCOLOR_SOURCES=loc,commons"):
        read(page)
    with pytest.raises(ListingRefused, match="KWCOLOR_KOREAN_WAR_SOURCES=loc,commons"):
        read(page, google(target=True), "undated")


def test_results_count_whatever_else_the_page_says():
    for other in UNUSABLE.values():
        assert addresses(other + page_of(result())) == [PICTURE]


def test_a_refusal_by_status():
    assert google().listing_statuses == {403}
    with pytest.raises(ListingRefused, match=r"403.*KWCOLOR_SOURCES=loc,commons"):
        read("<html>Forbidden</html>", status=403)


@pytest.mark.parametrize("page", ["", "<html>", "{}", scripted("[]"), scripted("[" * 100_000), "x" * 11_000_000])
def test_what_is_no_result_page_may_pass(page):
    with pytest.raises(ListingProblem) as problem:
        read(page)
    assert not isinstance(problem.value, ListingRefused)


def some(count, first=0):
    return page_of(*(result(f"https://a.org/{first + n}", about=False) for n in range(count)))


def test_pages_are_followed_until_one_is_empty():
    source = google()
    (second,) = read(some(100), source).next_pages
    assert second == next(iter(source.first_pages("2019"))).replace("ijn=0&start=0", "ijn=1&start=100")
    assert source.read_page("2019", second, 200, some(30, 100).encode()).next_pages
    end = read(page_of(), source, start=200)
    assert (end.next_pages, end.problem) == ([], None)


def test_pages_are_followed_until_one_brings_nothing_new():
    source = google()
    assert read(some(100), source).next_pages
    again = read(some(50), source, start=100)
    assert (len(again.candidates), again.next_pages, again.problem) == (50, [], None)


def test_queries_and_years_are_told_apart():
    source = google(queries=["a", "b"])
    one, other = source.first_pages("2019")
    for url in (one, other, *source.first_pages("2018")):
        key = "2019" if url in (one, other) else "2018"
        assert source.read_page(key, url, 200, some(100).encode()).next_pages


def test_a_listing_that_is_read_again_starts_anew():
    source = google()
    for _ in range(2):
        assert read(some(100), source).next_pages
        assert read(some(100, 100), source, start=100).next_pages


@pytest.mark.parametrize(("given_in_all", "is_cut_off"), [(650, False), (700, True)])
def test_says_when_google_may_have_more(given_in_all, is_cut_off):
    source = google(queries=["jeeps"])
    for start in range(0, given_in_all, 100):
        assert read(some(min(100, given_in_all - start), start), source, start=start).problem is None
    problem = read(page_of(), source, start=700).problem
    if is_cut_off:
        assert problem.startswith("google 2019: Google gave 700 results of the query 'jeeps'")
        assert "KWCOLOR_GOOGLE__QUERIES" in problem
    else:
        assert problem is None


def test_no_more_than_a_thousand_are_asked_for():
    source = google()
    for start in range(0, 900, 100):
        assert read(some(100, start), source, start=start).next_pages
    last = read(some(100, 900), source, start=900)
    assert (len(last.candidates), last.next_pages) == (100, [])
    assert "1000 results" in last.problem


def test_a_page_of_thousands_is_no_result_page():
    with pytest.raises(ListingProblem, match="more than 1000 pictures"):
        read(some(1001))


HOSTILE = {
    "brackets": "[",
    "addresses without an end": '["https://',
    "long addresses": '["https://a.org/' + "a" * 3990,
    "spaces": "[ ",
    "backslashes": "\\",
    "escapes": "\\x22\\u0022",
    "arrays without an end": "AF_initDataCallback({key: 'ds:1', data:[",
    "callbacks": "AF_initDataCallback({",
    "deep arrays": "AF_initDataCallback({key: 'ds:1', data:" + "[" * 100_000,
    "objects without an end": '{"ou":"https://a.org/',
    "entities": "&quot;&amp;&#34;",
    "digits": "9",
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_five_megabytes_of_anything_are_read_in_the_end(unit):
    with contextlib.suppress(ListingProblem):
        read(unit * (5_000_000 // len(unit)))


def test_a_page_full_of_thumbnails_is_read_in_the_end():
    with pytest.raises(ListingRefused):
        read(scripted(json.dumps([[0, THUMBNAIL] * 30_000, [THUMBNAIL] * 30_000])))


def check(page, source):
    try:
        listing = read(page, source)
    except ListingProblem:
        return 0
    for found in listing.candidates:
        assert found.file_url.startswith(("http://", "https://"))
        assert len(found.source_id) == 16
        assert found.landing_url is None or found.landing_url.startswith(("http://", "https://"))
        assert source.partition(found, crawl_partitions()) == "2019"
        assert not any(ord(character) < 32 for character in (found.title or "") + (found.creator or ""))
    assert all(page.startswith(source.base_url) for page in listing.next_pages)
    return len(listing.candidates)


def test_ten_thousand_spoilt_pages_are_read_or_refused():
    random, source, found = Random(3), google(), 0
    good = arrays(result(), result("https://a.org/b"), result("https://a.org/c", about=False))
    meta = {"ou": "https://a.org/d", "oh": 1, "ow": 1, "pt": "t", "ru": "https://a.org/"}
    for turn in range(10_000):
        spoilt = json.dumps(mutated(meta if turn % 4 == 0 else good, random))
        found += check(f"<div>{spoilt}</div>" if turn % 4 == 0 else scripted(spoilt), source)
    assert found > 10_000


@given(
    st.text(), st.sampled_from([page_of(result()), SHELL, *WRITTEN.values(), *SCANNED.values()]), st.integers(0, 600)
)
def test_text_anywhere_in_a_page_is_survived(text, page, at):
    check(page[:at] + text + page[at:], google())


class GoogleImitation(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        if self.path == "/robots.txt":
            body = server.robots
        else:
            body = server.pages[min(len(server.asked), len(server.pages) - 1)]
            server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def google_server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), GoogleImitation)
    server.url, server.robots, server.pages, server.asked = f"http://127.0.0.1:{server.server_port}", "", [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("answer", ["shell", "results"])
def test_a_crawl_says_what_google_served(answer, tmp_path, monkeypatch, google_server):
    monkeypatch.chdir(tmp_path)
    google_server.pages = [SHELL] if answer == "shell" else [page_of(result()), page_of()]
    settings = load_settings(
        home=tmp_path / "home", contact="https://example.org/me", google={"base_url": google_server.url}
    )
    report = crawl_partition(settings, open_sources(["google"], settings, False), "crawled_photos", "2019")
    if answer == "shell":
        (sentence,) = report.incomplete
        assert sentence.startswith("google 2019: Google served its script-only page")
        assert "KWCOLOR_SOURCES=loc,commons" in sentence
        assert len(google_server.asked) == 1
    else:
        assert (report.incomplete, report.listed, report.rejected) == ([], 1, {"licence": 1})
        assert len(google_server.asked) == 2


def test_a_crawl_heeds_robots_unless_told_otherwise(tmp_path, monkeypatch, google_server):
    monkeypatch.chdir(tmp_path)
    google_server.robots, google_server.pages = "User-agent: *\nDisallow: /search\n", [page_of(result()), page_of()]
    facts = {"home": tmp_path / "home", "contact": "https://example.org/me"}
    settings = load_settings(google={"base_url": google_server.url}, **facts)
    report = crawl_partition(settings, open_sources(["google"], settings, False), "crawled_photos", "2019")
    (sentence,) = report.incomplete
    assert "robots" in sentence
    assert "KWCOLOR_GOOGLE__IGNORE_ROBOTS=true" in sentence
    assert google_server.asked == []
    settings = load_settings(google={"base_url": google_server.url, "ignore_robots": True}, **facts)
    report = crawl_partition(settings, open_sources(["google"], settings, False), "crawled_photos", "2019")
    assert (report.incomplete, report.listed) == ([], 1)
