"""How long does it take to colorize a photograph, over DeOldify and over the same network in a naive loop?

Belongs here: the files, the three ways and the promises. How a photograph is colorized is the package's affair.

JPEG files of 1 and of 12 megapixels become JPEG files in colour, on the same cores in the same run, one way after the
other, in three ways: `kwcolor colorize` with the starter, at its defaults; DeOldify's artistic network, rebuilt with
random weights, and its own rule (a square of 16 times the render factor, its chroma over the picture's luma); and the
starter's network in ONNX Runtime, in a plain loop as most people write it: read with Pillow, shrink, ask the network
once, enlarge its chroma bilinearly, convert with scikit-image, write. The plain loop asks the network once and not for
the mirror image or for several sizes, neither keeps lightness exact nor the metadata, and reads and writes nothing
while the network works. Models are loaded before the clock runs.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from pictures import drawn
from PIL import Image
from report import Promise, conclude, machine_facts, options, say, table
from skimage.color import lab2rgb, rgb2lab

from kwcolor_pipeline.baselines.deoldify import DeOldify
from kwcolor_pipeline.baselines.deoldify_network import artistic
from kwcolor_pipeline.colorize import batch
from kwcolor_pipeline.colorize.engine import open_colorizer
from kwcolor_pipeline.networks.bundle import read_bundle
from kwcolor_pipeline.networks.onnx_export import export_onnx
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline.starter import STARTER

_PACKAGES = ("kwcolor_pipeline", "torch", "onnxruntime", "pillow", "scikit-image")
#: Width and height by the size's name.
_SIZES = {"1 megapixel": (1152, 864), "12 megapixels": (4000, 3000)}
#: DeOldify's own default, and what --quick asks for.
_RENDER_FACTOR, _QUICK_FACTOR = 35, 8
#: Side at which the plain loop shows the network a picture: that of the starter's training.
_SIDE = 160
_TIMES_FASTER = 15.0

#: Colorizes files into a folder.
Way = Callable[[Sequence[Path], Path], None]


def ours() -> Way:
    """What `kwcolor colorize` does."""
    settings = load_settings(device="cpu")
    opened = open_colorizer(STARTER, "cpu")
    batch.open_colorizer = lambda *_: opened

    def colorize(files: Sequence[Path], to: Path) -> None:
        report = batch.colorize_files(settings, files, to, STARTER, "starter", "jpg", again=True)
        if report.problems:
            raise SystemExit(f"The benchmark's own pictures could not be colorized: {report.problems[0]}")

    return colorize


def deoldify(render_factor: int) -> Way:
    """DeOldify's network of random weights and its rule, from file to file."""
    torch.manual_seed(0)
    colorizer = DeOldify(artistic().eval(), torch.device("cpu"), render_factor)

    def colorize(files: Sequence[Path], to: Path) -> None:
        for path in files:
            with Image.open(path) as opened:
                gray = np.asarray(opened.convert("L"))
            Image.fromarray(colorizer(gray, "")).save(to / path.name, quality=95, subsampling=0)

    return colorize


def plain_loop(folder: Path) -> Way:
    """The starter's network in ONNX Runtime, in a loop without any care."""
    exported = folder / "starter.onnx"
    export_onnx(read_bundle(STARTER), exported)
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])

    def colorize(files: Sequence[Path], to: Path) -> None:
        for path in files:
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
            scale = _SIDE / min(picture.size)
            small = picture.resize([max(32, round(side * scale / 32) * 32) for side in picture.size])
            lightness = rgb2lab(np.asarray(small))[..., 0].astype(np.float32)
            (chroma,) = session.run(None, {"lightness": lightness[None, None]})
            lab = rgb2lab(np.asarray(picture))
            for channel in (0, 1):
                lab[..., 1 + channel] = np.asarray(
                    Image.fromarray(chroma[0, channel]).resize(picture.size, Image.Resampling.BILINEAR)
                )
            colour = (lab2rgb(lab) * 255).round().astype(np.uint8)
            Image.fromarray(colour).save(to / path.name, quality=95, subsampling=0)

    return colorize


def seconds_a_photograph(way: Way, files: Sequence[Path], to: Path, turns: int) -> float:
    """The median over ``turns`` through all files."""
    to.mkdir(exist_ok=True)
    taken = []
    for _ in range(turns):
        start = time.perf_counter()
        way(files, to)
        taken.append((time.perf_counter() - start) / len(files))
    return statistics.median(taken)


def main() -> int:
    """Measure and report; the exit status."""
    asked = options(__doc__ or "", photos=False).parse_args()
    factor = _QUICK_FACTOR if asked.quick else _RENDER_FACTOR
    sizes = dict(list(_SIZES.items())[: 1 if asked.quick else None])
    count = 2 if asked.quick else 4
    measured: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="kwcolor-benchmark-") as temporary:
        folder = Path(temporary)
        machine = machine_facts(_PACKAGES, folder)
        # Of ours and the plain loop some files in some turns; DeOldify takes so long that one photograph is enough.
        ways = {
            "ours": (ours(), count, 3),
            "plain loop": (plain_loop(folder), count, 3),
            "DeOldify": (deoldify(factor), 1, 1),
        }
        for size, (width, height) in sizes.items():
            files = []
            for number in range(count):
                files.append(folder / f"{width}-{number}.jpg")
                files[-1].write_bytes(drawn(number, (width, height), colour=0.0))
            measured[size] = {}
            for name, (way, most, turns) in ways.items():
                to = folder / name.replace(" ", "-")
                to.mkdir(exist_ok=True)
                if name != "DeOldify":
                    way(files[:1], to)  # first calls are slow
                measured[size][name] = seconds_a_photograph(way, files[:most], to, turns)
                say(f"{size}: {name} {measured[size][name]:.2f} s a photograph")
    rows = [
        [size, *(times[name] for name in ways), times["DeOldify"] / times["ours"], times["plain loop"] / times["ours"]]
        for size, times in measured.items()
    ]
    say()
    say(table(["photograph", *ways, "times faster than DeOldify", "than the plain loop"], rows))
    promises = _promises(measured, factor)
    facts: dict[str, Any] = {"render_factor": factor, "seconds_a_photograph": measured}
    scaled = [f"render factor {factor} instead of {_RENDER_FACTOR}", "1 megapixel only"] if asked.quick else []
    return conclude(asked, "colorize", promises, facts, machine, scaled)


def _promises(measured: dict[str, dict[str, float]], factor: int) -> list[Promise]:
    promises = []
    for size, times in measured.items():
        name = size.partition(" ")[0]
        how = f"seconds a photograph of {size} over those of `kwcolor colorize` with the starter, from file to file"
        faster = times["DeOldify"] / times["ours"]
        of_deoldify = f"DeOldify's {how}; render factor {factor}, random weights"
        promises.append(Promise.at_least(f"times_faster_than_deoldify_{name}_mp", faster, _TIMES_FASTER, of_deoldify))
        plain = times["plain loop"] / times["ours"]
        promises.append(Promise.at_least(f"plain_loop_{name}_mp", plain, 1.0, f"the plain ONNX loop's {how}"))
    return promises


if __name__ == "__main__":
    sys.exit(main())
