"""sRGB and CIELAB in torch, and how a colour that no screen can show is brought back.

Belongs here: conversions of tensors and the gamut fit. How colours are judged is in
``measures``; pictures in files are not known here.

The formulas are those of IEC 61966-2-1 (sRGB) and CIE 15 (L*a*b*), for D65 and the 2° observer. They
are written per channel instead of as a convolution (kornia) because convolutions run in TF32 on
CUDA and in half precision under autocast, which moves L* visibly.
"""

import functools
from collections.abc import Sequence

import torch

#: Linear sRGB to XYZ, rows divided by the white point so that white is (1, 1, 1) and grey has a = b = 0.
TO_XYZ = torch.tensor(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ],
    dtype=torch.float64,
)
TO_XYZ /= TO_XYZ.sum(dim=1, keepdim=True)
FROM_XYZ = torch.linalg.inv(TO_XYZ)

#: Where CIELAB passes from the straight line to the cube root (CIE 15, section 8.2.1).
_DELTA = 6 / 29
#: How far rounding may push a linear value outside 0..1; both move L* by less than 0.01.
_BELOW_BLACK, _ABOVE_WHITE = 1e-5, 1e-4
#: Halvings of the chroma factor: 2^-14 of the largest chroma is 0.01 units.
_HALVINGS = 14


def _mix(matrix: torch.Tensor, channels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    first, second, third = channels
    return [torch.add(torch.add(first * row[0], second, alpha=row[1]), third, alpha=row[2]) for row in matrix.tolist()]


def srgb_to_linear(rgb: torch.Tensor) -> torch.Tensor:
    """Linear light of sRGB values 0..1 (IEC 61966-2-1)."""
    # The clamp keeps the gradient of the branch that `where` discards finite.
    curve = ((rgb.clamp(min=0.04045) + 0.055) / 1.055).pow(2.4)
    return torch.where(rgb > 0.04045, curve, rgb / 12.92)


def linear_to_srgb(linear: torch.Tensor) -> torch.Tensor:
    """sRGB values 0..1 of linear light."""
    # Above the bend the line is above the curve; below it the clamped curve stays at the bend.
    curve = 1.055 * linear.clamp(min=0.0031308).pow(1 / 2.4) - 0.055
    return curve.minimum(12.92 * linear)


def compressed_light(xyz: torch.Tensor) -> torch.Tensor:
    """CIELAB's cube root of light relative to white: L* is 116 times that of Y, less 16."""
    return torch.where(xyz > _DELTA**3, xyz.clamp(min=_DELTA**3).pow(1 / 3), xyz / (3 * _DELTA**2) + 4 / 29)


def expanded_light(compressed: torch.Tensor) -> torch.Tensor:
    """The light whose :func:`compressed_light` this is."""
    # The line is the cube's tangent in delta; `cubed` stays there for what is on the line.
    cubed = compressed.clamp(min=_DELTA)
    return cubed * cubed * cubed + 3 * _DELTA**2 * (compressed - cubed)


def rgb_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """sRGB (…, 3, H, W) in 0..1 to CIELAB in float32: L* 0..100, a* and b* about -110..110.

    Gradients are finite everywhere, black included.
    """
    x, y, z = (compressed_light(channel) for channel in _mix(TO_XYZ, srgb_to_linear(rgb.float()).unbind(-3)))
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-3)


def film_lightness(rgb: torch.Tensor, sensitivities: torch.Tensor) -> torch.Tensor:
    """L* (…, 1, H, W) of sRGB (…, 3, H, W) in 0..1 as a film with these sensitivities records it.

    ``sensitivities`` (…, 3, 1, 1) weighs linear red, green and blue and sums to one, so grey stays as it is.
    With the eye's weights (0.2126, 0.7152, 0.0722) the result is the picture's own L*.
    """
    return 116 * compressed_light((srgb_to_linear(rgb.float()) * sensitivities).sum(dim=-3, keepdim=True)) - 16


def _lab_to_linear(lab: torch.Tensor, from_xyz: torch.Tensor = FROM_XYZ) -> torch.Tensor:
    lightness, a, b = lab.unbind(-3)
    y = (lightness + 16) / 116
    return torch.stack(
        _mix(from_xyz, [expanded_light(y + a / 500), expanded_light(y), expanded_light(y - b / 200)]), dim=-3
    )


def _inside(linear: torch.Tensor) -> torch.Tensor:
    return (linear.amin(dim=-3) >= -_BELOW_BLACK) & (linear.amax(dim=-3) <= 1 + _ABOVE_WHITE)


@torch.no_grad()
def _factors_outside(lab: torch.Tensor, from_xyz: torch.Tensor = FROM_XYZ) -> torch.Tensor:
    """The largest chroma factors, by bisection, of colours (3, N) outside the gamut whose greys are inside: (N,)."""
    lightness, a, b = lab
    y = (lightness + 16) / 116
    along_x, along_z = a / 500, -b / 200
    unmoved = expanded_light(y)
    # Only X and Z move with the factor: of each channel, Y's share stays.
    channels = [(unmoved * row[1], row[0], row[2]) for row in from_xyz.tolist()]
    fits, fails = torch.zeros_like(y), torch.ones_like(y)
    for _ in range(_HALVINGS):
        middle = (fits + fails).mul_(0.5)
        x, z = (expanded_light(torch.addcmul(y, middle, along)) for along in (along_x, along_z))
        red, green, blue = (torch.add(share, x, alpha=to_x).add_(z, alpha=to_z) for share, to_x, to_z in channels)
        inside = red.minimum(green).minimum(blue) >= -_BELOW_BLACK
        inside &= red.maximum(green).maximum(blue) <= 1 + _ABOVE_WHITE
        fits, fails = torch.where(inside, middle, fits), torch.where(inside, fails, middle)
    return fits


@torch.no_grad()
def chroma_factors(lab: torch.Tensor) -> torch.Tensor:
    """How much of each pixel's chroma sRGB can show at its lightness: (…, 3, H, W) to (…, H, W) in 0..1.

    1 for colours inside the gamut. L* has to be within 0..100: grey itself is then always inside.
    """
    outside = ~_inside(_lab_to_linear(lab))
    factors = torch.ones_like(lab[..., 0, :, :])
    if outside.any():
        # Only the pixels outside, as one row: in photographs they are few.
        factors[outside] = _factors_outside(lab.movedim(-3, 0)[:, outside])
    return factors


def lab_to_linear_in_gamut(lab: torch.Tensor, from_xyz: torch.Tensor = FROM_XYZ) -> torch.Tensor:
    """CIELAB (…, 3, H, W), L* within 0..100, to linear RGB in 0..1, float32; see :func:`lab_to_rgb_in_gamut`.

    ``from_xyz`` leads from XYZ, of which white is (1, 1, 1), to the primaries, those of sRGB where it is not given.
    """
    linear = _lab_to_linear(lab, from_xyz)
    outside = ~_inside(linear.detach())
    if outside.any():
        pixels = lab.movedim(-3, 0)[:, outside]
        fitted = torch.cat([pixels[:1], pixels[1:] * _factors_outside(pixels, from_xyz)])
        linear.movedim(-3, 0)[:, outside] = _lab_to_linear(fitted[..., None], from_xyz)[..., 0]
    # What is left outside 0..1 is rounding, see _BELOW_BLACK and _ABOVE_WHITE.
    return linear.clamp(0, 1)


def lab_to_rgb_in_gamut(lab: torch.Tensor) -> torch.Tensor:
    """CIELAB (…, 3, H, W) to sRGB in 0..1, float32.

    A colour outside sRGB loses chroma at its own lightness and hue angle, never lightness: clipping
    the channels instead shifts L* by up to 12. L* is clamped to 0..100. Gradients flow through a*
    and b* with the factor held constant.
    """
    lab = lab.float()
    lab = torch.cat([lab[..., :1, :, :].clamp(0, 100), lab[..., 1:, :, :]], dim=-3)
    return linear_to_srgb(lab_to_linear_in_gamut(lab))


def lab_to_rgb_clipped(lab: torch.Tensor) -> torch.Tensor:
    """CIELAB (…, 3, H, W) to sRGB in 0..1, float32, with channels outside clipped: for losses, not for pictures.

    Unlike :func:`lab_to_rgb_in_gamut` it never asks the device how many pixels are outside, so a training step
    neither waits for it nor breaks a CUDA graph; inside the gamut both give the same.
    """
    return linear_to_srgb(_lab_to_linear(lab.float()).clamp(0, 1))


def _lightness_table() -> torch.Tensor:
    grey = torch.arange(256, dtype=torch.float64) / 255
    return (116 * compressed_light(srgb_to_linear(grey)) - 16).float()


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
