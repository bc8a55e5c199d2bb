import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kwcolor_pipeline.home import sha256_of
from kwcolor_pipeline.settings import SettingsProblem, load_settings
from kwcolor_pipeline.tracking.mlflow_tracking import (
    DAGSTER_RUN_TAG,
    FILE_TAG,
    MODEL_NAME,
    PROMOTED_TAG,
    WEIGHTS_FILE,
    WEIGHTS_TAG,
    Tracking,
    database_problem,
    open_tracking,
    promotion_tags,
    sqlite_path,
)


def tracking_in(home: Path, **changed: str) -> Tracking:
    values = {"tracking_uri": f"sqlite:///{home}/mlflow.db", "experiment": "kwcolor", "ui_url": "http://ui/", **changed}
    return Tracking(artifact_root=home / "mlartifacts", lock=home / "mlflow.lock", **values)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a schema and nothing in it that the tests use; making one takes seconds."""
    home = tmp_path_factory.mktemp("template")
    tracking_in(home, experiment="template").prepare()
    return home / "mlflow.db"


@pytest.fixture
def tracking(tmp_path: Path, empty_database: Path) -> Tracking:
    home = tmp_path / "home of a user"
    home.mkdir()
    shutil.copy(empty_database, home / "mlflow.db")
    return tracking_in(home)


def bundle_in(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(weights)
    (folder / "README.md").write_text("card")
    return folder


def register(tracking: Tracking, folder: Path, weights: bytes, **metrics: float) -> int:
    with tracking.run("train", {}, {}) as run:
        run.log_metrics(metrics)
        return tracking.register_version(run, bundle_in(folder, weights), {WEIGHTS_TAG: weights.hex()}, "a generator")


def test_a_finished_run_keeps_what_was_logged(tracking: Tracking, tmp_path: Path) -> None:
    grid = tmp_path / "grid.png"
    grid.write_bytes(b"png")
    with tracking.run("train", {"dagster.asset_key": "gan_model"}, {"size": 64, "betas": (0, 0.5)}) as run:
        run.log_metrics({"loss": 2.0}, step=1)
        run.log_metrics({"loss": 1.0}, step=2)
        run.log_artifact(grid, "samples")
        run.log_dict({"years": [1943]}, "manifest.json")
        run.set_tags({"device": "cpu"})
    stored = run.client.get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.data.params == {"size": "64", "betas": "(0, 0.5)"}
    assert stored.data.tags.items() >= {"dagster.asset_key": "gan_model", "device": "cpu"}.items()
    assert [(m.step, m.value) for m in run.client.get_metric_history(run.run_id, "loss")] == [(1, 2.0), (2, 1.0)]
    artifacts = tracking.artifact_root / run.run_id / "artifacts"
    assert sorted(str(p.relative_to(artifacts)) for p in artifacts.rglob("*.*")) == [
        "manifest.json",
        "samples/grid.png",
    ]
    assert run.url == f"http://ui/#/experiments/{run.experiment_id}/runs/{run.run_id}"


@pytest.mark.parametrize(("raised", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_is_left_by_an_exception_is_closed(
    tracking: Tracking, raised: type[BaseException], status: str
) -> None:
    with pytest.raises(raised), tracking.run("train", {}, {}) as run:
        raise raised
    assert run.client.get_run(run.run_id).info.status == status


def test_values_at_the_edge_of_what_mlflow_takes(tracking: Tracking) -> None:
    params = {f"p{i}": i for i in range(250)} | {"long": "x" * 7000}
    with tracking.run("train", {"note": "y" * 9000}, params) as run:
        run.log_metrics({"nan": math.nan, "inf": math.inf, "minus": -math.inf} | {f"m{i}": i for i in range(250)})
    data = run.client.get_run(run.run_id).data
    assert len(data.params) == 251
    assert len(data.params["long"]) == 6000
    assert data.params["long"].endswith("… (7000 characters in all)")
    assert math.isnan(data.metrics["nan"])
    assert (data.metrics["inf"], data.metrics["minus"]) == (sys.float_info.max, -sys.float_info.max)
    assert data.metrics["m249"] == 249


def test_only_runs_of_finished_dagster_runs_are_closed(tracking: Tracking) -> None:
    tracking.prepare()
    client, experiment = tracking._client, tracking._experiment_id
    made = {
        name: client.create_run(experiment, run_name=name, tags=tags).info.run_id
        for name, tags in {
            "dead": {DAGSTER_RUN_TAG: "gone"},
            "working": {DAGSTER_RUN_TAG: "here"},
            "by hand": {},
        }.items()
    }
    assert tracking.close_abandoned_runs(lambda dagster_run: dagster_run == "gone") == [made["dead"]]
    status = {name: client.get_run(run_id).info.status for name, run_id in made.items()}
    assert status == {"dead": "KILLED", "working": "RUNNING", "by hand": "RUNNING"}


def test_versions_and_their_aliases(tracking: Tracking, tmp_path: Path) -> None:
    assert (tracking.champion(), tracking.newest(), tracking.versions()) == (None, None, [])
    assert register(tracking, tmp_path / "a", b"first", psnr=20.0) == 1
    first = tracking.newest()
    assert first is not None
    assert (first.aliases, first.metrics, first.description) == (("challenger",), {"psnr": 20.0}, "a generator")

    tracking.promote(first, {"why": "better"})
    assert register(tracking, tmp_path / "b", b"second", psnr=21.0) == 2
    assert [(v.number, v.aliases) for v in tracking.versions()] == [(2, ("challenger",)), (1, ("champion",))]
    champion = tracking.champion()
    assert champion is not None
    assert champion.tags["why"] == "better"


def test_equal_weights_are_one_version(tracking: Tracking, tmp_path: Path) -> None:
    assert register(tracking, tmp_path / "a", b"same") == 1
    assert register(tracking, tmp_path / "b", b"same") == 1
    newest = tracking.newest()
    assert newest is not None
    tracking.promote(newest, {})
    register(tracking, tmp_path / "c", b"same")
    assert [(v.number, v.aliases) for v in tracking.versions()] == [(1, ("champion",))]


NUMBERS: dict[str, Any] = {
    "metric": "ciede2000",
    "difference": -1.23456789,
    "low": -2.0,
    "high": -0.5,
    "p_value": 0.000512,
}


def test_a_promotion_is_recorded_with_its_numbers_and_in_the_description_once(
    tracking: Tracking, tmp_path: Path
) -> None:
    register(tracking, tmp_path / "a", b"first")
    version = tracking.newest()
    assert version is not None
    tags = promotion_tags("Better by a lot.", against="3", test_split="abc123", photographs=200, **NUMBERS)
    for _ in range(2):  # one that was killed is made again
        tracking.promote(version, tags)
        champion = tracking.champion()
        assert champion is not None
        assert champion.description == "a generator Better by a lot."
        version = champion
    assert {name: champion.tags[name] for name in tags} == {
        "kwcolor.promoted": "Better by a lot.",
        "kwcolor.promotion.metric": "ciede2000",
        "kwcolor.promotion.difference": "-1.23457",
        "kwcolor.promotion.interval_low": "-2",
        "kwcolor.promotion.interval_high": "-0.5",
        "kwcolor.promotion.p_value": "0.000512",
        "kwcolor.promotion.against": "3",
        "kwcolor.promotion.test_split": "abc123",
        "kwcolor.promotion.photographs": "200",
    }


def test_a_promotion_that_was_killed_in_between_does_not_look_finished(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(tracking, tmp_path / "a", b"first")
    version = tracking.newest()
    assert version is not None
    asked: list[str] = []
    set_tag = tracking._client.set_model_version_tag

    def killed_later(model: str, number: str, name: str, value: str) -> None:
        if len(asked) == len(NUMBERS) + 3:
            raise KeyboardInterrupt
        asked.append(name)
        set_tag(model, number, name, value)

    monkeypatch.setattr(tracking._client, "set_model_version_tag", killed_later)
    with pytest.raises(KeyboardInterrupt):
        tracking.promote(
            version, promotion_tags("Better.", against="grey copy", test_split="a", photographs=2, **NUMBERS)
        )
    champion = tracking.champion()
    assert champion is not None
    assert champion.tags.keys() >= {"kwcolor.promotion.p_value", "kwcolor.promotion.photographs"}
    assert PROMOTED_TAG not in champion.tags


def test_a_version_of_before_is_used_where_it_lies(tracking: Tracking, tmp_path: Path) -> None:
    """Its folder is the bundle itself, without an MLflow model around it."""
    with tracking.run("train", {}, {}) as run:
        bundle = bundle_in(tmp_path / "a", b"old")
        run.client.create_registered_model(MODEL_NAME)
        run.client.log_artifacts(run.run_id, str(bundle), "model")
        source = f"{run.client.get_run(run.run_id).info.artifact_uri}/model"
        tags = {WEIGHTS_TAG: "old", FILE_TAG: sha256_of(bundle / WEIGHTS_FILE)}
        run.client.create_model_version(MODEL_NAME, source, run_id=run.run_id, tags=tags)
    version = tracking.newest()
    assert version is not None
    assert str(tracking.download(version, tmp_path / "copy")) == source


def test_a_local_bundle_is_used_where_it_lies_and_only_while_it_is_whole(tracking: Tracking, tmp_path: Path) -> None:
    register(tracking, tmp_path / "a", b"first")
    version = tracking.newest()
    assert version is not None
    assert {WEIGHTS_TAG, FILE_TAG} <= version.tags.keys()
    destination = tmp_path / "copy"
    bundle = tracking.download(version, destination)
    assert bundle.is_relative_to(tracking.artifact_root)
    assert sorted(path.name for path in bundle.iterdir()) == ["README.md", WEIGHTS_FILE]
    assert not destination.exists()
    (bundle / WEIGHTS_FILE).write_bytes(b"other")
    with pytest.raises(SettingsProblem, match="not the file that was registered"):
        tracking.download(version, destination)
    (bundle / WEIGHTS_FILE).unlink()
    with pytest.raises(SettingsProblem, match="missing"):
        tracking.download(version, destination)


def test_a_version_is_found_by_its_weights_and_takes_metrics_later(tracking: Tracking, tmp_path: Path) -> None:
    register(tracking, tmp_path / "a", b"first", psnr=20.0)
    register(tracking, tmp_path / "b", b"second")
    version = tracking.version_of(b"first".hex())
    assert version is not None
    assert version.number == 1
    tracking.log_version_metrics(version, {"test_psnr": 19.0})
    assert tracking.versions()[1].metrics == {"psnr": 20.0, "test_psnr": 19.0}
    assert tracking._client.get_run(version.run_id).info.status == "FINISHED"
    assert tracking.version_of("unknown") is None


def test_a_folder_without_weights_is_no_bundle(tracking: Tracking, tmp_path: Path) -> None:
    with tracking.run("train", {}, {}) as run, pytest.raises(FileNotFoundError, match="not a model bundle"):
        tracking.register_version(run, tmp_path, {WEIGHTS_TAG: "x"}, "")


def test_a_version_outlives_its_run(tracking: Tracking, tmp_path: Path) -> None:
    register(tracking, tmp_path / "a", b"first", psnr=1.0)
    version = tracking.newest()
    assert version is not None
    assert version.run_id
    tracking._client.delete_run(version.run_id)
    assert [v.number for v in tracking.versions()] == [1]


@pytest.mark.parametrize("damage", ["rubbish", "cut", "overwritten"])
def test_a_damaged_database_is_named_with_the_remedy(tracking: Tracking, damage: str) -> None:
    database = sqlite_path(tracking.tracking_uri)
    assert database is not None
    whole = database.read_bytes()
    damaged = {
        "rubbish": b"no database " * 100,
        "cut": whole[: len(whole) // 2],
        "overwritten": whole[:4096] + bytes(range(256)) * 64 + whole[4096 + 256 * 64 :],
    }[damage]
    database.write_bytes(damaged)
    with pytest.raises(SettingsProblem, match="damaged") as caught:
        tracking.prepare()
    assert str(database) in str(caught.value)
    assert "move it away" in str(caught.value)
    assert database.read_bytes() == damaged


def test_a_database_of_another_program_is_left_alone(tracking: Tracking) -> None:
    import sqlite3

    database = sqlite_path(tracking.tracking_uri)
    assert database is not None
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '000000000000'")
    with pytest.raises(SettingsProblem, match=r"mlflow db upgrade|out-of-date"):
        tracking.prepare()


def test_a_deleted_experiment_is_named(tracking: Tracking) -> None:
    tracking.prepare()
    tracking._client.delete_experiment(tracking._experiment_id)
    with pytest.raises(SettingsProblem, match="was deleted"):
        tracking_in(tracking.lock.parent).prepare()


def test_a_copied_home_does_not_write_into_the_first_one(tracking: Tracking, tmp_path: Path) -> None:
    tracking.prepare()
    shutil.copytree(tracking.lock.parent, tmp_path / "copy")
    with pytest.raises(SettingsProblem, match="keeps its files in"):
        tracking_in(tmp_path / "copy").prepare()


def test_addresses_that_cannot_be_used(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server = f"http://user:secret@127.0.0.1:{closed.getsockname()[1]}"
        for uri in [
            "sqlite://",
            "sqlite:///:memory:",
            f"sqlite:///{tmp_path}/a#b/m.db",
            str(tmp_path / "runs"),
            server,
        ]:
            with pytest.raises(SettingsProblem) as caught:
                tracking_in(tmp_path, tracking_uri=uri).prepare()
            assert "secret" not in str(caught.value)
            assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsProblem, match="KWCOLOR_HOME"):
        open_tracking(load_settings(home=tmp_path / "file")).prepare()


def test_no_database_is_no_problem(tmp_path: Path) -> None:
    assert database_problem(tmp_path / "mlflow.db") is None
    assert list(tmp_path.iterdir()) == []


_WORKER = """
import sys
from pathlib import Path
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline.tracking.mlflow_tracking import WEIGHTS_TAG, open_tracking
tracking = open_tracking(load_settings(home=sys.argv[1]))
with tracking.run("worker", {}, {}) as run:
    for step in range(5):
        run.log_metrics({"loss": step}, step)
    tracking.register_version(run, Path(sys.argv[2]), {WEIGHTS_TAG: "same"}, "")
"""


def _worker(home: Path, bundle: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _WORKER, str(home), str(bundle)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=home.parent)


def test_a_killed_start_and_then_four_at_once_on_a_fresh_database(tmp_path: Path) -> None:
    home, bundle = tmp_path / "home", bundle_in(tmp_path / "bundle")
    killed = _worker(home, bundle)
    deadline = time.monotonic() + 60
    while not list(home.glob(".mlflow.db*.part")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (home / "mlflow.db").exists()

    workers = [_worker(home, bundle) for _ in range(4)]
    outputs = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0], "\n".join(outputs)
    tracking = open_tracking(load_settings(home=home))
    runs = tracking._client.search_runs([tracking._experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    assert [len(tracking._client.get_metric_history(run.info.run_id, "loss")) for run in runs] == [5] * 4
    assert [(v.number, v.aliases) for v in tracking.versions()] == [(1, ("challenger",))]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "home"]
    assert sorted(path.name for path in home.iterdir()) == ["mlartifacts", "mlflow.db", "mlflow.lock"]
