"""The watched folder: each new picture once, by its name and content."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kwcolor_pipeline.colorize import batch
from kwcolor_pipeline.colorize.watched import colorize_new, new_pictures
from kwcolor_pipeline.settings import Settings, SettingsProblem, load_settings
from kwcolor_pipeline_tests.colorize.pictures import Even, colorizer_of, noise, saved


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


@pytest.fixture
def settings(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batch, "open_colorizer", lambda bundle, device: colorizer_of(Even(20, -10)))
    folder.mkdir()
    return load_settings(home=tmp_path / "home", watch={"folder": folder})


def put(path: Path, seed: int = 0, date: int = 1_000_000_000) -> Path:
    """A picture that was written at ``date``, seconds since 1970."""
    saved(path, Image.fromarray(noise(40, 50, seed)))
    os.utime(path, (date, date))
    return path


def colorize(settings: Settings) -> tuple[list[str], list[str]]:
    report = colorize_new(settings, Path("bundle"), "a model")
    return [path.name for path in report.written], report.problems


def test_each_new_picture_is_colorized_once(settings: Settings, folder: Path) -> None:
    put(folder / "a.jpg", 1)
    put(folder / "b.png", 2)
    (folder / "notes.txt").write_text("no picture")
    assert set(new_pictures(settings)) == {"a.jpg", "b.png"}
    assert colorize(settings) == (["a.jpg", "b.jpg"], [])
    assert sorted(path.name for path in (folder / "colorized").iterdir()) == ["a.jpg", "b.jpg"]
    assert new_pictures(settings) == {}
    put(folder / "c.jpg", 3)
    assert colorize(settings) == (["c.jpg"], [])


def test_another_date_is_nothing_new_and_other_content_is(settings: Settings, folder: Path) -> None:
    put(folder / "a.jpg", 1)
    colorize(settings)
    before = (folder / "colorized" / "a.jpg").read_bytes()
    put(folder / "a.jpg", 1, date=1_100_000_000)
    assert set(new_pictures(settings)) == {"a.jpg"}
    assert colorize(settings) == ([], [])
    assert new_pictures(settings) == {}
    put(folder / "a.jpg", 2, date=1_200_000_000)
    assert colorize(settings) == (["a.jpg"], [])
    assert (folder / "colorized" / "a.jpg").read_bytes() != before


def test_the_same_picture_under_another_name_is_another_one(settings: Settings, folder: Path) -> None:
    put(folder / "a.jpg", 1)
    colorize(settings)
    put(folder / "again.jpg", 1)
    assert colorize(settings) == (["again.jpg"], [])


def test_what_cannot_be_colorized_is_told_once_and_by_name(settings: Settings, folder: Path) -> None:
    put(folder / "good.jpg", 1)
    (folder / "bad.jpg").write_bytes(b"no picture")
    os.utime(folder / "bad.jpg", (1_000_000_000, 1_000_000_000))
    written, (problem,) = colorize(settings)
    assert written == ["good.jpg"]
    assert "bad.jpg" in problem
    assert new_pictures(settings) == {}
    put(folder / "bad.jpg", 5)
    assert colorize(settings) == (["bad.jpg"], [])


def test_a_result_is_not_written_over_by_another_pictures(settings: Settings, folder: Path) -> None:
    put(folder / "a.jpg", 1)
    colorize(settings)
    result = (folder / "colorized" / "a.jpg").read_bytes()
    put(folder / "a.png", 2)
    written, (problem,) = colorize(settings)
    assert written == []
    assert "a.png would be written over the result of a.jpg" in problem
    assert (folder / "colorized" / "a.jpg").read_bytes() == result


def test_a_picture_that_is_being_written_is_left_for_later(settings: Settings, folder: Path) -> None:
    path = put(folder / "a.jpg", 1)
    os.utime(path)
    assert new_pictures(settings) == {}
    os.utime(path, (4_000_000_000, 4_000_000_000))  # a camera whose clock is wrong
    assert set(new_pictures(settings)) == {"a.jpg"}


def test_results_go_where_the_settings_say(settings: Settings, folder: Path, tmp_path: Path) -> None:
    put(folder / "a.jpg", 1)
    watch = {"folder": folder, "output": tmp_path / "results", "format": "png"}
    elsewhere = load_settings(home=tmp_path / "home", watch=watch)
    assert colorize(elsewhere) == (["a.png"], [])
    with Image.open(tmp_path / "results" / "a.png") as picture:
        assert np.asarray(picture).shape == (40, 50, 3)


def test_nothing_is_watched_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(home=tmp_path / "home")
    assert new_pictures(settings) == {}
    with pytest.raises(SettingsProblem, match="KWCOLOR_WATCH__FOLDER"):
        colorize_new(settings, Path("bundle"), "a model")


def test_a_folder_that_is_not_there_is_named(settings: Settings, folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(SettingsProblem, match="inbox cannot be read"):
        new_pictures(settings)


def test_results_beside_their_originals_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsProblem, match="another folder"):
        load_settings(home=tmp_path, watch={"folder": tmp_path / "a", "output": tmp_path / "a"})
