from pathlib import Path

import pytest
from PIL import Image

from kwcolor_pipeline.evaluation.evaluate import GREY_COPY, TRUTH
from kwcolor_pipeline.evaluation.folder import evaluate_folder
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.training.stages import latest
from kwcolor_pipeline_tests.colorize.pictures import noise
from kwcolor_pipeline_tests.photos.pictures import encoded, scene


def test_a_folder_is_measured_and_what_is_left_out_is_said(
    trained_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for seed in (1, 2):
        (folder / "below" / f"{seed}.jpg").write_bytes(encoded(scene(seed, (130, 90))))
    Image.fromarray(noise(60, 60)).save(folder / "grey.png")
    (folder / "text.jpg").write_text("no picture")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    Image.new("RGB", (300, 300), "red").save(folder / "bomb.png")
    bundle = latest(trained_settings.paths, "gan_model").bundle.folder
    evaluation, left_out = evaluate_folder(trained_settings, bundle, "ours", folder)
    assert evaluation.colorizers == [GREY_COPY, "ours", TRUTH]
    assert [row.title for row in evaluation.rows_of("ours")] == ["1.jpg", "2.jpg"]
    assert [sentence.split(" ")[0].rpartition("/")[2] for sentence in left_out] == ["bomb.png", "grey.png", "text.jpg"]
    assert all("\n" not in sentence for sentence in left_out)


def test_a_folder_without_colour_is_refused(trained_settings: Settings, tmp_path: Path) -> None:
    bundle = latest(trained_settings.paths, "gan_model").bundle.folder
    folder = tmp_path / "photos"
    with pytest.raises(SettingsProblem, match="is not a folder"):
        evaluate_folder(trained_settings, bundle, "ours", folder)
    folder.mkdir()
    with pytest.raises(SettingsProblem, match="no picture in"):
        evaluate_folder(trained_settings, bundle, "ours", folder)
    Image.fromarray(noise(60, 60)).save(folder / "grey.png")
    with pytest.raises(SettingsProblem, match="None of the 1 pictures"):
        evaluate_folder(trained_settings, bundle, "ours", folder)
