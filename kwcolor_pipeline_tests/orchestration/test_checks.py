"""Every check fails where it has to, on the real assets, and stops what it has to stop."""

import io
import json
import shutil

import dagster as dg
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from kwcolor_pipeline.definitions import build_definitions
from kwcolor_pipeline.orchestration import incremental
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.photos.pairs import read_index
from kwcolor_pipeline.photos.shards import read_shard, write_shard
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline.training.stages import latest
from kwcolor_pipeline_tests.photos.pictures import encoded, scene


def execute(settings, instance, *names, job="after_the_crawl", year=None):
    """One run of these assets and their checks."""
    return (
        build_definitions(settings)
        .resolve_job_def(job)
        .execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(name) for name in names],
            partition_key=year,
            raise_on_error=False,
        )
    )


def checks_of(result):
    return {
        f"{check.asset_key.to_user_string()}:{check.check_name}": (check.passed, check.severity)
        for check in result.get_asset_check_evaluations()
    }


def materialized(result):
    return [event.asset_key.to_user_string() for event in result.get_asset_materialization_events()]


@pytest.fixture
def folder_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "1943"
    folder.mkdir()
    return load_settings(
        home=tmp_path / "home", sources=[f"folder:{tmp_path / '1943'}"], korean_war_sources=[f"folder:{folder}"]
    )


STORED = "crawled_photos:listed_photographs_were_stored"


def test_a_year_whose_photographs_were_all_refused_fails(folder_settings, instance, tmp_path):
    (tmp_path / "1943" / "page.jpg").write_bytes(b"<html>not found</html>")
    result = execute(folder_settings, instance, "crawled_photos", job="one_year", year="1943")
    assert not result.success
    assert checks_of(result) == {STORED: (False, dg.AssetCheckSeverity.ERROR)}
    (check,) = result.get_asset_check_evaluations()
    assert check.metadata["listed"].value == 1
    assert check.metadata["stored"].value == 0
    assert "not_an_image" in json.dumps(check.metadata["reasons"].value)


def test_a_year_with_one_good_photograph_passes(folder_settings, instance, tmp_path):
    (tmp_path / "1943" / "page.jpg").write_bytes(b"<html>not found</html>")
    (tmp_path / "1943" / "picture.jpg").write_bytes(encoded(scene(1)))
    result = execute(folder_settings, instance, "crawled_photos", job="one_year", year="1943")
    assert result.success
    assert checks_of(result)[STORED][0]


@pytest.mark.parametrize(
    ("asset", "job"), [("crawled_photos", "one_year"), ("korean_war_photos", "one_korean_war_year")]
)
def test_a_year_that_nobody_covers_materializes_empty(folder_settings, instance, asset, job):
    result = execute(folder_settings, instance, asset, job=job, year="1951")
    assert result.success
    metadata = result.asset_materializations_for_node(asset)[0].metadata
    assert (metadata["listed"].value, metadata["stored"].value, metadata["dagster/row_count"].value) == (0, 0, 0)


PAIRS = "grayscale_pairs:pairs_are_readable_and_aligned"


def test_a_damaged_shard_keeps_the_training_from_beginning(small_settings, instance):
    names = ("grayscale_pairs", "pretrained_generator")
    for shard in (small_settings.paths.pairs / "train").glob("*.tar"):
        shard.write_bytes(shard.read_bytes()[:3000])
    result = execute(small_settings, instance, *names)
    assert not result.success
    assert checks_of(result) == {PAIRS: (False, dg.AssetCheckSeverity.ERROR)}
    assert materialized(result) == ["grayscale_pairs"]
    assert not small_settings.paths.models.exists()


def test_running_again_does_not_get_around_a_failed_check(small_settings, instance):
    names = ("grayscale_pairs", "pretrained_generator")
    (shard,) = (small_settings.paths.pairs / "train").glob("*.tar")
    shard.write_bytes(shard.read_bytes()[:3000])
    definitions, mlflow = build_definitions(small_settings), MLflow(small_settings)
    for _ in range(2):
        outcome = incremental.run(small_settings, definitions, instance, mlflow, select=names)
        assert outcome.materialized == ["grayscale_pairs"]
        (problem,) = outcome.problems
        assert shard.name in problem
        assert not outcome.could_not_start
    shard.unlink()
    outcome = incremental.run(small_settings, definitions, instance, mlflow, select=["grayscale_pairs"])
    assert (outcome.materialized, outcome.problems) == (["grayscale_pairs"], [])
    assert incremental.run(small_settings, definitions, instance, mlflow, select=["grayscale_pairs"]).materialized == []


def test_weights_that_are_not_numbers_keep_what_follows_from_beginning(trained_settings, instance):
    bundle = latest(trained_settings.paths, "pretrained_generator").bundle
    tensors = load_file(bundle.weights_file)
    name = next(name for name, tensor in tensors.items() if tensor.dtype == np.float32)
    tensors[name] = np.full_like(tensors[name], np.nan)
    save_file(tensors, bundle.weights_file)
    result = execute(trained_settings, instance, "pretrained_generator", "critic")
    assert not result.success
    assert checks_of(result) == {"pretrained_generator:weights_are_finite": (False, dg.AssetCheckSeverity.ERROR)}
    (check,) = result.get_asset_check_evaluations()
    assert check.metadata["broken_tensors"].value == [name]
    assert materialized(result) == ["pretrained_generator"]


def test_a_model_that_loses_to_grey_warns_and_is_not_promoted(trained_settings, instance):
    bundle = latest(trained_settings.paths, "gan_model").bundle
    tensors = load_file(bundle.weights_file)
    *_, last_bias = (name for name, tensor in tensors.items() if name.endswith("bias") and tensor.shape == (2,))
    tensors[last_bias] += 1e3  # everything becomes as red and as yellow as can be
    save_file(tensors, bundle.weights_file)
    shutil.rmtree(trained_settings.paths.reports, ignore_errors=True)
    result = execute(trained_settings, instance, "gan_model", "evaluation_report", "colorized_gallery")
    assert result.success
    assert checks_of(result)["evaluation_report:better_than_grey"] == (False, dg.AssetCheckSeverity.WARN)
    assert materialized(result) == ["gan_model", "evaluation_report", "colorized_gallery"]
    tracking = MLflow(trained_settings).open()
    assert tracking.champion() is None
    assert [version.aliases for version in tracking.versions()] == [("challenger",)]
    (gallery,) = result.asset_materializations_for_node("colorized_gallery")
    assert "there is no champion" in gallery.metadata["model"].value


def test_a_copy_of_a_test_photograph_among_the_training_pairs_is_named_and_keeps_the_model_from_promotion(
    trained_settings, instance
):
    rows = read_index(trained_settings.paths)
    tested = next(row for row in rows if row["split"] == "test")
    victim = next(row for row in rows if row["split"] == "train")
    pairs = trained_settings.paths.pairs
    with Image.open(io.BytesIO(read_shard(pairs / tested["shard"])[tested["photo_id"]]["color.jpg"])) as picture:
        width, height = picture.size
        part = picture.convert("RGB").crop((width // 10, height // 15, width, height - height // 12))
    files = read_shard(pairs / victim["shard"])
    files[victim["photo_id"]] |= {"color.jpg": encoded(part), "gray.png": encoded(part.convert("L"), "PNG")}
    write_shard(pairs / victim["shard"], files.items())
    result = execute(trained_settings, instance, "gan_model", "evaluation_report")
    assert result.success
    name = "no_test_photograph_was_trained_on"
    assert checks_of(result)[f"evaluation_report:{name}"] == (False, dg.AssetCheckSeverity.ERROR)
    (check,) = (one for one in result.get_asset_check_evaluations() if one.check_name == name)
    for photograph in (tested, victim):
        assert photograph["title"] in check.description
        assert photograph["photo_id"][:12] in check.description
    assert MLflow(trained_settings).open().champion() is None
    (report,) = result.asset_materializations_for_node("evaluation_report")
    assert tested["title"] in report.metadata["verdict"].value
