"""Lightness and chroma to a picture: how near lightness stays, where colours end, and that strips leave no trace."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from skimage.data import astronaut, chelsea, coffee, rocket
from torch.nn import functional as F

from kwcolor_pipeline.colorize import merge as module
from kwcolor_pipeline.colorize.merge import grey_lightness, merge, shrunk_lightness
from kwcolor_pipeline.colour.lab import rgb_to_lab
from kwcolor_pipeline.colour.measures import lab_of
from kwcolor_pipeline.photos.decolorizing import decolorize
from kwcolor_pipeline_tests.colorize.pictures import CPU, noise


def lightness_error(gray: np.ndarray, colour: np.ndarray) -> torch.Tensor:
    """|L* of colour - L* of grey|, both from their levels in double precision."""
    top = np.iinfo(colour.dtype).max
    levels = torch.from_numpy(colour.astype(np.float64) / top).movedim(-1, 0)
    linear = torch.where(levels > 0.04045, ((levels + 0.055) / 1.055) ** 2.4, levels / 12.92)
    y = (torch.tensor([0.2126729, 0.7151522, 0.0721750], dtype=torch.float64)[:, None, None] * linear).sum(dim=0)
    found = torch.where(y > (6 / 29) ** 3, 116 * y.clamp(min=1e-9) ** (1 / 3) - 16, y * (29 / 3) ** 3)
    return (found - grey_lightness(gray).double()[torch.from_numpy(gray.astype(np.int64))]).abs()


def exaggerated_chroma(colour: np.ndarray) -> torch.Tensor:
    """1.3 times the colours of a photograph, at a fifth of its size: some of it outside of what a screen can show."""
    lab = lab_of(colour)[None, 1:]
    return F.interpolate(lab * 1.3, scale_factor=0.2, mode="bilinear", antialias=True)


@pytest.mark.parametrize("photograph", [astronaut, chelsea, coffee, rocket])
def test_photographs_keep_their_lightness_in_8_and_in_16_bits(photograph) -> None:
    colour = photograph()
    gray, chroma = decolorize(colour, "lightness"), exaggerated_chroma(colour)
    error = lightness_error(gray, merge(gray, chroma))
    assert error.mean() <= 0.05
    assert error.max() <= 0.2
    fine = gray.astype(np.uint16) * 257
    error = lightness_error(fine, merge(fine, chroma, depth=16))
    assert error.mean() <= 0.002
    assert error.max() <= 0.07


@hypothesis_settings(max_examples=15)
@given(st.integers(0, 2**16), st.floats(0, 150), st.sampled_from([np.uint8, np.uint16]))
def test_no_chroma_moves_lightness(seed: int, spread: float, dtype: type) -> None:
    generator = torch.Generator().manual_seed(seed)
    gray = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (30, 41)).astype(dtype)
    chroma = torch.randn(1, 2, 7, 9, generator=generator) * spread
    error = lightness_error(gray, merge(gray, chroma))
    assert error.mean() <= 0.07
    assert error.max() <= 0.25
    assert lightness_error(gray, merge(gray, chroma, depth=16)).max() <= 0.07


def test_sixteen_bits_are_all_used() -> None:
    gray = np.arange(20_000, 20_256, dtype=np.uint16).reshape(16, 16)
    colour = merge(gray, torch.full((1, 2, 4, 4), 20.0), depth=16)
    assert colour.dtype == np.uint16
    assert len(np.unique(colour[..., 1])) > 200
    assert (np.diff(colour.reshape(-1, 3).astype(int), axis=0) >= 0).all()


def test_lightness_finer_than_8_bits_reaches_8_bit_results() -> None:
    # A colour picture of 8 bits has L* between those of its greys; the result is to be nearer than the next grey.
    gray = np.arange(128 * 257 - 128, 128 * 257 + 128, dtype=np.uint16).reshape(16, 16)
    chroma = torch.full((1, 2, 4, 4), 10.0)
    fine, coarse = merge(gray, chroma), merge((gray // 257).astype(np.uint8), chroma)
    assert lightness_error(gray, fine).mean() < lightness_error(gray, coarse).mean() / 2


def test_colours_end_where_the_photographs_edges_are() -> None:
    edge = 101
    gray = np.where(np.arange(256) < edge, 60, 190).astype(np.uint8)[None].repeat(64, axis=0)
    # At a sixteenth of the size the edge lies within a pixel, whose chroma is between that of both sides.
    truth = torch.zeros(1, 2, 64, 256)
    truth[..., :edge] = 30
    chroma = F.interpolate(truth, size=(4, 16), mode="bilinear", antialias=True)
    colour = rgb_to_lab(torch.from_numpy(merge(gray, chroma)).movedim(-1, 0) / 255)[1]
    straight = F.interpolate(chroma, size=(64, 256), mode="bilinear")[0, 0]
    near = slice(edge - 12, edge + 12)
    assert (colour - truth[0, 0])[:, near].abs().mean() < (straight - truth[0, 0])[:, near].abs().mean() / 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_threads_and_strips_leave_no_trace(monkeypatch: pytest.MonkeyPatch, dtype: type) -> None:
    gray = noise(301, 97).astype(dtype)
    chroma = torch.randn(1, 2, 16, 8, generator=torch.Generator().manual_seed(0)) * 40
    whole = merge(gray, chroma)
    monkeypatch.setattr(module, "_PIXELS_AT_ONCE", 97 * 40)
    monkeypatch.setattr(module, "_PIXELS_IN_CACHE", 97 * 3)
    monkeypatch.setattr(module, "_SMALL", 0)
    assert np.abs(merge(gray, chroma).astype(int) - whole).max() <= 1  # sums in another order
    assert (merge(gray, chroma) != whole).mean() < 1e-3


@pytest.mark.parametrize(("shape", "size"), [((100, 70), (32, 64)), ((20, 30), (32, 64)), ((1, 1000), (32, 96))])
def test_the_small_lightness_is_that_of_an_antialiased_resize(shape: tuple[int, int], size: tuple[int, int]) -> None:
    gray = noise(*shape)
    lightness = grey_lightness(gray)[torch.from_numpy(gray.astype(np.int64))][None, None]
    expected = F.interpolate(lightness, size=size, mode="bilinear", antialias=True)
    assert (shrunk_lightness(gray, size, CPU) - expected).abs().max() < 1e-3
