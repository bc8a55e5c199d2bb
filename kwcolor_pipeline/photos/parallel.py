"""The same done with many things on all cores: in processes, in order, in bounded memory.

Belongs here: starting, feeding and ending the processes. What is done with a thing is the caller's affair.

The processes are plain children that are fed through pipes, and not those of ``multiprocessing``: those
run the caller's main module again, which `python -`, a notebook's cell or a script without a main guard
cannot bear, and they outlive a caller that is killed.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

#: Pictures that make another process worth its start.
WORTHWHILE = 128
# The most that a process is given at a time.
_CHUNK = 8
# The child finds what the parent finds, whatever folder or notebook the parent was started from.
_CHILD = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from kwcolor_pipeline.photos.parallel import serve; serve()"
)
# Each process has one core. What glibc has once given to a large picture it would otherwise keep for the next one.
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "MALLOC_MMAP_THRESHOLD_": str(8 * 2**20),
}


def available_cores() -> int:
    """Cores that this process may use, by its affinity and by its container's limit."""
    from joblib import cpu_count  # type: ignore[import-untyped]

    return int(cpu_count())


def on_all_cores(
    function: Callable[[Item], Outcome],
    items: Sequence[Item],
    workers: int | None = None,
    worthwhile: int | None = None,
) -> Generator[Outcome, None, None]:
    """``function`` of each of ``items``, in their order; by default in as many processes as there are cores.

    Each process gets ``worthwhile`` items at least (``WORTHWHILE`` by default); fewer are done in this
    process, since starting others takes longer. Items, outcomes and the function go to other processes and
    back, functions without a name of their own too. What the function raises is raised here. When the caller
    stops early, the processes are ended at once.
    """
    worthwhile = worthwhile or WORTHWHILE
    processes = min(workers or available_cores(), len(items) // worthwhile)
    if processes < 2:
        yield from map(function, items)
        return
    chunk = max(1, min(_CHUNK, worthwhile // _CHUNK))
    with _Team(function, processes) as team:
        pending: deque[Future[list[Any]]] = deque()
        for start in range(0, len(items), chunk):
            pending.append(team.submit(list(items[start : start + chunk])))
            # Two chunks each: one at work and one that waits, so that nobody waits for this loop.
            if len(pending) > 2 * processes:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


class _Team:
    """Processes that apply one function, each fed by a thread of its own."""

    def __init__(self, function: Callable[[Any], Any], processes: int) -> None:
        import cloudpickle  # type: ignore[import-untyped]

        self._function = cloudpickle.dumps(function)
        self._own = threading.local()
        self._started: list[_Worker] = []
        self._threads = ThreadPoolExecutor(processes, initializer=self._begin)

    def __enter__(self) -> "_Team":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._started:
            worker.end(at_once=kind is not None)
        self._threads.shutdown()

    def submit(self, chunk: list[Any]) -> "Future[list[Any]]":
        return self._threads.submit(lambda: self._own.worker.apply(chunk))

    def _begin(self) -> None:
        self._own.worker = _Worker(self._function)
        self._started.append(self._own.worker)


class _Worker:
    """A child process that applies a function to chunks."""

    def __init__(self, function: bytes) -> None:
        # A process group of its own: an interrupt from the keyboard is the parent's to deal with.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ENVIRONMENT,
            process_group=0,
        )
        self._send(sys.path)
        self._send(function)

    def apply(self, chunk: list[Any]) -> list[Any]:
        """The outcomes. Raises what the function raised, and RuntimeError where the process is gone."""
        try:
            self._send(chunk)
            outcomes, raised = pickle.load(self._process.stdout)  # type: ignore[arg-type]
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            status = self._process.wait()
            raise RuntimeError(
                f"a process that worked on photographs ended with status {status}, perhaps for want of memory"
            ) from error
        if raised is not None:
            raise raised
        return list(outcomes)

    def end(self, at_once: bool) -> None:
        if at_once:
            self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]

    def _send(self, value: Any) -> None:
        pickle.dump(value, self._process.stdin)  # type: ignore[arg-type]
        self._process.stdin.flush()  # type: ignore[union-attr]


def serve() -> None:
    """What the child process does until its input ends, which it also does when the parent is killed."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever prints must not print between the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(EOFError, BrokenPipeError), answers:
        function = pickle.loads(pickle.load(sys.stdin.buffer))
        while True:
            _answer(function, pickle.load(sys.stdin.buffer), answers)


def _answer(function: Callable[[Any], Any], chunk: list[Any], answers: BinaryIO) -> None:
    outcomes: list[Any] = []
    raised = None
    try:
        outcomes = [function(item) for item in chunk]
    except Exception as error:  # noqa: BLE001
        # The parent raises it.
        error.add_note(f"In another process:\n{traceback.format_exc()}")
        raised = error
    try:
        answer = pickle.dumps((outcomes, raised))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        answer = pickle.dumps(([], RuntimeError(f"an answer cannot be sent: {error}; {raised!r}")))
    answers.write(answer)
    answers.flush()
