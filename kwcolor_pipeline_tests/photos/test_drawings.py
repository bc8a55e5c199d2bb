"""Prints, pages, screens and collages are told from photographs."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from kwcolor_pipeline.photos.drawings import measure_drawing
from kwcolor_pipeline.settings import CurationSettings
from kwcolor_pipeline_tests.photos.pictures import COLOUR_SAMPLES, recompressed, scene, wheel_file

WANTED = CurationSettings()
BOUNDS = {
    "even_share": WANTED.max_even_share,
    "plain_share": WANTED.max_plain_share,
    "few_colours": WANTED.max_few_colours,
    "bar": WANTED.max_bar,
}


def beyond(image: Image.Image) -> set[str]:
    return {name for name, value in measure_drawing(image).items() if value > BOUNDS[name]}


def printed(image: Image.Image) -> Image.Image:
    """With the grain of paper, as a small file."""
    grain = np.random.default_rng(2).normal(0, 2, (image.height, image.width, 3))
    return recompressed(Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8)), 80)


def poster() -> Image.Image:
    image = Image.new("RGB", (300, 400), (196, 40, 40))
    draw = ImageDraw.Draw(image)
    draw.ellipse((40, 60, 220, 240), fill=(240, 220, 160))
    draw.rectangle((0, 300, 300, 400), fill=(30, 60, 120))
    draw.text((20, 320), "BUY BONDS", font=ImageFont.load_default(size=44), fill=(240, 220, 160))
    return image


def page() -> Image.Image:
    image = Image.new("RGB", (300, 400), (236, 226, 196))
    draw = ImageDraw.Draw(image)
    for line in range(24):
        text = "the hills and the river at dawn of that day"
        draw.text((20, 15 + 15 * line), text, font=ImageFont.load_default(size=12), fill=(60, 40, 90))
    return image


def screenshot() -> Image.Image:
    image = Image.new("RGB", (400, 300), (240, 240, 245))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 400, 24), fill=(30, 90, 200))
    draw.text((20, 60), "File  Edit  View", font=ImageFont.load_default(size=14), fill=(20, 20, 20))
    image.paste(scene(3), (120, 100))
    return image


def collage(level: int, gap: int) -> Image.Image:
    image = Image.new("RGB", (2 * 192 + gap, 144), (level,) * 3)
    image.paste(scene(1), (0, 0))
    image.paste(scene(2), (192 + gap, 0))
    return image


def test_prints_pages_screens_and_collages_are_told() -> None:
    assert "plain_share" in beyond(printed(poster()))
    assert "few_colours" in beyond(printed(page()))
    assert "even_share" in beyond(screenshot())
    assert "bar" in beyond(recompressed(collage(255, 6), 80))
    assert "bar" in beyond(collage(0, 4).rotate(90, expand=True))


@pytest.mark.parametrize("sample", COLOUR_SAMPLES, ids=str)
def test_photographs_are_none_of_them(sample: tuple[str, str]) -> None:
    photograph = Image.open(wheel_file(*sample)).convert("RGB")
    assert not beyond(photograph)
    photograph.thumbnail((150, 150))
    assert not beyond(recompressed(photograph, 60))


def test_an_aircraft_in_an_even_sky_is_no_drawing() -> None:
    rows = np.linspace(0, 1, 200)[:, None, None]
    sky = np.array([60, 110, 190]) * (1 - rows) + np.array([150, 180, 215]) * rows
    image = Image.fromarray(np.broadcast_to(sky, (200, 300, 3)).astype(np.uint8))
    image.paste(scene(5, (90, 30)), (110, 80))
    assert not beyond(recompressed(image, 85))


def test_a_post_or_a_horizon_is_no_bar() -> None:
    post = scene(1)
    post.paste(scene(7, (6, 144)), (90, 0))
    sea = scene(2)
    sea.paste((8, 8, 12), (0, 90, 192, 144))
    assert measure_drawing(post)["bar"] == measure_drawing(sea)["bar"] == 0


def test_measures_are_finite_and_shares_for_the_smallest_and_emptiest_pictures() -> None:
    for size in ((1, 1), (1, 9), (300, 2), (5, 5)):
        for level in (0, 128, 255):
            measures = measure_drawing(Image.new("RGB", size, (level,) * 3))
            assert all(0 <= value <= 1 for value in measures.values()), (size, level, measures)
