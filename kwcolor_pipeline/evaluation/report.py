"""The report of an evaluation: one self-contained HTML page for people.

Belongs here: how the page is put together from what was measured. What it is about is in ``report_data``, what
it says in ``report_text``, what it looks like in ``templates/``; the numbers come from ``evaluate``.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kwcolor_pipeline.evaluation.charts import ROSE_RADIUS, Chart, Rose, histogram, line_chart, roses
from kwcolor_pipeline.evaluation.evaluate import GREY_COPY, TRUTH, Evaluation, TableRow
from kwcolor_pipeline.evaluation.hues import hues_in_common, sector_colours
from kwcolor_pipeline.evaluation.pages import data_uris, environment, script_hash
from kwcolor_pipeline.evaluation.report_data import (
    LossCurves,
    PairedComparison,
    Panel,
    Provenance,
    ReportData,
    Selection,
    choose_photographs,
    paired_comparisons,
)
from kwcolor_pipeline.evaluation.report_text import (
    METRIC_TEXTS,
    TARGET_TEXTS,
    MetricText,
    cell,
    comparison_sentence,
    facts,
    headline,
    interval_range,
    markdown,
    number,
    p_text,
    percent,
    shown_metrics,
    summary,
)
from kwcolor_pipeline.home import write_bytes
from kwcolor_pipeline.networks.features import Picture

__all__ = [
    "METRIC_TEXTS",
    "LossCurves",
    "PairedComparison",
    "Panel",
    "Provenance",
    "ReportData",
    "Selection",
    "choose_photographs",
    "markdown",
    "paired_comparisons",
    "summary",
    "write_report",
]

#: Bytes of all inlined pictures together; the rest of the page is below a megabyte.
_PICTURE_BUDGET = 11_000_000
#: How the grey picture is named beside its results.
_GREY = "grey"


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


def _rows(
    table: Iterable[TableRow], metrics: Sequence[MetricText], subject: str, best: dict[str, str | None]
) -> list[dict[str, Any]]:
    roles = {GREY_COPY: "floor: no colour at all", TRUTH: "ceiling: the photograph itself"}

    def shown(row: TableRow, metric: MetricText) -> dict[str, Any]:
        value, interval = cell(row.metrics.get(metric.key), metric)
        marked = best.get(metric.key) == row.colorizer
        return {"value": value, "range": interval, "best": marked, "heading": metric.heading}

    return [
        {
            "name": row.colorizer,
            "role": roles.get(row.colorizer, ""),
            "subject": row.colorizer == subject,
            "cells": [shown(row, metric) for metric in metrics],
        }
        for row in table
    ]


def _tables(data: ReportData) -> list[dict[str, Any]]:
    """The metrics in two tables: a page is not wide enough for all of them side by side."""
    table = data.evaluation.table
    there = shown_metrics(METRIC_TEXTS, table)
    parts = (
        ("measures", "How near each result is to its photograph", [text for text in there if not text.looks]),
        ("looks", "How the results look, and as a set", [text for text in there if text.looks]),
    )
    return [
        {
            "name": name,
            "heading": heading,
            "metrics": metrics,
            "rows": _rows(
                table, metrics, data.subject, {text.key: _best_colorizer(data.evaluation, text) for text in metrics}
            ),
        }
        for name, heading, metrics in parts
        if metrics
    ]


def _target_table(data: ReportData) -> dict[str, Any] | None:
    metrics = shown_metrics(TARGET_TEXTS, data.target_table)
    if not metrics:
        return None
    rows = _rows(data.target_table, metrics, data.subject, {})
    return {"name": "targets", "heading": "Means over the target photographs", "metrics": metrics, "rows": rows}


def _standings(data: ReportData) -> list[dict[str, Any]]:
    """The comparisons with where their intervals lie on one scale, in per cent of its width."""
    ends = [end for found in data.comparisons for end in (found.difference.low, found.difference.high)]
    # Zero stays well inside the scale, with room on both sides.
    reach = max((abs(end) for end in ends), default=0.0) / 4
    low, high = min([-reach, *ends]), max([reach, *ends])
    span = (high - low) * 1.1 or 1.0
    start = (low + high - span) / 2

    def at(value: float) -> float:
        return round(100 * (value - start) / span, 2)

    def outcome(found: PairedComparison) -> str:
        if not found.tells:
            return "not measurably different"
        return "nearer" if found.difference.value < 0 else "farther"

    return [
        {
            "name": found.name,
            "outcome": outcome(found),
            "sentence": comparison_sentence(data.subject, found),
            "value": number(found.difference.value, 2),
            "range": interval_range(found.difference, 2),
            "p": p_text(found.p_value),
            "nearer": percent(found.nearer),
            "zero": at(0),
            "low": at(found.difference.low),
            "high": at(found.difference.high),
            "middle": at(found.difference.value),
        }
        for found in data.comparisons
    ]


def _shown_pictures(panel: Panel) -> list[tuple[str, Picture]]:
    """Grey first and the truth, where there is one, last; between them the results as given."""
    results = [(name, picture) for name, picture in panel.pictures.items() if name not in (GREY_COPY, TRUTH)]
    truth = [(TRUTH, panel.pictures[TRUTH])] if TRUTH in panel.pictures else []
    return [(_GREY, panel.gray), *results, *truth]


def _measured(panel: Panel, name: str) -> str:
    """What was measured of one colorizer's picture of a target photograph."""
    measures = panel.measures.get(name, {})
    texts = [
        f"{text.heading.lower()} {number(measures[text.key], text.digits)}"
        for text in TARGET_TEXTS
        if text.key in measures
    ]
    return ", ".join(texts)


class _Figures:
    """Panels as the page shows them, their pictures inlined within one budget."""

    def __init__(self, data: ReportData) -> None:
        self._data = data
        panels = [*(data.panels[key] for key in data.selection.ids), *data.targets]
        pictures = [picture for panel in panels for _, picture in _shown_pictures(panel)]
        self._uris: Iterator[str] = iter(data_uris(pictures, _PICTURE_BUDGET))
        self._differences = {
            (row.photo_id, _GREY if row.colorizer == GREY_COPY else row.colorizer): row.metrics.ciede2000
            for row in data.evaluation.photographs
        }

    def _note(self, panel: Panel, name: str) -> str:
        difference = self._differences.get((panel.photo_id, name))
        if TRUTH in panel.pictures and name != TRUTH and difference is not None:
            return f"CIEDE2000 {difference:.1f}"
        return _measured(panel, name) or ("the photograph" if name in (_GREY, TRUTH) else "colours inferred")

    def next(self, panel: Panel) -> dict[str, Any]:
        """A panel for the template; panels are to be asked for in the order of the page."""
        shown = _shown_pictures(panel)
        names = [name for name, _ in shown]
        return {
            "photo": panel,
            "right": self._data.subject if self._data.subject in names else names[-1],
            "figures": [
                {
                    "name": name,
                    "uri": next(self._uris),
                    "width": picture.shape[1],
                    "height": picture.shape[0],
                    "note": self._note(panel, name),
                    "inferred": name not in (_GREY, TRUTH),
                }
                for name, picture in shown
            ],
        }


def _groups(data: ReportData, figures: _Figures) -> list[dict[str, Any]]:
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
        {"heading": heading, "text": text, "panels": [figures.next(data.panels[key]) for key in ids]}
        for heading, text, ids in texts
        if ids
    ]


def _histograms(data: ReportData) -> list[Chart]:
    def sample(colorizer: str, metric: str) -> tuple[str, list[float]]:
        return colorizer, data.evaluation.values(colorizer, metric)

    compared = [GREY_COPY, *([data.champion] if data.champion else [])]
    return [
        histogram(
            "Colour difference of the photographs",
            "mean CIEDE2000 of a photograph",
            sample(data.subject, "ciede2000"),
            *(sample(name, "ciede2000") for name in compared),
        ),
        histogram(
            "Colourfulness of the photographs",
            "colourfulness M of a photograph",
            sample(data.subject, "colourfulness"),
            sample(TRUTH, "colourfulness"),
        ),
    ]


def _roses(data: ReportData) -> list[tuple[Rose, str]]:
    """The hues of the truth, of the subject and of the others, each with a sentence beneath."""
    if TRUTH not in data.hues:
        return []
    order = [TRUTH, data.subject, *data.hues]
    shown = {name: data.hues[name] for name in order if name in data.hues and name != GREY_COPY}
    truth = data.hues[TRUTH]

    def says(name: str) -> str:
        if name == TRUTH:
            return "the real photographs"
        if not any(shown[name]):
            return "no colour at all"
        return f"{percent(hues_in_common(shown[name], truth))} in common with the truth"

    return [(rose, says(rose.title)) for rose in roses(shown, truth)]


def _counts(provenance: Provenance) -> dict[str, Any]:
    splits = list(dict.fromkeys(split for counts in provenance.photographs.values() for split in counts))
    years = [
        (year, [provenance.photographs[year].get(split, 0) for split in splits])
        for year in sorted(provenance.photographs)
    ]
    totals = [sum(column) for column in zip(*(counts for _, counts in years), strict=True)]
    return {"splits": splits, "years": years, "totals": totals}


def write_report(path: Path, data: ReportData) -> None:
    """Write the page, one file below 12 MB that asks for nothing from outside, atomically.

    Its script, which moves the sliders, is the only one that its policy lets run; without it the pictures
    stand side by side. Raises KeyError when a selected photograph has no panel or the subject was not
    evaluated.
    """
    templates = environment()
    script = templates.get_template("report.js.j2").render()
    figures = _Figures(data)
    html = templates.get_template("report.html.j2").render(
        data=data,
        headline=headline(data),
        key_figures=_key_figures(data),
        tables=_tables(data),
        standings=_standings(data),
        groups=_groups(data, figures),
        targets=[figures.next(panel) for panel in data.targets],
        target_table=_target_table(data),
        histograms=_histograms(data),
        roses=_roses(data),
        rose_radius=ROSE_RADIUS,
        sector_colours=sector_colours(),
        curves=[line_chart(curve.training, curve.x_label, curve.series) for curve in data.curves],
        facts=facts(data),
        counts=_counts(data.provenance),
        photograph_count=len(data.evaluation.rows_of(data.subject)),
        script=script,
        script_hash=script_hash(script),
    )
    write_bytes(path, html.encode())
