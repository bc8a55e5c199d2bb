from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw

from kwcolor_pipeline.photos.borders import open_trimmed, open_upright, trim_box
from kwcolor_pipeline_tests.photos.pictures import COLOUR_SAMPLES, encoded, framed, recompressed, scene, wheel_file


def assert_near(box: tuple[int, ...], expected: tuple[int, ...], pixels: int = 2) -> None:
    assert all(abs(found - wanted) <= pixels for found, wanted in zip(box, expected, strict=True)), (box, expected)


@settings(max_examples=40)
@given(
    border=st.tuples(*[st.one_of(st.just(0), st.integers(4, 14))] * 4),
    level=st.sampled_from([0, 8, 20, 248, 255]),
    noise=st.sampled_from([0, 2, 4]),
    seed=st.integers(0, 30),
)
def test_borders_of_any_width_are_found_through_noise_and_jpeg(
    border: tuple[int, int, int, int], level: int, noise: float, seed: int
) -> None:
    picture = recompressed(framed(scene(seed), border, level, noise), 75)
    left, top, right, bottom = border
    assert_near(trim_box(picture), (left, top, picture.width - right, picture.height - bottom), 3)


def test_rounded_corners_and_film_notches_do_not_hide_a_slide_mount() -> None:
    picture = framed(scene(1, (300, 220)), (14, 16, 14, 16), 14, 3)
    draw = ImageDraw.Draw(picture)
    for notch in range(40, 90, 12):
        draw.rectangle((notch, 2, notch + 5, 9), fill="white")
    mount = Image.new("L", picture.size, 255)
    ImageDraw.Draw(mount).rounded_rectangle((14, 16, 313, 235), radius=14, fill=0)
    picture.paste((14, 14, 14), mask=mount)
    assert_near(trim_box(picture), (14, 16, 314, 236))


def test_light_beside_the_slide_is_trimmed_with_it() -> None:
    picture = framed(framed(scene(2), (12, 12, 12, 12), 10), (2, 2, 2, 2), 250)
    assert_near(trim_box(picture), (14, 14, 206, 158))


def test_borders_of_a_large_scan_scale() -> None:
    picture = framed(scene(3, (1500, 1100)), (90, 60, 40, 120), 6)
    assert_near(trim_box(picture), (90, 60, 1590, 1160), 6)


def test_black_bars_beyond_a_quarter_stay() -> None:
    picture = framed(scene(4, (100, 100)), (120, 0, 120, 0), 0)
    assert trim_box(picture) == (0, 0, 340, 100)


def test_pillar_boxes_go_and_a_lone_dark_floor_stays() -> None:
    assert_near(trim_box(framed(scene(4, (240, 200)), (50, 0, 50, 0), 0)), (50, 0, 290, 200))
    assert trim_box(framed(scene(4, (240, 200)), (0, 0, 0, 40), 0))[3] == 240


def test_a_night_scene_is_not_eaten() -> None:
    random = np.random.default_rng(5)
    night = Image.fromarray(random.integers(4, 14, (200, 300, 3), dtype=np.uint8))
    draw = ImageDraw.Draw(night)
    for _ in range(40):
        x, y = int(random.integers(0, 290)), int(random.integers(0, 190))
        draw.ellipse((x, y, x + 8, y + 8), fill=(250, 220, 120))
    assert trim_box(night) == (0, 0, 300, 200)


def test_a_ragged_skyline_under_a_black_sky_is_not_a_border() -> None:
    picture = Image.new("RGB", (300, 200), (3, 3, 6))
    draw = ImageDraw.Draw(picture)
    for tower, height in enumerate(np.random.default_rng(6).integers(100, 190, 15)):
        draw.rectangle((tower * 20, 200 - int(height), tower * 20 + 19, 200), fill=(120, 90, 60 + tower * 5))
    assert trim_box(picture)[1] == 0


@pytest.mark.parametrize("level", [0, 127, 255])
def test_an_even_picture_stays_whole(level: int) -> None:
    assert trim_box(Image.new("RGB", (80, 60), (level,) * 3)) == (0, 0, 80, 60)


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40))
def test_tiny_pictures_keep_at_least_half_of_each_side(width: int, height: int) -> None:
    left, top, right, bottom = trim_box(Image.new("L", (width, height), 0))
    assert (right - left) * 2 >= width
    assert (bottom - top) * 2 >= height


@pytest.mark.parametrize("sample", COLOUR_SAMPLES, ids=str)
def test_photographs_without_borders_stay_nearly_whole(sample: tuple[str, str]) -> None:
    picture = Image.open(wheel_file(*sample))
    left, top, right, bottom = trim_box(picture)
    assert (right - left) * (bottom - top) >= 0.9 * picture.width * picture.height


def test_orientation_transparency_and_profiles_are_applied(tmp_path: Path) -> None:
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.write_bytes(encoded(framed(scene(7), (20, 0, 0, 0), 0), exif=exif))
    assert open_upright(turned).size == (144, 212)
    assert abs(open_trimmed(turned).height - 192) <= 2

    glass = tmp_path / "glass.png"
    glass.write_bytes(encoded(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), "PNG"))
    assert open_upright(glass).getpixel((5, 5)) == (255, 255, 255)

    profiled = tmp_path / "profiled.jpg"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profiled.write_bytes(encoded(scene(8), icc_profile=profile))
    plain = np.asarray(Image.open(profiled), dtype=int)
    assert np.abs(plain - np.asarray(open_upright(profiled))).max() <= 2

    broken = tmp_path / "broken.jpg"
    broken.write_bytes(encoded(scene(8), icc_profile=b"no profile"))
    assert (np.asarray(open_upright(broken)) == np.asarray(Image.open(broken))).all()


@pytest.mark.parametrize("size", [(150, 112), (640, 480), (1500, 1100)])
@pytest.mark.parametrize(("level", "noise"), [(205, 3), (230, 2), (250, 0), (24, 4)])
def test_uneven_paper_and_mounts_are_trimmed_to_within_two_percent(
    size: tuple[int, int], level: int, noise: float
) -> None:
    width, height = size
    border = (width // 8, height // 30, width // 25, height // 9)
    picture = recompressed(framed(scene(11, size), border, level, noise), 60)
    left, top, right, bottom = trim_box(picture)
    assert abs(left - border[0]) <= 0.02 * picture.width
    assert abs(picture.width - right - border[2]) <= 0.02 * picture.width
    assert abs(top - border[1]) <= 0.02 * picture.height
    assert abs(picture.height - bottom - border[3]) <= 0.02 * picture.height


def test_paper_on_one_side_alone_is_taken_for_content() -> None:
    assert trim_box(framed(scene(4, (240, 200)), (0, 20, 0, 0), 215)) == (0, 0, 240, 220)


def test_a_mount_inside_paper_goes_with_it() -> None:
    picture = framed(framed(scene(6, (300, 220)), (12, 12, 12, 12), 20, 2), (14, 14, 14, 14), 235, 1)
    assert_near(trim_box(picture), (26, 26, 326, 246))


def test_grey_and_colour_have_the_same_borders() -> None:
    picture = framed(scene(5, (900, 700)), (60, 40, 50, 30), 12, 2)
    assert_near(trim_box(picture), trim_box(picture.convert("L")), 3)


def test_never_more_than_a_quarter_of_a_side_is_trimmed() -> None:
    picture = framed(framed(scene(7, (401, 403)), (99, 97, 99, 97), 0), (40, 40, 40, 40), 255)
    left, top, right, bottom = trim_box(picture)
    assert max(left, picture.width - right) <= picture.width / 4
    assert max(top, picture.height - bottom) <= picture.height / 4
