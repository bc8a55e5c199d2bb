"""Perceptual hashes: 64 bits that hardly change when a photograph is resized, recompressed or toned.

Belongs here: the hashes of one picture and the version that they depend on. Which hashes are near
each other is the affair of ``near_duplicates``.
"""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
import pyarrow as pa
from PIL import Image, ImageOps

from kwcolor_pipeline.photos.borders import BORDERS_VERSION, trim_box
from kwcolor_pipeline.photos.large import alone_if_large

#: Columns that :func:`hashes_of` gives: the picture's and its mirror image's hashes, and whether it is flat.
SCHEMA = pa.schema(
    [
        ("phash", pa.uint64()),
        ("dhash", pa.uint64()),
        ("mirror_phash", pa.uint64()),
        ("mirror_dhash", pa.uint64()),
        ("flat", pa.bool_()),
    ]
)

# Hashes look at 32 pixels a side: a copy whose shortest side is this or just above gives the same within 1 bit.
_SIDE = 128
# What imagehash resizes a picture to: for `phash`, and for `dhash`.
_PHASH_SIZE, _DHASH_SIZE = (32, 32), (9, 8)
# Standard deviation in grey levels below which a picture shows nothing that a hash could tell apart.
_FLAT_DEVIATION = 4.0


def hash_version() -> str:
    """What the bits depend on besides the picture: our method and borders, Pillow's resize, imagehash."""
    import imagehash

    return f"2 borders={BORDERS_VERSION} pillow={PIL.__version__} imagehash={imagehash.__version__}"


def hashes_of(path: Path) -> dict[str, Any]:
    """The hashes of the picture at ``path`` without its borders, as unsigned 64-bit integers.

    Raises OSError where it cannot be decoded.
    """
    return hashes_of_grey(small_grey(path))


def hashes_of_grey(grey: Image.Image) -> dict[str, Any]:
    """The same of what :func:`small_grey` gives."""
    picture = grey.crop(trim_box(grey))
    # Mirroring what imagehash would resize, or what it resized, is the same: its filter is symmetric.
    for_phash = picture.resize(_PHASH_SIZE, Image.Resampling.LANCZOS)
    for_dhash = picture.resize(_DHASH_SIZE, Image.Resampling.LANCZOS)
    return {
        "phash": phash(for_phash),
        "dhash": dhash(for_dhash),
        "mirror_phash": phash(ImageOps.mirror(for_phash)),
        "mirror_dhash": dhash(ImageOps.mirror(for_dhash)),
        "flat": is_flat(picture),
    }


def phash(image: Image.Image) -> int:
    """Perceptual hash: signs of the 8 x 8 lowest DCT frequencies about their median (imagehash)."""
    import imagehash

    return _bits(imagehash.phash(image).hash)


def dhash(image: Image.Image) -> int:
    """Difference hash: whether each of 8 x 8 cells is darker than its right neighbour (imagehash)."""
    import imagehash

    return _bits(imagehash.dhash(image).hash)


def is_flat(image: Image.Image) -> bool:
    """Whether the picture is so even that its hashes are noise and match anything."""
    small = image.convert("L").resize((32, 32), Image.Resampling.BOX)
    return bool(np.asarray(small, dtype=np.float32).std() < _FLAT_DEVIATION)


def small_grey(file: Path | BinaryIO) -> Image.Image:
    """The picture in grey and upright, on white where transparent, its shortest side 128 to 255 pixels, or what it has.

    Raises OSError where it cannot be decoded.
    """
    try:
        with Image.open(file) as opened:
            opened.draft("L", (_SIDE, _SIDE))  # a JPEG decodes to a small copy at once
            with alone_if_large(opened.width * opened.height):
                grey = _grey(opened)
                factor = min(grey.size) // _SIDE
                small = grey.reduce(factor) if factor > 1 else grey
            small.info = opened.info  # where the orientation is
        ImageOps.exif_transpose(small, in_place=True)
        return small
    except OSError:
        raise
    except Exception as error:  # decoders raise anything on bytes made to break them
        raise OSError(f"{type(error).__name__}: {error}") from error


def _grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would cut off what is lighter than 255 of 65535.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    grey = image.convert("L")
    if not image.has_transparency_data:
        return grey
    paper = Image.new("L", image.size, "white")
    paper.paste(grey, mask=image.convert("RGBA").getchannel("A"))
    return paper


def _bits(bits: Any) -> int:
    return int.from_bytes(np.packbits(np.asarray(bits, dtype=bool)).tobytes(), "big")
