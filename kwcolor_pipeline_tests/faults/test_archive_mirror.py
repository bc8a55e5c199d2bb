"""`kwcolor run` against an archive mirror: a loopback server that lists real photographs and fails as told.

The mirror and the photographs are the operator's own: KWCOLOR_TEST_MIRROR names the mirror's `serve.py`, and
KWCOLOR_TEST_PHOTOS the folder that holds `fsac_1939_1944`. A sixth of the photographs are served;
KWCOLOR_TEST_MIRROR_WHOLE=1 serves all, which takes an hour. KWCOLOR_TEST_SEED repeats the moments of the kills.
"""

import collections
import csv
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dagster as dg
import pytest

from kwcolor_pipeline.crawling.crawl import crawl_partition
from kwcolor_pipeline.crawling.pace import Pace
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.home import Home, Result
from kwcolor_pipeline.orchestration.instance import open_instance
from kwcolor_pipeline.photos.manifest import Status, crawl_partitions, read_manifest
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import load_settings

MIRROR, PHOTOS = os.environ.get("KWCOLOR_TEST_MIRROR"), os.environ.get("KWCOLOR_TEST_PHOTOS")
WHOLE = os.environ.get("KWCOLOR_TEST_MIRROR_WHOLE") == "1"
SEED = int(os.environ.get("KWCOLOR_TEST_SEED") or random.randrange(10**6))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.shared,
    pytest.mark.timeout(7200 if WHOLE else 1800),
    pytest.mark.skipif(
        not (MIRROR and PHOTOS),
        reason="set KWCOLOR_TEST_MIRROR to the archive mirror's serve.py and KWCOLOR_TEST_PHOTOS to the photographs",
    ),
]

SOURCES = ["loc", "commons", "google"]
LISTINGS = ("loc", "commons", "google")
KILLS = 10
#: Pictures that one crawl of a source has in hand at most: one for each downloader thread.
IN_HAND = 4
CONTACT = "https://example.org/me"
#: Limits that are no limits: how they are kept is a test of its own.
QUICK = {
    "KWCOLOR_LOC__REQUESTS_PER_10S": "10000",
    "KWCOLOR_LOC__REQUESTS_PER_MINUTE": "10000",
    "KWCOLOR_LOC__DOWNLOADS_PER_10S": "10000",
    "KWCOLOR_COMMONS__REQUESTS_PER_10S": "10000",
    "KWCOLOR_COMMONS__REQUESTS_PER_MINUTE": "10000",
    "KWCOLOR_GOOGLE__REQUESTS_PER_10S": "10000",
    "KWCOLOR_GOOGLE__DOWNLOADS_PER_10S": "10000",
}
#: The command, with a note of every address that the process connects to and of every name that it looks up;
#: looking up an address that is written in numbers asks nobody.
WATCHED = """
import os, sys
notes = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        os.write(notes, f"{arguments[1][0]}:{arguments[1][1]}\\n".encode())
    elif event == "socket.getaddrinfo" and any(map(str.isalpha, str(arguments[0] or ""))):
        os.write(notes, f"{arguments[0]}\\n".encode())
sys.addaudithook(watch)
from kwcolor_pipeline.cli import main
main()
"""


class Mirror:
    """The mirror in a process of its own."""

    def __init__(self, photos: Path, *options: str) -> None:
        quicker = () if WHOLE else ("--fault-share", "0.1", "--slow-seconds", "1", "--flood-mb", "100")
        command = [sys.executable, MIRROR, "--photos", str(photos), *quicker, *options]
        self.photos = photos
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = json.loads(self.process.stdout.readline())["url"]
        self.host = urlsplit(self.url).netloc

    def stats(self) -> dict:
        with urllib.request.urlopen(f"{self.url}/_mirror/stats") as answer:
            return json.load(answer)

    def listed(self) -> dict[str, dict]:
        return {name: image for name, image in self.stats()["images"].items() if image["outcome"] != "hidden"}

    def complete(self) -> dict[str, int]:
        """How often each picture was handed over to the last byte; without those that never were."""
        counts = {name: sum(image["complete"].values()) for name, image in self.listed().items()}
        return {name: count for name, count in counts.items() if count}

    def asked(self) -> set[str]:
        return {name for name, image in self.listed().items() if image["asked"]}

    def post(self, path: str, **body: object) -> dict:
        data = json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.url}/_mirror/{path}", data=data) as answer:
            return json.load(answer)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


class Crawl:
    """`kwcolor run --select crawled_photos` in processes of their own, over one home."""

    def __init__(self, root: Path, sources: str, mirror: Mirror) -> None:
        self.root, self.home, self.connections = root, Home(root / "home"), root / "connections"
        root.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("KWCOLOR_")},
            **QUICK,
            **{f"KWCOLOR_{source.upper()}__BASE_URL": mirror.url for source in SOURCES},
            "KWCOLOR_GOOGLE__ALLOW_UNKNOWN_LICENCE": "true",
            "KWCOLOR_HOME": str(self.home.root),
            "KWCOLOR_SOURCES": sources,
            "KWCOLOR_CONTACT": CONTACT,
        }

    def start(self, **settings: str) -> subprocess.Popen:
        command = [sys.executable, "-c", WATCHED, str(self.connections), "run", "--select", "crawled_photos"]
        environment = {**self.environment, **settings}
        with (self.root / "log").open("a") as log:
            return subprocess.Popen(command, cwd=self.root, env=environment, stdout=log, stderr=log)

    def finishes(self, **settings: str) -> None:
        assert self.start(**settings).wait() == 0, self.log()

    def log(self) -> str:
        return (self.root / "log").read_text()[-4000:]

    @property
    def manifests(self) -> Path:
        return self.home.manifests / "crawled_photos"

    def rows(self) -> list:
        return [row for path in sorted(self.manifests.glob("*.parquet")) for row in read_manifest(path)]

    def versions(self) -> dict[str, str]:
        return {path.stem: Result.read(path).data_version for path in self.manifests.glob("*.json")}

    def outcomes(self) -> list[tuple]:
        """What has to be the same however often the crawl was interrupted."""
        return [
            (path.stem, row.source, row.source_id, row.file_url, row.photo_id, outcome_of(row))
            for path in sorted(self.manifests.glob("*.parquet"))
            for row in read_manifest(path)
        ]

    def recorded(self) -> set[str]:
        """Photographs that have a row, in a manifest or in a journal; a line that a kill has torn is none."""
        journals = [line for path in self.manifests.glob("*.journal.jsonl") for line in path.read_bytes().split(b"\n")]
        urls = [json.loads(line)["file_url"] for line in journals if line.endswith(b"}")]
        return {name_of(url) for url in [*urls, *(row.file_url for row in self.rows())]}

    def reported_hosts(self) -> set[str]:
        """The hosts that the asset's metadata name."""
        with open_instance(load_settings(home=self.home.root)) as instance:
            query = dg.AssetRecordsFilter(dg.AssetKey("crawled_photos"))
            events = instance.fetch_materializations(query, limit=1000).records
        tables = [event.asset_materialization.metadata["hosts"].value for event in events]
        return {host for text in tables for host in re.findall(r"^\| (\S+) \| \d", text, re.MULTILINE)}


def outcome_of(row) -> str:
    """As the mirror writes it: `stored`, `rejected:corrupt` and the like."""
    return ":".join(filter(None, [row.status, (row.reason or "").partition(":")[0]]))


def name_of(file_url: str) -> str:
    """The mirror's name of a photograph, from its address `/image/<name>/…`."""
    return unquote(re.search(r"/image/([^/]+)/", file_url)[1])


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = Path(PHOTOS) / "fsac_1939_1944"
    return folder if WHOLE else every(6, folder, tmp_path_factory.mktemp("photos"))


def every(step: int, folder: Path, target: Path) -> Path:
    """A copy of a part of the folder: the mirror serves nothing that lies outside of it."""
    with (folder / "index.csv").open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))[::step]
    with (target / "index.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        (target / row["file"]).parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / row["file"], target / row["file"])
    return target


@pytest.fixture
def serve(photos, tmp_path, monkeypatch):
    """Starts a mirror with options; it ends with the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))  # open_instance sets it; this gives it back
    mirrors = []

    def start(*options: str) -> Mirror:
        mirrors.append(Mirror(photos, *options))
        return mirrors[-1]

    yield start
    for mirror in mirrors:
        mirror.stop()


# --- what has to hold after any crawl ---


def check_outcomes(mirror: Mirror, crawl: Crawl, sources: list[str]) -> None:
    """Every photograph has one row of each source, with the outcome that the mirror expects; none has failed."""
    listed, rows = mirror.listed(), crawl.rows()
    for source in sources:
        names = [name_of(row.file_url) for row in rows if row.source == source]
        assert sorted(names) == sorted(listed)
    wrong = []
    for row in rows:
        name, outcome = name_of(row.file_url), outcome_of(row)
        expected = listed[name]["outcome"]
        # Copies are told by their looks in the next asset: those of one crawl have addresses of their own.
        if outcome != expected and not (expected == "rejected:duplicate" and outcome == "stored"):
            wrong.append((name, listed[name]["fault"], expected, outcome))
    assert wrong == []


def check_store(mirror: Mirror, crawl: Crawl) -> None:
    """The store holds what the rows say, byte for byte what the archive has, and nothing else."""
    stored = [row for row in crawl.rows() if row.status == Status.STORED]
    store = PhotoStore(crawl.home.photos)
    # A process that is killed while it writes leaves a hidden part, which nobody reads.
    files = {path for path in crawl.home.photos.rglob("*") if path.is_file() and not path.name.startswith(".")}
    assert files == {store.find(row.photo_id) for row in stored}
    assert store.damaged() == []
    with (mirror.photos / "index.csv").open(newline="", encoding="utf-8-sig") as handle:
        originals = {row["id"]: mirror.photos / row["file"] for row in csv.DictReader(handle)}
    for row in stored:
        name = name_of(row.file_url).removesuffix("-exact")
        if not name.endswith("-resized"):
            assert row.photo_id == hashlib.sha256(originals[name].read_bytes()).hexdigest()


def check_manners(mirror: Mirror, crawl: Crawl) -> None:
    """Nothing was asked for too early, against robots.txt or the client's name, or anywhere else."""
    stats = mirror.stats()
    assert stats["tripwire"] == []
    assert [name for name, image in stats["images"].items() if image["early_retries"]] == []
    forbidden = {name for name, image in stats["images"].items() if image["outcome"] == "rejected:robots"}
    assert forbidden
    assert not forbidden & mirror.asked()
    assert "restricted" not in stats["requests"]
    assert all(CONTACT in client for client in stats["clients"])
    kinds = {kind: counts["max_concurrency"] for kind, counts in stats["requests"].items() if kind in LISTINGS}
    assert set(kinds.values()) == {1}
    assert {urlsplit(row.file_url).netloc for row in crawl.rows()} == {mirror.host}
    assert set(crawl.connections.read_text().split()) == {mirror.host}


def told(**figures: object) -> None:
    """Figures for a person who runs the tests with `-rP`."""
    print(json.dumps(figures, default=str))


# --- nothing is lost, whatever the network does ---


@pytest.mark.parametrize("faults", ["flaky", "hostile"])
@pytest.mark.parametrize("sources", [*SOURCES, ",".join(SOURCES)])
def test_every_photograph_ends_as_it_should(serve, tmp_path, sources, faults):
    mirror = serve("--faults", faults)
    crawl = Crawl(tmp_path / "crawl", sources, mirror)
    began = time.monotonic()
    crawl.finishes()
    told(sources=sources, faults=faults, seconds=round(time.monotonic() - began, 1), rows=len(crawl.rows()))
    told(outcomes=collections.Counter(map(outcome_of, crawl.rows())))
    told(requests={kind: counts["statuses"] for kind, counts in mirror.stats()["requests"].items()})
    check_outcomes(mirror, crawl, sources.split(","))
    check_store(mirror, crawl)
    check_manners(mirror, crawl)
    assert crawl.reported_hosts() == {mirror.host}
    # Once from each address that it was stored from; what is refused may be asked for by every source.
    stored = {row.file_url for row in crawl.rows() if row.status == Status.STORED}
    refused = [row.file_url for row in crawl.rows() if row.status == Status.REJECTED]
    allowed = collections.Counter(map(name_of, [*stored, *refused]))
    assert {name: count for name, count in mirror.complete().items() if count > allowed[name]} == {}


@pytest.mark.parametrize("source", SOURCES)
def test_a_crawl_that_is_killed_ten_times_ends_like_any_other(serve, tmp_path, source):
    told(seed=SEED)
    chance, mirror = random.Random(f"{SEED} {source}"), serve("--faults", "flaky,hostile")
    undisturbed = Crawl(tmp_path / "undisturbed", source, mirror)
    undisturbed.finishes()
    mirror.post("reset")

    crawl = Crawl(tmp_path / "killed", source, mirror)
    in_hand: collections.Counter[str] = collections.Counter()
    for kills_left in range(KILLS, 0, -1):
        in_hand.update(killed(crawl, mirror, chance, kills_left))
    crawl.finishes()
    assert crawl.outcomes() == undisturbed.outcomes()
    check_outcomes(mirror, crawl, [source])
    check_store(mirror, crawl)
    check_manners(mirror, crawl)
    twice = {name: count for name, count in mirror.complete().items() if count > 1}
    told(source=source, kills=KILLS, in_hand=in_hand, complete_again=twice)
    assert {name: count for name, count in twice.items() if count > 1 + in_hand[name]} == {}


def killed(crawl: Crawl, mirror: Mirror, chance: random.Random, kills_left: int) -> set[str]:
    """Kill the crawl after some more pictures; those that were handed over and are in no row yet."""
    asked = len(mirror.asked())
    enough = asked + chance.randint(1, max(1, (len(mirror.listed()) - asked) // (kills_left + 1)))
    process = crawl.start()
    try:
        while len(mirror.asked()) < enough:
            assert process.poll() is None, f"ended before it could be killed: {crawl.log()}"
            time.sleep(0.03)
        time.sleep(chance.uniform(0, 0.2))
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    time.sleep(0.5)  # what was sent before the kill is still answered
    in_hand = set(mirror.complete()) - crawl.recorded()
    assert len(in_hand) <= IN_HAND
    return in_hand


# --- no faster than the archive allows, and hardly slower ---


def test_the_librarys_limits_are_kept_and_used(serve, tmp_path, monkeypatch):
    limits = ("loc=20/10/300", "item=10/10/300", "image=40/10/300")
    mirror = serve(*(word for limit in limits for word in ("--rate-limit", limit)))
    waits: list[float] = []
    monkeypatch.setattr("kwcolor_pipeline.crawling.fetcher.Pace", with_waits_noted(waits))
    for name in [name for name in os.environ if name.startswith("KWCOLOR_") and "_TEST_" not in name]:
        monkeypatch.delenv(name)
    settings = load_settings(home=tmp_path / "home", contact=CONTACT, loc={"base_url": mirror.url})
    sources = open_sources(["loc"], settings, target=False)
    began, rows = time.monotonic(), []
    for key in crawl_partitions():
        if sources[0].covers([key]):
            rows += read_manifest(crawl_partition(settings, sources, "crawled_photos", key, edition="one").manifest)
    seconds = time.monotonic() - began

    stats = mirror.stats()
    statuses = {kind: counts["statuses"] for kind, counts in stats["requests"].items()}
    assert [kind for kind, counts in statuses.items() if "429" in counts] == []
    pictures = statuses["image"]["200"]
    assert pictures == sum(row.status == Status.STORED for row in rows) == len(rows) - 3
    # 40 pictures in any ten seconds: the first 40 at once, the 41st after ten seconds, the 81st after twenty …
    floor = (pictures - 1) // 40 * 10
    times = [row.retrieved_at for row in rows if row.status == Status.STORED]
    span = (max(times) - min(times)).total_seconds()
    told(pictures=pictures, floor=floor, seconds=seconds, ratio=seconds / floor, span=span, of_span=span / floor)
    told(waited=sum(waits) / IN_HAND / floor)
    # How long the machine takes for its own work decides nothing here: only what the limiter made the threads wait.
    assert sum(waits) / IN_HAND <= 1.15 * floor


def with_waits_noted(waits: list[float]) -> type[Pace]:
    """Limiters that note how many seconds they make the threads wait before a picture."""

    class Event:
        def __init__(self, event):
            self.event, self.is_set = event, event.is_set

        def wait(self, seconds):
            waits.append(seconds)
            return self.event.wait(seconds)

    class Noted(Pace):
        def __init__(self, folder, name, limits):
            super().__init__(folder, name, limits)
            self.is_noted = name.endswith("pictures")

        def turn(self, host, stop):
            return super().turn(host, Event(stop) if self.is_noted else stop)

    return Noted


# --- a crawl that is repeated fetches what is new ---


@pytest.mark.parametrize("source", SOURCES)
def test_only_what_was_added_is_fetched(serve, tmp_path, source):
    mirror = serve("--hold-back", "25")
    crawl = Crawl(tmp_path / "crawl", source, mirror)
    crawl.finishes()
    before, already = crawl.versions(), mirror.complete()
    assert set(already.values()) == {1}

    mirror.post("reset", only="counters")
    added = set(mirror.post("grow", count=25)["revealed"])
    assert len(added) == 25
    crawl.finishes()
    assert mirror.complete() == dict.fromkeys(added, 1)
    assert mirror.asked() == added
    rows = {path.stem: read_manifest(path) for path in crawl.manifests.glob("*.parquet")}
    grown = {key for key, found in rows.items() if added & {name_of(row.file_url) for row in found}}
    after = crawl.versions()
    assert {key for key in after if after[key] != before[key]} == grown

    mirror.post("reset", only="counters")
    crawl.finishes()
    assert mirror.asked() == set()
    assert crawl.versions() == after

    mirror.post("reset", only="counters")
    crawl.finishes(KWCOLOR_DOWNLOAD__RECHECK_DAYS="0")
    assert mirror.complete() == {}
    confirmed = {name: image["not_modified"] for name, image in mirror.listed().items() if image["asked"]}
    assert confirmed == dict.fromkeys({*already, *added}, 1)
    assert crawl.versions() == after
    check_outcomes(mirror, crawl, [source])
    check_manners(mirror, crawl)
