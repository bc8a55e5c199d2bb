"""How colours of uint8 pictures are measured: colourfulness, colour difference, and how many hues share the colour.

Belongs here: measures of one picture or of two, and of a batch where a training step needs it. What they say about a
model, and with which certainty, is the evaluation's affair.

CIELAB is computed here with the sRGB matrix and the D65 white point as they are commonly printed to six digits
(ITU-R BT.709, CIE 15) and as scikit-image has them, so that figures agree with those that others publish. The
generator's own conversion in ``lab`` makes grey exactly neutral instead; means differ by less than 0.001.
"""

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray

#: Chroma below which nobody sees a hue: about the just noticeable difference in CIELAB (Mahy et al., 1994: 2.3).
SEEN_CHROMA = 2.3
#: Width of the sector of hues that counts as one hue, in degrees, and the steps in which it is turned.
HUE_SECTOR, _HUE_STEP = 60, 5
#: Linear sRGB to XYZ, and XYZ of white.
_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
#: Pixels that are looked at together: they stay in a core's cache, and torch leaves fewer than 32,768 in this thread,
#: so that several pictures can be measured side by side.
_BLOCK = 32_000
_SEVENTH_POWER = 25.0**7


def colourfulness(rgb: NDArray[np.uint8]) -> float:
    """Colourfulness M of a picture (H, W, 3), 0 for grey; about 15 slight, 45 quite, 80 very colourful.

    Hasler and Süsstrunk, "Measuring colourfulness in natural images", SPIE 5007 (2003), with the
    opponent axes signed as in the paper. (Some colorization papers take their absolute values
    first; their numbers are smaller on pictures with opposite colours.)
    """
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    # Sums of whole numbers are exact, so that grey is exactly 0; the second axis is twice yellow minus blue.
    axes = (red - green, 1), (red + green - 2 * blue, 2)
    means = [int(axis.sum(dtype=np.int64)) / axis.size / scale for axis, scale in axes]
    squares = [int((axis * axis).sum(dtype=np.int64)) / axis.size / scale**2 for axis, scale in axes]
    variances = (square - mean * mean for square, mean in zip(squares, means, strict=True))
    return math.sqrt(max(0.0, sum(variances))) + 0.3 * math.hypot(*means)


def colourfulness_of_batch(rgb: torch.Tensor) -> torch.Tensor:
    """The same colourfulness of each of sRGB (N, 3, H, W) in 0..1, as float32 (N,), on the pictures' own device."""
    red, green, blue = (rgb.float() * 255).flatten(2).unbind(1)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = torch.hypot(red_green.std(dim=1, correction=0), yellow_blue.std(dim=1, correction=0))
    return spread + 0.3 * torch.hypot(red_green.mean(dim=1), yellow_blue.mean(dim=1))


@functools.cache
def _linear_levels() -> NDArray[np.float64]:
    """Linear light of the 256 levels of sRGB (IEC 61966-2-1)."""
    levels = np.arange(256) / 255
    return np.where(levels > 0.04045, ((levels + 0.055) / 1.055) ** 2.4, levels / 12.92)


def lab_of(rgb: NDArray[np.uint8]) -> torch.Tensor:
    """CIELAB (3, H, W) of a picture (H, W, 3), float32: L* 0..100, a* and b* about -110..110, D65, CIE 15.

    Computed in double precision, because the hue of near-greys comes from differences of nearly equal numbers.
    """
    pixels, levels = rgb.reshape(-1, 3), _linear_levels()
    lab = torch.empty(3, len(pixels))
    for start in range(0, len(pixels), _BLOCK):
        block = slice(start, start + _BLOCK)
        red, green, blue = (torch.from_numpy(levels[channel]) for channel in pixels[block].T)
        x, y, z = (
            _compressed((row[0] * red + row[1] * green + row[2] * blue) / white)
            for row, white in zip(_TO_XYZ, _WHITE, strict=True)
        )
        lab[0, block], lab[1, block], lab[2, block] = 116 * y - 16, 500 * (x - y), 200 * (y - z)
    return lab.view(3, *rgb.shape[:2])


def _compressed(ratio: torch.Tensor) -> torch.Tensor:
    # Twice as fast as a power; what comes out for black is not used.
    root = torch.exp(torch.log(ratio) / 3)
    return torch.where(ratio > 0.008856, root, 7.787 * ratio + 16 / 116)


def ciede2000(rgb_a: NDArray[np.uint8], rgb_b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIEDE2000 colour difference of two sRGB pictures (H, W, 3), per pixel (H, W); 1 is just noticeable.

    ISO/CIE 11664-6, D65. Raises ValueError when the shapes differ.
    """
    if rgb_a.shape != rgb_b.shape:
        raise ValueError(f"pictures of different size cannot be compared: {rgb_a.shape} and {rgb_b.shape}")
    return ciede2000_of_lab(lab_of(rgb_a), lab_of(rgb_b)).numpy()


def ciede2000_of_lab(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """CIEDE2000 of CIELAB (3, …) and (3, …), per colour (…), in their own precision; all weights k are 1.

    ISO/CIE 11664-6; the notation and the case of a grey are those of Sharma, Wu and Dalal, "The CIEDE2000
    color-difference formula: implementation notes, supplementary test data, and mathematical observations",
    Color Research and Application 30 (2005).
    """
    flat_first, flat_second = first.reshape(3, -1), second.reshape(3, -1)
    difference = torch.empty_like(flat_first[0])
    for start in range(0, len(difference), _BLOCK):
        block = slice(start, start + _BLOCK)
        difference[block] = _ciede2000(flat_first[:, block], flat_second[:, block])
    return difference.view(first.shape[1:])


def _chroma(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.sqrt(a * a + b * b)


def _saturating(chroma: torch.Tensor) -> torch.Tensor:
    """sqrt(C⁷ / (C⁷ + 25⁷)): 0 for greys, 1 for strong colours."""
    square = chroma * chroma
    seventh = square * square * square * chroma
    return torch.sqrt(seventh / (seventh + _SEVENTH_POWER))


def _hue(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Hue angle in 0..2π, 0 for grey."""
    angle = torch.atan2(b, a)
    return torch.where(angle < 0, angle + 2 * math.pi, angle)


def _ciede2000(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    lightness_1, a_1, b_1 = first
    lightness_2, a_2, b_2 = second
    gain = 1.5 - 0.5 * _saturating((_chroma(a_1, b_1) + _chroma(a_2, b_2)) / 2)
    a_1, a_2 = a_1 * gain, a_2 * gain
    chroma_1, chroma_2 = _chroma(a_1, b_1), _chroma(a_2, b_2)
    product, chroma = chroma_1 * chroma_2, (chroma_1 + chroma_2) / 2
    hue_1, hue_2 = _hue(a_1, b_1), _hue(a_2, b_2)
    # The shorter way round the circle; opposite hues stay as they are, for which rounding must not decide. Where one
    # of them is grey, `product` takes the turn out again.
    turn = hue_2 - hue_1
    turn = turn - 2 * math.pi * torch.round(turn * ((1 - 1e-6) / (2 * math.pi)))
    hue = torch.where(product == 0, hue_1 + hue_2, hue_1 + turn / 2)

    offset = ((lightness_1 + lightness_2) / 2 - 50) ** 2
    over_lightness = (lightness_2 - lightness_1) / (1 + 0.015 * offset / torch.sqrt(20 + offset))
    over_chroma = (chroma_2 - chroma_1) / (1 + 0.045 * chroma)
    over_hue = 2 * torch.sqrt(product) * torch.sin(turn / 2) / (1 + 0.015 * chroma * _hue_weight(hue))
    rotation = -2 * _saturating(chroma) * torch.sin(_blue_rotation(hue))
    squares = over_lightness**2 + over_chroma**2 + over_hue**2 + rotation * over_chroma * over_hue
    return torch.sqrt(squares.clamp(min=0))  # rounding


def _hue_weight(hue: torch.Tensor) -> torch.Tensor:
    """T of the standard, by the angle sum identities: one cosine and one sine instead of four cosines."""
    cos_1, sin_1 = torch.cos(hue), torch.sin(hue)
    cos_2, sin_2 = 2 * cos_1 * cos_1 - 1, 2 * sin_1 * cos_1
    cos_3, sin_3 = cos_2 * cos_1 - sin_2 * sin_1, sin_2 * cos_1 + cos_2 * sin_1
    cos_4, sin_4 = 2 * cos_2 * cos_2 - 1, 2 * sin_2 * cos_2
    weight = 1 + 0.24 * cos_2
    terms = ((-0.17, cos_1, sin_1, -30), (0.32, cos_3, sin_3, 6), (-0.2, cos_4, sin_4, -63))
    for factor, cosine, sine, degrees in terms:
        phase = math.radians(degrees)
        weight = weight + factor * math.cos(phase) * cosine - factor * math.sin(phase) * sine
    return weight


def _blue_rotation(hue: torch.Tensor) -> torch.Tensor:
    """2 Δθ of the standard, in radians: 60° for blue at 275°."""
    hue = torch.remainder(hue, 2 * math.pi)
    return math.radians(60) * torch.exp(-(((hue - math.radians(275)) / math.radians(25)) ** 2))


def uniformity_of_lab(lab: torch.Tensor) -> float:
    """Share of the picture's chroma that lies in one sector of 60° of hue, for CIELAB (3, …): 0..1.

    Each pixel counts with its CIELAB chroma, those below :data:`SEEN_CHROMA` do not count, and the sector is the
    one that holds most, turned in steps of 5°. 1 means that all colour is of one hue, as in a toned print or in the
    well-known failure that paints everything blue; hues spread evenly give 1/6, photographs are between. It says
    nothing about how strong the colour is. A picture in which nothing has a visible hue, a grey one above all, has 0.
    """
    a, b = (channel.reshape(-1).numpy() for channel in lab[1:])
    chroma = np.hypot(a, b)
    seen = chroma >= SEEN_CHROMA
    if not seen.any():
        return 0.0
    steps = 360 // _HUE_STEP
    # The half circle that arctan2 adds to no angle moves every sector alike, so it is left out.
    step = ((np.arctan2(b[seen], a[seen]) / (2 * np.pi) + 0.5) * steps).astype(np.intp) % steps
    histogram = np.bincount(step, weights=chroma[seen], minlength=steps)
    width = HUE_SECTOR // _HUE_STEP
    running = np.concatenate([[0], np.cumsum(np.concatenate([histogram, histogram[: width - 1]]))])
    # Differences of running sums may exceed the whole by rounding.
    return min(1.0, float((running[width:] - running[:-width]).max() / histogram.sum()))


def uniformity(rgb: NDArray[np.uint8]) -> float:
    """:func:`uniformity_of_lab` of a picture (H, W, 3)."""
    return uniformity_of_lab(lab_of(rgb))
