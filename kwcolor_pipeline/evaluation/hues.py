"""Which hues a picture is made of: a histogram of the hue angle, weighted by chroma.

Belongs here: the shares of one picture, and what two sets of shares have in common. How they are drawn is
in ``charts``.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from kwcolor_pipeline.colour.lab import lab_to_rgb_in_gamut
from kwcolor_pipeline.colour.measures import SEEN_CHROMA, lab_of
from kwcolor_pipeline.networks.features import Picture

#: Sectors of the hue circle, each of 15 degrees; the first begins at +a*, a purplish red.
SECTORS = 24
#: Pixels along the longer side that are looked at; a distribution needs no more.
_LOOKED_AT = 160


def hue_shares(picture: Picture) -> NDArray[np.float64]:
    """Share of each of 24 hue sectors in the chroma of a picture, uint8 (H, W, 3): they sum to 1, or are all 0.

    Hue is h_ab, the angle of (a*, b*) in CIELAB (D65), and each pixel counts by its chroma C*_ab (CIE 15),
    because the hue of what is nearly grey is noise; below
    :data:`~kwcolor_pipeline.colour.measures.SEEN_CHROMA` it does not count. All are 0 where nothing counts.
    """
    step = max(1, -(-max(picture.shape[:2]) // _LOOKED_AT))
    _, a, b = lab_of(np.ascontiguousarray(picture[::step, ::step])).numpy().astype(np.float64)
    chroma = np.hypot(a, b)
    angle = np.degrees(np.arctan2(b, a)) % 360
    weights = np.where(chroma < SEEN_CHROMA, 0.0, chroma)
    # The modulo lets the angle that rounding makes 360 begin again.
    sectors = (angle // (360 / SECTORS)).astype(np.int64) % SECTORS
    counts = np.bincount(sectors.ravel(), weights.ravel(), SECTORS).astype(np.float64)
    total = counts.sum()
    return counts / total if total else counts


def hues_in_common(first: Sequence[float], second: Sequence[float]) -> float:
    """The part of two distributions that they share, 0..1: the sum of the smaller share of each sector."""
    return float(np.minimum(first, second).sum())


def sector_colours(lightness: float = 66.0, chroma: float = 46.0) -> list[str]:
    """A colour of each sector's middle hue as `#rrggbb`, of one lightness and of as much chroma as sRGB has there."""
    middles = torch.deg2rad((torch.arange(SECTORS) + 0.5) * 360 / SECTORS)
    lab = torch.stack([torch.full((SECTORS,), lightness), chroma * middles.cos(), chroma * middles.sin()])
    levels = (lab_to_rgb_in_gamut(lab[:, None]) * 255).round().int()[:, 0].T.tolist()
    return ["#" + "".join(f"{level:02x}" for level in colour) for colour in levels]
