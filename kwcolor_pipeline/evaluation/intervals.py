"""With which certainty a figure over photographs is known: bootstrap intervals, and the p-value of a comparison.

Belongs here: resampling of numbers and of feature matrices, one row a photograph. What the numbers mean is in
``metrics``; the Fréchet distance itself is in ``networks.features``, because training chooses its epochs by it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from kwcolor_pipeline.networks.features import Matrix, frechet_distance

_MEAN_RESAMPLES = 4000
_LEVELS = (2.5, 97.5)
#: Photographs up to which all ways of flipping signs are tried, 65,536 at most, and flips drawn beyond that.
_EXACT_UP_TO = 16
_FLIPS = 10_000
#: Resamples that are held in memory together.
_TOGETHER = 500


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


def _factors(centred: Matrix) -> tuple[Matrix | None, Matrix]:
    """Q and R with ``centred`` (n, d) = QR where there are more photographs than features; else None and itself."""
    if centred.shape[0] <= centred.shape[1]:
        return None, centred
    factors = np.linalg.qr(centred)
    return factors.Q, factors.R


def _influences(truth: Matrix, result: Matrix) -> Matrix:
    """How much each photograph pulls the Fréchet distance up or down, (n,), zero on average.

    The derivative of the distance by the photograph's weight, times n: the empirical influence function. That of a
    nuclear norm of M = U S Vᵀ follows from the polar factor U Vᵀ; centring plays no part in it, to first order.
    """
    first, second = truth - truth.mean(axis=0), result - result.mean(axis=0)
    left, reduced_first = _factors(first)
    right, reduced_second = _factors(second)
    u, sizes, vt = np.linalg.svd(reduced_first @ reduced_second.T, full_matrices=False)
    v = vt.T
    shares = [np.square(own if base is None else base @ own) @ sizes for base, own in ((left, u), (right, v))]
    offset = 2 * (first - second) @ (truth.mean(axis=0) - result.mean(axis=0))
    pulls = offset + np.square(first).sum(axis=1) + np.square(second).sum(axis=1) - shares[0] - shares[1]
    centred: Matrix = pulls - pulls.mean()
    return centred


def frechet_with_interval(truth: Matrix, result: Matrix, seed: int) -> Interval:
    """Fréchet distance of paired feature matrices (n, d), with an interval over photographs.

    The interval is that of a bootstrap in which photographs are drawn on both sides together, to first order: the
    distance moves by the mean influence of the photographs that were drawn (Efron and Tibshirani, An Introduction to
    the Bootstrap, chapters 20 to 22). That takes one decomposition instead of hundreds and has the same width within
    a few percent; and it is around the estimate, while the distance of photographs that were drawn repeatedly is always
    too large. It says how much the choice of photographs matters, not how far the distance of infinitely many would be.

    Raises ValueError with fewer than two photographs or with unequal numbers of them.
    """
    value = frechet_distance(truth, result)
    if len(truth) != len(result):
        raise ValueError(f"{len(truth)} photographs cannot be paired with {len(result)} results")
    if np.array_equal(truth, result):
        return Interval(0.0, 0.0, 0.0)
    low, high = np.percentile(value + _resampled_means(_influences(truth, result), seed), _LEVELS)
    return Interval(value, max(0.0, float(low)), max(0.0, float(high)))


def _resampled_means(values: Matrix, seed: int) -> Matrix:
    generator = np.random.default_rng(seed)
    pieces = [
        values[generator.integers(0, len(values), (_TOGETHER, len(values)))].mean(axis=1)
        for _ in range(_MEAN_RESAMPLES // _TOGETHER)
    ]
    return np.concatenate(pieces)


def mean_with_interval(values: Sequence[float] | Matrix, seed: int) -> Interval:
    """Mean over photographs and its 95 % percentile bootstrap interval; equal seeds give equal intervals.

    Raises ValueError when there are no values.
    """
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        raise ValueError("there are no values to take a mean of")
    low, high = np.percentile(_resampled_means(array, seed), _LEVELS)
    return Interval(float(array.mean()), float(low), float(high))


def _differences(a: Sequence[float] | Matrix, b: Sequence[float] | Matrix) -> Matrix:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} and {len(second)} values are not of the same photographs")
    return first - second


def paired_difference(a: Sequence[float] | Matrix, b: Sequence[float] | Matrix, seed: int) -> Interval:
    """Mean of ``a - b`` over the same photographs, with its interval.

    Far narrower than the two means' own intervals, because how hard a photograph is cancels out.
    Raises ValueError when the lengths differ.
    """
    return mean_with_interval(_differences(a, b), seed)


def _flipped_means(differences: Matrix, seed: int) -> Iterator[Matrix]:
    """Means of the differences with their signs flipped, a piece at a time: all ways for a few, else drawn ones."""
    count = len(differences)
    if count <= _EXACT_UP_TO:
        for start in range(0, 2**count, _TOGETHER):
            ways = np.arange(start, min(2**count, start + _TOGETHER))
            yield (1 - 2 * (ways[:, None] >> np.arange(count) & 1)) @ differences / count
        return
    generator = np.random.default_rng(seed)
    for _ in range(_FLIPS // _TOGETHER):
        yield (1 - 2 * generator.integers(0, 2, (_TOGETHER, count), dtype=np.int8)) @ differences / count


def paired_p_value(a: Sequence[float] | Matrix, b: Sequence[float] | Matrix, seed: int) -> float:
    """How likely a mean of ``a - b`` at least as far from zero would be if ``a`` and ``b`` were exchangeable.

    Fisher's two-sided test by randomisation (The Design of Experiments, 1935): under the null hypothesis each
    photograph's difference has either sign with equal chance. Up to 16 photographs all 2ⁿ ways are counted and the
    p-value is exact, the smallest possible one 2 / 2ⁿ. Beyond that 10,000 ways are drawn and it is
    (count + 1) / (10,000 + 1), which never understates it (Phipson and Smyth, 2010) and is never 0.

    Raises ValueError when the lengths differ or when there are no values.
    """
    differences = _differences(a, b)
    if not differences.size:
        raise ValueError("there are no values to compare")
    # What differs by rounding only counts as equal.
    bound = abs(float(differences.mean())) - 1e-12 * float(np.abs(differences).max())
    as_far = sum(int((np.abs(means) >= bound).sum()) for means in _flipped_means(differences, seed))
    if len(differences) <= _EXACT_UP_TO:
        return as_far / 2 ** len(differences)
    return (as_far + 1) / (_FLIPS + 1)


def distance_of_means(a: Sequence[float] | Matrix, b: Sequence[float] | Matrix, seed: int) -> Interval:
    """How far the mean of ``a`` is from that of ``b`` in either direction, over the same photographs.

    With colourfulness this is dCF of the colorization papers.
    """
    differences = _differences(a, b)
    low, high = np.percentile(np.abs(_resampled_means(differences, seed)), _LEVELS)
    return Interval(abs(float(differences.mean())), float(low), float(high))
