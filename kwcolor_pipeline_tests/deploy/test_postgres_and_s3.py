"""`deploy/one_machine` for real: Dagster and MLflow in PostgreSQL, files in S3, workers with homes of their own."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kwcolor_pipeline.photos.manifest import read_manifest
from kwcolor_pipeline_tests.deploy import object_store
from kwcolor_pipeline_tests.deploy.object_store import BUCKET, ObjectStore, running_object_store
from kwcolor_pipeline_tests.journeys.photographs import PhotoFolder
from kwcolor_pipeline_tests.small_homes import TINY
from kwcolor_pipeline_tests.test_servers import free_ports
from kwcolor_pipeline_tests.tracking import postgres
from kwcolor_pipeline_tests.tracking.postgres import Postgres, running_postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DEPLOY = Path(__file__).parents[2] / "deploy" / "one_machine"
KWCOLOR = [sys.executable, "-c", "from kwcolor_pipeline.cli import main; main()"]


class Deployment:
    """The servers' addresses, and `kwcolor` in a process with a home of its own: a worker on another machine."""

    def __init__(self, root: Path, database: Postgres, store: ObjectStore) -> None:
        self.root, self.store = root, store
        self.dagster_database, mlflow_database = database.create("dagster"), database.create("mlflow")
        self.mlflow_port = free_ports()[0]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KWCOLOR_", "DAGSTER_"))}
        self.environment = {
            **kept,
            **store.environment,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "KWCOLOR_SHARED_STORE": f"s3://{BUCKET}/kwcolor",
            "KWCOLOR_DAGSTER_CONFIG": str(DEPLOY / "storage.yaml"),
            "KWCOLOR_MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.mlflow_port}",
            "DAGSTER_POSTGRES_URL": self.dagster_database.replace("postgresql:", "postgresql+psycopg2:"),
            "MLFLOW_BACKEND_STORE_URI": mlflow_database.replace("postgresql://", "postgresql+psycopg://"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_PORT": str(self.mlflow_port),
            "KWCOLOR_SOURCES": f"folder:{root / 'colour'}",
            "KWCOLOR_KOREAN_WAR_SOURCES": f"folder:{root / 'target'}",
            "KWCOLOR_DEVICE": "cpu",
            "KWCOLOR_PAIRS__SIZE": "48",
            "KWCOLOR_TRAINING": json.dumps(TINY),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, worker: str, *arguments: str) -> "subprocess.Popen[str]":
        with self.log(worker).open("a") as log:
            environment = self.environment | {"KWCOLOR_HOME": str(self.root / worker)}
            return subprocess.Popen(
                [*KWCOLOR, *arguments], cwd=self.root, env=environment, stdout=log, stderr=log, text=True
            )

    def run(self, worker: str, *arguments: str) -> str:
        """What the command printed; it has to end well."""
        before = len(self.log(worker).read_text()) if self.log(worker).exists() else 0
        process = self.start(worker, *arguments)
        assert process.wait(400) == 0, self.log(worker).read_text()[-4000:]
        return self.log(worker).read_text()[before:]

    def log(self, worker: str) -> Path:
        return self.root / f"{worker}.log"

    def years(self, worker: str) -> dict[str, set[str | None]]:
        """Year to the ids of its photographs, as this worker's home has them."""
        manifests = (self.root / worker / "manifests" / "crawled_photos").glob("*.parquet")
        return {path.stem: {row.photo_id for row in read_manifest(path)} for path in manifests}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    reason = postgres.cannot_run() or object_store.cannot_run()
    if reason is None and importlib.util.find_spec("dagster_postgres") is None:
        reason = "needs dagster-postgres"
    if reason:
        pytest.skip(reason)
    root = tmp_path_factory.mktemp("deployment")
    PhotoFolder(root / "colour").add({"1941": 14, "1942": 14, "1943": 8})
    PhotoFolder(root / "target").add_grey("1951", "skimage", "data/camera.png")
    with running_postgres() as database, running_object_store(root / "s3.log") as store:
        deployment = Deployment(root, database, store)
        with deployment.log("mlflow").open("wb") as log:
            mlflow = subprocess.Popen(
                [DEPLOY / "mlflow.sh"], env=deployment.environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            _wait_for(deployment, mlflow)
            yield deployment
        finally:
            os.killpg(mlflow.pid, signal.SIGTERM)
            mlflow.wait(60)


def _wait_for(deployment: Deployment, mlflow: "subprocess.Popen[bytes]") -> None:
    import requests

    deadline = time.monotonic() + 180
    while True:
        try:
            if requests.get(f"http://127.0.0.1:{deployment.mlflow_port}/health", timeout=5).status_code == 200:
                return
        except requests.RequestException:
            assert mlflow.poll() is None, deployment.log("mlflow").read_text()
            assert time.monotonic() < deadline, deployment.log("mlflow").read_text()
            time.sleep(0.5)


def test_two_workers_crawl_different_years_at_once_and_a_third_does_the_rest(deployment: Deployment) -> None:
    crawl = ("run", "--select", "crawled_photos", "--years")
    workers = {name: deployment.start(name, *crawl, years) for name, years in (("one", "1941"), ("two", "1942,1943"))}
    codes = {name: worker.wait(300) for name, worker in workers.items()}
    assert codes == {"one": 0, "two": 0}, "\n".join(deployment.log(name).read_text()[-3000:] for name in workers)
    one, two = deployment.years("one"), deployment.years("two")
    assert {year: len(ids) for year, ids in one.items() if year == "1941"} == {"1941": 14}
    assert {year: len(two[year]) for year in ("1942", "1943")} == {"1942": 14, "1943": 8}

    said = deployment.run("three", "run")
    # What the other two crawled is known to Dagster and lies in the store: the third crawls the target's year alone.
    assert "crawled_photos" not in said
    assert "korean_war_photos 1951" in said
    assert deployment.years("three") == {"1941": one["1941"], "1942": two["1942"], "1943": two["1943"]}
    pictures = {path.name for path in (deployment.root / "three" / "photos").glob("??/*.*")}
    stored = {name.rpartition("/")[2] for name in deployment.store.names("kwcolor/photos/")}
    assert pictures == stored
    assert len(stored) == 37

    _lies_where_it_should(deployment)
    # Another machine, with an empty home, finds nothing left to do.
    assert "everything was up to date" in deployment.run("four", "run")


def _lies_where_it_should(deployment: Deployment) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(deployment.dagster_database.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        count = sqlalchemy.text("SELECT asset_key FROM asset_keys")
        known = {json.loads(key)[0] for (key,) in connection.execute(count)}
        failed = connection.execute(sqlalchemy.text("SELECT count(*) FROM runs WHERE status <> 'SUCCESS'")).scalar()
    engine.dispose()
    assert len(known) == 10
    assert failed == 0
    engine = sqlalchemy.create_engine(deployment.environment["MLFLOW_BACKEND_STORE_URI"])
    with engine.connect() as connection:
        versions = connection.execute(sqlalchemy.text("SELECT name, version FROM model_versions")).all()
    engine.dispose()
    assert [tuple(version) for version in versions] == [("kwcolor", 1)]
    for prefix in ("photos", "pairs/train", "models/gan_model", "reports/evaluation_report", "mlflow"):
        assert deployment.store.names(f"kwcolor/{prefix}/"), prefix
    for worker in ("one", "two", "three"):
        assert list((deployment.root / worker).rglob("*.db")) == []
    for log in deployment.root.glob("*.log"):
        assert "only for a test" not in log.read_text()
        assert "only%20for%20a%20test" not in log.read_text()


def test_doctor_tells_whether_store_and_history_can_be_used(deployment: Deployment) -> None:
    findings = json.loads(deployment.run("five", "doctor", "--json"))
    told = {finding["name"]: finding for finding in findings}
    assert told["shared store"]["ok"] is True
    deployment.environment["KWCOLOR_SHARED_STORE"] = "s3://no-such-bucket/kwcolor"
    try:
        process = deployment.start("six", "run", "--select", "crawled_photos")
        assert process.wait(120) == 2
        assert "the shared store s3://no-such-bucket/kwcolor (" in deployment.log("six").read_text()
    finally:
        deployment.environment["KWCOLOR_SHARED_STORE"] = f"s3://{BUCKET}/kwcolor"
