"""How much does it cost to measure colorizers, over what their networks cost to run?

Belongs here: the photographs, the clock and the promise. What is measured of a photograph is the package's affair.

Photographs of the size of pairs (shortest side 256) are read from JPEG and PNG files, as pairs are, and evaluated with
a generator of random weights: that of the preset `archive`, and that of `demo`, whose network is small. The evaluation
runs twice, first with an empty cache and then with the features of truths and grey copies in it. The clock of the
networks runs during the forward passes of the generator and of Lite0 and at no other time: reading files, scaling
chroma, bringing colours into sRGB's gamut, all metrics and their intervals are the rest.

With --bundle the generator is that of a model bundle instead.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pictures import prepare
from PIL import Image, ImageOps
from report import Promise, conclude, machine_facts, options, say, table
from torch import nn

from kwcolor_pipeline.colorize.engine import Colorizer
from kwcolor_pipeline.evaluation.evaluate import Evaluation, Grey, by_grey, evaluate, measures_version
from kwcolor_pipeline.evaluation.feature_cache import FeatureCache
from kwcolor_pipeline.networks import features
from kwcolor_pipeline.networks.bundle import load_generator, read_bundle
from kwcolor_pipeline.networks.devices import pick_device, placed
from kwcolor_pipeline.networks.features import Picture, lite0_features
from kwcolor_pipeline.networks.generator import Generator
from kwcolor_pipeline.photos.decolorizing import decolorize
from kwcolor_pipeline.photos.encoding import jpeg, png
from kwcolor_pipeline.training.presets import load_preset

_PACKAGES = ("kwcolor_pipeline", "torch", "timm", "numpy", "scipy")
#: Shortest side of a pair, and of the longest that a drawn one has.
_SIDE = 256
_BOUND = 1.3
#: Photographs that nothing is measured of: first calls are slow.
_WARM = 2


class Clock:
    """Seconds spent in forward passes, and how many pictures went through them."""

    def __init__(self, device: torch.device):
        self._device = device
        self.seconds = 0.0
        self.pictures = 0

    def timed(self, forward: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        """``forward`` with the clock running meanwhile."""

        def run(x: torch.Tensor) -> torch.Tensor:
            self._wait()
            start = time.perf_counter()
            answer = forward(x)
            self._wait()
            self.seconds += time.perf_counter() - start
            self.pictures += len(x)
            return answer

        return run

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


class Timed(nn.Module):
    """A network whose passes are timed."""

    def __init__(self, network: nn.Module, clock: Clock):
        super().__init__()
        self._forward = clock.timed(network)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._forward(x)


def pairs_on_disk(folder: Path, count: int, photos: Path | None) -> tuple[list[tuple[Path, Path]], str]:
    """``count`` pairs of files, grey and colour, and what they are."""
    sources, what = prepare(count, folder / "sources", photos)
    found = []
    for number, source in enumerate(sources):
        with Image.open(source) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        scale = _SIDE / min(picture.size)
        picture = picture.resize([max(_SIDE, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)
        grey, colour = folder / f"{number:06}.png", folder / f"{number:06}.jpg"
        colour.write_bytes(jpeg(picture))
        grey.write_bytes(png(decolorize(np.asarray(picture), "lightness")))
        source.unlink()
        found.append((grey, colour))
    return found, what


def read(pairs: list[tuple[Path, Path]]) -> Iterator[tuple[str, str, Grey, Picture]]:
    """The photographs, read anew in each evaluation, as pairs are."""
    for grey, colour in pairs:
        greys, colours = (np.asarray(Image.open(io.BytesIO(path.read_bytes()))) for path in (grey, colour))
        yield grey.stem, grey.stem, greys, colours


def generator_of(preset_name: str, device: torch.device) -> tuple[nn.Module, int]:
    """The preset's generator with random weights, and the shortest side at which it sees a picture."""
    torch.manual_seed(0)
    preset = load_preset(preset_name)
    network = Generator(preset.encoder, "none", preset.generator_widths)
    # As it begins it gives no colour at all, which would spare the search for the gamut.
    nn.init.normal_(network.chroma.weight, std=0.3)
    return placed(network, device).eval(), round(preset.size * preset.crop_scale)


def evaluated(pairs: list[tuple[Path, Path]], network: nn.Module, side: int, folder: Path) -> dict[str, Any]:
    """Seconds of one evaluation and of the networks in it."""
    device = next(network.parameters()).device
    clocks = {"generator": Clock(device), "lite0": Clock(device)}
    colorizer = Colorizer(Timed(network, clocks["generator"]), device, side)
    original = features._lite0_feature_maps
    timed = clocks["lite0"].timed(original(device))
    features._lite0_feature_maps = lambda _: timed
    try:
        start = time.perf_counter()
        evaluation = _evaluation(pairs, colorizer, FeatureCache(folder, measures_version(device)), device)
        seconds = time.perf_counter() - start
    finally:
        features._lite0_feature_maps = original
    forward = sum(clock.seconds for clock in clocks.values())
    return {
        "photographs": len(evaluation.rows_of("generator")),
        "seconds": seconds,
        "forward_seconds": forward,
        "ratio": seconds / forward,
        "rest_ms_a_photograph": (seconds - forward) / len(pairs) * 1000,
        "networks": {name: vars_of(clock) for name, clock in clocks.items()},
        "table": {row.colorizer: {key: one.value for key, one in row.metrics.items()} for row in evaluation.table},
    }


def vars_of(clock: Clock) -> dict[str, float]:
    """What a clock shows."""
    return {"seconds": clock.seconds, "pictures": clock.pictures}


def _evaluation(
    pairs: list[tuple[Path, Path]], colorizer: Colorizer, cache: FeatureCache, device: torch.device
) -> Evaluation:
    return evaluate(
        read(pairs),
        {"generator": by_grey(colorizer)},
        lambda done: done % 100 or say(f"  {done} photographs"),
        features=lambda pictures: lite0_features(pictures, device),
        cache=cache,
    )


def _generators(asked: argparse.Namespace, device: torch.device) -> dict[str, tuple[nn.Module, int]]:
    if asked.bundle is None:
        return {name: generator_of(name, device) for name in ("archive", "demo")}
    bundle = read_bundle(asked.bundle)
    preset = bundle.description["preset"]
    return {"bundle": (placed(load_generator(bundle, device), device), round(preset["size"] * preset["crop_scale"]))}


def main() -> int:
    """Measure and report; the exit status."""
    parser = options(__doc__ or "")
    parser.add_argument("--device", default="auto", help="where networks run: auto, cpu, cuda")
    parser.add_argument("--bundle", type=Path, help="take the generator of this model bundle")
    asked = parser.parse_args()
    device = pick_device(asked.device)
    count = 12 if asked.quick else 1000
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="kwcolor-benchmark-") as temporary:
        folder = Path(temporary)
        machine = machine_facts(_PACKAGES, folder)
        pairs, what = pairs_on_disk(folder, count, asked.photos)
        for name, (network, side) in _generators(asked, device).items():
            say(f"{name}: {count} photographs, seen at {side} pixels on {device}")
            evaluated(pairs[:_WARM], network, side, folder / f"{name}-warm")
            measured[name] = {
                kind: evaluated(pairs, network, side, folder / name) for kind in ("cache empty", "cache filled")
            }
    rows = [
        [name, kind, *(one[key] for key in ("seconds", "forward_seconds", "ratio", "rest_ms_a_photograph"))]
        for name, kinds in measured.items()
        for kind, one in kinds.items()
    ]
    say()
    say(table(["generator", "features", "seconds", "of these forward", "ratio", "rest, ms a photograph"], rows))
    first = next(iter(measured))
    how = (
        f"seconds of evaluating {count} photographs over the seconds in it of the forward passes of Lite0 and of "
        f"{first}'s generator, features of truths and grey copies cached"
    )
    promises = [Promise.at_most("evaluation_ratio", measured[first]["cache filled"]["ratio"], _BOUND, how)]
    facts = {"pictures": f"{what}, shortest side {_SIDE}", "device": str(device), "evaluations": measured}
    scaled = [f"{count} photographs instead of 1000"] if asked.quick else []
    return conclude(asked, "evaluation", promises, facts, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
