"""Perceptual hashes: 64 bits that hardly change when a photograph is resized, recompressed or toned.

Belongs here: the hashes of one picture and the version that they depend on. Which hashes are near
each other is the affair of ``near_duplicates``.
"""

from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pyarrow as pa
from PIL import Image, ImageOps

from kwcolor_pipeline.photos.borders import BORDERS_VERSION, trim_box

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

# JPEG decodes to a small copy at once; the hashes themselves look at 32 pixels a side.
_DECODED = (256, 256)
# Standard deviation in grey levels below which a picture shows nothing that a hash could tell apart.
_FLAT_DEVIATION = 4.0


def hash_version() -> str:
    """What the bits depend on besides the picture: our method and borders, Pillow's resize, imagehash."""
    import imagehash

    return f"1 borders={BORDERS_VERSION} pillow={PIL.__version__} imagehash={imagehash.__version__}"


def hashes_of(path: Path) -> dict[str, Any]:
    """The hashes of the picture at ``path`` without its borders, as unsigned 64-bit integers.

    Raises OSError where it cannot be decoded.
    """
    with Image.open(path) as opened:
        opened.draft("L", _DECODED)
        grey = ImageOps.exif_transpose(opened).convert("L")
    picture = grey.crop(trim_box(grey))
    mirror = ImageOps.mirror(picture)
    return {
        "phash": phash(picture),
        "dhash": dhash(picture),
        "mirror_phash": phash(mirror),
        "mirror_dhash": dhash(mirror),
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


def _bits(bits: Any) -> int:
    return int.from_bytes(np.packbits(np.asarray(bits, dtype=bool)).tobytes(), "big")
