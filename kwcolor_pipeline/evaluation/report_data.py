"""What the report is about: everything that its page and its Markdown show, as plain data.

Belongs here: the dataclasses that a caller fills, which photographs to show, and the paired comparisons.
What is said about them is in ``report_text``, the page in ``report``.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kwcolor_pipeline.evaluation.evaluate import TRUTH, Evaluation, Grey, TableRow
from kwcolor_pipeline.evaluation.intervals import Interval
from kwcolor_pipeline.networks.features import Picture

#: A difference is called one where its whole 95 % interval lies on one side of zero and its p-value is below this.
SIGNIFICANCE = 0.05


class Selection(NamedTuple):
    """Ids of the photographs to show, no id twice."""

    best: list[str]
    worst: list[str]
    #: Evenly spaced through the ranks between, in the order of rank.
    typical: list[str]

    @property
    def ids(self) -> list[str]:
        return [*self.best, *self.worst, *self.typical]


@dataclass(frozen=True)
class Panel:
    """A photograph with its results, by colorizer, in the order to show them.

    The truth is one of ``pictures`` for a photograph of the test, and is not for a target photograph. All
    pictures of a panel have the shape of ``gray``. ``measures`` holds what was measured of a target photograph:
    colorizer to fields of :class:`~kwcolor_pipeline.evaluation.stability.TargetMetrics`, as far as they are there.
    Every text may be hostile: it is escaped, and an address that is not of the web is not linked.
    """

    photo_id: str
    title: str
    gray: Grey
    pictures: Mapping[str, Picture]
    creator: str | None = None
    date_text: str | None = None
    licence: str | None = None
    licence_url: str | None = None
    landing_url: str | None = None
    measures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class LossCurves:
    """The curves of one training: name to (step or epoch, value)."""

    training: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    x_label: str = "step"


@dataclass(frozen=True)
class PairedComparison:
    """The subject against another colorizer on the same photographs, by CIEDE2000."""

    #: The other colorizer.
    name: str
    #: Mean CIEDE2000 of the subject minus that of the other: below zero the subject is nearer to the truth.
    difference: Interval
    #: Of the paired test that there is no difference.
    p_value: float
    #: Share of the photographs, 0..1, on which the subject is nearer; a tie counts for the other.
    nearer: float

    @property
    def tells(self) -> bool:
        """Whether the difference is more than chance explains."""
        return (self.difference.high < 0 or self.difference.low > 0) and self.p_value < SIGNIFICANCE


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from; a text that is empty is not shown."""

    preset: str
    model_version: str
    data_fingerprint: str
    made_at: datetime.datetime
    #: Year (or `undated`) to split to number of photographs.
    photographs: Mapping[str, Mapping[str, int]]
    #: Licence as its source writes it, to number of photographs.
    licences: Mapping[str, int]
    #: SHA-256 of the subject's weights, in hex.
    weights_sha256: str = ""
    #: Fingerprint of the frozen test split.
    test_split: str = ""
    #: Facts about the model in the order to show them, as `encoder` to `resnet34`: the preset's fields.
    model: Mapping[str, str] = field(default_factory=dict)
    #: Package to version.
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportData:
    """Everything on the page; ``subject`` is the colorizer of the evaluation that the page is about."""

    subject: str
    evaluation: Evaluation
    selection: Selection
    panels: Mapping[str, Panel]
    provenance: Provenance
    curves: Sequence[LossCurves] = field(default_factory=list)
    #: Whether the data are the embedded sample pictures, whose figures prove nothing.
    sample_pictures: bool = False
    #: The subject against every other colorizer, as :func:`paired_comparisons` gives them.
    comparisons: Sequence[PairedComparison] = ()
    #: One sentence: whether the subject is promoted, and why.
    verdict: str = ""
    #: The colorizer of the evaluation that is the champion; drawn into the histogram.
    champion: str | None = None
    #: Target photographs, which have no truth.
    targets: Sequence[Panel] = ()
    #: Means of the same measures over the target photographs, one row a colorizer.
    target_table: Sequence[TableRow] = ()
    #: Colorizer to its 24 shares, means of :func:`~kwcolor_pipeline.evaluation.hues.hue_shares`.
    hues: Mapping[str, Sequence[float]] = field(default_factory=dict)
    #: Sentences about baselines that were not available, and how to get them.
    baselines_missing: Sequence[str] = ()


def choose_photographs(evaluation: Evaluation, subject: str, extremes: int = 10, typical: int = 6) -> Selection:
    """The photographs whose CIEDE2000 is best and worst, and some evenly between.

    Of fewer than three times ``extremes`` photographs a third each is best and worst, so that something is
    left between; of one or two there is a cross-section alone.
    """
    ranked = [row.photo_id for row in sorted(evaluation.rows_of(subject), key=lambda row: row.metrics.ciede2000)]
    ends = min(extremes, len(ranked) // 3)
    middle = ranked[ends : len(ranked) - ends]
    positions = np.unique(np.linspace(0, len(middle) - 1, min(typical, len(middle))).round().astype(int))
    return Selection(ranked[:ends], ranked[len(ranked) - ends :][::-1], [middle[index] for index in positions])


def paired_comparison(evaluation: Evaluation, subject: str, other: str) -> PairedComparison:
    """``subject`` against ``other`` by CIEDE2000; raises KeyError when one of them was not evaluated."""
    pairs = zip(evaluation.values(subject, "ciede2000"), evaluation.values(other, "ciede2000"), strict=True)
    nearer = [own < others for own, others in pairs]
    return PairedComparison(
        other,
        evaluation.difference("ciede2000", subject, other),
        evaluation.p_value("ciede2000", subject, other),
        sum(nearer) / len(nearer),
    )


def paired_comparisons(evaluation: Evaluation, subject: str) -> list[PairedComparison]:
    """``subject`` against every other colorizer but the truth, in the order of the table."""
    others = [name for name in evaluation.colorizers if name not in (subject, TRUTH)]
    return [paired_comparison(evaluation, subject, other) for other in others]
