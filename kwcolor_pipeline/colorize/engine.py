"""From a grey picture of any size to colour: chroma from the network, lightness from the picture.

Belongs here: arrays. Files, formats and metadata are in ``files``.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from kwcolor_pipeline.colour.lab import grey_to_lightness, lab_to_rgb_in_gamut
from kwcolor_pipeline.networks.bundle import DESCRIPTION, load_generator, read_bundle
from kwcolor_pipeline.networks.devices import pick_device
from kwcolor_pipeline.networks.generator import STRIDE
from kwcolor_pipeline.settings import SettingsProblem

#: Rows that are converted to RGB at once, so that memory follows the width and not the whole picture.
_ROWS = 256


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
    """

    def __init__(self, generator: nn.Module, device: torch.device, shortest_side: int):
        self._generator = generator.eval()
        self._device = device
        self._shortest_side = shortest_side

    @torch.inference_mode()
    def chroma(self, gray: np.ndarray) -> torch.Tensor:
        """a*, b* of the picture as the network sees it: uint8 (H, W) to float32 (1, 2, h, w), h and w the working size.

        The network's answer is averaged with that for the mirror image: chroma has no handedness.
        """
        lightness = grey_to_lightness(torch.from_numpy(np.array(gray)))[None, None].to(self._device)
        size = _working_size(gray.shape[0], gray.shape[1], self._shortest_side)
        small = F.interpolate(lightness, size=size, mode="bilinear", antialias=True).clamp(0, 100)
        both = self._generator(torch.cat([small, small.flip(3)])).float()
        return ((both[:1] + both[1:].flip(3)) / 2).cpu()

    @torch.inference_mode()
    def __call__(self, gray: np.ndarray) -> np.ndarray:
        """Grey uint8 (H, W) to RGB uint8 (H, W, 3) of the same size and the same L*."""
        height, width = gray.shape
        chroma = self.chroma(gray)
        chroma = F.interpolate(chroma, size=(height, width), mode="bilinear")
        lightness = grey_to_lightness(torch.from_numpy(np.array(gray)))[None, None]
        colour = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, _ROWS):
            strip = slice(top, top + _ROWS)
            lab = torch.cat([lightness[:, :, strip], chroma[:, :, strip]], dim=1)
            rgb = lab_to_rgb_in_gamut(lab)[0].permute(1, 2, 0)
            colour[strip] = (rgb * 255).round().to(torch.uint8).numpy()
        return colour


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
    return Colorizer(generator, chosen, shortest)
