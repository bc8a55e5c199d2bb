"""Pictures that the tests of this room draw, and homes that hold them."""

import datetime
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kwcolor_pipeline.photos.manifest import ManifestRow, Status, write_manifest
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import Settings

#: Colour photographs that the dependencies' wheels carry, and pictures that are none.
COLOUR_SAMPLES = [
    *(("skimage", f"data/{name}") for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")),
    *(("skimage", f"data/motorcycle_{side}.png") for side in ("left", "right")),
    *(("sklearn", f"datasets/images/{name}.jpg") for name in ("china", "flower")),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
]
OTHER_SAMPLES = [
    *(("skimage", f"data/{name}.png") for name in ("page", "text", "logo", "chessboard_RGB", "horse", "phantom")),
    *(("skimage", f"data/{name}.png") for name in ("color", "camera", "coins", "moon")),
    *(("matplotlib", f"mpl-data/sample_data/{name}.png") for name in ("logo2", "Minduka_Present_Blue_Pack")),
]


def wheel_file(package: str, path: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / path


def scene(seed: int, size: tuple[int, int] = (192, 144)) -> Image.Image:
    """A colourful picture of soft shapes, smaller ones on them, and some grain, different for every seed."""
    random = np.random.default_rng(seed)
    coarse = random.integers(30, 226, (6, 8, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    marks = random.integers(0, 256, (18, 24, 3), dtype=np.uint8)
    detail = np.asarray(Image.fromarray(marks).resize(size, Image.Resampling.BICUBIC), dtype=np.float64) - 127.5
    grain = random.normal(0, 4, soft.shape)
    return Image.fromarray((soft + 0.3 * detail + grain).clip(0, 255).astype(np.uint8))


def framed(image: Image.Image, border: tuple[int, int, int, int], level: int, noise: float = 0) -> Image.Image:
    """``image`` inside a border of ``level`` (left, top, right, bottom pixels wide)."""
    left, top, right, bottom = border
    size = (image.width + left + right, image.height + top + bottom)
    random = np.random.default_rng(0)
    base = (level + random.normal(0, noise, (size[1], size[0], 3))).clip(0, 255).astype(np.uint8)
    canvas = Image.fromarray(base)
    canvas.paste(image, (left, top))
    return canvas


def encoded(image: Image.Image, pil_format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, pil_format, **({"quality": 92} | options if pil_format == "JPEG" else options))
    return buffer.getvalue()


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, quality=quality))).convert("RGB")


def sepia(image: Image.Image) -> Image.Image:
    grey = np.asarray(image.convert("L"), dtype=np.float64)[..., None] / 255
    return Image.fromarray((grey ** np.array([0.8, 1.0, 1.3]) * np.array([255, 255, 230])).astype(np.uint8))


def faded(image: Image.Image, share: float) -> Image.Image:
    """``image`` with ``share`` of its CIELAB chroma left."""
    from skimage.color import lab2rgb, rgb2lab

    lab = rgb2lab(np.asarray(image.convert("RGB")))
    lab[..., 1:] *= share
    return Image.fromarray((lab2rgb(lab) * 255).round().astype(np.uint8))


class PhotoHome:
    """A home whose store and manifests the test fills by itself."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.settings = Settings(home=root, **settings)
        self.store = PhotoStore(self.settings.paths.photos)
        self.rows: dict[str, list[ManifestRow]] = {}

    def add(self, data: bytes, pil_format: str = "JPEG", partition: str = "1942", **fields: Any) -> str:
        photo_id = self.store.put(data, pil_format)
        try:
            width, height = Image.open(io.BytesIO(data)).size
        except OSError:
            width, height = None, None
        row = {
            "photo_id": photo_id,
            "source": "folder",
            "source_id": f"{partition}-{len(self.rows.get(partition, []))}",
            "file_url": "file:///picture",
            "retrieved_at": datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
            "width": width,
            "height": height,
            "status": Status.STORED,
        }
        self.rows.setdefault(partition, []).append(ManifestRow(**(row | fields)))
        write_manifest(self.manifest(partition), self.rows[partition])
        return photo_id

    def manifest(self, partition: str) -> Path:
        return self.settings.paths.manifests / "crawled_photos" / f"{partition}.parquet"
