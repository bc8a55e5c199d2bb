"""What every benchmark has in common: its options, its JSON object, its promises and its exit status.

Belongs here: how a benchmark is asked and how it answers. What is measured belongs in the benchmark's own
script.

A benchmark prints one JSON object on standard output; tables and progress go to standard error. The
object's ``promises`` are what the benchmark is for: ``{name, value, bound, holds, how}``.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

_SYNCS = 20


@dataclass(frozen=True)
class Promise:
    """One measured value and the bound that it has to keep."""

    name: str
    value: float | None
    """None where it could not be measured; the promise then does not hold"""
    bound: str
    """`>= number` or `<= number`"""
    holds: bool
    how: str
    """What the value is and how it was measured, in a sentence"""

    @classmethod
    def at_least(cls, name: str, value: float | None, bound: float, how: str) -> "Promise":
        """A promise that holds when ``value`` is ``bound`` or more."""
        return cls(name, value, f">= {bound:g}", value is not None and value >= bound, how)

    @classmethod
    def at_most(cls, name: str, value: float | None, bound: float, how: str) -> "Promise":
        """A promise that holds when ``value`` is ``bound`` or less."""
        return cls(name, value, f"<= {bound:g}", value is not None and value <= bound, how)


def options(description: str, *, photos: bool = True) -> argparse.ArgumentParser:
    """The options of a benchmark; ``photos`` where it can use real photographs."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="end within a minute, on less; the output says what less is"
    )
    parser.add_argument("--json", type=_writable, metavar="FILE", help="write the JSON object to FILE as well")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a promise does not hold")
    if photos:
        parser.add_argument(
            "--photos", type=_folder, metavar="DIR", help="use the photographs of this folder, not drawn ones"
        )
    return parser


def say(line: str = "") -> None:
    """Tell the person at the terminal."""
    print(line, file=sys.stderr, flush=True)


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows in columns: words to the left, numbers to the right."""
    written = [list(heads), *([_written(cell) for cell in row] for row in rows)]
    numeric = [all(isinstance(row[place], int | float | None) for row in rows) for place in range(len(heads))]
    widths = [max(len(row[place]) for row in written) for place in range(len(heads))]
    lines = []
    for row in written:
        cells = zip(row, widths, numeric, strict=True)
        lines.append("  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells))
    return "\n".join(line.rstrip() for line in lines)


def conclude(
    asked: argparse.Namespace,
    benchmark: str,
    promises: Sequence[Promise],
    measured: Mapping[str, Any],
    machine: Mapping[str, Any],
    scaled: Sequence[str] = (),
) -> int:
    """Print the JSON object and the promises; the exit status of the benchmark.

    ``scaled`` says, in sentences, what ``--quick`` made smaller.
    """
    say()
    say(
        table(
            ["promise", "value", "bound", ""],
            [[one.name, one.value, one.bound, "holds" if one.holds else "DOES NOT HOLD"] for one in promises],
        )
    )
    answer = {
        "benchmark": benchmark,
        "quick": asked.quick,
        "scaled": list(scaled),
        "machine": dict(machine),
        "promises": [asdict(promise) for promise in promises],
        "measured": dict(measured),
    }
    text = json.dumps(answer, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if asked.json:
        asked.json.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    sys.stdout.flush()
    return int(asked.check and not all(promise.holds for promise in promises))


def machine_facts(packages: Sequence[str], folder: Path) -> dict[str, Any]:
    """What the figures depend on: cores, memory, Python, versions of ``packages``, and how ``folder`` is stored.

    ``sync_ms`` is the median time of writing and syncing 100 kB there, in milliseconds; it is near 0 where
    the folder is in memory.
    """
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(psutil.getloadavg()[0], 2),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": {package: importlib.metadata.version(package) for package in packages},
        "filesystem": _filesystem(folder),
        "sync_ms": round(_sync_seconds(folder) * 1000, 2),
    }


def _written(cell: Any) -> str:
    if cell is None:
        return "-"
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def _processor() -> str:
    """The processor's name, which the standard library does not know on Linux."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _filesystem(folder: Path) -> str:
    mounts = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    resolved = folder.resolve()
    return next((mounts[one] for one in (resolved, *resolved.parents) if one in mounts), "unknown")


def _sync_seconds(folder: Path) -> float:
    seconds, path = [], folder / "sync.part"
    for _ in range(_SYNCS):
        start = time.perf_counter()
        with path.open("wb") as handle:
            handle.write(bytes(100_000))
            handle.flush()
            os.fsync(handle.fileno())
        seconds.append(time.perf_counter() - start)
        path.unlink()
    return statistics.median(seconds)


def _writable(name: str) -> Path:
    """A file to write in the end; refused now where its folder is missing, not after an hour."""
    path = Path(name).absolute()
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}; create it first")
    return path


def _folder(name: str) -> Path:
    path = Path(name).absolute()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path}")
    return path
