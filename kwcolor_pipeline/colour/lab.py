"""sRGB and CIELAB in torch, and how a colour that no screen can show is brought back.

Belongs here: conversions of tensors and the gamut fit. How colours are judged is in
``measures``; pictures in files are not known here.

The formulas are those of IEC 61966-2-1 (sRGB) and CIE 15 (L*a*b*), for D65 and the 2° observer. They
are written per channel instead of as a convolution (kornia) because convolutions run in TF32 on
CUDA and in half precision under autocast, which moves L* visibly.
"""

import functools

import torch

#: Linear sRGB to XYZ, rows divided by the white point so that white is (1, 1, 1) and grey has a = b = 0.
_TO_XYZ = torch.tensor(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ],
    dtype=torch.float64,
)
_TO_XYZ /= _TO_XYZ.sum(dim=1, keepdim=True)
_FROM_XYZ = torch.linalg.inv(_TO_XYZ)

#: Where CIELAB passes from the straight line to the cube root (CIE 15, section 8.2.1).
_DELTA = 6 / 29
#: How far rounding may push a linear value outside 0..1; both move L* by less than 0.01.
_BELOW_BLACK, _ABOVE_WHITE = 1e-5, 1e-4
#: Halvings of the chroma factor: 2^-16 of the largest chroma is 0.003 units.
_HALVINGS = 16


def _mix(matrix: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    first, second, third = channels.unbind(-3)
    return torch.stack([row[0] * first + row[1] * second + row[2] * third for row in matrix.tolist()], dim=-3)


def _to_linear(rgb: torch.Tensor) -> torch.Tensor:
    # The clamp keeps the gradient of the branch that `where` discards finite.
    curve = ((rgb.clamp(min=0.04045) + 0.055) / 1.055).pow(2.4)
    return torch.where(rgb > 0.04045, curve, rgb / 12.92)


def _from_linear(linear: torch.Tensor) -> torch.Tensor:
    curve = 1.055 * linear.clamp(min=0.0031308).pow(1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curve, 12.92 * linear)


def _compress(xyz: torch.Tensor) -> torch.Tensor:
    return torch.where(xyz > _DELTA**3, xyz.clamp(min=_DELTA**3).pow(1 / 3), xyz / (3 * _DELTA**2) + 4 / 29)


def _expand(compressed: torch.Tensor) -> torch.Tensor:
    return torch.where(compressed > _DELTA, compressed * compressed * compressed, 3 * _DELTA**2 * (compressed - 4 / 29))


def rgb_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """sRGB (…, 3, H, W) in 0..1 to CIELAB in float32: L* 0..100, a* and b* about -110..110.

    Gradients are finite everywhere, black included.
    """
    x, y, z = _compress(_mix(_TO_XYZ, _to_linear(rgb.float()))).unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-3)


def film_lightness(rgb: torch.Tensor, sensitivities: torch.Tensor) -> torch.Tensor:
    """L* (…, 1, H, W) of sRGB (…, 3, H, W) in 0..1 as a film with these sensitivities records it.

    ``sensitivities`` (…, 3, 1, 1) weighs linear red, green and blue and sums to one, so grey stays as it is.
    With the eye's weights (0.2126, 0.7152, 0.0722) the result is the picture's own L*.
    """
    return 116 * _compress((_to_linear(rgb.float()) * sensitivities).sum(dim=-3, keepdim=True)) - 16


def _lab_to_linear(lab: torch.Tensor) -> torch.Tensor:
    lightness, a, b = lab.unbind(-3)
    y = (lightness + 16) / 116
    return _mix(_FROM_XYZ, _expand(torch.stack([y + a / 500, y, y - b / 200], dim=-3)))


def _inside(linear: torch.Tensor) -> torch.Tensor:
    return ((linear >= -_BELOW_BLACK) & (linear <= 1 + _ABOVE_WHITE)).all(dim=-3)


def _scale_chroma(lab: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return torch.cat([lab[..., :1, :, :], lab[..., 1:, :, :] * factor.unsqueeze(-3)], dim=-3)


def _factors_by_bisection(lab: torch.Tensor) -> torch.Tensor:
    fits = torch.zeros_like(lab[..., 0, :, :])
    fails = torch.ones_like(fits)
    for _ in range(_HALVINGS):
        middle = (fits + fails) / 2
        inside = _inside(_lab_to_linear(_scale_chroma(lab, middle)))
        fits, fails = torch.where(inside, middle, fits), torch.where(inside, fails, middle)
    return fits


@torch.no_grad()
def chroma_factors(lab: torch.Tensor) -> torch.Tensor:
    """How much of each pixel's chroma sRGB can show at its lightness: (…, 3, H, W) to (…, H, W) in 0..1.

    1 for colours inside the gamut. L* has to be within 0..100: grey itself is then always inside.
    """
    inside = _inside(_lab_to_linear(lab))
    factors = torch.ones_like(lab[..., 0, :, :])
    if not inside.all():
        # Only the pixels outside, as one row: in photographs they are few.
        outside = lab.movedim(-3, 0)[:, ~inside].unsqueeze(-2)
        factors[~inside] = _factors_by_bisection(outside).squeeze(0)
    return factors


def lab_to_rgb_in_gamut(lab: torch.Tensor) -> torch.Tensor:
    """CIELAB (…, 3, H, W) to sRGB in 0..1, float32.

    A colour outside sRGB loses chroma at its own lightness and hue angle, never lightness: clipping
    the channels instead shifts L* by up to 12. L* is clamped to 0..100. Gradients flow through a*
    and b* with the factor held constant.
    """
    lab = lab.float()
    lab = torch.cat([lab[..., :1, :, :].clamp(0, 100), lab[..., 1:, :, :]], dim=-3)
    # What is left outside 0..1 is rounding, see _BELOW_BLACK and _ABOVE_WHITE.
    return _from_linear(_lab_to_linear(_scale_chroma(lab, chroma_factors(lab))).clamp(0, 1))


def lab_to_rgb_clipped(lab: torch.Tensor) -> torch.Tensor:
    """CIELAB (…, 3, H, W) to sRGB in 0..1, float32, with channels outside clipped: for losses, not for pictures.

    Unlike :func:`lab_to_rgb_in_gamut` it never asks the device how many pixels are outside, so a training step
    neither waits for it nor breaks a CUDA graph; inside the gamut both give the same.
    """
    return _from_linear(_lab_to_linear(lab.float()).clamp(0, 1))


def _lightness_table() -> torch.Tensor:
    grey = torch.arange(256, dtype=torch.float64) / 255
    return (116 * _compress(_to_linear(grey)) - 16).float()


@functools.cache
def _lightness_on(device: torch.device) -> torch.Tensor:
    """The table, copied to each device once: a copy in every step would make the step wait."""
    return _lightness_table().to(device)


def grey_to_lightness(gray: torch.Tensor) -> torch.Tensor:
    """L* (float32, 0..100) of uint8 grey of any shape, from the table of its 256 values.

    Raises TypeError for anything but uint8.
    """
    if gray.dtype != torch.uint8:
        raise TypeError(f"grey has to be uint8 to be looked up, and it is {gray.dtype}")
    return _lightness_on(gray.device)[gray.long()]
