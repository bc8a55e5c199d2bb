"""Training data: pairs decoded once into a uint8 cache on disk, and batches drawn from it.

A batch is a pure function of the seed and the step, so a resumed training sees what an
uninterrupted one sees, without any stored random state.

Belongs here: which picture, which part of it, mirrored or not, and the way to the device. What is done to
the input's lightness afterwards is in ``augmentation``.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from kwcolor_pipeline.colour.lab import grey_to_lightness, rgb_to_lab
from kwcolor_pipeline.home import Home, atomic_folder
from kwcolor_pipeline.photos.pairs import Pair, read_pairs
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline.training.augmentation import Augmentation, Rows, Strengths

_INDEX = "index.json"
_PIXELS = "pixels.bin"
_SCALING = Image.Resampling.BILINEAR
#: Share of the device's free memory that the decoded pictures may take; the rest is for the networks.
_MEMORY_SHARE = 0.4


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


def cache_folder(home: Home, split: str, side: int, data_version: str) -> Path:
    """Where the split's pictures with the shortest side ``side`` lie decoded."""
    return home.pairs / "cache" / f"{split}-{side}-{data_version[:16]}"


def write_cache(folder: Path, pairs: Iterable[Pair], side: int) -> None:
    """Decode ``pairs`` into the cache ``folder``, which appears whole or not at all."""
    with atomic_folder(folder) as temporary:
        index = []
        with (temporary / _PIXELS).open("wb") as pixels:
            for pair in pairs:
                picture = _scaled(pair, side)
                index.append([pair.photo_id, picture.shape[0], picture.shape[1]])
                pixels.write(picture.tobytes())
        (temporary / _INDEX).write_text(json.dumps(index))


def open_cache(home: Home, split: str, side: int, data_version: str) -> PictureCache:
    """The split's pictures with the shortest side ``side``, from the cache on disk or made now.

    Caches of other data versions, and those that a killed process left unfinished, are deleted.
    Raises SettingsProblem when the split is empty.
    """
    folder = cache_folder(home, split, side, data_version)
    if not (folder / _INDEX).exists():
        for unfinished in folder.parent.glob(f".{folder.name}.*"):
            shutil.rmtree(unfinished)
        write_cache(folder, read_pairs(home, split), side)
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

    ``lightness``: the network's input, L* (N, 1, S, S), augmented in training.
    ``lab``: the truth at half resolution (N, 3, S/2, S/2), the pair's own lightness with the colour picture's chroma.
    ``rgb``: the colour picture itself, sRGB in 0..1 (N, 3, S, S).
    """

    lightness: torch.Tensor
    lab: torch.Tensor
    rgb: torch.Tensor

    def parts(self, count: int) -> "list[Batch]":
        """The batch's pictures in ``count`` parts, in order; equally large where the number divides."""
        if count == 1:
            return [self]
        tensors = (self.lightness, self.lab, self.rgb)
        return [Batch(*part) for part in zip(*(tensor.chunk(count) for tensor in tensors), strict=True)]


#: Gives another input lightness (N, 1, S, S) for lightness, sRGB in 0..1 (N, 3, S, S) and that picture's L*.
Augment = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def to_batch(crops: np.ndarray | torch.Tensor, device: torch.device, augment: Augment | None = None) -> Batch:
    """Crops (N, S, S, 4) uint8 to a batch on the device; ``augment`` changes the input and never the truth."""
    on_host = torch.from_numpy(crops) if isinstance(crops, np.ndarray) else crops
    pixels = on_host.to(device, non_blocking=True).permute(0, 3, 1, 2).contiguous()
    lightness = grey_to_lightness(pixels[:, :1])
    rgb = pixels[:, 1:].float() / 255
    lab = rgb_to_lab(rgb)
    truth = F.avg_pool2d(torch.cat([lightness, lab[:, 1:]], dim=1), 2)
    if augment is not None:
        lightness = augment(lightness, rgb, lab[:, :1])
    return Batch(lightness, truth, rgb)


@dataclass(frozen=True)
class Crops:
    """Which part of which picture each row of a batch shows: whole numbers (N,), and whether it is mirrored."""

    pictures: np.ndarray
    tops: np.ndarray
    lefts: np.ndarray
    sides: np.ndarray
    mirrored: np.ndarray

    def of(self, rows: Rows) -> "Crops":
        own = slice(rows.first, rows.first + rows.count)
        return Crops(*(values[own] for values in vars(self).values()))


class HostCrops:
    """Crops cut and scaled by Pillow, picture by picture, from the cache on disk."""

    def __init__(self, cache: PictureCache, size: int):
        self._cache, self._size = cache, size

    def cut(self, crops: Crops) -> torch.Tensor:
        """(N, size, size, 4) uint8 on the host."""
        cut = np.empty((len(crops.pictures), self._size, self._size, 4), np.uint8)
        for row, (number, top, left, side, mirrored) in enumerate(zip(*vars(crops).values(), strict=True)):
            crop = self._cache.picture(number)[top : top + side, left : left + side]
            if side != self._size:
                # Four channels go through Pillow as RGBA would, unweighted: `RGBX` has no alpha to multiply with.
                picture = Image.fromarray(np.ascontiguousarray(crop), "RGBX")
                crop = np.asarray(picture.resize((self._size, self._size), _SCALING))
            cut[row] = crop[:, ::-1] if mirrored else crop
        return torch.from_numpy(cut)


class DeviceCrops:
    """The whole cache in the device's memory; a batch's crops are one gather and two matrix products.

    The filter is Pillow's bilinear one, a triangle as wide as the scale, so pictures are smoothed before they
    are made smaller (``grid_sample`` would alias). Pillow rounds to whole levels after each direction and this
    only at the end: the two differ by one level at most.
    """

    def __init__(self, cache: PictureCache, size: int, device: torch.device):
        self._size, self._device = size, device
        # One whole number a pixel: grey, red, green and blue are fetched together.
        self._pixels = torch.from_numpy(np.array(cache.pixels).view(np.int32)).to(device)
        self._starts = torch.tensor(cache.offsets, device=device) // 4
        self._widths = torch.tensor([width for _, width in cache.shapes], device=device)
        self._longest = max(min(shape) for shape in cache.shapes)

    def _scaling(self, sides: torch.Tensor, mirrored: torch.Tensor | None) -> torch.Tensor:
        """Rows of weights (N, size, longest side) with which the pixels of a crop are added up."""
        scale = (sides / self._size).view(-1, 1, 1)
        places = torch.arange(self._longest, device=self._device) + 0.5
        middles = (torch.arange(self._size, device=self._device) + 0.5).view(1, -1, 1) * scale
        weights = (1 - (places - middles).abs() / scale.clamp(min=1)).clamp(min=0)
        weights = weights * (places < sides.view(-1, 1, 1))
        weights = weights / weights.sum(dim=2, keepdim=True)
        return weights if mirrored is None else torch.where(mirrored.view(-1, 1, 1), weights.flip(1), weights)

    def cut(self, crops: Crops) -> torch.Tensor:
        """(N, size, size, 4) uint8 on the device."""
        plan = torch.from_numpy(np.stack([np.asarray(values, np.int64) for values in vars(crops).values()]))
        plan = plan.pin_memory() if self._device.type == "cuda" else plan
        numbers, tops, lefts, sides, mirrored = plan.to(self._device, non_blocking=True).unbind()
        count, size, longest = len(numbers), self._size, self._longest
        # Beyond the crop's own side the last pixel is fetched again; its weight is zero.
        places = torch.minimum(torch.arange(longest, device=self._device), sides.unsqueeze(1) - 1)
        rows = (self._starts[numbers] + lefts).unsqueeze(1) + (tops.unsqueeze(1) + places) * self._widths[
            numbers
        ].unsqueeze(1)
        patches = self._pixels[rows.unsqueeze(2) + places.unsqueeze(1)].view(torch.uint8).float()
        scaled = torch.bmm(self._scaling(sides, None), patches.view(count, longest, longest * 4))
        turned = scaled.view(count, size, longest, 4).transpose(1, 2).reshape(count, longest, size * 4)
        scaled = torch.bmm(self._scaling(sides, mirrored.bool()), turned)
        return (scaled.view(count, size, size, 4).transpose(1, 2) + 0.5).clamp(0, 255).to(torch.uint8)


def fits(cache: PictureCache, device: torch.device) -> bool:
    """Whether the decoded pictures may stay in the device's memory. On the CPU they stay where they are."""
    return device.type == "cuda" and cache.pixels.nbytes <= _MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]


class TrainingBatches:
    """Random crops and mirror images of a cache, batch by batch, with an augmented input.

    Args:
        batch_size: pictures a step over all processes.
        rank, ranks: this process and how many there are; together they see what one alone would see.
        on_device: keep all pictures in the device's memory; by default where they fit.
    """

    def __init__(
        self,
        cache: PictureCache,
        size: int,
        batch_size: int,
        strengths: Strengths,
        seed: int,
        device: torch.device,
        *,
        rank: int = 0,
        ranks: int = 1,
        on_device: bool | None = None,
    ):
        first, end = batch_size * rank // ranks, batch_size * (rank + 1) // ranks
        self._rows = Rows(first, end - first, batch_size)
        self._cache, self._size, self._seed, self._device = cache, size, seed, device
        self._augmentation = Augmentation(strengths, seed, device)
        self._order = lru_cache(maxsize=2)(self._order_of_pass)
        self._shortest = np.array([min(shape) for shape in cache.shapes])
        self._shapes = np.array(cache.shapes)
        keep = fits(cache, device) if on_device is None else on_device
        self._source = DeviceCrops(cache, size, device) if keep else HostCrops(cache, size)
        self._worker = ThreadPoolExecutor(1) if not keep and device.type != "cpu" else None
        self._ahead: dict[int, Future[torch.Tensor]] = {}

    @property
    def steps_per_epoch(self) -> int:
        return max(1, round(len(self._cache) / self._rows.total))

    def _order_of_pass(self, number: int) -> np.ndarray:
        return np.random.default_rng([self._seed, 0, number]).permutation(len(self._cache))

    def _crops(self, step: int) -> Crops:
        """Pictures in the shuffled order of their pass; squares between ``size`` and the picture's shortest side."""
        total = self._rows.total
        places = [divmod(step * total + row, len(self._cache)) for row in range(total)]
        pictures = np.array([self._order(number)[position] for number, position in places])
        side, top, left, mirrored = np.random.default_rng([self._seed, 1, step]).random((4, total))
        sides = self._size + (side * (self._shortest[pictures] - self._size + 1)).astype(np.int64)
        heights, widths = self._shapes[pictures].T
        tops = (top * (heights - sides + 1)).astype(np.int64)
        lefts = (left * (widths - sides + 1)).astype(np.int64)
        return Crops(pictures, tops, lefts, sides, mirrored < 0.5).of(self._rows)

    def _cut(self, step: int) -> torch.Tensor:
        crops = self._source.cut(self._crops(step))
        return crops.pin_memory() if self._worker is not None and self._device.type == "cuda" else crops

    def _cut_ahead(self, step: int) -> torch.Tensor:
        """The step's crops, while the next step's are being cut beside the device's work."""
        assert self._worker is not None
        crops = self._ahead.pop(step, None) or self._worker.submit(self._cut, step)
        self._ahead = {step + 1: self._worker.submit(self._cut, step + 1)}
        return crops.result()

    def at(self, step: int) -> Batch:
        """The batch of ``step``, this process's rows of it."""
        crops = self._cut(step) if self._worker is None else self._cut_ahead(step)

        def augment(lightness: torch.Tensor, rgb: torch.Tensor, eye: torch.Tensor) -> torch.Tensor:
            return self._augmentation(lightness, rgb, eye, step, self._rows)

        return to_batch(crops, self._device, augment)


def centre_crops(cache: PictureCache, size: int, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """Every picture of the cache once, its centre, unaugmented."""
    for start in range(0, len(cache), batch_size):
        crops = []
        for number in range(start, min(start + batch_size, len(cache))):
            picture = cache.picture(number)
            top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
            crops.append(picture[top : top + size, left : left + size])
        yield to_batch(np.stack(crops), device)
