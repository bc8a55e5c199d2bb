"""DeOldify's rule: the square, the way back, and 8-bit YUV as OpenCV computes it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from kwcolor_pipeline.baselines.deoldify import DeOldify, colorize_by_square, normalised, pixels
from kwcolor_pipeline.baselines.yuv import rgb_to_yuv, with_chroma_of, yuv_to_rgb
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline_tests.baselines.small_deoldify import lively, small

#: Computed by OpenCV 5.0.0: a triple, RGB to YUV of it, YUV to RGB of it. All 2^24 triples agreed both ways.
OPENCV = [
    ((255, 0, 0), (76, 91, 255), (109, 255, 0)),
    ((0, 255, 0), (150, 54, 0), (0, 24, 255)),
    ((0, 0, 255), (29, 239, 103), (145, 0, 0)),
    ((10, 200, 90), (131, 108, 22), (0, 4, 156)),
    ((250, 128, 3), (150, 56, 216), (107, 255, 250)),
    ((77, 77, 77), (77, 128, 128), (19, 127, 0)),
    ((255, 255, 255), (255, 128, 128), (255, 131, 255)),
]


@pytest.mark.parametrize(("triple", "as_yuv", "as_rgb"), OPENCV)
def test_yuv_is_opencvs(triple, as_yuv, as_rgb):
    triple = np.array([[triple]], np.uint8)
    assert tuple(rgb_to_yuv(triple)[0, 0]) == as_yuv
    assert tuple(yuv_to_rgb(triple)[0, 0]) == as_rgb


def test_grey_has_no_chroma_and_comes_back():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rgb = np.stack([grey] * 3, axis=-1)
    yuv = rgb_to_yuv(rgb)
    assert np.array_equal(yuv[..., 0], grey)
    assert (yuv[..., 1:] == 128).all()
    assert np.array_equal(with_chroma_of(grey, rgb), rgb)


@given(arrays(np.uint8, (8, 8), elements=st.integers(64, 191)), arrays(np.uint8, (3,), elements=st.integers(96, 159)))
def test_the_result_has_the_photographs_luma(grey, colour):
    result = with_chroma_of(grey, np.broadcast_to(colour, (8, 8, 3)))
    luma = rgb_to_yuv(result)[..., 0].astype(int)
    assert np.abs(luma - grey).max() <= 1  # away from the ends of the range, where colours are cut off


@pytest.mark.parametrize("size", [(20, 60), (90, 41), (64, 64)])
def test_the_network_sees_the_whole_picture_as_a_square_and_gives_chroma_only(size):
    height, width = size
    gray = np.tile(np.linspace(60, 180, width).astype(np.uint8), (height, 1))
    seen = []

    def reddening(square):
        seen.append(square)
        left = np.arange(square.shape[1]) < square.shape[1] // 2
        tint = np.where(left[None, :, None], [40, 0, 0], [0, 0, 40])
        return (square[..., None].astype(int) // 2 + tint).astype(np.uint8)

    result = colorize_by_square(gray, 48, reddening)
    assert result.shape == (height, width, 3)
    assert result.dtype == np.uint8
    assert [square.shape for square in seen] == [(48, 48)]
    expected = Image.fromarray(gray).resize((48, 48), Image.Resampling.BILINEAR)
    assert np.array_equal(seen[0], np.asarray(expected))
    # The square was half as bright, and nothing of that is left.
    assert np.abs(rgb_to_yuv(result)[..., 0].astype(int) - gray).max() <= 1
    assert (result[:, : width // 2 - 2, 0] > result[:, : width // 2 - 2, 2]).all()
    assert (result[:, width // 2 + 2 :, 0] < result[:, width // 2 + 2 :, 2]).all()


def test_values_go_in_normalised_and_come_out_rounded_down():
    gray = np.array([[0, 124, 255]], np.uint8)
    given_values = normalised(gray)
    assert given_values.shape == (1, 3, 1, 3)
    np.testing.assert_allclose(given_values[0, :, 0, 0], [-2.1179, -2.0357, -1.8044], atol=1e-4)
    np.testing.assert_allclose(given_values[0, :, 0, 2], [2.2489, 2.4286, 2.64], atol=1e-4)
    coloured = np.full((1, 3, 1, 1), 3, np.float32)
    coloured[0, 1] = -3
    coloured[0, 2] = (100.9 / 255 - 0.406) / 0.225
    assert pixels(coloured).tolist() == [[[255, 0, 100]]]


def test_a_photograph_is_colorized_at_the_render_size(monkeypatch):
    network = lively(small())
    sides = []
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda rgb: sides.append(tuple(rgb.shape)) or forward(rgb))
    gray = np.random.default_rng(0).integers(0, 256, (37, 50), dtype=np.uint8)
    colorize = DeOldify(network, torch.device("cpu"), render_factor=3)
    result = colorize(gray, "a" * 64)
    assert sides == [(1, 3, 48, 48)]
    assert result.shape == (37, 50, 3)
    assert np.ptp(result.astype(int), axis=-1).max() > 5
    assert np.array_equal(result, colorize(gray, "b" * 64))


def test_too_little_memory_is_said_instead_of_giving_grey(monkeypatch):
    network = lively(small())

    def fail(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(network, "forward", fail)
    with pytest.raises(SettingsProblem, match="RENDER_FACTOR below 35"):
        DeOldify(network, torch.device("cpu"), 35)(np.zeros((40, 40), np.uint8), "")
