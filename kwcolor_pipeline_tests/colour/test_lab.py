"""Lab conversions and the gamut fit, against kornia, the standard's numbers, and their properties."""

import kornia
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab

from kwcolor_pipeline.colour.lab import (
    chroma_factors,
    film_lightness,
    grey_to_lightness,
    lab_to_rgb_clipped,
    lab_to_rgb_in_gamut,
    rgb_to_lab,
)

_SEEDS = st.integers(0, 2**32 - 1)


def _any_rgb(seed: int) -> torch.Tensor:
    """Pictures (2, 3, 16, 16) with many values at the very ends of the range."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(2, 3, 16, 16, generator=generator) * 1.6 - 0.3).clamp(0, 1)


def _any_lab(seed: int, chroma: float = 150) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    lightness = (torch.rand(2, 1, 16, 16, generator=generator) * 1.1 - 0.05).clamp(0, 1) * 100
    return torch.cat([lightness, (torch.rand(2, 2, 16, 16, generator=generator) * 2 - 1) * chroma], dim=1)


def _one_pixel(*channels: float) -> torch.Tensor:
    return torch.tensor(channels, dtype=torch.float32).reshape(3, 1, 1)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_primaries_have_their_published_lab_values(rgb, lab):
    assert rgb_to_lab(_one_pixel(*rgb)).flatten().tolist() == pytest.approx(lab, abs=0.01)


def test_agrees_with_kornia_and_skimage():
    rgb = _any_rgb(0)
    ours = rgb_to_lab(rgb)
    # Both round the white point and the matrix to five digits.
    assert (ours - kornia.color.rgb_to_lab(rgb)).abs().max() < 0.02
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - rgb2lab(rgb[0].permute(1, 2, 0).numpy())).max() < 0.02


@settings(max_examples=25)
@given(_SEEDS)
def test_a_colour_inside_the_gamut_is_not_changed(seed):
    rgb = _any_rgb(seed)
    lab = rgb_to_lab(rgb)
    assert torch.equal(chroma_factors(lab), torch.ones(2, 16, 16))
    assert (lab_to_rgb_in_gamut(lab) - rgb).abs().max() < 1e-4


@settings(max_examples=25)
@given(_SEEDS)
def test_the_fit_keeps_lightness_and_hue_and_never_raises_chroma(seed):
    lab = _any_lab(seed)
    rgb = lab_to_rgb_in_gamut(lab)
    fitted = rgb_to_lab(rgb)
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    assert (fitted[:, 0] - lab[:, 0]).abs().max() < 0.05
    chroma, fitted_chroma = lab[:, 1:].norm(dim=1), fitted[:, 1:].norm(dim=1)
    assert (fitted_chroma - chroma).max() < 0.05
    sine = (lab[:, 1] * fitted[:, 2] - lab[:, 2] * fitted[:, 1]) / chroma.clamp(min=1)
    assert sine.abs().max() < 0.1


def test_the_fit_takes_no_more_chroma_than_it_must():
    lab = _any_lab(3)
    factors = chroma_factors(lab)
    more = torch.cat([lab[:, :1], lab[:, 1:] * (factors + 0.001).unsqueeze(1)], dim=1)
    assert (factors < 1).any()
    assert (chroma_factors(more)[factors < 1] < 1).all()


def test_lightness_survives_chroma_that_no_screen_can_show():
    lab = torch.stack([torch.linspace(0, 100, 101), torch.full((101,), 120.0), torch.full((101,), 120.0)])[:, None]
    assert (rgb_to_lab(lab_to_rgb_in_gamut(lab))[0] - lab[0]).abs().max() < 0.05


def test_gradients_are_finite_at_black_and_white():
    rgb = torch.tensor([0.0, 1.0, 0.5]).expand(1, 3, 1, 3).clone().requires_grad_()
    rgb_to_lab(rgb).sum().backward()
    assert rgb.grad is not None
    assert rgb.grad.isfinite().all()
    lab = _any_lab(5).requires_grad_()
    lab_to_rgb_in_gamut(lab).sum().backward()
    assert lab.grad is not None
    assert lab.grad.isfinite().all()


def test_half_precision_around_it_does_not_move_lightness():
    rgb = _any_rgb(9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lab = rgb_to_lab(rgb)
        back = lab_to_rgb_in_gamut(lab)
    assert torch.equal(lab, rgb_to_lab(rgb))
    assert (back - rgb).abs().max() < 1e-4


def test_every_grey_comes_back_from_its_lightness():
    grey = torch.arange(256, dtype=torch.uint8).reshape(16, 16)
    lightness = grey_to_lightness(grey)
    assert lightness.diff(dim=1).min() > 0
    assert lightness[0, 0] == 0
    assert lightness[15, 15] == 100
    assert (lightness - rgb_to_lab((grey / 255).expand(3, 16, 16))[0]).abs().max() < 1e-4
    lab = torch.stack([lightness, torch.zeros(16, 16), torch.zeros(16, 16)])
    assert torch.equal((lab_to_rgb_in_gamut(lab) * 255).round().byte(), grey.expand(3, 16, 16))


def test_only_uint8_grey_is_looked_up():
    with pytest.raises(TypeError, match="uint8"):
        grey_to_lightness(torch.zeros(2, 2))


def test_clipping_agrees_with_the_gamut_fit_inside_and_is_a_colour_outside() -> None:
    rgb = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(lab_to_rgb_clipped(rgb_to_lab(rgb)), rgb, atol=1e-4)
    outside = torch.tensor([50.0, 150, -150]).view(1, 3, 1, 1).requires_grad_()
    clipped = lab_to_rgb_clipped(outside)
    clipped.sum().backward()
    assert ((clipped >= 0) & (clipped <= 1)).all()
    assert outside.grad is not None
    assert outside.grad.isfinite().all()


def test_a_film_that_sees_like_the_eye_records_the_lightness() -> None:
    rgb = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    eye = torch.tensor([0.2126729, 0.7151522, 0.0721750]).view(3, 1, 1)
    assert torch.allclose(film_lightness(rgb, eye), rgb_to_lab(rgb)[:, :1], atol=1e-3)
    blue = film_lightness(rgb, torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1))
    assert torch.allclose(blue, rgb_to_lab(rgb[:, 2:].expand(-1, 3, -1, -1))[:, :1], atol=1e-3)
