"""Judging bytes from outside: are they one whole picture within the limits?

Belongs here: what is accepted as a picture file. Whether the picture is wanted to learn from is
curation's affair.
"""

import threading
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from kwcolor_pipeline.photos.store import EXTENSIONS
from kwcolor_pipeline.settings import DownloadSettings

_ORIENTATION = 0x0112
_QUARTER_TURNS = {5, 6, 7, 8}
#: A JPEG with a second picture behind it (stereo, preview); the store keeps it as the JPEG it is.
_SAME_AS = {"MPO": "JPEG"}
#: Pictures above this many pixels are decoded one at a time, to bound the memory of a crawl.
_LARGE = 20_000_000
_one_large_at_a_time = threading.Lock()


class Refused(Exception):
    """Bytes that are not accepted; the message is the manifest's reason: a short word, then details."""


@dataclass(frozen=True)
class Picture:
    """A picture whose file was read completely once."""

    image: Image.Image
    """decoded; of a JPEG that nobody wants to look at, at an eighth of its size"""
    pil_format: str
    mime: str
    width: int
    """pixels, after EXIF orientation"""
    height: int
    """pixels, after EXIF orientation"""


def judge(data: bytes, limits: DownloadSettings, *, in_full: bool = True) -> Picture:
    """Decode ``data`` completely, pixels in full size only with ``in_full``.

    A JPEG is read to its end either way; at an eighth of the size that takes half of the time.
    Raises Refused with `empty`, `too_large`, `not_an_image`, `animated`, `too_many_pixels` or `corrupt`.
    """
    if not data:
        raise Refused("empty")
    if len(data) > limits.max_bytes:
        raise Refused(f"too_large: {len(data)} bytes")
    image = _opened(data)
    if image.width * image.height > limits.max_pixels:
        raise Refused(f"too_many_pixels: {image.width} x {image.height}")
    if image.width * image.height <= _LARGE:
        return _decoded(image, in_full)
    with _one_large_at_a_time:
        return _decoded(image, in_full)


def _opened(data: bytes) -> Image.Image:
    try:
        image = Image.open(BytesIO(data), formats=list(EXTENSIONS))
    except UnidentifiedImageError as error:
        raise Refused(f"not_an_image: begins with {data[:16]!r}") from error
    except Image.DecompressionBombError as error:
        raise Refused(f"too_many_pixels: {error}") from error
    except Exception as error:  # decoders raise anything on bytes made to break them
        raise Refused(f"corrupt: {_sentence(error)}") from error
    return image


def _decoded(image: Image.Image, in_full: bool) -> Picture:
    size = image.size
    pil_format = _SAME_AS.get(image.format or "", image.format or "")
    try:
        if pil_format == image.format and getattr(image, "is_animated", False):
            raise Refused("animated")
        if not in_full:
            image.draft(None, (image.width // 8, image.height // 8))
        image.load()
        turned = image.getexif().get(_ORIENTATION) in _QUARTER_TURNS
    except Refused:
        raise
    except Exception as error:  # decoders raise anything on bytes made to break them
        raise Refused(f"corrupt: {_sentence(error)}") from error
    width, height = reversed(size) if turned else size
    return Picture(image, pil_format, Image.MIME[pil_format], width, height)


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
