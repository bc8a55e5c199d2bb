"""Training data: pairs decoded once into a uint8 cache on disk, and batches drawn from it.

A batch is a pure function of the seed and the step, so a resumed training sees what an
uninterrupted one sees, without any stored random state.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from kwcolor_pipeline.colour.lab import grey_to_lightness, rgb_to_lab
from kwcolor_pipeline.home import Home, atomic_folder
from kwcolor_pipeline.photos.pairs import Pair, read_pairs
from kwcolor_pipeline.settings import SettingsProblem

_INDEX = "index.json"
_PIXELS = "pixels.bin"
_SCALING = Image.Resampling.BILINEAR


@dataclass(frozen=True)
class PictureCache:
    """Pairs of one split, decoded and scaled: per picture (H, W, 4) uint8, grey and then RGB."""

    photo_ids: list[str]
    shapes: list[tuple[int, int]]
    offsets: list[int]
    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.photo_ids)

    def picture(self, number: int) -> np.ndarray:
        height, width = self.shapes[number]
        start = self.offsets[number]
        return self.pixels[start : start + height * width * 4].reshape(height, width, 4)


def _scaled(pair: Pair, side: int) -> np.ndarray:
    """Grey and colour of a pair, shortest side ``side``, as (H, W, 4) uint8."""
    height, width = pair.gray.shape
    scale = side / min(height, width)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    grey = np.asarray(Image.fromarray(pair.gray).resize(size, Image.Resampling.LANCZOS))
    colour = np.asarray(Image.fromarray(pair.color).resize(size, Image.Resampling.LANCZOS))
    return np.concatenate([grey[..., None], colour], axis=-1)


def open_cache(home: Home, split: str, side: int, data_version: str) -> PictureCache:
    """The split's pictures with the shortest side ``side``, from the cache on disk or made now.

    Caches of other data versions, and those that a killed process left unfinished, are deleted.
    Raises SettingsProblem when the split is empty.
    """
    folder = home.pairs / "cache" / f"{split}-{side}-{data_version[:16]}"
    if not (folder / _INDEX).exists():
        for unfinished in folder.parent.glob(f".{folder.name}.*"):
            shutil.rmtree(unfinished)
        with atomic_folder(folder) as temporary:
            index = []
            with (temporary / _PIXELS).open("wb") as pixels:
                for pair in read_pairs(home, split):
                    picture = _scaled(pair, side)
                    index.append([pair.photo_id, picture.shape[0], picture.shape[1]])
                    pixels.write(picture.tobytes())
            (temporary / _INDEX).write_text(json.dumps(index))
        for other in folder.parent.glob("[!.]*"):
            if not other.name.endswith(data_version[:16]):
                shutil.rmtree(other)
    index = json.loads((folder / _INDEX).read_text())
    if not index:
        raise SettingsProblem(f"There are no {split} pairs; collect more photographs and make the pairs again.")
    shapes = [(height, width) for _, height, width in index]
    sizes = [height * width * 4 for height, width in shapes]
    return PictureCache(
        photo_ids=[photo_id for photo_id, _, _ in index],
        shapes=shapes,
        offsets=[0, *np.cumsum(sizes).tolist()][:-1],
        pixels=np.memmap(folder / _PIXELS, dtype=np.uint8, mode="r"),
    )


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    ``lightness``: the network's input, L* (N, 1, S, S), jittered in training.
    ``lab``: the truth at half resolution (N, 3, S/2, S/2), the pair's own lightness with the colour picture's chroma.
    """

    lightness: torch.Tensor
    lab: torch.Tensor


def to_batch(crops: np.ndarray, device: torch.device, gamma: np.ndarray | None = None) -> Batch:
    """Crops (N, S, S, 4) uint8 to a batch on the device; ``gamma`` (N,) bends the input's lightness only."""
    pixels = torch.from_numpy(crops).to(device, non_blocking=True).permute(0, 3, 1, 2)
    lightness = grey_to_lightness(pixels[:, :1])
    chroma = rgb_to_lab(pixels[:, 1:].float() / 255)[:, 1:]
    lab = F.avg_pool2d(torch.cat([lightness, chroma], dim=1), 2)
    if gamma is not None:
        exponents = torch.from_numpy(gamma).to(device, torch.float32).view(-1, 1, 1, 1)
        lightness = 100 * (lightness / 100).pow(exponents)
    return Batch(lightness, lab)


class TrainingBatches:
    """Random crops and mirror images of a cache, batch by batch."""

    def __init__(self, cache: PictureCache, size: int, batch_size: int, jitter: float, seed: int, device: torch.device):
        self._cache, self._size, self._batch_size = cache, size, batch_size
        self._jitter, self._seed, self._device = jitter, seed, device
        self._order = lru_cache(maxsize=2)(self._order_of_pass)

    @property
    def steps_per_epoch(self) -> int:
        return max(1, round(len(self._cache) / self._batch_size))

    def _order_of_pass(self, number: int) -> np.ndarray:
        return np.random.default_rng([self._seed, 0, number]).permutation(len(self._cache))

    def at(self, step: int) -> Batch:
        """The batch of ``step``: pictures in the shuffled order of their pass, freshly augmented."""
        rng = np.random.default_rng([self._seed, 1, step])
        crops = np.empty((self._batch_size, self._size, self._size, 4), np.uint8)
        for row in range(self._batch_size):
            number, position = divmod(step * self._batch_size + row, len(self._cache))
            picture = self._cache.picture(self._order(number)[position])
            crop = self._crop(picture, rng)
            crops[row] = crop[:, ::-1] if rng.random() < 0.5 else crop
        gamma = np.exp(rng.uniform(-self._jitter, self._jitter, self._batch_size)) if self._jitter else None
        return to_batch(crops, self._device, gamma)

    def _crop(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A random square, between the crop's own size and the picture's shortest side, scaled to that size."""
        side = rng.integers(self._size, min(picture.shape[:2]) + 1)
        top = rng.integers(picture.shape[0] - side + 1)
        left = rng.integers(picture.shape[1] - side + 1)
        crop = picture[top : top + side, left : left + side]
        if side == self._size:
            return crop
        # Four channels go through Pillow as RGBA would, unweighted: `RGBX` has no alpha to multiply with.
        scaled = Image.fromarray(np.ascontiguousarray(crop), "RGBX").resize((self._size, self._size), _SCALING)
        return np.asarray(scaled)


def centre_crops(cache: PictureCache, size: int, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """Every picture of the cache once, its centre, unaugmented."""
    for start in range(0, len(cache), batch_size):
        crops = []
        for number in range(start, min(start + batch_size, len(cache))):
            picture = cache.picture(number)
            top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
            crops.append(picture[top : top + size, left : left + size])
        yield to_batch(np.stack(crops), device)
