"""The crawl of an archive that misbehaves, killed (SIGKILL) at ten random moments, ends like any other.

KWCOLOR_TEST_SEED repeats the moments, which a failure prints.
"""

import collections
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kwcolor_pipeline.home import Home
from kwcolor_pipeline.photos.manifest import Status, read_manifest
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline_tests.servers.loc_imitation import Library, Photo, picture, png_bomb, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SEED = int(os.environ.get("KWCOLOR_TEST_SEED") or random.randrange(10**6))
KILLS = 10
#: Pictures that a crawl has in hand at most: one for each downloader thread.
IN_HAND = 4
#: The limiter's window, long enough to reach from one process into the next: so many pictures in so many seconds.
COUNT, SECONDS = 10, 4.0
#: What may lie between the limiter's count of a request and the server's.
ON_THE_WAY = 0.5
YEARS = ("1943", "1941")
CRAWL = """
import sys
from kwcolor_pipeline.crawling.crawl import crawl_partition
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.crawling.sources.base import Limits
from kwcolor_pipeline.settings import load_settings
count, seconds, *years = sys.argv[1:]
settings = load_settings()
sources = open_sources(["loc"], settings, False)
sources[0].picture_limits = Limits(((int(count), float(seconds)),), at_once=4)
for year in years:
    crawl_partition(settings, sources, "crawled_photos", year)
"""


class Crawl:
    """Both years' crawl in processes of their own, over one home."""

    def __init__(self, root: Path, library: Library, count: int = COUNT) -> None:
        self.root, self.home, self.count = root, Home(root / "home"), count
        root.mkdir()
        loc = {"base_url": library.url, "collections": ["collections/test"], "requests_per_10s": 10_000}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("KWCOLOR_")},
            "KWCOLOR_HOME": str(self.home.root),
            "KWCOLOR_CONTACT": "https://example.org/me",
            "KWCOLOR_LOC": json.dumps({**loc, "requests_per_minute": 10_000}),
            "KWCOLOR_DOWNLOAD__MAX_BYTES": "2000000",
        }

    def start(self) -> subprocess.Popen:
        command = [sys.executable, "-c", CRAWL, str(self.count), str(SECONDS), *YEARS]
        with (self.root / "log").open("a") as log:
            return subprocess.Popen(command, cwd=self.root, env=self.environment, stdout=log, stderr=log)

    def finishes(self) -> None:
        assert self.start().wait() == 0, self.log()

    def log(self) -> str:
        return (self.root / "log").read_text()[-4000:]

    @property
    def manifests(self) -> Path:
        return self.home.manifests / "crawled_photos"

    def rows(self) -> list[dict]:
        rows = [row for year in YEARS for row in read_manifest(self.manifests / f"{year}.parquet")]
        return [row.model_dump(exclude={"retrieved_at", "checked_at"}) for row in rows]

    def recorded(self) -> set[str]:
        """Photographs that have a row, in a manifest or in a journal; a line that a kill has torn is none."""
        journals = [line for path in self.manifests.glob("*.jsonl") for line in path.read_bytes().split(b"\n")]
        return {json.loads(line)["source_id"] for line in journals if line.endswith(b"}")} | {
            row["source_id"] for row in self.rows()
        }


@pytest.fixture
def library():
    large = picture(200, (300, 200))
    odd = [
        *(Photo(name, data=large, behaviour=name) for name in ("429", "503", "500", "truncated", "reset")),
        *(Photo(name, behaviour=name) for name in ("404", "loop", "endless")),
        Photo("html", data=b"<html>not here</html>"),
        Photo("bomb", data=png_bomb(), content_type="image/png"),
        Photo("none"),
        Photo("half", data=large[: len(large) // 2]),
        Photo("noai", data=large, headers={"X-Robots-Tag": "noai"}),
        Photo("elsewhere", behaviour="redirect", location="http://169.254.169.254/latest/meta-data/"),
        Photo("moved", behaviour="redirect", location="/image/p0000/full.jpg"),
    ]
    with serve(Library(picture_seconds=0.05)) as library:
        library.add(35)
        library.photos += odd
        library.add(20, date="1941", years=(1941, 1941))
        random.Random(1).shuffle(library.photos)
        yield library


def test_a_crawl_that_is_killed_ten_times_ends_like_any_other(library, tmp_path):
    print("seed", SEED)
    undisturbed = Crawl(tmp_path / "undisturbed", library, count=10_000)
    undisturbed.finishes()
    needed = library.pictures_asked()
    library.forget()
    library.times.clear()

    crawl, chance = Crawl(tmp_path / "killed", library), random.Random(SEED)
    in_hand: collections.Counter[str] = collections.Counter()
    for kills_left in range(KILLS, 0, -1):
        in_hand.update(killed(crawl, library, chance, kills_left))
    crawl.finishes()

    assert crawl.rows() == undisturbed.rows()
    assert len(crawl.rows()) == len(library.photos)
    assert {row["status"] for row in crawl.rows()} == {Status.STORED, Status.REJECTED}
    assert not list(crawl.manifests.glob("*.jsonl"))
    assert PhotoStore(crawl.home.photos).damaged() == []
    # Only what a killed process had in hand was asked for once more.
    more = {name: count for name, count in library.pictures_asked().items() if count > needed[name]}
    assert {name: count for name, count in more.items() if count > needed[name] * (1 + in_hand[name])} == {}
    times = sorted(time for path, asked in library.times.items() if path.startswith("/image/") for time in asked)
    assert all(later - early >= SECONDS - ON_THE_WAY for early, later in zip(times, times[COUNT:], strict=False))


def killed(crawl: Crawl, library: Library, chance: random.Random, kills_left: int) -> set[str]:
    """Kill the crawl after some more pictures; those that were asked for and are in no row yet."""
    asked = len(library.pictures_asked())
    enough = asked + chance.randint(1, max(1, (len(library.photos) - asked) // (kills_left + 1)))
    process = crawl.start()
    try:
        while len(library.pictures_asked()) < enough:
            assert process.poll() is None, f"ended before it could be killed: {crawl.log()}"
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.2))
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    time.sleep(2 * library.picture_seconds + 0.3)  # what was sent before the kill still arrives
    in_hand = set(library.pictures_asked()) - crawl.recorded()
    assert len(in_hand) <= IN_HAND
    return in_hand
