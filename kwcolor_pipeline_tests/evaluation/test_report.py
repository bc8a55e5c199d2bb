"""The report page and its Markdown: what they say, that they are safe to open, and that they stay small."""

import dataclasses
import functools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from kwcolor_pipeline.evaluation.charts import ROSE_RADIUS, histogram, line_chart, roses
from kwcolor_pipeline.evaluation.evaluate import GREY_COPY, TRUTH, TableRow
from kwcolor_pipeline.evaluation.intervals import Interval
from kwcolor_pipeline.evaluation.metrics import OF_A_PHOTOGRAPH, ColourfulnessDistance, FrechetLite0, Metric
from kwcolor_pipeline.evaluation.pages import data_uris, script_hash, web_link
from kwcolor_pipeline.evaluation.perceptual import Fid, LpipsMean
from kwcolor_pipeline.evaluation.report import (
    METRIC_TEXTS,
    LossCurves,
    PairedComparison,
    ReportData,
    choose_photographs,
    markdown,
    paired_comparisons,
    summary,
    write_report,
)
from kwcolor_pipeline.evaluation.report_text import TARGET_TEXTS, number, p_text
from kwcolor_pipeline.evaluation.stability import TargetMetrics
from kwcolor_pipeline_tests.evaluation.reports import LOST, SUBJECT, drawn_report, measured, with_metric

HOSTILE = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>"
COUNT = 9
#: Differences of photographs that are as different among themselves as real ones.
BASE = [8.0, 9.0, 11.0, 12.0, 7.0, 10.0, 9.5, 8.5, 14.0, 6.0]


@pytest.fixture(scope="module")
def data() -> ReportData:
    plain = drawn_report(COUNT)
    hostile: dict[str, Any] = {
        "title": f"A title {HOSTILE}",
        "creator": HOSTILE,
        "licence_url": "javascript:alert(3)",
        "landing_url": "https://example.org/?a=1&b=2",
    }
    return dataclasses.replace(
        plain,
        panels={key: dataclasses.replace(panel, **hostile) for key, panel in plain.panels.items()},
        targets=[dataclasses.replace(panel, **hostile) for panel in plain.targets],
        baselines_missing=[*plain.baselines_missing, HOSTILE],
        verdict=f"{plain.verdict} {HOSTILE}",
        provenance=dataclasses.replace(
            plain.provenance, licences={HOSTILE: 1, "": 1}, model={HOSTILE: HOSTILE}, packages={"torch": HOSTILE}
        ),
    )


class Page(HTMLParser):
    """The elements of a page, its addresses and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.addresses: list[str] = []
        self.words = ""
        self.script = ""
        self._within: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]
        self._within = tag if tag in ("style", "script") else None

    def handle_endtag(self, tag: str) -> None:
        self._within = None

    def handle_data(self, text: str) -> None:
        if self._within is None:
            self.words = re.sub(r"\s+", " ", f"{self.words} {text}")
        elif self._within == "script":
            self.script += text

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.tags if name in (attributes.get("class") or "").split()]


def written(path: Path, data: ReportData) -> Page:
    write_report(path / "report.html", data)
    return Page((path / "report.html").read_text())


@pytest.fixture(scope="module")
def text(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, data)
    return path.read_text()


def test_nothing_hostile_becomes_part_of_the_page(text: str) -> None:
    page = Page(text)
    assert len(page.named("script")) == 1
    assert "alert" not in page.script
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "&lt;script&gt;" in text
    assert not [address for address in page.addresses if address.startswith("javascript")]
    assert all((image.get("src") or "").startswith("data:image/webp") for image in page.named("img"))


def test_the_policy_allows_the_pages_own_script_and_nothing_from_outside(text: str) -> None:
    page = Page(text)
    policy = next(meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'"
    assert allowed["img-src"] == "data:"
    assert allowed["script-src"] == f"'{script_hash(page.script)}'"
    links = {link["href"] or "" for link in page.named("a")}
    assert {link for link in links if not link.startswith("#")} == {"https://example.org/?a=1&b=2"}
    anchors = {attributes.get("id") for _, attributes in page.tags}
    assert all(link[1:] in anchors for link in links if link.startswith("#"))
    assert not re.search(r"@import|url\(|fetch|XMLHttp", text)


def test_every_picture_is_there_without_a_script(text: str) -> None:
    page = Page(text)
    images = page.named("img")
    # Grey, the colorizers and the truth of each photograph, and all but the truth of each target photograph.
    assert len(images) == COUNT * (len(LOST) + 2) + 3 * (len(LOST) + 1)
    assert all(image.get("alt") for image in images)
    viewers = page.of_class("viewer")
    assert len(viewers) == COUNT + 3
    assert all("hidden" in viewer for viewer in viewers)
    assert all(panel["data-right"] == SUBJECT for panel in page.of_class("panel"))


def test_the_page_says_what_was_measured(text: str, data: ReportData) -> None:
    words = Page(text).words
    for said in (
        *("grey copy", "generator alone", "identical", "version 4", "abc123", "22 November 2026", "not stated"),
        *("d1" * 32, "5b" * 32, "It replaces version 3", "DDColor was not compared", "in common with the truth"),
    ):
        assert said in words
    assert "Together 73 9" in words
    own = next(row.metrics["ciede2000"] for row in data.evaluation.table if row.colorizer == SUBJECT)
    assert f"{own.value:.2f} {own.low:.2f} to {own.high:.2f}" in words
    assert "nan" not in words.lower().split()
    assert "machinery, not quality" not in words


def test_sample_pictures_are_announced(data: ReportData, tmp_path: Path) -> None:
    announced = dataclasses.replace(data, sample_pictures=True)
    assert "This shows the machinery, not quality." in written(tmp_path, announced).words
    assert "machinery, not quality" in markdown(announced)


def test_target_photographs_are_not_judged_by_a_truth(text: str) -> None:
    words = Page(text).words
    targets = words[words.index("nobody knows their colours") : words.index("How the figures spread")]
    assert "colourfulness 21.3, uniformity 0.72, shift flicker 0.42, brightness flicker 0.25" in targets
    assert "one pixel" in targets
    assert "CIEDE2000" not in targets
    assert " truth the photograph" not in targets


def test_a_caption_says_how_far_the_picture_is_from_its_truth(tmp_path: Path) -> None:
    data = drawn_report(1)
    (panel,) = data.panels.values()
    # The same photograph as a target: nobody is to be told there how far it is.
    target = dataclasses.replace(
        panel, pictures={name: picture for name, picture in panel.pictures.items() if name != TRUTH}
    )
    words = written(tmp_path, dataclasses.replace(data, targets=[target])).words
    (difference,) = data.evaluation.values(SUBJECT, "ciede2000")
    assert words.count(f" {SUBJECT} CIEDE2000 {difference:.1f} ") == 1
    assert " truth the photograph " in words
    assert "truth CIEDE2000" not in words


def test_a_report_without_anything_optional(tmp_path: Path) -> None:
    data = drawn_report(2, comparisons=(), verdict="", champion=None, targets=(), target_table=(), hues={}, curves=())
    data = dataclasses.replace(data, baselines_missing=())
    page = written(tmp_path, data)
    for absent in ("Against each other", "Without a truth", "Hues", "How the trainings went", "Not compared with"):
        assert absent not in page.words
    assert len(page.named("img")) == 2 * (len(LOST) + 2)
    assert "### Measurements" in markdown(data)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_small_test_splits_have_a_page(tmp_path: Path, count: int) -> None:
    data = drawn_report(count)
    page = written(tmp_path, data)
    assert len(page.of_class("panel")) == count + 3
    # Whatever the interval, so few photographs prove nothing.
    assert "not measurably different" in summary(data)
    assert ("one held-out photograph" in page.words) == (count == 1)


def test_metrics_are_shown_where_they_were_measured(tmp_path: Path) -> None:
    data = drawn_report(3)
    headings = {cell["data-heading"] for cell in written(tmp_path, data).named("td") if "data-heading" in cell}
    assert {"CIEDE2000", "CIEDE2000, P95", "Uniformity", "Lite0 distance", "Fréchet-Lite0"} <= headings
    assert not headings & {"FID", "LPIPS"}
    for name, heading in (("fid", "FID"), ("lpips", "LPIPS")):
        # Networks may fail for a colorizer; then its cell says so.
        more = dataclasses.replace(data, evaluation=with_metric(data.evaluation, name, {SUBJECT: 0.25, TRUTH: 0.0}))
        page = written(tmp_path, more)
        cells = [cell for cell in page.named("td") if cell.get("data-heading") == heading]
        assert len(cells) == len(LOST) + 2
        assert page.words.count("not measured") == len(LOST)
        assert heading in markdown(more)


def test_every_metric_is_explained_in_words() -> None:
    keys = [metric.key for metric in METRIC_TEXTS]
    assert len(set(keys)) == len(keys)
    measured_anywhere: list[type[Metric]] = [*OF_A_PHOTOGRAPH, ColourfulnessDistance, FrechetLite0, Fid, LpipsMean]
    assert {metric.key: metric.better for metric in METRIC_TEXTS} == {m.key: m.better for m in measured_anywhere}
    assert tuple(metric.key for metric in TARGET_TEXTS) == TargetMetrics._fields
    for metric in METRIC_TEXTS:
        assert metric.direction[0] == {-1: "↓", 0: "→", 1: "↑"}[metric.better]
        assert metric.meaning.endswith(".")


def test_the_best_colorizer_of_each_metric_is_marked(text: str) -> None:
    marked = re.findall(r'<td data-heading="([^"]+)" class="best">', text)
    assert "CIEDE2000" in marked
    assert not {"Colourfulness", "Uniformity"} & set(marked)
    assert len(marked) == len(set(marked)) == 7
    # The subject loses the least colour, and with it is best by every measure.
    rows = [row for row in text.split("<tr") if 'class="best"' in row]
    assert all(row.startswith(' class="subject"') for row in rows)


@functools.cache
def of_nothing_special() -> ReportData:
    return compared(BASE)


def compared(subject: list[float], **others: list[float]) -> ReportData:
    """A report in which only CIEDE2000 matters; `DeOldify_artistic` stands for `DeOldify artistic`."""
    differences = {GREY_COPY: BASE, SUBJECT: subject} | {k.replace("_", " "): v for k, v in others.items()}
    evaluation = measured(differences)
    return dataclasses.replace(
        drawn_report(2), evaluation=evaluation, comparisons=paired_comparisons(evaluation, SUBJECT)
    )


def shifted(*by: float) -> list[float]:
    return [value + by[index % len(by)] for index, value in enumerate(BASE)]


def test_the_summary_says_nearer_with_its_certainty() -> None:
    said = summary(compared(shifted(-2, -3), DeOldify_artistic=shifted(-1, -1)))
    assert "On 10 held-out photographs" in said
    assert "nearer to the real colours than grey ones by 2.50 (95\u00a0% interval 2.20 to 2.80, p = 0.002)" in said
    assert "nearer to the real colours than “DeOldify artistic” by 1.50 (95\u00a0% interval 1.20 to 1.80" in said
    assert "farther" not in said


def test_the_summary_says_worse_than_grey() -> None:
    said = summary(compared(shifted(+2, +1), DDColor=shifted(-2, -1)))
    assert "farther from the real colours than grey ones by 1.50 (95\u00a0% interval 1.20 to 1.80, p = 0.002)" in said
    assert "farther from the real colours than “DDColor” by 3.00" in said
    assert "nearer" not in said


@pytest.mark.parametrize("subject", [BASE, shifted(-3, +3), shifted(-4, +2)])
def test_the_summary_calls_no_difference_what_may_be_chance(subject: list[float]) -> None:
    said = summary(compared(subject))
    assert "not measurably different from grey ones (difference" in said
    assert "nearer to" not in said
    assert "farther from" not in said


def test_a_tie_with_another_colorizer_is_a_tie() -> None:
    data = compared(shifted(-2), DeOldify_stable=shifted(-2))
    assert (
        "not measurably different from “DeOldify stable” (difference 0.00, 95\u00a0% interval 0.00 to 0.00, p = 1.00"
        in (summary(data))
    )
    assert data.comparisons[-1].nearer == 0


def test_comparisons_are_of_the_subject_minus_the_other() -> None:
    grey, other = compared(shifted(-1, +0.5), paper=shifted(+1)).comparisons
    assert (grey.name, other.name) == (GREY_COPY, "paper")
    assert grey.nearer == 0.5
    assert other.nearer == 1
    assert other.difference.value == pytest.approx(-1.25)
    assert other.difference.high < 0
    assert other.tells
    assert not dataclasses.replace(other, p_value=0.2).tells
    assert not PairedComparison("x", Interval(-1, -2, 0.1), 0.01, 1.0).tells


@given(st.floats(-5, 5), st.floats(0, 3), st.floats(0, 3), st.floats(0, 1))
def test_a_difference_is_called_one_on_the_side_where_it_lies(
    value: float, below: float, above: float, p_value: float
) -> None:
    found = PairedComparison("other", Interval(value, value - below, value + above), p_value, 0.5)
    data = dataclasses.replace(of_nothing_special(), comparisons=[found])
    told = summary(data).split("“other”")[0].rpartition("“")[2]
    assert ("nearer to the real colours than" in told) == (found.tells and value < 0)
    assert ("farther from the real colours than" in told) == (found.tells and value > 0)


def test_numbers_are_written_as_people_read_them() -> None:
    assert (number(-0.001, 2), number(-1.5, 1), number(2, 0)) == ("0.00", "−1.5", "2")
    assert [p_text(value) for value in (0.0001, 0.0123, 0.5)] == ["p < 0.001", "p = 0.012", "p = 0.50"]


def test_best_and_worst_ten_and_a_cross_section_are_shown() -> None:
    evaluation = drawn_report(200).evaluation
    selection = choose_photographs(evaluation, SUBJECT)
    assert [len(ids) for ids in selection] == [10, 10, 6]
    error = {row.photo_id: row.metrics.ciede2000 for row in evaluation.rows_of(SUBJECT)}
    ranked = sorted(error, key=lambda photo_id: error[photo_id])
    assert selection.best == ranked[:10]
    assert selection.worst == ranked[:-11:-1]


@pytest.mark.parametrize("count", range(1, 10))
def test_no_photograph_is_chosen_twice(count: int) -> None:
    evaluation = measured({GREY_COPY: BASE[:count], SUBJECT: shifted(-1, 2)[:count]})
    selection = choose_photographs(evaluation, SUBJECT, extremes=2, typical=3)
    assert len(set(selection.ids)) == len(selection.ids)
    assert selection.typical
    error = {row.photo_id: row.metrics.ciede2000 for row in evaluation.rows_of(SUBJECT)}
    assert set(selection.ids) <= set(error)
    assert all(error[a] <= error[b] for a in selection.best for b in selection.typical + selection.worst)


def test_a_selected_photograph_without_panel_is_an_error(data: ReportData, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write_report(tmp_path / "report.html", dataclasses.replace(data, panels={}))
    assert not list(tmp_path.iterdir())


def test_pictures_shrink_until_they_fit_the_budget() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    assert sum(map(len, data_uris([noise] * 3, 150_000))) <= 150_000
    assert sum(map(len, data_uris([noise] * 3, 2_000_000))) > 150_000
    with pytest.raises(ValueError, match="fewer photographs"):
        data_uris([noise] * 3, 1_000)


@pytest.mark.parametrize(
    "address", [None, "", "javascript:alert(1)", "data:text/html,x", "//example.org", "http:", "http://[x", " https:/x"]
)
def test_what_is_not_of_the_web_is_no_link(address: str | None) -> None:
    assert web_link(address) is None


def test_the_markdown_has_the_figures_in_tables(data: ReportData) -> None:
    rendered = Page(MarkdownIt("gfm-like", {"linkify": False}).render(markdown(data)))
    assert len(rendered.named("table")) == 3
    own = next(row.metrics["ciede2000"] for row in data.evaluation.table if row.colorizer == SUBJECT)
    assert f"{own.value:.2f} ({own.low:.2f} to {own.high:.2f})" in rendered.words
    for said in ("It replaces version 3", "champion, version 3", "abc123", "d1" * 32, "DDColor was not compared"):
        assert said in rendered.words
    assert len(rendered.named("th")) == (len(LOST) + 3) + 5 + (len(LOST) + 1)


def test_the_markdown_shows_hostile_texts_as_they_are(data: ReportData) -> None:
    tricks = "a|b\n\n# c ![x](https://evil.example/p.png) [y](javascript:z) **b** `q` <https://a.example> &amp;"
    about = dataclasses.replace(
        data.provenance, model_version=tricks[:60], licences={tricks: 3}, packages={"p": tricks}
    )
    renamed = [dataclasses.replace(found, name=HOSTILE) for found in data.comparisons]
    changed = dataclasses.replace(
        data, provenance=about, verdict=f"{tricks} {HOSTILE}", comparisons=renamed, baselines_missing=[tricks]
    )
    rendered = Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown(changed)))
    allowed = {"p", "h3", "table", "thead", "tbody", "tr", "th", "td", "strong", "ul", "li"}
    assert {tag for tag, _ in rendered.tags} <= allowed
    assert "alert(1)" in rendered.words
    assert "![x](" in rendered.words
    assert "&amp;" in rendered.words


def test_the_markdown_stays_below_twenty_kilobytes(data: ReportData) -> None:
    long = "&|*" * 5000
    many = {f"{index} {long}": [9.0] * 10 for index in range(40)}
    evaluation = measured({GREY_COPY: BASE, SUBJECT: BASE, **many})
    about = dataclasses.replace(
        data.provenance,
        licences={f"{index}{long}": 1 for index in range(200)},
        model={long: long},
        packages={long: long},
    )
    large = dataclasses.replace(
        data,
        evaluation=evaluation,
        comparisons=paired_comparisons(evaluation, SUBJECT),
        provenance=about,
        verdict=long,
        baselines_missing=[long] * 100,
    )
    said = markdown(large)
    assert len(said.encode()) < 20_000
    assert "| **GAN model** |" in said
    assert "truth |" in said


def test_charts_stay_within_their_frame() -> None:
    chart = line_chart("Loss", "step", {"a": [(0, 5e-5), (9, float("inf")), (1000, 3.0)], "b": [(500, -2.0)]})
    points = [tuple(map(float, point.split(","))) for _, line in chart.lines for point in line.split()]
    assert len(points) == 3
    assert all(chart.left <= x <= chart.right and chart.top <= y <= chart.bottom for x, y in points)
    with pytest.raises(ValueError, match="no finite point"):
        line_chart("Loss", "step", {"a": [(0, float("nan"))]})


def test_few_epochs_have_whole_ticks_and_are_drawn_as_points(data: ReportData, tmp_path: Path) -> None:
    chart = line_chart("Critic", "epoch", {"loss": [(1, 0.5), (2, 0.4)]})
    assert {tick.label for tick in chart.x_ticks} == {"1", "2"}
    once = dataclasses.replace(data, curves=[LossCurves("Critic", {"loss": [(1, 0.5)]}, "epoch")])
    points = [circle for circle in written(tmp_path, once).named("circle") if circle.get("class") == "line-0"]
    assert len(points) == 1


@pytest.mark.parametrize("value", [0.0, 1e-9, 7.0, 1e6])
def test_a_single_value_can_be_drawn(value: float) -> None:
    assert line_chart("Loss", "step", {"a": [(3, value)]}).lines[0][1]
    assert sum(bar.height > 0 for bar in histogram("D", "x", ("a", [value]), ("b", [value])).bars) == 1


def test_a_histogram_counts_every_photograph() -> None:
    values = np.random.default_rng(1).uniform(0, 31, 200).tolist()
    chart = histogram("D", "x", ("a", values), ("b", values), ("c", [50.0]))
    assert sum(int(bar.says.split()[0]) for bar in chart.bars) == 200
    assert [name for name, _ in chart.lines] == ["b", "c"]
    assert [tick.label for tick in chart.y_ticks] == [str(int(tick.label)) for tick in chart.y_ticks]
    outline = [tuple(map(float, point.split(","))) for point in chart.lines[1][1].split()]
    assert min(y for _, y in outline) < chart.bottom


def test_the_areas_of_a_rose_are_its_shares() -> None:
    half, quarter = [0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]
    of_half, of_quarter, empty = roses({"half": half, "quarter": quarter, "grey": [0.0] * 4}, quarter)
    assert [index for index, _, _ in of_half.sectors] == [0, 1]
    radii = [float(path.split(" A")[1].split()[0]) for rose in (of_half, of_quarter) for _, path, _ in rose.sectors]
    assert radii[:2] == [ROSE_RADIUS] * 2
    assert [radius**2 for radius in radii[2:]] == pytest.approx([ROSE_RADIUS**2 / 2] * 4, rel=0.01)
    assert of_half.sectors[0][2] == "50.0% between 0° and 90°"
    assert empty.sectors == []
    assert of_half.outline == of_quarter.outline


def test_hues_are_compared_with_the_truths(tmp_path: Path) -> None:
    one, other = [1.0] + [0.0] * 23, [0.75, 0.25] + [0.0] * 22
    data = drawn_report(2, hues={TRUTH: one, SUBJECT: other, GREY_COPY: [0.0] * 24, "paper": [0.0] * 24})
    page = written(tmp_path, data)
    assert len(page.of_class("rose")) == 3
    assert "75\u00a0% in common with the truth".replace("\u00a0", " ") in page.words
    assert "no colour at all" in page.words


def test_means_of_targets_are_a_table_of_their_own(tmp_path: Path) -> None:
    row = TableRow(SUBJECT, {"shift_flicker": Interval(0.4321, 0.3, 0.5)})
    words = written(tmp_path, drawn_report(2, target_table=[row], targets=())).words
    assert "0.43 0.30 to 0.50" in words
