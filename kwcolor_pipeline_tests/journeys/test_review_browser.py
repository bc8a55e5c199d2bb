"""`kwcolor review` in a real Chromium, by keyboard alone, and what a decision changes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from kwcolor_pipeline.photos.curation import curate, curate_is_current, read_curated
from kwcolor_pipeline.photos.decisions import decisions_path, read_decisions
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline_tests.journeys.conftest import CHROMIUM
from kwcolor_pipeline_tests.photos.pictures import PhotoHome, encoded, framed, scene
from kwcolor_pipeline_tests.review.homes import curated

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]

_WAIT_MS = 30_000
_HIDDEN = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

Open = Callable[..., Page]


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Open]:
    """Opens pages of a size; what they complain about fails the test, except answers of a ``failing`` server."""
    complaints: list[str] = []
    pages: list[Page] = []

    def open_page(
        address: str, width: int = 1280, height: int = 900, scheme: str = "light", failing: bool = False
    ) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        context.set_default_timeout(_WAIT_MS)
        page = context.new_page()
        pages.append(page)

        def note(message: ConsoleMessage) -> None:
            if message.type == "error" and not (failing and message.text.startswith("Failed to load resource")):
                complaints.append(message.text)

        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        expect(page.get_by_role("gridcell").first).to_be_focused()
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert complaints == []


def environment(settings: Settings) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("KWCOLOR_")}
    return inherited | {"KWCOLOR_HOME": str(settings.home), "KWCOLOR_CONFIG": os.devnull, "KWCOLOR_DEVICE": "cpu"}


def kwcolor(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from kwcolor_pipeline.cli import main; main()", *arguments]


@contextmanager
def reviewing(settings: Settings) -> Iterator[str]:
    """The address of `kwcolor review`."""
    process = subprocess.Popen(
        kwcolor("review", "--port", "0"),
        env=environment(settings),
        cwd=settings.home,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        name, _, address = process.stdout.readline().strip().partition(": ")
        assert name == "Review"
        yield address
        process.terminate()
        assert process.wait(_WAIT_MS / 1000) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def home(tmp_path: Path) -> tuple[PhotoHome, dict[str, str]]:
    """Photographs by name: colourful ones, grey ones of which two are doubtful, and one in two copies."""
    home = PhotoHome(tmp_path / "home")
    large = scene(9, (480, 360))
    ids = {
        "tank": home.add(encoded(scene(1)), title="A tank", year_taken=1942),
        "river": home.add(encoded(scene(2)), title="A river <b>in flood</b>", year_taken=1943),
        "bridge": home.add(encoded(framed(scene(3, (300, 200)), (20, 0, 20, 0), 6).convert("L")), title="A bridge"),
        "road": home.add(encoded(scene(4).convert("L")), title="A road", year_taken=1944),
        "field": home.add(encoded(scene(5).convert("L")), title="A field", year_taken=1944),
        "large": home.add(encoded(large), title="A harbour", year_taken=1942),
        "small": home.add(encoded(large.resize((240, 180))), title="The harbour", source="loc"),
    }
    doubt = {"review": "Perhaps grey", "threshold": 6.0}
    clear = {"review": None, "number": None, "threshold": None}
    rows = dict.fromkeys(ids.values(), clear)
    rows |= {ids["bridge"]: doubt | {"number": 5.75}, ids["road"]: doubt | {"number": 4.5}}
    curated(home, **rows)
    return home, ids


def titles(page: Page) -> list[str]:
    return page.locator("[role=gridcell] .title").all_inner_texts()


def focused_title(page: Page) -> str:
    return page.locator("[role=gridcell]:focus .title").inner_text()


def said(page: Page, words: str) -> None:
    expect(page.get_by_role("status")).to_contain_text(words)


def test_decisions_by_keyboard_alone_change_the_curated_photographs_and_nothing_else(
    home: tuple[PhotoHome, dict[str, str]], visit: Open, screenshots: Path
) -> None:
    settings, ids = home[0].settings, home[1]
    kept_before = {row["photo_id"] for row in read_curated(settings.paths) if row["kept"]}
    with reviewing(settings) as address:
        page = visit(address)
        press = page.keyboard.press

        # To review: both are there, the most doubtful first; one is kept, the other rejected.
        assert titles(page) == ["A bridge", "A road"]
        press("Shift+K")
        said(page, "Kept: A bridge. One is left to review.")
        press("n")
        assert focused_title(page) == "A road"
        press("r")
        said(page, "Rejected: A road. Nothing is left to review.")
        path = decisions_path(settings)
        assert read_decisions(path) == {ids["bridge"]: "keep", ids["road"]: "reject"}
        press("n")
        said(page, "Nothing undecided is left here.")
        page.screenshot(path=screenshots / "review.png")

        # Rejected: a decision is taken back again.
        press("2")
        expect(page.get_by_role("tab", selected=True)).to_contain_text("Rejected 3")
        assert sorted(titles(page)) == ["A bridge", "A field", "A road"]
        press("/")
        page.keyboard.type("field")
        press("Enter")
        expect(page.get_by_role("gridcell")).to_have_count(1)
        expect(page.get_by_role("gridcell")).to_be_focused()
        press("y")
        said(page, "Kept: A field.")
        press("u")
        said(page, "Taken back: A field.")
        expect(page.get_by_text("One decision waits for the next run.")).to_be_visible()

        # Kept: one of two copies is rejected where both are seen side by side.
        press("/")
        press("Control+A")
        press("Delete")
        press("Escape")
        press("3")
        expect(page.get_by_role("gridcell")).to_have_count(3)
        while focused_title(page) != "A harbour":
            press("ArrowRight")
        press("Enter")
        harbour = page.get_by_role("dialog", name="A harbour")
        expect(harbour.get_by_role("figure")).to_have_count(0)  # they are groups, each with its name
        expect(harbour.locator(".copy")).to_have_count(2)
        press("ArrowRight")
        expect(harbour.get_by_role("group", name="The harbour, 240 × 180, loc, Undecided.")).to_be_focused()
        page.screenshot(path=screenshots / "review-copies.png")
        press("r")
        expect(harbour.get_by_role("group", name="The harbour, 240 × 180, loc, You decided: reject.")).to_be_focused()
        press("u")
        expect(harbour.get_by_role("group", name="The harbour, 240 × 180, loc, Undecided.")).to_be_focused()
        press("Escape")
        expect(harbour).to_be_hidden()
        assert focused_title(page) == "A harbour"
        press("r")
        said(page, "Rejected: A harbour.")

        # Decided: what there is to apply, and help.
        press("4")
        expect(page.get_by_role("gridcell")).to_have_count(3)
        press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        press("Escape")
        expect(page.get_by_role("gridcell").first).to_be_focused()
        expect(page.get_by_text("2 decisions wait for the next run.")).to_be_visible()

    assert read_decisions(path) == {ids["bridge"]: "keep", ids["road"]: "reject", ids["large"]: "reject"}
    words = [line.split(",")[:2] for line in path.read_text().splitlines()[1:]]
    assert words == [
        [ids["bridge"], "keep"],
        [ids["road"], "reject"],
        [ids["field"], "keep"],
        [ids["field"], "undecided"],
        [ids["small"], "reject"],
        [ids["small"], "undecided"],
        [ids["large"], "reject"],
    ]

    # The run that the page names applies them: the curated photographs change, and nothing else does.
    assert not curate_is_current(settings)
    before = files_of(settings.home / "manifests") | files_of(settings.home / "photos")
    ran = subprocess.run(
        kwcolor("run", "--select", "curated_photos"),
        env=environment(settings),
        cwd=settings.home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert curate_is_current(settings)
    after = files_of(settings.home / "manifests") | files_of(settings.home / "photos")
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    folder = settings.home / "manifests" / "curated_photos"
    assert changed == {folder / "all.parquet", folder / "all.json"}
    result = curate(settings)
    assert (result.reused, result.result.summary["newly_measured"]) == (True, 0)
    rows = {row["photo_id"]: row for row in read_curated(settings.paths)}
    kept = {photo_id for photo_id, row in rows.items() if row["kept"]}
    assert kept == kept_before - {ids["large"]} | {ids["bridge"]}
    assert rows[ids["large"]]["reason"] == rows[ids["road"]]["reason"] == "turned_down"
    assert rows[ids["bridge"]]["decided_by"] == "person"


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_title_is_never_markup_and_the_page_loads_nothing_from_elsewhere(
    home: tuple[PhotoHome, dict[str, str]], visit: Open
) -> None:
    with reviewing(home[0].settings) as address:
        page = visit(address)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.keyboard.press("3")
        expect(page.get_by_text("A river <b>in flood</b>", exact=True)).to_be_visible()
        assert page.locator("#sheet b").count() == 0
        page.wait_for_load_state("networkidle")
        assert asked
        assert [url for url in asked if not url.startswith(f"{address}/")] == []


@pytest.mark.parametrize(
    ("width", "height", "scheme"), [(1280, 900, "light"), (1280, 900, "dark"), (390, 844, "light")]
)
def test_it_fits_wide_and_narrow_screens_and_shows_the_focus(
    home: tuple[PhotoHome, dict[str, str]], visit: Open, screenshots: Path, width: int, height: int, scheme: str
) -> None:
    with reviewing(home[0].settings) as address:
        page = visit(address, width, height, scheme)
        page.keyboard.press("5")
        cells = page.get_by_role("gridcell")
        expect(cells).to_have_count(6)
        for image in page.locator("[role=gridcell] img").all():
            expect(image).to_have_js_property("complete", True)
            assert image.evaluate("image => image.naturalWidth") > 0
        columns = int(page.get_by_role("grid").get_attribute("aria-colcount") or 0)
        assert columns == (2 if width < 600 else 5)
        assert page.locator("[role=grid] > [role=row]").count() == -(-6 // columns)
        page.keyboard.press("ArrowDown")
        assert page.evaluate("[...document.querySelectorAll('.cell')].indexOf(document.activeElement)") == min(
            columns, 5
        )
        focused = page.locator("[role=gridcell]:focus")
        assert focused.evaluate("cell => getComputedStyle(cell).outlineStyle") == "solid"
        expect(focused).to_be_in_viewport(ratio=0.9)
        assert page.locator("[role=grid] [tabindex='0']").count() == 1
        assert page.evaluate(_HIDDEN) <= 0
        page.screenshot(path=screenshots / f"review-{scheme}-{width}.png")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        assert page.evaluate(_HIDDEN) <= 0
        page.keyboard.press("Escape")
        # Turned or widened, the focus stays where it was.
        title = focused_title(page)
        page.set_viewport_size({"width": 800, "height": height})
        expect(page.get_by_role("grid")).to_have_attribute("aria-colcount", "3")
        assert focused_title(page) == title


def test_more_photographs_come_as_one_moves(tmp_path: Path, visit: Open) -> None:
    home = PhotoHome(tmp_path / "home")
    ids = [home.add(encoded(scene(seed, (96, 72)).convert("L")), title=f"Scene {seed}") for seed in range(150)]
    curated(home)
    with reviewing(home.settings) as address:
        page = visit(f"{address}/#view=rejected")
        expect(page.get_by_role("tab", selected=True)).to_contain_text("Rejected 150")
        expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "30")
        seen = [focused_title(page)]
        while len(seen) < len(ids):
            page.keyboard.press("ArrowRight")
            expect(page.locator("[role=gridcell]:focus .title")).not_to_have_text(seen[-1])
            seen.append(focused_title(page))
            if len(seen) == 40:  # what is decided meanwhile moves nothing
                page.keyboard.press("r")
                said(page, f"Rejected: {seen[-1]}.")
        assert len(set(seen)) == len(ids)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        assert focused_title(page) == seen[-1]
        page.keyboard.press("Control+Home")
        assert focused_title(page) == seen[0]
        page.keyboard.press("PageDown")
        page.keyboard.press("k")
        assert focused_title(page) in seen[1:20]


def test_a_server_that_is_gone_and_a_broken_file_are_said(home: tuple[PhotoHome, dict[str, str]], visit: Open) -> None:
    settings = home[0].settings
    with reviewing(settings) as address:
        page = visit(address, failing=True)
        path = decisions_path(settings)
        path.parent.mkdir()
        path.write_text("nonsense\n")
        page.keyboard.press("r")
        expect(page.get_by_role("alert")).to_contain_text("needs a first line with the columns photo_id and decision.")
        path.unlink()
        page.keyboard.press("r")
        said(page, "Rejected: A bridge.")
        expect(page.get_by_role("alert")).to_be_hidden()
    page.keyboard.press("r")
    expect(page.get_by_role("alert")).to_contain_text("start `kwcolor review` again.")
