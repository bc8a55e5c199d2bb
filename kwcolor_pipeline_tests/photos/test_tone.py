"""Tones are told from colours, in small files as well."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kwcolor_pipeline.photos.curation import looks_coloured
from kwcolor_pipeline.photos.tone import measure_tone
from kwcolor_pipeline_tests.photos.pictures import COLOUR_SAMPLES, faded, recompressed, scene, sepia, wheel_file

Array = npt.NDArray[np.float64]


def thumbnail(sample: tuple[str, str]) -> Image.Image:
    image = Image.open(wheel_file(*sample)).convert("RGB")
    image.thumbnail((150, 150))
    return image


def toned(image: Image.Image, inks: list[tuple[float, float, float]]) -> Image.Image:
    """From the first of ``inks`` in the shadows to the last in the lights."""
    level = np.asarray(image.convert("L"), dtype=np.float64) / 255
    places = np.linspace(0, 1, len(inks))
    channels = [np.interp(level, places, channel) for channel in np.array(inks).T]
    return Image.fromarray((np.stack(channels, axis=-1) * 255).round().astype(np.uint8))


TONES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "sepia": sepia,
    "cyanotype": lambda image: toned(image, [(0.04, 0.10, 0.30), (0.15, 0.42, 0.68), (0.95, 0.97, 0.96)]),
    "two inks": lambda image: toned(image, [(0.05, 0.15, 0.22), (0.62, 0.42, 0.30), (1.0, 0.96, 0.82)]),
    "tinted": lambda image: faded(image, 0.04),
}


@pytest.mark.parametrize("tone", TONES)
@pytest.mark.parametrize("sample", COLOUR_SAMPLES, ids=str)
def test_tones_of_small_files_are_no_colours(sample: tuple[str, str], tone: str) -> None:
    copy = TONES[tone](thumbnail(sample))
    assert not looks_coloured(copy)
    assert not looks_coloured(recompressed(copy, 75))


@pytest.mark.parametrize("sample", COLOUR_SAMPLES, ids=str)
def test_colours_of_small_files_are_colours(sample: tuple[str, str]) -> None:
    assert looks_coloured(thumbnail(sample))
    assert looks_coloured(recompressed(thumbnail(sample), 60))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    shifts=st.lists(st.tuples(*[st.floats(-0.15, 0.15)] * 3), min_size=2, max_size=3),
)
def test_a_tone_of_up_to_three_inks_is_no_colour(seed: int, shifts: list[tuple[float, float, float]]) -> None:
    greys = np.linspace(0.1, 0.9, len(shifts))
    inks = [tuple(np.clip(grey + np.array(shift), 0, 1)) for grey, shift in zip(greys, shifts, strict=True)]
    assert measure_tone(toned(scene(seed), inks))["spread"] < 0.8


def test_two_colours_of_one_lightness_are_colours() -> None:
    halves = Image.new("RGB", (160, 120), (200, 90, 90))
    halves.paste((60, 140, 60), (80, 0, 160, 120))
    noisy = np.asarray(halves, dtype=np.float64) + np.random.default_rng(1).normal(0, 3, (120, 160, 3))
    assert looks_coloured(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
