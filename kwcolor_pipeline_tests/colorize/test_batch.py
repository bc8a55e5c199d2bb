from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kwcolor_pipeline.colorize import batch
from kwcolor_pipeline.colorize.batch import BatchReport, colorize_files
from kwcolor_pipeline.settings import Settings, SettingsProblem, load_settings
from kwcolor_pipeline_tests.colorize.pictures import Even, colorizer_of, noise, saved


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batch, "open_colorizer", lambda bundle, device: colorizer_of(Even(10, 20)))
    return load_settings(home=tmp_path / "home")


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return saved(path, Image.fromarray(noise(12, 17, seed)))


def colorized(settings: Settings, given: list[Path], output: Path, ending: str = "jpg") -> BatchReport:
    return colorize_files(settings, given, output, Path("bundle"), "test", ending)


def test_files_and_folders_keep_their_stems(settings: Settings, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "one.png")
    picture(tmp_path / "in" / "below" / "two.tif")
    three = picture(tmp_path / "three.jpg")
    report = colorized(settings, [tmp_path / "in", three], tmp_path / "out", "webp")
    assert report.problems == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.webp", "three.webp", "two.webp"]
    assert np.ptp(np.asarray(Image.open(tmp_path / "out" / "one.webp")).mean(axis=(0, 1))) > 5


def test_one_bad_file_does_not_stop_the_others(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.jpg").write_text("no picture")
    picture(tmp_path / "in" / "good.png")
    report = colorized(settings, [tmp_path / "in"], tmp_path / "out")
    assert [path.name for path in report.written] == ["good.jpg"]
    assert len(report.problems) == 1
    assert "bad.jpg is not a picture" in report.problems[0]


def test_two_files_of_one_stem_are_one_result_and_one_problem(settings: Settings, tmp_path: Path) -> None:
    first, second = picture(tmp_path / "a" / "x.png", 1), picture(tmp_path / "b" / "x.tif", 2)
    report = colorized(settings, [first, second, first], tmp_path / "out")
    assert len(report.written) == 1
    assert report.problems == [f"{second} would be written over the result of {first}; it is skipped."]


def test_no_original_is_ever_written_over(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    originals = [picture(folder / "a.jpg", 1), picture(folder / "a.png", 2), picture(folder / "b.png", 3)]
    bystander = picture(folder / "b.jpg", 4)
    before = {path: path.read_bytes() for path in (*originals, bystander)}
    link = folder / "linked"
    link.symlink_to(folder)
    for given in ([folder], originals, [folder / "a.png", folder / "b.png"]):
        report = colorized(settings, given, link)
        assert report.written == []
        assert report.problems
    assert {path: path.read_bytes() for path in before} == before


def test_earlier_results_are_replaced_and_not_colorized_again(settings: Settings, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    output = tmp_path / "in" / "colour"
    for _ in range(2):
        report = colorized(settings, [tmp_path / "in"], output)
        assert (report.problems, [path.name for path in report.written]) == ([], ["a.jpg"])
    assert [path.name for path in output.iterdir()] == ["a.jpg"]


def test_what_cannot_be_begun_is_one_sentence(settings: Settings, tmp_path: Path) -> None:
    photograph = picture(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    cases = [
        ([photograph], tmp_path / "out", "gif", "`gif` is not a format"),
        ([tmp_path / "missing.jpg"], tmp_path / "out", "jpg", r"missing\.jpg does not exist"),
        ([tmp_path / "empty"], tmp_path / "out", "jpg", "no picture in"),
        ([photograph], photograph, "jpg", "is a file; give a folder"),
        ([photograph], photograph / "below", "jpg", "cannot be made"),
    ]
    for given, output, ending, says in cases:
        with pytest.raises(SettingsProblem, match=says):
            colorized(settings, given, output, ending)
    assert not (tmp_path / "out").exists()
