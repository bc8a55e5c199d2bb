import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kwcolor_pipeline.photos.decolorizing import DECOLORIZERS, WEIGHTS, decolorize
from kwcolor_pipeline.settings import PairSettings


def colours(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 48, 3), dtype=np.uint8)


@given(st.integers(0, 2**32 - 1))
def test_lightness_grey_has_the_lightness_of_the_colours(seed: int) -> None:
    from skimage.color import rgb2lab

    color = colours(seed)[:5, :7]
    grey = decolorize(color, "lightness")
    difference = rgb2lab(color)[..., 0] - rgb2lab(np.repeat(grey[..., None], 3, axis=2))[..., 0]
    assert np.abs(difference).max() < 0.35


@pytest.mark.parametrize("decolorizer", DECOLORIZERS)
def test_grey_stays_as_it_is(decolorizer: str) -> None:
    grey = np.arange(256, dtype=np.uint8)[None]
    assert (decolorize(np.repeat(grey[..., None], 3, axis=2), decolorizer) == grey).all()


@pytest.mark.parametrize("decolorizer", WEIGHTS)
def test_linear_light_is_weighed(decolorizer: str) -> None:
    """The tables give what the formulas of IEC 61966-2-1 give, but for rounding of halves."""
    color = colours(1)
    encoded = color / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    light = linear @ np.array(WEIGHTS[decolorizer])
    level = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert np.abs(decolorize(color, decolorizer) - level).max() < 0.51


def test_luma_is_pils_mode_l() -> None:
    color = colours(2)
    assert (decolorize(color, "luma") == np.asarray(Image.fromarray(color).convert("L"))).all()


def test_films_see_red_flags_and_blue_skies_as_they_are_remembered() -> None:
    flag, sky = np.full((1, 1, 3), (200, 20, 20), np.uint8), np.full((1, 1, 3), (90, 140, 220), np.uint8)
    seen = {name: (int(decolorize(flag, name)[0, 0]), int(decolorize(sky, name)[0, 0])) for name in WEIGHTS}
    assert seen["orthochromatic"][0] == 20
    assert seen["orthochromatic"][0] < seen["lightness"][0] < seen["panchromatic"][0]
    assert seen["lightness"][1] < seen["panchromatic"][1] < seen["orthochromatic"][1]


def test_the_setting_takes_each_of_them_and_no_other() -> None:
    for decolorizer in DECOLORIZERS:
        assert PairSettings(decolorizer=decolorizer).decolorizer == decolorizer
    with pytest.raises(ValueError, match="pattern"):
        PairSettings(decolorizer="sepia")
    with pytest.raises(KeyError):
        decolorize(colours(0), "sepia")
