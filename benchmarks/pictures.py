"""Pictures to measure with: drawn ones, or photographs of a folder.

Belongs here: making a number of different picture files. What is done with them does not.
"""

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}
_WIDTH, _HEIGHT = 800, 600


def prepare(count: int, folder: Path, photos: Path | None) -> tuple[list[Path], str]:
    """Put ``count`` picture files with different contents into ``folder``; a sentence says what they are.

    Each has been decoded completely once. Where ``photos`` has fewer, they are repeated with a few bytes
    after the end of the file, which decoders ignore, so that no two are equal.
    Raises SystemExit with a sentence when no picture in ``photos`` can be decoded.
    """
    folder.mkdir(parents=True)
    if photos is None:
        for number in range(count):
            (folder / f"{number:06}.jpg").write_bytes(drawn(number))
        return sorted(folder.iterdir()), f"drawn textures, JPEG, {_WIDTH} x {_HEIGHT}"
    found = _first_different(photos, count)
    if not found:
        raise SystemExit(f"{photos} holds no picture that can be decoded; name a folder of photographs.")
    for number in range(count):
        path = found[number % len(found)]
        again = number // len(found)
        data = path.read_bytes() + (b"\ncopy %d" % again if again else b"")
        (folder / f"{number:06}{path.suffix.lower()}").write_bytes(data)
    repeated = f", repeated with other bytes after the end to make {count}" if len(found) < count else ""
    return sorted(folder.iterdir()), f"photographs of {photos.name}, {len(found)} different ones{repeated}"


def drawn(number: int, size: tuple[int, int] = (_WIDTH, _HEIGHT), colour: float = 1.0) -> bytes:
    """A JPEG of ``size`` (width, height) with about as much detail as a photograph: noise of six sizes, coarse ones
    strongest. It is more colourful than a photograph; ``colour`` is the share of its colour that is left.
    """
    chance = np.random.default_rng(number)
    width, height = size
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(6):
        rows, columns = 3 * 2**octave, 4 * 2**octave
        noise = chance.integers(0, 256, (rows, columns, 3), np.uint8)
        scaled = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        total += (np.asarray(scaled, np.float32) - 127.5) * 0.6**octave
    total = total * colour + total.mean(axis=2, keepdims=True) * (1 - colour)
    total += chance.standard_normal((height, width, 1), np.float32) * 4
    buffer = io.BytesIO()
    Image.fromarray(np.clip(total + 127.5, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _first_different(photos: Path, count: int) -> list[Path]:
    """Up to ``count`` files that can be decoded, no two of equal content."""
    found: list[Path] = []
    seen: set[str] = set()
    for path in _listed(photos):
        if len(found) == count:
            break
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest not in seen and _decodes(path):
            seen.add(digest)
            found.append(path)
    return found


def _listed(photos: Path) -> Iterator[Path]:
    index = photos / "index.csv"
    if index.exists():
        with index.open(newline="", encoding="utf-8") as handle:
            named = [photos / row["file"] for row in csv.DictReader(handle) if row.get("file")]
    else:
        named = sorted(photos.rglob("*"))
    return (path for path in named if path.suffix.lower() in _SUFFIXES and path.is_file())


def _decodes(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
            return not getattr(image, "is_animated", False)
    except (OSError, ValueError, SyntaxError):
        return False
