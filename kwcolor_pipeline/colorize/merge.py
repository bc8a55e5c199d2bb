"""A photograph's own lightness and the network's small chroma become one picture.

Belongs here: upsampling along the edges of the lightness, strips, and rounding. Chroma comes from ``engine``.

Everything goes strip by strip, so that memory follows the width of the picture. Chroma is upsampled by the fast guided
filter (He and Sun, arXiv 1505.00996): for each small pixel a line over lightness is fitted to the chroma around it, the
lines are upsampled, and applied to the photograph's lightness, so that colours end where the photograph's edges are.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from kwcolor_pipeline.colour.lab import compressed_light, expanded_light, lab_to_linear_in_gamut, srgb_to_linear
from kwcolor_pipeline.colour.spaces import SRGB, RgbSpace

Grey = NDArray[np.uint8] | NDArray[np.uint16]

#: RGB (H, W, 3), uint8 or uint16.
Colour = NDArray[Any]

#: Pixels of a strip that one of several threads works on: they stay in a core's cache, and torch leaves so few in
#: their thread. Small pictures go faster in larger strips.
_PIXELS_IN_CACHE, _PIXELS_OF_SMALL = 32_000, 100_000
#: Pixels of a strip that a whole device works on.
_PIXELS_AT_ONCE = 2_000_000
#: Pixels above which strips go to several threads.
_SMALL = 1_000_000
#: How unlike lightness has to be among the nine small pixels that a line is fitted to, in units of L*, for chroma to
#: follow it. A wider neighbourhood, of 25 or 49, brought chroma less near to that of the photographs tried.
_CONTRAST = 10.0
#: What a level of a channel weighs against an L* when levels are rounded.
_LEVEL_WEIGHT = 0.05


def grey_lightness(gray: Grey) -> torch.Tensor:
    """L* of each value that a grey of this depth can have, float32 (256) or (65536)."""
    return 116 * _compressed(gray) - 16


def _compressed(gray: Grey) -> torch.Tensor:
    top = np.iinfo(gray.dtype).max
    return compressed_light(srgb_to_linear(torch.arange(top + 1, dtype=torch.float64) / top)).float()


def _values_at(table: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """``table[places]``; written so, it takes a sixth of the time on a processor."""
    return table.index_select(0, places.view(-1)).view_as(places)


def _looked_up(table: torch.Tensor, gray: Grey) -> torch.Tensor:
    """Values of ``table`` for grey (H, W), on the table's device."""
    return _values_at(table, torch.from_numpy(gray.astype(np.int32)).to(table.device))


def _weights(source: int, target: int, sources: range, targets: range) -> torch.Tensor:
    """How much each of ``sources`` of ``source`` rows counts in each of ``targets`` of ``target``: (targets, sources).

    Those of a bilinear resize with antialiasing, by which torch and Pillow shrink.
    """
    scale = source / target
    support = max(scale, 1.0)
    centres = ((torch.arange(targets.start, targets.stop, dtype=torch.float64) + 0.5) * scale)[:, None]

    def triangle(places: torch.Tensor) -> torch.Tensor:
        return (1 - (places + 0.5 - centres).abs() / support).clamp(min=0)

    near = centres.floor() + torch.arange(-int(support) - 2, int(support) + 3, dtype=torch.float64)
    whole = (triangle(near) * ((near >= 0) & (near < source))).sum(dim=1, keepdim=True)
    return (triangle(torch.arange(sources.start, sources.stop, dtype=torch.float64)[None]) / whole).float()


def _sources_of(source: int, target: int, targets: range) -> range:
    """All rows that count in ``targets``."""
    scale = source / target
    support = max(scale, 1.0) + 1
    first, last = (targets.start + 0.5) * scale - support, (targets.stop - 0.5) * scale + support
    return range(max(0, math.floor(first)), min(source, math.ceil(last)))


def _targets_of(source: int, target: int, sources: range) -> range:
    """All rows in which ``sources`` count."""
    scale = source / target
    support = max(scale, 1.0) + 1
    first, last = (sources.start - support) / scale, (sources.stop + support) / scale
    return range(max(0, math.floor(first)), min(target, math.ceil(last)))


def _strips(height: int, width: int, pixels: int) -> list[range]:
    rows = max(1, pixels // width)
    return [range(top, min(top + rows, height)) for top in range(0, height, rows)]


@torch.inference_mode()
def shrunk_lightness(gray: Grey, size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """L* of grey (H, W) resized with antialiasing to ``size``: float32 (1, 1, rows, columns) on ``device``."""
    height, width = gray.shape
    table = grey_lightness(gray).to(device)
    shrunk = torch.zeros(size[0], width, device=device)
    for strip in _strips(height, width, _PIXELS_AT_ONCE):
        rows = _targets_of(height, size[0], strip)
        weights = _weights(height, size[0], strip, rows).to(device)
        shrunk[rows.start : rows.stop].addmm_(weights, _looked_up(table, gray[strip.start : strip.stop]))
    return F.interpolate(shrunk[None, None], size=size, mode="bilinear", antialias=True).clamp(0, 100)


def _lines(chroma: torch.Tensor, lightness: torch.Tensor) -> torch.Tensor:
    """Slopes and beginnings (1, 4, h, w) of the lines over lightness that give the chroma (1, 2, h, w).

    At the small size the lines give back the chroma as it is; slopes only say how it goes on between small pixels.
    """

    def mean(values: torch.Tensor) -> torch.Tensor:
        padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
        across = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
        return (across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :]) / 9

    mean_lightness = mean(lightness)
    variance = mean(lightness * lightness) - mean_lightness**2
    covariance = mean(lightness * chroma) - mean_lightness * mean(chroma)
    slope = mean(covariance / (variance.clamp(min=0) + _CONTRAST**2))
    return torch.cat([slope, chroma - slope * lightness], dim=1)


def merge(gray: Grey, chroma: torch.Tensor, *, depth: int = 8, space: RgbSpace = SRGB) -> Colour:
    """RGB (H, W, 3) with the lightness of grey (H, W) and the chroma (1, 2, h, w) in CIELAB, on the chroma's device.

    ``depth`` 8 gives uint8, 16 gives uint16, in ``space``. A colour that the space cannot show loses chroma; what
    rounding to 8 bits costs is shared out among the channels so that lightness loses least.
    """
    height, width = gray.shape
    device, small = chroma.device, chroma.shape[2]
    guide = shrunk_lightness(gray, (small, chroma.shape[3]), device)
    with torch.inference_mode():
        lines = _lines(chroma.float(), guide)
        wide = F.interpolate(lines, size=(small, width), mode="bilinear", antialias=True)[0]
        compressed = _compressed(gray).to(device)
    rounding = _Rounding(space, device) if depth == 8 else None
    result: Colour = np.empty((height, width, 3), np.uint8 if depth == 8 else np.uint16)

    @torch.inference_mode()
    def work(strip: range) -> None:
        rows = _sources_of(small, height, strip)
        weights = _weights(small, height, rows, strip).to(device)
        slope_a, slope_b, begin_a, begin_b = torch.matmul(weights, wide[:, rows.start : rows.stop])
        y = _looked_up(compressed, gray[strip.start : strip.stop])
        lightness = 116 * y - 16
        a, b = torch.addcmul(begin_a, slope_a, lightness), torch.addcmul(begin_b, slope_b, lightness)
        encoded = space.encode(lab_to_linear_in_gamut(torch.stack([lightness, a, b]), space.from_xyz))
        levels = rounding(encoded.mul_(255), y) if rounding else encoded.mul_(65535).round_().to(torch.int32)
        for channel, values in enumerate(levels.cpu().numpy()):
            result[strip.start : strip.stop, :, channel] = values

    if device.type != "cpu" or gray.size < _SMALL:
        for strip in _strips(height, width, _PIXELS_OF_SMALL if device.type == "cpu" else _PIXELS_AT_ONCE):
            work(strip)
    else:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for _ in pool.map(work, _strips(height, width, _PIXELS_IN_CACHE)):
                pass  # an exception of a strip comes up here
    return result


class _Rounding:
    """Rounds levels of 8 bits up or down, each as is best for lightness and then for colour."""

    def __init__(self, space: RgbSpace, device: torch.device):
        shares = space.to_xyz[1].tolist()
        tables = space.light_of_levels(255)
        #: The part of luminance that each level of each channel makes.
        self._light = [torch.from_numpy(t * share).float().to(device) for t, share in zip(tables, shares, strict=True)]

    def __call__(self, values: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """``values`` (3, H, W) in 0..255, and the cube root of luminance (H, W), to uint8 (3, H, W)."""
        lower = values.floor().clamp_(max=254)
        above = values.sub_(lower)
        # The lightness that the lower levels lack, and what each channel's next level adds. Near black L* is straight.
        per_light = (116 / 3) / (y * y).clamp_(min=(6 / 29) ** 2)
        missing = expanded_light(y)
        steps = []
        for table, place in zip(self._light, lower.to(torch.int32), strict=True):
            light = _values_at(table, place)
            steps.append(_values_at(table[1:], place).sub_(light))
            missing.sub_(light)
        # In units of 1/1024 of L*, so that whole numbers of them can be compared.
        per_light.mul_(1024)
        missing.mul_(per_light)
        steps = [step.mul_(per_light) for step in steps]
        turned = [(part, 1024 * _LEVEL_WEIGHT - part) for part in above.mul_(1024 * _LEVEL_WEIGHT)]
        # The last three bits of a cost say which channels go up.
        best = torch.full_like(y, torch.inf)
        for red in (0, 1):
            after_red = missing - steps[0] if red else missing
            for green in (0, 1):
                left = after_red - steps[1] if green else after_red
                unlike = turned[0][red] + turned[1][green]
                for blue in (0, 1):
                    cost = (left - steps[2] if blue else left).abs().add_(unlike).add_(turned[2][blue])
                    torch.minimum(best, cost.floor_().mul_(8).add_(4 * red + 2 * green + blue), out=best)
        ups = best.to(torch.int32)
        return lower.add_(torch.stack([(ups >> 2) & 1, (ups >> 1) & 1, ups & 1])).to(torch.uint8)
