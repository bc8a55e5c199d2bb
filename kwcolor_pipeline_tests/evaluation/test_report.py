"""The report page: what it says, that it is safe to open, and that it stays one small file."""

import dataclasses
import datetime
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from kwcolor_pipeline.evaluation.charts import histogram, line_chart
from kwcolor_pipeline.evaluation.evaluate import evaluate
from kwcolor_pipeline.evaluation.pages import data_uris, web_link
from kwcolor_pipeline.evaluation.report import (
    LossCurves,
    Panel,
    Provenance,
    ReportData,
    choose_photographs,
    summary,
    write_report,
)

_HOSTILE = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>"
_COUNT = 9


def _photographs(side=24):
    random = np.random.default_rng(0)
    for index in range(_COUNT):
        colour = random.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(side // 4, 0).repeat(side // 4, 1)
        yield f"id{index}", f"Photograph {index}", colour.mean(axis=2).astype(np.uint8), colour


def _sepia(gray):
    return np.stack([gray, gray - gray // 6, gray - gray // 3], axis=2)


def _near(gray):
    known = {g.tobytes(): c for _, _, g, c in _photographs()}
    return (known[gray.tobytes()] // 2 + gray[:, :, None] // 2).astype(np.uint8)


@pytest.fixture(scope="module")
def data():
    measured = evaluate(
        _photographs(),
        {"generator alone": _sepia, "GAN": _near},
        lambda _: None,
        features=lambda pictures: np.array([picture.mean(axis=(0, 1)) for picture in pictures]),
    )
    panels = {
        photo_id: Panel(
            photo_id,
            f"{title} {_HOSTILE}",
            gray,
            {"generator alone": _sepia(gray), "GAN": _near(gray), "truth": truth},
            creator=_HOSTILE,
            licence="Public domain",
            licence_url="javascript:alert(3)",
            landing_url="https://example.org/?a=1&b=2",
        )
        for photo_id, title, gray, truth in _photographs()
    }
    provenance = Provenance(
        "demo",
        "kwcolor v1",
        "abc123",
        datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC),
        {"1942": {"train": 70, "test": 9}, "undated": {"train": 3}},
        {"Public domain": 81, "": 1},
    )
    curves = [LossCurves("Critic", {"loss": [(0, 1.0), (1, float("nan")), (2, 0.5)]})]
    return ReportData("GAN", measured, choose_photographs(measured, "GAN"), panels, provenance, curves)


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.addresses += [value for name, value in attributes if name in ("src", "href")]


@pytest.fixture(scope="module")
def text(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, data)
    return path.read_text()


def test_nothing_hostile_becomes_part_of_the_page(text):
    page = _Page(text)
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "&lt;script&gt;" in text
    assert not [address for address in page.addresses if address.startswith("javascript")]


def test_the_page_needs_nothing_from_outside(text):
    page = _Page(text)
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 4 * _COUNT
    assert all(picture.startswith("data:image/webp") for picture in pictures)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert links == {"https://example.org/?a=1&b=2"}
    assert not re.search(r"@import|url\(", text)


def test_the_page_says_what_was_measured(text, data):
    words = re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL))
    for said in ("grey copy", "generator alone", "identical", "kwcolor v1", "abc123", "22 November 2026", "not stated"):
        assert said in words
    assert "Together 73 9" in words
    gan = next(row.metrics["ciede2000"] for row in data.evaluation.table if row.colorizer == "GAN")
    assert f"{gan.value:.2f} {gan.low:.2f} to {gan.high:.2f}" in words
    assert "nan" not in words.lower().split()
    assert "machinery, not quality" not in words


def test_sample_pictures_are_announced(data, tmp_path):
    path = tmp_path / "report.html"
    write_report(path, dataclasses.replace(data, sample_pictures=True))
    assert "This shows the machinery, not quality." in path.read_text()


def test_the_summary_tells_better_from_worse(data):
    assert "nearer to the real colours" in summary(data)
    assert "9 held-out photographs" in summary(data)
    grey_as_subject = dataclasses.replace(data, subject="grey copy")
    assert "not measurably different" in summary(grey_as_subject)


def test_the_best_colorizer_of_each_metric_is_marked(text):
    marked = re.findall(r'<td data-heading="([^"]+)" class="best">', text)
    assert "CIEDE2000" in marked
    assert "Colourfulness" not in marked
    assert len(marked) == 5


@pytest.mark.parametrize("count", range(1, 10))
def test_no_photograph_is_chosen_twice(data, count):
    shown = {f"id{index}" for index in range(count)}
    fewer = dataclasses.replace(
        data.evaluation, photographs=[row for row in data.evaluation.photographs if row.photo_id in shown]
    )
    selection = choose_photographs(fewer, "GAN", extremes=2, typical=3)
    assert len(set(selection.ids)) == len(selection.ids)
    assert set(selection.ids) <= shown
    assert selection.typical
    error = {row.photo_id: row.metrics.ciede2000 for row in fewer.rows_of("GAN")}
    assert all(error[a] <= error[b] for a in selection.best for b in selection.typical + selection.worst)


def test_a_selected_photograph_without_panel_is_an_error(data, tmp_path):
    with pytest.raises(KeyError):
        write_report(tmp_path / "report.html", dataclasses.replace(data, panels={}))
    assert not list(tmp_path.iterdir())


def test_pictures_shrink_until_they_fit_the_budget():
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    assert sum(map(len, data_uris([noise] * 3, 150_000))) <= 150_000
    assert sum(map(len, data_uris([noise] * 3, 2_000_000))) > 150_000
    with pytest.raises(ValueError, match="fewer photographs"):
        data_uris([noise] * 3, 1_000)


@pytest.mark.parametrize(
    "address", [None, "", "javascript:alert(1)", "data:text/html,x", "//example.org", "http:", "http://[x", " https:/x"]
)
def test_what_is_not_of_the_web_is_no_link(address):
    assert web_link(address) is None


def test_charts_stay_within_their_frame():
    chart = line_chart("Loss", "step", {"a": [(0, 5e-5), (9, float("inf")), (1000, 3.0)], "b": [(500, -2.0)]})
    points = [tuple(map(float, point.split(","))) for _, line in chart.lines for point in line.split()]
    assert len(points) == 3
    assert all(chart.left <= x <= chart.right and chart.top <= y <= chart.bottom for x, y in points)
    with pytest.raises(ValueError, match="no finite point"):
        line_chart("Loss", "step", {"a": [(0, float("nan"))]})


def test_few_epochs_have_whole_ticks_and_are_drawn_as_points(data, tmp_path):
    chart = line_chart("Critic", "epoch", {"loss": [(1, 0.5), (2, 0.4)]})
    assert {tick.label for tick in chart.x_ticks} == {"1", "2"}
    path = tmp_path / "report.html"
    write_report(path, dataclasses.replace(data, curves=[LossCurves("Critic", {"loss": [(1, 0.5)]}, "epoch")]))
    assert path.read_text().count("<circle") == 1


@pytest.mark.parametrize("value", [0.0, 1e-9, 7.0, 1e6])
def test_a_single_value_can_be_drawn(value):
    assert line_chart("Loss", "step", {"a": [(3, value)]}).lines[0][1]
    assert sum(bar.height > 0 for bar in histogram("D", "x", ("a", [value]), ("b", [value])).bars) == 1


def test_a_histogram_counts_every_photograph():
    values = np.random.default_rng(1).uniform(0, 31, 200).tolist()
    chart = histogram("D", "x", ("a", values), ("b", values))
    assert sum(int(bar.says.split()[0]) for bar in chart.bars) == 200
    assert [tick.label for tick in chart.y_ticks] == [str(int(tick.label)) for tick in chart.y_ticks]
