"""From a grey picture of any size to colour: chroma from the network, lightness from the picture.

Belongs here: arrays, and what the network is shown. How chroma and lightness become a picture is in ``merge``; files,
formats and metadata are in ``files``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from kwcolor_pipeline.colorize.merge import Colour, Grey, merge, shrunk_lightness
from kwcolor_pipeline.colour.spaces import SRGB, RgbSpace
from kwcolor_pipeline.networks.bundle import DESCRIPTION, Bundle, load_generator, read_bundle
from kwcolor_pipeline.networks.devices import pick_device
from kwcolor_pipeline.networks.generator import STRIDE, Generator
from kwcolor_pipeline.settings import SettingsProblem

#: Shortest sides, relative to the one that the network was trained at, outside of which it is not asked.
_SMALLEST, _LARGEST = 64, 2048
#: Devices on which half precision is faster. It moves colours by 0.02 CIEDE2000 on average, bfloat16 by 0.3 (the
#: starter, four photographs); the paper's network is not made for it.
_HALF_PRECISION = ("cuda", "mps")
#: Tiles a side.
_MOST_TILES = 8


@dataclass(frozen=True)
class Rendering:
    """How a photograph is colorized.

    Args:
        strength: chroma is multiplied by this; 0 leaves the photograph grey, 1 is what the network proposes.
        render_sizes: shortest sides, in pixels, at which the network looks at the photograph; its answers are averaged.
            Empty is the one size that it was trained at.
        tiles: parts along the shortest side that are looked at one by one as well; 1 is none. What a part shows is
            added to what the whole says, for large scans with many small things in them.

    Raises SettingsProblem for values that make no sense.
    """

    strength: float = 1.0
    render_sizes: tuple[int, ...] = ()
    tiles: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 3:
            raise SettingsProblem(
                f"The strength {self.strength:g} is not within 0 (grey) and 3 (three times as strong)."
            )
        if wrong := [size for size in self.render_sizes if not _SMALLEST <= size <= _LARGEST]:
            raise SettingsProblem(f"The render size {wrong[0]} is not within {_SMALLEST} and {_LARGEST} pixels.")
        if not 1 <= self.tiles <= _MOST_TILES:
            raise SettingsProblem(f"{self.tiles} tiles a side are not within 1 and {_MOST_TILES}.")


#: What the network proposes, as it was trained.
PLAIN = Rendering()


def _working_size(height: int, width: int, shortest: int) -> tuple[int, int]:
    """The size near the wanted shortest side whose sides the network takes, with the picture's aspect ratio."""
    scale = shortest / min(height, width)
    # An extreme panorama would need a huge network input; eight times the shortest side shows enough of it.
    sides = (min(side * scale, 8 * shortest) for side in (height, width))
    rows, columns = (max(STRIDE, round(side / STRIDE) * STRIDE) for side in sides)
    return rows, columns


class Colorizer:
    """Colorizes grey pictures with one generator.

    Args:
        generator: the network, on ``device``.
        shortest_side: pixels of the shortest side at which the network looks at a picture.
        own: the render sizes that are taken where none are asked for, and the strength that counts as 1.
    """

    def __init__(self, generator: nn.Module, device: torch.device, shortest_side: int, own: Rendering = PLAIN):
        self._generator = generator.eval()
        self._device = device
        self._shortest_side = shortest_side
        self._own = own

    @torch.inference_mode()
    def chroma(self, gray: Grey, rendering: Rendering = PLAIN) -> torch.Tensor:
        """a*, b* of the picture as the network sees it: grey (H, W) to float32 (1, 2, h, w), half the working size.

        With several render sizes h and w are those of the largest, with tiles those of all tiles together.
        """
        sizes = [
            _working_size(gray.shape[0], gray.shape[1], shortest)
            for shortest in rendering.render_sizes or self._own.render_sizes or (self._shortest_side,)
        ]
        largest = max(sizes)
        answers = [self._answer(shrunk_lightness(gray, size, self._device)) for size in sizes]
        chroma = torch.stack([_resized(answer, (largest[0] // 2, largest[1] // 2)) for answer in answers]).mean(dim=0)
        if rendering.tiles > 1:
            chroma = self._with_tiles(gray, chroma, rendering.tiles)
        return chroma * (rendering.strength * self._own.strength)

    def _answer(self, lightness: torch.Tensor) -> torch.Tensor:
        """The network's chroma, averaged with that for the mirror image: chroma has no handedness."""
        pair = torch.cat([lightness, lightness.flip(3)])
        if self._device.type in _HALF_PRECISION and isinstance(self._generator, Generator):
            with torch.autocast(self._device.type, dtype=torch.float16):
                both = self._generator(pair).float()
            if not both.isfinite().all():  # a value that is too large for half precision
                both = self._generator(pair).float()
        else:
            both = self._generator(pair).float()
        return (both[:1] + both[1:].flip(3)) / 2

    def _with_tiles(self, gray: Grey, chroma: torch.Tensor, tiles: int) -> torch.Tensor:
        """The chroma of the whole, with what tiles show that is finer than it.

        Tiles overlap by half and fade into each other. What is coarser than the whole's pixels is the whole's: a tile
        does not know what is beside it.
        """
        height, width = gray.shape
        rows, columns = _working_size(height, width, self._shortest_side * tiles)
        lightness = shrunk_lightness(gray, (rows, columns), self._device)
        side = min(rows, columns, self._shortest_side // STRIDE * STRIDE)
        total = torch.zeros(1, 2, rows // 2, columns // 2, device=self._device)
        weight = torch.zeros(1, 1, rows // 2, columns // 2, device=self._device)
        # Never zero, so that the picture's edges have a weight.
        fade = torch.hann_window(side // 2, periodic=False, device=self._device) + 0.01
        for top in _places(rows, side):
            for left in _places(columns, side):
                answer = self._answer(lightness[..., top : top + side, left : left + side])
                here = (..., slice(top // 2, (top + side) // 2), slice(left // 2, (left + side) // 2))
                total[here] += answer * fade[:, None] * fade
                weight[here] += fade[:, None] * fade
        fine = total / weight
        coarse = _resized(_resized(fine, (chroma.shape[2], chroma.shape[3])), (rows // 2, columns // 2))
        return _resized(chroma, (rows // 2, columns // 2)) + fine - coarse

    def __call__(
        self, gray: Grey, rendering: Rendering = PLAIN, *, depth: int | None = None, space: RgbSpace = SRGB
    ) -> Colour:
        """Grey (H, W) to RGB (H, W, 3) of the same size and the same L*.

        ``depth`` is 8 for uint8 or 16 for uint16, and that of the grey where it is not given; RGB is in ``space``.
        """
        return merge(gray, self.chroma(gray, rendering), depth=depth or gray.dtype.itemsize * 8, space=space)


def _resized(chroma: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(chroma.shape[2:]) == size:
        return chroma
    return F.interpolate(chroma, size=size, mode="bilinear", antialias=True)


def _places(length: int, side: int) -> Sequence[int]:
    """Where tiles of ``side`` begin, all even, so that they overlap by at least half and cover ``length``."""
    count = -(-2 * (length - side) // side) + 1
    return [round((length - side) / 2 * place / max(count - 1, 1)) * 2 for place in range(count)]


def open_colorizer(folder: Path, device: str) -> Colorizer:
    """The colorizer of a model bundle, at the size that it was trained at.

    Raises SettingsProblem when the folder is no bundle of a generator.
    """
    bundle = read_bundle(folder)
    chosen = pick_device(device)
    generator = load_generator(bundle, chosen)
    try:
        preset = bundle.description["preset"]
        shortest = round(preset["size"] * preset["crop_scale"])
    except (KeyError, TypeError) as error:
        raise SettingsProblem(f"{folder / DESCRIPTION} does not say at which size the model was trained.") from error
    return Colorizer(generator, chosen, shortest, _own_rendering(bundle))


def _own_rendering(bundle: Bundle) -> Rendering:
    """What a bundle's description says of how its model does best; most say nothing."""
    told = bundle.description.get("rendering", {})
    try:
        return Rendering(strength=float(told.get("strength", 1)), render_sizes=tuple(told.get("render_sizes", ())))
    except (TypeError, ValueError, AttributeError) as error:
        raise SettingsProblem(f"{bundle.folder / DESCRIPTION} has a `rendering` that cannot be used.") from error
