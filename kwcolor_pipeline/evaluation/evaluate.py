"""Every colorizer on the same grey pictures, measured against the same truths.

Belongs here: running colorizers over held-out photographs and putting the measurements together.
How a metric is computed is in ``metrics``, how the outcome looks in ``report``, and which model
becomes champion is decided elsewhere.
"""

import dataclasses
import hashlib
import inspect
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kwcolor_pipeline.colour import lab, measures
from kwcolor_pipeline.evaluation import metrics as metrics_module
from kwcolor_pipeline.evaluation.feature_cache import FeatureCache, Known
from kwcolor_pipeline.evaluation.intervals import (
    distance_of_means,
    frechet_with_interval,
    mean_with_interval,
    paired_difference,
    paired_p_value,
)
from kwcolor_pipeline.evaluation.metrics import (
    OF_A_PHOTOGRAPH,
    ColourfulnessDistance,
    Compared,
    Features,
    FrechetLite0,
    Interval,
    Matrix,
    PhotographMetrics,
    Picture,
    Seen,
    cosine_distance,
    measure,
)
from kwcolor_pipeline.evaluation.perceptual import FID, LPIPS, Perceptual
from kwcolor_pipeline.networks.features import lite0_features, lite0_version
from kwcolor_pipeline.photos.parallel import available_cores

Grey = NDArray[np.uint8]
#: Takes uint8 grey (H, W) and the photograph's id, gives uint8 RGB (H, W, 3). Networks look at the grey only; the id is
#: for results that were computed elsewhere and are looked up.
Colorize = Callable[[Grey, str], Picture]

#: The floor: the grey picture itself, as if it were the result.
GREY_COPY = "grey copy"
#: The ceiling: the photograph itself, as if it were the result.
TRUTH = "truth"
#: Both have the same results in every evaluation of the same photographs.
_ALWAYS = (GREY_COPY, TRUTH)
#: The metrics that every photograph has; the table also has those of the whole set below.
PHOTOGRAPH_METRICS = PhotographMetrics._fields
COLOURFULNESS_DISTANCE = ColourfulnessDistance.key
FRECHET = FrechetLite0.key
#: Those that the pixels alone decide: all but the last.
_OF_PIXELS = OF_A_PHOTOGRAPH[:-1]
#: Photographs that are colorized before their results are looked at together.
_GROUP = 8


@dataclass(frozen=True)
class PhotographRow:
    """One colorizer's result on one photograph."""

    photo_id: str
    title: str
    colorizer: str
    metrics: PhotographMetrics


@dataclass(frozen=True)
class TableRow:
    """One colorizer over all photographs: metric name to mean and 95 % interval.

    ``frechet_lite0`` and ``fid`` are absent where there are fewer than two photographs, ``fid`` and ``lpips`` where
    their networks are not at hand.
    """

    colorizer: str
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class Evaluation:
    """What was measured; rows are ordered by photograph, table rows from floor to ceiling."""

    photographs: list[PhotographRow]
    table: list[TableRow]
    seed: int

    @property
    def colorizers(self) -> list[str]:
        """Names in the table's order: the grey copy, the colorizers as given, the truth."""
        return [row.colorizer for row in self.table]

    def rows_of(self, colorizer: str) -> list[PhotographRow]:
        """The photographs' rows of one colorizer, in the order of evaluation.

        Raises KeyError that names the colorizers when there is none of that name.
        """
        if colorizer not in self.colorizers:
            raise KeyError(f"`{colorizer}` was not evaluated; there are: {', '.join(self.colorizers)}")
        return [row for row in self.photographs if row.colorizer == colorizer]

    def values(self, colorizer: str, metric: str) -> list[float]:
        """One metric of :data:`PHOTOGRAPH_METRICS` over the photographs."""
        return [getattr(row.metrics, metric) for row in self.rows_of(colorizer)]

    def difference(self, metric: str, colorizer: str, other: str) -> Interval:
        """Mean of ``colorizer`` minus ``other`` over the same photographs, with its paired interval."""
        return paired_difference(self.values(colorizer, metric), self.values(other, metric), self.seed)

    def p_value(self, metric: str, colorizer: str, other: str) -> float:
        """How likely so large a mean difference would be if both were equally good; see ``paired_p_value``."""
        return paired_p_value(self.values(colorizer, metric), self.values(other, metric), self.seed)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and finite numbers; :meth:`from_json` reads them back."""
        return {
            "seed": self.seed,
            "photographs": [dataclasses.asdict(row) | {"metrics": row.metrics._asdict()} for row in self.photographs],
            "table": [
                {
                    "colorizer": row.colorizer,
                    "metrics": {name: interval._asdict() for name, interval in row.metrics.items()},
                }
                for row in self.table
            ],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Evaluation":
        """The evaluation that :meth:`to_json` wrote."""
        photographs = [
            PhotographRow(**{**row, "metrics": PhotographMetrics(**row["metrics"])}) for row in value["photographs"]
        ]
        table = [
            TableRow(row["colorizer"], {name: Interval(**numbers) for name, numbers in row["metrics"].items()})
            for row in value["table"]
        ]
        return cls(photographs, table, value["seed"])


@dataclass
class _Photograph:
    """A photograph on its way through the evaluation."""

    photo_id: str
    title: str
    gray: Grey
    #: Pictures by the colorizers' names, the grey copy first and the truth last.
    results: dict[str, Picture]
    #: What an earlier evaluation measured of the grey copy and the truth.
    known: Known | None


@dataclass
class _Found:
    """What was found so far, photograph after photograph."""

    rows: list[PhotographRow] = field(default_factory=list)
    #: By colorizer: features of Lite0, features of Inception, LPIPS.
    lite0: dict[str, list[Matrix]] = field(default_factory=dict)
    inception: dict[str, list[Matrix]] = field(default_factory=dict)
    lpips: dict[str, list[float]] = field(default_factory=dict)


#: By name, the values of :data:`_OF_PIXELS`.
_Values = dict[str, list[float]]
#: A group whose pixels are being measured.
_Begun = list[tuple[_Photograph, Future[_Values]]]


class _Measuring:
    """Measures groups of photographs: the pixels on all cores, and what networks see in the whole group at once."""

    def __init__(self, features: Features, cache: FeatureCache | None, perceptual: Perceptual):
        self._features = features
        self._cache = cache
        self._perceptual = perceptual
        self.found = _Found()

    def finish(self, begun: _Begun) -> None:
        """Put down what was measured of a group, and look at it with the networks."""
        group = [photograph for photograph, _ in begun]
        values = [future.result() for _, future in begun]
        for photograph, of_pixels, by_name in zip(group, values, self._lite0(group), strict=True):
            self._remember(photograph, of_pixels, by_name)
            for name, numbers in of_pixels.items():
                distance = cosine_distance(by_name[TRUTH], by_name[name])
                metrics = PhotographMetrics(*[*numbers, distance])
                self.found.rows.append(PhotographRow(photograph.photo_id, photograph.title, name, metrics))
                self.found.lite0.setdefault(name, []).append(by_name[name])
        self._look_perceptually(group)

    def _lite0(self, group: Sequence[_Photograph]) -> list[dict[str, Matrix]]:
        """Features by name for each photograph; those that are known are not computed."""
        asked = [[name for name in one.results if not (one.known and name in _ALWAYS)] for one in group]
        pictures = [one.results[name] for one, names in zip(group, asked, strict=True) for name in names]
        vectors: Iterator[Matrix] = iter(self._features(pictures) if pictures else ())
        found = []
        for one, names in zip(group, asked, strict=True):
            by_name = {name: next(vectors) for name in names}
            if one.known:
                by_name |= {GREY_COPY: one.known.grey, TRUTH: one.known.truth}
            found.append(by_name)
        return found

    def _remember(self, photograph: _Photograph, values: _Values, features: Mapping[str, Matrix]) -> None:
        if self._cache and not photograph.known:
            metrics = (np.array(values[name]) for name in _ALWAYS)
            known = Known(*(features[name] for name in _ALWAYS), *metrics)
            self._cache.add(photograph.photo_id, photograph.gray, photograph.results[TRUTH], known)

    def _look_perceptually(self, group: Sequence[_Photograph]) -> None:
        inception, lpips = self._perceptual
        for one in group:
            if inception:
                for name, vector in zip(one.results, inception(list(one.results.values())), strict=True):
                    self.found.inception.setdefault(name, []).append(vector)
            if lpips:
                for name, picture in one.results.items():
                    distance = 0.0 if name == TRUTH else lpips(one.results[TRUTH], picture)
                    self.found.lpips.setdefault(name, []).append(distance)


def measures_version(device: torch.device | str = "cpu") -> str:
    """What the numbers of a :class:`FeatureCache` depend on besides the pictures: networks, packages, formulas."""
    formulas = hashlib.blake2b(digest_size=8)
    for module in (metrics_module, measures, lab):
        formulas.update(inspect.getsource(module).encode())
    return f"{lite0_version(device)}, numpy {np.__version__}, formulas {formulas.hexdigest()}"


def by_grey(colorizer: Callable[[Grey], Picture]) -> Colorize:
    """A colorizer that looks at nothing but the grey picture, as one of an evaluation."""
    return lambda gray, _: colorizer(gray)


def _grey_copy(gray: Grey) -> Picture:
    return np.repeat(gray[:, :, None], 3, axis=2)


def _colorized(name: str, colorizer: Colorize, gray: Grey, photo_id: str) -> Picture:
    result = colorizer(gray, photo_id)
    if result.shape != (*gray.shape, 3) or result.dtype != np.uint8:
        raise ValueError(
            f"colorizer `{name}` gave {result.dtype} {result.shape} for photograph {photo_id[:12]}; "
            f"it has to give uint8 {(*gray.shape, 3)}"
        )
    return result


def _all_results(
    truth: tuple[str, str, Grey, Picture], colorizers: Mapping[str, Colorize], cache: FeatureCache | None
) -> _Photograph:
    photo_id, title, gray, colour = truth
    results = {GREY_COPY: _grey_copy(gray)}
    for name, colorizer in colorizers.items():
        results[name] = _colorized(name, colorizer, gray, photo_id)
    known = cache.known(photo_id, gray, colour) if cache else None
    return _Photograph(photo_id, title, gray, {**results, TRUTH: colour}, known)


def _of_pixels(photograph: _Photograph) -> _Values:
    truth, known = Seen(photograph.results[TRUTH]), photograph.known
    values = {GREY_COPY: known.grey_metrics.tolist(), TRUTH: known.truth_metrics.tolist()} if known else {}
    for name, picture in photograph.results.items():
        if name not in values:
            values[name] = measure(Compared(truth, truth if name == TRUTH else Seen(picture)), _OF_PIXELS)
    return {name: values[name] for name in photograph.results}


def _groups(truths: Iterable[tuple[str, str, Grey, Picture]]) -> Iterator[list[tuple[str, str, Grey, Picture]]]:
    waiting = iter(truths)
    while group := list(itertools.islice(waiting, _GROUP)):
        yield group


def _table_row(name: str, found: _Found, seed: int) -> TableRow:
    measured = [row.metrics for row in found.rows if row.colorizer == name]
    columns = {key: [getattr(metrics, key) for metrics in measured] for key in PHOTOGRAPH_METRICS}
    metrics = {key: mean_with_interval(values, seed) for key, values in columns.items()}
    truth = [row.metrics.colourfulness for row in found.rows if row.colorizer == TRUTH]
    metrics[COLOURFULNESS_DISTANCE] = distance_of_means(columns["colourfulness"], truth, seed)
    if len(measured) > 1:
        for key, features in ((FRECHET, found.lite0), (FID, found.inception)):
            if features:
                metrics[key] = frechet_with_interval(np.stack(features[TRUTH]), np.stack(features[name]), seed)
    if found.lpips:
        metrics[LPIPS] = mean_with_interval(found.lpips[name], seed)
    return TableRow(name, metrics)


def evaluate(
    truths: Iterable[tuple[str, str, Grey, Picture]],
    colorizers: Mapping[str, Colorize],
    progress: Callable[[int], object],
    seed: int = 0,
    features: Features = lite0_features,
    cache: FeatureCache | None = None,
    perceptual: Perceptual = Perceptual(),
) -> Evaluation:
    """Run every colorizer on every photograph and measure it; the grey copy and the truth are always added.

    ``truths`` gives (photo_id, title, grey uint8 (H, W), colour uint8 (H, W, 3)) and is gone through once, with
    sixteen photographs in memory at most. ``progress`` is told how many photographs are colorized. ``features`` gives
    (n, d) for n pictures. ``cache`` remembers what was measured of truths and grey copies; it is written at the end.
    ``perceptual`` has the networks of FID and LPIPS, as far as they are at hand.

    Raises ValueError when there is no photograph, when a colorizer takes a reserved name, or when its
    result has another size than the photograph.
    """
    if taken := {GREY_COPY, TRUTH} & set(colorizers):
        raise ValueError(f"`{taken.pop()}` is always in the table; give the colorizer another name")
    # Beside a GPU the cores measure one group while the next is colorized. Where networks run on the cores themselves,
    # both at once would take longer than one after the other.
    ahead = int(torch.cuda.is_available() or torch.backends.mps.is_available())
    measuring = _Measuring(features, cache, perceptual)
    begun: deque[_Begun] = deque()
    done = itertools.count(1)
    with ThreadPoolExecutor(available_cores()) as pool:
        for group in _groups(truths):
            photographs = []
            for truth in group:
                photographs.append(_all_results(truth, colorizers, cache))
                progress(next(done))
            begun.append([(photograph, pool.submit(_of_pixels, photograph)) for photograph in photographs])
            if len(begun) > ahead:
                measuring.finish(begun.popleft())
        for remaining in begun:
            measuring.finish(remaining)
    found = measuring.found
    if not found.rows:
        raise ValueError("there is no photograph to evaluate; the test split is empty")
    if cache:
        cache.save()
    table = [_table_row(name, found, seed) for name in (GREY_COPY, *colorizers, TRUTH)]
    return Evaluation(found.rows, table, seed)
