"""How much does colorizing move a photograph's lightness?

Belongs here: the photographs, both ways of merging, and the promise. The merge is the package's affair.

Colour photographs go through the engine as files do: their L* is taken, the starter's colours are put to it, and the
result is rounded to 8 and to 16 bits. CIELAB's L* of the result is compared with that of the photograph, pixel by
pixel. Because the starter's colours are modest, the same is done with colours that a screen cannot all show: the
photograph's own at 1.3 times their chroma, from a copy with a shortest side of 128.

Beside it stands DeOldify's rule with those same colours: luma of the grey, U and V of the small picture in colour, 8
bits, as OpenCV computes them. Part of what it moves is by definition, for it keeps BT.601's luma and not L*.

The photographs are those that scikit-image and scikit-learn carry, and with --photos the first hundred of each folder
below it that has an index.csv.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from report import Promise, conclude, machine_facts, options, say, table
from torch.nn import functional as F

from kwcolor_pipeline.baselines.yuv import with_chroma_of
from kwcolor_pipeline.colorize.engine import Colorizer, open_colorizer
from kwcolor_pipeline.colorize.merge import Colour, Grey, merge
from kwcolor_pipeline.colorize.reading import grey_of_rgb
from kwcolor_pipeline.colour.lab import lab_to_rgb_clipped
from kwcolor_pipeline.colour.measures import lab_of
from kwcolor_pipeline.photos.decolorizing import decolorize
from kwcolor_pipeline.sample import Role, read_index
from kwcolor_pipeline.starter import STARTER

_PACKAGES = ("kwcolor_pipeline", "torch", "numpy")
_WANTED, _QUICK = 100, 10
#: Largest and mean |dL*| by depth.
_BOUNDS = {8: (0.07, 0.25), 16: (0.002, 0.07)}
_BOOST, _SIDE = 1.3, 128


def lightness(colour: Colour) -> np.ndarray:
    """L* (H, W) of RGB of 8 or 16 bits, in double precision."""
    values = colour / np.iinfo(colour.dtype).max
    linear = np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
    y = linear @ (0.2126729, 0.7151522, 0.0721750)
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, y * (29 / 3) ** 3)


def boosted(colour: np.ndarray) -> torch.Tensor:
    """CIELAB (1, 3, h, w) of a small copy with more chroma."""
    lab = lab_of(colour)[None]
    scale = _SIDE / min(colour.shape[:2])
    size = [max(1, round(side * scale)) for side in colour.shape[:2]]
    small = F.interpolate(lab, size=size, mode="bilinear", antialias=True)
    return torch.cat([small[:, :1], small[:, 1:] * _BOOST], dim=1)


def by_luma(gray: Grey, small: torch.Tensor) -> np.ndarray:
    """The colours of ``small`` put to grey as DeOldify does it."""
    rgb = (lab_to_rgb_clipped(small)[0].permute(1, 2, 0) * 255).round().byte().numpy()
    size = (gray.shape[1], gray.shape[0])
    return with_chroma_of(gray, np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR)))


def results(colour: np.ndarray, colorizer: Colorizer) -> Iterator[tuple[str, np.ndarray]]:
    """Every way's name, and how far it moved lightness (H, W)."""
    before, gray, small = lightness(colour), grey_of_rgb(colour), boosted(colour)
    deep = colour.astype(np.uint16) * 257
    for depth, source in ((8, colour), (16, deep)):
        grey = grey_of_rgb(source)
        yield f"starter, {depth} bits", lightness(colorizer(grey, depth=depth)) - before
        yield f"strong colours, {depth} bits", lightness(merge(gray, small[:, 1:], depth=depth)) - before
    eight = decolorize(colour, "lightness")
    yield "DeOldify's rule, strong colours", lightness(by_luma(eight, small)) - lightness(np.dstack([eight] * 3))


def photographs(photos: Path | None, wanted: int) -> Iterator[tuple[str, Path]]:
    """Name of the collection and path of each colour photograph."""
    for one in read_index():
        if one.role == Role.COLOUR:
            yield "packages", one.path
    for index in sorted(photos.glob("**/index.csv")) if photos else []:
        with index.open(newline="", encoding="utf-8") as handle:
            rows = [row for row in csv.DictReader(handle) if row.get("tone", "colour") == "colour"]
        for row in rows[:: max(1, len(rows) // wanted)][:wanted]:
            yield index.parent.name, index.parent / row["file"]


def measure(asked: argparse.Namespace, wanted: int) -> dict[str, dict[str, Any]]:
    """By collection and way: photographs, mean and largest |dL*|."""
    colorizer = open_colorizer(STARTER, "cpu")
    sums: dict[str, dict[str, list[float]]] = {}
    for collection, path in photographs(asked.photos, wanted):
        with Image.open(path) as opened:
            colour = np.asarray(opened.convert("RGB"))
        for way, moved in results(colour, colorizer):
            sums.setdefault(f"{way}: {collection}", {"mean": [], "largest": []})
            sums[f"{way}: {collection}"]["mean"].append(float(np.abs(moved).mean()))
            sums[f"{way}: {collection}"]["largest"].append(float(np.abs(moved).max()))
    return {
        name: {"photographs": len(found["mean"]), "mean": max(found["mean"]), "largest": max(found["largest"])}
        for name, found in sorted(sums.items())
    }


def main() -> int:
    """Measure, print, and say by the exit status whether the promise holds."""
    asked = options(__doc__ or "").parse_args()
    wanted = _QUICK if asked.quick else _WANTED
    measured = measure(asked, wanted)
    say(
        table(
            ["way", "photographs", "largest mean |dL*|", "largest |dL*|"],
            [[name, *(found[key] for key in ("photographs", "mean", "largest"))] for name, found in measured.items()],
        )
    )
    promises = []
    for depth, bounds in _BOUNDS.items():
        ours = [found for name, found in measured.items() if f"{depth} bits" in name]
        for key, bound in zip(("mean", "largest"), bounds, strict=True):
            what = "the photograph with the largest mean" if key == "mean" else "the worst pixel of all photographs"
            value = max(found[key] for found in ours)
            promises.append(Promise.at_most(f"{key} |dL*| in {depth} bits", value, bound, f"{what}, both colours"))
    with tempfile.TemporaryDirectory() as folder:
        machine = machine_facts(_PACKAGES, Path(folder))
    scaled = [f"{_QUICK} photographs of each folder instead of {_WANTED}"] if asked.quick else []
    return conclude(asked, "luminance", promises, measured, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
