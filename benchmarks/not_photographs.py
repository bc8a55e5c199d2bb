"""Pictures that archives hold beside photographs: maps, posters, drawings, title cards, pages, screenshots, collages.

Belongs here: drawing them, always the same from the same number. What is made of them is in `curation`.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]

_SIZE = (480, 360)
_WORDS = "KOREA 1950 Seoul Pusan river division army the of and northern hills road village bridge attack at dawn"


def drawn(kind: str, number: int, photographs: Sequence[Image.Image]) -> Image.Image:
    """The picture of ``kind`` and ``number``; every second one as a small JPEG file gives it back."""
    random = np.random.default_rng(number)
    image = _KINDS[kind](random, photographs)
    if number % 2 == 0:
        return image
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def _map(random: np.random.Generator, _: Sequence[Image.Image]) -> Image.Image:
    """Countries in pale even colours, borders, rivers, names; printed on paper."""
    sea, *lands = (_pale(random) for _ in range(6))
    image = Image.new("RGB", _SIZE, sea)
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(6, 12))):
        outline = _blob(random, _SIZE, random.uniform(40, 130))
        draw.polygon(outline, fill=lands[int(random.integers(len(lands)))], outline=(90, 60, 60))
    for _ in range(8):
        draw.line(_blob(random, _SIZE, random.uniform(60, 160))[:12], fill=(60, 90, 170), width=1)
    for _ in range(14):
        _write(draw, random, _SIZE, 10, (30, 30, 30))
    return _scanned(image, random, grain=2.5)


def _poster(random: np.random.Generator, _: Sequence[Image.Image]) -> Image.Image:
    """A few strong even colours and large letters."""
    image = Image.new("RGB", _SIZE[::-1], _strong(random))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        draw.polygon(_blob(random, image.size, random.uniform(50, 130)), fill=_strong(random))
    for _ in range(3):
        _write(draw, random, image.size, 40, _strong(random))
    return _scanned(image, random, grain=2.0)


def _drawing(random: np.random.Generator, _: Sequence[Image.Image]) -> Image.Image:
    """A comic: even fields inside black lines."""
    image = Image.new("RGB", _SIZE, _pale(random))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        outline = _blob(random, _SIZE, random.uniform(20, 90))
        draw.polygon(outline, fill=_strong(random))
        draw.line([*outline, outline[0]], fill=(10, 10, 10), width=3)
    return _scanned(image, random, grain=1.0)


def _title_card(random: np.random.Generator, _: Sequence[Image.Image]) -> Image.Image:
    """Light letters on an even or slowly changing coloured ground, as film begins."""
    ramp = np.linspace(0, 1, _SIZE[1])[:, None, None]
    first, second = np.array(_strong(random)), np.array(_strong(random))
    ground = first * (1 - 0.3 * ramp) + second * 0.3 * ramp
    image = Image.fromarray(np.broadcast_to(ground, (_SIZE[1], _SIZE[0], 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for line in range(int(random.integers(2, 5))):
        font = ImageFont.load_default(size=int(random.integers(22, 40)))
        draw.text((_SIZE[0] / 2, 70 + 70 * line), _phrase(random, 3), font=font, fill=(240, 236, 220), anchor="mm")
    return _scanned(image.filter(ImageFilter.GaussianBlur(0.8)), random, grain=3.0)


def _document(random: np.random.Generator, _: Sequence[Image.Image]) -> Image.Image:
    """Typed lines on paper, with a coloured stamp and a signature."""
    image = Image.new("RGB", _SIZE[::-1], (236, 226, 200))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=11)
    for line in range(30):
        draw.text((28, 24 + 15 * line), _phrase(random, 9), font=font, fill=(50, 45, 50))
    draw.ellipse((210, 360, 310, 440), outline=(190, 40, 50), width=4)
    draw.line(_blob(random, (200, 500), 60)[:9], fill=(40, 60, 160), width=2)
    return _scanned(image, random, grain=2.5)


def _screenshot(random: np.random.Generator, photographs: Sequence[Image.Image]) -> Image.Image:
    """Windows with even bars, buttons and text, and a photograph in one of them."""
    image = Image.new("RGB", _SIZE, (242, 242, 245))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, _SIZE[0], 26), fill=_strong(random))
    draw.rectangle((0, 26, 90, _SIZE[1]), fill=(225, 230, 238))
    for row in range(10):
        draw.text((8, 40 + 28 * row), _phrase(random, 1), font=ImageFont.load_default(size=11), fill=(40, 60, 120))
    photograph = photographs[int(random.integers(len(photographs)))].resize((220, 160))
    image.paste(photograph, (120, 60))
    for row in range(6):
        draw.text((120, 236 + 18 * row), _phrase(random, 7), font=ImageFont.load_default(size=11), fill=(20, 20, 20))
    return image


def _collage(random: np.random.Generator, photographs: Sequence[Image.Image]) -> Image.Image:
    """Four photographs, or two, beside each other; with a bar between them or without."""
    across, down = ((2, 2), (2, 1), (1, 2), (3, 2))[int(random.integers(4))]
    gap = int(random.choice([0, 4, 8]))
    side = 160
    level = int(random.choice([0, 255]))
    size = (across * side + (across - 1) * gap, down * side + (down - 1) * gap)
    image = Image.new("RGB", size, (level,) * 3)
    for place in range(across * down):
        photograph = photographs[int(random.integers(len(photographs)))].resize((side, side))
        image.paste(photograph, (place % across * (side + gap), place // across * (side + gap)))
    return image


_KINDS: dict[str, Callable[[np.random.Generator, Sequence[Image.Image]], Image.Image]] = {
    "map": _map,
    "poster": _poster,
    "drawing": _drawing,
    "title card": _title_card,
    "document": _document,
    "screenshot": _screenshot,
    "collage": _collage,
}
KINDS = tuple(_KINDS)


def _pale(random: np.random.Generator) -> Colour:
    red, green, blue = (int(value) for value in random.integers(170, 250, 3))
    return red, green, blue


def _strong(random: np.random.Generator) -> Colour:
    red, green, blue = (int(value) for value in random.integers(20, 236, 3))
    return red, green, blue


def _blob(random: np.random.Generator, size: tuple[int, int], radius: float) -> list[tuple[float, float]]:
    """The corners of a ragged round shape somewhere in ``size``."""
    x, y = random.uniform(0, size[0]), random.uniform(0, size[1])
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radii = radius * random.uniform(0.7, 1.3, 24)
    return [(x + r * float(np.cos(a)), y + r * float(np.sin(a))) for a, r in zip(angles, radii, strict=True)]


def _phrase(random: np.random.Generator, words: int) -> str:
    return " ".join(str(word) for word in random.choice(_WORDS.split(), words))


def _write(
    draw: ImageDraw.ImageDraw, random: np.random.Generator, size: tuple[int, int], height: int, colour: Colour
) -> None:
    place = (float(random.uniform(0, size[0] * 0.7)), float(random.uniform(0, size[1] * 0.9)))
    draw.text(place, _phrase(random, 2), font=ImageFont.load_default(size=height), fill=colour)


def _scanned(image: Image.Image, random: np.random.Generator, grain: float) -> Image.Image:
    """What a scanner makes of a print: slightly soft, with grain that differs from pixel to pixel."""
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(0.5)), dtype=np.float64)
    return Image.fromarray((soft + random.normal(0, grain, soft.shape)).clip(0, 255).round().astype(np.uint8))
