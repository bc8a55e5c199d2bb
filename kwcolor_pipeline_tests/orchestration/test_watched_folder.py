"""The sensor and the job of the watched folder."""

import os
from pathlib import Path

import dagster as dg
import pytest

from kwcolor_pipeline.colorize.batch import BatchReport
from kwcolor_pipeline.definitions import build_definitions
from kwcolor_pipeline.orchestration import watched_folder
from kwcolor_pipeline.orchestration.watched_folder import colorize_watched_folder, watched_folder_sensor
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline.tracking import chosen_model
from kwcolor_pipeline.tracking.chosen_model import ChosenModel


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inbox").mkdir()
    return load_settings(home=tmp_path / "home", watch={"folder": tmp_path / "inbox"})


def put(settings, name):
    path = settings.watch.folder / name
    path.write_bytes(b"looked at by the job alone")
    os.utime(path, (1_000_000_000, 1_000_000_000))


def tick(settings, instance):
    return watched_folder_sensor(settings).evaluate_tick(dg.build_sensor_context(instance=instance))


@pytest.fixture
def instance(tmp_path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield instance


def test_one_run_is_asked_for_all_that_is_new(settings, instance):
    assert "no new picture" in tick(settings, instance).skip_message
    put(settings, "a.jpg")
    put(settings, "b.jpg")
    (request,) = tick(settings, instance).run_requests
    assert tick(settings, instance).run_requests[0].run_key == request.run_key  # Dagster asks once for each key
    put(settings, "c.jpg")
    assert tick(settings, instance).run_requests[0].run_key != request.run_key


def test_a_run_under_way_is_waited_for(settings, instance):
    put(settings, "a.jpg")
    run = dg.DagsterRun(job_name="colorize_watched_folder", status=dg.DagsterRunStatus.STARTED)
    instance.add_run(run)
    assert "still being colorized" in tick(settings, instance).skip_message
    instance.report_run_failed(run)
    assert len(tick(settings, instance).run_requests) == 1


def test_the_setting_switches_the_sensor_on(settings, tmp_path, instance):
    assert watched_folder_sensor(settings).default_status == dg.DefaultSensorStatus.RUNNING
    unset = load_settings(home=tmp_path / "home")
    assert watched_folder_sensor(unset).default_status == dg.DefaultSensorStatus.STOPPED
    assert "KWCOLOR_WATCH__FOLDER" in tick(unset, instance).skip_message


def run_job(settings, instance, monkeypatch, report):
    model = ChosenModel(Path("bundle"), "kwcolor version 7 (champion)", 7)
    monkeypatch.setattr(chosen_model, "chosen_model", lambda tracking, settings: model)
    asked = []
    monkeypatch.setattr(watched_folder, "colorize_new", lambda *given: asked.append(given[1:]) or report)
    definitions = build_definitions(settings, mlflow=dg.ResourceDefinition.hardcoded_resource(Registry()))
    job = definitions.resolve_job_def(colorize_watched_folder.name)
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert asked == [(model.folder, model.name)]
    return result


class Registry:
    """Stands for MLflow."""

    def open(self):
        return self


def test_the_champion_colorizes(settings, instance, monkeypatch):
    result = run_job(settings, instance, monkeypatch, BatchReport([Path("a.jpg"), Path("b.jpg")], []))
    assert result.success


def test_what_could_not_be_colorized_fails_the_run_by_name(settings, instance, monkeypatch):
    report = BatchReport([Path("a.jpg")], ["b.jpg is not a picture.", "c.jpg is damaged."])
    result = run_job(settings, instance, monkeypatch, report)
    assert not result.success
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert "2 pictures could not be colorized, 1 were" in failure.step_failure_data.user_failure_data.description
    assert failure.step_failure_data.user_failure_data.metadata["problems"].value == report.problems
