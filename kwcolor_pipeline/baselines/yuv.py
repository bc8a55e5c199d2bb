"""8-bit BT.601 luma and chroma, bit by bit as OpenCV computes them (`COLOR_RGB2YUV`, `COLOR_YUV2RGB`).

DeOldify joins the photograph's luma with the network's chroma in these, so a comparison with DeOldify does too.
OpenCV multiplies by the constants times 2^14 in integers, rounds, and cuts off at 0 and 255.
"""

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]

_SHIFT = 14
_HALF = 1 << (_SHIFT - 1)
_MIDDLE = 128
# BT.601's weights of red, green and blue; 0.492 and 0.877 scale the differences from luma to U and V.
_LUMA = (4899, 9617, 1868)
_TO_U, _TO_V = 8061, 14369
# The way back: 1.140 (red from V), -0.581 and -0.395 (green from V and U), 2.032 (blue from U).
_RED_FROM_V, _GREEN_FROM_V, _GREEN_FROM_U, _BLUE_FROM_U = 18678, -9519, -6472, 33292


def _scaled(value: NDArray[np.int32]) -> NDArray[np.int32]:
    return (value + _HALF) >> _SHIFT


def _cut(value: NDArray[np.int32]) -> Plane:
    return np.clip(value, 0, 255).astype(np.uint8)


def rgb_to_yuv(rgb: Plane) -> Plane:
    """RGB uint8 (…, 3) to Y, U and V uint8 (…, 3); U and V are 128 for grey."""
    red, green, blue = (rgb[..., channel].astype(np.int32) for channel in range(3))
    luma = _scaled(red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2])
    u = _scaled((blue - luma) * _TO_U + (_MIDDLE << _SHIFT))
    v = _scaled((red - luma) * _TO_V + (_MIDDLE << _SHIFT))
    return np.stack([_cut(luma), _cut(u), _cut(v)], axis=-1)


def yuv_to_rgb(yuv: Plane) -> Plane:
    """Y, U and V uint8 (…, 3) to RGB uint8 (…, 3)."""
    luma, u, v = (yuv[..., channel].astype(np.int32) for channel in range(3))
    u, v = u - _MIDDLE, v - _MIDDLE
    red = luma + _scaled(v * _RED_FROM_V)
    green = luma + _scaled(v * _GREEN_FROM_V + u * _GREEN_FROM_U)
    blue = luma + _scaled(u * _BLUE_FROM_U)
    return np.stack([_cut(red), _cut(green), _cut(blue)], axis=-1)


def with_chroma_of(gray: Plane, colour: Plane) -> Plane:
    """The luma of grey uint8 (H, W), which is the grey itself, with the chroma of RGB uint8 (H, W, 3)."""
    yuv = rgb_to_yuv(colour)
    yuv[..., 0] = gray
    return yuv_to_rgb(yuv)
