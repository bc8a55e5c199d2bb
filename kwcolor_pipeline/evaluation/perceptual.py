"""FID and LPIPS: metrics whose networks no package carries, so the user has to bring them.

Belongs here: which of them are at hand, why the others are not, and their classes. The networks are in
``networks.inception`` and ``networks.lpips``. Nothing else is ever called by these names.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kwcolor_pipeline.evaluation.intervals import Interval, mean_with_interval
from kwcolor_pipeline.evaluation.metrics import Features, FrechetMetric, Metric
from kwcolor_pipeline.networks.features import Picture
from kwcolor_pipeline.settings import SettingsProblem

#: From a truth and a result of the same size to their distance.
Distance = Callable[[Picture, Picture], float]


class Fid(FrechetMetric):
    """Fréchet inception distance of Heusel et al. (2017) between all results and all photographs; 0 for equal sets.

    In pytorch-fid's way (see ``networks.inception``), with an interval over photographs. It grows with fewer
    photographs: published values, mostly of 5,000 or more, compare with equally many only.
    """

    key = "fid"


class LpipsMean(Metric):
    """Mean LPIPS (Zhang et al., 2018; AlexNet, version 0.1) of results and photographs; 0 for identical ones."""

    key, unit, bounds, better = "lpips", "", (0, math.inf), -1

    def __init__(self, distance: Distance, seed: int = 0):
        self._distance = distance
        super().__init__(seed)

    def reset(self) -> None:
        self._values: list[float] = []

    def update(self, truth: Picture, result: Picture) -> None:
        self._values.append(self._distance(truth, result))

    def compute(self) -> Interval:
        return mean_with_interval(self._values, self._seed)


FID, LPIPS = Fid.key, LpipsMean.key


class Perceptual(NamedTuple):
    """The networks that the user brought; None for those that are not at hand."""

    inception: Features | None = None
    lpips: Distance | None = None


def open_perceptual(fid_weights: Path | None, lpips_weights: Path | None, device: str) -> tuple[Perceptual, list[str]]:
    """The networks whose files are named, and a sentence for each metric that is left out.

    Raises SettingsProblem when a named file is missing or is another one, or when LPIPS' heads are not installed.
    """
    from kwcolor_pipeline.networks.inception import INCEPTION_FILE, InceptionFeatures
    from kwcolor_pipeline.networks.lpips import ALEXNET_FILE, Lpips, heads_in_package, load_lpips

    left_out = []
    inception, lpips = None, None
    if fid_weights is not None:
        inception = InceptionFeatures(fid_weights, device)
    else:
        left_out.append(f"FID is left out: evaluation.fid_weights names no file; it takes {INCEPTION_FILE}.")
    if lpips_weights is not None:
        heads = heads_in_package()
        if heads is None:
            raise SettingsProblem("LPIPS needs its heads; install them with `pip install --no-deps lpips==0.1.4`.")
        lpips = Lpips(load_lpips(lpips_weights, heads), device)
    else:
        left_out.append(f"LPIPS is left out: evaluation.lpips_weights names no file; it takes {ALEXNET_FILE}.")
    return Perceptual(inception, lpips), left_out
