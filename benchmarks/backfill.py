"""Do Dagster's pages stay quick while 40 years are crawled?

Belongs here: the home, the backfill, the client and the promise. The archive is in `drawn_archive`, the pages' queries
are in `ui_queries`.

`kwcolor ui` is started over an empty home whose source is a loopback imitation of the Library of Congress with the
Library's limits. A client opens one page of the UI after the other, as a person does who never stops clicking: the
queries that the page asks go out side by side, one page a second. It does so for a while with nothing under way; then
it launches a backfill of 40 years of `crawled_photos` by the UI's own mutation and goes on until that has ended. What
is measured is the time from a query to its whole answer.
"""

import collections
import contextlib
import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests
from drawn_archive import COLLECTION
from report import Promise, conclude, machine_facts, options, say, table
from ui_queries import UiQueries

from kwcolor_pipeline.photos.manifest import crawl_partitions

_HERE = Path(__file__).resolve().parent
_PACKAGES = ("kwcolor_pipeline", "dagster", "dagster-webserver")
_ASSET, _LOCATION = "crawled_photos", "kwcolor_pipeline.definitions"
_ASSETS = (
    "crawled_photos",
    "korean_war_photos",
    "deduplicated_photos",
    "curated_photos",
    "grayscale_pairs",
    "pretrained_generator",
    "critic",
    "gan_model",
    "evaluation_report",
    "colorized_gallery",
)
YEARS, QUICK_YEARS = 40, 6
PHOTOGRAPHS = 10
_IDLE_SECONDS = 30.0
_PAUSE = 1.0
#: Seconds after which a backfill that has not ended is given up.
_PATIENCE = 3600.0
_BOUND = 2.0

#: What a process is, by a word of its command line; the first that is in it.
_PARTS = {
    "dagster_webserver": "webserver",
    "_daemon run": "daemon",
    "execute_run": "runs",
    "grpc": "code servers",
    "code-server": "code servers",
    "mlflow": "mlflow",
    "uvicorn": "mlflow",
}

Variables = Mapping[str, Any]
Page = Callable[["Seen"], list[tuple[str, Variables]]]


@dataclass
class Seen:
    """What the pages are opened for: the backfill, a year of it and its latest run, where there are any yet."""

    years: list[str]
    backfill: str | None = None
    run: str | None = None
    turn: int = 0

    @property
    def year(self) -> str:
        return self.years[self.turn % len(self.years)]


@dataclass
class Answers:
    """Seconds of each answer by query, and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))
    bytes: dict[str, int] = field(default_factory=lambda: collections.defaultdict(int))
    failures: list[str] = field(default_factory=list)

    def all_seconds(self) -> list[float]:
        return [one for of_query in self.seconds.values() for one in of_query]


_KEY = {"path": [_ASSET]}
_KEYS = [{"path": [asset]} for asset in _ASSETS]
_OPEN = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING", "MANAGED"]
_ENDED = ["FAILURE", "SUCCESS", "CANCELED"]


def _asset_graph(_: Seen) -> list[tuple[str, Variables]]:
    names = ("AssetGraphLiveQuery", "AssetStaleStatusDataQuery", "AssetsFreshnessInfoQuery", "AssetHealthQuery")
    return [(name, {"assetKeys": _KEYS}) for name in names]


def _workspace(_: Seen) -> list[tuple[str, Variables]]:
    return [("LocationWorkspaceAssetsQuery", {"name": _LOCATION}), ("InstanceHealthQuery", {})]


def _runs_feed(_: Seen) -> list[tuple[str, Variables]]:
    counted = {"queuedFilter": {"statuses": ["QUEUED"]}, "inProgressFilter": {"statuses": _OPEN[1:]}, "view": "RUNS"}
    return [
        ("RunsFeedRootQuery", {"limit": 30, "view": "RUNS"}),
        ("RunFeedTabsCountQuery", counted),
        ("RunningBackfillsNoticeQuery", {}),
    ]


def _timeline(_: Seen) -> list[tuple[str, Variables]]:
    ended = {"statuses": _ENDED, "updatedAfter": time.time() - 3600}
    return [
        ("OngoingRunTimelineQuery", {"inProgressFilter": {"statuses": _OPEN}, "limit": 100}),
        ("CompletedRunTimelineQuery", {"completedFilter": ended, "limit": 100}),
    ]


def _partitions(seen: Seen) -> list[tuple[str, Variables]]:
    year = {"assetKey": _KEY, "partitionKey": seen.year}
    return [
        ("PartitionHealthQuery", {"assetKey": _KEY}),
        ("AssetPartitionDetailQuery", year),
        ("AssetPartitionStaleQuery", year),
    ]


def _asset(_: Seen) -> list[tuple[str, Variables]]:
    kinds = ["MATERIALIZATION", "FAILED_TO_MATERIALIZE", "OBSERVATION"]
    return [
        ("AssetViewDefinitionQuery", {"assetKey": _KEY}),
        ("AssetOverviewMetadataEventsQuery", {"assetKey": _KEY}),
        ("RecentAssetEventsQuery", {"assetKey": _KEY, "eventTypeSelectors": kinds, "limit": 50}),
    ]


def _checks(_: Seen) -> list[tuple[str, Variables]]:
    return [
        ("AssetCheckPartitionHealthQuery", {"assetKey": _KEY, "checkName": "listed_photographs_were_stored"}),
    ]


def _backfill(seen: Seen) -> list[tuple[str, Variables]]:
    if seen.backfill is None:
        return []
    named = {"backfillId": seen.backfill}
    return [
        ("BackfillDetailsQuery", named),
        ("SingleBackfillQuery", named),
        ("BackfillPartitionsForAssetKey", {**named, "assetKey": _KEY}),
    ]


def _run(seen: Seen) -> list[tuple[str, Variables]]:
    if seen.run is None:
        return []
    return [("RunRootQuery", {"runId": seen.run}), ("RunLogsQuery", {"runId": seen.run, "limit": 1000})]


#: In the order in which they are opened, again and again.
PAGES: dict[str, Page] = {
    "workspace": _workspace,
    "asset graph": _asset_graph,
    "runs": _runs_feed,
    "backfill": _backfill,
    "asset": _asset,
    "partitions": _partitions,
    "check": _checks,
    "run": _run,
    "timeline": _timeline,
}


class Client:
    """Asks as a browser does: a page's queries side by side, over connections that stay open."""

    def __init__(self, address: str) -> None:
        self._address = f"{address}/graphql"
        self._queries = UiQueries()
        self._session = requests.Session()
        self._session.trust_env = False

    def ask(self, query: str, variables: Variables) -> dict[str, Any]:
        """The data of an answer. Raises SystemExit where the query is refused."""
        answer = self._session.post(self._address, json={"query": query, "variables": variables}, timeout=300).json()
        if answer.get("errors"):
            raise SystemExit(f"Dagster refuses {query.partition('(')[0]}: {answer['errors'][0]['message']}")
        data: dict[str, Any] = answer["data"]
        return data

    def launch(self, years: list[str]) -> str:
        """Launch a backfill of ``years`` as the UI does; its id."""
        asked = {"assetSelection": [_KEY], "partitionNames": years, "fromFailure": False, "tags": []}
        launched = self.ask(self._queries["LaunchPartitionBackfill"], {"backfillParams": asked})
        outcome = launched["launchPartitionBackfill"]
        if "backfillId" not in outcome:
            raise SystemExit(f"The backfill was not launched: {outcome}")
        return str(outcome["backfillId"])

    def open_page(self, page: list[tuple[str, Variables]], answers: Answers) -> None:
        """Ask what a page asks, and note how long each answer took."""
        if page:
            with ThreadPoolExecutor(len(page)) as connections:
                for name, seconds, size, failure in connections.map(lambda one: self._timed(*one), page):
                    answers.seconds[name].append(seconds)
                    answers.bytes[name] = max(answers.bytes[name], size)
                    answers.failures += [f"{name}: {failure}"] if failure else []

    def _timed(self, name: str, variables: Variables) -> tuple[str, float, int, str | None]:
        document = self._queries[name]
        start = time.perf_counter()
        asked = {"query": document, "variables": variables, "operationName": name}
        try:
            try:
                answer = self._session.post(self._address, json=asked, timeout=300)
            except requests.ConnectionError:
                # A connection that the server closed as it was used again: browsers ask once more, too.
                answer = self._session.post(self._address, json=asked, timeout=300)
        except requests.RequestException as error:
            return name, time.perf_counter() - start, 0, type(error).__name__
        seconds = time.perf_counter() - start
        problems = answer.json().get("errors") if answer.status_code == 200 else answer.status_code
        return name, seconds, len(answer.content), str(problems)[:300] if problems else None


_STATE = """query State($backfill: String!, $filter: RunsFilter!) {
  partitionBackfillOrError(backfillId: $backfill) { ... on PartitionBackfill { status } }
  runsOrError(filter: $filter, limit: 1) { ... on Runs { results { runId } } }
}"""
_PARTITIONS = """query Partitions($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { assetPartitionStatuses {
    ... on DefaultPartitionStatuses { materializedPartitions failedPartitions }
  } } }
}"""


def browse(client: Client, seen: Seen, until: Callable[[], bool]) -> Answers:
    """Open pages in turn, one a second, until ``until``."""
    answers = Answers()
    for page in itertools.cycle(PAGES.values()):
        start = time.perf_counter()
        client.open_page(page(seen), answers)
        seen.turn += 1
        if until():
            return answers
        time.sleep(max(0.0, _PAUSE - (time.perf_counter() - start)))
    raise AssertionError("a cycle does not end")


def backfilled(client: Client, years: list[str], ui: psutil.Process) -> dict[str, Any]:
    """Browse while nothing is under way, then while ``years`` are crawled."""
    idle_until = time.monotonic() + _IDLE_SECONDS
    seen = Seen(years)
    say(f"{_IDLE_SECONDS:g} s with nothing under way")
    browse(client, Seen(years), lambda: time.monotonic() > idle_until - _IDLE_SECONDS / 2)  # what is read at first
    idle = browse(client, seen, lambda: time.monotonic() > idle_until)
    cpu, start = _cpu_by_part(ui), time.monotonic()
    seen.backfill = client.launch(years)
    say(f"a backfill of {len(years)} years")
    loads: list[float] = []

    def has_ended() -> bool:
        state = client.ask(_STATE, {"backfill": seen.backfill, "filter": {"statuses": _OPEN[1:] + _ENDED}})
        runs = state["runsOrError"]["results"]
        seen.run = runs[0]["runId"] if runs else None
        loads.append(psutil.getloadavg()[0])
        if time.monotonic() - start > _PATIENCE:
            raise SystemExit(f"The backfill has not ended within {_PATIENCE:g} s.")
        return str(state["partitionBackfillOrError"]["status"]).startswith(("COMPLETED", "FAILED", "CANCELED"))

    busy = browse(client, seen, has_ended)
    seconds = time.monotonic() - start
    statuses = client.ask(_PARTITIONS, {"key": _KEY})["assetNodeOrError"]["assetPartitionStatuses"]
    used = {part: now - cpu.get(part, 0.0) for part, now in _cpu_by_part(ui).items()}
    return {
        "seconds": seconds,
        "years": len(years),
        "materialized": len(set(years) & set(statuses["materializedPartitions"])),
        "failed_years": statuses["failedPartitions"],
        "load": {"mean": statistics.mean(loads), "most": max(loads)},
        "cpu_seconds": used,
        "idle": described(idle),
        "busy": described(busy),
        "by_query": {
            when: {name: described_seconds(of_query) for name, of_query in answers.seconds.items()}
            for when, answers in (("idle", idle), ("busy", busy))
        },
        "largest_answers": dict(sorted(busy.bytes.items(), key=lambda item: -item[1])),
        "failures": [*idle.failures, *busy.failures][:20],
        "failed_queries": len(idle.failures) + len(busy.failures),
    }


def _cpu_by_part(ui: psutil.Process) -> dict[str, float]:
    """CPU seconds of the servers by what they are, each with what it has ended; runs are the code servers' children."""
    parts: dict[str, float] = collections.defaultdict(float)
    for process in [ui, *ui.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            words, times = " ".join(process.cmdline()), process.cpu_times()
            part = next((kind for word, kind in _PARTS.items() if word in words), "others")
            parts[part] += times.user + times.system
            if part == "code servers":
                parts["runs"] += times.children_user + times.children_system
    return parts


def described_seconds(seconds: list[float]) -> dict[str, float]:
    """How many there were, the median, the 95th percentile and the longest."""
    ordered = sorted(seconds)
    at = max(0, -(-95 * len(ordered) // 100) - 1)
    return {"answers": len(ordered), "p50": statistics.median(ordered), "p95": ordered[at], "max": ordered[-1]}


def described(answers: Answers) -> dict[str, float]:
    """The same of all queries together."""
    return described_seconds(answers.all_seconds())


@contextlib.contextmanager
def archive(photographs: int) -> Iterator[str]:
    """The archive in a process of its own; its address."""
    years = sorted(int(key) for key in crawl_partitions() if key.isdigit())
    span = years[-1] - years[0] + 1
    fields = {"photographs": photographs * span, "first_year": years[0], "last_year": years[-1]}
    command = [sys.executable, str(_HERE / "drawn_archive.py"), json.dumps(fields)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


@contextlib.contextmanager
def running_ui(work: Path, source: str) -> Iterator[tuple[str, psutil.Process]]:
    """`kwcolor ui` over an empty home; its address and its process."""
    years = [int(key) for key in crawl_partitions() if key.isdigit()]
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("KWCOLOR_") and not name.lower().endswith("_proxy")
    }
    environment = inherited | {
        "KWCOLOR_HOME": str(work / "home"),
        "KWCOLOR_SOURCES": "loc",
        "KWCOLOR_CONTACT": "https://example.org/benchmark",
        "KWCOLOR_LOC__BASE_URL": source,
        "KWCOLOR_LOC__COLLECTIONS": json.dumps([COLLECTION]),
        "KWCOLOR_LOC__FIRST_YEAR": str(min(years)),
        "KWCOLOR_LOC__LAST_YEAR": str(max(years)),
    }
    dagster, mlflow = _free_ports()
    ports = ["--dagster-port", str(dagster), "--mlflow-port", str(mlflow)]
    command = [sys.executable, "-c", "from kwcolor_pipeline.cli import main; main()", "ui", *ports]
    log = work / "ui.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=work, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 300
        while "Ctrl-C stops." not in log.read_text(encoding="utf-8"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"`kwcolor ui` did not come up:\n{log.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.3)
        yield f"http://127.0.0.1:{dagster}", psutil.Process(process.pid)
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(120)
        for left in (one for one in [*family, process] if isinstance(one, psutil.Process) and one.is_running()):
            with contextlib.suppress(psutil.Error):
                left.kill()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def promises_of(measured: Mapping[str, Any]) -> list[Promise]:
    """Pages answer while the years are crawled, and all of these are."""
    years = measured["years"]
    return [
        Promise.at_most(
            "p95_seconds",
            measured["busy"]["p95"],
            _BOUND,
            f"95th percentile of {measured['busy']['answers']} answers to the pages' queries while {years} years are "
            "crawled",
        ),
        Promise.at_most("failed_queries", measured["failed_queries"], 0, "queries that were refused or not answered"),
        Promise.at_least("years_materialized", measured["materialized"], years, f"of {years}"),
    ]


def main() -> int:
    """Measure and report; the exit status."""
    asked = options(__doc__ or "", photos=False).parse_args()
    years = [key for key in crawl_partitions() if key.isdigit()][: QUICK_YEARS if asked.quick else YEARS]
    with tempfile.TemporaryDirectory(prefix="kwcolor-benchmark-") as temporary:
        work = Path(temporary)
        machine = machine_facts(_PACKAGES, work)
        with archive(PHOTOGRAPHS) as source, running_ui(work, source) as (address, ui):
            measured = backfilled(Client(address), years, ui)
    say()
    rows = [["with nothing under way", *measured["idle"].values()], ["during the backfill", *measured["busy"].values()]]
    slowest = sorted(measured["by_query"]["busy"].items(), key=lambda item: -item[1]["p95"])
    say(
        table(
            ["", "answers", "p50", "p95", "max"], [*rows, *([name, *of_query.values()] for name, of_query in slowest)]
        )
    )
    say(f"load {measured['load']['mean']:.1f} on {machine['cores']} cores; CPU seconds: {measured['cpu_seconds']}")
    for failure in measured["failures"]:
        say(failure)
    scaled = [f"{len(years)} years instead of {YEARS}"] if asked.quick else []
    return conclude(asked, "backfill", promises_of(measured), measured, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
