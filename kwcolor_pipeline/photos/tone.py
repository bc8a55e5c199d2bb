"""What tells colours that were photographed from a tone: grey, sepia, selenium, a faint tint.

Belongs here: measuring how colourful a picture is and how much of its colour its lightness does not explain. Which
values are colour is a matter of the settings and of ``curation``.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float64]

# Chroma is judged on a copy this small: that of small JPEG files is blocks of 16 pixels.
_CHROMA_SIDE = 96
# What lightness explains is found out on this copy, pixel by pixel, and compared in so many cells a side.
_SIDE = 160
_CELLS = 24
# A tone is a curve over lightness with this many corners.
_CORNERS = 12
# How much the curve is kept from following noise, as a share of the cells.
_RIDGE = 1e-4


def measure_tone(rgb: Image.Image) -> dict[str, float]:
    """How much colour ``rgb`` has, and how much of it was photographed.

    ``strong_chroma``: 95th percentile of CIELAB chroma. ``chroma``: its root mean square. ``spread``: root mean
    square of what lightness does not explain of a* and b*, in chroma units. Toning makes colour a function of
    lightness, whatever the function, so the spread is near zero however strong the tone; a photograph of a blue sky
    has white clouds of a blue's lightness.
    """
    strong = np.quantile(_chroma(_lab(rgb, _CHROMA_SIDE)), 0.95)
    lab = _lab(rgb, _SIDE)
    return {
        "strong_chroma": float(strong),
        "chroma": float(np.sqrt(np.mean(_chroma(lab) ** 2))),
        "spread": _spread(lab),
    }


def _lab(rgb: Image.Image, side: int) -> Array:
    """CIELAB (D65) [rows, columns, 3] of a copy of at most ``side`` pixels a side."""
    from skimage.color import rgb2lab

    small = rgb.copy()
    small.thumbnail((side, side), Image.Resampling.BOX)
    lab: Array = rgb2lab(np.asarray(small))
    return lab


def _chroma(lab: Array) -> Array:
    return np.hypot(lab[..., 1], lab[..., 2])


def _spread(lab: Array) -> float:
    """Root mean square of the part of a*, b* that no curve over L* gives, blurred over three cells.

    The curve is a sum of hat functions of L*. Hats and colours are averaged over cells alike, so that a toned
    picture fits exactly however fine its details are. JPEG keeps chroma in coarser blocks than lightness; so the
    hats of a cell's neighbourhood may explain its colour as well, and what is left is blurred.
    """
    cell = max(1, round(max(lab.shape[:2]) / _CELLS))
    rows, columns = (max(1, length // cell) for length in lab.shape[:2])
    # What does not fill a cell is left out.
    whole = lab[: rows * cell, : columns * cell]
    hats = _hats(whole[..., 0], rows, columns)
    colours = _split(whole[..., 1:], rows, columns).mean(axis=(1, 3))
    known = np.concatenate([hats, _blurred(hats)], axis=-1).reshape(-1, 2 * _CORNERS)
    wanted = colours.reshape(-1, 2)
    ridge = _RIDGE * len(known) * np.eye(known.shape[1])
    curve = np.linalg.solve(known.T @ known + ridge, known.T @ wanted)
    unexplained = _blurred((wanted - known @ curve).reshape(colours.shape))
    return float(np.sqrt((unexplained**2).sum(axis=-1).mean()))


def _hats(lightness: Array, rows: int, columns: int) -> Array:
    """[rows, columns, corners] of the cells: how near their pixels are to each corner of the curve; adds up to 1."""
    corners = np.quantile(lightness, np.linspace(0.02, 0.98, _CORNERS))
    # Equal corners, as even pictures have them, would make a hat of no width.
    corners = np.maximum.accumulate(corners + 1e-3 * np.arange(_CORNERS))
    place = _split(np.interp(lightness, corners, np.arange(_CORNERS))[..., None], rows, columns)
    lower = np.minimum(place.astype(np.int64), _CORNERS - 2)
    share = (place - lower).ravel()
    first_hat = _CORNERS * np.arange(rows * columns).reshape(rows, 1, columns, 1, 1)
    hat, count = (first_hat + lower).ravel(), rows * columns * _CORNERS
    hats: Array = np.asarray(np.bincount(hat, 1 - share, count) + np.bincount(hat + 1, share, count), np.float64)
    return hats.reshape(rows, columns, _CORNERS) * (rows * columns / share.size)


def _split(values: Array, rows: int, columns: int) -> Array:
    """``values`` [height, width, …] as [rows, height of a cell, columns, width of a cell, …]."""
    height, width = values.shape[:2]
    return values.reshape(rows, height // rows, columns, width // columns, -1)


def _blurred(values: Array) -> Array:
    """Means of ``values`` [rows, columns, features] over 3 x 3, repeated beyond the edges."""
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    blurred: Array = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    return blurred
