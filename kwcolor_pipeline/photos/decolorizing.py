"""The grey of a colour picture: as PIL makes it, as the eye sees it, or as a film saw it.

Belongs here: the decolorizers that ``pairs.decolorizer`` names. Which pictures are decolorized is the
affair of the callers.
"""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from kwcolor_pipeline.colour.films import EYE, ORTHOCHROMATIC, PANCHROMATIC

Pixels = npt.NDArray[np.uint8]

#: Weights of linear red, green and blue, by decolorizer.
WEIGHTS = {"lightness": EYE, "panchromatic": PANCHROMATIC, "orthochromatic": ORTHOCHROMATIC}
#: What ``pairs.decolorizer`` may be.
DECOLORIZERS = (*WEIGHTS, "luma")

# Linear light is looked up in this many steps: where sRGB is darkest, a grey level is still 318 of them wide.
_STEPS = 2**20 - 1


def decolorize(color: Pixels, decolorizer: str) -> Pixels:
    """Grey uint8 [height, width] of sRGB uint8 [height, width, 3].

    ``luma``: PIL's mode L (ITU-R 601 on encoded values), as the paper did. The others weigh linear
    light (IEC 61966-2-1) and encode the sum again: ``lightness`` by the eye's weights, which gives the
    grey of the same CIE L*, ``panchromatic`` and ``orthochromatic`` by those of ``colour.films``.
    Grey pixels keep their value. Raises KeyError for another name.
    """
    if decolorizer == "luma":
        return np.asarray(Image.fromarray(color).convert("L"))
    red, green, blue = _linear_steps(decolorizer)
    light = red.take(color[..., 0])
    light += green.take(color[..., 1])
    light += blue.take(color[..., 2])
    return _levels().take(light)


@functools.cache
def _linear_steps(decolorizer: str) -> list[npt.NDArray[np.int64]]:
    """For each channel the weighed linear light of its 256 values, in steps."""
    linear = _linear(np.arange(256) / 255)
    return [np.rint(linear * weight * _STEPS).astype(np.int64) for weight in WEIGHTS[decolorizer]]


@functools.cache
def _levels() -> Pixels:
    """The sRGB value of each step, and of what rounding three of them may add."""
    encoded = _encoded(np.arange(_STEPS + 3) / _STEPS)
    return np.rint(encoded * 255).clip(0, 255).astype(np.uint8)


def _linear(encoded: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Linear light 0..1 of sRGB values 0..1."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _encoded(linear: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """sRGB values 0..1 of linear light 0..1."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
