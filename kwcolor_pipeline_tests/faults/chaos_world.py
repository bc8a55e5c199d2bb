"""What chaos happens to, and with what it is compared: sources that grow in waves, homes, and what is in them.

Belongs here: the photographs of each wave, the commands over a home, and what of a home has to be equal however often
it was disturbed. The faults are in ``chaos``.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import requests
from PIL import Image

from kwcolor_pipeline.home import Home, Result
from kwcolor_pipeline_tests.journeys.user_interface import kwcolor
from kwcolor_pipeline_tests.orchestration.real_world import FOLLOWING, YearFolders
from kwcolor_pipeline_tests.photos.pictures import encoded, scene
from kwcolor_pipeline_tests.servers.loc_imitation import Library, Photo, serve
from kwcolor_pipeline_tests.small_homes import TINY

#: The year that the imitation of the Library of Congress has; the others lie in folders.
NETWORK_YEAR = "1943"
STAGES = ("pretrained_generator", "critic", "gan_model")
#: Columns of tables that say when and from where, and not what.
_PASSING = ("retrieved_at", "checked_at", "etag", "last_modified", "file_url", "landing_url")


@dataclass
class Sources:
    """Photographs that become more in waves: two years in folders, one on a server, and the target's."""

    root: Path
    archive: Library = field(default_factory=Library)
    _seed: int = 0

    def __post_init__(self) -> None:
        self.colour, self.target = YearFolders(self.root / "colour"), YearFolders(self.root / "target")

    def add(self, wave: int) -> dict[str, list[str]]:
        """The photographs of this wave; gives the years that have new ones, by the asset that crawls them."""
        if wave == 0:
            for year in ("1941", "1942"):
                self.colour.add(year, *self._seeds(14))
            self._add_to_archive(12)
            self.target.add("1951", *self._seeds(2), grey=True)
            self.target.add("1952", *self._seeds(1), grey=True)
            return {"crawled_photos": ["1941", "1942", NETWORK_YEAR], "korean_war_photos": ["1951", "1952"]}
        crawled = ("1941", NETWORK_YEAR, "1942")[wave % 3]
        if crawled == NETWORK_YEAR:
            self._add_to_archive(5)
        else:
            self.colour.add(crawled, *self._seeds(5))
        if wave % 2:
            return {"crawled_photos": [crawled]}
        self.target.add("1952", *self._seeds(1), grey=True)
        return {"crawled_photos": [crawled], "korean_war_photos": ["1952"]}

    def _seeds(self, count: int) -> range:
        self._seed += count
        return range(self._seed - count, self._seed)

    def _add_to_archive(self, count: int) -> None:
        self.archive.photos += [
            Photo(f"p{seed:04}", NETWORK_YEAR, (int(NETWORK_YEAR),) * 2, encoded(scene(seed, (90, 70))))
            for seed in self._seeds(count)
        ]


@dataclass(frozen=True)
class Kwcolor:
    """The command over one home, as the person at the machine has it."""

    home: Home
    environment: dict[str, str]
    log: Path

    def start(self, *arguments: str, **settings: str) -> "subprocess.Popen[bytes]":
        """In a session of its own, so that all that it starts can be found and ended."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                kwcolor(*arguments),
                cwd=self.log.parent,
                env=self.environment | settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def told(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-3000:]


@contextlib.contextmanager
def world(root: Path, home: Path, port: int) -> Iterator[tuple[Sources, Kwcolor]]:
    """Sources without photographs yet, and the command over a home that learns from them.

    ``port`` is the imitated Library's. Addresses of photographs are part of what is made of them, so the sources of one
    world take the place of those of the last one.
    """
    root.mkdir(parents=True)
    shutil.rmtree(root.parent / "sources", ignore_errors=True)
    sources = Sources(root.parent / "sources")
    with serve(sources.archive, port) as served:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KWCOLOR_")}
        environment = {
            **inherited,
            "KWCOLOR_HOME": str(home),
            "KWCOLOR_CONFIG": os.devnull,
            "KWCOLOR_SOURCES": f"folder:{sources.colour.root},loc",
            "KWCOLOR_KOREAN_WAR_SOURCES": f"folder:{sources.target.root}",
            "KWCOLOR_LOC__BASE_URL": served.url,
            "KWCOLOR_LOC__COLLECTIONS": '["collections/test"]',
            "KWCOLOR_LOC__REQUESTS_PER_10S": "1000",
            "KWCOLOR_LOC__DOWNLOADS_PER_10S": "1000",
            "KWCOLOR_CONTACT": "https://example.org/me",
            "KWCOLOR_DEVICE": "cpu",
            "KWCOLOR_PAIRS__SIZE": "48",
            "KWCOLOR_TRAINING": json.dumps(
                TINY | {f"{stage}_min_steps": 60 for stage in ("pretrain", "critic", "gan")}
            ),
            "OMP_NUM_THREADS": "1",
        }
        yield sources, Kwcolor(Home(home), environment, root / "kwcolor.log")


def contents(home: Home) -> dict[str, str]:
    """What has to be the same in two homes over the same sources: a hash by name."""
    found: dict[str, str] = {}
    for path in _files(home.photos):
        found[f"photograph {path.name}"] = _sha256(path.read_bytes())
    for path in _files(home.pairs):
        if path.suffix == ".tar":
            found[f"pairs {path.relative_to(home.pairs)}"] = _sha256(path.read_bytes())
    for path in _files(home.manifests):
        if path.suffix == ".parquet" and path.parent.name in ("crawled_photos", "korean_war_photos"):
            rows = pq.read_table(path).drop_columns(list(_PASSING)).to_pylist()
            found[f"manifest {path.parent.name} {path.stem}"] = _sha256(repr(rows).encode())
    for stage in STAGES:
        result = Result.read(home.models / stage / "result.json")
        assert result is not None, f"{stage} has no result"
        weights = home.models / stage / result.summary["folder"]
        for path in sorted(weights.glob("*.safetensors")):
            found[f"weights {stage} {path.name}"] = _sha256(path.read_bytes())
    gallery = home.reports / "colorized_gallery"
    for path in _files(gallery):
        if path.suffix == ".jpg":
            with Image.open(path) as picture:
                found[f"gallery {path.relative_to(gallery)}"] = _sha256(np.asarray(picture.convert("RGB")).tobytes())
    return found


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def model_versions(home: Home) -> list[tuple[str, list[str]]]:
    """The weights of every registered version, oldest first, and its aliases, as the database has them."""
    with contextlib.closing(sqlite3.connect(home.mlflow_database, timeout=60)) as database:
        weights = database.execute(
            "select version, value from model_version_tags where key = 'kwcolor.weights_sha256' order by version"
        ).fetchall()
        aliases = database.execute("select version, alias from registered_model_aliases").fetchall()
    return [(sha, sorted(alias for of, alias in aliases if of == version)) for version, sha in weights]


class Unavailable(Exception):
    """The page does not answer, or not with what was asked for."""


@contextlib.contextmanager
def _as_asked() -> Iterator[None]:
    """An answer of another form, such as an error in place of runs, is none."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise Unavailable(repr(error)) from error


@dataclass(frozen=True)
class DagsterPage:
    """What a person does and sees on Dagster's page, by the interface that the page itself uses."""

    address: str

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        try:
            answer = requests.post(
                f"{self.address}/graphql", json={"query": query, "variables": variables}, timeout=60
            ).json()
        except (requests.RequestException, ValueError) as error:
            raise Unavailable(type(error).__name__) from error
        if "errors" in answer or not answer.get("data"):
            raise Unavailable(str(answer)[:500])
        data: dict[str, Any] = answer["data"]
        return data

    @_as_asked()
    def _changed(self, mutation: str, name: str, success: str, **variables: Any) -> None:
        outcome = self.ask(mutation, **variables)[name]
        if outcome["__typename"] != success:
            raise Unavailable(str(outcome)[:500])

    def switch_on(self, sensor: str) -> None:
        mutation = "mutation($of: SensorSelector!) { startSensor(sensorSelector: $of) { __typename } }"
        self._changed(mutation, "startSensor", "Sensor", of={**_REPOSITORY, "sensorName": sensor})

    def backfill(self, asset: str, years: list[str]) -> None:
        mutation = (
            "mutation($of: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $of) { __typename } }"
        )
        wanted = {"assetSelection": [{"path": [asset]}], "partitionNames": years}
        self._changed(mutation, "launchPartitionBackfill", "LaunchBackfillSuccess", of=wanted)

    def launch(self, job: str) -> None:
        mutation = "mutation($of: ExecutionParams!) { launchRun(executionParams: $of) { __typename } }"
        wanted = {"selector": {**_REPOSITORY, "jobName": job}, "mode": "default", "runConfigData": {}}
        self._changed(mutation, "launchRun", "LaunchRunSuccess", of=wanted)

    @_as_asked()
    def runs(self) -> list[dict[str, Any]]:
        query = "{ runsOrError { ... on Runs { results { runId status jobName tags { key value } } } } }"
        found: list[dict[str, Any]] = self.ask(query)["runsOrError"]["results"]
        return found

    @_as_asked()
    def backfills(self) -> list[str]:
        """Their states."""
        query = "{ partitionBackfillsOrError { ... on PartitionBackfills { results { status } } } }"
        return [backfill["status"] for backfill in self.ask(query)["partitionBackfillsOrError"]["results"]]

    @_as_asked()
    def stale(self) -> list[str]:
        """The assets without years that carry a badge."""
        nodes = self.ask("{ assetNodes { assetKey { path } staleStatus isPartitioned } }")["assetNodes"]
        if len(nodes) < len(FOLLOWING):
            raise Unavailable("there are no assets")
        following = [node for node in nodes if not node["isPartitioned"]]
        return [node["assetKey"]["path"][0] for node in following if node["staleStatus"] != "FRESH"]

    @_as_asked()
    def crawled(self, asset: str, years: list[str]) -> dict[str, float]:
        """When each year was materialized last, in seconds since 1970; 0 for never."""
        query = "query($of: [AssetKeyInput!]!, $years: [String!]!) { assetNodes(assetKeys: $of) { "
        query += "latestMaterializationByPartition(partitions: $years) { timestamp } } }"
        (node,) = self.ask(query, of=[{"path": [asset]}], years=years)["assetNodes"]
        events = node["latestMaterializationByPartition"]
        return {
            year: float(event["timestamp"]) / 1000 if event else 0.0 for year, event in zip(years, events, strict=True)
        }

    @_as_asked()
    def data_versions(self, crawled: dict[str, list[str]]) -> dict[str, str]:
        """Of every asset, and of these years of those that have years."""
        query = "query($of: [AssetKeyInput!]!, $year: String) { assetNodes(assetKeys: $of) { "
        query += "dataVersion(partition: $year) } }"
        asked: list[tuple[str, str | None]] = [(asset, year) for asset, years in crawled.items() for year in years]
        asked += [(name, None) for name in FOLLOWING]
        found = {}
        for asset, year in asked:
            (node,) = self.ask(query, of=[{"path": [asset]}], year=year)["assetNodes"]
            found[" ".join(filter(None, [asset, year]))] = node["dataVersion"]
        return found

    @_as_asked()
    def why(self, run: str) -> list[str]:
        """What the run's page says of its end."""
        query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection(limit: 5000) { events { "
        query += "... on MessageEvent { message eventType } } } } } }"
        events = self.ask(query, id=run)["runOrError"]["eventConnection"]["events"]
        return [event["message"] for event in events if event.get("eventType") in ("RUN_FAILURE", "RUN_CANCELED")]

    @_as_asked()
    def taken_slots(self) -> dict[str, int]:
        query = (
            "{ instance { concurrencyLimits { concurrencyKey activeSlotCount pendingStepCount assignedStepCount } } }"
        )
        limits = self.ask(query)["instance"]["concurrencyLimits"]
        counts = ("activeSlotCount", "pendingStepCount", "assignedStepCount")
        return {limit["concurrencyKey"]: sum(limit[count] for count in counts) for limit in limits}

    @_as_asked()
    def unhealthy_daemons(self) -> list[str]:
        query = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
        statuses = self.ask(query)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return [status["daemonType"] for status in statuses if status["required"] and not status["healthy"]]


_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "kwcolor_pipeline.definitions"}


def open_mlflow_runs(address: str) -> int:
    """How many runs MLflow's page shows as running."""
    answer = requests.post(
        f"{address}/api/2.0/mlflow/runs/search",
        json={"experiment_ids": [str(number) for number in range(10)], "filter": "attributes.status = 'RUNNING'"},
        timeout=60,
    )
    answer.raise_for_status()
    return len(answer.json().get("runs", []))


def wait_for(happens: Callable[[], bool], seconds: float, what: str) -> None:
    """Look until it happens; AssertionError where it does not."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s there is still no {what}"
        time.sleep(1)
