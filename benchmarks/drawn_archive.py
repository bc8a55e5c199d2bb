"""An archive on the loopback address that answers as the Library of Congress does, and draws what it is asked for.

Belongs here: what `scale.py` and `backfill.py` crawl. No photograph is kept: each is drawn from its number when it is
asked for, always the same, so that a hundred thousand of them take no room. It runs in a process of its own:
`python drawn_archive.py ARGUMENTS`, where ARGUMENTS is the JSON of `DrawnArchive`'s fields and `port`.
"""

import io
import json
import sys
import threading
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import numpy as np
from crawl_server import serve
from PIL import Image

COLLECTION = "collections/drawn"
WIDTH, HEIGHT = 320, 240
#: One in so many photographs is a copy of the one before, packed more strongly.
COPIES = 10
_QUALITY, _QUALITY_OF_COPIES = 88, 60
_OCTAVES, _GRAIN, _COLOUR = 5, 8, 0.4
_PLACES = ("Detroit", "Long Beach", "Richmond", "Corpus Christi", "Bethlehem", "Chattanooga", "Willow Run")
_DEEDS = ("riveting a wing", "at a lathe", "on the assembly line", "with a convoy", "in the yard", "at a gun turret")


@dataclass
class DrawnArchive:
    """``photographs`` spread evenly over the years and listed by year; a copy lies in another than its original."""

    photographs: int
    first_year: int
    last_year: int
    counts: dict[str, int] = field(default_factory=lambda: {"listings": 0, "pictures": 0, "others": 0})

    def __post_init__(self) -> None:
        self.url = ""
        self._lock = threading.Lock()

    def answer(self, target: str) -> tuple[int, str, bytes]:
        """Status, media type and body for a request's path and query."""
        parts = urlsplit(target)
        if parts.path.startswith("/image/"):
            self._count("pictures")
            return 200, "image/jpeg", photograph(int(parts.path.removeprefix("/image/").removesuffix(".jpg")))
        if parts.path.strip("/") == COLLECTION:
            self._count("listings")
            return self._listing(parse_qs(parts.query))
        if parts.path == "/counts":
            return 200, "application/json", json.dumps(self.counts).encode()
        self._count("others")
        return 404, "text/plain", b"no such thing"

    def _listing(self, query: dict[str, list[str]]) -> tuple[int, str, bytes]:
        year, size, page = int(query["dates"][0][:4]), int(query["c"][0]), int(query["sp"][0])
        numbers = range(year - self.first_year, self.photographs, self.last_year - self.first_year + 1)
        pages = -(-len(numbers) // size)
        if page > pages:
            return 404, "application/json", json.dumps({"status": 404}).encode()
        found = [self._record(number, year) for number in numbers[(page - 1) * size : page * size]]
        pagination = {"current": page, "of": len(numbers), "total": pages, "perpage": size}
        return 200, "application/json", json.dumps({"results": found, "pagination": pagination}).encode()

    def _record(self, number: int, year: int) -> dict[str, object]:
        landing = f"{self.url}/item/{number:09}/"
        title = f"Worker {_DEEDS[number % len(_DEEDS)]}, {_PLACES[number % len(_PLACES)]}, negative {number}"
        return {
            "id": landing,
            "url": landing,
            "title": title,
            "date": str(year),
            "image_url": [f"{self.url}/image/{number}.jpg#h={HEIGHT}&w={WIDTH}"],
            "item": {
                "title": title,
                "date": f"{year} {('May', 'June', 'October')[number % 3]}",
                "creators": [{"title": f"Photographer {number % 40}, 1905-1990"}],
                "medium": ["1 slide : color."],
                "rights_advisory": ["No known restrictions on publication."],
            },
        }

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1


def photograph(number: int) -> bytes:
    """The JPEG of that number; about 20 kB, in 2 ms."""
    if number % COPIES == COPIES - 1:
        return _encoded(number - 1, _QUALITY_OF_COPIES)
    return _encoded(number, _QUALITY)


def _encoded(number: int, quality: int) -> bytes:
    """Noise of five sizes, drawn small and enlarged, coarse ones strongest, and grain as film has it."""
    chance = np.random.default_rng(number)
    small = (WIDTH // 4, HEIGHT // 4)
    total = np.zeros((small[1], small[0], 3), np.float32)
    for octave in range(_OCTAVES):
        noise = chance.integers(0, 256, (3 * 2**octave, 4 * 2**octave, 3), np.uint8)
        scaled = Image.fromarray(noise).resize(small, Image.Resampling.BICUBIC)
        total += (np.asarray(scaled, np.float32) - 127.5) * 0.6**octave
    total = total * _COLOUR + total.mean(axis=2, keepdims=True) * (1 - _COLOUR) + 127.5
    even = Image.fromarray(np.clip(total, 0, 255).astype(np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    grain = chance.integers(-_GRAIN, _GRAIN + 1, (HEIGHT, WIDTH, 1), np.int16)
    pixels = np.clip(np.asarray(even, np.int16) + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    serve_at = asked.pop("port", 0)
    serve(DrawnArchive(**asked), serve_at)
