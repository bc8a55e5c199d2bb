"""The report of an evaluation: one self-contained HTML page for people.

Belongs here: what the page says and which photographs it shows. What it looks like is in
``templates/``; the numbers come from ``evaluate``.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kwcolor_pipeline.evaluation.charts import Chart, histogram, line_chart
from kwcolor_pipeline.evaluation.evaluate import (
    COLOURFULNESS_DISTANCE,
    FRECHET,
    GREY_COPY,
    TRUTH,
    Evaluation,
    Grey,
)
from kwcolor_pipeline.evaluation.metrics import IDENTICAL_PSNR, Interval, Picture
from kwcolor_pipeline.evaluation.pages import data_uris, environment
from kwcolor_pipeline.home import write_bytes

#: Bytes of all inlined pictures together; the rest of the page is far below a megabyte.
_PICTURE_BUDGET = 5_000_000


class MetricText(NamedTuple):
    """How a metric is shown and explained."""

    key: str
    heading: str
    direction: str
    digits: int
    #: -1 where lower is better, 1 where higher is, 0 where the truth's value is the aim.
    better: int
    meaning: str


METRIC_TEXTS = (
    MetricText(
        "ciede2000",
        "CIEDE2000",
        "↓ lower is better",
        2,
        -1,
        "Mean difference to the real colours as people perceive it. 1 is just noticeable side by side; "
        "0 is the photograph itself.",
    ),
    MetricText(
        "psnr",
        "PSNR, dB",
        "↑ higher is better",
        2,
        1,
        "Pixel error on a logarithmic scale. It rewards caution: a pale result can score above a lively, "
        "plausible one.",
    ),
    MetricText(
        "ssim",
        "SSIM",
        "↑ higher is better",
        3,
        1,
        "Agreement of local structure, 1 at most. High for every colorizer that leaves the light as it was.",
    ),
    MetricText(
        "colourfulness",
        "Colourfulness",
        "→ the truth’s",
        1,
        0,
        "Hasler and Süsstrunk’s M: 0 is grey, 15 slight, 45 quite and 80 very colourful. Neither pale nor gaudy "
        "is right: the aim is the value of the truth.",
    ),
    MetricText(
        COLOURFULNESS_DISTANCE,
        "Colourfulness gap",
        "↓ lower is better",
        1,
        -1,
        "How far the mean colourfulness is from that of the real photographs, in either direction.",
    ),
    MetricText(
        FRECHET,
        "Fréchet-Lite0",
        "↓ lower is better",
        1,
        -1,
        "How far the results as a set are from the real photographs in the features of EfficientNet-Lite0. "
        "It depends on the number of photographs: compare within this table only. It is not FID.",
    ),
)


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
    """A photograph with its results, by colorizer, in the order to show them; the truth is one of them.

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


@dataclass(frozen=True)
class LossCurves:
    """The curves of one training: name to (step or epoch, value)."""

    training: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    x_label: str = "step"


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from."""

    preset: str
    model_version: str
    data_fingerprint: str
    made_at: datetime.datetime
    #: Year (or `undated`) to split to number of photographs.
    photographs: Mapping[str, Mapping[str, int]]
    #: Licence as its source writes it, to number of photographs.
    licences: Mapping[str, int]


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


def choose_photographs(evaluation: Evaluation, subject: str, extremes: int = 3, typical: int = 6) -> Selection:
    """The photographs whose CIEDE2000 is best and worst, and some evenly between."""
    ranked = [row.photo_id for row in sorted(evaluation.rows_of(subject), key=lambda row: row.metrics.ciede2000)]
    ends = min(extremes, len(ranked) // 3)
    middle = ranked[ends : len(ranked) - ends]
    positions = np.unique(np.linspace(0, len(middle) - 1, min(typical, len(middle))).round().astype(int))
    return Selection(ranked[:ends], ranked[len(ranked) - ends :][::-1], [middle[index] for index in positions])


def _range(interval: Interval, digits: int) -> str:
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def _verdict(difference: Interval) -> str:
    """``difference`` is CIEDE2000 of the subject minus that of the grey copy."""
    size = f"{abs(difference.value):.1f}"
    if difference.high < 0:
        return f"nearer to the real colours by {size}"
    if difference.low > 0:
        return f"farther from the real colours by {size}"
    return f"not measurably different (by {size}, and chance alone could explain it)"


def summary(data: ReportData) -> str:
    """Two sentences in plain words: how far the colours are off, and whether that beats leaving them out."""
    metrics = {row.colorizer: row.metrics for row in data.evaluation.table}
    own, grey = metrics[data.subject]["ciede2000"], metrics[GREY_COPY]["ciede2000"]
    difference = data.evaluation.difference("ciede2000", data.subject, GREY_COPY)
    count = len(data.evaluation.rows_of(data.subject))
    photographs = "one held-out photograph" if count == 1 else f"{count} held-out photographs"
    return (
        f"On {photographs}, the colours of “{data.subject}” are {own.value:.1f} units of CIEDE2000 away "
        f"from the real ones on average (95\u00a0% interval {_range(own, 1)}). Leaving the pictures grey gives "
        f"{grey.value:.1f}, so the colorized pictures are {_verdict(difference)}."
    )


def _key_figures(data: ReportData) -> list[tuple[str, str, str]]:
    """(figure, what it is, what to compare it with)."""
    metrics = {row.colorizer: row.metrics for row in data.evaluation.table}
    own, grey, truth = metrics[data.subject], metrics[GREY_COPY], metrics[TRUTH]
    differences = zip(
        data.evaluation.values(data.subject, "ciede2000"), data.evaluation.values(GREY_COPY, "ciede2000"), strict=True
    )
    nearer = sum(own_value < grey_value for own_value, grey_value in differences)
    count = len(data.evaluation.rows_of(data.subject))
    return [
        (
            f"{own['ciede2000'].value:.1f}",
            "mean colour difference, CIEDE2000",
            f"{grey['ciede2000'].value:.1f} when left grey",
        ),
        (f"{nearer} of {count}", "photographs nearer to the truth than grey", "by their mean CIEDE2000"),
        (
            f"{own['colourfulness'].value:.0f}",
            "mean colourfulness",
            f"{truth['colourfulness'].value:.0f} in the real photographs",
        ),
    ]


def _best_colorizer(evaluation: Evaluation, metric: MetricText) -> str | None:
    """The colorizer whose mean is best, floor and ceiling aside; None where there is nothing to choose."""
    rivals = [row for row in evaluation.table if row.colorizer not in (GREY_COPY, TRUTH) and metric.key in row.metrics]
    if len(rivals) < 2 or not metric.better:
        return None
    return max(rivals, key=lambda row: metric.better * row.metrics[metric.key].value).colorizer


def _cell(interval: Interval | None, metric: MetricText, best: bool) -> dict[str, Any]:
    if interval is None:
        return {"value": "–", "range": "needs two photographs", "best": False, "heading": metric.heading}
    if metric.key == "psnr" and interval.low == IDENTICAL_PSNR:
        return {"value": "identical", "range": "", "best": False, "heading": metric.heading}
    exact = _range(interval, metric.digits) == _range(Interval(*[interval.value] * 3), metric.digits)
    return {
        "value": f"{interval.value:.{metric.digits}f}",
        "range": "" if exact else _range(interval, metric.digits),
        "best": best,
        "heading": metric.heading,
    }


def _table(data: ReportData) -> list[dict[str, Any]]:
    roles = {GREY_COPY: "floor: no colour at all", TRUTH: "ceiling: the photograph itself"}
    best = {metric.key: _best_colorizer(data.evaluation, metric) for metric in METRIC_TEXTS}
    return [
        {
            "name": row.colorizer,
            "role": roles.get(row.colorizer, ""),
            "subject": row.colorizer == data.subject,
            "cells": [
                _cell(row.metrics.get(metric.key), metric, best[metric.key] == row.colorizer) for metric in METRIC_TEXTS
            ],
        }
        for row in data.evaluation.table
    ]


def _shown_pictures(panel: Panel) -> list[tuple[str, Picture]]:
    """Grey first and the truth last, between them the results as given."""
    results = [(name, picture) for name, picture in panel.pictures.items() if name not in (GREY_COPY, TRUTH)]
    return [("grey", panel.gray), *results, (TRUTH, panel.pictures[TRUTH])]


def _groups(data: ReportData) -> list[dict[str, Any]]:
    shown = [data.panels[photo_id] for photo_id in data.selection.ids]
    uris = iter(data_uris([picture for panel in shown for _, picture in _shown_pictures(panel)], _PICTURE_BUDGET))
    differences = {
        (row.photo_id, "grey" if row.colorizer == GREY_COPY else row.colorizer): row.metrics.ciede2000
        for row in data.evaluation.photographs
    }

    def figures(panel: Panel) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "uri": next(uris),
                "width": picture.shape[1],
                "height": picture.shape[0],
                "difference": None if name == TRUTH else differences.get((panel.photo_id, name)),
                "inferred": name not in ("grey", TRUTH),
            }
            for name, picture in _shown_pictures(panel)
        ]

    texts = (
        ("Nearest to the truth", "The smallest mean CIEDE2000 of all photographs in the test.", data.selection.best),
        (
            "Farthest from the truth",
            "The largest mean CIEDE2000. A plausible colour that was not the real one counts as wrong here.",
            data.selection.worst,
        ),
        (
            "A cross-section",
            "Evenly spaced through the ranks between, from nearer to farther.",
            data.selection.typical,
        ),
    )
    return [
        {
            "heading": heading,
            "text": text,
            "panels": [{"photo": data.panels[key], "figures": figures(data.panels[key])} for key in ids],
        }
        for heading, text, ids in texts
        if ids
    ]


def _charts(data: ReportData) -> list[Chart]:
    differences = histogram(
        "Colour difference of the photographs",
        "mean CIEDE2000 of a photograph",
        (data.subject, data.evaluation.values(data.subject, "ciede2000")),
        (GREY_COPY, data.evaluation.values(GREY_COPY, "ciede2000")),
    )
    return [differences, *(line_chart(curve.training, curve.x_label, curve.series) for curve in data.curves)]


def _counts(provenance: Provenance) -> dict[str, Any]:
    splits = list(dict.fromkeys(split for counts in provenance.photographs.values() for split in counts))
    years = [
        (year, [provenance.photographs[year].get(split, 0) for split in splits])
        for year in sorted(provenance.photographs)
    ]
    totals = [sum(column) for column in zip(*(counts for _, counts in years), strict=True)]
    return {"splits": splits, "years": years, "totals": totals}


def write_report(path: Path, data: ReportData) -> None:
    """Write the page, one file below 6 MB without scripts and without anything from outside, atomically.

    Raises KeyError when a selected photograph has no panel or the subject was not evaluated.
    """
    page = environment().get_template("report.html.j2")
    html = page.render(
        data=data,
        summary=summary(data),
        key_figures=_key_figures(data),
        metrics=METRIC_TEXTS,
        table=_table(data),
        groups=_groups(data),
        charts=_charts(data),
        counts=_counts(data.provenance),
        photograph_count=len(data.evaluation.rows_of(data.subject)),
    )
    write_bytes(path, html.encode())
