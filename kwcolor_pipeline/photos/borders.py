"""Uniform borders around a photograph: dark slide mounts, black bars, white mats.

Belongs here: finding the borders, and opening a picture without them. What the picture inside
is good for does not.
"""

import io
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps

log = logging.getLogger(__name__)

#: Left, top, right, bottom in pixels, as PIL's ``crop`` takes them.
Box = tuple[int, int, int, int]

#: Raise it when other borders would be found: hashes and measures are of what is inside.
BORDERS_VERSION = "1"

#: The largest share of a side that is ever trimmed.
LARGEST_SHARE = 0.25

# Mounts and bars come in pairs: a deeper border needs one opposite, else it is a dark coat or a white floor.
_LONE_SHARE = 0.1
# Borders are sought on a copy of at most this side, so that cost and noise do not grow with a scan.
_SEARCH_SIDE = 384
# The outermost lines of scans often show light beside the slide; the border may start behind them.
_SKIPPED_SHARE = 0.04
# A border is darker than this or lighter than that (0..255); grey or coloured areas are content.
_DARKEST_CONTENT = 56
_LIGHTEST_CONTENT = 215
# Grey levels that a border may deviate from its own level: noise, JPEG, uneven mounts.
_TOLERANCE = 16
# A border ends in an edge: this many grey levels within this many rows before it.
_EDGE_CONTRAST = 12
_EDGE = 3
# A border ends in a straight line: this share of the lines across it has to end there together …
_STRAIGHT_SHARE = 0.35
# … within this share of the side (tilted scans), and only this share may end earlier (notches, lettering).
_STRAIGHT_WINDOW = 0.03
_EARLY_SHARE = 0.3


def trim_box(image: Image.Image) -> Box:
    """The part of ``image`` inside its borders, at most a quarter trimmed from each side.

    A border is dark or light, starts at the edge and ends in a straight line along the side.
    A night sky ends raggedly or not at all, so it stays. The whole picture where there is no border.
    """
    grey = image.convert("L")
    scale = max(1.0, max(grey.size) / _SEARCH_SIDE)
    if scale > 1:
        grey = grey.resize((round(grey.width / scale), round(grey.height / scale)), Image.Resampling.BOX)
    pixels = np.asarray(grey, dtype=np.int16)
    top, bottom = _opposite_depths(pixels)
    # The top and bottom borders would hide where the left and right ones end.
    across = pixels[top : pixels.shape[0] - bottom].T
    left, right = _opposite_depths(across)
    return (
        _scaled(left, scale),
        _scaled(top, scale),
        image.width - _scaled(right, scale),
        image.height - _scaled(bottom, scale),
    )


def open_upright(path: Path) -> Image.Image:
    """The picture at ``path`` as people see it: sRGB, upright by its EXIF orientation, on white where transparent.

    Raises OSError (PIL.UnidentifiedImageError is one) where it cannot be decoded.
    """
    with Image.open(path) as opened:
        upright = ImageOps.exif_transpose(opened)
        profile = opened.info.get("icc_profile")
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        paper = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(paper, upright)
    if profile and upright.mode in ("RGB", "RGBA", "CMYK", "L"):
        upright = _to_srgb(upright, profile, path)
    return upright.convert("RGB")


def open_trimmed(path: Path) -> Image.Image:
    """Like :func:`open_upright`, without the borders."""
    upright = open_upright(path)
    return upright.crop(trim_box(upright))


def _to_srgb(image: Image.Image, profile: bytes, path: Path) -> Image.Image:
    image = image.convert("RGB") if image.mode == "RGBA" else image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        log.warning("the colour profile of %s cannot be used, sRGB is assumed: %s", path.name, error)
        return image
    return converted or image


def _scaled(depth: int, scale: float) -> int:
    return int(np.ceil(depth * scale))


def _opposite_depths(pixels: npt.NDArray[np.int16]) -> tuple[int, int]:
    """How many rows from the top and from the bottom are border."""
    first, last = _border_depth(pixels), _border_depth(pixels[::-1])
    lone = _LONE_SHARE * pixels.shape[0]
    return (0 if first > lone and not last else first), (0 if last > lone and not first else last)


def _border_depth(pixels: npt.NDArray[np.int16]) -> int:
    """How many rows from the top of grey ``pixels`` [rows, columns] are border."""
    rows, columns = pixels.shape
    skipped = max(1, round(rows * _SKIPPED_SHARE))
    limit = int(rows * LARGEST_SHARE)
    if limit < 2 or columns < 8:
        return 0
    outermost, inside = pixels[:skipped], pixels[: limit + 1]
    dark, light = int(np.quantile(outermost, 0.25)), int(np.quantile(outermost, 0.75))
    window = max(1, round(rows * _STRAIGHT_WINDOW))
    if dark <= _DARKEST_CONTENT:
        depth = _straight_end(_run_ends(inside, inside <= dark + _TOLERANCE, skipped), limit, window)
        if depth:
            return depth
    if light >= _LIGHTEST_CONTENT:
        return _straight_end(_run_ends(inside, inside >= light - _TOLERANCE, skipped), limit, window)
    return 0


def _run_ends(pixels: npt.NDArray[np.int16], in_border: npt.NDArray[np.bool_], skipped: int) -> npt.NDArray[np.intp]:
    """For each column the row where its border ends: 0 without one, the number of rows without an end."""
    rows, columns = in_border.shape
    starts = np.where(in_border[:skipped].any(axis=0), in_border[:skipped].argmax(axis=0), 0)
    outside = ~in_border & (np.arange(rows)[:, None] >= starts)
    ends = np.where(outside.any(axis=0), outside.argmax(axis=0), rows)
    # A border ends in an edge; a sky only grows lighter row by row until it passes the tolerance.
    column = np.arange(columns)
    before, after = np.clip(ends - _EDGE, 0, rows - 1), np.clip(ends + 1, 0, rows - 1)
    edge = np.abs(pixels[after, column] - pixels[before, column]) >= _EDGE_CONTRAST
    return np.where(edge | (ends == 0), ends, rows)


def _straight_end(ends: npt.NDArray[np.intp], limit: int, window: int) -> int:
    """The row behind which the border ends for many columns together; 0 where there is none."""
    counts = np.bincount(ends, minlength=limit + 2)[: limit + 1]
    together = np.convolve(counts, np.ones(window + 1, dtype=int), mode="valid")
    first = int(together[1:].argmax()) + 1
    early = counts[:first].sum() / ends.size
    if together[first] < _STRAIGHT_SHARE * ends.size or early > _EARLY_SHARE:
        return 0
    inside = ends[(ends >= first) & (ends <= first + window)]
    return int(np.quantile(inside, 0.9, method="higher"))
