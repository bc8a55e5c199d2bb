"""Metrics of photographs, against other libraries and against what their meaning demands."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage import color, data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from kwcolor_pipeline.evaluation.intervals import frechet_with_interval, mean_with_interval
from kwcolor_pipeline.evaluation.metrics import (
    IDENTICAL_PSNR,
    OF_A_PHOTOGRAPH,
    Ciede2000,
    Ciede2000Percentile95,
    Colourfulness,
    ColourfulnessDistance,
    Compared,
    FrechetLite0,
    Lite0Distance,
    PhotographMetrics,
    Psnr,
    Seen,
    Ssim,
    Uniformity,
    cosine_distance,
    measure,
)
from kwcolor_pipeline.networks.features import lite0_features


def _pairs(smallest: int, largest: int) -> st.SearchStrategy:
    """Two pictures of one size."""
    sides = st.integers(smallest, largest)
    return st.tuples(sides, sides).flatmap(lambda size: st.tuples(*[arrays(np.uint8, (*size, 3))] * 2))


_PAIRS = _pairs(1, 14)
#: All but the one that needs a network.
_OF_PIXELS = OF_A_PHOTOGRAPH[:-1]


def _pair(truth, result):
    return Compared(Seen(truth), Seen(np.ascontiguousarray(result)))


def _altered(photograph):
    grey = np.repeat(color.rgb2gray(photograph)[:, :, None] * 255, 3, axis=2).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, 12, photograph.shape)
    noisy = (photograph + noise).clip(0, 255).astype(np.uint8)
    return [grey, noisy, photograph[:, ::-1], (photograph * 0.7).astype(np.uint8), 255 - photograph]


def _skimage_ssim(truth, result):
    return structural_similarity(
        truth,
        result,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
    )


def test_each_field_has_its_class_and_each_class_its_meaning():
    assert tuple(metric.key for metric in OF_A_PHOTOGRAPH) == PhotographMetrics._fields
    for metric in (*OF_A_PHOTOGRAPH, ColourfulnessDistance, FrechetLite0):
        assert metric.__doc__
        assert metric.bounds[0] < metric.bounds[1]
        assert metric.better in (-1, 0, 1)


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_pictures_have_the_figures_of_scikit_image(name):
    photograph = getattr(data, name)()
    for result in _altered(photograph):
        pair = _pair(photograph, result)
        assert Psnr.of(pair) == pytest.approx(peak_signal_noise_ratio(photograph, result), abs=1e-4)
        assert Ssim.of(pair) == pytest.approx(_skimage_ssim(photograph, result), abs=1e-4)
        difference = color.deltaE_ciede2000(color.rgb2lab(photograph), color.rgb2lab(result))
        assert Ciede2000.of(pair) == pytest.approx(difference.mean(), abs=1e-4)
        assert Ciede2000Percentile95.of(pair) == pytest.approx(np.percentile(difference, 95), abs=1e-4)


def test_ssim_is_exact_where_float32_is_weakest():
    """Nearly even pictures at both ends, whose variances are differences of large, nearly equal numbers."""
    random = np.random.default_rng(1)
    for level in (0, 1, 127, 254, 255):
        truth, result = ((level + random.integers(-1, 2, (40, 50, 3))).clip(0, 255).astype(np.uint8) for _ in range(2))
        assert Ssim.of(_pair(truth, result)) == pytest.approx(_skimage_ssim(truth, result), abs=5e-5)


@settings(max_examples=25)
@given(_pairs(11, 14))
def test_ssim_of_any_picture_is_that_of_scikit_image(pair):
    assert Ssim.of(_pair(*pair)) == pytest.approx(_skimage_ssim(*pair), abs=5e-5)


def test_identical_pictures_have_a_psnr_with_a_ceiling():
    photograph = data.astronaut()[:64, :64]
    assert Psnr.of(_pair(photograph, photograph)) == IDENTICAL_PSNR
    almost = photograph.copy()
    almost[0, 0, 0] ^= 1
    assert Psnr.of(_pair(photograph, almost)) < IDENTICAL_PSNR


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (10, 10), (11, 11), (33, 6)])
def test_pictures_smaller_than_the_window_are_measured(shape):
    random = np.random.default_rng(0)
    truth = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert Ssim.of(_pair(truth, truth)) == pytest.approx(1)
    assert Ssim.of(_pair(truth, 255 - truth)) < 0.9
    assert all(map(math.isfinite, measure(_pair(truth, 255 - truth), _OF_PIXELS)))


@settings(max_examples=40)
@given(_PAIRS)
def test_every_metric_keeps_its_bounds_and_knows_a_picture_from_itself(pair):
    truth, result = pair
    for metric, value in zip(_OF_PIXELS, measure(_pair(truth, result), _OF_PIXELS), strict=True):
        assert metric.bounds[0] - 1e-6 <= value <= metric.bounds[1] + 1e-6, metric.key
    # Whether the computation is taken or, for one and the same picture, left out.
    copied, same = _pair(truth, truth.copy()), Seen(truth)
    assert measure(copied, _OF_PIXELS) == pytest.approx(measure(Compared(same, same), _OF_PIXELS), abs=1e-6)
    assert measure(copied, _OF_PIXELS)[:4] == pytest.approx([IDENTICAL_PSNR, 1, 0, 0], abs=1e-6)


@settings(max_examples=25)
@given(_PAIRS, st.integers(0, 2**32 - 1))
def test_where_pixels_are_matters_to_ssim_alone(pair, seed):
    order = np.random.default_rng(seed).permutation(pair[0].shape[0] * pair[0].shape[1])
    moved = [picture.reshape(-1, 3)[order].reshape(picture.shape) for picture in pair]
    for metric in _OF_PIXELS:
        if metric is not Ssim:
            assert metric.of(_pair(*moved)) == pytest.approx(metric.of(_pair(*pair)), abs=1e-4), metric.key


@settings(max_examples=25)
@given(_PAIRS)
def test_laying_both_pictures_on_their_side_changes_nothing(pair):
    turned = [np.ascontiguousarray(picture.swapaxes(0, 1)) for picture in pair]
    assert measure(_pair(*turned), _OF_PIXELS) == pytest.approx(measure(_pair(*pair), _OF_PIXELS), abs=1e-4)


def test_the_worst_places_show_in_the_percentile_and_not_in_the_mean():
    photograph = data.chelsea()
    spoiled = photograph.copy()
    spoiled[:40] = 255 - spoiled[:40]  # 13 % of the rows
    evenly = (photograph * 0.85).astype(np.uint8)
    few, everywhere = _pair(photograph, spoiled), _pair(photograph, evenly)
    assert Ciede2000Percentile95.of(few) > 3 * Ciede2000.of(few)
    assert Ciede2000Percentile95.of(everywhere) < 2 * Ciede2000.of(everywhere)


def test_pictures_of_different_size_are_refused():
    truth, result = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 1, 3), np.uint8)
    with pytest.raises(ValueError, match="different size"):
        _pair(truth, result)
    for metric in (*OF_A_PHOTOGRAPH, ColourfulnessDistance):
        with pytest.raises(ValueError, match="different size"):
            metric().update(truth, result)


@pytest.mark.parametrize("metric", [Psnr, Ssim, Ciede2000, Colourfulness, Uniformity])
def test_a_metric_over_photographs_is_their_mean_and_can_be_reset(metric):
    photographs = [data.astronaut()[:90, :80], data.coffee()[:90, :80], data.chelsea()[:90, :80]]
    counted = metric(seed=3)
    for photograph in photographs:
        counted.update(photograph, 255 - photograph)
    values = [metric.of(_pair(photograph, 255 - photograph)) for photograph in photographs]
    assert counted.compute() == mean_with_interval(values, seed=3)
    counted.reset()
    with pytest.raises(ValueError, match="no values"):
        counted.compute()
    counted.update(photographs[0], 255 - photographs[0])
    assert counted.compute() == (values[0],) * 3


def test_the_colourfulness_gap_is_between_the_means():
    metric = ColourfulnessDistance()
    photographs = [data.astronaut()[:90, :80], data.coffee()[:90, :80]]
    pale = [(photograph // 2 + 60).astype(np.uint8) for photograph in photographs]
    for photograph, result in zip(photographs, pale, strict=True):
        metric.update(photograph, result)
    means = [np.mean([Colourfulness.of(_pair(one, one)) for one in pictures]) for pictures in (photographs, pale)]
    assert metric.compute().value == pytest.approx(means[0] - means[1])


def test_lite0_tells_a_paler_copy_from_another_photograph():
    photograph, other = data.astronaut(), data.coffee()[:, :400].repeat(2, axis=0)[:512].repeat(2, axis=1)[:, :512]
    grey = np.repeat(photograph.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    pale = ((photograph.astype(int) + grey) // 2).astype(np.uint8)
    to_pale, to_grey, to_other = (Lite0Distance.of(_pair(photograph, result)) for result in (pale, grey, other))
    assert 0 < to_pale < to_grey < to_other < 1
    assert Lite0Distance.of(_pair(photograph, photograph)) == pytest.approx(0, abs=1e-6)
    metric = FrechetLite0(seed=2)
    with pytest.raises(ValueError, match="no photographs"):
        metric.compute()
    metric.update(photograph, grey)
    metric.update(other, other)
    truth, result = lite0_features([photograph, other]), lite0_features([grey, other])
    assert metric.compute() == pytest.approx(frechet_with_interval(truth, result, seed=2), rel=1e-4)


def test_features_do_not_depend_on_what_else_is_looked_at():
    pictures = [np.ascontiguousarray(data.astronaut()[step : step + 60, :70]) for step in range(0, 340, 20)]
    together = lite0_features(pictures)
    assert together.shape == (17, 1280)
    np.testing.assert_allclose(lite0_features(pictures[16:])[0], together[16], atol=1e-4)


@settings(max_examples=50)
@given(arrays(np.float64, (2, 6), elements=st.floats(0, 100)))
def test_a_cosine_distance_is_symmetric_and_in_bounds_for_what_is_never_negative(vectors):
    first, second = vectors
    assert -1e-9 <= cosine_distance(first, second) <= 1 + 1e-9
    assert cosine_distance(first, second) == pytest.approx(cosine_distance(second, first), abs=1e-9)
    assert cosine_distance(first, first.copy()) == 0
