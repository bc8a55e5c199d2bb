"""Metrics of one photograph and of sets, against references that are computed another way."""

import math

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from kwcolor_pipeline.evaluation.metrics import (
    IDENTICAL_PSNR,
    _resampled_frechet,
    distance_of_means,
    frechet_distance,
    frechet_with_interval,
    mean_with_interval,
    measure,
    paired_difference,
    psnr,
    ssim,
)
from kwcolor_pipeline.networks.features import lite0_features


def _correlated(rows: int, columns: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, columns)) @ random.normal(size=(columns, columns)) + random.normal(size=columns)


def _by_matrix_root(first: np.ndarray, second: np.ndarray) -> float:
    a, b = np.cov(first.T), np.cov(second.T)
    offset = ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
    return float(offset + np.trace(a + b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b)).real)


def test_psnr_agrees_with_skimage_and_has_a_ceiling():
    photograph = data.astronaut()[:64, :64]
    assert psnr(photograph, photograph[::-1]) == pytest.approx(peak_signal_noise_ratio(photograph, photograph[::-1]))
    assert psnr(photograph, photograph) == IDENTICAL_PSNR
    almost = photograph.copy()
    almost[0, 0, 0] ^= 1
    assert psnr(photograph, almost) < IDENTICAL_PSNR


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (10, 10), (11, 11), (33, 6)])
def test_pictures_smaller_than_the_window_are_measured(shape):
    random = np.random.default_rng(0)
    truth = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert ssim(truth, truth) == pytest.approx(1)
    assert ssim(truth, 255 - truth) < 0.9
    assert all(map(math.isfinite, measure(truth, 255 - truth)))


@pytest.mark.parametrize(("first", "second"), [(200, 200), (400, 61), (90, 250)])
def test_the_frechet_distance_agrees_with_the_matrix_square_root(first, second):
    a, b = _correlated(first, 40, seed=1), _correlated(second, 40, seed=2)
    assert frechet_distance(a, b) == pytest.approx(_by_matrix_root(a, b), rel=1e-6)


def test_the_frechet_distance_of_a_shift_is_its_square():
    features = _correlated(30, 100, seed=4)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(features, features + 0.5) == pytest.approx(100 * 0.25)


def test_the_frechet_distance_knows_its_closed_form_for_two_scales():
    features = _correlated(20, 50, seed=5)
    centred = features - features.mean(axis=0)
    spread = (centred**2).sum() / 19
    assert frechet_distance(centred, 3 * centred) == pytest.approx((3 - 1) ** 2 * spread)


@pytest.mark.parametrize(("rows", "columns"), [(25, 60), (60, 25)])
def test_a_resample_is_what_repeating_the_rows_gives(rows, columns):
    a, b = _correlated(rows, columns, seed=6), _correlated(rows, columns, seed=7)
    draw = np.random.default_rng(8).integers(0, rows, rows)
    assert _resampled_frechet(a, b, a @ b.T, draw) == pytest.approx(frechet_distance(a[draw], b[draw]), rel=1e-9)


def test_the_interval_of_a_frechet_distance_is_around_it_and_repeatable():
    truth = _correlated(60, 80, seed=9)
    result = truth + np.random.default_rng(10).normal(size=truth.shape)
    interval = frechet_with_interval(truth, result, seed=1)
    assert interval.low < interval.value < interval.high
    assert interval == frechet_with_interval(truth, result, seed=1)
    assert frechet_with_interval(truth, truth, seed=1) == pytest.approx((0, 0, 0), abs=1e-6)


@pytest.mark.parametrize(("first", "second"), [((1, 4), (5, 4)), ((5, 4), (5, 3))])
def test_features_that_cannot_be_compared_are_refused(first, second):
    with pytest.raises(ValueError, match=r"two photographs|columns"):
        frechet_distance(np.zeros(first), np.zeros(second))


def test_the_interval_of_a_mean_covers_it_about_95_times_of_100():
    random = np.random.default_rng(11)
    intervals = [mean_with_interval(random.normal(3, 2, 60), seed) for seed in range(200)]
    covered = sum(interval.low <= 3 <= interval.high for interval in intervals)
    assert 180 <= covered <= 199


def test_pairing_takes_out_how_hard_the_photographs_are():
    random = np.random.default_rng(12)
    hardness = random.normal(10, 5, 80)
    better, worse = hardness + random.normal(0, 0.2, 80), hardness + 1 + random.normal(0, 0.2, 80)
    difference = paired_difference(better, worse, seed=0)
    assert -1.2 < difference.low < difference.value < difference.high < -0.8
    own = mean_with_interval(better, seed=0)
    assert difference.high - difference.low < (own.high - own.low) / 5
    with pytest.raises(ValueError, match="same photographs"):
        paired_difference(better, worse[:-1], seed=0)


@settings(max_examples=30)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(0, 1000))
def test_an_interval_lies_within_its_values(values, seed):
    interval = mean_with_interval(values, seed)
    slack = 1e-9 * max(1, *map(abs, values))
    assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack
    assert distance_of_means(values, values, seed) == (0, 0, 0)


def test_a_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no values"):
        mean_with_interval([], 0)


def test_lite0_features_tell_a_paler_copy_from_another_photograph():
    photograph, other = data.astronaut(), data.coffee()
    grey = np.repeat(photograph.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    pale = ((photograph.astype(int) + grey) // 2).astype(np.uint8)
    features = lite0_features([photograph, pale, grey, other])
    assert features.shape == (4, 1280)
    to_pale, to_grey, to_other = np.linalg.norm(features[1:] - features[0], axis=1)
    assert to_pale < to_grey < to_other
    np.testing.assert_allclose(lite0_features([photograph])[0], features[0], atol=1e-4)
