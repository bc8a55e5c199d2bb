"""The whole graph under `kwcolor ui` while processes are killed, the disk runs full and databases are locked.

    python -m kwcolor_pipeline_tests.faults.chaos --minutes 30 --seed 1 --json chaos.json      (or: make chaos)

New photographs come in waves. Runs are launched as people do: backfills and jobs from Dagster's page, automation, and
`kwcolor run`; whatever fails is started again by what docs/operations.md tells, and `kwcolor ui` by a supervisor, as
systemd would. When the time is up the faults stop, everything has to become current again, and is then compared with a
home over the same waves that nobody disturbed. The faults come in an order that the seed decides; the moments, and so
what they meet, are the machine's.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from kwcolor_pipeline_tests.faults.chaos_world import (
    DagsterPage,
    Kwcolor,
    Sources,
    Unavailable,
    contents,
    model_versions,
    open_mlflow_runs,
    wait_for,
    world,
)

#: Every year that has photographs, of both assets.
YEARS = {"crawled_photos": ["1941", "1942", "1943"], "korean_war_photos": ["1951", "1952"]}
RUN = ("run", "--years", "1941,1942,1943,1951,1952")
#: In the order in which they come where each comes once: Dagster's servers so close together that they start once.
FAULTS = (
    "run killed",
    "step killed",
    "Dagster's database locked",
    "kwcolor run killed",
    "daemon killed",
    "webserver killed",
    "code server killed",
    "MLflow killed",
    "disk full",
    "MLflow's database locked",
    "everything killed",
)
_DISK_BYTES = 600 << 20
_ENDED = ("SUCCESS", "FAILURE", "CANCELED")
_ENDED_BACKFILLS = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED", "CANCELED")
#: Seconds in which nothing happens until the operator does something, and so many where automation may.
_PATIENCE, _PATIENCE_WITH_AUTOMATION = 8.0, 100.0
_LOCK = """
import sqlite3, sys, time
held = [sqlite3.connect(file, timeout=30, isolation_level=None) for file in sys.argv[2:]]
for database in held:
    database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[1]))
"""


@dataclass(frozen=True)
class Plan:
    """How long, how often and how badly."""

    minutes: float
    seed: int
    pause: tuple[float, float] = (10.0, 30.0)
    """seconds between faults"""
    command: tuple[float, float] = (5.0, 40.0)
    """seconds that a `kwcolor run` has until it is killed"""
    patience: float = 45.0
    """seconds until there has to be something to be killed"""
    full: float = 40.0
    """seconds that the disk is full"""
    locked: float = 60.0
    """seconds that a database is locked"""
    once: bool = False
    """every fault once, and no more"""


def once(seed: int) -> Plan:
    """Every fault once, on one wave, for a few seconds each."""
    return Plan(0, seed, pause=(1, 4), command=(5, 10), patience=300, full=5, locked=5, once=True)


@dataclass
class Report:
    """What happened."""

    waves: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)
    missed: collections.Counter = field(default_factory=collections.Counter)
    """faults that met nothing to be done to"""
    restarts: int = 0
    """of `kwcolor ui` by the supervisor"""
    actions: collections.Counter = field(default_factory=collections.Counter)
    """what the operator did"""
    versions: list[dict[str, str]] = field(default_factory=list)
    """data versions after each wave"""
    runs: collections.Counter = field(default_factory=collections.Counter)
    """of Dagster, by how they ended"""
    differences: list[str] = field(default_factory=list)
    compared: int = 0

    def counts(self) -> dict[str, int]:
        return dict(collections.Counter(fault["fault"] for fault in self.faults))


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


class Ui:
    """`kwcolor ui`, started again whenever it ends, and all processes that belong to it."""

    def __init__(self, kwcolor: Kwcolor, report: Report) -> None:
        self._kwcolor, self._report = kwcolor, report
        self._ports = _free_ports()
        self.dagster, self.mlflow = (f"http://127.0.0.1:{port}" for port in self._ports)
        self.page = DagsterPage(self.dagster)
        self._sessions: set[int] = set()
        self._stopping = threading.Event()
        self._start()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()

    def _start(self) -> None:
        dagster, mlflow = map(str, self._ports)
        # Each start of it the other executor: steps in processes of their own, and in that of their run.
        self.executor = ("multiprocess", "in_process")[self._report.restarts % 2]
        command = ("ui", "--dagster-port", dagster, "--mlflow-port", mlflow)
        self.process = self._kwcolor.start(*command, KWCOLOR_EXECUTOR=self.executor)
        self._sessions.add(self.process.pid)

    def _supervise(self) -> None:
        while not self._stopping.wait(1):
            if self.process.poll() is not None:
                self._report.restarts += 1
                self._start()

    def processes(self) -> list[psutil.Process]:
        """All that belong to it, those that lost their parent too: a session has its own processes only."""
        for child in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if child.ppid() == self.process.pid and os.getsid(child.pid) == child.pid:
                    self._sessions.add(child.pid)
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) in self._sessions and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def stop(self) -> None:
        self._stopping.set()
        self._supervisor.join()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait()


class Faults:
    """What is done to the world, one thing at a time."""

    def __init__(self, plan: Plan, kwcolor: Kwcolor, ui: Ui, report: Report, disk: Path | None) -> None:
        self.plan, self._kwcolor, self._ui, self._report, self._disk = plan, kwcolor, ui, report, disk
        self._random = random.Random(plan.seed)
        self._began = time.monotonic()
        self._stop = threading.Event()
        #: A `kwcolor run` that goes on.
        self.command: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._problem: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No more faults; what is full or locked is so no longer."""
        self._stop.set()
        self._thread.join()
        if self._problem:
            raise self._problem

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def _go_on(self) -> None:
        try:
            while True:
                for fault in FAULTS if self.plan.once else self._random.sample(FAULTS, len(FAULTS)):
                    if self._stop.wait(self._random.uniform(*self.plan.pause)) or self._is_late():
                        return
                    self._inject(fault)
                if self.plan.once:
                    return
        except BaseException as problem:
            self._problem = problem
            raise

    def _is_late(self) -> bool:
        return not self.plan.once and time.monotonic() - self._began > self.plan.minutes * 60

    def _inject(self, fault: str) -> None:
        # Now and then also while servers start.
        if fault == "everything killed" or (not self.plan.once and self._random.random() < 0.8):
            self._wait_for_the_page()
        at = time.monotonic() - self._began
        detail = {
            "step killed": lambda: self._kill_when_there(self._steps),
            "run killed": lambda: self._kill_when_there(self._run_workers),
            "daemon killed": lambda: self._kill_when_there(lambda: self._named("dagster._daemon")),
            "webserver killed": lambda: self._kill_when_there(lambda: self._named("dagster_webserver")),
            "code server killed": lambda: self._kill_when_there(lambda: self._named("api grpc", "code-server start")),
            "MLflow killed": lambda: self._kill_when_there(lambda: self._named("mlflow server", "mlflow.server")),
            "kwcolor run killed": self._kill_command,
            "everything killed": self._kill_everything,
            "disk full": self._fill_disk,
            "Dagster's database locked": lambda: self._lock(
                *(self._kwcolor.home.dagster / name for name in ("history/runs.db", "history/runs/index.db"))
            ),
            "MLflow's database locked": lambda: self._lock(self._kwcolor.home.mlflow_database),
        }[fault]()
        if detail is None:
            self._report.missed[fault] += 1
            return
        self._report.faults.append({"at": round(at, 1), "fault": fault, "what": detail})
        print(f"{at:7.1f} s  {fault}: {detail}", flush=True)

    def _wait_for_the_page(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not self._stop.wait(1):
            if _answers(self._ui):
                return

    def _named(self, *words: str) -> list[psutil.Process]:
        found = []
        for process in self._ui.processes():
            with contextlib.suppress(psutil.Error):
                command = " ".join(process.cmdline())
                if any(word in command for word in words) and "resource_tracker" not in command:
                    found.append(process)
        return found

    def _run_workers(self) -> list[psutil.Process]:
        workers = self._named("spawn_main")
        return [process for process in workers if not _has_parent_in(process, workers)]

    def _steps(self) -> list[psutil.Process]:
        """Processes of steps, those that steps start in turn, and runs that have their steps in their own process."""
        workers = self._named("spawn_main")
        if self._ui.executor == "in_process":
            return workers
        return [process for process in workers if _has_parent_in(process, workers)]

    def _kill_when_there(self, look: Callable[[], Sequence[psutil.Process]]) -> str | None:
        deadline = time.monotonic() + self.plan.patience
        while time.monotonic() < deadline and not self._stop.is_set():
            found = sorted(look(), key=lambda process: process.pid)
            # Anywhere in its life, and not at its very beginning alone.
            if found and not self._stop.wait(self._random.uniform(0, 4)):
                chosen = self._random.choice(found)
                with contextlib.suppress(psutil.NoSuchProcess):
                    command = " ".join(chosen.cmdline())[-60:]
                    chosen.kill()
                    return f"process {chosen.pid} ({command})"
            time.sleep(0.2)
        return None

    def _kill_command(self) -> str | None:
        """One that goes on, or a new one, somewhere in its life."""
        if self.command is None or self.command.poll() is not None:
            self.command = self._kwcolor.start(*RUN)
        self._stop.wait(self._random.uniform(*self.plan.command))
        if self.command.poll() is not None:
            return None
        self.command.kill()
        return f"process {self.command.pid}"

    def _kill_everything(self) -> str | None:
        """As when the machine loses its power, but for what only the disk's cache has."""
        killed = self._ui.processes()
        if self.command is not None and self.command.poll() is None:
            killed.append(psutil.Process(self.command.pid))
        for process in killed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return f"{len(killed)} processes"

    def _fill_disk(self) -> str | None:
        if self._disk is None:
            return self._forbid_writing()
        filler = self._disk / "filler"
        size = 0
        try:
            with filler.open("wb", buffering=0) as full, contextlib.suppress(OSError):
                while True:
                    size += full.write(bytes(1 << 16))
            self._stop.wait(self.plan.full)
        finally:
            filler.unlink()
        return f"{size >> 20} MiB for {self.plan.full:.0f} s"

    def _forbid_writing(self) -> str:
        """Where nothing can be mounted: no process may make a file larger than a page."""
        deadline = time.monotonic() + self.plan.full
        try:
            while time.monotonic() < deadline and not self._stop.wait(0.5):
                self._limit_files(4096)
        finally:
            self._limit_files(resource.RLIM_INFINITY)
        return f"files limited for {self.plan.full:.0f} s"

    def _limit_files(self, size: int) -> None:
        for process in self._ui.processes():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def _lock(self, *databases: Path) -> str | None:
        if not all(database.exists() for database in databases):
            return None
        command = [sys.executable, "-c", _LOCK, str(self.plan.locked), *map(str, databases)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            locked = holder.stdout.readline()
            if locked:
                self._stop.wait(self.plan.locked)
            holder.kill()
        names = ", ".join(database.name for database in databases)
        return f"{names} for {self.plan.locked:.0f} s" if locked else None


def _has_parent_in(process: psutil.Process, others: Sequence[psutil.Process]) -> bool:
    try:
        return process.ppid() in {other.pid for other in others}
    except psutil.NoSuchProcess:
        return False


class Operator:
    """Whoever wants the new photographs in the gallery, and starts again what failed."""

    def __init__(self, kwcolor: Kwcolor, ui: Ui, faults: Faults, report: Report, seed: int) -> None:
        self._kwcolor, self._ui, self._faults, self._report = kwcolor, ui, faults, report
        self._random = random.Random(seed)

    def bring_up_to_date(self, years: dict[str, list[str]], seconds: float) -> None:
        """Crawl these years and everything that follows, by whatever way; AssertionError where it takes longer."""
        began, idle_since, busy_until = time.time(), time.monotonic(), ""
        deadline = time.monotonic() + seconds
        way = "job" if self._faults.plan.once else self._random.choice(["automation", "job", "command"])
        while True:
            assert time.monotonic() < deadline, f"not up to date after {seconds:.0f} s: {busy_until}"
            time.sleep(2)
            try:
                busy_until = self._what_is_left(years, began)
            except Unavailable as problem:
                busy_until = f"Dagster's page does not answer: {problem}"
            if not busy_until:
                return
            if not busy_until.startswith("idle: "):
                idle_since = time.monotonic()
                continue
            missing = busy_until.endswith("not crawled")
            patience = _PATIENCE if missing or way != "automation" else _PATIENCE_WITH_AUTOMATION
            if time.monotonic() - idle_since > patience:
                with contextlib.suppress(Unavailable):
                    self._act(way, years, began)
                idle_since = time.monotonic()
                way = "job" if self._faults.plan.once else self._random.choice(["job", "command"])

    def work(self) -> None:
        """Have everything made once more, so that there is something to be disturbed."""
        with contextlib.suppress(Unavailable):
            if not any(run["status"] not in _ENDED for run in self._ui.page.runs()):
                self._ui.page.launch("after_the_crawl")
        time.sleep(2)

    def _what_is_left(self, years: dict[str, list[str]], began: float) -> str:
        """A sentence; empty when all is done. It begins with `idle: ` where nobody is at it."""
        page = self._ui.page
        if self._faults.command is not None and self._faults.command.poll() is None:
            return "kwcolor run goes on"
        unfinished = collections.Counter(run["status"] for run in page.runs() if run["status"] not in _ENDED)
        if unfinished:
            return f"runs are {dict(unfinished)}"
        if any(status not in _ENDED_BACKFILLS for status in page.backfills()):
            return "a backfill goes on"
        if self._not_crawled(years, began):
            return "idle: years are not crawled"
        stale = page.stale()
        return f"idle: {', '.join(stale)} stale" if stale else ""

    def _not_crawled(self, years: dict[str, list[str]], began: float) -> dict[str, list[str]]:
        left = {
            asset: [year for year, at in self._ui.page.crawled(asset, wanted).items() if at < began]
            for asset, wanted in years.items()
        }
        return {asset: missing for asset, missing in left.items() if missing}

    def _act(self, way: str, years: dict[str, list[str]], began: float) -> None:
        missing = self._not_crawled(years, began)
        if way == "command":
            self._faults.command = self._kwcolor.start(*RUN)
            self._report.actions["kwcolor run"] += 1
        elif missing:
            for asset, of in missing.items():
                self._ui.page.backfill(asset, of)
                self._report.actions["backfill"] += 1
        else:
            self._ui.page.launch("after_the_crawl")
            self._report.actions["after_the_crawl"] += 1


def disturbed(root: Path, port: int, plan: Plan, report: Report) -> tuple[dict[str, str], list[tuple[str, list[str]]]]:
    """A world with faults, until it came to rest again; what is in its home, its model versions."""
    with _small_disk(root / "disk") as disk, world(root / "chaos", _home_on(root, disk), port) as made:
        sources, kwcolor = made
        _begin(sources, kwcolor, report)
        ui = Ui(kwcolor, report)
        try:
            wait_for(lambda: _answers(ui), 300, "page of Dagster")
            if not plan.once:  # it takes its time: a minute between looks
                ui.page.switch_on("follow_the_data")
            faults = Faults(plan, kwcolor, ui, report, disk)
            operator = Operator(kwcolor, ui, faults, report, plan.seed)
            faults.start()
            try:
                _waves(sources, operator, faults, ui, report, plan)
            finally:
                faults.stop()
            _converge(kwcolor, ui, operator, report, plan)
        finally:
            ui.stop()
            if disk is not None:  # which goes away
                shutil.copytree(kwcolor.home.root, root / "chaos/home")
        return contents(kwcolor.home), model_versions(kwcolor.home)


def _begin(sources: Sources, kwcolor: Kwcolor, report: Report) -> None:
    """The first wave, undisturbed, and with it the first split.

    A photograph stays in the split that it came into (`photos.splits`), and which that is depends on those that came
    with it. Where one of several new years fails, the others go on without it by design, and the splits become other
    ones. So the waves under faults bring one year each.
    """
    sources.add(0)
    assert kwcolor.start(*RUN).wait(600) == 0, kwcolor.told()
    report.waves = 1
    report.versions.append(_recorded_versions(kwcolor))


def _waves(sources: Sources, operator: Operator, faults: Faults, ui: Ui, report: Report, plan: Plan) -> None:
    """New photographs again and again, each wave carried to the gallery, until the time is up."""
    deadline = time.monotonic() + plan.minutes * 60
    while report.waves == 1 or (time.monotonic() < deadline and not plan.once):
        years = sources.add(report.waves)
        report.waves += 1
        operator.bring_up_to_date(years, max(deadline - time.monotonic(), 0) + 1200)
        report.versions.append(_versions(ui))
        print(f"wave {report.waves} is in the gallery", flush=True)
    while plan.once and not faults.over:
        operator.work()


def _converge(kwcolor: Kwcolor, ui: Ui, operator: Operator, report: Report, plan: Plan) -> None:
    """Without faults: what an operator does, and then nothing may be left open on the pages."""
    operator.bring_up_to_date({}, 1200)
    report.versions[-1] = _versions(ui)
    assert kwcolor.start(*RUN).wait(300) == 0, kwcolor.told()
    wait_for(lambda: not _left_open(ui), 300, f"rest: {_left_open(ui)}")
    assert _versions(ui) == report.versions[-1]
    for run in ui.page.runs():
        report.runs[run["status"]] += 1
        if run["status"] != "SUCCESS":
            told = ui.page.why(run["runId"])
            assert any(told), f"run {run['runId']} ended as {run['status']} and nothing says why"


def _left_open(ui: Ui) -> list[str]:
    """What the pages show as going on, taken or ill."""
    with contextlib.suppress(Unavailable):
        page = ui.page
        return [
            *(f"run {run['runId']} is {run['status']}" for run in page.runs() if run["status"] not in _ENDED),
            *(f"a backfill is {status}" for status in page.backfills() if status not in _ENDED_BACKFILLS),
            *(f"{count} of the pool {pool} taken" for pool, count in page.taken_slots().items() if count),
            *(f"{daemon} is not healthy" for daemon in page.unhealthy_daemons()),
            *(["MLflow runs go on"] if open_mlflow_runs(ui.mlflow) else []),
        ]
    return ["Dagster's page does not answer"]


def _answers(ui: Ui) -> bool:
    with contextlib.suppress(Unavailable):
        return bool(ui.page.stale())
    return False


def _versions(ui: Ui) -> dict[str, str]:
    found: dict[str, str] = {}

    def read() -> bool:
        with contextlib.suppress(Unavailable):
            found.update(ui.page.data_versions(YEARS))
            return True
        return False

    wait_for(read, 300, "answer about data versions")
    return found


def undisturbed(
    root: Path, port: int, waves: int
) -> tuple[list[dict[str, str]], dict[str, str], list[tuple[str, list[str]]]]:
    """The same waves with `kwcolor run` alone; the data versions after each, and what is in the home."""
    with world(root / "calm", root / "calm/home", port) as (sources, kwcolor):
        versions = []
        for wave in range(waves):
            sources.add(wave)
            assert kwcolor.start(*RUN).wait(600) == 0, kwcolor.told()
            versions.append(_recorded_versions(kwcolor))
        return versions, contents(kwcolor.home), model_versions(kwcolor.home)


def _recorded_versions(kwcolor: Kwcolor) -> dict[str, str]:
    """As the page would show them."""
    import dagster as dg
    from dagster._core.definitions.data_version import DATA_VERSION_TAG

    from kwcolor_pipeline_tests.orchestration.real_world import FOLLOWING

    wanted = [(asset, year) for asset, years in YEARS.items() for year in years] + [(name, None) for name in FOLLOWING]
    found = {}
    with dg.DagsterInstance.from_config(str(kwcolor.home.dagster)) as instance:
        for asset, year in wanted:
            only = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[year] if year else None)
            (record,) = instance.fetch_materializations(only, limit=1).records
            assert record.asset_materialization is not None
            name = " ".join(filter(None, [asset, year]))
            found[name] = (record.asset_materialization.tags or {})[DATA_VERSION_TAG]
    return found


def compare(root: Path, plan: Plan, report: Report) -> None:
    """Both worlds, and where they differ."""
    port, _ = _free_ports()
    files, models = disturbed(root, port, plan, report)
    versions, calm_files, calm_models = undisturbed(root, port, report.waves)
    pairs: list[tuple[str, Any, Any]] = [("model versions", models, calm_models)]
    for name in sorted(files.keys() | calm_files.keys()):
        pairs.append((name, files.get(name), calm_files.get(name)))
    for wave, (here, there) in enumerate(zip(report.versions, versions, strict=True)):
        pairs += [(f"data version of {name} after wave {wave + 1}", here[name], there[name]) for name in there]
    report.compared = len(pairs)
    report.differences = [f"{name}: {here} instead of {there}" for name, here, there in pairs if here != there]


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of its own, which can run full; None where nothing may be mounted."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _home_on(root: Path, disk: Path | None) -> Path:
    return (disk or root / "disk") / "home"


def _tell(report: Report, asked: argparse.Namespace) -> None:
    told = {
        "seed": asked.seed,
        "minutes": asked.minutes,
        "waves": report.waves,
        "faults": report.counts(),
        "faults that met nothing": dict(report.missed),
        "kwcolor ui started again by the supervisor": report.restarts,
        "what the operator did": dict(report.actions),
        "runs": dict(report.runs),
        "compared": report.compared,
        "differences": report.differences,
    }
    print(json.dumps(told, indent=2))
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(told | {"in order": report.faults}, indent=2) + "\n")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--minutes", type=float, default=30)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--json", type=Path, help="Write what happened here.")
    arguments.add_argument("--once", action="store_true", help="Every fault once, on one wave, for a few seconds.")
    arguments.add_argument("--work", type=Path, help="Folder that is made and kept; else a temporary one.")
    asked = arguments.parse_args()
    # Ends what was started and gives the disk back, also where it began in a shell's background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit("stopped"))
    report = Report()
    with contextlib.ExitStack() as kept:
        root = asked.work or Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="kwcolor-chaos-")))
        try:
            compare(root, once(asked.seed) if asked.once else Plan(asked.minutes, asked.seed), report)
        finally:
            _tell(report, asked)
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
