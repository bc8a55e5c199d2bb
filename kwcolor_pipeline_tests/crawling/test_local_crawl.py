import csv
import os

import pytest
from PIL import Image

from kwcolor_pipeline.crawling import crawl as crawl_module
from kwcolor_pipeline.crawling import intake
from kwcolor_pipeline.crawling.crawl import crawl_partition, is_current
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.photos import curation
from kwcolor_pipeline.photos.manifest import Status, crawl_partitions, read_manifest
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline_tests.servers.loc_imitation import picture, png_bomb


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photographs"
    root.mkdir()
    return root


@pytest.fixture
def crawl_folder(folder, settings_of):
    def run(key, spec=None, **options):
        settings = settings_of()
        sources = open_sources([spec or f"folder:{folder}"], settings, False)
        return crawl_partition(settings, sources, "crawled_photos", key, **options)

    return run


@pytest.fixture
def current(folder, settings_of):
    def ask(key):
        settings = settings_of()
        return is_current(settings, open_sources([f"folder:{folder}"], settings, False), "crawled_photos", key)

    return ask


@pytest.fixture
def judged(monkeypatch):
    """Sizes of the files whose bytes were judged."""
    sizes = []
    real = intake.judge
    monkeypatch.setattr(intake, "judge", lambda data, limits, **_: (sizes.append(len(data)), real(data, limits))[1])
    return sizes


def write_index(folder, rows, columns=("file", "id", "year", "title", "tone")):
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def rows_of(report):
    return {row.source_id: row for row in read_manifest(report.manifest)}


def test_photographs_are_added_changed_and_removed(folder, crawl_folder, current, judged):
    write_index(folder, [{"file": "a.jpg", "id": "a", "year": 1943}, {"file": "b.png", "id": "b", "year": 1943}])
    (folder / "a.jpg").write_bytes(picture(1))
    (folder / "b.png").write_bytes(picture(2, pil_format="PNG"))
    assert not current("1943")
    first = crawl_folder("1943")
    assert (first.stored, first.downloaded, len(judged)) == (2, 0, 2)
    assert rows_of(first)["a"].file_url == (folder / "a.jpg").as_uri()
    assert current("1943")

    again = crawl_folder("1943")
    assert len(judged) == 2  # nothing was read again
    assert again.data_version == first.data_version

    (folder / "a.jpg").write_bytes(picture(3, (60, 40)))
    assert not current("1943")
    changed = crawl_folder("1943")
    assert len(judged) == 3
    assert changed.data_version != first.data_version
    assert rows_of(changed)["a"].width == 60

    write_index(folder, [{"file": "b.png", "id": "b", "year": 1943, "title": "Named"}])
    assert not current("1943")
    removed = crawl_folder("1943")
    assert set(rows_of(removed)) == {"b"}
    assert rows_of(removed)["b"].title == "Named"
    assert len(judged) == 3
    assert current("1943")


def test_a_stored_file_that_vanished_is_read_again(folder, crawl_folder, current, settings_of):
    write_index(folder, [{"file": "a.jpg", "id": "a", "year": 1943}])
    (folder / "a.jpg").write_bytes(picture(1))
    row = rows_of(crawl_folder("1943"))["a"]
    stored = PhotoStore(settings_of().paths.photos).find(row.photo_id)
    stored.unlink()
    assert not current("1943")
    crawl_folder("1943")
    assert stored.exists()


def test_each_photograph_is_in_one_partition(folder, crawl_folder, settings_of):
    years = ["1943", "0", "", "[between 1940 and 1946]", "1700", "1975", "2011"]
    write_index(folder, [{"file": f"{n}.jpg", "id": str(n), "year": year} for n, year in enumerate(years)])
    (source,) = open_sources([f"folder:{folder}"], settings_of(), False)
    keys = {key: {one.source_id for one in source.candidates(key)} for key in source.covers(crawl_partitions())}
    assert keys == {"1943": {"0"}, "undated": {"1", "2", "4", "5"}, "1940": {"3"}, "2011": {"6"}}


def test_what_cannot_be_taken_is_a_row_with_its_reason(folder, crawl_folder, tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(picture(9))
    (folder / "link.jpg").symlink_to(secret)
    (folder / "inside.jpg").symlink_to(folder / "good.jpg")
    (folder / "away").symlink_to(tmp_path)
    (folder / "good.jpg").write_bytes(picture(1))
    (folder / "page.jpg").write_bytes(b"<html>")
    (folder / "half.jpg").write_bytes(picture(1, (300, 200))[:900])
    (folder / "none.jpg").write_bytes(b"")
    (folder / "bomb.png").write_bytes(png_bomb())
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "fifo.jpg")
    files = ["good.jpg", "link.jpg", "inside.jpg", "away/secret.jpg", "../secret.jpg", str(secret), "absent.jpg"]
    files += ["page.jpg", "half.jpg", "none.jpg", "bomb.png", "folder.jpg", "fifo.jpg"]
    write_index(folder, [{"file": file, "id": str(n), "year": 1943} for n, file in enumerate(files)])
    report = crawl_folder("1943")
    found = rows_of(report)
    reasons = {file: (found[str(n)].reason or "stored").partition(":")[0] for n, file in enumerate(files)}
    assert reasons == {
        "good.jpg": "stored",
        "link.jpg": "outside_folder",
        "inside.jpg": "stored",
        "away/secret.jpg": "outside_folder",
        "../secret.jpg": "outside_folder",
        str(secret): "outside_folder",
        "absent.jpg": "missing_file",
        "page.jpg": "not_an_image",
        "half.jpg": "corrupt",
        "none.jpg": "empty",
        "bomb.png": "too_many_pixels",
        "folder.jpg": "not_an_image",
        "fifo.jpg": "not_an_image",
    }
    assert (report.listed, report.rejected["outside_folder"]) == (13, 4)
    assert found["0"].photo_id == found["2"].photo_id  # two names, one picture


def test_an_indexed_file_that_is_deleted_and_comes_back(folder, crawl_folder):
    write_index(folder, [{"file": "a.jpg", "id": "a", "year": 1943}])
    (folder / "a.jpg").write_bytes(picture(1))
    assert crawl_folder("1943").stored == 1
    (folder / "a.jpg").unlink()
    assert crawl_folder("1943").rejected == {"missing_file": 1}
    (folder / "a.jpg").write_bytes(picture(1))
    assert crawl_folder("1943").stored == 1


def test_a_file_listed_twice_under_two_ids_is_noted_twice(folder, crawl_folder):
    (folder / "a.jpg").write_bytes(picture(1))
    write_index(folder, [{"file": "a.jpg", "id": name, "year": 1943} for name in ("one", "two")])
    report = crawl_folder("1943")
    assert (report.stored, report.rejected) == (1, {"duplicate": 1})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"file,year\na.jpg,1943\n", "line 1: the column `id` is missing"),
        (b"", "line 1: the column `file` is missing"),
        (b"file,id,title\na.jpg,a,x\nb.jpg,b,caf\xe9\n", "line 3: not UTF-8; save the file as UTF-8"),
        (b"file,id\na.jpg,a\nb.jpg,\n", "line 3: `id` is empty"),
        (b'file,id\n"a"b.jpg,a\n', "line 2: "),
    ],
)
def test_a_broken_index_names_file_line_and_remedy(folder, crawl_folder, text, words):
    (folder / "index.csv").write_bytes(text)
    with pytest.raises(SettingsProblem, match=words) as problem:
        crawl_folder("1943")
    assert str(folder / "index.csv") in str(problem.value)


def test_an_index_saved_by_a_spreadsheet_is_read(folder, crawl_folder):
    (folder / "index.csv").write_bytes("\ufefffile,id,year,extra\r\na.jpg,a,1943,x\r\n".encode())
    (folder / "a.jpg").write_bytes(picture(1))
    assert crawl_folder("1943").stored == 1


def test_without_an_index_years_come_from_exif_then_from_folder_names(folder, crawl_folder, settings_of):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "1941:12:07 08:00:00"
    for name in ("1943 Normandy/exif.jpg", "1943 Normandy/deep/plain.jpg", "1939-1944/two.jpg", "loose.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(len(name)))
    Image.new("RGB", (30, 20), "red").save(folder / "1943 Normandy/exif.jpg", exif=exif)
    (folder / "1943 Normandy/broken.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / ".hidden.jpg").write_bytes(picture(1))
    (folder / "notes.txt").write_text("no picture")
    (source,) = open_sources([f"folder:{folder}"], settings_of(), False)
    keys = {key: {one.source_id for one in source.candidates(key)} for key in source.covers(crawl_partitions())}
    assert keys == {
        "1941": {"1943 Normandy/exif.jpg"},
        "1943": {"1943 Normandy/deep/plain.jpg", "1943 Normandy/broken.jpg"},
        "undated": {"1939-1944/two.jpg", "loose.jpg"},
    }
    report = crawl_folder("1943")
    assert (report.stored, sum(report.rejected.values())) == (1, 1)


def test_a_file_name_that_is_not_utf8(folder, crawl_folder):
    with open(os.fsencode(folder) + b"/caf\xe9.jpg", "wb") as handle:  # noqa: PTH123 - a name of bytes
        handle.write(picture(1))
    report = crawl_folder("undated")
    assert report.stored == 1
    assert crawl_folder("undated").stored == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file_is_a_failure_and_not_current(folder, crawl_folder, current):
    (folder / "a.jpg").write_bytes(picture(1))
    (folder / "a.jpg").chmod(0)
    assert crawl_folder("undated").failed == 1
    assert not current("undated")


def test_wanted_in_black_and_white(folder, crawl_folder, monkeypatch):
    monkeypatch.setattr(curation, "looks_coloured", lambda image: image.mode == "RGB")
    (folder / "colour.jpg").write_bytes(picture(1))
    Image.new("L", (40, 30), 99).save(folder / "grey.jpg")
    report = crawl_folder("undated", wanted_tone="bw")
    assert (report.stored, report.rejected) == (1, {"in_colour": 1})
    assert rows_of(report)["grey.jpg"].status == Status.STORED


def test_the_sample_is_crawled_and_then_current(crawl_folder, settings_of):
    report = crawl_folder("2013", "sample")
    assert (report.stored, report.rejected, report.listed) == (3, {}, 3)
    assert {row.year_published for row in read_manifest(report.manifest)} == {2013}
    settings = settings_of()
    assert is_current(settings, open_sources(["sample"], settings, False), "crawled_photos", "2013")
    assert not is_current(settings, open_sources(["sample"], settings, False), "crawled_photos", "2015")


def test_a_source_taken_out_of_the_settings_loses_its_local_rows(folder, crawl_folder, tmp_path):
    (folder / "a.jpg").write_bytes(picture(1))
    assert crawl_folder("undated").stored == 1
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.jpg").write_bytes(picture(2))
    assert set(rows_of(crawl_folder("undated", f"folder:{other}"))) == {"b.jpg"}


def test_a_manifest_is_not_written_when_the_crawl_breaks(folder, crawl_folder, monkeypatch):
    def broken(*args):
        raise RuntimeError("broken")

    (folder / "a.jpg").write_bytes(picture(1))
    first = crawl_folder("undated")
    before = first.manifest.read_bytes()
    (folder / "b.jpg").write_bytes(picture(2))
    monkeypatch.setattr(crawl_module, "_read_file", broken)
    with pytest.raises(RuntimeError, match="broken"):
        crawl_folder("undated")
    assert first.manifest.read_bytes() == before
