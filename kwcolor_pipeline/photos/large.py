"""Large pictures, one at a time: what bounds the memory of all processes together.

Belongs here: which pictures are large, and waiting. What is done with them is the affair of the callers.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

#: Pixels above which a picture is large: decoded and copied a few times, some hundred megabytes.
LARGE = 20_000_000


@contextlib.contextmanager
def alone_if_large(pixels: int) -> Iterator[None]:
    """While this lasts no other process or thread does the same, if a picture of so many pixels is large."""
    if pixels <= LARGE:
        yield
        return
    # A lock needs a file that all processes see; this one is there, and nothing is written to it.
    with Path(__file__).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pixels_of(path: Path) -> int:
    """Pixels of the picture at ``path`` by its header; 0 where that cannot be read, as who opens it next will tell.

    Raises FileNotFoundError where it is missing.
    """
    try:
        with Image.open(path) as opened:
            return opened.width * opened.height
    except FileNotFoundError:
        raise
    except Exception:  # noqa: BLE001 - decoders raise anything on bytes made to break them
        return 0
