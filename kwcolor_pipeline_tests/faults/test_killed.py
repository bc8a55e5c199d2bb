"""`kwcolor run` killed (SIGKILL) in the crawl, in the pairs and in each training; the next one finishes."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from kwcolor_pipeline.home import Home, Result
from kwcolor_pipeline.orchestration.instance import open_instance
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.photos.manifest import read_manifest
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline_tests.photos.pictures import encoded, scene
from kwcolor_pipeline_tests.small_homes import TINY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PHOTOGRAPHS = 300
STAGES = ("pretrained_generator", "critic", "gan_model")
# Training saves a checkpoint every 20 s; tiny trainings do not take that long.
KWCOLOR = """
from kwcolor_pipeline.training import loop
loop._CHECKPOINT_SECONDS = 0.3
from kwcolor_pipeline.cli import main
main()
"""
LONG_ENOUGH_TO_KILL = {"pretrain_min_steps": 150, "critic_min_steps": 300, "gan_min_steps": 150}


class Kwcolor:
    """The command in processes of their own, over one home."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root, Home(root / "home")
        training = TINY | LONG_ENOUGH_TO_KILL
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("KWCOLOR_")},
            "KWCOLOR_HOME": str(self.home.root),
            "KWCOLOR_SOURCES": f"folder:{root / 'colour'}",
            "KWCOLOR_KOREAN_WAR_SOURCES": f"folder:{root / 'target'}",
            "KWCOLOR_DEVICE": "cpu",
            "KWCOLOR_PAIRS__SIZE": "64",
            "KWCOLOR_TRAINING": json.dumps(training),
            "OMP_NUM_THREADS": "1",
        }

    def start(self) -> "subprocess.Popen[str]":
        with (self.root / "log").open("a") as log:
            command = [sys.executable, "-c", KWCOLOR, "run"]
            return subprocess.Popen(command, cwd=self.root, env=self.environment, stdout=log, stderr=log, text=True)

    def killed_when(self, happens: Any, where: str) -> None:
        """Start it and kill it as soon as ``happens()``."""
        process = self.start()
        deadline = time.monotonic() + 120
        try:
            while not happens():
                assert process.poll() is None, f"ended before it could be killed in the {where}: {self.log()}"
                assert time.monotonic() < deadline, f"never came to the {where}: {self.log()}"
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == -signal.SIGKILL

    def finishes(self) -> None:
        assert self.start().wait(300) == 0, self.log()

    def log(self) -> str:
        return (self.root / "log").read_text()[-4000:]

    @property
    def journal(self) -> Path:
        return self.home.manifests / "crawled_photos" / "1943.journal.jsonl"

    def journaled(self) -> int:
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def has_checkpoint(self, stage: str) -> bool:
        return any((self.home.models / stage).glob("[!.]*.checkpoint"))

    def finished_files(self) -> dict[Path, tuple[int, str]]:
        """Time and size of everything that a finished stage leaves behind."""
        folders = (self.home.manifests, self.home.pairs, self.home.photos, self.home.models)
        found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        kept = [path for path in found if not any(part.startswith(".") for part in path.relative_to(self.root).parts)]
        passing = (".checkpoint", ".jsonl", "hashes.parquet", "measures.parquet")
        return {
            path: (path.stat().st_mtime_ns, path.stat().st_size) for path in kept if not path.name.endswith(passing)
        }


def check_readable(home: Home) -> None:
    """Every file that a reader could take for a result is whole."""
    for path in home.root.rglob("*"):
        relative = path.relative_to(home.root)
        if not path.is_file() or any(part.startswith(".") for part in relative.parts):
            continue
        assert not path.name.endswith(".part")
        if path.suffix == ".parquet":
            pq.read_table(path)
        elif path.suffix == ".json" and relative.parts[0] != "dagster":
            json.loads(path.read_text())
        elif path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".tar":
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    assert len(tar.extractfile(member).read()) == member.size
    assert PhotoStore(home.photos).damaged() == []


def unchanged(before: dict[Path, Any], after: dict[Path, Any]) -> bool:
    gone_or_new = {path for path, known in before.items() if after.get(path) != known}
    assert gone_or_new == set()
    return True


@pytest.fixture
def kwcolor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kwcolor:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))  # open_instance sets it; this gives it back
    for folder, count in (("colour/1943", PHOTOGRAPHS), ("target/1951", 2)):
        (tmp_path / folder).mkdir(parents=True)
        for seed in range(count):
            picture = scene(seed, (80, 72))
            data = encoded(picture if folder.startswith("colour") else picture.convert("L"))
            (tmp_path / folder / f"{seed:04}.jpg").write_bytes(data)
    return Kwcolor(tmp_path)


def test_a_run_that_is_killed_everywhere_is_finished_by_the_next_one(kwcolor: Kwcolor) -> None:
    home = kwcolor.home

    kwcolor.killed_when(lambda: kwcolor.journaled() > 50, "crawl")
    check_readable(home)
    journaled = {line["source_id"]: line["retrieved_at"] for line in whole_lines(kwcolor.journal)}

    kwcolor.killed_when(lambda: any((home.pairs / "train").glob(".*.part")), "pairs")
    check_readable(home)
    rows = read_manifest(home.manifests / "crawled_photos" / "1943.parquet")
    assert len(rows) == PHOTOGRAPHS
    assert not kwcolor.journal.exists()
    # What the first process had taken in was not taken in again.
    times = {row.source_id: row.retrieved_at for row in rows}
    assert all(times[name].isoformat() == read_time(text) for name, text in journaled.items())
    before = {path: known for path, known in kwcolor.finished_files().items() if home.pairs not in path.parents}

    for stage in STAGES:
        kwcolor.killed_when(lambda stage=stage: kwcolor.has_checkpoint(stage), stage)
        check_readable(home)
        assert Result.read(home.models / stage / "result.json") is None
        after = kwcolor.finished_files()
        assert unchanged(before, after)
        before = after

    kwcolor.finishes()
    check_readable(home)
    assert unchanged(before, kwcolor.finished_files())
    for stage in STAGES:
        history = json.loads(
            (
                home.models
                / stage
                / Result.read(home.models / stage / "result.json").summary["folder"]
                / "history.json"
            ).read_text()
        )
        assert [record["epoch"] for record in history] == [1, 2]
        assert not kwcolor.has_checkpoint(stage)
    check_records(kwcolor)

    before = kwcolor.finished_files()
    kwcolor.finishes()
    assert "everything was up to date" in kwcolor.log()
    assert kwcolor.finished_files() == before


def whole_lines(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_bytes().split(b"\n")[:-1]]


def read_time(text: str) -> str:
    import datetime

    return datetime.datetime.fromisoformat(text).isoformat()


def check_records(kwcolor: Kwcolor) -> None:
    """No run is left open, in Dagster or in MLflow, and the killed ones are not taken for finished ones."""
    settings = load_settings(home=kwcolor.home.root)
    with open_instance(settings) as instance:
        statuses = [run.status for run in instance.get_runs()]
        assert {*statuses} == {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}
        assert statuses.count(dg.DagsterRunStatus.FAILURE) == 2 + len(STAGES)
        assert statuses[0] == dg.DagsterRunStatus.SUCCESS
    tracking = MLflow(settings).open()
    client = tracking._client
    runs = client.search_runs([tracking._experiment_id])
    found = [(run.data.tags["dagster.asset_key"], run.info.status) for run in runs]
    assert {status for _, status in found} == {"FINISHED", "KILLED"}
    assert sorted(asset for asset, status in found if status == "KILLED") == sorted(STAGES)
    assert [version.aliases for version in tracking.versions()] in ([("champion",)], [("challenger",)])
