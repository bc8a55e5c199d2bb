"""What tells photographs from pictures that nobody photographed: drawings, maps, posters, pages, collages.

Belongs here: measuring how even a picture is, how few colours it has, and whether a bar parts it. Which values are a
photograph's is a matter of the settings and of ``curation``.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

# Exact evenness is judged on the larger copy, the rest on the smaller one.
_EVEN_SIDE, _SIDE = 256, 160
# Darker pixels are even and of one colour in night photographs as well.
_DARK = 32
# Colours of a printed picture that count, and how far one reaches: grey levels in each channel.
_INKS, _INK_REACH = 8, 6.0
# Colours this near each other are one ground: a sky is a chain of them. Rarer ones are no links of it.
_GROUND_STEP, _RARE = 8.0, 0.001
# Histogram in which an ink is looked for: so many levels in each channel.
_LEVELS = 64
# Grey levels that neighbours may differ by in an even area, after a blur.
_EVEN_STEP = 1.5
# A bar between two photographs of a collage: at least this share of it is this near its colour …
_BAR_SHARE, _BAR_REACH = 0.95, 12.0
# … which is darker than this or lighter than that …
_BAR_DARK, _BAR_LIGHT = 40.0, 215.0
# … it is at most this share of the side wide and this far from the edge …
_BAR_WIDTH, _BAR_INSIDE = 0.06, 0.1
# … and what differs from it so much beside it is not the bar.
_BAR_CONTRAST = 24.0


def measure_drawing(rgb: Image.Image) -> dict[str, float]:
    """How much ``rgb`` is like a print, a page, a screen or a collage; each between 0 and 1.

    ``even_share``: share of pixels that equal their neighbours and are not dark; drawn by a computer.
    ``plain_share``: of what is not ground, the share that is even and of one of a few colours. The ground is the most
    frequent colour and those that lead on from it, so that a bird in an even sky is no drawing.
    ``few_colours``: share of the pixels that have one of eight colours; pages of text.
    ``bar``: how clearly a straight, dark or light bar parts the picture from edge to edge: the share of its length
    where what lies on either side differs from it; collages.
    """
    pixels = _small(rgb, _SIDE)
    soft = _blurred(pixels)
    light = soft.mean(axis=0) > _DARK
    return {
        "even_share": _even_share(_small(rgb, _EVEN_SIDE)),
        "plain_share": _plain_share(soft, light & _even(soft)),
        "few_colours": _in_inks(*_colours(soft[:, light])) / light.size,
        "bar": max(_bar(pixels), _bar(pixels.swapaxes(1, 2))),
    }


def _small(rgb: Image.Image, side: int) -> Array:
    """[3, rows, columns] of a copy of at most ``side`` pixels a side."""
    small = rgb.copy()
    small.thumbnail((side, side), Image.Resampling.BOX)
    return np.ascontiguousarray(np.asarray(small, dtype=np.float32).transpose(2, 0, 1))


def _even_share(pixels: Array) -> float:
    here = pixels[:, :-1, :-1]
    if not here.size:
        return 0.0
    even = (here == pixels[:, :-1, 1:]).all(axis=0) & (here == pixels[:, 1:, :-1]).all(axis=0)
    return float((even & (here.mean(axis=0) > _DARK)).mean())


def _even(pixels: Array) -> Mask:
    """Which pixels hardly differ from their right and lower neighbours."""
    even = np.ones(pixels.shape[1:], dtype=bool)
    even[:, :-1] &= np.abs(np.diff(pixels, axis=2)).max(axis=0) <= _EVEN_STEP
    even[:-1] &= np.abs(np.diff(pixels, axis=1)).max(axis=0) <= _EVEN_STEP
    return even


def _plain_share(pixels: Array, even: Mask) -> float:
    """Of the pixels that are not ground, the share that is ``even`` and of a few colours; see `measure_drawing`."""
    colours, counts = _colours(pixels[:, even])
    ground = _ground(colours, counts)
    # Of a picture that is nearly all ground, what is left says little.
    left = max(even.size - counts[ground].sum(), 0.1 * even.size)
    return _in_inks(colours[:, ~ground], counts[~ground]) / float(left)


def _colours(pixels: Array) -> tuple[Array, Counts]:
    """The colours [3, colours] of ``pixels`` [3, pixels], nearly equal ones as one, and how many have each."""
    red, green, blue = (pixels * (_LEVELS / 256)).astype(np.int32)
    cells = (red * _LEVELS + green) * _LEVELS + blue
    _, cell, counts = np.unique(cells, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(cell, channel, len(counts)) for channel in pixels])
    return (sums / np.maximum(counts, 1)).astype(np.float32), counts


def _ground(colours: Array, counts: Counts) -> Mask:
    """Which of the colours are the most frequent one or lead on from it, colour by colour."""
    ground = np.zeros(counts.shape, dtype=bool)
    frequent = np.flatnonzero(counts >= _RARE * counts.sum())
    if frequent.size:
        near = np.abs(colours[:, frequent, None] - colours[:, None, frequent]).max(axis=0) <= _GROUND_STEP
        reached = np.arange(frequent.size) == counts[frequent].argmax()
        grown = near[reached].any(axis=0)
        while grown.sum() > reached.sum():
            reached, grown = grown, near[grown].any(axis=0)
        ground[frequent[reached]] = True
    return ground


def _in_inks(colours: Array, counts: Counts) -> int:
    """How many pixels have one of the few most frequent colours, or nearly so."""
    left, found = counts.copy(), 0
    for _ in range(_INKS):
        if not left.any():
            break
        reached = np.abs(colours - colours[:, left.argmax(), None]).max(axis=0) <= _INK_REACH
        found += int(left[reached].sum())
        left[reached] = 0
    return found


def _bar(pixels: Array) -> float:
    """The clearest bar from the upper edge to the lower one inside ``pixels`` [3, rows, columns]; 0 without one."""
    columns = pixels.shape[2]
    colour = np.median(pixels, axis=1)
    level = colour.mean(axis=0)
    even = (np.abs(pixels - colour[:, None]).max(axis=0) <= _BAR_REACH).mean(axis=0) >= _BAR_SHARE
    in_bar = even & ((level < _BAR_DARK) | (level > _BAR_LIGHT))
    turns = np.flatnonzero(np.diff(np.concatenate([[False], in_bar, [False]])))
    margin, widest = max(2, columns * _BAR_INSIDE), max(3, columns * _BAR_WIDTH)
    clearest = 0.0
    for first, end in zip(turns[::2].tolist(), turns[1::2].tolist(), strict=True):
        if first >= margin and end <= columns - margin and end - first <= widest:
            bar = colour[:, first:end].mean(axis=1)
            # The pixel next to it may be blurred with it.
            beside = np.abs(pixels[:, :, [first - 2, end + 1]] - bar[:, None, None]).max(axis=0) > _BAR_CONTRAST
            clearest = max(clearest, float(beside.mean(axis=0).min()))
    return clearest


def _blurred(pixels: Array) -> Array:
    """Means over 3 x 3 pixels, repeated beyond the edges."""
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    blurred: Array = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
    return blurred
