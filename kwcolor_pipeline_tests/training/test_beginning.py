"""A generator begins as another one, or with its encoder alone; what does not fit is refused."""

from pathlib import Path

import pytest
import torch

from kwcolor_pipeline.networks.bundle import load_generator, read_bundle, write_bundle
from kwcolor_pipeline.networks.generator import Generator
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.starter import STARTER
from kwcolor_pipeline.training.beginning import beginning, beginning_bundle
from kwcolor_pipeline.training.presets import PRESETS, load_preset
from kwcolor_pipeline.training.pretraining import Pretraining, pretrain_generator, pretraining_request
from kwcolor_pipeline_tests.small_homes import tiny_preset

CPU = torch.device("cpu")


@pytest.fixture
def small_bundle(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    preset = tiny_preset()
    network = Generator(preset.encoder, "none", preset.generator_widths)
    torch.nn.init.normal_(network.chroma.weight)
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_bundle(folder, "generator", network, {"architecture": preset.generator_architecture}, half=True)
    return folder


@pytest.mark.parametrize("name", ["demo", "archive"])
def test_our_presets_begin_as_the_starter(name: str) -> None:
    bundle = beginning_bundle(PRESETS[name])
    assert bundle is not None
    assert bundle.folder == STARTER


def test_the_papers_preset_does_not() -> None:
    assert beginning_bundle(PRESETS["paper"]) is None


def test_the_first_weights_are_the_bundles(small_bundle: Path, small_settings: Settings) -> None:
    preset = tiny_preset(pretrain_start=str(small_bundle))
    theirs = load_generator(read_bundle(small_bundle), CPU).state_dict()
    stage = Pretraining(small_settings, preset, CPU)
    for name, tensor in stage.networks["generator"].state_dict().items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=0)
    assert stage.networks["generator"].training


def test_other_weights_at_the_same_place_are_another_request(small_bundle: Path, small_settings: Settings) -> None:
    preset = tiny_preset(pretrain_start=str(small_bundle))
    before = pretraining_request(small_settings, preset)
    assert pretraining_request(small_settings, preset).fingerprint == before.fingerprint
    network = load_generator(read_bundle(small_bundle), CPU)
    torch.nn.init.zeros_(network.chroma.weight)  # type: ignore[union-attr]
    write_bundle(small_bundle, "generator", network, read_bundle(small_bundle).description)
    assert pretraining_request(small_settings, preset).fingerprint != before.fingerprint


def test_a_network_that_does_not_fit_is_refused_with_the_remedy(small_bundle: Path) -> None:
    preset = tiny_preset(pretrain_start=str(small_bundle), generator_widths=(16, 16, 16, 16))
    with pytest.raises(SettingsProblem, match="set pretrain_start=none"):
        beginning(preset)
    with pytest.raises(SettingsProblem, match="set pretrain_start=none"):
        beginning(load_preset("archive", {"encoder": "resnet34.tv_in1k"}))


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsProblem, match="is not a model bundle"):
        beginning(tiny_preset(pretrain_start=str(tmp_path)))


def test_the_model_card_says_what_was_learned_from_before(small_bundle: Path, small_settings: Settings) -> None:
    def card(start: str) -> str:
        trained = pretrain_generator(small_settings, tiny_preset(pretrain_start=start), lambda record: None)
        return (trained.bundle.folder / "README.md").read_text()

    assert f"began as the bundle `{small_bundle}`" in card(str(small_bundle))
    assert "began as" not in card("none")


def test_half_precision_reads_back_as_what_was_hashed(small_bundle: Path, tmp_path: Path) -> None:
    bundle = read_bundle(small_bundle)
    again = tmp_path / "again"
    again.mkdir()
    whole = write_bundle(again, "generator", load_generator(bundle, CPU), bundle.description)
    assert whole.weights_sha256 == bundle.weights_sha256
    assert bundle.weights_file.stat().st_size < 0.6 * whole.weights_file.stat().st_size
