"""Augmentation of the network's input, so that old prints look like training data.

Belongs here: everything that bends the input's lightness in training, as batched operations on the
device. The truth's lightness and chroma never pass through here, so nothing here can change a target.
Which part of a picture is seen is in ``data``.

The effects follow a photograph's life: the film and its lens, the print, its ageing, the scan. Each has
a strength in the preset, 0 for off, and each draws its random numbers from a stream of its own: a batch
is a function of seed and step, and switching one effect on or off leaves the others as they were.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch

from kwcolor_pipeline.colour.films import (
    BEHIND_RED,
    BEHIND_YELLOW,
    BLUE_SENSITIVE,
    EYE,
    ORTHOCHROMATIC,
    PANCHROMATIC,
)
from kwcolor_pipeline.colour.lab import film_lightness
from kwcolor_pipeline.training.presets import Preset

#: The films that a picture may be taken on: what matters is that the network meets skies and skins in many greys.
FILMS = (PANCHROMATIC, BEHIND_YELLOW, BEHIND_RED, ORTHOCHROMATIC, BLUE_SENSITIVE)
#: L* by which full fading raises black and lowers white.
_RAISED_BLACK, _LOWERED_WHITE = 35.0, 30.0
#: Share of the lightness that is lost in the farthest corner, and at one edge, at full strength.
_VIGNETTE, _SLOPE = 0.5, 0.25
#: Marks that a picture can have at most: specks of dust, and scratches along each of the film's directions.
_SPECKS, _SCRATCHES = 10, 3
#: How many radii of the widest speck, and of the widest scratch, lie side by side in a picture.
_SPECK, _SCRATCH = 80, 240
#: Luminance quantisation of JPEG, ISO/IEC 10918-1 table K.1; libjpeg uses it as it is at quality 50.
_JPEG = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_BLOCK = 8
#: Exponent at which bells end: the product of two is still far above the smallest normal float32.
_FARTHEST = 30.0


@dataclass(frozen=True)
class Strengths:
    """How strong each effect may become, 0 for off; the preset's fields of the same names say what 1 means."""

    film_response: float = 0.0
    blur: float = 0.0
    uneven_light: float = 0.0
    lightness_jitter: float = 0.0
    grain: float = 0.0
    fade: float = 0.0
    scratches: float = 0.0
    blockiness: float = 0.0

    @classmethod
    def of(cls, preset: Preset) -> "Strengths":
        return cls(**{field.name: getattr(preset, field.name) for field in fields(cls)})


@dataclass(frozen=True)
class Rows:
    """The part of a global batch of ``total`` pictures that this process sees."""

    first: int
    count: int
    total: int


class Draws:
    """The random numbers of one effect in one step.

    They are drawn for the whole global batch and given for this process's rows, so that several processes
    see together what one would see. Drawn on the device: equal on every CPU, other numbers on a GPU.
    """

    def __init__(self, key: list[int], rows: Rows, device: torch.device):
        seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1  # torch takes signed seeds
        self._generator = torch.Generator(device).manual_seed(seed)
        self._rows, self._device = rows, device

    def _own(self, drawn: torch.Tensor) -> torch.Tensor:
        return drawn[self._rows.first : self._rows.first + self._rows.count]

    def uniform(self, *shape: int) -> torch.Tensor:
        """(N, *shape) in 0..1."""
        return self._own(torch.rand((self._rows.total, *shape), generator=self._generator, device=self._device))

    def normal(self, *shape: int) -> torch.Tensor:
        """(N, *shape) with mean 0 and variance 1."""
        return self._own(torch.randn((self._rows.total, *shape), generator=self._generator, device=self._device))

    def scalars(self, count: int) -> tuple[torch.Tensor, ...]:
        """``count`` uniform numbers a picture, each (N, 1, 1, 1)."""
        return self.uniform(count, 1, 1, 1).unbind(1)


@functools.cache
def _constant(values: tuple[tuple[float, ...], ...], device: torch.device) -> torch.Tensor:
    """A constant matrix, copied to each device once."""
    return torch.tensor(values, device=device)


def _positions(count: int, device: torch.device) -> torch.Tensor:
    """Middles of ``count`` pixels, from 0 to 1."""
    return (torch.arange(count, device=device) + 0.5) / count


def film_response(
    lightness: torch.Tensor, rgb: torch.Tensor, eye: torch.Tensor, strength: float, draws: Draws
) -> torch.Tensor:
    """The grey as a film saw it, each picture on one of :data:`FILMS`, mixed with the eye by up to ``strength``.

    ``eye`` is the L* of ``rgb``. What the film sees differently is added to the pair's own lightness, so grey
    things keep theirs, however the pair's grey was made.
    """
    films = _constant(FILMS, lightness.device)
    chosen, amount = draws.scalars(2)
    number = (chosen.flatten() * len(films)).long().clamp(max=len(films) - 1)
    own = _constant((EYE,), lightness.device)
    weights = torch.lerp(own, films[number], strength * amount.flatten().unsqueeze(1))
    return (lightness + film_lightness(rgb, weights[..., None, None]) - eye).clamp(0, 100)


def _bell(squares: torch.Tensor) -> torch.Tensor:
    """``exp(-squares / 2)`` that ends before numbers become too small to be multiplied fast."""
    return torch.exp(-(squares / 2).clamp(max=_FARTHEST))


def _gaussian_rows(sigma: torch.Tensor, count: int) -> torch.Tensor:
    """Blurring along one side as matrices (N, count, count); rows sum to one, so edges do not darken."""
    pixels = torch.arange(count, device=sigma.device)
    squares = (pixels - pixels.unsqueeze(1)).square()
    weights = _bell(squares / (sigma.view(-1, 1, 1).square() + 1e-6))
    return weights / weights.sum(dim=2, keepdim=True)


def blur(lightness: torch.Tensor, strength: float, draws: Draws) -> torch.Tensor:
    """A soft lens or a copy out of focus: a Gaussian whose width is up to ``strength`` pixels, mostly less.

    As two matrix products it costs the same for every width, and every picture has its own.
    """
    (amount,) = draws.scalars(1)
    sigma = strength * amount.square()
    vertical, horizontal = (_gaussian_rows(sigma, side) for side in lightness.shape[2:])
    blurred = torch.bmm(torch.bmm(vertical, lightness.squeeze(1)), horizontal.transpose(1, 2)).unsqueeze(1)
    return blurred.clamp(0, 100)


def uneven_light(lightness: torch.Tensor, strength: float, draws: Draws) -> torch.Tensor:
    """Darker corners around a middle that is not quite the picture's, and light that falls off to one side."""
    vignette, slope, angle, middle_y, middle_x = draws.scalars(5)
    y = _positions(lightness.shape[2], lightness.device).view(1, 1, -1, 1) - 0.5
    x = _positions(lightness.shape[3], lightness.device).view(1, 1, 1, -1) - 0.5
    angle = 2 * math.pi * angle
    away = (y - (middle_y - 0.5) / 2).square() + (x - (middle_x - 0.5) / 2).square()
    loss = _VIGNETTE * vignette * away + _SLOPE * slope * (y * angle.sin() + x * angle.cos())
    return (lightness * (1 - strength * loss)).clamp(0, 100)


def lightness_jitter(lightness: torch.Tensor, strength: float, draws: Draws) -> torch.Tensor:
    """Another exposure and contrast: a gamma between exp(-strength) and exp(strength)."""
    (amount,) = draws.scalars(1)
    return 100 * (lightness / 100).pow(torch.exp(strength * (2 * amount - 1)))


def grain(lightness: torch.Tensor, strength: float, draws: Draws) -> torch.Tensor:
    """Film grain with a deviation of up to ``strength`` L*, strongest in the middle tones, fine to two pixels wide."""
    amount, size = draws.scalars(2)
    height, width = lightness.shape[2:]
    fine = draws.normal(1, height, width)
    coarse = draws.normal(1, height // 2, width // 2).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    noise = torch.cos(math.pi / 2 * size) * fine + torch.sin(math.pi / 2 * size) * coarse
    light = lightness / 100
    return (lightness + strength * amount * (0.3 + 2.8 * light * (1 - light)) * noise).clamp(0, 100)


def fade(lightness: torch.Tensor, strength: float, draws: Draws) -> torch.Tensor:
    """A faded print: black is raised and white is lowered, each by up to a third at full strength."""
    black, white = draws.scalars(2)
    black, white = _RAISED_BLACK * strength * black, 100 - _LOWERED_WHITE * strength * white
    return black + lightness / 100 * (white - black)


def _profile(middle: torch.Tensor, radius: torch.Tensor, count: int) -> torch.Tensor:
    """Bells along one side of ``count`` pixels: (N, marks) to (N, marks, count)."""
    pixels = torch.arange(count, device=middle.device)
    return _bell(((pixels - middle.unsqueeze(2)) / radius.unsqueeze(2)).square())


def scratches(lightness: torch.Tensor, strength: float, draws: Draws) -> torch.Tensor:
    """Dust as specks and scratches as thin lines along the film, two thirds of them light, the rest dark.

    Every mark is the product of a bell along the rows and one along the columns, so all marks of a batch
    are one matrix product. A picture is damaged by its own degree, and most pictures only little.
    """
    height, width = lightness.shape[2:]
    count = _SPECKS + 2 * _SCRATCHES
    here, y, x, thin, length, tone, depth = draws.uniform(7, count).unbind(1)
    degree = draws.uniform(1).square()
    along_y, along_x = (0.4 + thin * min(height, width) / _SPECK for _ in range(2))
    across, along = 0.35 + thin * min(height, width) / _SCRATCH, 0.1 + length
    vertical, horizontal = slice(_SPECKS, _SPECKS + _SCRATCHES), slice(_SPECKS + _SCRATCHES, None)
    along_y[:, vertical], along_x[:, vertical] = height * along[:, vertical], across[:, vertical]
    along_y[:, horizontal], along_x[:, horizontal] = across[:, horizontal], width * along[:, horizontal]
    amounts = (0.2 + 0.8 * depth) * (here < strength * degree) * torch.where(tone < 2 / 3, 1.0, -1.0)
    rows = _profile(y * height, along_y, height) * amounts.unsqueeze(2)
    marks = torch.bmm(rows.transpose(1, 2), _profile(x * width, along_x, width)).unsqueeze(1).clamp(-1, 1)
    return torch.where(marks > 0, lightness + marks * (100 - lightness), lightness * (1 + marks))


@functools.cache
def _cosines(device: torch.device) -> torch.Tensor:
    """The two-dimensional discrete cosine transform of a block of 64 pixels as one orthogonal matrix."""
    pixels = torch.arange(_BLOCK, dtype=torch.float64)
    matrix = torch.cos(math.pi * (2 * pixels + 1) * pixels.unsqueeze(1) / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    matrix[0] /= math.sqrt(2)
    return torch.kron(matrix, matrix).float().to(device)


def blockiness(lightness: torch.Tensor, strength: float, draws: Draws) -> torch.Tensor:
    """Blocks of 8 pixels as JPEG leaves them: from none to libjpeg's quality 25 at full strength.

    The grid begins at the crop's corner, and L* stands for the luma that JPEG quantises.
    """
    pictures, _, height, width = lightness.shape
    grid = (pictures, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    blocks = (lightness * 2.55 - 128).reshape(grid).transpose(2, 3).reshape(pictures, -1, _BLOCK**2)
    (amount,) = draws.scalars(1)
    table = _constant(_JPEG, lightness.device).flatten().float()
    steps = (2 * strength * amount.view(-1, 1, 1) * table).clamp(min=1)
    cosines = _cosines(lightness.device)
    restored = ((blocks @ cosines.T / steps).round() * steps) @ cosines
    shown = restored.reshape(grid[0], grid[1], grid[3], _BLOCK, _BLOCK).transpose(2, 3).reshape(lightness.shape)
    return ((shown + 128) / 2.55).clamp(0, 100)


_Effect = Callable[[torch.Tensor, float, Draws], torch.Tensor]
#: What happens to a grey after the film, in this order. The place is the number of the effect's random stream.
_EFFECTS: dict[str, _Effect] = {
    "blur": blur,
    "uneven_light": uneven_light,
    "lightness_jitter": lightness_jitter,
    "grain": grain,
    "fade": fade,
    "scratches": scratches,
    "blockiness": blockiness,
}


class Augmentation:
    """Every effect of non-zero strength, for one preset and seed."""

    def __init__(self, strengths: Strengths, seed: int, device: torch.device):
        self._strengths, self._seed, self._device = strengths, seed, device

    @torch.no_grad()
    def __call__(
        self, lightness: torch.Tensor, rgb: torch.Tensor, eye: torch.Tensor, step: int, rows: Rows
    ) -> torch.Tensor:
        """The input of ``step``: L* (N, 1, H, W) in 0..100, sides multiples of 8; the arguments stay as they are.

        ``rgb`` (N, 3, H, W) in 0..1 is the same picture in colour and ``eye`` (N, 1, H, W) its L*.
        """

        def draws(effect: int) -> Draws:
            return Draws([self._seed, 2, step, effect], rows, self._device)

        if self._strengths.film_response:
            lightness = film_response(lightness, rgb, eye, self._strengths.film_response, draws(0))
        for number, (name, effect) in enumerate(_EFFECTS.items(), start=1):
            strength = getattr(self._strengths, name)
            if strength:
                lightness = effect(lightness, strength, draws(number))
        return lightness
