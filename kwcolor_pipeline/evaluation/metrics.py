"""What is measured of a result and the photograph that it should be: one class a metric, with one meaning each.

Belongs here: the metrics of uint8 RGB pictures (H, W, 3). Each class says in its first sentence what it means, and has
its key in tables, its unit, its bounds and which way is better; ``update(truth, result)``, ``compute()`` and
``reset()`` are as in torchmetrics, with the 95 % interval over photographs beside the value. Resampling is in
``intervals``; colour formulas are in ``colour.measures``; what needs no truth is in ``stability``, what needs a
network that the user has to bring in ``perceptual``. Which colorizers are compared is in ``evaluate``.
"""

import abc
import functools
import math
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from kwcolor_pipeline.colour.measures import ciede2000_of_lab, colourfulness, lab_of, uniformity_of_lab
from kwcolor_pipeline.evaluation.intervals import (
    Interval,
    distance_of_means,
    frechet_with_interval,
    mean_with_interval,
)
from kwcolor_pipeline.networks.features import Matrix, Picture, lite0_features

#: PSNR of identical pictures, in dB, where the formula gives infinity: means and JSON need a number.
IDENTICAL_PSNR = 100.0
#: Taps of SSIM's Gaussian on one side of the middle, int(3.5 * sigma + 0.5), and its sigma.
_SSIM_RADIUS, _SSIM_SIGMA = 5, 1.5
#: (0.01 * 255)² and (0.03 * 255)², which keep SSIM's quotients finite.
_SSIM_C1, _SSIM_C2 = 6.5025, 58.5225
_MID_GREY = 128

Map = NDArray[np.float32]
#: From pictures to features (n, d).
Features = Callable[[Sequence[Picture]], Matrix]


class PhotographMetrics(NamedTuple):
    """What is known of one result on one photograph; each field is the ``key`` of a class below."""

    psnr: float
    ssim: float
    ciede2000: float
    ciede2000_p95: float
    colourfulness: float
    uniformity: float
    lite0_distance: float


class Seen:
    """A picture with what several metrics need of it, each computed when it is first asked for, and once.

    ``features`` are those of Lite0, (1280,), where they are known already. One thread at a time.
    """

    # Not functools.cached_property: in Python 3.11 that lets one thread compute at a time, for all pictures together.
    def __init__(self, picture: Picture, features: Matrix | None = None):
        self.picture = picture
        self._features = features
        self._lab: torch.Tensor | None = None
        self._channels: list[Map] | None = None
        self._moments: list[tuple[Map, Map]] | None = None

    @property
    def lab(self) -> torch.Tensor:
        """CIELAB (3, H, W)."""
        if self._lab is None:
            self._lab = lab_of(self.picture)
        return self._lab

    @property
    def features(self) -> Matrix:
        """The pooled features of Lite0, (1280,)."""
        if self._features is None:
            self._features = lite0_features([self.picture])[0]
        return self._features

    @property
    def channels(self) -> list[Map]:
        """Red, green and blue around zero, which keeps float32 exact enough; mirrored where SSIM's window is larger."""
        if self._channels is None:
            missing = [max(0, 2 * _SSIM_RADIUS + 1 - side) for side in self.picture.shape[:2]]
            border = [(short // 2, short - short // 2) for short in missing]
            planes = [np.pad(plane, border, mode="symmetric") for plane in np.moveaxis(self.picture, -1, 0)]
            self._channels = [plane.astype(np.float32) - _MID_GREY for plane in planes]
        return self._channels

    @property
    def moments(self) -> list[tuple[Map, Map]]:
        """For each channel, its windows' means and variances."""
        if self._moments is None:
            means = [_windowed(channel) for channel in self.channels]
            squares = [_windowed(channel * channel) for channel in self.channels]
            self._moments = [(mean, square - mean * mean) for mean, square in zip(means, squares, strict=True)]
        return self._moments


class Compared:
    """A photograph and a result of the same size; raises ValueError where the sizes differ."""

    def __init__(self, truth: Seen, result: Seen):
        if truth.picture.shape != result.picture.shape:
            raise ValueError(
                f"pictures of different size cannot be compared: {truth.picture.shape} and {result.picture.shape}"
            )
        self.truth, self.result = truth, result
        self._differences: Map | None = None

    @property
    def is_itself(self) -> bool:
        """Whether the result is the photograph: what is known of such a pair need not be computed."""
        return self.truth is self.result

    @property
    def differences(self) -> Map:
        """CIEDE2000 of each pixel (H * W,)."""
        if self._differences is None:
            if self.is_itself:
                self._differences = np.zeros(self.truth.picture[..., 0].size, np.float32)
            else:
                self._differences = ciede2000_of_lab(self.truth.lab, self.result.lab).numpy().reshape(-1)
        return self._differences


@functools.cache
def _taps() -> list[np.float32]:
    weights = np.exp(-0.5 * (np.arange(-_SSIM_RADIUS, 1) / _SSIM_SIGMA) ** 2)
    return list((weights / (2 * weights.sum() - 1)).astype(np.float32))


def _weighted(plane: Map) -> Map:
    """Gaussian sums over each 11 successive rows."""
    *taps, middle = _taps()
    rows = len(plane) - 2 * _SSIM_RADIUS
    total = plane[_SSIM_RADIUS : _SSIM_RADIUS + rows] * middle
    pair = np.empty_like(total)
    for place, weight in enumerate(taps):
        opposite = 2 * _SSIM_RADIUS - place
        np.add(plane[place : place + rows], plane[opposite : opposite + rows], out=pair)
        np.multiply(pair, weight, out=pair)
        np.add(total, pair, out=total)
    return total


def _windowed(plane: Map) -> Map:
    """Gaussian means of all windows of 11 x 11 that lie within the plane."""
    return _weighted(_weighted(plane).T).T


class Metric(abc.ABC):
    """One number over a set of photographs: shown pair after pair, computed with its interval.

    ``better`` is -1 where lower is better, 1 where higher is, and 0 where the truth's own value is the aim.
    """

    key: ClassVar[str]
    unit: ClassVar[str]
    bounds: ClassVar[tuple[float, float]]
    better: ClassVar[int]

    def __init__(self, seed: int = 0):
        self._seed = seed
        self.reset()

    @abc.abstractmethod
    def reset(self) -> None:
        """Forget all photographs."""

    @abc.abstractmethod
    def update(self, truth: Picture, result: Picture) -> None:
        """Count one photograph; raises ValueError where the sizes differ."""

    @abc.abstractmethod
    def compute(self) -> Interval:
        """The value over all photographs so far; equal seeds give equal intervals.

        Raises ValueError when there are too few photographs.
        """


class MeanMetric(Metric):
    """A metric that each photograph has; over a set it is their mean."""

    @staticmethod
    @abc.abstractmethod
    def of(pair: Compared) -> float:
        """The metric of one photograph."""

    def reset(self) -> None:
        self._values: list[float] = []

    def update(self, truth: Picture, result: Picture) -> None:
        self._values.append(self.of(Compared(Seen(truth), Seen(result))))

    def compute(self) -> Interval:
        return mean_with_interval(self._values, self._seed)


class Psnr(MeanMetric):
    """Peak signal to noise ratio: 10 log10(255² / mean squared error of the three channels).

    :data:`IDENTICAL_PSNR` for identical pictures and at most.
    """

    key, unit, bounds, better = "psnr", "dB", (0, IDENTICAL_PSNR), 1

    @staticmethod
    def of(pair: Compared) -> float:
        difference = (pair.truth.picture.astype(np.int32) - pair.result.picture).reshape(-1)
        error = float(np.square(difference).sum(dtype=np.int64)) / difference.size
        return min(IDENTICAL_PSNR, 10 * math.log10(255**2 / error)) if error else IDENTICAL_PSNR


class Ssim(MeanMetric):
    """Mean structural similarity of the three channels, as Wang, Bovik, Sheikh and Simoncelli (2004) define it.

    Gaussian windows of 11 x 11 with sigma 1.5 that lie within the picture; K1 0.01, K2 0.03. A picture with a
    shorter side is mirrored at its edges up to that size.
    """

    key, unit, bounds, better = "ssim", "", (-1, 1), 1

    @staticmethod
    def of(pair: Compared) -> float:
        if pair.is_itself:
            return 1.0
        channels = zip(pair.truth.channels, pair.result.channels, pair.truth.moments, pair.result.moments, strict=True)
        similarities = []
        for truth, result, (mean_truth, variance_truth), (mean_result, variance_result) in channels:
            covariance = _windowed(truth * result) - mean_truth * mean_result
            light_truth, light_result = mean_truth + _MID_GREY, mean_result + _MID_GREY
            similarity = (2 * light_truth * light_result + _SSIM_C1) * (2 * covariance + _SSIM_C2)
            similarity /= light_truth**2 + light_result**2 + _SSIM_C1
            similarity /= variance_truth + variance_result + _SSIM_C2
            similarities.append(float(similarity.mean(dtype=np.float64)))
        return min(1.0, sum(similarities) / len(similarities))  # rounding


class Ciede2000(MeanMetric):
    """Mean colour difference of the pixels as people see it, by ISO/CIE 11664-6; 1 is just noticeable, 0 identical."""

    key, unit, bounds, better = "ciede2000", "CIEDE2000", (0, math.inf), -1

    @staticmethod
    def of(pair: Compared) -> float:
        return float(pair.differences.mean(dtype=np.float64))


class Ciede2000Percentile95(MeanMetric):
    """The colour difference that 95 % of a photograph's pixels do not exceed: how wrong its worst places are.

    Over a set it is the mean of the photographs' percentiles.
    """

    key, unit, bounds, better = "ciede2000_p95", "CIEDE2000", (0, math.inf), -1

    @staticmethod
    def of(pair: Compared) -> float:
        return float(np.percentile(pair.differences, 95))


class Colourfulness(MeanMetric):
    """Signed colourfulness M of the result alone, by Hasler and Süsstrunk (2003): 0 grey, 45 quite, 80 very much."""

    key, unit, bounds, better = "colourfulness", "", (0, math.inf), 0

    @staticmethod
    def of(pair: Compared) -> float:
        return colourfulness(pair.result.picture)


class Uniformity(MeanMetric):
    """Share of the result's chroma that lies in one sector of 60° of hue: 1 where all colour is of one hue.

    See :func:`kwcolor_pipeline.colour.measures.uniformity_of_lab`; 0 for a picture in which no hue can be seen.
    """

    key, unit, bounds, better = "uniformity", "", (0, 1), 0

    @staticmethod
    def of(pair: Compared) -> float:
        return uniformity_of_lab(pair.result.lab)


class Lite0Distance(MeanMetric):
    """One minus the cosine of the pooled Lite0 features of result and truth: how differently the network sees them.

    0 for identical pictures; the features are never negative, so 1 is the most. It is not LPIPS.
    """

    key, unit, bounds, better = "lite0_distance", "", (0, 1), -1

    @staticmethod
    def of(pair: Compared) -> float:
        return cosine_distance(pair.truth.features, pair.result.features)


def cosine_distance(first: Matrix, second: Matrix) -> float:
    """One minus the cosine of two vectors, 0 at least; a vector of zeros is 0 from itself and 1 from any other."""
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    if lengths == 0 or np.array_equal(first, second):
        return float(not np.array_equal(first, second))
    return max(0.0, 1 - float(first @ second) / lengths)


class ColourfulnessDistance(Metric):
    """How far the mean colourfulness of the results is from that of the photographs: dCF of colorization papers."""

    key, unit, bounds, better = "colourfulness_distance", "", (0, math.inf), -1

    def reset(self) -> None:
        self._truths: list[float] = []
        self._results: list[float] = []

    def update(self, truth: Picture, result: Picture) -> None:
        pair = Compared(Seen(truth), Seen(result))
        self._truths.append(colourfulness(pair.truth.picture))
        self._results.append(colourfulness(pair.result.picture))

    def compute(self) -> Interval:
        return distance_of_means(self._results, self._truths, self._seed)


class FrechetMetric(Metric):
    """Fréchet distance of a network's ``features`` of all results and all photographs; 0 for identical sets."""

    unit, bounds, better = "", (0, math.inf), -1

    def __init__(self, features: Features, seed: int = 0):
        self._features = features
        super().__init__(seed)

    def reset(self) -> None:
        self._truths: list[Matrix] = []
        self._results: list[Matrix] = []

    def update(self, truth: Picture, result: Picture) -> None:
        of_truth, of_result = self._features([truth, result])
        self._truths.append(of_truth)
        self._results.append(of_result)

    def compute(self) -> Interval:
        if not self._truths:
            raise ValueError("there are no photographs to compare")
        return frechet_with_interval(np.stack(self._truths), np.stack(self._results), self._seed)


class FrechetLite0(FrechetMetric):
    """Fréchet distance of the pooled Lite0 features of all results and all photographs; 0 for identical sets.

    It grows with fewer photographs, so it compares within one set only. It is not FID.
    """

    key = "frechet_lite0"

    def __init__(self, seed: int = 0):
        super().__init__(lite0_features, seed)


#: The classes of :class:`PhotographMetrics`' fields, in their order; all but the last need the pixels alone.
OF_A_PHOTOGRAPH: tuple[type[MeanMetric], ...] = (
    Psnr,
    Ssim,
    Ciede2000,
    Ciede2000Percentile95,
    Colourfulness,
    Uniformity,
    Lite0Distance,
)


def measure(pair: Compared, metrics: tuple[type[MeanMetric], ...] = OF_A_PHOTOGRAPH) -> list[float]:
    """The values of ``metrics`` for one photograph, in their order."""
    return [metric.of(pair) for metric in metrics]
