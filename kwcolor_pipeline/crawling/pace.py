"""How fast hosts are asked: their published limits, and what they ask for themselves.

Belongs here: waiting for one's turn. The times of requests lie in files below the home, so that crawls in other
processes, and one that follows a crawl that was killed, keep to the same limits.
"""

import collections
import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from kwcolor_pipeline.crawling.sources.base import Limits
from kwcolor_pipeline.home import fingerprint

#: Seconds over which bytes are counted.
_BYTE_WINDOW = 10.0
#: Longest time between looks at whether the crawl is being stopped.
_LONGEST_LOOK = 0.5


#: Waiting longer than this for a limit is no use; a crawl that would have to ends, and a later one goes on.
_LONGEST_WAIT = 3600.0


class Stopped(Exception):
    """The crawl is being stopped; the request was not made."""


class LimitSpent(Exception):
    """A host may not be asked for a long time; the message says for how long."""


def margin(seconds: float) -> float:
    """Seconds added to a window: the archive counts when requests arrive, and they arrive unevenly."""
    return 0.2 + 0.01 * seconds


@dataclass
class _State:
    """What is remembered of one host, in seconds since the epoch."""

    asked: list[float] = field(default_factory=list)
    received: list[tuple[float, int]] = field(default_factory=list)
    closed_until: float = 0.0


class Pace:
    """The limits of one source for one kind of request, held for each host.

    ``folder`` is where the times are kept; with None they are only in memory. ``name`` tells kinds apart.
    """

    def __init__(self, folder: Path | None, name: str, limits: Limits) -> None:
        # Where nothing is counted there is nothing to share, and a file less to write for each request.
        self._folder = folder if limits.windows or limits.bytes_per_second else None
        self._name = name
        self._limits = limits
        self._lock = threading.Lock()
        self._in_memory: dict[str, _State] = collections.defaultdict(_State)
        self._at_once: dict[str, threading.BoundedSemaphore] = {}
        self._longest = max((seconds + margin(seconds) for _, seconds in limits.windows), default=0.0)

    @contextlib.contextmanager
    def turn(self, host: str, stop: threading.Event) -> Iterator[Callable[[], None]]:
        """Wait until a request to ``host`` may be made, and count it; it is under way inside the block.

        What it gives is to be called when the answer begins: the host has counted the request somewhere
        between, and a handshake or a busy machine may hold one up for longer than the margin.
        Raises Stopped when ``stop`` is set before, LimitSpent when it would take more than an hour.
        """
        slots = self._slots(host)
        while not slots.acquire(timeout=_LONGEST_LOOK):
            if stop.is_set():
                raise Stopped
        try:
            while True:
                pause, granted = self._pause_before(host)
                if not pause:
                    break
                if pause > _LONGEST_WAIT:
                    raise LimitSpent(f"{host} may be asked again in {pause / 3600:.0f} hours")
                if stop.wait(min(pause, _LONGEST_LOOK)):
                    raise Stopped
            if stop.is_set():
                raise Stopped
            yield lambda: self._answered(host, granted)
        finally:
            slots.release()

    def close(self, host: str, seconds: float) -> None:
        """Let no request to ``host`` through for ``seconds``."""
        with self._state(host) as state:
            state.closed_until = max(state.closed_until, time.time() + seconds)

    def received(self, host: str, size: int) -> None:
        """Count ``size`` bytes that came from ``host``."""
        if self._limits.bytes_per_second:
            with self._state(host) as state:
                state.received.append((time.time(), size))

    def _pause_before(self, host: str) -> tuple[float, float]:
        """Seconds to wait before asking again, 0 when a request is granted, and counted; and the time that it is."""
        with self._state(host) as state:
            now = time.time()
            # What seems to come from the future was written before the clock was set back.
            state.asked = [then for then in state.asked if now - self._longest < then <= now]
            state.received = [(then, size) for then, size in state.received if now - _BYTE_WINDOW < then <= now]
            pause = max(self._window_pause(state, now), self._byte_pause(state, now), state.closed_until - now)
            if pause > 0:
                return pause, now
            if self._limits.windows:
                state.asked.append(now)
            return 0.0, now

    def _answered(self, host: str, granted: float) -> None:
        """Count the request as made now that its answer is there, and no longer when it was granted."""
        if self._limits.windows:
            with self._state(host) as state:
                if granted in state.asked:
                    state.asked.remove(granted)
                state.asked.append(time.time())

    def _window_pause(self, state: _State, now: float) -> float:
        pauses = [0.0]
        for count, seconds in self._limits.windows:
            if len(state.asked) >= count:
                pauses.append(state.asked[-count] + seconds + margin(seconds) - now)
        return max(pauses)

    def _byte_pause(self, state: _State, now: float) -> float:
        allowed = (self._limits.bytes_per_second or 0) * _BYTE_WINDOW
        too_many = sum(size for _, size in state.received) - allowed
        if not allowed or too_many <= 0:
            return 0.0
        for then, size in state.received:
            too_many -= size
            if too_many <= 0:
                return then + _BYTE_WINDOW - now
        return 0.0

    def _slots(self, host: str) -> threading.BoundedSemaphore:
        with self._lock:
            if host not in self._at_once:
                self._at_once[host] = threading.BoundedSemaphore(self._limits.at_once)
            return self._at_once[host]

    @contextlib.contextmanager
    def _state(self, host: str) -> Iterator[_State]:
        """The host's state, to be changed: locked against other threads, and where it is a file other processes."""
        with self._lock:
            if self._folder is None:
                yield self._in_memory[host]
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{fingerprint([self._name, host])[:24]}.json"
            with FileLock(path.with_suffix(".lock")):
                state = _read(path)
                yield state
                _write(path, f"{self._name} {host}", state)


def _read(path: Path) -> _State:
    try:
        kept = json.loads(path.read_text())
        return _State(
            [float(then) for then in kept["asked"]],
            [(float(then), int(size)) for then, size in kept["received"]],
            float(kept["closed_until"]),
        )
    except FileNotFoundError:
        return _State()
    except (ValueError, TypeError, KeyError):
        return _State()  # somebody else's: at worst one window's requests are made twice


def _write(path: Path, title: str, state: _State) -> None:
    """Replace the file at once; unsynced, since only a crash of the machine could lose it."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps({"of": title, **vars(state)}))
    os.replace(temporary, path)
