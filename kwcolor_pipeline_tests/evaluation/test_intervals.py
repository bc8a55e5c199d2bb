"""Intervals and p-values, against references that are computed another way."""

import itertools

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from kwcolor_pipeline.evaluation.intervals import (
    _influences,
    distance_of_means,
    frechet_with_interval,
    mean_with_interval,
    paired_difference,
    paired_p_value,
)
from kwcolor_pipeline.networks.features import frechet_distance

_VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


def _correlated(rows: int, columns: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, columns)) @ random.normal(size=(columns, columns)) + random.normal(size=columns)


def _by_matrix_root(first: np.ndarray, second: np.ndarray) -> float:
    a, b = np.cov(first.T), np.cov(second.T)
    offset = ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
    return float(offset + np.trace(a + b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b)).real)


@pytest.mark.parametrize(("first", "second"), [(200, 200), (400, 61), (90, 250)])
def test_the_frechet_distance_agrees_with_the_matrix_square_root(first, second):
    a, b = _correlated(first, 40, seed=1), _correlated(second, 40, seed=2)
    assert frechet_distance(a, b) == pytest.approx(_by_matrix_root(a, b), rel=1e-6)
    # In units in which the distance is near one, as absolute a bound.
    scale = np.sqrt(frechet_distance(a, b))
    assert abs(frechet_distance(a / scale, b / scale) - _by_matrix_root(a / scale, b / scale)) < 1e-6


def test_the_frechet_distance_of_a_shift_is_its_square():
    features = _correlated(30, 100, seed=4)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(features, features[::-1]) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(features, features + 0.5) == pytest.approx(100 * 0.25)


def test_the_frechet_distance_knows_its_closed_form_for_two_scales():
    features = _correlated(20, 50, seed=5)
    centred = features - features.mean(axis=0)
    spread = (centred**2).sum() / 19
    assert frechet_distance(centred, 3 * centred) == pytest.approx((3 - 1) ** 2 * spread)


def _weighted_distance(truth, result, weights):
    """The distance of distributions in which photographs have weights, with the nuclear norm written out."""
    means = [weights @ features for features in (truth, result)]
    rooted = np.sqrt(weights)[:, None]
    first, second = (truth - means[0]) * rooted, (result - means[1]) * rooted
    overlap = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return ((means[0] - means[1]) ** 2).sum() + (first**2).sum() + (second**2).sum() - 2 * overlap


@pytest.mark.parametrize(("rows", "columns"), [(25, 60), (60, 25)])
def test_an_influence_is_the_derivative_by_the_photographs_weight(rows, columns):
    truth = _correlated(rows, columns, seed=6)
    result = 0.8 * truth + np.random.default_rng(7).normal(size=truth.shape)
    influences = _influences(truth, result)
    even, step = np.full(rows, 1 / rows), 1e-5
    for photograph in (0, 7, rows - 1):
        more, less = (even * (1 - sign * step) for sign in (1, -1))
        more[photograph] += step
        less[photograph] -= step
        slope = _weighted_distance(truth, result, more) - _weighted_distance(truth, result, less)
        assert influences[photograph] == pytest.approx(slope / (2 * step), rel=1e-4, abs=1e-4)
    assert influences.mean() == pytest.approx(0, abs=1e-9)


def test_the_interval_of_a_frechet_distance_is_around_it_and_repeatable():
    truth = _correlated(60, 80, seed=9)
    result = truth + np.random.default_rng(10).normal(size=truth.shape)
    interval = frechet_with_interval(truth, result, seed=1)
    assert interval.low < interval.value < interval.high
    assert interval == frechet_with_interval(truth, result, seed=1)
    assert frechet_with_interval(truth, truth.copy(), seed=1) == (0, 0, 0)


def test_the_interval_of_a_frechet_distance_is_as_wide_as_other_photographs_differ():
    """Of many sets of photographs, 95 of 100 have a distance within half an interval's width of the usual one."""
    random = np.random.default_rng(15)

    def photographs():
        truth = np.abs(random.normal(size=(80, 12)) * random.gamma(2, 1, (80, 1)))
        return truth, 0.8 * truth + random.normal(0, 0.3, truth.shape) + 0.05

    distances = [frechet_distance(*photographs()) for _ in range(300)]
    low, high = np.percentile(distances, (2.5, 97.5))
    intervals = [frechet_with_interval(*photographs(), seed=0) for _ in range(30)]
    width = np.mean([interval.high - interval.low for interval in intervals])
    assert width == pytest.approx(high - low, rel=0.25)


@pytest.mark.parametrize(("first", "second"), [((1, 4), (5, 4)), ((5, 4), (5, 3))])
def test_features_that_cannot_be_compared_are_refused(first, second):
    with pytest.raises(ValueError, match=r"two photographs|columns"):
        frechet_with_interval(np.zeros(first), np.zeros(second), seed=0)


def test_unpaired_features_have_no_interval():
    with pytest.raises(ValueError, match="cannot be paired"):
        frechet_with_interval(np.zeros((3, 4)), np.zeros((5, 4)), seed=0)


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
    for compare in (paired_difference, paired_p_value, distance_of_means):
        with pytest.raises(ValueError, match="same photographs"):
            compare(better, worse[:-1], seed=0)


@settings(max_examples=30)
@given(_VALUES, st.integers(0, 1000))
def test_an_interval_lies_within_its_values(values, seed):
    interval = mean_with_interval(values, seed)
    slack = 1e-9 * max(1, *map(abs, values))
    assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack
    assert distance_of_means(values, values, seed) == (0, 0, 0)


def test_a_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no values"):
        mean_with_interval([], 0)
    with pytest.raises(ValueError, match="no values"):
        paired_p_value([], [], 0)


def _by_hand(a, b):
    differences = [one - other for one, other in zip(a, b, strict=True)]
    ways = list(itertools.product((1, -1), repeat=len(differences)))
    sums = [abs(sum(sign * value for sign, value in zip(way, differences, strict=True))) for way in ways]
    return sum(value >= abs(sum(differences)) - 1e-9 for value in sums) / len(ways)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=9))
def test_a_p_value_of_few_photographs_counts_all_ways(pairs):
    a, b = zip(*pairs, strict=True)
    assert paired_p_value(a, b, seed=0) == pytest.approx(_by_hand(a, b))
    assert paired_p_value(b, a, seed=1) == paired_p_value(a, b, seed=0)


def test_the_smallest_p_values_are_never_zero():
    assert paired_p_value([1, 2, 3, 4], [2, 3, 4, 5], seed=0) == 2 / 2**4
    assert paired_p_value(np.arange(16), np.arange(16) + 1, seed=0) == 2 / 2**16
    assert paired_p_value(np.arange(100), np.arange(100) + 1, seed=0) == 1 / 10_001


@pytest.mark.parametrize("count", [1, 16, 17, 200])
def test_equal_results_have_a_p_value_of_one(count):
    values = np.random.default_rng(0).normal(size=count)
    assert paired_p_value(values, values, seed=0) == 1


def test_drawn_ways_are_repeatable_and_near_the_exact_value():
    random = np.random.default_rng(13)
    differences = random.normal(0.35, 1, 40)
    drawn = paired_p_value(differences, np.zeros(40), seed=5)
    assert drawn == paired_p_value(differences, np.zeros(40), seed=5)
    exact_like = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=6
    ).pvalue
    assert drawn == pytest.approx(exact_like, abs=0.01)


def test_without_a_difference_p_values_are_small_as_rarely_as_they_say():
    random = np.random.default_rng(14)
    values = [paired_p_value(random.normal(size=12), random.normal(size=12), seed=0) for _ in range(300)]
    assert 3 <= sum(value <= 0.05 for value in values) <= 29
