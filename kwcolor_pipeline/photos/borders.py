"""Uniform borders around a photograph: dark slide mounts, black bars, white mats, film, paper.

Belongs here: finding the borders, and opening a picture without them. What the picture inside
is good for does not.
"""

import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps

log = logging.getLogger(__name__)

#: Left, top, right, bottom in pixels, as PIL's ``crop`` takes them.
Box = tuple[int, int, int, int]

#: Raise it when other borders would be found: hashes and measures are of what is inside.
BORDERS_VERSION = "2"

#: The largest share of a side that is ever trimmed.
LARGEST_SHARE = 0.25

Grey = npt.NDArray[np.int16]

# The numbers below were fitted to Kodachromes of the Library of Congress with added borders; `benchmarks/curation.py`
# says how well they do.

# Borders are sought on a copy of at most this side, on this many of its lines across, so that cost does not grow.
_SEARCH_SIDE, _LINES = 384, 96
# A border may lie inside another one: the light beside the film, the film, the mount.
_ROUNDS = 4
# Grey levels by which a border's pixels differ from its level: by its noise, but at least and at most …
_NOISE_ROWS, _NOISE_TIMES, _NOISE_MORE = 4, 2.0, 1.1
_LEAST_REACH, _MOST_REACH = 3.7, 10.8
# … and beside content, that JPEG smears over blocks of 8 pixels, by this share of the difference to it.
_SMEARED = 0.145
# A border's first row has to be even to this share, and all of its rows together to that share.
_FIRST_EVEN, _EVEN = 0.35, 0.89
# Share of even pixels in a row of a border, and the least and most that is expected of a row of content.
_BORDER_ROW, _LEAST_CONTENT_ROW, _MOST_CONTENT_ROW = 0.99, 0.2, 0.9
# A row whose mean is further from the level is less likely border: from so many grey levels, and as much a level.
_SHIFT, _SHIFT_NOISE, _SHIFT_COST = 2.0, 0.39, 0.12
# What lies behind a border is seen in this share of the side.
_BEHIND = 0.02
# A pixel has an edge where it differs from its second next by so many grey levels.
_EDGE = 6.0
# Borders of one kind have levels as near as this.
_SAME_LEVEL = 14
# The light beside a slide is at most this share of the side wide; a blurred row behind it is even to that share.
_THIN, _THIN_EVEN = 0.02, 0.8


class _Bounds(NamedTuple):
    """What a border has to be like to be believed."""

    even: float
    drop: float
    edge: float
    widest: float


# By itself, when it is dark or light: mounts and bars come in pairs, a lone one may be a coat or a floor.
_ALONE = (_Bounds(0.943, 0.55, 0.4, 0.1), _Bounds(0.9, 0.65, 0.68, 0.13))
_ALONE_DARK, _ALONE_LIGHT = 40, 243
# By itself, when it is a thin line of any level.
_LINE = _Bounds(0.0, 0.7, 0.8, _THIN)
# So clear that no other is looked for.
_CLEAR = _Bounds(0.0, 0.5, 0.5, LARGEST_SHARE)
# With one opposite.
_PAIRED = _Bounds(_EVEN, 0.1, 0.33, LARGEST_SHARE)
# With a believed one opposite, or between others.
_SUPPORTED = _Bounds(0.0, 0.15, 0.03, LARGEST_SHARE)
_BETWEEN = _SUPPORTED._replace(widest=0.1)


class _Border(NamedTuple):
    """Rows at one edge of a picture that may be a border."""

    depth: int
    level: int
    even: float
    """Share of its pixels that are of its level"""
    drop: float
    """How much smaller that share is behind it"""
    edge: float
    """Share of the lines across it that have an edge where it ends"""
    share: float
    """Its depth as a share of the side"""

    def holds(self, bounds: _Bounds) -> bool:
        return (
            self.even >= bounds.even
            and self.drop >= bounds.drop
            and self.edge >= bounds.edge
            and self.share <= bounds.widest
        )

    def is_like(self, level: int) -> bool:
        return abs(self.level - level) <= _SAME_LEVEL

    @property
    def is_clear(self) -> bool:
        return self.holds(_CLEAR) and self.share > _THIN

    @property
    def stands_alone(self) -> bool:
        extreme = self.level <= _ALONE_DARK or self.level >= _ALONE_LIGHT
        return (extreme and any(self.holds(bounds) for bounds in _ALONE)) or self.holds(_LINE)


#: No border on any side.
_NONE: Sequence[_Border | None] = (None,) * 4


def trim_box(image: Image.Image) -> Box:
    """The part of ``image`` inside its borders, at most a quarter trimmed from each side.

    A border is of one level and ends in a straight line along the side, and there is mostly one like it on the
    opposite side. A night sky ends raggedly or not at all, so it stays. The whole picture where there is no border.
    """
    factor = math.ceil(max(image.size) / _SEARCH_SIDE)
    small = (image if image.mode in ("L", "RGB") else image.convert("RGB")).reduce(factor) if factor > 1 else image
    pixels = np.asarray(small.convert("L")).astype(np.int16)
    sides = (image.height, image.height, image.width, image.width)
    depths = zip(_depths(pixels), sides, strict=True)
    top, bottom, left, right = (min(depth * factor, int(side * LARGEST_SHARE)) for depth, side in depths)
    return left, top, image.width - right, image.height - bottom


def open_upright(path: Path) -> Image.Image:
    """The picture at ``path`` as people see it: sRGB, upright by its EXIF orientation, on white where transparent.

    Raises OSError (PIL.UnidentifiedImageError is one) where it cannot be decoded.
    """
    with Image.open(path) as opened:
        # In place, and below only where it is needed: a copy of a large scan is half a gigabyte.
        ImageOps.exif_transpose(opened, in_place=True)
    upright: Image.Image = opened
    profile = upright.info.get("icc_profile")
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        paper = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(paper, upright)
    if profile and upright.mode in ("RGB", "RGBA", "CMYK", "L"):
        upright = _to_srgb(upright, profile, path)
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def open_trimmed(path: Path) -> Image.Image:
    """Like :func:`open_upright`, without the borders."""
    upright = open_upright(path)
    return cropped(upright, trim_box(upright))


def cropped(image: Image.Image, box: Box) -> Image.Image:
    """The part of ``image`` inside ``box``; itself where that is all of it."""
    return image if box == (0, 0, *image.size) else image.crop(box)


def _to_srgb(image: Image.Image, profile: bytes, path: Path) -> Image.Image:
    image = image.convert("RGB") if image.mode == "RGBA" else image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        log.warning("the colour profile of %s cannot be used, sRGB is assumed: %s", path.name, error)
        return image
    return converted or image


def _depths(pixels: Grey) -> list[int]:
    """How many rows or columns are border: at the top, at the bottom, on the left and on the right."""
    height, width = pixels.shape
    sides = (height, height, width, width)
    depths, found = [0] * 4, [list[_Border]() for _ in sides]
    for _ in range(_ROUNDS):
        top, bottom, left, right = depths
        # Borders of the other sides would hide where one ends.
        inside = pixels[top : height - bottom, left : width - right]
        views = (inside, inside[::-1], inside.T, inside.T[::-1])
        limits = [int(side * LARGEST_SHARE) - depth for side, depth in zip(sides, depths, strict=True)]
        chosen = _believed([_borders(view, limit) for view, limit in zip(views, limits, strict=True)], found, sides)
        if not any(chosen):
            break
        for side, border in enumerate(chosen):
            if border:
                found[side].append(border)
                depths[side] += border.depth
    return depths


def _borders(pixels: Grey, limit: int) -> list[_Border]:
    """What may be a border at the top of ``pixels`` [rows, columns], at most ``limit`` rows deep.

    Of the level of the first row, and of that of the second, where the first is blurred with what lies outside.
    """
    rows, columns = pixels.shape
    if limit < 2 or columns < 8:
        return []
    behind, step = max(2, round(rows * _BEHIND)), -(-columns // _LINES)
    strip = pixels[: limit + 1 + behind, ::step]
    middle = pixels[rows // 3 : 2 * rows // 3 : max(1, rows // 48), :: 2 * step]
    found: list[_Border] = []
    for start, level in enumerate((_median(strip[0]), _median(strip[1]))):
        if found and (found[0].is_clear or abs(level - found[0].level) <= 1):
            break
        border = _border(strip, middle, start, level, limit, rows)
        found += [border] if border else []
    return found


def _border(strip: Grey, middle: Grey, start: int, level: int, limit: int, rows: int) -> _Border | None:
    """What may be a border of ``level`` from row ``start`` of ``strip`` on; None where nothing is.

    It ends where the rows so far are most likely border and the rest content, so that notches and lettering in it
    do not end it.
    """
    nearest = np.abs(strip[start : start + _NOISE_ROWS] - np.int16(level))
    noise = 1.48 * _median(nearest)
    reach = min(max(_NOISE_TIMES * noise + _NOISE_MORE, _LEAST_REACH), _MOST_REACH)
    lines = strip.shape[1]
    # Most sides of most pictures have no border, so they are left before the whole strip is looked at.
    if np.count_nonzero(nearest[:2] <= reach) < _FIRST_EVEN * 2 * lines:
        return None
    difference = strip - np.int16(level)
    distance = np.abs(difference)
    evenness = ((distance <= reach) | (distance <= _SMEARED * _largest_ahead(distance))).sum(axis=1) / lines
    difference = difference[start : limit + 1]
    shift = np.minimum(np.maximum(difference, -reach), reach).sum(axis=1) / lines
    # Measured on what is certainly content: dark photographs have many pixels of a dark mount's level.
    in_content = np.count_nonzero(np.abs(middle - np.int16(level)) <= reach) / middle.size
    gain = evenness[start : limit + 1] - _balance(min(max(in_content, _LEAST_CONTENT_ROW), _MOST_CONTENT_ROW))
    gain -= _SHIFT_COST * np.maximum(0, np.abs(shift) - (_SHIFT + _SHIFT_NOISE * noise))
    likelihood = gain.cumsum()
    length = int(likelihood.argmax()) + 1
    depth = start + length
    if likelihood[length - 1] <= 0 or depth > limit or (start and length < 2):
        return None
    its_evenness = float(evenness[start:depth].sum()) / length
    if its_evenness < _EVEN:
        return None
    if not start and depth <= max(1, _THIN * rows):
        depth += _is_blurred(strip, depth, level, reach)
    behind = evenness[depth : depth + max(2, round(rows * _BEHIND))]
    has_edge = np.abs(strip[depth + 1] - strip[depth - 1]) >= max(_EDGE, reach)
    return _Border(
        depth=depth,
        level=level,
        even=its_evenness,
        drop=its_evenness - float(behind.sum()) / len(behind),
        edge=np.count_nonzero(has_edge) / lines,
        share=depth / rows,
    )


def _balance(in_content: float) -> float:
    """Share of even pixels from which on a row is rather border than content, of which ``in_content`` are even."""
    unlike = math.log((1 - in_content) / (1 - _BORDER_ROW))
    return unlike / (unlike + math.log(_BORDER_ROW / in_content))


def _largest_ahead(distance: Grey) -> Grey:
    """The largest value in each row and the seven below it, column by column."""
    largest = distance.copy()
    for step in (1, 2, 4):
        np.maximum(largest[:-step], largest[step:], out=largest[:-step])
    return largest


def _is_blurred(strip: Grey, row: int, level: int, reach: float) -> bool:
    """Whether ``row``, behind a thin line of ``level``, is the line blurred with another border behind it."""
    here, beyond = _median(strip[row]), _median(strip[row + 1])
    between = min(level, beyond) < here < max(level, beyond) and abs(here - beyond) > reach
    return between and bool((np.abs(strip[row] - here) <= _MOST_REACH).mean() >= _THIN_EVEN)


def _believed(
    candidates: Sequence[Sequence[_Border]], found: Sequence[Sequence[_Border]], sides: Sequence[int]
) -> Sequence[_Border | None]:
    """Of the candidates at the top, bottom, left and right those that are borders, all of about one level.

    Of several levels the one with the widest borders. ``found`` are the borders that were trimmed before.
    """
    widest, best = 0.0, _NONE
    for level in sorted({border.level for borders in candidates for border in borders}):
        chosen = _believed_of(level, candidates, found, sides)
        width = sum(border.share for border in chosen if border)
        if width > widest:
            widest, best = width, chosen
    return best


def _believed_of(
    level: int, candidates: Sequence[Sequence[_Border]], found: Sequence[Sequence[_Border]], sides: Sequence[int]
) -> Sequence[_Border | None]:
    """The borders among the candidates of about ``level``."""
    before = [[border for border in borders if border.is_like(level)] for borders in found]
    # A border does not follow on itself, but for a line that was blurred.
    ended = [
        any(border.depth > _THIN * side for border in borders) for borders, side in zip(before, sides, strict=True)
    ]
    likely = [
        None if at_end else max((b for b in borders if b.is_like(level)), key=lambda b: b.drop * b.edge, default=None)
        for borders, at_end in zip(candidates, ended, strict=True)
    ]
    paired = [border is not None and border.holds(_PAIRED) for border in likely]
    sure = [
        border is not None and (border.stands_alone or (paired[side] and (paired[side ^ 1] or bool(before[side ^ 1]))))
        for side, border in enumerate(likely)
    ]
    others = sum(sure) + sum(map(bool, before))
    if not any(sure) and sum(map(bool, before)) < 2:
        return _NONE
    return [
        border
        if border is not None
        and (
            sure[side]
            or ((sure[side ^ 1] or before[side ^ 1]) and border.holds(_SUPPORTED))
            or (others >= 2 and (paired[side] or border.holds(_BETWEEN)))
        )
        else None
        for side, border in enumerate(likely)
    ]


def _median(values: Grey) -> int:
    ordered = np.sort(values, axis=None)
    return int(ordered[ordered.size // 2])
