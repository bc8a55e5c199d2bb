"""Ctrl-C, and being asked to end: a training finishes its step first, so that what is saved is whole.

Belongs here: signals. What is done before a training ends is the loop's affair.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

#: Ctrl-C; what Dagster, containers and cluster managers send; a terminal that is closed.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """A signal that has come and waits to be delivered."""

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._waiting: int | None = None

    def take_over(self) -> None:
        """Handle the signals that would end this process, until :meth:`give_back`."""
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            # None: not installed from Python. Ignored signals (`nohup`) stay ignored.
            if handler is not None and handler is not signal.SIG_IGN:
                self._handlers[number] = handler
                signal.signal(number, self._note)

    def give_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def deliver(self) -> None:
        """Do now what the process would have done when the signal came; nothing where none came.

        Raises KeyboardInterrupt in a terminal, Dagster's own interruption in Dagster, and SystemExit where
        the signal would have ended the process at once.
        """
        number, self._waiting = self._waiting, None
        if number is None:
            return
        handler = self._handlers[number]
        if not callable(handler):
            raise SystemExit(128 + number)  # the exit code that shells give for that signal
        handler(number, None)

    def _note(self, number: int, frame: Any) -> None:
        if self._waiting is not None:
            self.deliver()  # asked twice: at once
        self._waiting = number


@contextlib.contextmanager
def deferred_interruptions() -> Iterator[Interruption]:
    """Signals that would end this process wait until they are delivered; a second one does not wait.

    Outside the main thread, where Python does not allow it, signals are left as they are.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    interruption.take_over()
    try:
        yield interruption
    finally:
        interruption.give_back()
    interruption.deliver()
