"""DeOldify and DDColor from ONNX exports: what their networks are given, and how the answer becomes a picture.

Belongs here: the two conventions. The file and its session are in `onnx_network`.

Facts about the exports (read in the scripts that make them):

- instant-high/deoldify-onnx wraps the network so that RGB 0..255 goes in and comes out, at a fixed side of 256
  or 512; others (thookham/DeOldify-on-Browser) feed 0..1; an export of the bare network takes and gives values
  normalised with ImageNet's statistics. A file does not say which, so `deoldify_onnx_values` does, and what
  comes out is checked against it once.
- DDColor's own script exports what takes RGB 0..1 and gives CIELAB a* and b*, at 512 pixels a side (tiny
  models also at 256). Its own pipeline stretches the grey picture to the square without averaging, takes the
  answer back to the picture's size by the nearest pixel, and cuts off what sRGB cannot show.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from kwcolor_pipeline.baselines.deoldify import RENDER_BASE, colorize_by_square, normalised, pixels
from kwcolor_pipeline.baselines.onnx_network import Array, OnnxNetwork
from kwcolor_pipeline.colour.lab import grey_to_lightness, lab_to_rgb_clipped
from kwcolor_pipeline.settings import SettingsProblem

Pixels = NDArray[np.uint8]

#: Side that DDColor is asked at where the file takes any.
DDCOLOR_SIDE = 512
#: What a file's values never leave under each convention.
_RANGES = {"pixels": (-0.5, 255.5), "unit": (-0.01, 1.01), "normalised": (-3.01, 3.01)}
#: Side of the ramp that a file is checked with where it takes any.
_RAMP_SIDE = 256


class OnnxDeOldify:
    """Colorizes with an export of a DeOldify network, by DeOldify's own rule.

    Args:
        path: the ONNX file.
        values: `pixels` (RGB 0..255 in and out), `unit` (0..1) or `normalised` (ImageNet's statistics).
        render_factor: sixteenths of the square's side where the file takes any.
        device: KWCOLOR_DEVICE.

    Raises SettingsProblem when the file cannot be used, or gives other values than it should.
    """

    def __init__(self, path: Path, values: str, render_factor: int, device: str):
        self._network = OnnxNetwork(path, 3, device)
        self._values = values
        self._side = self._network.side or RENDER_BASE * render_factor
        self._check(path)

    def __call__(self, gray: Pixels, photo_id: str) -> Pixels:
        """Grey uint8 (H, W) to RGB uint8 (H, W, 3)."""
        return colorize_by_square(gray, self._side, self._square)

    def _square(self, gray: Pixels) -> Pixels:
        output = self._network(self._given(gray))
        if self._values == "normalised":
            return pixels(output)
        scale = np.float32(1 if self._values == "pixels" else 255)
        return (output[0].transpose(1, 2, 0) * scale).clip(0, 255).astype(np.uint8)

    def _given(self, gray: Pixels) -> Array:
        """Grey uint8 (S, S) as the network takes it: float32 (1, 3, S, S)."""
        if self._values == "normalised":
            return normalised(gray)
        scale = np.float32(1 if self._values == "pixels" else 255)
        return np.repeat(gray.astype(np.float32)[None, None] / scale, 3, axis=1)

    def _check(self, path: Path) -> None:
        """Compare what a ramp from black to white becomes with the values of the convention."""
        side = self._network.side or _RAMP_SIDE
        ramp = np.tile(np.linspace(0, 255, side).astype(np.uint8), (side, 1))
        output = self._network(self._given(ramp))
        low, high = float(output.min()), float(output.max())
        fits = _RANGES[self._values][0] <= low and high <= _RANGES[self._values][1]
        # What all lies in the range of a smaller convention is that one's.
        too_small = {"pixels": high <= _RANGES["normalised"][1], "normalised": low >= _RANGES["unit"][0]}
        if not fits or too_small.get(self._values, False):
            raise SettingsProblem(
                f"{path} gives values from {low:.3g} to {high:.3g}, which are not `{self._values}`; set "
                "KWCOLOR_BASELINES__DEOLDIFY_ONNX_VALUES to pixels (0 to 255), unit (0 to 1) or normalised (-3 to 3)."
            )


class OnnxDDColor:
    """Colorizes with an export of DDColor, by the rule of its own pipeline.

    Raises SettingsProblem when the file cannot be used.
    """

    def __init__(self, path: Path, device: str):
        self._network = OnnxNetwork(path, 2, device)
        self._side = self._network.side or DDCOLOR_SIDE

    def __call__(self, gray: Pixels, photo_id: str) -> Pixels:
        """Grey uint8 (H, W) to RGB uint8 (H, W, 3)."""
        picture = torch.from_numpy(np.array(gray))[None, None]
        small = F.interpolate(picture.float() / 255, size=(self._side, self._side), mode="bilinear")
        chroma = torch.from_numpy(self._network(small.expand(-1, 3, -1, -1).numpy()))
        chroma = F.interpolate(chroma, size=gray.shape, mode="nearest")
        rgb = lab_to_rgb_clipped(torch.cat([grey_to_lightness(picture), chroma], dim=1))
        return (rgb[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
