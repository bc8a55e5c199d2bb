"""What is measured: of one photograph, of a set of them, and with which certainty.

Belongs here: metrics of uint8 RGB pictures (H, W, 3) and of feature matrices, and their bootstrap
intervals. Which colorizers are compared on which photographs is in ``evaluate``; the features and their
Fréchet distance are in ``networks.features``, because training chooses its epochs by them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from kwcolor_pipeline.colour.measures import ciede2000, colourfulness
from kwcolor_pipeline.networks.features import Matrix, Picture, frechet_distance

#: PSNR of identical pictures, in dB, where the formula gives infinity: means and JSON need a number.
IDENTICAL_PSNR = 100.0
#: Side of the Gaussian window of SSIM: 2 * int(3.5 * sigma + 0.5) + 1 with sigma 1.5.
_SSIM_WINDOW = 11
_MEAN_RESAMPLES = 4000
_FRECHET_RESAMPLES = 200
_LEVELS = (2.5, 97.5)


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


class PhotographMetrics(NamedTuple):
    """How near one result is to its photograph, and how colourful it is."""

    #: dB, higher is nearer; :data:`IDENTICAL_PSNR` at most.
    psnr: float
    #: -1..1, 1 is identical.
    ssim: float
    #: Mean CIEDE2000 over the pixels, 0 is identical.
    ciede2000: float
    #: Signed Hasler-Süsstrunk M of the result alone.
    colourfulness: float


def psnr(truth: Picture, result: Picture) -> float:
    """Peak signal to noise ratio in dB, at most :data:`IDENTICAL_PSNR`."""
    error = float(np.mean((truth.astype(np.float64) - result.astype(np.float64)) ** 2))
    return min(IDENTICAL_PSNR, 10 * math.log10(255**2 / error)) if error else IDENTICAL_PSNR


def ssim(truth: Picture, result: Picture) -> float:
    """Mean structural similarity of the three channels, as Wang et al. (2004) define it.

    A picture with a side shorter than the window of 11 is mirrored at its edges up to that size.
    """
    missing = [max(0, _SSIM_WINDOW - side) for side in truth.shape[:2]]
    border = [(short // 2, short - short // 2) for short in missing] + [(0, 0)]
    return float(
        structural_similarity(
            np.pad(truth, border, mode="symmetric"),
            np.pad(result, border, mode="symmetric"),
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
        )
    )


def measure(truth: Picture, result: Picture) -> PhotographMetrics:
    """All metrics of one photograph; raises ValueError when the sizes differ."""
    difference = float(ciede2000(truth, result).mean())
    return PhotographMetrics(psnr(truth, result), ssim(truth, result), difference, colourfulness(result))


def _resampled_frechet(first: Matrix, second: Matrix, products: Matrix, draw: NDArray[np.int64]) -> float:
    """The distance of ``first[draw]`` and ``second[draw]``, given ``products = first @ second.T``.

    A row drawn k times counts as one row times sqrt(k), which leaves the nuclear norm as it is and the
    matrix a third smaller; nothing here grows with the number of features squared.
    """
    rows, counts = np.unique(draw, return_counts=True)
    share = np.bincount(draw, minlength=len(first)) / len(draw)
    mean_first, mean_second = share @ first, share @ second
    centred = products - (products @ share)[:, None] - share @ products + share @ products @ share
    weighted = centred[np.ix_(rows, rows)] * np.sqrt(np.outer(counts, counts))
    overlap = np.linalg.svd(weighted, compute_uv=False).sum()
    squares = share @ ((first - mean_first) ** 2).sum(axis=1) + share @ ((second - mean_second) ** 2).sum(axis=1)
    offset = ((mean_first - mean_second) ** 2).sum()
    return max(0.0, float(offset + (squares * len(draw) - 2 * overlap) / (len(draw) - 1)))


def frechet_with_interval(truth: Matrix, result: Matrix, seed: int, resamples: int = _FRECHET_RESAMPLES) -> Interval:
    """Fréchet distance of paired feature matrices (n, d), with an interval over photographs.

    Each resample draws n photographs with repetition, the same on both sides. Repeated photographs are
    fewer different ones, and a Fréchet distance of fewer photographs is larger: the resamples are biased
    upward. The interval is therefore theirs shifted by their mean excess over the estimate; it says how
    much the choice of photographs matters, not how far the distance of infinitely many would be.
    """
    value = frechet_distance(truth, result)
    if len(truth) != len(result):
        raise ValueError(f"{len(truth)} photographs cannot be paired with {len(result)} results")
    # Centring first keeps the products small, and with them their rounding.
    truth, result = truth - truth.mean(axis=0), result - truth.mean(axis=0)
    products = truth @ result.T
    generator = np.random.default_rng(seed)
    draws = [
        _resampled_frechet(truth, result, products, generator.integers(0, len(truth), len(truth)))
        for _ in range(resamples)
    ]
    low, high = np.percentile(draws, _LEVELS) - (np.mean(draws) - value)
    return Interval(value, max(0.0, float(low)), float(high))


def _resampled_means(values: Matrix, seed: int) -> Matrix:
    chosen = np.random.default_rng(seed).integers(0, len(values), (_MEAN_RESAMPLES, len(values)))
    return values[chosen].mean(axis=1)


def mean_with_interval(values: Sequence[float] | Matrix, seed: int) -> Interval:
    """Mean over photographs and its 95 % percentile bootstrap interval; equal seeds give equal intervals.

    Raises ValueError when there are no values.
    """
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        raise ValueError("there are no values to take a mean of")
    low, high = np.percentile(_resampled_means(array, seed), _LEVELS)
    return Interval(float(array.mean()), float(low), float(high))


def paired_difference(a: Sequence[float] | Matrix, b: Sequence[float] | Matrix, seed: int) -> Interval:
    """Mean of ``a - b`` over the same photographs, with its interval.

    Far narrower than the two means' own intervals, because how hard a photograph is cancels out.
    Raises ValueError when the lengths differ.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} and {len(second)} values are not of the same photographs")
    return mean_with_interval(first - second, seed)


def distance_of_means(a: Sequence[float] | Matrix, b: Sequence[float] | Matrix, seed: int) -> Interval:
    """How far the mean of ``a`` is from that of ``b`` in either direction, over the same photographs.

    With colourfulness this is dCF of the colorization papers.
    """
    difference = paired_difference(a, b, seed)
    draws = np.abs(_resampled_means(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64), seed))
    low, high = np.percentile(draws, _LEVELS)
    return Interval(abs(difference.value), float(low), float(high))
