"""The histogram of hues: which sector a colour is in, and that only what has colour counts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kwcolor_pipeline.evaluation.hues import SECTORS, hue_shares, hues_in_common, sector_colours

#: sRGB to its hue angle h_ab under D65, in degrees, as colour pickers give it.
ANGLES = {(255, 0, 0): 40.0, (255, 255, 0): 102.9, (0, 255, 0): 136.0, (0, 255, 255): 196.4, (0, 0, 255): 306.3}


@pytest.mark.parametrize(("colour", "angle"), ANGLES.items())
def test_a_colour_is_in_the_sector_of_its_hue(colour: tuple[int, int, int], angle: float) -> None:
    shares = hue_shares(np.full((5, 7, 3), colour, dtype=np.uint8))
    assert shares.shape == (SECTORS,)
    assert shares.dtype == np.float64
    assert shares[int(angle // (360 / SECTORS))] == pytest.approx(1)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_shares_sum_to_one_or_there_is_no_colour(picture: "np.ndarray") -> None:
    shares = hue_shares(picture)
    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(1) or not shares.any()
    assert np.allclose(hue_shares(picture[::-1, ::-1]), shares)


def test_greys_and_what_rounding_makes_of_them_have_no_hue() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert not hue_shares(np.repeat(levels[:, :, None], 3, axis=2)).any()
    rounded = np.repeat(levels[:, :, None], 3, axis=2)
    rounded[..., 2] -= rounded[..., 2] > 200
    assert not hue_shares(rounded).any()


def test_strong_colours_count_for_more_than_weak_ones() -> None:
    picture = np.full((2, 2, 3), (200, 30, 30), dtype=np.uint8)
    picture[0] = (120, 120, 140)
    shares = hue_shares(picture)
    assert shares.max() > 0.8
    assert np.count_nonzero(shares) == 2


def test_a_large_picture_has_the_shares_of_its_small_copy() -> None:
    small = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    assert np.allclose(hue_shares(small.repeat(8, axis=0).repeat(8, axis=1)), hue_shares(small), atol=0.02)


def test_what_distributions_have_in_common() -> None:
    assert hues_in_common([0.5, 0.5, 0], [0.5, 0.5, 0]) == 1
    assert hues_in_common([1, 0, 0], [0, 0, 1]) == 0
    assert math.isclose(hues_in_common([0.7, 0.3], [0.4, 0.6]), 0.7)


def test_sectors_are_drawn_in_their_own_hue() -> None:
    colours = sector_colours()
    assert len(set(colours)) == SECTORS
    for index, colour in enumerate(colours):
        pixel = np.array([[[int(colour[start : start + 2], 16) for start in (1, 3, 5)]]], dtype=np.uint8)
        assert hue_shares(pixel).argmax() == index
