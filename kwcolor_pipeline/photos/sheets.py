"""Contact sheets: small pictures of pictures for people who look at an asset.

Belongs here: which photographs are shown, and how they become one small file.
"""

import hashlib
import io
from collections.abc import Sequence

from PIL import Image, ImageOps

#: Largest sheet in bytes: what a Dagster metadata entry carries without weighing on its database.
MAX_BYTES = 60_000

_GAP = 2
_QUALITIES = (80, 60, 40, 25, 12)


def contact_sheet(images: Sequence[Image.Image], columns: int = 6, cell: int = 128) -> bytes:
    """A WebP below ``MAX_BYTES`` that shows ``images`` in rows of ``columns``, each within ``cell`` pixels.

    Cells shrink where quality alone does not make it small enough. Raises ValueError without images.
    """
    if not images:
        raise ValueError("a contact sheet needs at least one picture")
    while True:
        sheet = _sheet(images, columns, cell)
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            sheet.save(buffer, "WEBP", quality=quality)
            if buffer.tell() < MAX_BYTES:
                return buffer.getvalue()
        cell = max(8, cell * 3 // 4)


def chosen(photo_ids: Sequence[str], count: int) -> list[str]:
    """At most ``count`` of the ids, always the same ones, and mostly the same when some are added."""
    return sorted(set(photo_ids), key=lambda photo_id: hashlib.sha256(photo_id.encode()).digest())[:count]


def _sheet(images: Sequence[Image.Image], columns: int, cell: int) -> Image.Image:
    across = min(columns, len(images))
    rows = -(-len(images) // across)
    sheet = Image.new("RGB", (across * (cell + _GAP), rows * (cell + _GAP)), "white")
    for position, image in enumerate(images):
        small = ImageOps.contain(image.convert("RGB"), (cell, cell))
        row, column = divmod(position, across)
        left = column * (cell + _GAP) + (cell - small.width) // 2
        sheet.paste(small, (left, row * (cell + _GAP) + (cell - small.height) // 2))
    return sheet
