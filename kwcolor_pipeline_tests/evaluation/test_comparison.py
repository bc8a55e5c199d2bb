"""The comparison on tiny models."""

import datetime
import json
from pathlib import Path

import pytest
from PIL import Image

from kwcolor_pipeline.baselines.results import export_test_photographs
from kwcolor_pipeline.evaluation import comparison
from kwcolor_pipeline.evaluation.comparison import (
    GAN,
    GENERATOR,
    STARTER_NAME,
    compare,
    current_comparison,
    latest_comparison,
)
from kwcolor_pipeline.evaluation.evaluate import GREY_COPY, TRUTH
from kwcolor_pipeline.evaluation.verdict import Rival
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, write_manifest
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import BaselineSettings, Settings, SettingsProblem
from kwcolor_pipeline.training.stages import latest
from kwcolor_pipeline_tests.photos.pictures import encoded, scene


def test_a_comparison_is_made_once(trained_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsProblem, match="no report yet"):
        latest_comparison(trained_settings)
    assert current_comparison(trained_settings) is None
    first = compare(trained_settings, None, "version 1")
    assert first.evaluation.colorizers == [GREY_COPY, GENERATOR, GAN, STARTER_NAME, TRUTH]
    assert first.rival_weights is None
    page = first.report.read_text()
    assert "version 1" in page
    assert first.verdict.reason

    def forbidden(*_: object) -> None:
        raise AssertionError("measured again")

    with monkeypatch.context() as patched:
        patched.setattr(comparison, "_measure", forbidden)
        again = compare(trained_settings, None, "version 1")
        assert (again.reused, again.result) == (True, first.result)
        # The model that this very report made champion is no rival of itself.
        own = latest(trained_settings.paths, "gan_model").bundle
        assert compare(trained_settings, Rival(1, own.weights_sha256, own.folder), "version 1").reused
    assert latest_comparison(trained_settings).result == first.result

    other = latest(trained_settings.paths, "pretrained_generator").bundle
    rival = Rival(7, other.weights_sha256, other.folder)
    second = compare(trained_settings, rival, "version 8")
    assert not second.reused
    assert second.evaluation.colorizers == [GREY_COPY, GENERATOR, GAN, "champion, version 7", STARTER_NAME, TRUTH]
    assert second.rival_weights == other.weights_sha256
    assert compare(trained_settings, rival, "version 8").reused
    # The rival is the same network as the generator alone.
    assert second.evaluation.values(rival.name, "ciede2000") == second.evaluation.values(GENERATOR, "ciede2000")


def test_other_programs_and_models_stand_beside_ours(trained_settings: Settings, tmp_path: Path) -> None:
    from kwcolor_pipeline_tests.baselines.exports import export  # skips where the package onnx is absent

    results = tmp_path / "results"
    assert export_test_photographs(trained_settings.paths, results) > 0
    network = export(tmp_path / "deoldify.onnx", [[1, 0, 0], [0, 1, 0], [0, 0, 1]], [25.5, 0, 0], limits=(0, 255))
    named = {"folders": {"left grey": results}, "deoldify_onnx": network, "render_factor": 2}
    settings = trained_settings.model_copy(update={"baselines": BaselineSettings.model_validate(named)})
    paper = latest(settings.paths, "pretrained_generator").bundle
    found = compare(settings, None, "version 1", {"paper": paper.folder})
    names = [GREY_COPY, GENERATOR, GAN, STARTER_NAME, "paper", "DeOldify ONNX", "left grey", TRUTH]
    assert found.evaluation.colorizers == names
    for metric in ("ciede2000", "colourfulness"):
        # What another program left grey is the grey copy, by whichever way it came.
        assert found.evaluation.values("left grey", metric) == found.evaluation.values(GREY_COPY, metric)
        assert found.evaluation.values("paper", metric) == found.evaluation.values(GENERATOR, metric)
    page, short = found.report.read_text(), found.markdown_file.read_text()
    for name in names:
        assert name in page
        assert name in short
    # What is not there is said, with the way to get it.
    assert "ColorizeArtistic_gen.pth" in page
    assert compare(settings, None, "version 1", {"paper": paper.folder}).reused
    assert not compare(settings, None, "version 1").reused
    for path in results.iterdir():
        Image.new("RGB", Image.open(path).size, "red").save(path)
    again = compare(settings, None, "version 1", {"paper": paper.folder})
    assert not again.reused
    assert min(again.evaluation.values("left grey", "colourfulness")) > 50


def test_a_folder_of_results_cannot_be_called_what_is_always_there(trained_settings: Settings, tmp_path: Path) -> None:
    export_test_photographs(trained_settings.paths, tmp_path / "results")
    named = BaselineSettings.model_validate({"folders": {GAN: tmp_path / "results"}})
    settings = trained_settings.model_copy(update={"baselines": named})
    with pytest.raises(SettingsProblem, match=r"GAN model.*differently"):
        compare(settings, None, "version 1")


def test_target_photographs_are_shown_with_what_is_measured_of_them(trained_settings: Settings) -> None:
    assert 'id="targets"' not in compare(trained_settings, None, "version 1").report.read_text()
    store = PhotoStore(trained_settings.paths.photos)
    rows = []
    for number in range(3):
        data = encoded(scene(900 + number, (90, 70)).convert("L")) if number else b"no picture"
        stored = {"photo_id": store.put(data, "JPEG"), "status": Status.STORED}
        about = {"file_url": f"file:///{number}.jpg", "title": f"Hill <{number}>", "year_taken": 1951}
        now = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)
        rows.append(ManifestRow(source="folder", source_id=f"{number}", retrieved_at=now, **about, **stored))
    write_manifest(trained_settings.paths.manifests / "korean_war_photos" / "1951.parquet", rows)
    found = compare(trained_settings, None, "version 1")
    assert not found.reused
    page = found.report.read_text()
    assert "Hill &lt;1&gt;" in page
    assert "Hill &lt;0&gt;" not in page  # it cannot be read
    targets = json.loads(found.metrics_file.read_text())["targets"][GAN]
    assert {"colourfulness", "uniformity", "shift_flicker", "brightness_flicker"} <= targets.keys()
    assert all(low <= value <= high for value, low, high in targets.values())


def test_other_pairs_outdate_the_comparison(trained_settings: Settings) -> None:
    compare(trained_settings, None, "version 1")
    record = trained_settings.paths.pairs / "result.json"
    record.write_text(record.read_text().replace('"data_version": "', '"data_version": "0'))
    assert current_comparison(trained_settings) is None
    assert latest_comparison(trained_settings).reused
