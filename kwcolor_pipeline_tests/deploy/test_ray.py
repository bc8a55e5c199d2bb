"""`deploy/ray` for real: steps as jobs of a Ray cluster, each node with a home of its own and a store in common."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from kwcolor_pipeline.home import Home, Result
from kwcolor_pipeline.photos.manifest import read_manifest
from kwcolor_pipeline.servers import prepare_dagster_home
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline_tests.photos.pictures import encoded, scene
from kwcolor_pipeline_tests.test_servers import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: Measured photographs are saved after every 500; so many are left then that the kill comes in time.
PHOTOGRAPHS = 1200


class Node:
    """A node of the cluster: `ray start` in a process of its own, with a home of its own."""

    def __init__(self, cluster: "Cluster", name: str, *options: str) -> None:
        self.home = Home(cluster.root / name)
        environment = cluster.environment | {"KWCOLOR_HOME": str(self.home.root)}
        # For `ray start` it would be the cluster to join, and not the dashboard that takes jobs.
        del environment["RAY_ADDRESS"]
        agent = f"--dashboard-agent-listen-port={free_ports()[0]}"  # nodes of one machine cannot all have the default
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", agent, *options]
        with (cluster.root / f"{name}.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, cwd=cluster.root, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """SIGKILL for the node and everything that it started, jobs included: as if the machine were gone."""
        if self._process.poll() is not None:
            return
        process = psutil.Process(self._process.pid)
        for victim in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(60)


class Cluster:
    """A head that takes no steps and two nodes that do, the folders of photographs, and Dagster's history."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Sockets lie in it, and a socket's path may have 107 letters.
        self.sockets = tempfile.mkdtemp(prefix="ray-")
        self.nodes: list[Node] = []
        (self.port, self.dashboard), (self.client_port, _) = free_ports(), free_ports()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KWCOLOR_", "DAGSTER_"))}
        self.environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DAGSTER_HOME": str(root / "history" / "dagster"),
            "RAY_ADDRESS": f"http://127.0.0.1:{self.dashboard}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": "120",
            "KWCOLOR_HOME": str(root / "history"),
            "KWCOLOR_EXECUTOR": "ray",
            "KWCOLOR_SHARED_STORE": f"file://{root}/store",
            "KWCOLOR_SOURCES": f"folder:{root / 'colour'}",
            "KWCOLOR_NEAR_DUPLICATES__SECOND_LOOK": "false",
            "OMP_NUM_THREADS": "1",
        }
        prepare_dagster_home(load_settings(home=root / "history"))

    def begin(self) -> None:
        """Start the head, and the nodes when it answers."""
        common = ["--disable-usage-stats", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000"]
        head = [
            *["--head", f"--port={self.port}", f"--dashboard-port={self.dashboard}", "--num-cpus=0", "--num-gpus=0"],
            *[f"--ray-client-server-port={self.client_port}", f"--temp-dir={self.sockets}"],
        ]
        self.nodes.append(Node(self, "head", *head, *common))
        self.wait(lambda: self.alive() == 1, "the head")
        for count, name in enumerate(("first", "second"), start=2):
            node = [f"--address=127.0.0.1:{self.port}", "--num-cpus=1", "--num-gpus=0"]
            self.nodes.append(Node(self, name, *node, *common))
            self.wait(lambda wanted=count: self.alive() == wanted, f"the {name} node")
        self.wait(self.takes_jobs, "taking jobs")

    def alive(self) -> int:
        """Nodes that take part, the head among them."""
        import requests

        try:
            answer = requests.get(f"http://127.0.0.1:{self.dashboard}/api/v0/nodes", timeout=10).json()
            return sum(node["state"] == "ALIVE" for node in answer["data"]["result"]["result"])
        except (requests.RequestException, TypeError):  # not yet
            return 0

    def takes_jobs(self) -> bool:
        """Whether a job could be left; the part of Ray that takes them is up later than its nodes."""
        import requests

        return requests.post(f"http://127.0.0.1:{self.dashboard}/api/jobs/", json={"entrypoint": "true"}, timeout=30).ok

    def start(self, *arguments: str, **settings: str) -> "subprocess.Popen[bytes]":
        """Materialize assets; the process is the run's own and gives its steps to the cluster."""
        command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "kwcolor_pipeline.definitions"]
        with (self.root / "runs.log").open("ab") as log:
            return subprocess.Popen(
                [*command, *arguments], env=self.environment | settings, cwd=self.root, stdout=log, stderr=log
            )

    def materialize(self, *arguments: str, **settings: str) -> None:
        assert self.start(*arguments, **settings).wait(300) == 0, self.log()

    def wait(self, happens: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 180
        while not happens():
            assert time.monotonic() < deadline, f"never came to {what}: {self.log()}"
            time.sleep(0.1)

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in sorted(self.root.glob("*.log")))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    missing = [name for name in ("ray", "dagster_ray", "aiohttp_cors") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    for place in range(PHOTOGRAPHS):
        picture = tmp_path / "colour" / "1941" / f"{place:04}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(encoded(scene(place, (96, 72))))
    cluster = Cluster(tmp_path)
    try:
        cluster.begin()
        yield cluster
    finally:
        for node in reversed(cluster.nodes):
            node.kill()
        shutil.rmtree(cluster.sockets)


def _is_hashing(home: Home) -> bool:
    return any((home.manifests / "deduplicated_photos").glob(".hashes.parquet.*.rows.part"))


def test_a_node_that_is_killed_while_it_hashes_costs_nothing_but_time(cluster: Cluster) -> None:
    nodes = cluster.nodes[1:]
    cluster.materialize("--select", "crawled_photos", "--partition", "1941")
    crawled = [node for node in nodes if (node.home.manifests / "crawled_photos" / "1941.parquet").exists()]
    assert len(crawled) == 1  # on a node, and not where the run was started
    assert not (cluster.root / "history" / "manifests").exists()

    run = cluster.start("--select", "deduplicated_photos")
    cluster.wait(lambda: any(_is_hashing(node.home) for node in nodes), "hashing")
    (hashing,) = [node for node in nodes if _is_hashing(node.home)]
    hashing.kill()
    assert run.wait(300) != 0
    store = cluster.root / "store" / "manifests" / "deduplicated_photos"
    assert not store.exists()
    shutil.rmtree(hashing.home.root)  # the machine is gone for good

    cluster.materialize("--select", "deduplicated_photos")
    (other,) = [node for node in nodes if node is not hashing]
    result = Result.read(other.home.manifests / "deduplicated_photos" / "all.json")
    assert result is not None
    assert result.summary["photographs"] == PHOTOGRAPHS

    alone = {"KWCOLOR_EXECUTOR": "in_process", "KWCOLOR_HOME": str(cluster.root / "alone")}
    del cluster.environment["KWCOLOR_SHARED_STORE"]
    cluster.materialize("--select", "crawled_photos", "--partition", "1941", **alone)
    cluster.materialize("--select", "deduplicated_photos", **alone)
    home = Home(cluster.root / "alone")
    assert Result.read(home.manifests / "deduplicated_photos" / "all.json") == result
    rows = [read_manifest(each.manifests / "crawled_photos" / "1941.parquet") for each in (home, other.home)]
    assert sorted(row.photo_id or "" for row in rows[0]) == sorted(row.photo_id or "" for row in rows[1])
