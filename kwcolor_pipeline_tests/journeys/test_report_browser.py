"""The evaluation report of 200 photographs in a real Chromium: its size, its sliders, and how it reads on a phone."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from kwcolor_pipeline.evaluation.report import write_report
from kwcolor_pipeline_tests.evaluation.reports import LOST, SUBJECT, drawn_report
from kwcolor_pipeline_tests.journeys.conftest import CHROMIUM

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]

_WAIT_MS = 30_000
_HIDDEN = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
#: Best and worst ten, six between, and three target photographs.
_VIEWERS = 29

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, drawn_report(200, size=(960, 720), grain=25))
    return path


@pytest.fixture
def visit(chromium: Browser, report: Path) -> Iterator[Open]:
    """Opens the report; what the page complains about, and whatever it asks for elsewhere, fails the test."""
    complaints: list[str] = []
    pages: list[Page] = []

    def open_page(width: int = 1280, height: int = 900, **context: Any) -> Page:
        page = chromium.new_context(viewport={"width": width, "height": height}, **context).new_page()
        pages.append(page)
        page.set_default_timeout(_WAIT_MS)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if _is_elsewhere(request.url) else None)
        page.goto(report.as_uri())
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert complaints == []


def _is_elsewhere(address: str) -> bool:
    return not address.startswith(("file:", "data:"))


def stage_of(page: Page, index: int = 0) -> Locator:
    stage = page.locator(".stage").nth(index)
    stage.scroll_into_view_if_needed()
    return stage


def place(stage: Locator, share: float) -> tuple[float, float]:
    box = stage.bounding_box()
    assert box is not None
    return box["x"] + share * box["width"], box["y"] + box["height"] / 2


def shown_left(stage: Locator) -> float:
    """Per cent of the width in which the left picture is seen, by what is really drawn."""
    cut = stage.locator("img.left").evaluate(
        """image => {
            const right = getComputedStyle(image).clipPath.match(/inset\\(([^)]*)\\)/)[1].split(" ")[1];
            return right.endsWith("%") ? 100 - parseFloat(right) : NaN;
        }"""
    )
    return round(cut)


def colour_at(page: Page, stage: Locator, share: float) -> tuple[int, int, int]:
    """The pixel of a screenshot on the stage, at that share of its width and a third of its height."""
    with Image.open(io.BytesIO(stage.screenshot())) as picture:
        pixel = picture.convert("RGB").getpixel((int(share * (picture.width - 1)), picture.height // 3))
    assert isinstance(pixel, tuple)
    return pixel[0], pixel[1], pixel[2]


def test_however_grainy_the_pictures_the_file_is_small_enough_to_send(report: Path) -> None:
    # So much grain would take far more at full size: the pictures were made smaller, and no smaller than needed.
    assert 5 * 2**20 < report.stat().st_size < 15 * 2**20


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "light"), (390, "dark")])
def test_the_page_reads_well_and_is_no_wider_than_the_screen(
    visit: Open, screenshots: Path, width: int, scheme: str
) -> None:
    page = visit(width=width, color_scheme=scheme)
    expect(page.locator(".viewer:visible")).to_have_count(_VIEWERS)
    page.evaluate("Promise.all([...document.images].map(image => image.decode()))")
    assert page.evaluate(_HIDDEN) <= 0
    page.screenshot(path=screenshots / f"report-200-{width}-{scheme}.png", full_page=True)
    # What does not fit sideways can be reached: the last measure comes into view, beside the names.
    table = page.locator(".sideways").first
    table.locator("thead th").last.scroll_into_view_if_needed()
    expect(table.locator("thead th").last).to_be_in_viewport(ratio=0.9)
    expect(table.locator("tbody th").first).to_be_in_viewport(ratio=0.9)


def test_a_slider_moves_by_mouse(visit: Open) -> None:
    page = visit()
    stage = stage_of(page)
    assert shown_left(stage) == 50
    page.mouse.move(*place(stage, 0.5))
    page.mouse.down()
    page.mouse.move(*place(stage, 0.8), steps=5)
    assert shown_left(stage) == pytest.approx(80, abs=1)
    left, right = colour_at(page, stage, 0.7), colour_at(page, stage, 0.9)
    assert max(left) - min(left) <= 8  # grey, but for what WebP leaves
    assert max(right) - min(right) > 8
    page.mouse.up()
    page.mouse.move(*place(stage, 0.3))
    assert shown_left(stage) == pytest.approx(80, abs=1)  # nothing is held any more
    page.mouse.click(*place(stage, 0.25))
    assert shown_left(stage) == pytest.approx(25, abs=1)
    assert shown_left(stage_of(page, 1)) == 50  # the others stay


def test_a_slider_moves_by_touch_and_lets_the_page_scroll(visit: Open) -> None:
    page = visit(width=390, height=844, has_touch=True, is_mobile=True, device_scale_factor=2)
    stage = stage_of(page)
    page.touchscreen.tap(*place(stage, 0.75))
    assert shown_left(stage) == pytest.approx(75, abs=1)
    touch = page.context.new_cdp_session(page)

    def drag(start: tuple[float, float], end: tuple[float, float]) -> None:
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [_point(*start)]})
        for step in range(1, 9):
            at = [a + (b - a) * step / 8 for a, b in zip(start, end, strict=True)]
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [_point(*at)]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    drag(place(stage, 0.75), place(stage, 0.2))
    assert shown_left(stage) == pytest.approx(20, abs=2)
    before = page.evaluate("scrollY")
    x, y = place(stage, 0.6)
    drag((x, y), (x, y - 200))
    page.wait_for_function(f"scrollY > {before} + 50")
    assert shown_left(stage) == pytest.approx(20, abs=2)
    assert page.evaluate(_HIDDEN) <= 0


def _point(x: float, y: float) -> dict[str, float]:
    return {"x": x, "y": y}


def test_a_slider_moves_by_keyboard_and_says_what_it_shows(visit: Open) -> None:
    page = visit()
    page.get_by_label("Right picture, everywhere").focus()
    page.keyboard.press("Tab")
    # The links of the first photograph's credit come before its slider.
    while page.evaluate("document.activeElement.tagName") == "A":
        page.keyboard.press("Tab")
    slider = page.get_by_role("slider").first
    expect(slider).to_be_focused()
    stage = stage_of(page)
    assert stage.evaluate("stage => getComputedStyle(stage).outlineStyle") == "solid"
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert shown_left(stage) == 70
    expect(slider).to_have_attribute("aria-valuetext", f"70 % grey, 30 % {SUBJECT}")
    page.keyboard.press("Home")
    assert shown_left(stage) == 0
    page.keyboard.press("End")
    assert shown_left(stage) == 100
    page.keyboard.press("ArrowLeft")
    assert shown_left(stage) == 99


def test_any_two_pictures_can_be_compared(visit: Open) -> None:
    page = visit()
    panel = page.locator(".panel").first
    left, right = panel.get_by_label("Left picture:"), panel.get_by_label("Right picture:")
    assert left.locator("option").all_inner_texts() == ["grey", *LOST, "truth"]
    left.select_option("DeOldify artistic")
    right.select_option("truth")
    pictures = {
        figure.get_attribute("data-name"): figure.locator("img").get_attribute("src")
        for figure in panel.locator("figure").all()
    }
    assert len(set(pictures.values())) == len(LOST) + 2
    assert panel.locator(".stage img.left").get_attribute("src") == pictures["DeOldify artistic"]
    assert panel.locator(".stage img.right").get_attribute("src") == pictures["truth"]
    expect(panel.locator(".on-right")).to_have_text("truth")
    page.get_by_label("Left picture, everywhere").select_option("generator alone")
    expect(page.locator(".on-left").get_by_text("generator alone")).to_have_count(_VIEWERS)
    # Target photographs have no truth; they keep what they show.
    page.get_by_label("Right picture, everywhere").select_option("truth")
    expect(page.locator(".on-right").get_by_text("truth")).to_have_count(_VIEWERS - 3)
    expect(page.locator(".on-right").get_by_text(SUBJECT)).to_have_count(3)


@pytest.mark.parametrize("how", ["print", "no script"])
def test_without_sliders_the_pictures_stand_side_by_side(visit: Open, screenshots: Path, how: str) -> None:
    page = visit(width=760, java_script_enabled=how == "print")
    if how == "print":
        page.emulate_media(media="print")
    expect(page.locator(".viewer:visible, .everywhere:visible, select:visible")).to_have_count(0)
    figures = page.locator(".panel").first.locator("figure")
    expect(figures).to_have_count(len(LOST) + 2)
    boxes = [figure.bounding_box() for figure in figures.all()]
    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= 760 and box["height"] > 20 for box in boxes)
    page.screenshot(path=screenshots / f"report-200-{how.replace(' ', '-')}.png", full_page=True)
