"""Which unfinished runs count as killed. Real kills are in `faults`."""

import os
import socket
import subprocess
import sys

import dagster as dg
import psutil
import pytest

from kwcolor_pipeline.definitions import build_definitions
from kwcolor_pipeline.orchestration import incremental
from kwcolor_pipeline.orchestration.incremental import close_killed_runs
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.orchestration.runs import MACHINE_TAG, PROCESS_TAG
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline.tracking.mlflow_tracking import DAGSTER_RUN_TAG

STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load_settings(home=tmp_path / "home")


@pytest.fixture
def close(settings, instance):
    """Begin a run with these tags, close what was killed, and give the run's status."""

    def close(tags):
        job = build_definitions(settings).resolve_job_def("after_the_crawl")
        run = instance.create_run_for_job(job, status=STARTED, tags=tags)
        close_killed_runs(settings, instance, MLflow(settings))
        return instance.get_run_by_id(run.run_id).status

    return close


@pytest.fixture
def another_process():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(b"\n")


def test_a_run_whose_process_is_gone_was_killed(close):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert close({PROCESS_TAG: str(gone.pid)}) == FAILURE


def test_a_run_whose_process_works_on_it_is_left_alone(close, another_process):
    assert close({PROCESS_TAG: str(another_process.pid)}) == STARTED


def test_a_run_of_dagsters_own_servers_is_left_alone(close):
    assert close({}) == STARTED


def test_a_run_with_this_processs_id_was_another_ones(close):
    # In a container every `kwcolor run` has the same process id.
    assert close({PROCESS_TAG: str(os.getpid())}) == FAILURE


def test_of_machines_that_share_a_store_each_knows_its_own_processes_only(close, settings):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    settings.shared_store = "s3://bucket/prefix"
    assert close({PROCESS_TAG: str(gone.pid), MACHINE_TAG: "another"}) == STARTED
    assert close({PROCESS_TAG: str(gone.pid), MACHINE_TAG: socket.gethostname()}) == FAILURE


def test_a_process_that_is_younger_than_the_run_is_not_the_one_that_executed_it(close, another_process, monkeypatch):
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: real(process) + 3600)
    assert close({PROCESS_TAG: str(another_process.pid)}) == FAILURE


@pytest.mark.parametrize("shared", [True, False])
def test_mlflow_runs_of_an_unknown_dagster_run_are_closed_in_the_homes_own_database_only(
    settings, instance, tmp_path, shared
):
    if shared:
        settings = settings.model_copy(update={"mlflow_tracking_uri": f"sqlite:///{tmp_path / 'shared.db'}"})
    tracking = MLflow(settings).open()
    with tracking.run("training", {DAGSTER_RUN_TAG: "of-another-home"}, {}) as run:
        close_killed_runs(settings, instance, MLflow(settings))
        assert tracking._client.get_run(run.run_id).info.status == ("RUNNING" if shared else "KILLED")


def test_an_unknown_asset_and_an_unknown_year_are_refused_with_what_there_is(settings, instance):
    definitions, mlflow = build_definitions(settings), MLflow(settings)
    with pytest.raises(incremental.SettingsProblem, match="gan_model"):
        incremental.run(settings, definitions, instance, mlflow, select=["gan"])
    with pytest.raises(incremental.SettingsProblem, match="1935"):
        incremental.run(settings, definitions, instance, mlflow, years=["1812"])
