"""Photographs with something done to them whose measure is known: borders added, colours taken or replaced.

Belongs here: making such copies, always the same from the same photograph and number. What has to be found of
it is in `curation`.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Array = npt.NDArray[np.float64]

#: Widths of added borders, as shares of the picture's side.
_NARROWEST, _WIDEST = 0.02, 0.15
#: What is left of a photograph's colour in a scan that is only tinted.
TINTED_CHROMA = 0.04


@dataclass(frozen=True)
class Framed:
    """A picture inside borders, and where the picture is (left, top, right, bottom)."""

    image: Image.Image
    picture: tuple[int, int, int, int]
    kind: str


def without_borders(image: Image.Image, share: float = 0.7) -> Image.Image:
    """The middle of a photograph: ``share`` of each side, in which the archives' own borders do not reach."""
    across, down = round(image.width * (1 - share) / 2), round(image.height * (1 - share) / 2)
    return image.crop((across, down, image.width - across, image.height - down)).convert("RGB")


def framed(image: Image.Image, number: int) -> Framed:
    """``image`` inside borders of the kind, widths, noise and JPEG quality that ``number`` stands for."""
    random = np.random.default_rng(number)
    kind = list(_KINDS)[number % len(_KINDS)]
    sides = ["across", "down"] if kind != "letterbox" else [str(random.choice(["across", "down"]))]
    left, right = (_width(image.width, random) if "across" in sides else 0 for _ in range(2))
    top, bottom = (_width(image.height, random) if "down" in sides else 0 for _ in range(2))
    size = (image.width + left + right, image.height + top + bottom)
    box = (left, top, left + image.width, top + image.height)
    canvas = _KINDS[kind](image, box, size, random)
    # Half are saved as small files: every second one of each kind.
    quality = 60 if number // len(_KINDS) % 2 else None
    return Framed(saved(canvas, quality) if quality else canvas, box, kind)


def saved(image: Image.Image, quality: int) -> Image.Image:
    """``image`` as it comes back from a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def grey(image: Image.Image) -> Image.Image:
    """No colour at all."""
    return image.convert("L").convert("RGB")


def sepia(image: Image.Image) -> Image.Image:
    """The tone of old prints: each channel its own curve of the grey."""
    return _by_lightness(image, lambda level: np.stack([level**0.8, level, 0.9 * level**1.3], axis=-1))


def selenium(image: Image.Image) -> Image.Image:
    """Purple-brown shadows, neutral lights."""
    shadow = np.array([0.10, 0.03, 0.08])
    return _by_lightness(image, lambda level: level[..., None] + (1 - level[..., None]) ** 2 * shadow)


def cyanotype(image: Image.Image) -> Image.Image:
    """Prussian blue to white."""
    return _between(image, [(0.04, 0.10, 0.30), (0.15, 0.42, 0.68), (0.95, 0.97, 0.96)])


def duotone(image: Image.Image) -> Image.Image:
    """Two inks: blue-green shadows to cream lights, with orange between."""
    return _between(image, [(0.05, 0.15, 0.22), (0.62, 0.42, 0.30), (1.0, 0.96, 0.82)])


def magenta(image: Image.Image) -> Image.Image:
    """A colour print whose other dyes have faded away."""
    return _between(image, [(0.35, 0.08, 0.22), (0.80, 0.50, 0.62), (0.98, 0.90, 0.92)])


def tinted(image: Image.Image) -> Image.Image:
    """A little of the photograph's own colour left."""
    return _tinted(image, 0.0, 0.0)


def tinted_on_cream(image: Image.Image) -> Image.Image:
    """A little of the photograph's own colour on paper that has yellowed."""
    return _tinted(image, 1.5, 9.0)


def tinted_on_blue(image: Image.Image) -> Image.Image:
    """A little of the photograph's own colour under a bluish scanner."""
    return _tinted(image, -1.0, -6.0)


#: Copies that are no colour photographs any more, by name.
COLOURLESS: dict[str, Callable[[Image.Image], Image.Image]] = {
    make.__name__: make
    for make in (
        grey,
        sepia,
        selenium,
        cyanotype,
        duotone,
        magenta,
        tinted,
        tinted_on_cream,
        tinted_on_blue,
    )
}


def _by_lightness(image: Image.Image, colour: Callable[[Array], Array]) -> Image.Image:
    level = np.asarray(image.convert("L"), dtype=np.float64) / 255
    return Image.fromarray((colour(level).clip(0, 1) * 255).round().astype(np.uint8))


def _between(image: Image.Image, inks: list[tuple[float, float, float]]) -> Image.Image:
    places = np.linspace(0, 1, len(inks))
    columns = np.array(inks).T
    return _by_lightness(
        image, lambda level: np.stack([np.interp(level, places, column) for column in columns], axis=-1)
    )


def _tinted(image: Image.Image, paper_a: float, paper_b: float) -> Image.Image:
    """``TINTED_CHROMA`` of the CIELAB chroma, and the paper's colour where it shows through the lights."""
    from skimage.color import lab2rgb, rgb2lab

    lab = rgb2lab(np.asarray(image.convert("RGB")))
    shows = lab[..., :1] / 100
    lab[..., 1:] = lab[..., 1:] * TINTED_CHROMA + shows * np.array([paper_a, paper_b])
    return Image.fromarray((lab2rgb(lab).clip(0, 1) * 255).round().astype(np.uint8))


def _width(side: int, random: np.random.Generator) -> int:
    return max(1, round(side * random.uniform(_NARROWEST, _WIDEST)))


Size = tuple[int, int]
Box = tuple[int, int, int, int]


def _even(size: Size, level: float, noise: float, random: np.random.Generator, tint: float = 0.0) -> Image.Image:
    """A sheet of ``level`` with grain that the three channels share; ``tint`` grey levels warmer in red."""
    grain = random.normal(0, noise, (size[1], size[0], 1)) if noise else np.zeros((size[1], size[0], 1))
    return Image.fromarray((level + grain + np.array([tint, 0.0, -tint])).clip(0, 255).round().astype(np.uint8))


def _black(image: Image.Image, box: Box, size: Size, random: np.random.Generator) -> Image.Image:
    canvas = _even(size, random.uniform(0, 12), random.uniform(0, 2), random)
    canvas.paste(image, box)
    return canvas


def _slide_mount(image: Image.Image, box: Box, size: Size, random: np.random.Generator) -> Image.Image:
    canvas = _even(size, random.uniform(8, 35), random.uniform(2, 5), random)
    radius = min(image.size) * random.uniform(0.03, 0.08)
    mask = Image.new("L", (image.width * 4, image.height * 4), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius=radius * 4, fill=255)
    canvas.paste(image, box, mask.resize(image.size, Image.Resampling.BOX))
    return canvas


def _white_mat(image: Image.Image, box: Box, size: Size, random: np.random.Generator) -> Image.Image:
    canvas = _even(size, random.uniform(245, 255), random.uniform(0, 1.5), random)
    canvas.paste(image, box)
    return canvas


def _paper(image: Image.Image, box: Box, size: Size, random: np.random.Generator) -> Image.Image:
    canvas = _even(size, random.uniform(200, 235), random.uniform(2, 4), random, tint=random.uniform(0, 6))
    canvas.paste(image, box)
    return canvas


def _film_rebate(image: Image.Image, box: Box, size: Size, random: np.random.Generator) -> Image.Image:
    """Dark film around the picture, and the light beside the film as the outermost lines."""
    canvas = _even(size, random.uniform(225, 255), 1.5, random)
    line = max(1, round(min(size) * 0.01))
    film = _even((size[0] - 2 * line, size[1] - 2 * line), random.uniform(5, 25), random.uniform(1, 3), random)
    canvas.paste(film, (line, line))
    canvas.paste(image, box)
    return canvas.filter(ImageFilter.GaussianBlur(0.4))


_KINDS: dict[str, Callable[[Image.Image, Box, Size, np.random.Generator], Image.Image]] = {
    "black": _black,
    "slide mount": _slide_mount,
    "white mat": _white_mat,
    "paper": _paper,
    "film rebate": _film_rebate,
    "letterbox": _black,
}
KINDS_OF_BORDERS = tuple(_KINDS)
