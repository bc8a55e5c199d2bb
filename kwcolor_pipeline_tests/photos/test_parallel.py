import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import psutil
import pytest

from kwcolor_pipeline.photos import parallel
from kwcolor_pipeline.photos.parallel import available_cores, on_all_cores


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "WORTHWHILE", 8)


def process_of(number: int) -> tuple[int, int]:
    return number, os.getpid()


def gone(pid: int, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_everything_is_done_once_in_order_and_in_other_processes() -> None:
    done = list(on_all_cores(process_of, range(40), workers=3))
    assert [number for number, _ in done] == list(range(40))
    assert len({pid for _, pid in done} - {os.getpid()}) >= 2
    assert all(gone(pid) for pid in {pid for _, pid in done})


def test_a_few_things_are_done_here() -> None:
    assert {pid for _, pid in on_all_cores(process_of, range(15), workers=3)} == {os.getpid()}
    assert {pid for _, pid in on_all_cores(process_of, range(40), workers=1)} == {os.getpid()}
    assert list(on_all_cores(process_of, [])) == []
    assert available_cores() >= 1


def test_functions_without_a_name_of_their_own_are_taken_along() -> None:
    added = 5
    assert list(on_all_cores(lambda number: number + added, range(32), workers=2)) == list(range(5, 37))


def test_what_one_raises_is_raised_here_with_where_it_was() -> None:
    def fails(number: int) -> int:
        if number == 20:
            raise KeyError("twenty")
        return number

    with pytest.raises(KeyError, match="twenty") as raised:
        list(on_all_cores(fails, range(64), workers=2))
    assert "in fails" in raised.value.__notes__[0]


def test_what_cannot_be_sent_back_is_told() -> None:
    with pytest.raises(RuntimeError, match="cannot be sent"):
        list(on_all_cores(lambda number: lambda: number, range(32), workers=2))


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(RuntimeError, match="status -9"):
        list(on_all_cores(lambda number: os.kill(os.getpid(), signal.SIGKILL), range(32), workers=2))


def test_a_caller_that_stops_early_leaves_nothing_running_and_not_all_is_done(tmp_path: Path) -> None:
    def noted(number: int) -> int:
        (tmp_path / str(number)).touch()
        return os.getpid()

    working = on_all_cores(noted, range(1000), workers=2)
    pids = set(islice(working, 3))
    time.sleep(0.5)
    # Only so much is done ahead of whoever takes it.
    assert len(list(tmp_path.iterdir())) <= 8 * (2 * 2 + 1)
    working.close()
    assert all(gone(pid) for pid in pids)


SCRIPT = """
import os, sys, time
from kwcolor_pipeline.photos import parallel
parallel.WORTHWHILE = 8
for number, pid in parallel.on_all_cores(lambda number: (number, os.getpid()), range(64), workers=2):
    print(pid, flush=True)
    time.sleep({pause})
"""


def started(pause: float) -> "subprocess.Popen[str]":
    """A program that comes through a pipe and has no main guard."""
    program = subprocess.Popen([sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdin is not None
    program.stdin.write(SCRIPT.format(pause=pause))
    program.stdin.close()
    return program


def test_a_program_from_a_pipe_may_use_it() -> None:
    program = started(0)
    assert program.stdout is not None
    assert len(program.stdout.read().split()) == 64
    assert program.wait() == 0


def test_processes_end_when_their_caller_is_killed() -> None:
    program = started(0.2)
    assert program.stdout is not None
    pids = {int(program.stdout.readline()) for _ in range(2)}
    children = {child.pid for child in psutil.Process(program.pid).children()}
    assert pids <= children
    program.kill()
    program.wait()
    assert all(gone(pid) for pid in children)
