"""Does the crawl store everything, and as fast as icrawler? The same pictures through both, three ways.

Belongs here: the three ways, the measurement and its promises. The archive that is crawled is in
`crawl_server`, the clients are in `crawl_clients`; each runs in a process of its own.

`fast`: pictures are answered at once; clients take turns, and medians of the turns count. `slow`: each
picture takes 1.5 s. `late`: the second listing page is ready 7 s after it is first asked for. icrawler is
unmodified, with its default timeouts and as many downloader threads as this project's fetcher.

Two rates are measured. `a second` counts from the start of the crawl to its return, and is what is promised.
icrawler returns at least five seconds after its last picture, so `while working` counts to the last stored
picture instead: that is what matters when a crawl takes hours and the archive answers at once.
"""

import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pictures import prepare
from report import Promise, conclude, machine_facts, options, say, table

#: Downloader threads of each client: as many as the fetcher has.
THREADS = 4
LATE_SECONDS = 7.0
SLOW_SECONDS = 1.5
#: A client is killed after this many seconds and three times what the way's delays add up to.
_PATIENCE = 60.0
_HERE = Path(__file__).resolve().parent
_PACKAGES = ("kwcolor_pipeline", "icrawler", "requests", "urllib3", "pillow")


@dataclass(frozen=True)
class Way:
    """One way in which the archive answers."""

    name: str
    pictures: int
    page_size: int
    picture_seconds: float = 0.0
    late_page: int | None = None
    turns: int = 1
    side_by_side: bool = False
    """Whether the clients run at the same time, each with an archive of its own"""

    @property
    def pages(self) -> int:
        return -(-self.pictures // self.page_size)

    @property
    def limit(self) -> float:
        """Seconds after which a client is killed: a hang shall not hang the benchmark."""
        late = LATE_SECONDS if self.late_page else 0.0
        return _PATIENCE + 3 * (self.pictures * self.picture_seconds / THREADS + late)


@dataclass(frozen=True)
class Outcome:
    """What one crawl by one client came to."""

    client: str
    stored: int
    """Pictures whose file holds exactly the bytes that were served"""
    lost: int
    other_files: int
    """Files that hold anything else, or the same picture again"""
    seconds: float
    """From the start of the crawl to its return"""
    working_seconds: float | None
    """From the start of the crawl to the last stored picture"""
    cpu_seconds: float | None
    killed: bool
    asked: dict[str, int]
    """Requests that the archive counted"""
    told: dict[str, Any]
    """What the client says itself"""

    @property
    def rate(self) -> float:
        """Stored pictures a second, to the return."""
        return self.stored / self.seconds

    @property
    def working_rate(self) -> float | None:
        """Stored pictures a second, to the last of them."""
        return self.stored / self.working_seconds if self.working_seconds else None


def ways_of(quick: bool) -> list[Way]:
    """The three ways; with ``quick`` fewer pictures, with the same delays."""
    if quick:
        return [
            Way("fast", 120, 40),
            Way("slow", 24, 24, picture_seconds=SLOW_SECONDS, side_by_side=True),
            Way("late", 120, 40, late_page=2, side_by_side=True),
        ]
    return [
        Way("fast", 500, 100, turns=5),
        Way("slow", 500, 100, picture_seconds=SLOW_SECONDS),
        Way("late", 500, 100, late_page=2),
    ]


def measure(way: Way, pictures: Sequence[Path], work: Path) -> dict[str, list[Outcome]]:
    """The outcomes of a way, by client; turns are interleaved, so that what disturbs hits all."""
    served = work / "served"
    served.mkdir()
    for path in pictures[: way.pictures]:
        os.link(path, served / path.name)
    clients = ("ours", "icrawler", "bare") if way.name == "fast" else ("ours", "icrawler")
    outcomes: dict[str, list[Outcome]] = {client: [] for client in clients}
    for turn in range(way.turns):
        with ThreadPoolExecutor(len(clients) if way.side_by_side else 1) as runners:
            for outcome in runners.map(lambda client: _crawl(way, client, served, work), clients):
                outcomes[outcome.client].append(outcome)
                say(f"{way.name} {turn + 1}/{way.turns}: {_sentence(outcome)}")
    shutil.rmtree(served)
    return outcomes


def promises_of(way: Way, outcomes: dict[str, list[Outcome]]) -> list[Promise]:
    """Nothing is lost, and no fewer are stored a second than by icrawler."""
    name, turns = way.name, "" if way.turns == 1 else f", least of {way.turns} turns"
    medians = "" if way.turns == 1 else f", medians of {way.turns} turns"
    stored = min(outcome.stored for outcome in outcomes["ours"])
    return [
        Promise.at_least(
            f"{name}_stored",
            stored,
            way.pictures,
            f"pictures that our crawl stored, files compared with what was served by sha256{turns}",
        ),
        Promise.at_least(
            f"{name}_rate_ratio",
            _ratio(*(_median(outcomes[client], "rate") for client in ("ours", "icrawler"))),
            1.0,
            f"pictures stored a second by ours over icrawler's, from start to return of the crawl{medians}",
        ),
    ]


def measured_of(way: Way, outcomes: dict[str, list[Outcome]]) -> dict[str, Any]:
    """All outcomes of a way, the medians of their rates and, where measured, the distance to the floor."""
    rates = {
        client: {"rate": _median(turns, "rate"), "working_rate": _median(turns, "working_rate")}
        for client, turns in outcomes.items()
    }
    numbers: dict[str, Any] = {"way": asdict(way), "rates": rates}
    bare = [one.told["fetched"] / one.seconds for one in outcomes.get("bare", []) if not one.killed]
    if bare:
        floor = statistics.median(bare)
        numbers["floor"] = {
            "pictures_a_second": floor,
            "ours_over_floor": _ratio(_median(outcomes["ours"], "working_rate"), floor),
            "icrawler_over_floor": _ratio(_median(outcomes["icrawler"], "working_rate"), floor),
            "how": f"one `requests` session and {THREADS} threads that fetch the same addresses and store nothing; "
            "the crawls' rates beside it are those to the last stored picture",
        }
    return numbers | {"outcomes": {client: [asdict(one) for one in turns] for client, turns in outcomes.items()}}


def table_of(measured: Sequence[tuple[Way, dict[str, list[Outcome]]]]) -> str:
    """For people: a line for each way and client; of several turns the middle one by its rate."""
    heads = ("way", "client", "listed", "stored", "lost", "seconds", "a second", "while working", "asked for", "CPU ms")
    rows = []
    for way, outcomes in measured:
        for client in ("ours", "icrawler"):
            turns = sorted(outcomes[client], key=lambda outcome: outcome.rate)
            one = turns[len(turns) // 2]
            cpu = one.cpu_seconds and one.cpu_seconds * 1000 / max(one.stored, 1)
            line = (one.seconds, one.rate, one.working_rate, one.asked["pictures"], cpu)
            rows.append((way.name, client, way.pictures, one.stored, one.lost, *line))
    return table(heads, rows) + "\n(CPU ms: of the client's process, for each stored picture)"


def main() -> int:
    """Measure and report; the exit status."""
    asked = options(__doc__ or "").parse_args()
    ways = ways_of(asked.quick)
    with tempfile.TemporaryDirectory(prefix="kwcolor-benchmark-") as folder:
        work = Path(folder)
        machine = machine_facts(_PACKAGES, work)
        pictures, what = prepare(max(way.pictures for way in ways), work / "pictures", asked.photos)
        size = statistics.mean(path.stat().st_size for path in pictures)
        say(f"{len(pictures)} {what}, {size / 1000:.0f} kB on average; {THREADS} downloader threads")
        measured = [(way, measure(way, pictures, work)) for way in ways]
    say()
    say(table_of(measured))
    numbers: dict[str, Any] = {
        "pictures": what,
        "mean_bytes": round(size),
        "threads": THREADS,
        "ways": {way.name: measured_of(way, outcomes) for way, outcomes in measured},
    }
    if floor := numbers["ways"]["fast"].get("floor"):
        say(
            f"Floor: {floor['pictures_a_second']:.0f} pictures a second without storing; "
            f"ours reaches {floor['ours_over_floor']:.2f} of it, icrawler {floor['icrawler_over_floor']:.2f}."
        )
    promises = [promise for way, outcomes in measured for promise in promises_of(way, outcomes)]
    return conclude(asked, "crawl", promises, numbers, machine, _scaled(ways) if asked.quick else ())


def _crawl(way: Way, client: str, served: Path, work: Path) -> Outcome:
    """Let ``client`` crawl an archive that was just started, and look at what it stored."""
    folder = work / f"{way.name}-{client}"
    folder.mkdir()
    with _archive(way, served) as url:
        start = time.perf_counter()
        arguments = [client, url, str(way.pages), str(THREADS), str(folder)]
        answer = _run(arguments, folder.with_suffix(".log"), work, way.limit)
        elapsed = time.perf_counter() - start
        with urllib.request.urlopen(f"{url}/counts") as counts:
            asked = json.load(counts)
    stored, other, last = _looked_at(folder, served)
    shutil.rmtree(folder)
    seconds = answer["seconds"] if answer else elapsed
    return Outcome(
        client=client,
        stored=stored,
        lost=way.pictures - stored if client != "bare" else 0,
        other_files=other,
        seconds=seconds,
        working_seconds=last - answer["started"] if answer and last else None,
        cpu_seconds=answer["cpu_seconds"] if answer else None,
        killed=answer is None,
        asked=asked,
        told=answer["told"] if answer else {},
    )


@contextlib.contextmanager
def _archive(way: Way, served: Path) -> Iterator[str]:
    """An archive in a process of its own; its address."""
    fields = {
        "folder": str(served),
        "page_size": way.page_size,
        "picture_seconds": way.picture_seconds,
        "late_page": way.late_page,
        "late_seconds": LATE_SECONDS,
    }
    command = [sys.executable, str(_HERE / "crawl_server.py"), json.dumps(fields)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def _run(arguments: Sequence[str], log: Path, work: Path, limit: float) -> dict[str, Any] | None:
    """What a client prints; None when it had to be killed after ``limit`` seconds.

    Raises SystemExit with the end of its log when the client fails.
    """
    command = [sys.executable, str(_HERE / "crawl_clients.py"), *arguments]
    with log.open("wb") as errors:
        try:
            # its own folder and environment: no settings, no proxies of the shell that the benchmark is called from
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=errors, cwd=work, env=_environment(), timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return None
    if done.returncode:
        end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise SystemExit(f"The client {arguments[0]} failed with status {done.returncode}:\n{end}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("KWCOLOR_") and not name.lower().endswith("_proxy")
    }


def _looked_at(folder: Path, served: Path) -> tuple[int, int, float | None]:
    """Served pictures that ``folder`` holds, its other files, and when the last one was written (s since 1970).

    Equal bytes need not be decoded again: what is served was decoded before it was served.
    """
    wanted = {_sha256(path) for path in served.iterdir()}
    kinds = {path.suffix for path in served.iterdir()}
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix in kinds]
    found = {_sha256(path): path.stat().st_mtime for path in files}
    stored = wanted & set(found)
    return len(stored), len(files) - len(stored), max((found[one] for one in stored), default=None)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _median(outcomes: Sequence[Outcome], rate: str) -> float | None:
    known = [value for outcome in outcomes if (value := getattr(outcome, rate)) is not None]
    return statistics.median(known) if known else None


def _ratio(one: float | None, other: float | None) -> float | None:
    """``one`` over ``other``; None where that says nothing."""
    return one / other if one is not None and other else None


def _sentence(outcome: Outcome) -> str:
    if outcome.client == "bare":
        return f"bare requests {outcome.seconds:.1f} s"
    ended = ", KILLED at the time limit" if outcome.killed else ""
    return f"{outcome.client} stored {outcome.stored}, lost {outcome.lost}, {outcome.seconds:.1f} s{ended}"


def _scaled(ways: Sequence[Way]) -> list[str]:
    sizes = ", ".join(f"{way.name} {way.pictures} in pages of {way.page_size}" for way in ways)
    return [
        f"fewer pictures: {sizes}, instead of 500 in pages of 100",
        "fast: one turn instead of 5",
        "slow and late: the two clients run at the same time instead of one after the other",
        f"not scaled: {SLOW_SECONDS} s a picture and {LATE_SECONDS:g} s for the late page, because icrawler's own "
        "waits of one and five seconds, by which it loses pictures, stay the same",
    ]


if __name__ == "__main__":
    sys.exit(main())
