import json
import subprocess
import sys
import threading
import time

import pytest

from kwcolor_pipeline.crawling.pace import Pace, Stopped, margin
from kwcolor_pipeline.crawling.sources.base import Limits

NEVER = threading.Event()


@pytest.fixture
def clock(monkeypatch):
    """A clock that passes only while somebody waits."""

    class Clock:
        now = 1_000_000.0

        def time(self):
            return self.now

        def wait(self, seconds):
            self.now += seconds
            return False

        def is_set(self):
            return False

    clock = Clock()
    monkeypatch.setattr("kwcolor_pipeline.crawling.pace.time.time", clock.time)
    return clock


def times_of(pace, clock, count, host="a"):
    times = []
    for _ in range(count):
        with pace.turn(host, clock):
            times.append(clock.now)
    return times


def most_within(times, seconds):
    return max(sum(start <= time < start + seconds for time in times) for start in times)


@pytest.mark.parametrize("folder", [True, False])
def test_all_windows_hold_and_little_is_given_away(tmp_path, clock, folder):
    limits = Limits(((20, 10), (80, 60)))
    pace = Pace(tmp_path if folder else None, "listings", limits)
    times = times_of(pace, clock, 200)
    assert most_within(times, 10) == 20
    assert most_within(times, 60) == 80
    fastest = 2 * 60 + 10  # 80 at once in the first minute's window, 80 in the second, 40 in the third
    assert times[-1] - times[0] <= 1.05 * fastest + 1


def test_each_host_has_its_own_window(tmp_path, clock):
    pace = Pace(tmp_path, "pictures", Limits(((5, 10),)))
    times_of(pace, clock, 5, "a")
    before = clock.now
    times_of(pace, clock, 5, "b")
    assert clock.now == before


def test_bytes_are_limited_over_ten_seconds(clock):
    pace = Pace(None, "pictures", Limits(bytes_per_second=1000))
    times = []
    for _ in range(30):
        with pace.turn("a", clock):
            times.append(clock.now)
        pace.received("a", 2000)
    assert most_within(times, 10) <= 6  # 5 x 2000 bytes fill ten seconds; the one that goes over is let through
    assert times[-1] - times[0] <= 60


def test_a_closed_host_stays_closed_for_those_who_come_later(tmp_path, clock):
    limits = Limits(((5, 10),))
    Pace(tmp_path, "listings", limits).close("a", 300)
    start = clock.now
    times_of(Pace(tmp_path, "listings", limits), clock, 1, "a")
    assert clock.now - start == pytest.approx(300)


def test_limits_hold_across_crawls_and_kinds_do_not_mix(tmp_path, clock):
    limits = Limits(((5, 10),))
    times_of(Pace(tmp_path, "listings", limits), clock, 5)
    start = clock.now
    times_of(Pace(tmp_path, "pictures", limits), clock, 5)
    assert clock.now == start
    times_of(Pace(tmp_path, "listings", limits), clock, 1)
    assert clock.now - start == pytest.approx(10 + margin(10))


def test_a_clock_that_is_set_back_closes_nothing(tmp_path, clock):
    pace = Pace(tmp_path, "listings", Limits(((2, 10),)))
    times_of(pace, clock, 2)
    clock.now -= 86_400
    start = clock.now
    times_of(pace, clock, 2)
    assert clock.now == start


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"asked": 7}', '{"asked": ["x"], "received": [], "closed_until": 0}'])
def test_a_damaged_file_is_no_obstacle(tmp_path, clock, kept):
    pace = Pace(tmp_path, "listings", Limits(((2, 10),)))
    times_of(pace, clock, 1)
    (file,) = tmp_path.glob("*.json")
    file.write_text(kept)
    times_of(pace, clock, 2)
    assert len(json.loads(file.read_text())["asked"]) == 2


def test_a_stop_ends_the_waiting():
    stop = threading.Event()
    pace = Pace(None, "listings", Limits(((1, 3600),)))
    pace.close("a", 3600)
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(Stopped), pace.turn("a", stop):
        pass


def test_so_many_at_once_and_no_more():
    pace, lock, under_way, most = Pace(None, "pictures", Limits(at_once=2)), threading.Lock(), [], []

    def ask():
        with pace.turn("a", NEVER):
            with lock:
                under_way.append(1)
                most.append(len(under_way))
            time.sleep(0.02)
            with lock:
                under_way.pop()

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 2


OTHER_PROCESS = """
import sys, threading, time
from pathlib import Path
from kwcolor_pipeline.crawling.pace import Pace
from kwcolor_pipeline.crawling.sources.base import Limits
pace = Pace(Path(sys.argv[1]), "pictures", Limits(((4, 1.0),), at_once=4))
for _ in range(6):
    with pace.turn("a", threading.Event()):
        print(time.time(), flush=True)
"""


def test_two_processes_share_a_window(tmp_path):
    crawls = [
        subprocess.Popen([sys.executable, "-c", OTHER_PROCESS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    times = sorted(float(line) for crawl in crawls for line in crawl.communicate()[0].split())
    assert len(times) == 12
    assert most_within(times, 1.0) <= 4
