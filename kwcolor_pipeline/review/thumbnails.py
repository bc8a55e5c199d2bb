"""Small pictures of stored photographs, made when they are asked for and kept in memory for a while.

Belongs here: opening, trimming and shrinking a photograph, the picture in place of one that cannot be
read, and the bound on what is kept.
"""

import io
import logging
import os
import threading
from collections import OrderedDict

from PIL import Image

from kwcolor_pipeline.photos.borders import Box, open_upright
from kwcolor_pipeline.photos.measured import UNREADABLE
from kwcolor_pipeline.photos.store import PhotoStore

log = logging.getLogger(__name__)

#: Longest side in pixels of a thumbnail, and of the picture that is looked at more closely.
THUMBNAIL_SIDE = 320
PICTURE_SIDE = 1600
#: Bytes of encoded pictures that are kept in memory.
KEPT_BYTES = 64_000_000


class Thumbnails:
    """WebP copies of the photographs of a store. Methods may be called from several threads."""

    def __init__(self, store: PhotoStore, kept_bytes: int = KEPT_BYTES) -> None:
        self._store = store
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[tuple[str, Box | None, int], bytes] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()
        # A browser asks for many at a time; decoded scans are large.
        self._decoding = threading.Semaphore(os.cpu_count() or 1)

    def thumbnail(self, photo_id: str, box: Box | None) -> bytes:
        """The part ``box`` of the upright photograph, at most ``THUMBNAIL_SIDE`` pixels; a placeholder at worst."""
        return self._remembered(photo_id, box, THUMBNAIL_SIDE)

    def picture(self, photo_id: str) -> bytes:
        """The whole upright photograph, at most ``PICTURE_SIDE`` pixels; a placeholder at worst."""
        return self._remembered(photo_id, None, PICTURE_SIDE)

    def _remembered(self, photo_id: str, box: Box | None, side: int) -> bytes:
        key = photo_id, box, side
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._decoding:
            encoded = self._made(photo_id, box, side)
        with self._lock:
            self._used += len(encoded) - len(self._kept.pop(key, b""))
            self._kept[key] = encoded
            while self._used > self._kept_bytes and self._kept:
                _, dropped = self._kept.popitem(last=False)
                self._used -= len(dropped)
        return encoded

    def _made(self, photo_id: str, box: Box | None, side: int) -> bytes:
        try:
            image = open_upright(self._store.find(photo_id))
            return _encoded(image.crop(box) if box else image, side)
        except UNREADABLE as error:
            log.warning("photograph %s… cannot be shown: %s", photo_id[:12], error)
            return _encoded(_placeholder(), THUMBNAIL_SIDE)


def _encoded(image: Image.Image, side: int) -> bytes:
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    small.save(written, "WEBP", quality=82, method=2)
    return written.getvalue()


def _placeholder() -> Image.Image:
    """A crossed-out frame."""
    from PIL import ImageDraw

    image = Image.new("RGB", (240, 180), (128, 128, 128))
    draw = ImageDraw.Draw(image)
    draw.rectangle((60, 50, 180, 130), outline=(224, 224, 224), width=4)
    draw.line((60, 130, 180, 50), fill=(224, 224, 224), width=4)
    return image
