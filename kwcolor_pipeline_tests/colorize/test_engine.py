import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from skimage.color import rgb2lab
from skimage.data import astronaut

from kwcolor_pipeline.colorize import engine
from kwcolor_pipeline.colorize.engine import Colorizer, Rendering, open_colorizer
from kwcolor_pipeline.colour.measures import ciede2000_of_lab, lab_of
from kwcolor_pipeline.networks.bundle import load_generator, read_bundle
from kwcolor_pipeline.networks.generator import Generator
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.starter import STARTER
from kwcolor_pipeline.training.stages import latest
from kwcolor_pipeline_tests.colorize.pictures import CPU, Even, Scattered, colorizer_of, noise


def lightness_error(gray: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return np.abs(rgb2lab(colour)[..., 0] - rgb2lab(np.repeat(gray[..., None], 3, axis=-1))[..., 0])


@hypothesis_settings(max_examples=25)
@given(st.integers(0, 2**16), st.floats(0, 150))
def test_the_lightness_stays_the_photographs_own(seed: int, spread: float) -> None:
    torch.manual_seed(seed)
    gray = noise(40, 61, seed)
    error = lightness_error(gray, colorizer_of(Scattered(spread))(gray))
    assert error.mean() <= 0.08  # what rounding to eight bits costs
    assert error.max() <= 0.3


@pytest.mark.parametrize("level", [0, 1, 2, 127, 254, 255])
def test_black_white_and_what_lies_near_stay(level: int) -> None:
    gray = np.full((8, 8), level, np.uint8)
    colour = colorizer_of(Even(90, -90))(gray)
    assert lightness_error(gray, colour).max() <= 0.3
    if level in (0, 255):
        assert (colour == level).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (33, 47), (3000, 20), (2, 3), (257, 255)])
def test_any_size_comes_back_at_its_size(shape: tuple[int, int]) -> None:
    network = Scattered()
    gray = noise(*shape)
    colour = colorizer_of(network)(gray)
    assert (colour.shape, colour.dtype) == ((*shape, 3), np.uint8)
    count, channels, height, width = network.asked[0]
    assert (count, channels, height % 32, width % 32) == (2, 1, 0, 0)
    assert max(height, width) <= 8 * 37 + 16
    assert lightness_error(gray, colour).max() <= 0.3


def test_no_chroma_gives_the_grey_picture() -> None:
    gray = noise(50, 70)
    assert (colorizer_of(Even(0, 0))(gray) == gray[..., None]).all()


def test_chroma_arrives_as_the_network_meant_it() -> None:
    colour = colorizer_of(Even(20, -30))(np.full((30, 40), 119, np.uint8))
    lab = rgb2lab(colour)
    assert np.abs(lab[..., 1] - 20).max() < 0.6
    assert np.abs(lab[..., 2] + 30).max() < 0.6


def test_the_result_does_not_depend_on_the_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    gray, network = noise(70, 50), Even(30, 30)
    whole = colorizer_of(network)(gray)
    monkeypatch.setattr("kwcolor_pipeline.colorize.merge._PIXELS_OF_SMALL", 7 * 50)
    assert (colorizer_of(network)(gray) == whole).all()


class _LeftIsRed(torch.nn.Module):
    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        count, _, height, width = lightness.shape
        chroma = torch.zeros(count, 2, height // 2, width // 2)
        chroma[..., : width // 4] = 40
        return chroma


def test_a_mirrored_picture_gives_the_mirrored_result() -> None:
    gray = noise(64, 64)
    colorizer = Colorizer(_LeftIsRed(), CPU, 64)
    difference = colorizer(gray).astype(int) - colorizer(gray[:, ::-1])[:, ::-1]
    assert np.abs(difference).max() <= 1


def test_a_picture_that_is_lent_read_only_is_taken() -> None:
    gray = noise(9, 9)
    gray.flags.writeable = False
    assert colorizer_of(Even(5, 5))(gray).shape == (9, 9, 3)


def test_a_bundle_is_opened_at_the_size_it_was_trained_at(trained_settings: Settings) -> None:
    folder = latest(trained_settings.paths, "gan_model").bundle.folder
    colorizer = open_colorizer(folder, "cpu")
    assert colorizer.chroma(noise(60, 60)).shape == (1, 2, 16, 16)
    assert colorizer(noise(60, 90)).shape == (60, 90, 3)
    with pytest.raises(SettingsProblem, match="holds a critic"):
        open_colorizer(latest(trained_settings.paths, "critic").bundle.folder, "cpu")


@pytest.mark.parametrize("preset", [None, {}, {"size": "large", "crop_scale": 1}])
def test_a_bundle_without_its_size_is_named(trained_settings: Settings, preset: object) -> None:
    folder: Path = latest(trained_settings.paths, "gan_model").bundle.folder
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(description | {"preset": preset}))
    with pytest.raises(SettingsProblem, match=r"model\.json does not say"):
        open_colorizer(folder, "cpu")


def test_strength_scales_chroma_and_leaves_lightness() -> None:
    gray = noise(40, 50)
    network = colorizer_of(Even(20, -10))
    plain, half = network.chroma(gray), network.chroma(gray, Rendering(strength=0.5))
    assert torch.allclose(half, plain / 2)
    assert (network(gray, Rendering(strength=0)) == gray[..., None]).all()


def test_render_sizes_are_averaged_at_the_largest() -> None:
    network = Scattered()
    colorizer = colorizer_of(network)
    chroma = colorizer.chroma(noise(100, 150), Rendering(render_sizes=(64, 128)))
    assert [asked[2:] for asked in network.asked] == [(64, 96), (128, 192)]
    assert chroma.shape == (1, 2, 64, 96)


class _Position(torch.nn.Module):
    """Answers with fine stripes, and with a level that is another for every picture that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        count, _, height, width = lightness.shape
        self.asked += 1
        stripes = (torch.arange(height // 2) % 2 * 20.0 - 10)[:, None].expand(count, 2, -1, width // 2)
        return stripes + 7.0 * self.asked


def test_tiles_add_what_is_fine_and_not_another_level() -> None:
    network = _Position()
    colorizer = colorizer_of(network, 64)
    whole = colorizer.chroma(noise(300, 400))
    tiled = colorizer.chroma(noise(300, 400), Rendering(tiles=3))
    assert network.asked > 15
    assert tiled.shape[2] >= 2.5 * whole.shape[2]
    assert abs(float(tiled.mean() - 14)) < 0.3  # the whole was the second that was asked
    rows = tiled.mean(dim=3)[0, 0]
    assert float((rows[1:-1] - (rows[:-2] + rows[2:]) / 2).abs().mean()) > 10


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"strength": -0.1}, "strength"),
        ({"strength": 4}, "strength"),
        ({"render_sizes": (8,)}, "size 8"),
        ({"tiles": 0}, "0 tiles"),
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsProblem, match=says):
        Rendering(**values)


def test_the_same_photograph_in_other_sizes_has_the_same_colours() -> None:
    """Scans of one photograph shall not be of other colours because one of them is larger."""
    photograph = Image.fromarray(astronaut()).convert("L")
    colorizer = open_colorizer(STARTER, "cpu")
    labs = []
    for side in (512, 1024, 2048):
        gray = np.asarray(photograph.resize((side, side), Image.Resampling.LANCZOS))
        colour = Image.fromarray(colorizer(gray)).resize((256, 256), Image.Resampling.BOX)
        labs.append(lab_of(np.asarray(colour)))
    for other in labs[1:]:
        assert ciede2000_of_lab(labs[0], other).mean() < 0.7
    assert labs[0][1:].abs().mean() > 3


class _TooLargeForHalf(Generator):
    """A generator whose answer in half precision overflows; nothing else of it is used."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.asked: list[bool] = []

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        half = torch.is_autocast_enabled("cpu")
        self.asked.append(half)
        count, _, height, width = lightness.shape
        return torch.full((count, 2, height // 2, width // 2), torch.inf if half else 25.0)


def test_half_precision_is_given_up_where_it_overflows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_HALF_PRECISION", ("cpu",))
    network = _TooLargeForHalf()
    assert (Colorizer(network, CPU, 64).chroma(noise(64, 64)) == 25).all()
    assert network.asked == [True, False]


def test_half_precision_moves_colours_less_than_anybody_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    gray = np.asarray(Image.fromarray(astronaut()).convert("L").resize((160, 160)))
    colorizer = open_colorizer(STARTER, "cpu")
    exact = colorizer.chroma(gray)
    monkeypatch.setattr(engine, "_HALF_PRECISION", ("cpu",))
    half = colorizer.chroma(gray)
    assert 0 < (half - exact).abs().mean() < 0.05
    assert (half - exact).abs().max() < 0.5


def test_a_model_is_asked_at_its_own_sizes_unless_others_are_wanted() -> None:
    gray = np.asarray(Image.fromarray(astronaut()).convert("L").resize((160, 160)))
    plain = Colorizer(load_generator(read_bundle(STARTER), CPU), CPU, 160)
    own = Colorizer(load_generator(read_bundle(STARTER), CPU), CPU, 160, Rendering(strength=2, render_sizes=(96, 128)))
    wanted = plain.chroma(gray, Rendering(strength=2, render_sizes=(96, 128)))
    torch.testing.assert_close(own.chroma(gray), wanted)
    torch.testing.assert_close(own.chroma(gray, Rendering(strength=0.5, render_sizes=(160,))), plain.chroma(gray))


@pytest.mark.parametrize("told", [{"render_sizes": 96}, {"strength": "much"}, ["96"], {"render_sizes": ["96"]}])
def test_a_rendering_that_cannot_be_used_is_named(tmp_path: Path, told: object) -> None:
    shutil.copytree(STARTER, tmp_path / "bundle")
    description = json.loads((STARTER / "model.json").read_text())
    (tmp_path / "bundle" / "model.json").write_text(json.dumps(description | {"rendering": told}))
    with pytest.raises(SettingsProblem, match="rendering"):
        open_colorizer(tmp_path / "bundle", "cpu")
