"""What a person sees: `kwcolor ui`, the evaluation report and the gallery in a real Chromium."""

import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from kwcolor_pipeline_tests.journeys.conftest import CHROMIUM
from kwcolor_pipeline_tests.journeys.user_interface import UserInterface, Visit, environment, kwcolor, running_ui, stop

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]

GROUPS = {
    "photographs": {"crawled_photos", "deduplicated_photos", "curated_photos", "grayscale_pairs"},
    "korean_war": {"korean_war_photos"},
    "models": {"pretrained_generator", "critic", "gan_model"},
    "results": {"evaluation_report", "colorized_gallery"},
}
#: The sample has two colour photographs of that year.
YEAR = "2011"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole graph on the embedded photographs, trained twice with different seeds."""
    home = tmp_path_factory.mktemp("browser") / "home"
    for seed in ("0", "7"):
        done = subprocess.run(
            kwcolor("run"), env=environment(home, SEED=seed), cwd=home.parent, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return home


@pytest.fixture(scope="module")
def ui(home: Path) -> Iterator[UserInterface]:
    with running_ui(home) as ui:
        yield ui


@pytest.fixture
def visit(chromium: Browser, screenshots: Path) -> Iterator[Any]:
    """Opens windows of a size; they are closed after the test."""
    opened: list[Visit] = []

    def open_window(**size: int) -> Visit:
        opened.append(Visit(chromium, screenshots, **size))
        return opened[-1]

    yield open_window
    for window in opened:
        window.page.context.close()


def _assert_loaded(images: Locator) -> None:
    """Every image is scrolled to, because some load lazily, and shows pixels."""
    expect(images.first).to_be_visible()
    for image in images.all():
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") > 0, image.get_attribute("alt")


# What the graph page draws: [text, is a group, left, top, right, bottom] of every box with a text.
_BOXES = """() => [...document.querySelectorAll('foreignObject')].filter(box => box.textContent).map(box => {
    const at = box.getBoundingClientRect();
    return [box.textContent, box.classList.contains('group'), at.left, at.top, at.right, at.bottom];
})"""


def _is_short_for(shown: str, name: str) -> bool:
    """Whether a text is the name, of which the graph leaves out the middle where it is long."""
    beginning, _, end = shown.partition("…")
    return shown == name or ("…" in shown and name.startswith(beginning) and name.endswith(end))


def test_asset_graph_shows_ten_assets_in_their_groups(ui: UserInterface, visit: Any) -> None:
    window = visit(width=2560, height=1300)
    page = window.page
    page.goto(f"{ui.dagster}/asset-groups")
    for group in GROUPS:
        expect(page.locator("foreignObject").get_by_text(group, exact=True)).to_be_visible()
    page.keyboard.press("Alt+KeyE")  # expand all groups
    count = len(GROUPS) + sum(map(len, GROUPS.values()))
    page.wait_for_function(f"({_BOXES})().length === {count}")
    # Nothing of the pipeline is grey any more: what has no years carries the colour of a materialization.
    page.wait_for_load_state("networkidle")
    window.shoot("dagster-asset-graph")

    boxes = page.evaluate(_BOXES)
    found: dict[str, set[str]] = {}
    for group, is_group, left, top, right, bottom in boxes:
        if is_group:
            inside = [
                box[0]
                for box in boxes
                if not box[1] and left <= box[2] and top <= box[3] and box[4] <= right and box[5] <= bottom
            ]
            found[group] = {
                name for name in set().union(*GROUPS.values()) if any(_is_short_for(i, name) for i in inside)
            }
    assert found == GROUPS


def test_year_is_materialized_from_the_launchpad_and_its_thumbnails_are_seen(ui: UserInterface, visit: Any) -> None:
    window = visit()
    page = window.page
    page.goto(f"{ui.dagster}/assets/crawled_photos")
    page.get_by_role("button", name="Materialize").click()
    launchpad = page.get_by_role("dialog").filter(has_text="Launch runs to materialize crawled_photos")
    launchpad.get_by_text("Select a partition").click()
    page.get_by_placeholder("Filter partitions").fill(YEAR)
    page.get_by_role("menuitem").filter(has=page.get_by_title(YEAR, exact=True)).click()
    launchpad.get_by_text("Launch runs to materialize").click()  # closes the list of years
    expect(launchpad.get_by_text("1 partition", exact=True)).to_be_visible()
    window.shoot("dagster-launchpad-year")
    launchpad.get_by_role("button", name="Launch 1 run").click()
    page.get_by_role("link", name="View", exact=True).click()
    page.wait_for_url("**/runs/*")
    run = page.url.rsplit("/", 1)[1][:8]
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=180_000)
    window.shoot("dagster-run")

    page.goto(f"{ui.dagster}/assets/crawled_photos?view=partitions&partition={YEAR}")
    expect(page.get_by_role("link", name=run)).to_be_visible()
    thumbnails = page.get_by_role("row").filter(has_text="thumbnails")
    thumbnails.get_by_text("[Show Markdown]").click()
    sheet = page.get_by_role("dialog").filter(has_text="thumbnails")
    _assert_loaded(sheet.get_by_role("img", name="some of the photographs"))
    expect(sheet).to_have_css("opacity", "1")
    window.shoot("dagster-thumbnails")


def test_training_page_shows_curves_and_preview(ui: UserInterface, visit: Any) -> None:
    window = visit(height=1300)
    page = window.page
    page.goto(f"{ui.dagster}/assets/gan_model")
    _assert_loaded(page.get_by_role("img", name="curves"))
    expect(page.locator("a[href*='/#/experiments/'][href*='/runs/']").first).to_be_visible()
    window.shoot("dagster-gan-model")
    page.get_by_role("row").filter(has_text="preview").get_by_text("[Show Markdown]").click()
    _assert_loaded(page.get_by_role("img", name="grey, colorized, original"))
    window.shoot("dagster-gan-model-preview")


def test_report_page_of_dagster_shows_the_metric_table(ui: UserInterface, visit: Any) -> None:
    window = visit(height=1300)
    page = window.page
    page.goto(f"{ui.dagster}/assets/evaluation_report")
    metrics = page.get_by_role("row").filter(has_text="grey copy").get_by_role("table").last
    for name in ("generator alone", "GAN model", "truth", "ciede2000", "ssim"):
        expect(metrics.get_by_text(name, exact=True)).to_be_visible()
    window.shoot("dagster-evaluation-report")


def test_launchpad_of_a_training_documents_the_knobs(ui: UserInterface, visit: Any) -> None:
    window = visit()
    page = window.page
    page.goto(f"{ui.dagster}/assets/critic")
    page.get_by_role("button", name="Materialize").locator("xpath=following::button[1]").click()
    page.get_by_role("menuitem", name="Open launchpad").click()
    launchpad = page.get_by_role("dialog").filter(has_text="Launchpad (configure assets)")
    launchpad.locator(".CodeMirror-code").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text("ops:\n  critic:\n    config:\n      critic_epochs: 3")
    expect(launchpad.get_by_text("critic_lr", exact=True)).to_be_visible()
    expect(launchpad.get_by_text("Passes in which the critic learns to tell generated pictures")).to_be_visible()
    expect(launchpad.get_by_text("No errors")).to_be_visible()
    window.shoot("dagster-launchpad-training")


def test_mlflow_compares_two_versions(ui: UserInterface, visit: Any) -> None:
    window = visit()
    page = window.page
    page.goto(f"{ui.mlflow}/#/models/kwcolor")
    versions = page.get_by_role("row")
    for number in (1, 2):
        row = versions.filter(has=page.get_by_role("link", name=f"Version {number}", exact=True))
        expect(row).to_contain_text("demo")
        row.get_by_role("checkbox").check()
    expect(page.get_by_text(re.compile("challenger|champion")).first).to_be_visible()
    window.shoot("mlflow-model")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_text("Comparing 2 Versions")).to_be_visible()
    for metric in ("test_ciede2000", "test_psnr", "test_ssim", "test_colourfulness"):
        row = page.get_by_role("row").filter(has=page.get_by_text(metric, exact=True))
        expect(row).to_be_visible()
        values = [float(text) for text in row.inner_text().split() if text != metric]
        assert len(values) == 2
        assert all(math.isfinite(value) for value in values)
    expect(page.get_by_role("row").filter(has=page.get_by_text("seed", exact=True))).to_contain_text("7")
    window.shoot("mlflow-compare")


@pytest.mark.parametrize("width", [1280, 390])
def test_report_is_complete_on_wide_and_narrow_screens(home: Path, visit: Any, width: int) -> None:
    window = visit(width=width, height=900)
    page = window.page
    page.goto((home / "reports/evaluation_report/report.html").as_uri())
    rows = page.locator("table.measures tbody tr")
    names = [row.locator("th").inner_text().split("\n")[0] for row in rows.all()]
    ours = ["generator alone", "GAN model", "starter"]
    assert [name for name in names if "champion" not in name] == ["grey copy", *ours, "truth"]
    metrics = page.locator("table.measures thead th").count() - 1
    for row in rows.all():
        cells = row.locator("td")
        assert cells.count() == metrics
        for cell in cells.all():
            expect(cell).to_be_visible()
            assert cell.inner_text().strip()
    _assert_loaded(page.locator(".panel img"))
    page.evaluate("scrollTo(0, 0)")
    window.shoot(f"report-{width}", full=True)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert (window.errors, window.elsewhere) == ([], [])


@pytest.mark.parametrize("width", [1280, 390])
def test_gallery_shows_pictures_and_its_slider_moves_by_keyboard(home: Path, visit: Any, width: int) -> None:
    window = visit(width=width, height=900)
    page = window.page
    page.goto((home / "reports/colorized_gallery/index.html").as_uri())
    _assert_loaded(page.locator(".compare img"))
    slider = page.get_by_role("slider").first
    grey = page.locator(".compare .before").first
    half = grey.evaluate("image => getComputedStyle(image).clipPath")
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    expect(slider).to_have_value("70")
    assert grey.evaluate("image => getComputedStyle(image).clipPath") != half
    window.shoot(f"gallery-{width}", full=True)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert (window.errors, window.elsewhere) == ([], [])


def test_ctrl_c_ends_both_servers_and_all_their_processes(ui: UserInterface) -> None:
    """The last test: nothing is served after it."""
    assert ui.process.poll() is None
    left = stop(ui.process)
    assert ui.process.returncode == 0, ui.log.read_text()
    assert left == []
