"""What a person sees: `kwcolor ui`, the evaluation report and the gallery in a real Chromium."""

import math
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Response, expect

from kwcolor_pipeline_tests.journeys.conftest import CHROMIUM
from kwcolor_pipeline_tests.journeys.photographs import PhotoFolder
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
ASSETS = set().union(*GROUPS.values())
#: The sample has two colour photographs of that year.
YEAR = "2011"
#: Years that only the folder has: two with photographs, and one whose files are none.
FOLDER_YEARS = {"1941": 6, "1942": 6, "1943": 3}
BROKEN_YEAR = "1943"
TARGET_YEAR = "1951"
_QUERY_OF_BADGES = "AssetStaleStatusDataQuery"
_RUN_MS = 180_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[PhotoFolder, PhotoFolder]:
    """The operator's own photographs, empty at first: in colour, and of the target."""
    root = tmp_path_factory.mktemp("folders")
    return PhotoFolder(root / "colour"), PhotoFolder(root / "target")


@pytest.fixture(scope="module")
def settings(folders: tuple[PhotoFolder, PhotoFolder]) -> dict[str, str]:
    colour, target = folders
    return {
        "KWCOLOR_SOURCES": f"sample,folder:{colour.root}",
        "KWCOLOR_KOREAN_WAR_SOURCES": f"sample,folder:{target.root}",
        "KWCOLOR_TRAINING__SEED": "7",
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> Path:
    """The whole graph on the embedded photographs, trained twice with different seeds."""
    home = tmp_path_factory.mktemp("browser") / "home"
    for seed in ("0", settings["KWCOLOR_TRAINING__SEED"]):
        variables = environment(home) | settings | {"KWCOLOR_TRAINING__SEED": seed}
        done = subprocess.run(kwcolor("run"), env=variables, cwd=home.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return home


@pytest.fixture(scope="module")
def ui(home: Path, settings: dict[str, str]) -> Iterator[UserInterface]:
    with running_ui(home, settings) as ui:
        yield ui


@pytest.fixture(scope="module")
def backfill(
    ui: UserInterface, chromium: Browser, screenshots: Path, folders: tuple[PhotoFolder, PhotoFolder]
) -> Iterator[str]:
    """The id of a backfill of the folder's years, launched from the partitions page and finished by the daemon."""
    colour, _ = folders
    colour.add(FOLDER_YEARS)
    for file in (colour.root / BROKEN_YEAR).iterdir():
        file.write_bytes(b"not a picture")
    window = Visit(chromium, screenshots)
    page = window.page
    page.goto(f"{ui.dagster}/assets/crawled_photos?view=partitions")
    launchpad = _choose_years(page, "crawled_photos", FOLDER_YEARS)
    expect(launchpad.get_by_text("3 partitions", exact=True)).to_be_visible()
    window.shoot("dagster-launchpad-backfill")
    launchpad.get_by_role("button", name="Launch backfill").click()
    page.get_by_role("link", name="View", exact=True).click()
    page.wait_for_url("**/runs/b/*")
    # A failed check does not unmake its year.
    expect(page.get_by_text("100% completed")).to_be_visible(timeout=_RUN_MS)
    yield re.sub(r".*/runs/b/(\w+).*", r"\1", page.url)
    page.context.close()


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


def _assert_drawn(page: Page, name: str) -> None:
    """Below the heading Dagster has drawn a graph with a line of its own colour."""
    canvas = page.get_by_text(name, exact=True).locator("xpath=following::canvas[1]")
    expect(canvas).to_be_visible()
    canvas.scroll_into_view_if_needed()
    _wait_until(page, _HAS_A_LINE, canvas.element_handle())


# Whether a canvas has pixels that are neither transparent nor grey.
_HAS_A_LINE = """canvas => {
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    for (let i = 0; i < pixels.length; i += 4)
        if (pixels[i + 3] > 200 && pixels[i + 2] - pixels[i] > 60) return true;
    return false;
}"""

# What the graph page draws: [text, is a group, left, top, right, bottom] of every box with a text.
_BOXES = """() => [...document.querySelectorAll('foreignObject')].filter(box => box.textContent).map(box => {
    const at = box.getBoundingClientRect();
    return [box.textContent, box.classList.contains('group'), at.left, at.top, at.right, at.bottom];
})"""


def _is_short_for(shown: str, name: str) -> bool:
    """Whether a text is the name, of which the graph leaves out the middle where it is long."""
    beginning, _, end = shown.partition("…")
    return shown == name or ("…" in shown and name.startswith(beginning) and name.endswith(end))


def _wait_until(page: Page, condition: str, argument: Any = None) -> None:
    """As `wait_for_function`, which evaluates in the page when it asks again, and Dagster's page forbids that."""
    deadline = time.monotonic() + 60
    while not page.evaluate(condition, argument):
        assert time.monotonic() < deadline, f"never true: {condition}"
        page.wait_for_timeout(200)


def _open_graph(page: Page, ui: UserInterface) -> None:
    """The page of the whole graph, with all assets in their groups."""
    page.goto(f"{ui.dagster}/asset-groups")
    for group in GROUPS:
        expect(page.locator("foreignObject").get_by_text(group, exact=True)).to_be_visible()
    page.keyboard.press("Alt+KeyE")  # expand all groups
    _wait_until(page, f"({_BOXES})().length === {len(GROUPS) + len(ASSETS)}")


def _badges(visit: Any, ui: UserInterface, screenshot: str) -> set[str]:
    """The assets of which the graph says that they are out of step with what they are made from."""
    window = visit(width=3200, height=1300)  # narrower, and boxes are drawn without their texts
    page = window.page
    _open_graph(page, ui)

    def is_about_badges(response: Response) -> bool:
        return _QUERY_OF_BADGES in (response.request.post_data or "")

    # Asked every few seconds: when the second answer comes the first one is on the screen.
    for _ in range(2):
        with page.expect_response(is_about_badges):
            pass
    _wait_until(page, f"!({_BOXES})().some(box => box[0].includes('Loading'))")
    window.shoot(screenshot)
    marked = [text for text, is_group, *_ in page.evaluate(_BOXES) if "Unsynced" in text and not is_group]
    assert all(sum(name in text for name in ASSETS) == 1 for text in marked)
    return {name for name in ASSETS if any(name in text for text in marked)}


def _choose_years(page: Page, asset: str, years: Iterable[str]) -> Locator:
    """Press "Materialize" on the asset's page and choose the years; gives the dialog."""
    page.get_by_role("button", name="Materialize").click()
    launchpad = page.get_by_role("dialog").filter(has_text=f"Launch runs to materialize {asset}")
    launchpad.get_by_text("Select a partition").click()
    for year in years:
        page.get_by_placeholder("Filter partitions").fill(year)
        page.get_by_role("menuitem").filter(has=page.get_by_title(year, exact=True)).click()
    launchpad.get_by_text("Launch runs to materialize").click()  # closes the list of years
    expect(page.get_by_placeholder("Filter partitions")).to_be_hidden()
    return launchpad


def _finished_run(page: Page) -> str:
    """Go from the notice of a launched run to its page, wait until it succeeded, and give the id's beginning."""
    page.get_by_role("link", name="View", exact=True).click()
    page.wait_for_url("**/runs/*")
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=_RUN_MS)
    return page.url.rsplit("/", 1)[1][:8]


def test_asset_graph_shows_ten_assets_in_their_groups(ui: UserInterface, visit: Any) -> None:
    window = visit(width=2560, height=1300)
    page = window.page
    _open_graph(page, ui)
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
            found[group] = {name for name in ASSETS if any(_is_short_for(i, name) for i in inside)}
    assert found == GROUPS


def test_year_is_materialized_from_the_launchpad_and_its_thumbnails_are_seen(ui: UserInterface, visit: Any) -> None:
    window = visit()
    page = window.page
    page.goto(f"{ui.dagster}/assets/crawled_photos")
    launchpad = _choose_years(page, "crawled_photos", [YEAR])
    expect(launchpad.get_by_text("1 partition", exact=True)).to_be_visible()
    window.shoot("dagster-launchpad-year")
    launchpad.get_by_role("button", name="Launch 1 run").click()
    run = _finished_run(page)
    window.shoot("dagster-run")

    page.goto(f"{ui.dagster}/assets/crawled_photos?view=partitions&partition={YEAR}")
    expect(page.get_by_role("link", name=run)).to_be_visible()
    thumbnails = page.get_by_role("row").filter(has_text="thumbnails")
    thumbnails.get_by_text("[Show Markdown]").click()
    sheet = page.get_by_role("dialog").filter(has_text="thumbnails")
    _assert_loaded(sheet.get_by_role("img", name="some of the photographs"))
    expect(sheet).to_have_css("opacity", "1")
    window.shoot("dagster-thumbnails")


def test_badges_follow_a_new_photograph_of_the_target_until_it_is_shown(
    ui: UserInterface, visit: Any, folders: tuple[PhotoFolder, PhotoFolder]
) -> None:
    """Nothing is marked while all is in step; then what is made from the target is, and nothing else."""
    assert _badges(visit, ui, "dagster-badges-before") == set()
    folders[1].add_grey(TARGET_YEAR, "skimage", "data/camera.png")
    window = visit()
    page = window.page
    page.goto(f"{ui.dagster}/assets/korean_war_photos?view=partitions")
    _choose_years(page, "korean_war_photos", [TARGET_YEAR]).get_by_role("button", name="Launch 1 run").click()
    _finished_run(page)
    assert _badges(visit, ui, "dagster-badges") == GROUPS["results"]

    page.goto(f"{ui.dagster}/assets/evaluation_report")
    page.get_by_text("Unsynced (1)").hover()
    expect(page.get_by_text("1 upstream data version change")).to_be_visible()
    expect(page.get_by_text("korean_war_photos has a new data version")).to_be_visible()
    window.shoot("dagster-badge-says-why")

    page.goto(f"{ui.dagster}/asset-groups")
    page.get_by_role("button", name="Materialize all").locator("xpath=following::button[1]").click()
    page.get_by_role("menuitem", name="Materialize unsynced").click()
    unsynced = page.get_by_role("dialog").filter(has_text="Materialize unsynced assets")
    # Years that nobody has crawled count as well; whether to crawl them is another question.
    for name in ("crawled_photos", "korean_war_photos"):
        unsynced.get_by_text(name, exact=True).locator("xpath=preceding::label[1]").first.click()
    window.shoot("dagster-materialize-unsynced")
    unsynced.get_by_role("button", name="Materialize 2 assets").click()
    _finished_run(page)
    assert _badges(visit, ui, "dagster-badges-after") == set()


def test_years_are_backfilled_from_the_partitions_page(ui: UserInterface, visit: Any, backfill: str) -> None:
    """What they are materialized for is marked, and no more."""
    window = visit()
    page = window.page
    page.goto(f"{ui.dagster}/runs/b/{backfill}")
    for year in FOLDER_YEARS:
        expect(page.get_by_text(year, exact=True)).to_be_visible()
    window.shoot("dagster-backfill")
    for year, count in FOLDER_YEARS.items():
        page.goto(f"{ui.dagster}/assets/crawled_photos?view=partitions&partition={year}")
        expect(page.get_by_text("Materialized", exact=True)).to_be_visible()
        listed = page.get_by_role("row").filter(has=page.get_by_text("listed", exact=True))
        expect(listed).to_contain_text(str(count))
    assert _badges(visit, ui, "dagster-badges-after-backfill") == {"deduplicated_photos"}


@pytest.mark.usefixtures("backfill")
def test_failed_check_says_which_year_and_why(ui: UserInterface, visit: Any) -> None:
    window = visit()
    page = window.page
    page.goto(f"{ui.dagster}/assets/crawled_photos?view=checks")
    page.get_by_text("Execution history", exact=True).click()
    rows = page.get_by_role("row")
    failed = rows.filter(has_text="Failed")
    expect(failed).to_have_count(1)
    expect(failed).to_contain_text(BROKEN_YEAR)
    expect(failed).to_contain_text("None of the 3 photographs that the sources list was stored (not an image: 3).")
    for year in set(FOLDER_YEARS) - {BROKEN_YEAR}:
        expect(rows.filter(has_text=year)).to_contain_text("Passed")
    window.shoot("dagster-failed-check")


@pytest.mark.usefixtures("backfill")
def test_numbers_of_the_years_are_drawn(ui: UserInterface, visit: Any) -> None:
    window = visit(height=1800)
    page = window.page
    page.goto(f"{ui.dagster}/assets/crawled_photos")
    expect(page.get_by_text("Why it was rejected or failed: a short word, then details")).to_be_visible()
    window.shoot("dagster-columns")
    page.get_by_text("Plots", exact=True).click()
    for name in ("stored", "rejected_share"):
        _assert_drawn(page, name)
    window.shoot("dagster-plots-of-years")


def test_pictures_of_counts_and_of_versions_are_shown(ui: UserInterface, visit: Any) -> None:
    window = visit(height=1300)
    page = window.page
    page.goto(f"{ui.dagster}/assets/curated_photos")
    page.get_by_role("row").filter(has_text="by_year").get_by_text("[Show Markdown]").click()
    sheet = page.get_by_role("dialog").filter(has_text="by_year")
    _assert_loaded(sheet.get_by_role("img", name="photographs of each year"))
    expect(sheet).to_have_css("opacity", "1")
    window.shoot("dagster-counts-of-years")
    page.goto(f"{ui.dagster}/assets/evaluation_report")
    versions = page.get_by_role("img", name="CIEDE2000 of each version")
    _assert_loaded(versions)
    window.shoot("dagster-versions")
    page.get_by_text("Plots", exact=True).click()
    _assert_drawn(page, "test_ciede2000")
    window.shoot("dagster-plots-of-versions")


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
