"""How do time, memory and bytes grow with the number of photographs?

Belongs here: the sizes, the stages of each, what is measured of a stage, and the fitted growth. The archive is in
`drawn_archive`; the stages are the package's assets, each materialized as `kwcolor run` does, in a process of its own.

Of each size: drawn photographs of 21 years (320 x 240, one in ten a copy of another year's) are crawled over HTTP from
a loopback imitation of the Library of Congress without its limits, deduplicated by their hashes, curated, made into
pairs and these checked; then every year is crawled once more with nothing new. Deduplication's second look is off, as
docs/operations.md advises for many photographs, and is measured last, up to `--second-look` photographs.

With `--work FOLDER` each size keeps its home there, and a stage that was finished is not measured again: what was
interrupted is gone on with by the same command. `exponent` is the slope of the logarithms, fitted over all sizes and
between the two largest: 1 where twice as many photographs cost twice as much.
"""

import argparse
import contextlib
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
from drawn_archive import COLLECTION, COPIES
from report import Promise, conclude, machine_facts, options, say, table

from kwcolor_pipeline.home import Home, write_json
from kwcolor_pipeline.settings import Settings, load_settings

#: Years that the photographs are spread over; fewer where time is short, since each year is a run of Dagster's.
YEARS, QUICK_YEARS = range(1935, 1956), range(1951, 1956)
SIZES = (1_000, 10_000, 100_000)
QUICK_SIZES = (150, 600)
_PAGE_SIZE = 150
_HERE = Path(__file__).resolve().parent
_PACKAGES = ("kwcolor_pipeline", "dagster", "pillow", "imagehash", "pyarrow", "numpy")
#: Seconds between two looks at the memory of a stage's processes.
_LOOK = 0.5

#: What each stage makes, below the home: removed before it is measured again after an interruption.
STAGES = {
    "crawled_photos": (".",),
    "deduplicated_photos": ("manifests/deduplicated_photos", "reports/deduplicated_photos"),
    "curated_photos": ("manifests/curated_photos",),
    "grayscale_pairs": ("pairs",),
    "nothing_new": (),
    "second_look": (
        "manifests/deduplicated_photos/embeddings.parquet",
        "manifests/deduplicated_photos/comparisons.parquet",
    ),
}
#: What lies in a home, by kind: the first pattern that a file's path below the home matches.
KINDS = {
    "photographs": "photos/*/*",
    "manifests of the crawl": "manifests/crawled_photos/*",
    "hashes": "manifests/deduplicated_photos/hashes.parquet",
    "embeddings": "manifests/deduplicated_photos/embeddings.parquet",
    "comparisons": "manifests/deduplicated_photos/comparisons.parquet",
    "clusters": "manifests/deduplicated_photos/*",
    "curation": "manifests/curated_photos/*",
    "shards": "pairs/*/*.tar",
    "index and splits": "pairs/*",
    "pages": "reports/*/*",
    "listings, for a day": "network/*/*/*",
    "Dagster's history": "dagster/*",
    "others": "*",
}


def settings_of(home: Path, url: str, years: range, second_look: bool) -> Settings:
    """The settings of every stage; only the source's address and the second look differ from the defaults."""
    return load_settings(
        home=home,
        sources=["loc"],
        korean_war_sources=[],
        contact="https://example.org/benchmark",
        loc={
            "base_url": url,
            "collections": [COLLECTION],
            "first_year": years[0],
            "last_year": years[-1],
            "page_size": _PAGE_SIZE,
        },
        near_duplicates={"second_look": second_look},
    )


def perform(stage: str, home: str, url: str, first_year: str, last_year: str) -> int:
    """What the process of a stage does: materialize, and print what it took."""
    import dagster as dg

    from kwcolor_pipeline.assets import crawl_result
    from kwcolor_pipeline.crawling import fetcher  # noqa: F401 - the crawl imports it late; not on the clock here
    from kwcolor_pipeline.crawling.sources.base import Limits
    from kwcolor_pipeline.crawling.sources.loc import LocSource
    from kwcolor_pipeline.definitions import build_definitions
    from kwcolor_pipeline.orchestration.incremental import Outcome, Step, execute
    from kwcolor_pipeline.orchestration.instance import open_instance
    from kwcolor_pipeline.orchestration.partitions import CRAWLED_YEARS
    from kwcolor_pipeline.photos.curation import curate_is_current
    from kwcolor_pipeline.photos.near_duplicates import deduplicate_is_current
    from kwcolor_pipeline.photos.pairs import make_pairs_is_current

    span = range(int(first_year), int(last_year) + 1)
    settings = settings_of(Path(home), url, span, stage == "second_look")
    years = [str(year) for year in reversed(span)]

    def unlimited(*_: Any, **__: Any) -> list[LocSource]:
        """The Library's source without the Library's limits: they would be all that is measured."""
        source = LocSource(settings.loc, CRAWLED_YEARS.get_partition_keys(), target=False)
        source.page_limits, source.picture_limits = Limits(at_once=1), Limits(at_once=4)
        return [source]

    definitions, outcome = build_definitions(settings), Outcome()
    with open_instance(settings) as instance, mock.patch.object(crawl_result, "open_sources", unlimited):
        before = _memory()
        start, cpu = time.perf_counter(), _cpu_seconds()
        if stage in ("crawled_photos", "nothing_new"):
            for year in years:
                execute(definitions, instance, Step("one_year", ("crawled_photos",), year), outcome, f"{stage} {year}")
        if stage == "nothing_new":
            stand = [asked(settings) for asked in (deduplicate_is_current, curate_is_current, make_pairs_is_current)]
            outcome.problems += [] if all(stand) else [f"something changed: {stand}"]
        elif stage != "crawled_photos":
            asset = "deduplicated_photos" if stage == "second_look" else stage
            execute(definitions, instance, Step("after_the_crawl", (asset,)), outcome, stage)
        seconds, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
        peak = _memory()
        if outcome.failed or outcome.problems:
            raise SystemExit(f"{stage} failed: {' '.join(outcome.problems)}")
        steps: dict[str, float] = {}
        for record in instance.get_run_records(limit=len(years) if "new" in stage or "crawl" in stage else 1):
            for step in instance.get_run_step_stats(record.dagster_run.run_id):
                if step.start_time and step.end_time:
                    steps[step.step_key] = steps.get(step.step_key, 0.0) + step.end_time - step.start_time
        largest = max(
            len(dg.serialize_value(entry).encode())
            for record in instance.get_run_records()
            for entry in instance.all_logs(record.dagster_run.run_id)
        )
    facts = {"seconds": seconds, "cpu_seconds": cpu, "mib_before": before, "mib_peak": peak, "steps": steps}
    print(json.dumps({**facts, "largest_event": largest}), flush=True)
    return 0


def _cpu_seconds() -> float:
    """Of this process and of those that it has ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _memory() -> float:
    """Largest resident memory of this process so far in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


class Memory(threading.Thread):
    """Looks now and then at how much memory a process and its children hold; pages that they share count once."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(process)
        self._ended = threading.Event()
        self.most = 0.0

    def run(self) -> None:
        while not self._ended.wait(_LOOK):
            with contextlib.suppress(psutil.Error):
                family = [self._process, *self._process.children(recursive=True)]
                self.most = max(self.most, sum(map(_proportional, family)) / 2**20)

    def end(self) -> float:
        """The most that was seen, in MiB."""
        self._ended.set()
        self.join()
        return self.most


def _proportional(process: psutil.Process) -> int:
    """Memory of a process in bytes, of what it shares its part only where the system tells that."""
    try:
        full = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(full, "pss", full.rss))


def measure(stage: str, home: Path, url: str, years: range) -> dict[str, Any]:
    """A stage in a process of its own. Raises SystemExit where it fails."""
    asked = _counts(url)
    command = [sys.executable, __file__, "--stage", stage, str(home), url, str(years[0]), str(years[-1])]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KWCOLOR_")}
    log = home.with_name(f"{stage}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    # A folder without a kwcolor.toml.
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=log.parent, env=environment) as process,
    ):
        memory = Memory(process.pid)
        memory.start()
        printed, _ = process.communicate()
        most = memory.end()
    if process.returncode:
        raise SystemExit(f"{stage} ended with status {process.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
    answer: dict[str, Any] = json.loads(printed)
    answer["mib_peak"] = max(answer["mib_peak"], most)
    return answer | {"requests": {what: count - asked[what] for what, count in _counts(url).items()}}


def _counts(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/counts") as answer:
        counts: dict[str, int] = json.load(answer)
    return counts


@contextlib.contextmanager
def archive(count: int, years: range, port: int) -> Iterator[str]:
    """The archive in a process of its own; its address."""
    fields = {"photographs": count, "first_year": years[0], "last_year": years[-1], "port": port}
    command = [sys.executable, str(_HERE / "drawn_archive.py"), json.dumps(fields)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            url = server.stdout.readline().strip()
            if not url:
                raise SystemExit(f"The archive cannot use port {port}, at which it was crawled before; free it.")
            yield url
        finally:
            server.terminate()


def of_size(count: int, folder: Path, years: range, second_look: bool) -> dict[str, Any]:
    """All stages of ``count`` photographs, those that ``folder`` does not know to be finished measured now."""
    home, kept = folder / "home", folder / "measured.json"
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"port": 0, "stages": {}}
    # Addresses of photographs hold the port: at another port they would be other photographs.
    with archive(count, years, known["port"]) as url:
        known["port"] = int(url.rpartition(":")[2])
        for stage, made in STAGES.items():
            if stage in known["stages"] or (stage == "second_look" and not second_look):
                continue
            for path in (home / name for name in made):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            known["stages"][stage] = measure(stage, home, url, years)
            known["stages"][stage]["load"] = round(psutil.getloadavg()[0], 2)
            known["disk"] = on_disk(Home(home))
            write_json(kept, known)
            done = known["stages"][stage]
            took = f"{done['seconds']:.1f} s, CPU {done['cpu_seconds']:.1f} s, {done['mib_peak']:.0f} MiB"
            say(f"{count:>9,} {stage}: {took}")
    return {"photographs": count, "years": len(years), "stages": known["stages"], "disk": known["disk"]}


def on_disk(home: Home) -> dict[str, dict[str, int]]:
    """Files, their bytes and the bytes that the file system gave them, by kind."""
    kinds = {kind: {"files": 0, "bytes": 0, "allocated": 0} for kind in KINDS}
    for folder, _, names in os.walk(home.root):
        for path in (Path(folder, name) for name in names):
            below = path.relative_to(home.root)
            kind = next(kind for kind, pattern in KINDS.items() if _matches(below, pattern))
            status = path.stat()
            found = {"files": 1, "bytes": status.st_size, "allocated": status.st_blocks * 512}
            kinds[kind] = {what: kinds[kind][what] + value for what, value in found.items()}
    return {kind: found for kind, found in kinds.items() if found["files"]}


def _matches(below: Path, pattern: str) -> bool:
    """Whether the path begins as ``pattern`` does: what lies deeper belongs to it as well."""
    parts = Path(pattern).parts
    return any(Path(*below.parts[:deep]).match(pattern) for deep in range(len(parts), len(below.parts) + 1))


def exponents(sizes: Sequence[float], values: Sequence[float]) -> dict[str, float] | None:
    """Slope of log(value) over log(size) by least squares, and between the two last sizes; None without two."""
    points = [(math.log(size), math.log(value)) for size, value in zip(sizes, values, strict=True) if value > 0]
    if len(points) < 2:
        return None
    middle = [sum(axis) / len(points) for axis in zip(*points, strict=True)]
    run = sum((x - middle[0]) ** 2 for x, _ in points)
    rise = sum((x - middle[0]) * (y - middle[1]) for x, y in points)
    (x0, y0), (x1, y1) = points[-2:]
    return {"all": rise / run, "last": (y1 - y0) / (x1 - x0)}


def growth(measured: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """The exponents of CPU seconds, seconds and memory of each stage, and of the bytes of each kind."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for stage in STAGES:
        rows = [(one["photographs"], one["stages"][stage]) for one in measured if stage in one["stages"]]
        sizes = [count for count, _ in rows]
        quantities = {
            "cpu_seconds": [done["cpu_seconds"] for _, done in rows],
            "seconds": [done["seconds"] for _, done in rows],
            "memory": [done["mib_peak"] - done["mib_before"] for _, done in rows],
        }
        found[stage] = {name: fit for name, values in quantities.items() if (fit := exponents(sizes, values))}
    for kind in KINDS:
        rows = [(one["photographs"], one["disk"][kind]) for one in measured if kind in one["disk"]]
        fit = exponents([count for count, _ in rows], [found_there["bytes"] for _, found_there in rows])
        found[kind] = {"bytes": fit} if fit else {}
    return {name: fits for name, fits in found.items() if fits}


def promises_of(measured: Sequence[Mapping[str, Any]], fits: Mapping[str, Any], quick: bool) -> list[Promise]:
    """Nothing grows faster than the photographs, and what each of them costs beside its own bytes stays small."""
    largest = measured[-1]
    count, stages, disk = largest["photographs"], largest["stages"], largest["disk"]
    # What every run costs, however few photographs it has, hides growth between sizes as small as these.
    bound = 1.5 if quick else 1.15
    hashed = {stage: fits[stage] for stage in STAGES if stage in fits and stage != "second_look"}
    steepest = max((fits["cpu_seconds"]["last"] for fits in hashed.values()), default=None)
    steepest_memory = max((fits["memory"]["last"] for fits in hashed.values() if "memory" in fits), default=None)
    beside = sum(disk[kind]["bytes"] for kind in disk if kind not in ("photographs", "shards", "Dagster's history"))
    crawl, again = stages["crawled_photos"]["requests"], stages["nothing_new"]["requests"]
    years = largest["years"]
    pages = sum(max(1, -(-len(range(year, count, years)) // _PAGE_SIZE)) for year in range(years))
    memory = max(done["mib_peak"] - done["mib_before"] for name, done in stages.items() if name != "second_look")
    between = "between the two largest sizes"
    # Every year twice, and one run for each other stage.
    runs = 2 * years + len(stages.keys() - {"crawled_photos", "nothing_new"})
    return [
        Promise.at_most("cpu_exponent", steepest, bound, f"steepest growth of a stage's CPU seconds {between}"),
        Promise.at_most("memory_exponent", steepest_memory, bound, f"the same of memory above what it loads {between}"),
        Promise.at_most(
            "memory_kib_each",
            memory * 1024 / count,
            1024 if quick else 32,
            f"largest memory of a stage above what it loads, for each of {count:,} photographs",
        ),
        Promise.at_most(
            "bytes_each_beside_pictures",
            beside / count,
            40_000 if quick else 4_000,
            "bytes on disk beside photographs, pairs and Dagster's history",
        ),
        Promise.at_most(
            "history_bytes_a_run",
            disk["Dagster's history"]["bytes"] / runs,
            500_000,
            f"bytes of Dagster's history for each of {runs} runs, however many photographs they were about",
        ),
        Promise.at_most(
            "requests",
            sum(crawl.values()),
            count + pages + years,
            "requests of the crawl: pictures, listings, robots.txt",
        ),
        Promise.at_most("requests_again", sum(again.values()), pages, "requests of a crawl that finds nothing new"),
        Promise.at_most("largest_event", max(done["largest_event"] for done in stages.values()), 200 * 1024, "bytes"),
    ]


def tables(measured: Sequence[Mapping[str, Any]], fits: Mapping[str, Any]) -> str:
    """For people: a line for each stage and for each kind of file."""
    heads = ["stage", *(f"{name} {one['photographs']:,}" for one in measured for name in ("s", "CPU ms each", "MiB"))]
    rows: list[list[Any]] = []
    for stage in STAGES:
        row: list[Any] = [stage]
        for one in measured:
            done = one["stages"].get(stage)
            cells = [done["seconds"], done["cpu_seconds"] * 1000 / one["photographs"], done["mib_peak"]] if done else []
            row += cells or [None] * 3
        fit = fits.get(stage, {})
        rows.append([*row, *(fit.get(what, {}).get("last") for what in ("cpu_seconds", "memory"))])
    stages = table([*heads, "CPU exponent", "memory exponent"], rows)
    heads = ["bytes a photograph", *(f"{one['photographs']:,}" for one in measured), "exponent"]
    rows = [
        [
            kind,
            *(one["disk"].get(kind, {"bytes": 0})["bytes"] / one["photographs"] for one in measured),
            fits.get(kind, {}).get("bytes", {}).get("last"),
        ]
        for kind in KINDS
        if any(kind in one["disk"] for one in measured)
    ]
    return f"{stages}\n\n{table(heads, rows)}"


def _sizes(text: str) -> list[int]:
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is no list of numbers such as 1000,10000") from error
    if sizes[0] < 3 * COPIES:
        raise argparse.ArgumentTypeError(f"{sizes[0]} photographs are too few")
    return sizes


def main() -> int:
    """Measure and report; the exit status."""
    if sys.argv[1:2] == ["--stage"]:
        return perform(*sys.argv[2:])
    parser = options(__doc__ or "", photos=False)
    parser.add_argument("--sizes", type=_sizes, metavar="N,N", help=f"numbers of photographs; {SIZES} by default")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="keep homes and measurements here, and go on there")
    parser.add_argument(
        "--second-look", type=int, default=10_000, metavar="N", help="measure the second look up to N photographs"
    )
    asked = parser.parse_args()
    sizes = asked.sizes or list(QUICK_SIZES if asked.quick else SIZES)
    with tempfile.TemporaryDirectory(prefix="kwcolor-benchmark-") as temporary:
        work = (asked.work or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        machine = machine_facts(_PACKAGES, work)
        years = QUICK_YEARS if asked.quick else YEARS
        measured = [of_size(count, work / str(count), years, count <= asked.second_look) for count in sizes]
    fits = growth(measured)
    say()
    say(tables(measured, fits))
    fewer = f"{' and '.join(f'{size:,}' for size in sizes)} photographs of {len(years)} years instead of {len(YEARS)}"
    scaled = [fewer] if asked.quick else []
    numbers = {"sizes": measured, "exponents": fits, "picture": "320 x 240 JPEG, one in ten a copy"}
    return conclude(asked, "scale", promises_of(measured, fits, asked.quick), numbers, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
