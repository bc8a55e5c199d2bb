"""MLflow on PostgreSQL: without and with a tracking server in front of it, and four processes that begin at once."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kwcolor_pipeline import servers
from kwcolor_pipeline.settings import SettingsProblem, load_settings
from kwcolor_pipeline.tracking.mlflow_tracking import WEIGHTS_FILE, WEIGHTS_TAG, open_tracking, promotion_tags
from kwcolor_pipeline.tracking.model_folder import MLMODEL
from kwcolor_pipeline_tests.test_servers import free_ports
from kwcolor_pipeline_tests.tracking.postgres import Postgres, cannot_run, running_postgres
from kwcolor_pipeline_tests.tracking.test_mlflow_tracking import bundle_in, register

pytestmark = pytest.mark.slow

#: Each of these has a home of its own, as processes on different machines have, and so no lock file in common.
WORKER = """
import sys
from pathlib import Path
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline.tracking.mlflow_tracking import WEIGHTS_TAG, open_tracking
tracking = open_tracking(load_settings(home=sys.argv[1], mlflow_tracking_uri=sys.argv[2]))
with tracking.run("worker", {}, {}) as run:
    for step in range(5):
        run.log_metrics({"loss": step}, step)
    tracking.register_version(run, Path(sys.argv[3]), {WEIGHTS_TAG: "same"}, "")
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    reason = cannot_run()
    if reason:
        pytest.skip(reason)
    with running_postgres() as server:
        yield server


def test_four_processes_at_once_on_a_fresh_database(postgres: Postgres, tmp_path: Path) -> None:
    address, bundle = postgres.create("race"), bundle_in(tmp_path / "bundle")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, tmp_path / f"home{number}", address, bundle],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for number in range(4)
    ]
    outputs = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0], "\n".join(outputs)
    tracking = open_tracking(load_settings(home=tmp_path / "reader", mlflow_tracking_uri=address))
    runs = tracking._client.search_runs([tracking._experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    histories = [tracking._client.get_metric_history(run.info.run_id, "loss") for run in runs]
    assert [[metric.value for metric in history] for history in histories] == [[0, 1, 2, 3, 4]] * 4
    assert [(v.number, v.aliases) for v in tracking.versions()] == [(1, ("challenger",))]


def test_a_wrong_password_is_told_without_it(postgres: Postgres, tmp_path: Path) -> None:
    address = postgres.address("postgres").replace("only", "not")
    with pytest.raises(SettingsProblem, match="password authentication failed") as caught:
        open_tracking(load_settings(home=tmp_path, mlflow_tracking_uri=address)).prepare()
    assert "not%20for" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_versions_on_a_tracking_server(postgres: Postgres, tmp_path: Path) -> None:
    """The server of `kwcolor ui`, on PostgreSQL; this process knows only its address."""
    import requests

    home, port = tmp_path / "home", free_ports()[0]
    of_server = load_settings(home=home, mlflow_tracking_uri=postgres.create("served"))
    server = servers._mlflow_server(of_server, port)
    process = servers._start(server, servers._environment(of_server, free_ports()[0], port))
    try:
        deadline = time.monotonic() + 120
        while not servers._answers(server) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.5)
        client = load_settings(home=tmp_path / "client", mlflow_tracking_uri=server.address, mlflow_ui_url="http://ui")
        tracking = open_tracking(client)
        assert register(tracking, tmp_path / "a", b"first", best_score=2.0) == 1
        assert register(tracking, tmp_path / "b", b"second") == 2
        first = tracking.versions()[1]
        tracking.log_version_metrics(first, {"test_ciede2000": 7.5})
        numbers = {"difference": -1.25, "low": -2.0, "high": -0.5, "p_value": 0.001}
        tags = promotion_tags(
            "It is the first.", metric="ciede2000", against="grey copy", test_split="abc", photographs=9, **numbers
        )
        tracking.promote(first, tags)
        listed = {version.number: version for version in tracking.versions()}
        assert {number: version.aliases for number, version in listed.items()} == {1: ("champion",), 2: ("challenger",)}
        assert listed[1].metrics == {"best_score": 2.0, "test_ciede2000": 7.5}
        assert listed[1].tags.items() >= tags.items()
        assert listed[1].description == "a generator It is the first."

        copy = tracking.download(listed[1], tmp_path / "copies" / "1")
        assert {path.name for path in copy.iterdir()} == {"README.md", WEIGHTS_FILE}
        assert (copy / WEIGHTS_FILE).read_bytes() == b"first"
        # MLflow's page asks for the signature in this way.
        answer = requests.get(
            f"{server.address}/model-versions/get-artifact",
            params={"path": MLMODEL, "name": "kwcolor", "version": 1},
            timeout=10,
        )
        assert answer.status_code == 200
        assert "signature" in answer.text

        # A version of before has nothing but the bundle in its folder.
        with tracking.run("train", {}, {}) as run:
            run.client.log_artifacts(run.run_id, str(bundle_in(tmp_path / "c", b"old")), "model")
            source = f"{run.client.get_run(run.run_id).info.artifact_uri}/model"
            tags = {WEIGHTS_TAG: "old", "kwcolor.weights_file_sha256": listed[1].tags["kwcolor.weights_file_sha256"]}
            run.client.create_model_version("kwcolor", source, run_id=run.run_id, tags=tags)
        newest = tracking.newest()
        assert newest is not None
        with pytest.raises(SettingsProblem, match="not the file that was registered"):  # the sha256 is another's
            tracking.download(newest, tmp_path / "copies" / "3")
        assert (tmp_path / "copies" / "3" / WEIGHTS_FILE).read_bytes() == b"old"
    finally:
        servers._stop_groups([process])
    assert not (tmp_path / "mlruns").exists()
