"""How many pictures a second do our recipes learn from, and how many fastai's own learners, on the same device?

Belongs here: taking turns, the device's peak, the table and its promises. The steps are made in
`training_sides`, one process a side; fastai's runs in the environment that `make oracle` makes.

Every row is a whole training step: forward, losses, backward, update. Ours begin with uint8 crops on the device and
make Lab of them; fastai is given float batches that are ready, so what differs is to its advantage. Sides take turns,
and each row counts with the median of its turns. Weights are random: that changes no time.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from report import Promise, conclude, machine_facts, options, say, table
from torch.nn import functional as F

_HERE = Path(__file__).resolve().parent
_FASTAI_PYTHON = _HERE.parent / ".venv-oracle" / "bin" / "python"
_PACKAGES = ("kwcolor_pipeline", "torch", "timm", "numpy")
PLAIN, THEIRS = "archive: generator, pixel loss", "fastai: DynamicUnet"
#: Side of the product whose pace says which precision is the faster one.
_PROBE = 768


@dataclass
class Row:
    """One kind of step and what its turns came to."""

    name: str
    side: str
    rates: list[float] = field(default_factory=list)
    """Images a second, one for each turn"""
    flops: float | None = None
    peak_gib: float | None = None

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


class Side:
    """A process that measures the rows of one side when it is asked."""

    def __init__(self, name: str, python: str, how: Sequence[str]):
        self.name = name
        command = [python, "-W", "ignore", str(_HERE / "training_sides.py"), name, *how]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.rows = [Row(row, name) for row in self._answer()["rows"]]

    def _answer(self) -> dict[str, Any]:
        line = _of(self._process.stdout).readline()
        if not line:
            raise SystemExit(
                f"The process of {self.name} ended with status {self._process.wait()}; its message is above."
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def measure(self, row: Row, seconds: float) -> None:
        """One turn of ``row``."""
        asked = _of(self._process.stdin)
        asked.write(f"{row.name} {seconds}\n")
        asked.flush()
        answer = self._answer()
        row.rates.append(answer["images"] / answer["seconds"])
        row.flops = answer.get("flops", row.flops)
        row.peak_gib = answer.get("peak_gib", row.peak_gib)

    def end(self) -> None:
        _of(self._process.stdin).close()
        self._process.wait()


def _of(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # both were asked for as pipes
    return stream


@contextlib.contextmanager
def sides(how: Sequence[str], fastai_python: Path) -> Iterator[list[Side]]:
    """Both sides' processes, asked for device, size, batch and precision (``how``); ended on leaving."""
    began: list[Side] = []
    try:
        for name, python in (("ours", sys.executable), ("fastai", str(fastai_python))):
            began.append(Side(name, python, how))
        yield began
    finally:
        for side in began:
            side.end()


def _best_rate(work: Any, flops: float, device: torch.device, seconds: float) -> float:
    """The most FLOP/s that repeating ``work`` reached within ``seconds``."""
    best, end = 0.0, time.perf_counter() + seconds
    for _ in range(3):
        work()
    while time.perf_counter() < end:
        _synchronise(device)
        began = time.perf_counter()
        for _ in range(3):
            work()
        _synchronise(device)
        best = max(best, 3 * flops / (time.perf_counter() - began))
    return best


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.no_grad()
def faster_precision(device: torch.device) -> str:
    """bfloat16, which `archive` trains in, or float32 on a processor that has no instructions for bfloat16."""
    seconds = {}
    for name in ("float32", "bfloat16"):
        square = torch.randn(_PROBE, _PROBE, device=device, dtype=getattr(torch, name))
        square @ square  # the first product finds its kernel
        _synchronise(device)
        began = time.perf_counter()
        square @ square
        _synchronise(device)
        seconds[name] = time.perf_counter() - began
    return min(seconds, key=lambda name: seconds[name])


@torch.no_grad()
def peaks(device: torch.device, precision: str, seconds: float) -> dict[str, float]:
    """FLOP/s of the best matrix product and the best 3x3 convolution in ``precision``."""
    gpu = device.type == "cuda"
    dtype, side = getattr(torch, precision), 8192 if gpu else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product = _best_rate(lambda: a @ b, 2 * side**3, device, seconds)
    best = 0.0
    for channels, width in ((128, 64), (256, 32), (512, 16)):
        batch = 256 if gpu else 8
        pictures = torch.randn(batch, channels, width, width, device=device, dtype=dtype)
        weights = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype)
        pictures, weights = (one.to(memory_format=torch.channels_last) for one in (pictures, weights))
        flops = 2 * batch * width**2 * channels**2 * 9

        def convolve(pictures: torch.Tensor = pictures, weights: torch.Tensor = weights) -> torch.Tensor:
            return F.conv2d(pictures, weights, padding=1)

        best = max(best, _best_rate(convolve, flops, device, seconds / 3))
    return {"matrix": product, "convolution": best}


def measured(rows: Sequence[Row], peak: dict[str, float]) -> dict[str, Any]:
    """Every row's numbers, for the JSON object."""
    fastai = {row.name: row.rate for row in rows}[THEIRS]
    numbers = {}
    for row in rows:
        numbers[row.name] = {
            "images_per_second": row.rate,
            "turns": row.rates,
            "times_fastai": row.rate / fastai,
            "gflop_a_picture": row.flops / 1e9 if row.flops else None,
            "share_of_matrix_peak": row.rate * row.flops / peak["matrix"] if row.flops else None,
            "share_of_convolution_peak": row.rate * row.flops / peak["convolution"] if row.flops else None,
            "peak_gib": row.peak_gib,
        }
    return numbers


def promises_of(numbers: dict[str, Any], device: str, batch: int) -> list[Promise]:
    """What this project promises of this device."""
    ratio = numbers[PLAIN]["times_fastai"]
    how = f"images a second of `{PLAIN}` over those of `{THEIRS}`, ResNet34 in both, batch {batch}"
    if device == "cpu":
        how += ", ours in bfloat16 or float32, whichever is faster here"
        return [Promise.at_least("generator step over fastai's", ratio, 3.0, how)]
    if batch >= 128:
        share = numbers[PLAIN]["share_of_convolution_peak"]
        return [
            Promise.at_least("share of the convolution peak", share, 0.3, "FLOP/s of the step over the best of 3x3")
        ]
    return [Promise.at_least("generator step over fastai's", ratio, 7.0, how)]


def main() -> int:
    """Measure, print the table and the JSON object; gives the exit status."""
    parser = options(__doc__ or "", photos=False)
    gpu = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if gpu else "cpu", help="cpu or cuda; default: %(default)s")
    parser.add_argument("--size", type=int, default=128 if gpu else 64, help="side in pixels; default: %(default)s")
    parser.add_argument("--batch", type=int, default=32 if gpu else 16, help="pictures a step; default: %(default)s")
    parser.add_argument("--fastai-python", type=Path, default=_FASTAI_PYTHON, help="a Python that has fastai 2.8")
    asked = parser.parse_args()
    if not asked.fastai_python.exists():
        parser.error(f"{asked.fastai_python} does not exist; `make .venv-oracle/.installed` makes it.")
    device = torch.device(asked.device)
    turns, seconds = (1, 2.0) if asked.quick else (3, 12.0 if device.type == "cpu" else 4.0)
    machine = machine_facts(_PACKAGES, _HERE)
    if device.type == "cuda":
        machine |= {"gpu": torch.cuda.get_device_name(device)}
    precision = faster_precision(device)
    peak = peaks(device, precision, seconds)
    with sides((asked.device, str(asked.size), str(asked.batch), precision), asked.fastai_python) as both:
        for turn in range(turns):
            for side in both:
                for row in side.rows:
                    side.measure(row, seconds)
                    say(f"turn {turn + 1}: {row.name}: {row.rates[-1]:.1f} images a second")
        rows = [row for side in both for row in side.rows]
    numbers = measured(rows, peak)
    heads = ["step", "images/s", "times fastai", "GFLOP a picture", "of the matrix peak", "of the convolution peak"]
    columns = (
        "images_per_second",
        "times_fastai",
        "gflop_a_picture",
        "share_of_matrix_peak",
        "share_of_convolution_peak",
    )
    say()
    say(table(heads, [[name, *(row[column] for column in columns)] for name, row in numbers.items()]))
    matrix, convolution = (peak[name] / 1e12 for name in ("matrix", "convolution"))
    say(f"Peaks in {precision}: matrix product {matrix:.3g}, 3x3 convolution {convolution:.3g} TFLOP/s.")
    facts = {
        "device": asked.device,
        "size": asked.size,
        "batch": asked.batch,
        "precision": precision,
        "peak_flops": peak,
        "rows": numbers,
    }
    scaled = [f"one turn of {seconds:g} s instead of three"] if asked.quick else []
    promises = promises_of(numbers, device.type, asked.batch)
    return conclude(asked, "training_throughput", promises, facts, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
