"""How a photograph goes through DeOldify: its own rule, around whatever computes its network.

Belongs here: the way from a grey picture to colours. The network in PyTorch is in `deoldify_network`, one in
ONNX in `onnx_colorizers`.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from kwcolor_pipeline.baselines.deoldify_network import DeOldifyUnet
from kwcolor_pipeline.baselines.yuv import with_chroma_of
from kwcolor_pipeline.networks.dynamic_unet import IMAGENET_MEAN, IMAGENET_STD
from kwcolor_pipeline.settings import SettingsProblem

Pixels = NDArray[np.uint8]
#: Takes a grey square uint8 (S, S), gives RGB uint8 (S, S, 3).
Square = Callable[[Pixels], Pixels]

#: Pixels a side of the square for each step of the render factor.
RENDER_BASE = 16


def colorize_by_square(gray: Pixels, side: int, square: Square) -> Pixels:
    """Grey uint8 (H, W) to RGB uint8 (H, W, 3): chroma of a square of ``side`` pixels over the picture's own luma.

    The picture is stretched to the square, whatever its shape, and the square back, both bilinearly as Pillow
    does it (averaging where it shrinks); luma and chroma are joined in 8-bit YUV.
    """
    height, width = gray.shape
    small = Image.fromarray(gray).resize((side, side), Image.Resampling.BILINEAR)
    colour = Image.fromarray(square(np.asarray(small))).resize((width, height), Image.Resampling.BILINEAR)
    return with_chroma_of(gray, np.asarray(colour))


def normalised(gray: Pixels) -> NDArray[np.float32]:
    """Grey uint8 (H, W) as three equal channels with ImageNet's statistics: float32 (1, 3, H, W)."""
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (gray.astype(np.float32)[None, None] / np.float32(255) - mean) / std


def pixels(normalised_rgb: NDArray[np.float32]) -> Pixels:
    """RGB float32 (1, 3, H, W) with ImageNet's statistics as uint8 (H, W, 3), cut off and rounded down."""
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    rgb = (normalised_rgb[0] * std + mean).clip(0, 1)
    return (rgb.transpose(1, 2, 0) * np.float32(255)).astype(np.uint8)


class DeOldify:
    """Colorizes with one of DeOldify's networks.

    Args:
        network: on ``device``, in evaluation mode.
        render_factor: sixteenths of the square's side. The original's default is 35.
    """

    def __init__(self, network: DeOldifyUnet, device: torch.device, render_factor: int):
        self._network = network
        self._device = device
        self._render_factor = render_factor

    def __call__(self, gray: Pixels, photo_id: str) -> Pixels:
        """Grey uint8 (H, W) to RGB uint8 (H, W, 3).

        Raises SettingsProblem when the device's memory does not suffice for the square; the original gives the
        grey picture then, as if that were its result.
        """
        return colorize_by_square(gray, RENDER_BASE * self._render_factor, self._square)

    @torch.inference_mode()
    def _square(self, gray: Pixels) -> Pixels:
        try:
            coloured = self._network(torch.from_numpy(normalised(gray)).to(self._device))
        except torch.OutOfMemoryError as error:
            raise SettingsProblem(
                f"DeOldify's square of {gray.shape[0]} pixels does not fit into the memory of {self._device}; set "
                f"KWCOLOR_BASELINES__RENDER_FACTOR below {self._render_factor}, or KWCOLOR_DEVICE=cpu."
            ) from error
        return pixels(coloured.float().cpu().numpy())
