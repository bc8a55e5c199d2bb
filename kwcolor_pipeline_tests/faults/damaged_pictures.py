"""A thousand picture files that something is wrong or unusual with, always the same ones."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from kwcolor_pipeline_tests.photos.pictures import encoded, scene

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")
COUNT = 1000
ORIENTATION = 0x0112

#: Name and bytes of a file, and the format that the store takes it for.
Made = tuple[str, bytes, str]


def sound(number: int, pil_format: str) -> bytes:
    options = {"progressive": True} if pil_format == "JPEG" and number % 2 else {}
    return encoded(scene(number, (96, 80)), pil_format, **options)


def damaged(number: int) -> Made:
    """Some bytes changed at random places, the header sometimes among them."""
    chance = np.random.default_rng(number)
    pil_format = FORMATS[number % len(FORMATS)]
    data = bytearray(sound(number, pil_format))
    first = 0 if number % 3 == 0 else min(300, len(data) // 2)
    for place in chance.integers(first, len(data), 1 + number % 20):
        data[place] = int(chance.integers(0, 256))
    return f"damaged-{number}", bytes(data), pil_format


def truncated(number: int) -> Made:
    pil_format = FORMATS[number % len(FORMATS)]
    data = sound(number, pil_format)
    return f"truncated-{number}", data[: int(len(data) * np.random.default_rng(number).uniform(0, 0.98))], pil_format


def rubbish(number: int) -> Made:
    """A few bytes, which may begin like a picture, or a web page."""
    starts = (
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"II*\0",
        b"MM\0*",
        b"RIFF",
        b"BM",
        b"<!DOCTYPE html>",
    )
    chance = np.random.default_rng(number)
    rest = chance.integers(0, 256, number // len(starts), dtype=np.uint8).tobytes()
    return f"rubbish-{number}", starts[number % len(starts)] + rest, FORMATS[number % len(FORMATS)]


def png_claiming(width: int, height: int, colour_type: int = 2, rows: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def claiming(number: int) -> Made:
    """Headers of pictures far larger than their files, as bombs have."""
    side = (12_000, 20_000, 50_000, 65_000)[number % 4] + number
    kind = ("PNG", "BMP", "GIF", "JPEG", "TIFF")[number % 5]
    if kind == "PNG":
        return f"claiming-{number}", png_claiming(side, side, rows=bytes(1000)), kind
    data = bytearray(encoded(scene(number, (96, 80)), kind))
    if kind == "BMP":
        data[18:26] = struct.pack("<ii", side, side)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
    elif kind == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", side, side)
    else:
        for tag in (256, 257):  # ImageWidth and ImageLength
            place = data.index(struct.pack("<HHI", tag, 4, 1))
            data[place : place + 12] = struct.pack("<HHII", tag, 4, 1, side)
    return f"claiming-{number}", bytes(data), kind


def large() -> Iterator[Made]:
    """Pictures that are as large as they say, below what a crawl accepts (120 million pixels)."""
    wide, high = 12_000, 9_500
    row = b"\0" + (np.arange(wide * 3) // 3 % 251).astype(np.uint8).tobytes()
    yield "large-png", png_claiming(wide, high, rows=row * high), "PNG"
    yield "large-jpeg", encoded(Image.linear_gradient("L").resize((10_000, 9_000)).convert("RGB"), quality=50), "JPEG"
    yield "large-palette", png_claiming(wide, high, 0, (b"\0" + bytes(range(200)) * 60) * high), "PNG"


def unusual(number: int) -> Made:
    """Whole files of kinds that are rarely met."""
    picture = scene(number, (96, 80))
    grey = picture.convert("L")
    exif = Image.Exif()
    exif[ORIENTATION] = number // len(_UNUSUAL) % 10  # 0 and 9 are not defined
    kind = list(_UNUSUAL)[number % len(_UNUSUAL)]
    name = f"{kind}-{number}"
    if kind == "cmyk":
        return name, encoded(picture.convert("CMYK")), "JPEG"
    if kind == "deep":
        deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        return name, encoded(deep, "PNG" if number % 2 else "TIFF"), "PNG" if number % 2 else "TIFF"
    if kind == "palette":
        return name, encoded(picture.quantize(1 + number % 255), "PNG"), "PNG"
    if kind == "clear_palette":
        return name, encoded(picture.quantize(32), "PNG", transparency=number % 32), "PNG"
    if kind == "clear":
        clear = picture.convert("RGBA" if number % 2 else "LA")
        clear.putalpha(Image.linear_gradient("L").resize(clear.size))
        return name, encoded(clear, "PNG"), "PNG"
    if kind in ("moving_gif", "moving_webp"):
        pil_format = "GIF" if kind == "moving_gif" else "WEBP"
        frames = [scene(number + step, (96, 80)) for step in range(1, 4)]
        return name, encoded(picture, pil_format, save_all=True, append_images=frames), pil_format
    if kind == "turned":
        pil_format = ("JPEG", "PNG", "WEBP", "TIFF")[number % 4]
        return name, encoded(picture, pil_format, exif=exif), pil_format
    if kind == "thin":
        size = ((1, 1), (1, 300), (300, 1), (2, 3), (1, 8))[number // len(_UNUSUAL) % 5]
        return name, encoded(picture.resize(size), "PNG"), "PNG"
    if kind == "two_colours":
        return name, encoded(grey.convert("1"), "PNG" if number % 2 else "TIFF"), "PNG" if number % 2 else "TIFF"
    if kind == "other_ending":
        return name, encoded(picture, "PNG"), "JPEG"
    if kind == "floating":
        return name, encoded(Image.fromarray(np.asarray(grey, np.float32) / 255), "TIFF"), "TIFF"
    if kind == "strange_profile":
        return name, encoded(picture, icc_profile=bytes(range(200))), "JPEG"
    return name, encoded(picture, progressive=True), "JPEG"


_UNUSUAL = (
    *("cmyk", "deep", "palette", "clear_palette", "clear", "moving_gif", "moving_webp", "turned", "thin"),
    *("two_colours", "other_ending", "floating", "strange_profile", "progressive"),
)


def thousand() -> Iterator[Made]:
    """All files; no two have the same bytes."""
    yield "empty", b"", "JPEG"
    yield from large()
    yield from map(claiming, range(40))
    yield from map(rubbish, range(1, 57))
    yield from map(unusual, range(300))
    yield from map(truncated, range(200))
    yield from map(damaged, range(COUNT - 1 - 3 - 40 - 56 - 300 - 200))
