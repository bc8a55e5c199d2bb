import datetime
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kwcolor_pipeline.colorize.files import is_colorized
from kwcolor_pipeline.evaluation import target_gallery
from kwcolor_pipeline.evaluation.target_gallery import (
    current_gallery,
    gallery_folder,
    gallery_sheet,
    make_gallery,
    target_photographs,
)
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, write_manifest
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.training.stages import latest
from kwcolor_pipeline_tests.colorize.pictures import jpeg_bytes, noise

COUNT = 4


@pytest.fixture
def settings(trained_settings: Settings) -> Settings:
    """A home with models and some photographs of the target domain."""
    rows = [add(trained_settings, jpeg_bytes(Image.fromarray(noise(40, 50 + n, n))), n) for n in range(COUNT)]
    write_manifest(manifest(trained_settings), rows)
    return trained_settings


def manifest(settings: Settings) -> Path:
    return settings.paths.manifests / "korean_war_photos" / "1950.parquet"


def add(settings: Settings, data: bytes, number: int) -> ManifestRow:
    return ManifestRow(
        photo_id=PhotoStore(settings.paths.photos).put(data, "JPEG"),
        source="folder",
        source_id=str(number),
        file_url=f"file:///{number}.jpg",
        title=f"Photograph {number}",
        year_taken=1950,
        retrieved_at=datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
        status=Status.STORED,
    )


def bundle(settings: Settings, stage: str = "gan_model") -> Path:
    return latest(settings.paths, stage).bundle.folder


def files(settings: Settings) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in gallery_folder(settings.paths).rglob("*.jpg")}


def test_every_photograph_is_there_once_in_full_size_and_marked(settings: Settings) -> None:
    gallery = make_gallery(settings, bundle(settings), "version 1")
    assert not gallery.reused
    assert gallery.result.summary["problems"] == []
    assert len(gallery.pictures) == COUNT
    assert [Image.open(path).size for path in gallery.pictures] == [(50 + number, 40) for number in range(COUNT)]
    assert all(is_colorized(path) for path in gallery.pictures)
    page = gallery.index.read_text()
    assert all(f"Photograph {number}" in page for number in range(COUNT))
    assert "version 1" in page
    sheet = gallery_sheet(gallery)
    assert sheet
    grey = gallery.index.parent / "grey" / gallery.pictures[0].name
    assert np.abs(np.asarray(Image.open(grey)).astype(int) - noise(40, 50, 0)).mean() < 8


def test_the_second_call_reuses(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert current_gallery(settings, bundle(settings)) is None
    first = make_gallery(settings, bundle(settings), "version 1")
    before = files(settings)
    monkeypatch.setattr(target_gallery, "open_colorizer", lambda *_: pytest.fail("colorized again"))
    second = make_gallery(settings, bundle(settings), "version 1")
    assert (second.reused, second.result) == (True, first.result)
    assert files(settings) == before


def test_a_new_photograph_is_one_picture_more(settings: Settings) -> None:
    first = make_gallery(settings, bundle(settings), "version 1")
    before = files(settings)
    rows = target_photographs(settings.paths)
    write_manifest(manifest(settings), [*rows, add(settings, jpeg_bytes(Image.fromarray(noise(30, 30, 9))), 9)])
    second = make_gallery(settings, bundle(settings), "version 1")
    after = files(settings)
    assert len(after) == len(before) + 2
    assert {path: after[path] for path in before} == before
    assert second.result.data_version != first.result.data_version


def test_what_was_broken_off_goes_on(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = settings.model_copy(update={"home": tmp_path / "whole"})
    shutil.copytree(settings.home, whole.home)
    expected = make_gallery(whole, bundle(whole), "version 1").result.data_version
    original, written = target_gallery.write_colorized, []

    def broken_off(path: Path, *rest: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        original(path, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(target_gallery, "write_colorized", broken_off)
        with pytest.raises(KeyboardInterrupt):
            make_gallery(settings, bundle(settings), "version 1")
    half = files(settings)
    assert len(half) == 4
    assert not (gallery_folder(settings.paths) / "result.json").exists()
    gallery = make_gallery(settings, bundle(settings), "version 1")
    after = files(settings)
    assert {path: after[path] for path in half} == half
    assert len(gallery.pictures) == COUNT
    assert gallery.result.data_version == expected


def test_one_unreadable_photograph_is_a_sentence_and_the_rest_is_there(settings: Settings) -> None:
    rows = target_photographs(settings.paths)
    store = PhotoStore(settings.paths.photos)
    assert rows[0].photo_id is not None
    assert rows[1].photo_id is not None
    store.find(rows[0].photo_id).write_bytes(b"no picture any more")
    missing = store.find(rows[1].photo_id)
    kept = missing.read_bytes()
    missing.unlink()
    gallery = make_gallery(settings, bundle(settings), "version 1")
    problems = gallery.result.summary["problems"]
    assert len(gallery.pictures) == COUNT - 2
    assert ["is not a picture" in problems[0], "missing from" in problems[1]] == [True, True]
    assert make_gallery(settings, bundle(settings), "version 1").reused
    missing.write_bytes(kept)  # as a new crawl does it: the manifest stays as it was
    again = make_gallery(settings, bundle(settings), "version 1")
    assert len(again.pictures) == COUNT - 1
    assert len(again.result.summary["problems"]) == 1


def test_a_deleted_picture_is_made_again(settings: Settings) -> None:
    gallery = make_gallery(settings, bundle(settings), "version 1")
    gallery.pictures[2].unlink()
    assert current_gallery(settings, bundle(settings)) is None
    again = make_gallery(settings, bundle(settings), "version 1")
    assert again.result.data_version == gallery.result.data_version
    assert again.pictures[2].exists()


def test_another_model_replaces_the_pictures(settings: Settings) -> None:
    first = make_gallery(settings, bundle(settings, "pretrained_generator"), "version 1")
    second = make_gallery(settings, bundle(settings), "version 2")
    assert not second.reused
    assert not any(path.exists() for path in first.pictures)
    assert len(files(settings)) == 2 * COUNT


def test_a_changed_engine_makes_the_pictures_anew(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_gallery(settings, bundle(settings), "version 1")
    monkeypatch.setattr(target_gallery, "CODE_VERSION", "next")
    second = make_gallery(settings, bundle(settings), "version 1")
    assert not set(first.pictures) & set(second.pictures)


def test_an_empty_target_domain_is_an_empty_page(trained_settings: Settings) -> None:
    gallery = make_gallery(trained_settings, bundle(trained_settings), "version 1")
    assert gallery.pictures == []
    assert gallery.index.exists()
    assert gallery_sheet(gallery) is None
