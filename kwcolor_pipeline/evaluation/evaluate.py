"""Every colorizer on the same grey pictures, measured against the same truths.

Belongs here: running colorizers over held-out photographs and putting the measurements together.
How a metric is computed is in ``metrics``, how the outcome looks in ``report``, and which model
becomes champion is decided elsewhere.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwcolor_pipeline.evaluation.metrics import (
    Interval,
    Matrix,
    PhotographMetrics,
    Picture,
    distance_of_means,
    frechet_with_interval,
    mean_with_interval,
    measure,
    paired_difference,
)
from kwcolor_pipeline.networks.features import lite0_features

Grey = NDArray[np.uint8]
#: Takes uint8 grey (H, W), gives uint8 RGB (H, W, 3).
Colorizer = Callable[[Grey], Picture]

#: The floor: the grey picture itself, as if it were the result.
GREY_COPY = "grey copy"
#: The ceiling: the photograph itself, as if it were the result.
TRUTH = "truth"
#: The metrics that every photograph has; the table also has the two of the whole set below.
PHOTOGRAPH_METRICS = PhotographMetrics._fields
COLOURFULNESS_DISTANCE = "colourfulness_distance"
FRECHET = "frechet_lite0"


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

    ``frechet_lite0`` is absent where there are fewer than two photographs.
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


def _grey_copy(gray: Grey) -> Picture:
    return np.repeat(gray[:, :, None], 3, axis=2)


def _colorize(name: str, colorizer: Colorizer, gray: Grey, photo_id: str) -> Picture:
    result = colorizer(gray)
    if result.shape != (*gray.shape, 3) or result.dtype != np.uint8:
        raise ValueError(
            f"colorizer `{name}` gave {result.dtype} {result.shape} for photograph {photo_id[:12]}; "
            f"it has to give uint8 {(*gray.shape, 3)}"
        )
    return result


def _table_row(
    colorizer: str,
    measured: Sequence[PhotographMetrics],
    truth: Sequence[PhotographMetrics],
    features: Mapping[str, Matrix],
    seed: int,
) -> TableRow:
    columns = {name: [getattr(row, name) for row in measured] for name in PHOTOGRAPH_METRICS}
    metrics = {name: mean_with_interval(values, seed) for name, values in columns.items()}
    metrics[COLOURFULNESS_DISTANCE] = distance_of_means(
        columns["colourfulness"], [row.colourfulness for row in truth], seed
    )
    if len(measured) > 1:
        metrics[FRECHET] = frechet_with_interval(features[TRUTH], features[colorizer], seed)
    return TableRow(colorizer, metrics)


def evaluate(
    truths: Iterable[tuple[str, str, Grey, Picture]],
    colorizers: Mapping[str, Colorizer],
    progress: Callable[[int], object],
    seed: int = 0,
    features: Callable[[Sequence[Picture]], Matrix] = lite0_features,
) -> Evaluation:
    """Run every colorizer on every photograph and measure it; the grey copy and the truth are always added.

    ``truths`` gives (photo_id, title, grey uint8 (H, W), colour uint8 (H, W, 3)) and is gone through once,
    one photograph in memory at a time. ``progress`` is told how many photographs are done. ``features``
    gives (n, d) for n pictures; it is asked once a photograph for all colorizers and the truth together.

    Raises ValueError when there is no photograph, when a colorizer takes a reserved name, or when its
    result has another size than the photograph.
    """
    if taken := {GREY_COPY, TRUTH} & set(colorizers):
        raise ValueError(f"`{taken.pop()}` is always in the table; give the colorizer another name")
    names = [GREY_COPY, *colorizers, TRUTH]
    rows: list[PhotographRow] = []
    found: dict[str, list[Matrix]] = {name: [] for name in names}
    for done, (photo_id, title, gray, truth) in enumerate(truths, start=1):
        results = [_grey_copy(gray)]
        results += [_colorize(name, colorizer, gray, photo_id) for name, colorizer in colorizers.items()]
        results.append(truth)
        rows += [
            PhotographRow(photo_id, title, name, measure(truth, result))
            for name, result in zip(names, results, strict=True)
        ]
        for name, vector in zip(names, features(results), strict=True):
            found[name].append(vector)
        progress(done)
    if not rows:
        raise ValueError("there is no photograph to evaluate; the test split is empty")
    by_name = {name: [row.metrics for row in rows if row.colorizer == name] for name in names}
    stacked = {name: np.stack(vectors) for name, vectors in found.items()}
    table = [_table_row(name, by_name[name], by_name[TRUTH], stacked, seed) for name in names]
    return Evaluation(rows, table, seed)
