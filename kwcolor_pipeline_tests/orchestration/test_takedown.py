"""`kwcolor takedown`: the picture is nowhere any more, also after the runs that follow."""

import contextlib
import functools
import os
import re
import shutil
import sqlite3
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from kwcolor_pipeline.crawling.crawl import crawl_partition
from kwcolor_pipeline.crawling.intake import is_in_store
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.crawling.sources.base import local_path
from kwcolor_pipeline.definitions import build_definitions
from kwcolor_pipeline.orchestration import incremental
from kwcolor_pipeline.orchestration.instance import open_instance
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.orchestration.takedown import take_down
from kwcolor_pipeline.photos import erasing
from kwcolor_pipeline.photos.attribution import attribution_folder, write_attribution
from kwcolor_pipeline.photos.manifest import Status, read_manifest, write_manifest
from kwcolor_pipeline.photos.near_duplicates import deduplicate, read_deduplicated
from kwcolor_pipeline.photos.pairs import read_index
from kwcolor_pipeline.photos.store import PhotoStore, photo_id_of
from kwcolor_pipeline.photos.takedown import Takedowns
from kwcolor_pipeline.settings import SettingsProblem, load_settings
from kwcolor_pipeline_tests.commands import run_command
from kwcolor_pipeline_tests.journeys.photographs import PhotoFolder
from kwcolor_pipeline_tests.photos.pictures import PhotoHome, encoded, recompressed, scene
from kwcolor_pipeline_tests.servers.loc_imitation import Library, serve
from kwcolor_pipeline_tests.small_homes import settings_for

PHOTOGRAPHS = ["crawled_photos", "korean_war_photos", "deduplicated_photos", "curated_photos", "grayscale_pairs"]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))  # open_instance sets it; this gives it back
    return settings_for(
        tmp_path / "home",
        sources=[f"folder:{tmp_path / 'colour'}"],
        korean_war_sources=[f"folder:{tmp_path / 'target'}"],
    )


def run(settings, *assets):
    with open_instance(settings) as instance:
        outcome = incremental.run(
            settings, build_definitions(settings), instance, MLflow(settings), select=assets or PHOTOGRAPHS
        )
    assert outcome.problems == []
    return outcome.materialized


def files(settings):
    return [path for path in sorted(settings.paths.root.rglob("*")) if path.is_file()]


def traces(settings, photo_id, data):
    """Files of the home, the takedown list aside, that hold the picture's bytes or its id."""
    found = []
    for path in files(settings):
        if path == settings.paths.takedowns:
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += repr(pq.read_table(path).to_pydict()).encode()
        if data in content or photo_id[:24].encode() in content or photo_id[:24] in path.name:
            found.append(str(path.relative_to(settings.paths.root)))
    return found


def thumbnails(settings):
    """The pictures in Dagster's databases, wherever in them."""
    found = set()
    for path in settings.paths.dagster.rglob("*.db"):
        with contextlib.closing(sqlite3.connect(path)) as database:
            text = "\n".join(database.iterdump())
        found |= set(re.findall(r"data:image/webp;base64,[A-Za-z0-9+/=]+", text))
    return found


def stored(settings, asset="crawled_photos", key="1941"):
    rows = read_manifest(settings.paths.manifests / asset / f"{key}.parquet")
    return {row.title: row for row in rows if row.status == Status.STORED}


def test_its_bytes_are_nowhere_after_the_next_run(settings, tmp_path):
    colour, target = PhotoFolder(tmp_path / "colour"), PhotoFolder(tmp_path / "target")
    colour.add({"1941": 12, "1942": 6})
    target.add_grey("1951", "skimage", "data/camera.png")
    run(settings)
    assert run(settings) == []
    title = next(
        pair["title"] for pair in read_index(settings.paths) if (pair["partition"], pair["split"]) == ("1941", "train")
    )
    row = stored(settings)[title]
    data = PhotoStore(settings.paths.photos).find(row.photo_id).read_bytes()
    write_attribution(settings.paths, attribution_folder(settings.paths))
    where = traces(settings, row.photo_id, data)
    assert {Path(name).parts[0] for name in where} == {"photos", "manifests", "pairs", "reports"}
    # 1941, 1942, 1951, what curation kept, what it rejected and what it is not sure of, and some pairs
    shown = thumbnails(settings)
    assert len(shown) == 7

    outcome = take_down(settings, [row.photo_id], " asked\nby letter ", copies=True, history=True)
    assert (outcome.problems, outcome.unknown) == ([], [])
    (picture,) = outcome.pictures
    assert (picture.title, picture.partitions) == (title, ["crawled_photos 1941"])
    assert picture.local_files == [row.file_url]
    assert local_path(row.file_url).read_bytes() == data
    assert traces(settings, row.photo_id, data) == []
    assert len(thumbnails(settings)) == 2
    assert thumbnails(settings) < shown
    assert Takedowns.load(settings.paths).covers(row.photo_id) == "asked by letter"
    # Another picture that comes to lie in the folder under this name is another picture.
    assert Takedowns.load(settings.paths).covers(urls=[row.file_url]) is None

    again = run(settings)
    assert again == ["crawled_photos 1941", "deduplicated_photos", "curated_photos", "grayscale_pairs"]
    assert traces(settings, row.photo_id, data) == []
    assert len(read_deduplicated(settings.paths)) == 17
    assert len(thumbnails(settings) & shown) <= 4  # nothing that was rejected or is in doubt changed
    manifest = read_manifest(settings.paths.manifests / "crawled_photos" / "1941.parquet")
    assert [row.reason for row in manifest if row.title == title] == ["taken_down: asked by letter"]
    assert run(settings) == []

    # Again, and of another picture: what the first takedown left in the history is no hindrance; the second
    # leaves the history alone, and says so.
    other = stored(settings)["Photograph 1"]
    outcome = take_down(settings, [other.photo_id, row.photo_id], "asked", copies=True)
    assert (len(outcome.pictures), outcome.unknown, outcome.problems) == (1, [row.photo_id], [])
    assert any("--history" in note for note in outcome.notes)
    assert run(settings) == again


def test_what_models_reports_and_the_gallery_show_goes_at_once(trained_settings, tmp_path):
    from kwcolor_pipeline.evaluation.comparison import compare, current_comparison, report_folder
    from kwcolor_pipeline.evaluation.target_gallery import current_gallery, make_gallery
    from kwcolor_pipeline.training.data import open_cache
    from kwcolor_pipeline.training.stages import latest, pairs_version

    settings, home = trained_settings, trained_settings.paths
    target = PhotoHome(home.root)
    for seed in (101, 102):
        data = encoded(scene(seed).convert("L"))
        grey = target.add(data, partition="1951", file_url=f"https://a.example/{seed}.jpg")
    (home.manifests / "korean_war_photos").mkdir()
    target.manifest("1951").rename(home.manifests / "korean_war_photos" / "1951.parquet")
    bundle = latest(home, "gan_model").bundle.folder
    make_gallery(settings, bundle, "version 1")
    compare(settings, None, "version 1")
    for cached in ("train", "valid"):
        open_cache(home, cached, 40, pairs_version(home))
    artifacts = home.mlflow_artifacts / "run" / "artifacts"
    shutil.copytree(report_folder(home), artifacts)
    shutil.copy(bundle / "preview.webp", artifacts)

    of = {row["split"]: row["photo_id"] for row in read_index(home)}
    trained, tested = of["train"], of["test"]
    pictures = {photo_id: PhotoStore(home.photos).find(photo_id).read_bytes() for photo_id in (trained, tested, grey)}
    caches = sorted((home.pairs / "cache").iterdir())
    outcome = take_down(settings, [trained], "asked", copies=False)
    assert outcome.problems == []
    assert traces(settings, trained, pictures[trained]) == []
    assert [path for path in caches if path.exists()] == [path for path in caches if "valid" in path.name]
    # Neither the report nor a preview shows what trained.
    assert {path.name for path in artifacts.iterdir()} >= {"report.html", "metrics.json", "preview.webp"}
    assert report_folder(home).exists()

    assert take_down(settings, [tested, f"https://a.example/{seed}.jpg#x"], "asked", copies=False).problems == []
    for photo_id in (tested, grey):
        assert traces(settings, photo_id, pictures[photo_id]) == []
    left = {path.name for path in files(settings)}
    assert not left & {"preview.webp", "report.html", "metrics.json"}
    assert current_gallery(settings, bundle) is None
    assert current_comparison_or_none(current_comparison, settings) is None
    assert latest(home, "gan_model").bundle.folder == bundle
    again = make_gallery(settings, bundle, "version 1")
    assert len(again.pictures) == 1
    assert traces(settings, grey, pictures[grey]) == []


def current_comparison_or_none(current_comparison, settings):
    try:
        return current_comparison(settings)
    except SettingsProblem:  # there are no pairs at the moment
        return None


def test_artifacts_of_another_mlflow_are_told(small_settings):
    settings = small_settings.model_copy(update={"mlflow_tracking_uri": "http://mlflow.example"})
    of = {row["split"]: row["photo_id"] for row in read_index(settings.paths)}
    assert take_down(settings, [of["train"]], "asked", copies=False).problems == []
    (problem,) = take_down(settings, [of["valid"]], "asked", copies=False).problems
    assert "http://mlflow.example" in problem


@pytest.fixture
def photos(tmp_path):
    """Three pictures of which two are nearly one, on a page each, deduplicated; and a fourth that came later."""
    photos = PhotoHome(tmp_path / "home")
    for number, data in enumerate([encoded(scene(1)), encoded(recompressed(scene(1), 60)), encoded(scene(2))]):
        photos.add(data, **on_the_web(number))
    deduplicate(photos.settings)
    photos.add(encoded(scene(3)), **on_the_web(3))
    return photos


def on_the_web(number):
    return {
        "title": f"Scene {number}",
        "source": "loc",
        "file_url": f"https://a.example/{number}.jpg",
        "landing_url": f"https://a.example/page/{number // 2}/",
    }


def titles(outcome):
    return [(picture.title, picture.is_copy) for picture in outcome.pictures]


@pytest.mark.parametrize(
    ("name", "copies", "gone"),
    [
        ("https://a.example/0.jpg", True, [("Scene 0", False), ("Scene 1", True)]),
        ("https://a.example/0.jpg", False, [("Scene 0", False)]),
        ("https://a.example/2.jpg#h=3", True, [("Scene 2", False)]),
        ("https://a.example/page/1", True, [("Scene 2", False), ("Scene 3", False)]),
        ("https://a.example/page/0/", False, [("Scene 0", False), ("Scene 1", False)]),
    ],
)
def test_what_a_name_and_copies_take_with_them(photos, name, copies, gone):
    outcome = take_down(photos.settings, [name], "asked", copies)
    assert titles(outcome) == gone
    assert outcome.notes == []
    takedowns = Takedowns.load(photos.settings.paths)
    assert takedowns.covers(urls=[name]) == "asked"
    for number, row in enumerate(photos.rows["1942"]):
        is_gone = f"Scene {number}" in dict(gone)
        assert bool(takedowns.covers(row.photo_id)) == is_gone
        assert bool(takedowns.covers(urls=[row.file_url])) == is_gone
        assert is_in_store(photos.store, row.photo_id) != is_gone


def test_near_duplicates_are_found_also_before_the_next_run(photos):
    photos.add(encoded(recompressed(scene(3), 60)), **on_the_web(4))
    for number in (0, 3):  # the first one takes the clusters with it; deduplication has never seen the other
        outcome = take_down(photos.settings, [f"https://a.example/{number}.jpg"], "asked", copies=True)
        assert titles(outcome) == [(f"Scene {number}", False), (f"Scene {number + 1}", True)]
    photos.store.find(photos.add(encoded(scene(5)), **on_the_web(5))).unlink()
    (note,) = take_down(photos.settings, ["https://a.example/2.jpg"], "asked", copies=True).notes
    assert "missing" in note


def test_a_damaged_manifest_is_named(photos):
    photos.manifest("1942").write_bytes(b"damaged")
    with pytest.raises(SettingsProblem, match=r"1942\.parquet is damaged"):
        take_down(photos.settings, ["https://a.example/2.jpg"], "asked", copies=True)


def test_what_is_not_stored_is_recorded_for_later(photos):
    names = ["https://a.example/later.jpg", "ab" * 32]
    outcome = take_down(photos.settings, names, " ", copies=True)
    assert (outcome.pictures, outcome.unknown, outcome.problems) == ([], names, [])
    takedowns = Takedowns.load(photos.settings.paths)
    assert takedowns.covers("ab" * 32) == takedowns.covers(urls=names[:1]) == "on request"
    assert len(read_manifest(photos.manifest("1942"))) == 4
    assert all(is_in_store(photos.store, row.photo_id) for row in photos.rows["1942"])


def test_a_wrong_name_changes_nothing(photos):
    with pytest.raises(SettingsProblem, match=r"scene\.jpg"):
        take_down(photos.settings, ["https://a.example/0.jpg", "scene.jpg"], "asked", copies=True)
    assert not photos.settings.paths.takedowns.exists()
    assert is_in_store(photos.store, photos.rows["1942"][0].photo_id)


@pytest.mark.parametrize("step", ["erase_from_tables", "erase_from_store", "erase_from_manifests"])
def test_a_killed_takedown_is_finished_by_giving_it_again(photos, monkeypatch, step):
    def killed(*_):
        raise KeyboardInterrupt

    one, copy = photos.rows["1942"][:2]
    pictures = {row.photo_id: photos.store.find(row.photo_id).read_bytes() for row in (one, copy)}
    with monkeypatch.context() as patched:
        patched.setattr(erasing, step, killed)
        with pytest.raises(KeyboardInterrupt):
            take_down(photos.settings, [one.file_url], "asked", copies=True)
    assert Takedowns.load(photos.settings.paths).covers(copy.photo_id)
    assert {title for title, _ in titles(take_down(photos.settings, [one.file_url], "asked", copies=True))} == {
        "Scene 0",
        "Scene 1",
    }
    for photo_id, data in pictures.items():
        assert traces(photos.settings, photo_id, data) == []


def test_what_a_killed_crawl_stored_goes_too(photos):
    data = encoded(scene(9))
    row = photos.rows["1942"][0].model_copy(
        update={"photo_id": photos.store.put(data, "JPEG"), "file_url": "https://a.example/9.jpg", "title": "Scene 9"}
    )
    journal = photos.manifest("1942").with_name("1943.journal.jsonl")
    journal.write_text(row.model_dump_json() + "\n")
    outcome = take_down(photos.settings, [row.file_url], "asked", copies=False)
    assert [picture.partitions for picture in outcome.pictures] == [["crawled_photos 1943"]]
    assert traces(photos.settings, row.photo_id, data) == []


def test_one_step_that_fails_does_not_hinder_the_others(photos, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(erasing, "erase_from_tables", full)
    row = photos.rows["1942"][0]
    outcome = take_down(photos.settings, [row.photo_id], "asked", copies=True)
    (problem,) = outcome.problems
    assert "(No space left on device); remedy that" in problem
    assert not is_in_store(photos.store, row.photo_id)


def test_a_run_under_way_is_told_and_left_alone(photos, settings):
    with open_instance(settings) as instance:
        job = build_definitions(settings).resolve_job_def("one_year")
        begun = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": "1942"})
        (problem,) = take_down(settings, [photos.rows["1942"][0].photo_id], "asked", copies=True).problems
        assert "under way" in problem
        assert instance.get_run_by_id(begun.run_id).status == dg.DagsterRunStatus.STARTED
        instance.report_run_failed(begun)
        assert take_down(settings, ["ab" * 32], "asked", copies=True).problems == []


def test_an_archives_picture_is_not_asked_for_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with serve(Library()) as library:
        library.add(6)
        library.photos[5].data = library.photos[4].data  # the same bytes at another address
        settings = load_settings(
            home=tmp_path / "home",
            contact="https://example.org/me",
            loc={"collections": ["collections/test"], "base_url": library.url},
        )

        def crawl():
            return crawl_partition(settings, open_sources(["loc"], settings, False), "crawled_photos", "1943")

        assert crawl().stored == 6
        names = [
            f"{library.url}/item/p0000",
            photo_id_of(library.photos[1].data),
            f"{library.url}/image/p0002/full.jpg",
        ]
        for row in read_manifest(settings.paths.manifests / "crawled_photos" / "1943.parquet"):
            if row.title == "Photograph p0004":
                names.append(row.file_url)
        assert len(take_down(settings, names, "asked", copies=False).pictures) == 4
        library.forget()
        report = crawl()
        assert (report.stored, report.rejected) == (1, {"taken_down": 5})
        assert library.pictures_asked() == {}

        # Where nothing is known any more, bytes that are listed are refused after they came.
        shutil.rmtree(settings.paths.manifests)
        library.photos[3].data = library.photos[1].data
        report = crawl()
        assert (report.stored, report.rejected) == (0, {"taken_down": 6})
        assert library.pictures_asked() == {"p0003": 1}
        assert not is_in_store(PhotoStore(settings.paths.photos), photo_id_of(library.photos[1].data))


@pytest.fixture
def takedown(photos, tmp_path, monkeypatch, capsys):
    """Run `kwcolor takedown …` in this process and in an empty folder; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("KWCOLOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KWCOLOR_HOME", str(photos.settings.paths.root))

    return functools.partial(run_command, monkeypatch, capsys, "takedown")


def test_the_command(photos, takedown):
    path = (photos.settings.paths.root / "scans [1943]" / "a.jpg").as_uri()
    rows = [*photos.rows["1942"][:3], photos.rows["1942"][3].model_copy(update={"file_url": path, "title": "[bold]"})]
    write_manifest(photos.manifest("1942"), rows)
    code, out, err = takedown("https://a.example/0.jpg", "--reason", "asked by [the] family")
    assert (code, err) == (0, "")
    assert "Done: 2 pictures taken down" in out
    assert f"near-duplicate: Scene 1, crawled_photos 1942, sha256 {rows[1].photo_id}" in out
    assert "keep what they learned" in out
    assert [row.reason for row in read_manifest(photos.manifest("1942"))][:2] == [
        "taken_down: asked by [the] family"
    ] * 2

    code, out, err = takedown("https://a.example/0.jpg", "--no-copies", rows[3].photo_id)
    assert (code, err) == (0, "")
    assert "Done: 1 picture taken down" in out
    assert "not stored here, and recorded for every crawl to come: https://a.example/0.jpg" in out
    assert f"your own file stays where it is and is no longer taken in: {path}" in out

    code, out, err = takedown("scene.jpg")
    assert (code, out) == (2, "")
    assert err.startswith("Could not start: `scene.jpg` is neither")
    assert err.count("\n") == 1
    assert takedown()[0] == 2


def test_the_help_teaches(takedown):
    code, out, _ = takedown("--help")
    assert code == 0
    for words in ("--no-copies", "--reason", "keep what they learned", "sha256"):
        assert words in " ".join(out.replace("│", " ").split())
