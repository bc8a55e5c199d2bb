"""Colourfulness, colour difference and uniformity, against published values and against other libraries."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from skimage import color, data

from kwcolor_pipeline.colour.measures import (
    SEEN_CHROMA,
    ciede2000,
    ciede2000_of_lab,
    colourfulness,
    colourfulness_of_batch,
    lab_of,
    uniformity,
    uniformity_of_lab,
)

_PICTURES = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)))
_SIGNED = {
    "astronaut": 72.61,
    "chelsea": 37.96,
    "coffee": 76.92,
    "rocket": 38.56,
    "hubble_deep_field": 15.48,
    "immunohistochemistry": 40.33,
    "retina": 99.52,
}
#: L*, a*, b* of two colours and their difference: Sharma, Wu and Dalal (2005), table 1, all 34 pairs.
_SHARMA = np.array(
    [
        [50.0000, 2.6772, -79.7751, 50.0000, 0.0000, -82.7485, 2.0425],
        [50.0000, 3.1571, -77.2803, 50.0000, 0.0000, -82.7485, 2.8615],
        [50.0000, 2.8361, -74.0200, 50.0000, 0.0000, -82.7485, 3.4412],
        [50.0000, -1.3802, -84.2814, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, -1.1848, -84.8006, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, -0.9009, -85.5211, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, 0.0000, 0.0000, 50.0000, -1.0000, 2.0000, 2.3669],
        [50.0000, -1.0000, 2.0000, 50.0000, 0.0000, 0.0000, 2.3669],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0009, 7.1792],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0010, 7.1792],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0011, 7.2195],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0012, 7.2195],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0009, -2.4900, 4.8045],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0010, -2.4900, 4.8045],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0011, -2.4900, 4.7461],
        [50.0000, 2.5000, 0.0000, 50.0000, 0.0000, -2.5000, 4.3065],
        [50.0000, 2.5000, 0.0000, 73.0000, 25.0000, -18.0000, 27.1492],
        [50.0000, 2.5000, 0.0000, 61.0000, -5.0000, 29.0000, 22.8977],
        [50.0000, 2.5000, 0.0000, 56.0000, -27.0000, -3.0000, 31.9030],
        [50.0000, 2.5000, 0.0000, 58.0000, 24.0000, 15.0000, 19.4535],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.1736, 0.5854, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.2972, 0.0000, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 1.8634, 0.5757, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.2592, 0.3350, 1.0000],
        [60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644],
        [63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630],
        [61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731],
        [35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645],
        [22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373],
        [36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146],
        [90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441],
        [90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381],
        [6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377],
        [2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082],
    ]
)


def _of_hue(degrees, shape=(6, 7), chroma=40.0):
    """CIELAB of one hue, at different lightnesses."""
    angle = np.radians(degrees)
    lightness = np.linspace(20, 80, shape[0] * shape[1]).reshape(shape)
    planes = [lightness, np.full(shape, chroma * np.cos(angle)), np.full(shape, chroma * np.sin(angle))]
    return torch.from_numpy(np.stack(planes))


@pytest.mark.parametrize(("name", "expected"), _SIGNED.items())
def test_colourfulness_is_the_signed_one(name, expected):
    # With absolute values first, rocket would have 28.98.
    assert colourfulness(getattr(data, name)()) == pytest.approx(expected, abs=0.006)


def test_colourfulness_of_the_other_shipped_picture():
    assert colourfulness(data.stereo_motorcycle()[0]) == pytest.approx(54.85, abs=0.006)


@pytest.mark.parametrize(("name", "expected"), [("astronaut", 11.38), ("chelsea", 15.88), ("coffee", 21.44)])
def test_ciede2000_of_a_photograph_and_its_grey_copy(name, expected):
    photograph = getattr(data, name)()
    grey = np.asarray(Image.fromarray(photograph).convert("L").convert("RGB"))
    assert ciede2000(photograph, grey).mean() == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ciede2000_has_the_published_values_either_way_round(dtype):
    first, second = (torch.tensor(columns.T, dtype=dtype) for columns in (_SHARMA[:, :3], _SHARMA[:, 3:6]))
    np.testing.assert_allclose(ciede2000_of_lab(first, second), _SHARMA[:, 6], atol=1e-4)
    np.testing.assert_allclose(ciede2000_of_lab(second, first), _SHARMA[:, 6], atol=1e-4)


def test_ciede2000_agrees_with_colour_science_and_scikit_image():
    colour_science = pytest.importorskip("colour", reason="colour-science is not installed")
    random = np.random.default_rng(0)
    first, second = (random.uniform((0, -110, -110), (100, 110, 110), (5000, 3)) for _ in range(2))
    second[::3] = first[::3] + random.normal(size=second[::3].shape)
    second[::7, 1:] = 0
    ours = ciede2000_of_lab(torch.from_numpy(first.T), torch.from_numpy(second.T))
    np.testing.assert_allclose(ours, colour_science.delta_E(first, second, method="CIE 2000"), atol=1e-6)
    np.testing.assert_allclose(ours, color.deltaE_ciede2000(first, second), atol=1e-6)


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_pictures_have_the_differences_of_scikit_image_pixel_by_pixel(name):
    photograph = getattr(data, name)()
    grey = np.asarray(Image.fromarray(photograph).convert("L").convert("RGB"))
    for other in (grey, photograph[::-1], (photograph * 0.8).astype(np.uint8)):
        reference = color.deltaE_ciede2000(color.rgb2lab(photograph), color.rgb2lab(other))
        np.testing.assert_allclose(ciede2000(photograph, other), reference, atol=1e-4)


def test_lab_is_that_of_scikit_image_for_every_part_of_the_cube():
    levels = np.array([0, 1, 2, 9, 10, 11, 64, 128, 200, 254, 255], np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(11, -1, 3)
    np.testing.assert_allclose(np.moveaxis(lab_of(cube).numpy(), 0, -1), color.rgb2lab(cube), atol=1e-4)


@settings(max_examples=50)
@given(_PICTURES)
def test_grey_has_no_colourfulness_and_negatives_have_the_same(picture):
    grey = np.repeat(picture[:, :, :1], 3, axis=2)
    assert colourfulness(grey) == 0
    assert colourfulness(255 - picture) == pytest.approx(colourfulness(picture), abs=1e-6)


@settings(max_examples=50)
@given(_PICTURES)
def test_a_colour_difference_is_zero_to_itself_and_symmetric(picture):
    other = 255 - picture
    assert (ciede2000(picture, picture) == 0).all()
    assert ciede2000(picture, other).shape == picture.shape[:2]
    np.testing.assert_allclose(ciede2000(picture, other), ciede2000(other, picture), atol=1e-4)


def test_pictures_of_different_size_are_refused():
    with pytest.raises(ValueError, match="different size"):
        ciede2000(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 1, 3), np.uint8))


def test_a_batch_has_the_colourfulness_of_its_pictures():
    pictures = [data.astronaut()[:200, :200], data.coffee()[:200, :200], np.full((200, 200, 3), 90, np.uint8)]
    batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    expected = [colourfulness(picture) for picture in pictures]
    assert colourfulness_of_batch(batch).tolist() == pytest.approx(expected, abs=1e-3)


@settings(max_examples=50)
@given(st.floats(0, 359.999), st.floats(SEEN_CHROMA + 0.01, 100))
def test_a_picture_of_one_hue_is_wholly_uniform_whatever_the_hue(degrees, chroma):
    assert uniformity_of_lab(_of_hue(degrees, chroma=chroma)) == pytest.approx(1)


@settings(max_examples=50)
@given(_PICTURES)
def test_a_grey_picture_has_no_uniformity(picture):
    assert uniformity(np.repeat(picture[:, :, :1], 3, axis=2)) == 0


def test_a_hue_that_nobody_sees_does_not_count():
    faint, strong = _of_hue(30, chroma=SEEN_CHROMA - 0.1), _of_hue(200)
    assert uniformity_of_lab(faint) == 0
    assert uniformity_of_lab(torch.cat([faint, faint, faint, strong], dim=1)) == pytest.approx(1)


def test_all_hues_together_have_a_sixth_and_opposite_ones_count_by_their_chroma():
    circle = torch.cat([_of_hue(degrees + 0.5) for degrees in range(360)], dim=1)
    assert uniformity_of_lab(circle) == pytest.approx(1 / 6, abs=1e-3)
    two = torch.cat([_of_hue(40, chroma=60), _of_hue(220, chroma=20)], dim=1)
    assert uniformity_of_lab(two) == pytest.approx(0.75)


def test_a_sector_reaches_over_the_end_of_the_circle():
    assert uniformity_of_lab(torch.cat([_of_hue(160), _of_hue(-160), _of_hue(0)], dim=1)) == pytest.approx(2 / 3)
    assert uniformity_of_lab(torch.cat([_of_hue(-20), _of_hue(20), _of_hue(180)], dim=1)) == pytest.approx(2 / 3)


@settings(max_examples=50)
@given(_PICTURES, st.randoms(use_true_random=False))
def test_uniformity_is_in_bounds_and_does_not_depend_on_where_colours_are(picture, random):
    value = uniformity(picture)
    assert value == 0 or 1 / 6 - 1e-9 <= value <= 1
    pixels = picture.reshape(-1, 3).tolist()
    random.shuffle(pixels)
    assert uniformity(np.array([pixels], np.uint8)) == pytest.approx(value)


def test_painting_everything_blue_is_more_uniform_than_the_photograph():
    photograph = data.astronaut()
    blue = photograph.copy()
    blue[:, :, 2] = np.maximum(blue[:, :, 2], 200)
    assert uniformity(photograph) < uniformity(blue)
