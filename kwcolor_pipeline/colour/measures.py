"""How colours of uint8 pictures are measured: colourfulness and colour difference.

Belongs here: measures of one picture or of two, in numpy, and of a batch where a training step needs it.
What they say about a model, and with which certainty, is the evaluation's affair.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import color


def colourfulness(rgb: NDArray[np.uint8]) -> float:
    """Colourfulness M of a picture (H, W, 3), 0 for grey; about 15 slight, 45 quite, 80 very colourful.

    Hasler and Süsstrunk, "Measuring colourfulness in natural images", SPIE 5007 (2003), with the
    opponent axes signed as in the paper. (Some colorization papers take their absolute values
    first; their numbers are smaller on pictures with opposite colours.)
    """
    red, green, blue = np.moveaxis(rgb.astype(np.float64), -1, 0)
    red_green = red - green
    yellow_blue = (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    offset = np.hypot(red_green.mean(), yellow_blue.mean())
    return float(spread + 0.3 * offset)


def colourfulness_of_batch(rgb: torch.Tensor) -> torch.Tensor:
    """The same colourfulness of each of sRGB (N, 3, H, W) in 0..1, as float32 (N,), on the pictures' own device."""
    red, green, blue = (rgb.float() * 255).flatten(2).unbind(1)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = torch.hypot(red_green.std(dim=1, correction=0), yellow_blue.std(dim=1, correction=0))
    return spread + 0.3 * torch.hypot(red_green.mean(dim=1), yellow_blue.mean(dim=1))


def ciede2000(rgb_a: NDArray[np.uint8], rgb_b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIEDE2000 colour difference of two sRGB pictures (H, W, 3), per pixel (H, W); 1 is just noticeable.

    ISO/CIE 11664-6, D65; through scikit-image. Raises ValueError when the shapes differ.
    """
    if rgb_a.shape != rgb_b.shape:
        raise ValueError(f"pictures of different size cannot be compared: {rgb_a.shape} and {rgb_b.shape}")
    return color.deltaE_ciede2000(color.rgb2lab(rgb_a), color.rgb2lab(rgb_b))
