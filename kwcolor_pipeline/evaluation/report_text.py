"""What the report says: metrics and differences in plain words, and the report as Markdown.

Belongs here: sentences and numbers as text. What is measured is in ``evaluate``, what the page looks like
in ``report`` and its templates.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kwcolor_pipeline.evaluation.evaluate import COLOURFULNESS_DISTANCE, FRECHET, GREY_COPY, TRUTH, TableRow
from kwcolor_pipeline.evaluation.intervals import Interval
from kwcolor_pipeline.evaluation.metrics import IDENTICAL_PSNR
from kwcolor_pipeline.evaluation.report_data import PairedComparison, ReportData, paired_comparison

#: Bytes of the Markdown; characters of a sentence and of a name in it; lines of one of its lists.
_MARKDOWN_BYTES, _SENTENCE, _NAME, _LINES = 20_000, 400, 60, 20
#: Colorizers in the Markdown's table; a page of Dagster has no room for more.
_COLUMNS = 12


class MetricText(NamedTuple):
    """How a metric is shown and explained."""

    key: str
    heading: str
    direction: str
    digits: int
    #: -1 where lower is better, 1 where higher is, 0 where the truth's value is the aim.
    better: int
    meaning: str
    #: Whether it describes how the results look, alone or as a set, instead of how near each is to its photograph.
    looks: bool = False


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
        "ciede2000_p95",
        "CIEDE2000, P95",
        "↓ lower is better",
        1,
        -1,
        "How far the worst of a picture is off: 95\u00a0% of its pixels are nearer to the truth than this, "
        "5\u00a0% are not.",
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
        "lite0_distance",
        "Lite0 distance",
        "↓ lower is better",
        3,
        -1,
        "How differently a network that recognises things (EfficientNet-Lite0) sees the result and its photograph; "
        "0 is the same. It is not LPIPS.",
    ),
    MetricText(
        "lpips",
        "LPIPS",
        "↓ lower is better",
        3,
        -1,
        "The learned perceptual difference of Zhang et al. (2018) between a result and its photograph; 0 is the same.",
    ),
    MetricText(
        "colourfulness",
        "Colourfulness",
        "→ the truth’s",
        1,
        0,
        "Hasler and Süsstrunk’s M: 0 is grey, 15 slight, 45 quite and 80 very colourful. Neither pale nor gaudy "
        "is right: the aim is the value of the truth.",
        looks=True,
    ),
    MetricText(
        COLOURFULNESS_DISTANCE,
        "Colourfulness gap",
        "↓ lower is better",
        1,
        -1,
        "How far the mean colourfulness is from that of the real photographs, in either direction.",
        looks=True,
    ),
    MetricText(
        "uniformity",
        "Uniformity",
        "→ the truth’s",
        2,
        0,
        "How much of a picture’s colour lies within one sixth of the hue circle: 1 is one tint over everything, and a "
        "grey picture has 0. Real photographs are partly uniform too: the aim is the value of the truth.",
        looks=True,
    ),
    MetricText(
        FRECHET,
        "Fréchet-Lite0",
        "↓ lower is better",
        1,
        -1,
        "How far the results as a set are from the real photographs in the features of EfficientNet-Lite0. "
        "It depends on the number of photographs: compare within this table only. It is not FID.",
        looks=True,
    ),
    MetricText(
        "fid",
        "FID",
        "↓ lower is better",
        1,
        -1,
        "How far the results as a set are from the real photographs in the features of Inception v3. It depends on "
        "the number of photographs and on the pictures’ size: compare within this table only.",
        looks=True,
    ),
)

#: What is measured of photographs without a truth.
TARGET_TEXTS = (
    MetricText(
        "colourfulness",
        "Colourfulness",
        "neither pale nor gaudy",
        1,
        0,
        "0 is grey, 15 slight, 45 quite and 80 very colourful. No truth says what is right here; the value of the real "
        "photographs in the table above is a guide.",
    ),
    MetricText(
        "uniformity",
        "Uniformity",
        "far below 1",
        2,
        0,
        "How much of a picture’s colour lies within one sixth of the hue circle. At 1 the whole picture has one tint, "
        "a usual failure.",
    ),
    MetricText(
        "shift_flicker",
        "Shift flicker",
        "↓ lower is better",
        2,
        -1,
        "How far the colours move, in units of CIELAB, when the picture is shifted by one pixel. Nothing in the scene "
        "has changed then, so the colours should not; 2.3 is about just noticeable. Grey does not flicker: read it "
        "beside colourfulness.",
    ),
    MetricText(
        "brightness_flicker",
        "Brightness flicker",
        "↓ lower is better",
        2,
        -1,
        "The same when the picture is made slightly lighter or darker.",
    ),
)


def shown_metrics(texts: Iterable[MetricText], rows: Iterable[TableRow]) -> list[MetricText]:
    """The metrics that at least one of the rows has, in the order of ``texts``."""
    there = {name for row in rows for name in row.metrics}
    return [text for text in texts if text.key in there]


def number(value: float, digits: int) -> str:
    """The number with a true minus sign, and never minus nothing."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def interval_range(interval: Interval, digits: int) -> str:
    """`1.20 to 3.40`."""
    return f"{number(interval.low, digits)} to {number(interval.high, digits)}"


def cell(interval: Interval | None, metric: MetricText) -> tuple[str, str]:
    """A table's value and beneath it its interval, which is empty where it says no more than the value."""
    if interval is None:
        return "–", "not measured"
    if metric.key == "psnr" and interval.low == IDENTICAL_PSNR:
        return "identical", ""
    value, interval_text = number(interval.value, metric.digits), interval_range(interval, metric.digits)
    return value, "" if interval_text == f"{value} to {value}" else interval_text


def p_text(p_value: float) -> str:
    """`p = 0.03` with as many digits as say something."""
    if p_value < 0.001:
        return "p < 0.001"
    return f"p = {p_value:.3f}" if p_value < 0.1 else f"p = {p_value:.2f}"


def percent(share: float) -> str:
    """`84 %`."""
    return f"{100 * share:.0f}\u00a0%"


def _size(value: float) -> str:
    return f"{abs(value):.2f}" if abs(value) >= 0.005 else "less than 0.01"


def _signed(value: float) -> str:
    text = number(value, 2)
    return text if text.startswith("−") or float(text) == 0 else f"+{text}"


def standing(comparison: PairedComparison, other: str) -> str:
    """How the subject stands to ``other``, as the end of a sentence: nearer, farther, or not measurably different."""
    difference, p_value = comparison.difference, p_text(comparison.p_value)
    if not comparison.tells:
        spread = f"{_signed(difference.low)} to {_signed(difference.high)}"
        return (
            f"not measurably different from {other} (difference {_signed(difference.value)}, "
            f"95\u00a0% interval {spread}, {p_value}; below zero is nearer)"
        )
    ends = sorted((abs(difference.low), abs(difference.high)))
    where = "nearer to the real colours" if difference.value < 0 else "farther from the real colours"
    return (
        f"{where} than {other} by {_size(difference.value)} "
        f"(95\u00a0% interval {ends[0]:.2f} to {ends[1]:.2f}, {p_value})"
    )


def comparison_sentence(subject: str, comparison: PairedComparison) -> str:
    """One plain sentence about the subject and another colorizer."""
    text = standing(comparison, f"“{comparison.name}”")
    return f"“{subject}” is {text}; it is nearer on {percent(comparison.nearer)} of the photographs."


def _count_of(data: ReportData) -> int:
    return len(data.evaluation.rows_of(data.subject))


def headline(data: ReportData) -> str:
    """Two sentences in plain words: how far the colours are off, and whether that beats leaving them out."""
    metrics = {row.colorizer: row.metrics for row in data.evaluation.table}
    own, grey = metrics[data.subject]["ciede2000"], metrics[GREY_COPY]["ciede2000"]
    count = _count_of(data)
    photographs = "one held-out photograph" if count == 1 else f"{count} held-out photographs"
    against_grey = next((found for found in data.comparisons if found.name == GREY_COPY), None)
    against_grey = against_grey or paired_comparison(data.evaluation, data.subject, GREY_COPY)
    return (
        f"On {photographs}, the colours of “{data.subject}” are {own.value:.1f} units of CIEDE2000 away "
        f"from the real ones on average (95\u00a0% interval {interval_range(own, 1)}). Leaving the pictures grey gives "
        f"{grey.value:.1f}, so the colorized pictures are {standing(against_grey, 'grey ones')}."
    )


def summary(data: ReportData) -> str:
    """The headline, and how the subject stands to each other colorizer."""
    told = [standing(found, f"“{found.name}”") for found in data.comparisons if found.name != GREY_COPY]
    return f"{headline(data)} “{data.subject}” is {'; it is '.join(told)}." if told else headline(data)


def _plain(text: str, length: int = _NAME) -> str:
    """``text`` of anybody as Markdown that shows just these characters, on one line and not too long."""
    line = re.sub(r"\s+", " ", text).strip()
    line = line if len(line) <= length else line[: length - 1] + "…"
    escaped = re.sub(r"([\\`*_{}\[\]#|!~$])", r"\\\1", line).replace("&", "&amp;").replace("<", "&lt;")
    # Addresses that are not marked as links would become some by themselves.
    return re.sub(r"(?i)(https?|ftp|mailto|www)([:.])", "\\1\u200b\\2", escaped)


def _table_lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _metric_table(table: Sequence[TableRow], texts: Iterable[MetricText], subject: str) -> list[str]:
    """A line for each metric and a column for each colorizer; the subject, floor and ceiling always have one."""
    kept = {subject, GREY_COPY, TRUTH}
    others = [row.colorizer for row in table if row.colorizer not in kept]
    kept |= set(others[: _COLUMNS - len(kept)])
    shown = [row for row in table if row.colorizer in kept]
    names = [f"**{_plain(row.colorizer)}**" if row.colorizer == subject else _plain(row.colorizer) for row in shown]
    rows = []
    for metric in shown_metrics(texts, shown):
        cells = [cell(row.metrics.get(metric.key), metric) for row in shown]
        arrow = metric.direction[0] if metric.direction[0] in "↑→↓" else ""
        rows.append(
            [f"{metric.heading} {arrow}".strip()]
            + [f"{value} ({interval})" if interval else value for value, interval in cells]
        )
    return _table_lines(["", *names], rows)


def _comparison_table(data: ReportData) -> list[str]:
    rows = [
        [
            _plain(found.name),
            f"{_signed(found.difference.value)} ({_signed(found.difference.low)} to {_signed(found.difference.high)})",
            p_text(found.p_value).replace("<", "&lt;"),
            percent(found.nearer),
            ("nearer" if found.difference.value < 0 else "farther") if found.tells else "not measurably different",
        ]
        for found in data.comparisons[:_LINES]
    ]
    return _table_lines(["against", "CIEDE2000, difference", "p-value", "nearer on", "so it is"], rows)


def facts(data: ReportData) -> Mapping[str, str]:
    """What identifies the model, the data and the measurement, in the order to show it; what is unknown is left out."""
    about = data.provenance
    found = {
        "Model version": about.model_version,
        "Weights, SHA-256": about.weights_sha256,
        "Preset": about.preset,
        "Data fingerprint": about.data_fingerprint,
        "Test split": about.test_split,
        "Test photographs": str(_count_of(data)),
        "Measured": f"{about.made_at:%-d %B %Y, %H:%M %Z}",
        "Intervals": f"95\u00a0% bootstrap over photographs, seed {data.evaluation.seed}",
    }
    return {name: text for name, text in found.items() if text}


def _bullets(pairs: Mapping[str, str]) -> list[str]:
    lines = [f"- {_plain(name)}: {_plain(text, 2 * _NAME)}" for name, text in list(pairs.items())[:_LINES]]
    left = len(pairs) - len(lines)
    return [*lines, f"- and {left} more"] if left else lines


def markdown(data: ReportData) -> str:
    """The report without pictures, as Markdown with tables, for Dagster's metadata and MLflow: below 20 kB.

    Texts of anybody are escaped, cut to a length, and are no links.
    """
    parts: list[list[str]] = [[_plain(headline(data), 3 * _SENTENCE)]]
    if data.sample_pictures:
        parts.insert(0, ["**This shows the machinery, not quality:** the pictures are the software's few samples."])
    if data.verdict:
        parts.append([f"**Verdict:** {_plain(data.verdict, _SENTENCE)}"])
    parts.append(["### Measurements", "", *_metric_table(data.evaluation.table, METRIC_TEXTS, data.subject)])
    if data.comparisons:
        parts.append([f"### {_plain(data.subject)} against the others", "", *_comparison_table(data)])
    if data.target_table:
        means = _metric_table(data.target_table, TARGET_TEXTS, data.subject)
        parts.append(["### Photographs without a truth", "", *means])
    if data.baselines_missing:
        missing = [f"- {_plain(sentence, _SENTENCE)}" for sentence in data.baselines_missing[:_LINES]]
        parts.append(["### Not compared with", "", *missing])
    about = data.provenance
    parts.append(["### Where this comes from", "", *_bullets(facts(data))])
    for heading, pairs in (("Model", about.model), ("Packages", about.packages)):
        if pairs:
            parts.append([f"### {heading}", "", *_bullets(pairs)])
    licences = {name or "not stated": str(count) for name, count in about.licences.items()}
    parts.append(["### Licences of the photographs", "", *_bullets(licences)])
    text = ""
    for lines in parts:
        longer = text + "\n".join(lines) + "\n\n"
        if len(longer.encode()) > _MARKDOWN_BYTES - 100:
            return text + "The page has the rest.\n"
        text = longer
    return text.rstrip() + "\n"
