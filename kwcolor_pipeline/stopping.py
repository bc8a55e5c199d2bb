"""Waiting until a person or the machine wants a command to stop.

Belongs here: the signals that mean it. What is to be ended then does not.
"""

import contextlib
import queue
import signal
from collections.abc import Iterator

_WAKE_SECONDS = 0.3

StopRequests = queue.SimpleQueue[int]


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """What Ctrl-C, SIGTERM and the terminal's closing are put into; the former handlers come back after.

    Has to be called in the main thread. No event: a handler runs in the thread that waits, and an event's lock does
    not let it in twice.
    """
    stop: StopRequests = queue.SimpleQueue()
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        wanted.append(signal.SIGHUP)
    former = {number: signal.signal(number, lambda number, _: stop.put(number)) for number in wanted}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def wait_for(stop: StopRequests) -> None:
    """Return when one was put in."""
    # In turns: a signal that arrives while the wait begins would be seen only when the wait ends.
    while True:
        with contextlib.suppress(queue.Empty):
            stop.get(timeout=_WAKE_SECONDS)
            return
