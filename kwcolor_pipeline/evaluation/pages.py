"""What the HTML pages share: the Jinja2 environment and what may stand in an attribute.

Belongs here: escaping, links and inlined pictures. Titles, names and addresses come from the
network, so that everything is escaped and only web addresses become links.
"""

import base64
import hashlib
import io
from collections.abc import Sequence
from urllib.parse import urlsplit

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Longest side and WebP quality, from the best to the smallest that is still worth looking at.
_SIZES = ((640, 84), (512, 82), (420, 80), (340, 78), (280, 74), (220, 68), (160, 60))


def web_link(address: str | None) -> str | None:
    """The address where it is one of the web, otherwise None: `javascript:` and others are no links."""
    if not address:
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and parts.netloc else None


def environment() -> jinja2.Environment:
    """The templates of this room; everything is escaped and an unknown name is an error."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("kwcolor_pipeline.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["web_link"] = web_link
    return templates


def script_hash(script: str) -> str:
    """The source of Content-Security-Policy that lets exactly this inline script run, whatever a title may carry."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _webp(picture: NDArray[np.uint8], side: int, quality: int) -> bytes:
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.save(written, "WEBP", quality=quality, method=4)
    return written.getvalue()


def data_uris(pictures: Sequence[NDArray[np.uint8]], budget: int) -> list[str]:
    """The pictures as WebP data URIs that together take at most ``budget`` bytes, as large as that allows.

    Raises ValueError when even the smallest do not fit.
    """
    for side, quality in _SIZES:
        uris = []
        used = 0
        for picture in pictures:
            uri = "data:image/webp;base64," + base64.b64encode(_webp(picture, side, quality)).decode()
            used += len(uri)
            if used > budget:
                break
            uris.append(uri)
        if len(uris) == len(pictures):
            return uris
    raise ValueError(f"{len(pictures)} pictures do not fit into {budget / 1e6:.0f} MB; show fewer photographs")
