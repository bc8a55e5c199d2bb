"""Copies of photographs as archives and web pages have them: smaller, toned, framed, captioned, cropped, turned.

Belongs here: making such copies, always the same from the same photograph and number. Whether they are found is
`duplicate_recall`'s affair.
"""

# ruff: noqa: ARG001, ARG005 - every way of copying is given a number

import math
from collections.abc import Callable

import numpy as np
from altered import grey, saved, sepia
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

Copy = Callable[[Image.Image, int], Image.Image]


def _half(image: Image.Image, number: int) -> Image.Image:
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)


def _contrast(image: Image.Image, number: int) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(1.4)


def _caption(image: Image.Image, number: int) -> Image.Image:
    """A white bar over the lowest tenth, with a line of type."""
    captioned = image.copy()
    top = round(image.height * 0.9)
    draw = ImageDraw.Draw(captioned)
    draw.rectangle((0, top, image.width, image.height), fill="white")
    draw.text((4, top + 1), f"NO. {1000 + number}  SEOUL, KOREA, 1951", fill="black")
    return captioned


def _mat(image: Image.Image, number: int) -> Image.Image:
    """Off-white card of a twentieth of the shorter side around the picture."""
    return ImageOps.expand(image, max(1, round(0.05 * min(image.size))), (245, 243, 238))


def _crop(share: float) -> Copy:
    """Without ``share`` of the width and of the height, taken from the edges in other parts each time."""

    def cropped(image: Image.Image, number: int) -> Image.Image:
        random = np.random.default_rng(number)
        width, height = (max(1, round(side * (1 - share))) for side in image.size)
        left, top = int(random.integers(0, image.width - width + 1)), int(random.integers(0, image.height - height + 1))
        return image.crop((left, top, left + width, top + height))

    return cropped


def _turned(image: Image.Image, number: int) -> Image.Image:
    """Turned by 2 degrees, either way, and cropped to what lies inside the turned picture."""
    degrees = 2 if number % 2 else -2
    sine = math.sin(math.radians(2))
    across, down = math.ceil(image.height * sine / 2) + 1, math.ceil(image.width * sine / 2) + 1
    turned = image.rotate(degrees, Image.Resampling.BICUBIC)
    return turned.crop((across, down, image.width - across, image.height - down))


#: Copies by name, and the share of them that has to be found.
COPIES: dict[str, tuple[Copy, float]] = {
    "half size": (_half, 0.99),
    "JPEG 20": (lambda image, number: saved(image, 20), 0.99),
    "contrast 1.4": (_contrast, 0.99),
    "grey": (lambda image, number: grey(image), 0.99),
    "sepia": (lambda image, number: sepia(image), 0.99),
    "mirror": (lambda image, number: ImageOps.mirror(image), 0.99),
    "caption bar 10 %": (_caption, 0.99),
    "mat 5 %": (_mat, 0.95),
    "crop 3 %": (_crop(0.03), 0.95),
    "turned 2 degrees": (_turned, 0.95),
    "crop 10 %": (_crop(0.1), 0.9),
    "crop 20 %": (_crop(0.2), 0.7),
}
