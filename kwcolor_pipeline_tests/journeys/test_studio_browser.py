"""`kwcolor studio` in a real Chromium: photographs in colour, compared, downloaded; two people; what is refused."""

import contextlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.starter import STARTER
from kwcolor_pipeline.tracking.mlflow_tracking import WEIGHTS_TAG, open_tracking
from kwcolor_pipeline_tests.journeys.conftest import CHROMIUM
from kwcolor_pipeline_tests.photos.pictures import wheel_file

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="Gradio, the extra studio, is not installed"),
]

_WAIT_MS = 60_000
_HIDDEN = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
#: An upload that ends before Gradio's page asks how far it is has no progress any more.
_HARMLESS = "/gradio_api/upload_progress"
#: Messages fade in, which only a screenshot has to wait for.
_SETTLED_MS = 800
_DESCRIPTION = 0x010E


@dataclass(frozen=True)
class Server:
    """A running `kwcolor studio`, and the temporary folder that it was given."""

    address: str
    temporary: Path


@dataclass
class Visitor:
    """One person's browser window: what it asked for and what it complained about."""

    page: Page
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def drop(self, *paths: Path) -> None:
        self.page.locator("#files input[type=file]").first.set_input_files(list(paths))

    def sees(self, words: str) -> None:
        expect(self.page.locator("#says")).to_contain_text(words)

    def picture(self, side: int) -> np.ndarray:
        """What is on the left (0) or on the right (1), once it is drawn."""
        image = self.page.locator("#look img").nth(side)
        expect(image).not_to_have_js_property("naturalWidth", 0)
        answer = self.page.request.get(image.get_attribute("src") or "")
        return np.asarray(Image.open(io.BytesIO(answer.body())).convert("RGB"), np.int16)

    def changes(self, side: int, act: Any) -> np.ndarray:
        """The picture on a side after ``act`` made another one of it."""
        image = self.page.locator("#look img").nth(side)
        before = image.get_attribute("src") or ""
        act()
        expect(image).not_to_have_attribute("src", before)
        return self.picture(side)

    def choose(self, label: str, title: str) -> None:
        self.page.get_by_label(label, exact=True).click()
        self.page.get_by_role("option", name=title).click()

    def line(self) -> float:
        """Where the line between the pictures is, as a share of their width."""
        clip = self.page.locator("#look img").nth(1).evaluate("image => image.style.clipPath")
        return float(clip.removesuffix("%)").rpartition(" ")[2]) / 100

    def download(self) -> tuple[str, Image.Image]:
        with self.page.expect_download() as coming:
            self.page.get_by_role("button", name="Download in colour").click()
        image = Image.open(coming.value.path())
        image.load()
        return coming.value.suggested_filename, image


def chroma(pixels: np.ndarray) -> float:
    return float(np.ptp(pixels, axis=-1).mean())


def with_other_colours(folder: Path) -> Path:
    """The starter with opposite hues, as a bundle of its own."""
    import torch

    from kwcolor_pipeline.networks.bundle import load_generator, read_bundle, write_bundle

    starter = read_bundle(STARTER)
    generator = load_generator(starter, torch.device("cpu"))
    with torch.no_grad():
        generator.chroma.weight.neg_()  # type: ignore[operator, union-attr]
        generator.chroma.bias.neg_()  # type: ignore[operator, union-attr]
    folder.mkdir()
    write_bundle(folder, "generator", generator, starter.description)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With two versions, the second the champion; a file may have 1 MiB and a photograph 600,000 pixels."""
    root = tmp_path_factory.mktemp("studio")
    settings = Settings(home=root / "home")
    tracking = open_tracking(settings)
    for number, bundle in enumerate((with_other_colours(root / "other"), STARTER)):
        with tracking.run("train", {}, {}) as run:
            tracking.register_version(run, bundle, {WEIGHTS_TAG: str(number)}, "")
    tracking.promote(tracking.versions()[0], {})
    (root / "temporary").mkdir()
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("KWCOLOR_", "GRADIO_"))}
    own = {
        "KWCOLOR_HOME": str(settings.home),
        "KWCOLOR_CONFIG": os.devnull,
        "KWCOLOR_DEVICE": "cpu",
        "KWCOLOR_STUDIO__MAX_MEGABYTES": "1",
        "KWCOLOR_COLORIZE__MAX_PIXELS": "600000",
        "TMPDIR": str(root / "temporary"),
        # Nobody answers there, so whatever asks beyond this machine fails.
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", "from kwcolor_pipeline.cli import main; main()", "studio", "--port", "0"],
        env=inherited | own,
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        name, _, address = process.stdout.readline().strip().partition(": ")
        assert name == "Studio"
        yield Server(address, root / "temporary")
        process.send_signal(signal.SIGTERM)
        assert process.wait(_WAIT_MS / 1000) == 0
        assert list((root / "temporary").iterdir()) == []  # no photograph is left behind
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def visiting(browser: Browser, address: str, width: int = 1280, height: int = 900) -> Iterator[Visitor]:
    """A window in which nothing went wrong and that asked this server only."""
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=width < 500)
    context.set_default_timeout(_WAIT_MS)
    visitor = Visitor(context.new_page())
    page = visitor.page
    page.on("request", lambda request: visitor.asked.append(request.url))
    page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
    page.on(
        "console", lambda message: "Content Security Policy" in message.text and visitor.complaints.append(message.text)
    )
    page.on(
        "response",
        lambda answer: (
            answer.status >= 400
            and _HARMLESS not in answer.url
            and visitor.complaints.append(f"{answer.status} {answer.url}")
        ),
    )
    page.goto(address)
    visitor.sees("Nothing is here yet")
    yield visitor
    context.close()
    assert visitor.complaints == []
    assert [url for url in visitor.asked if not url.startswith((f"{address}/", "blob:", "data:"))] == []


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("photographs")
    exif = Image.Exif()
    exif[_DESCRIPTION] = "A rocket at night"
    paths = {name: folder / name for name in ("rocket.jpg", "A cat, 1951.png", "letter.jpg", "heavy.png", "wide.png")}
    Image.open(wheel_file("skimage", "data/rocket.jpg")).convert("L").save(paths["rocket.jpg"], quality=92, exif=exif)
    Image.open(wheel_file("skimage", "data/chelsea.png")).convert("L").save(paths["A cat, 1951.png"])
    paths["letter.jpg"].write_bytes(b"Dear all, this is no picture.")
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(paths["heavy.png"])
    assert paths["heavy.png"].stat().st_size > 2**20
    Image.new("L", (1000, 700), 90).save(paths["wide.png"])
    return paths


def test_photographs_are_seen_in_colour_compared_and_downloaded(
    server: Server, chromium: Browser, photographs: dict[str, Path], screenshots: Path
) -> None:
    with visiting(chromium, server.address) as visitor:
        page = visitor.page
        page.screenshot(path=screenshots / "studio-empty.png")
        visitor.drop(photographs["rocket.jpg"], photographs["A cat, 1951.png"])
        visitor.sees("rocket.jpg: 640 × 427 pixels, 8 bits.")
        assert chroma(visitor.picture(0)) == 0
        rocket = visitor.picture(1)
        assert chroma(rocket) > 8

        # The line, by mouse and by keyboard.
        assert visitor.line() == pytest.approx(0.5, abs=0.01)
        box = page.locator("#look img").first.bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] / 2, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 4, middle, steps=5)
        page.mouse.up()
        assert visitor.line() == pytest.approx(0.25, abs=0.02)
        page.screenshot(path=screenshots / "studio.png")
        page.get_by_label("range slider for Set the line").focus()
        page.keyboard.press("End")
        page.wait_for_function(
            "parseFloat(document.querySelectorAll('#look img')[1].style.clipPath.split(' ')[3]) > 99"
        )

        # How strong, by keyboard alone; then back.
        page.get_by_label("range slider for Strength").focus()
        grey = visitor.changes(1, lambda: page.keyboard.press("Home"))
        assert chroma(grey) < 1
        again = visitor.changes(1, lambda: page.get_by_label("Reset to default value").first.click())
        assert np.abs(again - rocket).max() == 0

        # The other photograph, in two versions.
        visitor.changes(0, lambda: page.get_by_role("radio", name="A cat, 1951.png").check())
        visitor.sees("A cat, 1951.png: 451 × 300 pixels, 8 bits.")
        champion = visitor.picture(1)
        other = visitor.changes(0, lambda: visitor.choose("Compared with, on the left", "Version 1"))
        assert chroma(other) > 3
        assert np.abs(other - champion).mean() > 3
        page.get_by_label("number input for Set the line").fill("50")
        page.wait_for_timeout(_SETTLED_MS)
        page.screenshot(path=screenshots / "studio-versions.png")
        swapped = visitor.changes(1, lambda: visitor.choose("Version", "Version 1"))
        assert np.abs(swapped - other).max() == 0

        # The file: in the version that is on the right, under its own name, with all that the original tells.
        name, cat = visitor.download()
        assert (name, cat.size, cat.format) == ("A cat, 1951.png", (451, 300), "PNG")
        assert "kwcolor version 1<" in cat.text["XML:com.adobe.xmp"]  # type: ignore[attr-defined]
        visitor.choose("Version", "Version 2, the champion")
        page.get_by_role("radio", name="rocket.jpg").check()
        visitor.sees("rocket.jpg")
        name, downloaded = visitor.download()
        assert (name, downloaded.size, downloaded.format) == ("rocket.jpg", (640, 427), "JPEG")
        assert downloaded.getexif()[_DESCRIPTION] == "A rocket at night"
        told = downloaded.info["xmp"].decode()
        assert "compositeWithTrainedAlgorithmicMedia" in told
        assert "kwcolor version 2<" in told
        assert chroma(np.asarray(downloaded.convert("RGB"), np.int16)) > 8


def test_two_people_at_the_same_time_each_see_their_own(
    server: Server, chromium: Browser, photographs: dict[str, Path]
) -> None:
    with visiting(chromium, server.address) as one, visiting(chromium, server.address) as two:
        one.drop(photographs["rocket.jpg"])
        two.drop(photographs["A cat, 1951.png"])
        one.sees("rocket.jpg: 640 × 427")
        two.sees("A cat, 1951.png: 451 × 300")
        assert one.picture(1).shape == (427, 640, 3)
        assert two.picture(1).shape == (300, 451, 3)
        # Both ask again before either is answered, for different things.
        for visitor, key in ((one, "Home"), (two, "End")):
            visitor.page.get_by_label("range slider for Strength").focus()
            visitor.page.keyboard.press(key)
        expect(one.page.get_by_label("number input for Strength of the colours")).to_have_value("0")
        two_name, _ = two.download()
        one_name, grey = one.download()
        assert (one_name, two_name) == ("rocket.jpg", "A cat, 1951.png")
        assert chroma(np.asarray(grey.convert("RGB"), np.int16)) < 1


def test_on_a_phone_it_fits_and_says_what_it_cannot_take(
    server: Server, chromium: Browser, photographs: dict[str, Path], screenshots: Path
) -> None:
    with visiting(chromium, server.address, 390, 844) as visitor:
        page = visitor.page
        visitor.drop(photographs["A cat, 1951.png"])
        visitor.sees("A cat, 1951.png: ")
        visitor.picture(1)
        assert page.evaluate(_HIDDEN) <= 0
        places = [page.locator(name).bounding_box() for name in ("#files", "#look", "#controls")]
        tops = [place["y"] for place in places if place]
        assert tops == sorted(tops)
        assert len(tops) == 3
        page.screenshot(path=screenshots / "studio-390.png", full_page=True)

        visitor.drop(photographs["heavy.png"])
        expect(page.get_by_text('exceed the maximum allowed size of 1.0 Mb: "heavy.png"')).to_be_visible()
        page.wait_for_timeout(_SETTLED_MS)
        page.screenshot(path=screenshots / "studio-390-heavy.png")
        visitor.sees("A cat, 1951.png: ")
        visitor.drop(photographs["letter.jpg"])
        visitor.sees("letter.jpg is not a picture in a format that can be read.")
        expect(page.get_by_role("button", name="Download in colour")).to_be_disabled()
        visitor.drop(photographs["wide.png"])
        visitor.sees("wide.png has 1000 x 700 pixels, more than the 600,000 that KWCOLOR_COLORIZE__MAX_PIXELS allows.")
        assert page.evaluate(_HIDDEN) <= 0
        page.screenshot(path=screenshots / "studio-390-refused.png", full_page=True)
        # And it goes on.
        page.get_by_role("radio", name="A cat, 1951.png").check()
        visitor.sees("A cat, 1951.png: ")
        assert visitor.download()[0] == "A cat, 1951.png"


def asked(address: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(address, data, headers), timeout=60) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def test_nothing_but_what_was_dropped_in_is_served_or_colorized(
    server: Server, photographs: dict[str, Path], tmp_path: Path
) -> None:
    status, page = asked(server.address)
    assert status == 200
    assert server.temporary.as_posix() not in page
    secret = tmp_path / "secret.png"
    Image.new("L", (64, 64), 99).save(secret)
    for path in ("/etc/hostname", str(secret), "mlflow.db", "home/mlflow.db", "https://archive.example/a.jpg"):
        assert asked(f"{server.address}/gradio_api/file={path}")[0] == 403, path
    assert asked(server.address, Host="photographs.example")[0] == 403

    # The limit holds for whoever does not ask the page first.
    form = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n%s\r\n--b--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    assert asked(f"{server.address}/gradio_api/upload", form % bytes(2**20 + 1), **kind)[0] == 413
    assert asked(f"{server.address}/gradio_api/upload", form % bytes(2**20), **kind)[0] == 200

    # What no browser sends: files of this machine, and web addresses, in the place of what was uploaded.
    config = json.loads(asked(f"{server.address}/config")[1])
    take = next(one for one in config["dependencies"] if any(event == "change" for _, event in one["targets"]))
    for number, path in enumerate((str(secret), "https://archive.example/a.jpg", "http://127.0.0.1:9/a.jpg")):
        session = f"forged{number}"
        file = {"path": path, "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}
        body = {"fn_index": take["id"], "session_hash": session, "data": [[file], None, None]}
        join = f"{server.address}/gradio_api/queue/join"
        assert asked(join, json.dumps(body).encode(), **{"Content-Type": "application/json"})[0] == 200
        told = asked(f"{server.address}/gradio_api/queue/data?session_hash={session}")[1]
        assert "Only photographs that were dropped in here are colorized." in told
    copies = [found for found in server.temporary.rglob("*") if found.is_file()]
    assert secret.read_bytes() not in [found.read_bytes() for found in copies]


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    import psutil

    port = int(server.address.rpartition(":")[2])
    listening = {
        one.laddr.ip for one in psutil.net_connections("tcp") if one.laddr.port == port and one.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}
