"""Which unfinished runs count as killed. Real kills are in `faults`."""

import json
import os
import socket
import subprocess
import sys

import dagster as dg
import psutil
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG, MAX_RETRIES_TAG

from kwcolor_pipeline.definitions import build_definitions
from kwcolor_pipeline.orchestration import incremental
from kwcolor_pipeline.orchestration.incremental import close_killed_runs
from kwcolor_pipeline.orchestration.instance import open_instance
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


HERE = {GRPC_INFO_TAG: json.dumps({"host": "localhost", "socket": "/tmp/code-server"})}
ELSEWHERE = {GRPC_INFO_TAG: json.dumps({"host": "code", "port": 4000})}


def launched(settings, instance, pid, tags):
    """A run that Dagster's launcher started in the process ``pid``, as its events tell."""
    job = build_definitions(settings).resolve_job_def("after_the_crawl")
    run = instance.create_run_for_job(job, status=STARTED, tags=tags)
    instance.report_engine_event("Queued", run)
    instance.report_engine_event("Started process for run", run, EngineEventData.in_process(pid))
    return run


@pytest.fixture
def gone():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_run_that_dagster_launched_in_a_process_that_is_gone_was_killed(settings, instance, gone):
    run = launched(settings, instance, gone, HERE)
    close_killed_runs(settings, instance, MLflow(settings))
    assert instance.get_run_by_id(run.run_id).status == FAILURE


def test_a_run_that_another_container_executes_is_left_alone(settings, instance, gone):
    run = launched(settings, instance, gone, ELSEWHERE)
    close_killed_runs(settings, instance, MLflow(settings))
    assert instance.get_run_by_id(run.run_id).status == STARTED


def test_a_run_that_waited_in_the_queue_is_older_than_its_process(settings, instance, another_process, monkeypatch):
    run = launched(settings, instance, another_process.pid, HERE)
    real = type(instance).get_run_records

    def an_hour_older(*arguments, **options):
        records = real(*arguments, **options)
        return [record._replace(create_timestamp=record.create_timestamp.replace(year=2020)) for record in records]

    monkeypatch.setattr(type(instance), "get_run_records", an_hour_older)
    close_killed_runs(settings, instance, MLflow(settings))
    assert instance.get_run_by_id(run.run_id).status == STARTED


def test_a_run_that_ended_meanwhile_is_not_failed(settings, instance, gone, monkeypatch):
    run = launched(settings, instance, gone, HERE)
    real = type(instance).get_run_records

    def then_it_ends(*arguments, **options):
        records = real(*arguments, **options)
        instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, "after_the_crawl"), run.run_id
        )
        return records

    monkeypatch.setattr(type(instance), "get_run_records", then_it_ends)
    close_killed_runs(settings, instance, MLflow(settings))
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.SUCCESS


def test_dagsters_monitoring_is_told_which_processes_are_gone(settings, another_process, gone, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(settings.home))  # open_instance sets it; this gives it back
    by_command = {PROCESS_TAG: str(gone)}
    with open_instance(settings) as instance:
        assert instance.run_launcher.supports_check_run_worker_health
        cases = [
            (launched(settings, instance, gone, HERE), WorkerStatus.FAILED),
            (launched(settings, instance, another_process.pid, HERE), WorkerStatus.RUNNING),
            (launched(settings, instance, gone, ELSEWHERE), WorkerStatus.RUNNING),
            (launched(settings, instance, another_process.pid, by_command), WorkerStatus.FAILED),
        ]
        for run, status in cases:
            found = instance.run_launcher.check_run_worker_health(instance.get_run_by_id(run.run_id))
            assert found.status == status
        assert instance.run_monitoring_poll_interval_seconds <= 30


def test_the_daemon_does_not_try_runs_of_the_command_again(settings, instance):
    @dg.asset
    def breaks() -> None:
        raise RuntimeError

    definitions = dg.Definitions([breaks], jobs=[dg.define_asset_job("job", "breaks")])
    step = incremental.Step("job", ("breaks",))
    incremental.execute(definitions, instance, step, incremental.Outcome(), "edition")
    (run,) = instance.get_runs()
    assert run.tags[MAX_RETRIES_TAG] == "0"


def test_a_new_mlflow_run_closes_those_that_killed_runs_left_open(settings, instance):
    killed = launched(settings, instance, os.getpid(), {})
    working = launched(settings, instance, os.getpid(), {})
    instance.report_run_failed(killed)
    mlflow = MLflow(settings)
    tracking = mlflow.open()
    left, goes_on = (
        tracking._client.create_run(tracking._experiment_id, tags={DAGSTER_RUN_TAG: run.run_id}).info.run_id
        for run in (killed, working)
    )

    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> None:
        with mlflow.run_for(context, {}):
            pass

    assert dg.materialize([trained], instance=instance).success
    assert tracking._client.get_run(left).info.status == "KILLED"
    assert tracking._client.get_run(goes_on).info.status == "RUNNING"
