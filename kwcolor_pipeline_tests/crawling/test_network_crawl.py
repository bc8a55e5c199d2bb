import errno
import json
import os
import signal
import subprocess
import sys
import time
import zlib

import pytest

from kwcolor_pipeline import __version__
from kwcolor_pipeline.crawling.crawl import crawl_partition, is_current
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.crawling.sources.base import Limits
from kwcolor_pipeline.crawling.sources.loc import LocSource
from kwcolor_pipeline.photos.manifest import Status, read_manifest
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline_tests.servers.loc_imitation import Library, Photo, picture, png_bomb, serve


def rows_of(report):
    return {row.source_id: row for row in read_manifest(report.manifest)}


def test_two_pages_each_picture_once_and_nothing_the_second_time(library, crawl, settings_of):
    library.add(40)
    first = crawl(library)
    assert (first.listed, first.stored, first.downloaded, first.failed, first.rejected) == (40, 40, 40, 0, {})
    assert first.incomplete == []
    assert library.pictures_asked() == {photo.id: 1 for photo in library.photos}
    assert all(path.endswith("full.jpg") for path in library.asked if path.startswith("/image/"))
    row = rows_of(first)["p0007"]
    store = PhotoStore(settings_of().paths.photos)
    assert store.find(row.photo_id).read_bytes() == picture(7)
    assert (row.width, row.height, row.mime, row.etag) == (48, 32, "image/jpeg", f'"p0007-{zlib.crc32(picture(7))}"')
    assert (row.year_taken, row.date_text, row.creator) == (1943, "1943", "Palmer, Alfred T.")
    assert row.licence == "No known restrictions on publication."
    assert row.landing_url == f"{library.url}/item/p0007/"
    library.forget()
    second = crawl(library)
    assert library.pictures_asked() == {}
    assert (second.stored, second.downloaded, second.bytes) == (40, 0, 0)
    assert second.data_version == first.data_version


def test_a_photograph_added_later_is_the_only_one_fetched(library, crawl):
    library.add(5)
    before = crawl(library)
    library.add(1)
    library.forget()
    after = crawl(library)
    assert library.pictures_asked() == {"p0005": 1}
    assert after.stored == 6
    assert after.data_version != before.data_version


def test_a_slow_second_page_loses_nothing(library, crawl):
    library.add(40)
    library.page_seconds = {2: 6.5}  # longer than icrawler's downloader waits when it is idle
    assert crawl(library).stored == 40


def test_forty_slow_pictures_are_all_stored(library, crawl):
    library.add(40)
    library.picture_seconds = 0.25  # slower than the queue's patience
    report = crawl(library)
    assert report.stored == 40
    assert set(library.pictures_asked().values()) == {1}


def test_what_passes_is_tried_again(library, crawl):
    behaviours = ["429", "503", "500", "truncated", "reset"]
    library.photos = [Photo(name, data=picture(n, (300, 200)), behaviour=name) for n, name in enumerate(behaviours)]
    report = crawl(library)
    assert (report.stored, report.failed) == (5, 0)
    assert library.pictures_asked() == dict.fromkeys(behaviours, 2)
    for name in ("429", "503"):
        early, late = library.times[f"/image/{name}/full.jpg"]
        assert late - early >= 1.0  # as Retry-After asked


def test_what_stays_broken_is_a_failure_that_the_next_crawl_repeats(library, crawl):
    library.photos = [Photo("a", data=picture(1)), Photo("b", data=picture(2), behaviour="500", passes_after=2)]
    report = crawl(library, download={"attempts": 2})
    row = rows_of(report)["b"]
    assert (report.stored, report.failed, row.status) == (1, 1, Status.FAILED)
    assert row.reason.startswith("http_500")
    again = crawl(library, download={"attempts": 2})
    assert (again.stored, again.failed, again.downloaded) == (2, 0, 1)


def test_hostile_answers_are_rejected_with_their_reason_and_for_good(library, crawl):
    good = picture(1, (300, 200))
    library.photos = [
        Photo("good", data=good),
        Photo("html", data=b"<html>not here</html>"),
        Photo("bomb", data=png_bomb(), content_type="image/png"),
        Photo("none", data=b""),
        Photo("half", data=good[: len(good) // 2]),
        Photo("gone", behaviour="404"),
        Photo("endless", behaviour="endless"),
        Photo("loop", behaviour="loop"),
    ]
    report = crawl(library, download={"max_bytes": 2_000_000})
    reasons = {name: (row.reason or "stored").partition(":")[0] for name, row in rows_of(report).items()}
    assert reasons == {
        "good": "stored",
        "html": "not_an_image",
        "bomb": "too_many_pixels",
        "none": "empty",
        "half": "corrupt",
        "gone": "http_404",
        "endless": "too_large",
        "loop": "redirect_loop",
    }
    assert sum(report.rejected.values()) == 7
    library.forget()
    assert crawl(library).downloaded == 0
    assert library.pictures_asked() == {}


def test_redirects_stay_on_their_host(library, crawl):
    with serve(Library()) as tripwire:
        library.photos = [
            Photo("moved", behaviour="redirect", location="/image/good/other.jpg"),
            Photo("good", data=picture(1)),
            Photo("port", behaviour="redirect", location=f"{tripwire.url}/image/good/full.jpg"),
            Photo(
                "name", behaviour="redirect", location=library.url.replace("127.0.0.1", "localhost") + "/image/good/x"
            ),
            Photo("file", behaviour="redirect", location="file:///etc/passwd"),
            Photo("odd", behaviour="redirect", location="http://[::1"),
        ]
        report = crawl(library)
        assert {name: row.reason for name, row in rows_of(report).items() if row.status == Status.FAILED} == {}
        assert (report.stored, report.rejected) == (2, {"unsafe_redirect": 4})
        assert not tripwire.asked


def test_a_body_that_drips_is_given_up_in_time(library, crawl):
    library.photos = [Photo("slow", data=picture(1, (300, 200)), behaviour="drip"), Photo("good", data=picture(2))]
    report = crawl(library, download={"total_timeout": 0.5, "attempts": 1})
    assert (report.stored, report.failed) == (1, 1)


@pytest.mark.parametrize(("fault", "words"), [("denied", "http_403"), ("html", "not JSON"), ("down", "http_503")])
def test_a_listing_that_cannot_be_read_is_told_and_the_rest_is_crawled(library, crawl, fault, words):
    library.add(40)
    library.bad_pages = {2: fault}
    report = crawl(library, download={"attempts": 2})
    assert len(report.incomplete) == 1
    assert words in report.incomplete[0]
    assert "sp=2" in report.incomplete[0]
    assert report.stored == 24  # the first page has 24 photographs and the collection's own page
    library.bad_pages = {}
    library.forget()
    again = crawl(library)
    assert (again.stored, again.downloaded, again.incomplete) == (40, 16, [])


def test_an_error_page_with_status_200_is_asked_for_again(library, crawl):
    library.add(3)
    library.bad_pages, library.bad_page_times = {1: "html"}, 1
    report = crawl(library)
    assert (report.stored, report.incomplete) == (3, [])


def test_a_failing_source_keeps_what_it_gave_before_and_others_finish(library, crawl, settings_of, tmp_path):
    library.add(3)
    crawl(library)
    folder = tmp_path / "1943"
    folder.mkdir()
    (folder / "own.jpg").write_bytes(picture(99))
    library.bad_pages = {1: "denied"}
    settings = settings_of(library)
    sources = open_sources(["loc", f"folder:{folder}"], settings, False)
    report = crawl_partition(settings, sources, "crawled_photos", "1943")
    assert (report.stored, report.listed, len(report.incomplete)) == (4, 1, 1)
    assert not is_current(settings, sources, "crawled_photos", "1943")


def test_a_range_is_taken_in_its_own_partition_only(library, crawl):
    library.photos = [
        Photo("range", "[between 1940 and 1946]", (1940, 1946), picture(1)),
        Photo("year", "194[3] Apr.?", (1943, 1943), picture(2)),
    ]
    assert set(rows_of(crawl(library, "1943"))) == {"year"}
    assert set(rows_of(crawl(library, "1940"))) == {"range"}
    assert library.pictures_asked() == {"range": 1, "year": 1}


def test_an_empty_year(library, crawl):
    library.add(2)
    report = crawl(library, "1940")
    assert (report.rows, report.listed, report.incomplete) == (0, 0, [])
    assert report.manifest.exists()


def test_a_stored_picture_whose_file_is_gone_is_fetched_again(library, crawl, settings_of):
    library.add(3)
    row = rows_of(crawl(library))["p0001"]
    PhotoStore(settings_of().paths.photos).find(row.photo_id).unlink()
    library.forget()
    assert crawl(library).downloaded == 1
    assert library.pictures_asked() == {"p0001": 1}


def test_the_crawler_tells_who_it_is_and_heeds_no_proxy(library, crawl, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    library.add(1)
    assert crawl(library).stored == 1
    for headers in library.headers:
        assert headers["User-Agent"].startswith(f"kwcolor_pipeline/{__version__} (https://example.org/me) requests/")
        assert "Accept-Language" not in headers
        assert "Referer" not in headers


def test_the_rate_limit_holds_across_threads_and_crawls(library, crawl, monkeypatch):
    monkeypatch.setattr(LocSource, "__init__", with_pictures_limited_to(5, 1.0))
    library.add(7)
    library.add(5, date="1941", years=(1941, 1941))
    crawl(library)
    crawl(library, "1941")
    times = sorted(time for path, asked in library.times.items() if path.startswith("/image/") for time in asked)
    assert all(later - early >= 1.0 for early, later in zip(times, times[5:], strict=False))


def with_pictures_limited_to(count, seconds):
    original = LocSource.__init__

    def limited(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.picture_limits = Limits(((count, seconds),), at_once=4)

    return limited


def test_progress_is_told(library, settings_of):
    library.add(3)
    settings, told = settings_of(library), []
    sources = open_sources(["loc"], settings, False)
    crawl_partition(settings, sources, "crawled_photos", "1943", progress=lambda *seen: told.append(seen))
    assert sorted(finished for _, finished, _ in told) == [1, 2, 3]
    assert told[-1][0] == "loc"


def test_a_full_disk_is_told_with_its_remedy_and_the_next_crawl_goes_on(library, crawl, monkeypatch):
    def full(self, data, pil_format):
        raise OSError(errno.ENOSPC, "No space left on device", str(self.root))

    library.add(3)
    with monkeypatch.context() as disk:
        disk.setattr(PhotoStore, "put", full)
        report = crawl(library)
    (sentence,) = report.incomplete
    assert "No space left on device" in sentence
    assert "KWCOLOR_HOME" in sentence
    assert "crawl 1943 again" in sentence
    assert report.stored == 0
    assert (crawl(library).stored, crawl(library).incomplete) == (3, [])


KILLED = """
import sys
from kwcolor_pipeline.crawling.crawl import crawl_partition
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.crawling.sources.base import Limits
from kwcolor_pipeline.crawling.sources.loc import LocSource
from kwcolor_pipeline.settings import load_settings
settings = load_settings()
crawl_partition(settings, open_sources(["loc"], settings, False), "crawled_photos", "1943")
"""


def test_a_killed_crawl_goes_on_without_fetching_finished_pictures_again(library, crawl, settings_of):
    library.add(40)
    library.picture_seconds = 0.1
    settings = settings_of(library)
    environment = {
        **os.environ,
        "KWCOLOR_HOME": str(settings.home),
        "KWCOLOR_CONTACT": settings.contact,
        "KWCOLOR_LOC": json.dumps(settings.loc.model_dump()),
    }
    process = subprocess.Popen([sys.executable, "-c", KILLED], env=environment)
    journal = settings.paths.manifests / "crawled_photos" / "1943.journal.jsonl"
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 12):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {
        json.loads(line)["source_id"] for line in journal.read_text().splitlines(keepends=True) if line[-1] == "\n"
    }
    assert 12 <= len(finished) < 40
    assert not journal.with_name("1943.parquet").exists()
    library.picture_seconds = 0
    time.sleep(0.3)
    library.forget()
    report = crawl(library)
    assert report.stored == 40
    assert not finished & set(library.pictures_asked())
    assert report.downloaded == 40 - len(finished)
    assert not journal.exists()
