"""What a crawl asks for, how often, and what it leaves alone, counted by a server."""

import socket

import pytest

from kwcolor_pipeline.crawling import addresses, requesting
from kwcolor_pipeline.crawling.crawl import crawl_partition
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.crawling.sources.loc import LocSource
from kwcolor_pipeline.photos.manifest import Status, read_manifest, write_manifest
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline_tests.servers.loc_imitation import COLLECTION, Library, Photo, picture, serve


def rows_of(report):
    return {row.source_id: row for row in read_manifest(report.manifest)}


def outcomes(report):
    return {name: (row.reason or row.status).partition(":")[0] for name, row in rows_of(report).items()}


def listings_asked(library):
    return sum(count for path, count in library.asked.items() if path.startswith(COLLECTION))


# --- robots.txt and X-Robots-Tag ---


def test_pictures_that_robots_txt_disallows_are_listed_and_never_asked_for(library, crawl):
    library.add(3)
    library.robots = b"User-agent: *\nDisallow: /image/p0001/\n"
    assert outcomes(crawl(library)) == {"p0000": "stored", "p0001": "robots", "p0002": "stored"}
    assert set(library.pictures_asked()) == {"p0000", "p0002"}
    assert library.asked["/robots.txt"] == 1
    library.robots = b""
    assert crawl(library).stored == 3


def test_an_api_is_asked_whatever_robots_txt_says(library, crawl):
    library.add(2)
    library.robots = b"User-agent: *\nDisallow: /\n"
    report = crawl(library)
    assert (report.listed, report.rejected, report.incomplete) == (2, {"robots": 2}, [])


def test_listings_that_are_no_api_heed_robots_txt_unless_told_otherwise(library, crawl, monkeypatch):
    monkeypatch.setattr(LocSource, "has_api", False)
    library.add(2)
    library.robots = f"User-agent: *\nDisallow: {COLLECTION}\n".encode()
    (sentence,) = crawl(library).incomplete
    assert "robots.txt disallows" in sentence
    assert "IGNORE_ROBOTS" in sentence
    assert listings_asked(library) == 0
    monkeypatch.setattr(LocSource, "ignores_robots", True)
    assert crawl(library).stored == 2


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_robots_txt_that_cannot_be_had_allows_nothing_for_now(library, crawl, status):
    library.add(2)
    library.robots = status
    report = crawl(library, download={"attempts": 1})
    assert (report.stored, report.failed) == (0, 2)
    assert all(row.reason.startswith("robots_unreachable") for row in rows_of(report).values())
    assert library.asked["/robots.txt"] == 1
    library.robots = 404
    assert crawl(library).stored == 2


@pytest.mark.parametrize("tag", ["noai, noimageai", "noindex", "kwcolor_pipeline: noml"])
def test_who_does_not_want_to_be_learned_from_is_not(library, crawl, settings_of, tag):
    library.photos = [Photo("no", data=picture(1), headers={"X-Robots-Tag": tag}), Photo("yes", data=picture(2))]
    report = crawl(library)
    assert outcomes(report)["yes"] == "stored"
    assert outcomes(report)["no"] in ("noai", "noindex", "noml")
    assert len(list(settings_of().paths.photos.rglob("*.jpg"))) == 1
    library.forget()
    crawl(library)
    assert library.pictures_asked() == {}


# --- asking again ---


def test_what_is_due_is_asked_for_on_condition_and_nothing_is_fetched_twice(library, crawl):
    library.add(4)
    first = crawl(library)
    library.forget()
    library.photos[2].data = picture(99)
    second = crawl(library, download={"recheck_days": 0})
    assert library.pictures_asked() == dict.fromkeys(["p0000", "p0001", "p0002", "p0003"], 1)
    assert set(library.complete) == {"p0002"}
    assert (second.stored, second.downloaded) == (4, 1)
    assert sum(host.not_modified for host in second.hosts.values()) == 3
    assert second.data_version != first.data_version
    rows = rows_of(second)
    assert rows["p0000"].retrieved_at == rows_of(first)["p0000"].retrieved_at
    assert rows["p0000"].checked_at > rows["p0000"].retrieved_at
    library.forget()
    third = crawl(library, download={"recheck_days": 1})
    assert library.pictures_asked() == {}
    assert third.data_version == second.data_version


def test_a_picture_that_is_gone_or_fails_when_asked_again_stays_stored(library, crawl):
    library.add(3)
    before = crawl(library)
    library.photos[0].behaviour = "404"
    library.photos[1].behaviour, library.photos[1].passes_after = "500", 99
    after = crawl(library, download={"recheck_days": 0, "attempts": 1})
    assert (after.stored, after.failed, after.data_version) == (3, 0, before.data_version)
    assert rows_of(after)["p0000"].reason.startswith("gone: http_404")
    assert rows_of(after)["p0001"].checked_at is None


def test_an_opt_out_that_came_later_is_heeded(library, crawl):
    library.add(2)
    crawl(library)
    library.photos[0].headers = {"X-Robots-Tag": "noai"}
    assert outcomes(crawl(library, download={"recheck_days": 0})) == {"p0000": "noai", "p0001": "stored"}


def test_a_licence_that_settings_allow_later_is_no_final_refusal(library, crawl, settings_of):
    library.add(1)
    report = crawl(library)
    (row,) = read_manifest(report.manifest)
    refused = row.model_copy(update={"status": Status.REJECTED, "reason": "licence: none is stated", "photo_id": None})
    write_manifest(report.manifest, [refused])
    assert crawl(library).stored == 1


def test_the_same_address_in_another_year_is_not_fetched_again(library, crawl, monkeypatch):
    library.add(3)
    crawl(library)
    library.forget()
    for photo in library.photos:
        photo.date, photo.years = "1941", (1941, 1941)
    report = crawl(library, "1941")
    assert (report.stored, report.downloaded) == (3, 0)
    assert library.pictures_asked() == {}
    assert rows_of(report)["p0001"].width == 48


# --- one run, its years and its retries ---


def test_a_run_lists_each_page_once_and_the_next_run_again(library, settings_of):
    library.add(40)
    settings = settings_of(library)

    def crawl(edition):
        sources = open_sources(["loc"], settings, False)
        return crawl_partition(settings, sources, "crawled_photos", "1943", edition=edition)

    first = crawl("one")
    assert (first.stored, listings_asked(library)) == (40, 2)
    library.forget()
    again = crawl("one")
    assert (again.stored, again.incomplete) == (40, [])
    assert set(library.asked) == set()
    library.add(1)
    assert crawl("one").stored == 40
    assert crawl("two").stored == 41
    assert listings_asked(library) == 2


def test_a_step_that_failed_at_its_end_repeats_no_request(library, settings_of, monkeypatch):
    library.add(5)
    settings = settings_of(library)
    crawl = lambda: crawl_partition(  # noqa: E731
        settings, open_sources(["loc"], settings, False), "crawled_photos", "1943", edition="run"
    )
    with monkeypatch.context() as broken:
        broken.setattr("kwcolor_pipeline.crawling.crawl.write_manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            crawl()
    library.forget()
    assert crawl().stored == 5
    assert not library.asked


def test_a_listing_that_was_not_understood_is_not_remembered(library, settings_of):
    library.add(2)
    library.bad_pages = {1: "html"}
    settings = settings_of(library, download={"attempts": 1})
    crawl = lambda: crawl_partition(  # noqa: E731
        settings, open_sources(["loc"], settings, False), "crawled_photos", "1943", edition="run"
    )
    assert len(crawl().incomplete) == 1
    library.bad_pages = {}
    assert (crawl().stored, crawl().incomplete) == (2, [])


# --- keys, hosts and addresses ---


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setattr(LocSource, "page_headers", lambda self: {"X-Api-Key": "header-secret"})
    monkeypatch.setattr(LocSource, "page_secrets", lambda self: {"api_key": "query-secret"})


def test_keys_go_to_the_archive_and_into_no_file_or_sentence(library, settings_of, key):
    library.add(30)
    library.bad_pages = {2: "denied"}
    settings = settings_of(library)
    sources = open_sources(["loc"], settings, False)
    report = crawl_partition(settings, sources, "crawled_photos", "1943", edition="run")
    assert any("api_key=query-secret" in path for path in library.asked)
    assert any(headers.get("X-Api-Key") == "header-secret" for headers in library.headers)
    for path in settings.home.rglob("*"):
        assert not path.is_file() or b"-secret" not in path.read_bytes()
    assert not any("secret" in sentence for sentence in report.incomplete)


def test_keys_are_not_sent_for_pictures(library, crawl, key):
    library.add(2)
    crawl(library)
    assert not any("secret" in path for path in library.asked if path.startswith("/image/"))


def test_a_redirect_to_another_host_takes_no_key_along(library, crawl, key, monkeypatch):
    with serve(Library()) as other:
        monkeypatch.setattr(LocSource, "first_pages", lambda self, key: [f"{library.url}/moved/?sp=1"])
        monkeypatch.setattr(addresses, "is_public", lambda address: True)
        library.redirects = {"/moved/": f"{other.url}{COLLECTION}?sp=1&dates=1943/1943"}
        other.add(1)
        assert crawl(library).listed == 1
        assert other.asked
        assert not any("secret" in path for path in other.asked)
        assert not any("X-Api-Key" in headers for headers in other.headers)
        assert any("query-secret" in path for path in library.asked)


def resolving(monkeypatch, **names):
    """Names that resolve as the test says; all others as the system does."""
    real = socket.getaddrinfo

    def resolve(host, port, *args, **kwargs):
        if host in names:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (names[host], port))]
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)


def test_no_redirect_leads_into_the_operators_own_network(library, crawl, monkeypatch):
    with serve(Library()) as tripwire:
        port = tripwire.url.rpartition(":")[2]
        resolving(monkeypatch, **{"intern.example": "127.0.0.1", "cloud.example": "169.254.169.254"})
        hostile = {
            "metadata": "http://169.254.169.254/latest/meta-data/",
            "port": tripwire.url,
            "ipv6": f"http://[::1]:{port}/",
            "mapped": f"http://[::ffff:127.0.0.1]:{port}/",
            "file": "file:///etc/passwd",
            "ftp": "ftp://127.0.0.1/",
            "number": f"http://2130706433:{port}/",
            "name": f"http://intern.example:{port}/image/good/full.jpg",
            "cloud": "http://cloud.example/latest/meta-data/",
            "localhost": f"http://localhost:{port}/",
            "broken": "http://[::1",
        }
        library.photos = [Photo(name, behaviour="redirect", location=to) for name, to in hostile.items()]
        report = crawl(library)
        assert outcomes(report) == dict.fromkeys(hostile, "unsafe_redirect")
        assert not tripwire.asked


def test_an_address_that_a_listing_names_is_checked_as_well(library, crawl, monkeypatch):
    with serve(Library()) as tripwire:
        resolving(monkeypatch, **{"intern.example": "10.0.0.7"})
        library.add(2)
        library.addresses = {"p0000": f"{tripwire.url}/image/p0000/full.jpg", "p0001": "http://intern.example/x.jpg"}
        report = crawl(library)
        assert outcomes(report) == {"p0000": "unsafe_address", "p0001": "unsafe_address"}
        assert not tripwire.asked


def test_a_public_host_may_be_redirected_to(library, crawl, monkeypatch):
    with serve(Library(photos=[Photo("x", data=picture(5))])) as other:
        port = int(other.url.rpartition(":")[2])
        resolving(monkeypatch, **{"tile.example": "127.0.0.1"})
        monkeypatch.setattr(addresses, "is_public", lambda address: True)
        library.photos = [Photo("a", behaviour="redirect", location=f"http://tile.example:{port}/image/x/full.jpg")]
        report = crawl(library)
        assert report.stored == 1
        assert report.hosts[f"tile.example:{port}"].requests == 2  # robots.txt and the picture


# --- trouble that has a remedy ---


def test_an_unreachable_archive_is_told_and_the_others_finish(library, settings_of, tmp_path):
    folder = tmp_path / "1943"
    folder.mkdir()
    (folder / "own.jpg").write_bytes(picture(9))
    settings = settings_of(loc={"base_url": "http://127.0.0.1:9"}, download={"attempts": 1})
    sources = open_sources(["loc", f"folder:{folder}"], settings, False)
    report = crawl_partition(settings, sources, "crawled_photos", "1943")
    (sentence,) = report.incomplete
    assert report.stored == 1
    assert "does not accept connections" in sentence
    assert "check the network and KWCOLOR_LOC__BASE_URL, then crawl 1943 again" in sentence


def test_a_host_that_is_lost_is_not_asked_for_every_picture(library, crawl, monkeypatch):
    monkeypatch.setattr(requesting, "_GIVE_UP_SECONDS", 0.0)
    monkeypatch.setattr(addresses, "is_public", lambda address: True)
    library.robots = 404
    library.add(30)
    library.addresses = {photo.id: f"http://127.0.0.1:9/image/{photo.id}.jpg" for photo in library.photos}
    report = crawl(library, download={"attempts": 2})
    assert report.failed == 30
    assert report.hosts["127.0.0.1:9"].requests < 20


@pytest.mark.parametrize("name", ["nara", "flickr", "europeana"])
def test_a_missing_key_is_told_with_its_setting_and_the_others_finish(library, settings_of, name):
    library.add(2)
    settings = settings_of(library)
    sources = open_sources([name, "loc"], settings, False)
    report = crawl_partition(settings, sources, "crawled_photos", "1943")
    (sentence,) = report.incomplete
    assert f"KWCOLOR_{name.upper()}__API_KEY" in sentence
    assert sentence.count(". ") == 0
    assert report.stored == 2


def test_traffic_is_counted_by_host(library, crawl):
    library.add(3)
    report = crawl(library)
    (traffic,) = report.hosts.values()
    assert traffic.requests == 1 + 1 + 3  # listing, robots.txt, pictures
    assert traffic.bytes > sum(len(photo.data) for photo in library.photos)


def test_stored_files_are_named_by_their_content_whatever_the_network_says(library, crawl, settings_of):
    named = {"Content-Disposition": 'attachment; filename="../../../../tmp/evil.jpg"'}
    library.photos = [Photo("a", data=picture(1), headers=named)]
    (row,) = rows_of(crawl(library)).values()
    (file,) = (path for path in settings_of().paths.photos.rglob("*") if path.is_file())
    assert file == PhotoStore(settings_of().paths.photos).find(row.photo_id)
