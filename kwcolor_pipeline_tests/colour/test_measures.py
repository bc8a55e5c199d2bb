"""Colourfulness and colour difference, against published values on the pictures of scikit-image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from skimage import data

from kwcolor_pipeline.colour.measures import ciede2000, colourfulness, colourfulness_of_batch

_PICTURES = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("astronaut", 72.61), ("chelsea", 37.96), ("coffee", 76.92), ("rocket", 38.56), ("retina", 99.52)],
)
def test_colourfulness_is_the_signed_one(name, expected):
    # With absolute values first, rocket would have 28.98.
    assert colourfulness(getattr(data, name)()) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize(("name", "expected"), [("astronaut", 11.38), ("chelsea", 15.88), ("coffee", 21.44)])
def test_ciede2000_of_a_photograph_and_its_grey_copy(name, expected):
    photograph = getattr(data, name)()
    grey = np.asarray(Image.fromarray(photograph).convert("L").convert("RGB"))
    assert ciede2000(photograph, grey).mean() == pytest.approx(expected, abs=0.006)


@settings(max_examples=50)
@given(_PICTURES)
def test_grey_has_no_colourfulness_and_negatives_have_the_same(picture):
    grey = np.repeat(picture[:, :, :1], 3, axis=2)
    assert colourfulness(grey) == 0
    assert colourfulness(255 - picture) == pytest.approx(colourfulness(picture), abs=1e-9)


@settings(max_examples=50)
@given(_PICTURES)
def test_a_colour_difference_is_zero_to_itself_and_symmetric(picture):
    other = 255 - picture
    assert (ciede2000(picture, picture) == 0).all()
    assert ciede2000(picture, other).shape == picture.shape[:2]
    np.testing.assert_allclose(ciede2000(picture, other), ciede2000(other, picture), atol=1e-9)


def test_pictures_of_different_size_are_refused():
    with pytest.raises(ValueError, match="different size"):
        ciede2000(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 1, 3), np.uint8))


def test_a_batch_has_the_colourfulness_of_its_pictures():
    pictures = [data.astronaut()[:200, :200], data.coffee()[:200, :200], np.full((200, 200, 3), 90, np.uint8)]
    batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    expected = [colourfulness(picture) for picture in pictures]
    assert colourfulness_of_batch(batch).tolist() == pytest.approx(expected, abs=1e-3)
