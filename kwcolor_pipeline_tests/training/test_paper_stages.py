"""The preset `paper` through its three stages, small: what it learns from, keeps and takes up again."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from kwcolor_pipeline.colorize.engine import Colorizer
from kwcolor_pipeline.networks.bundle import load_generator
from kwcolor_pipeline.networks.encoders import BUNDLED_ENCODER
from kwcolor_pipeline.networks.paper_colorizer import PaperColorizer
from kwcolor_pipeline.networks.paper_critic import PaperCritic
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline.training.adversarial import train_gan
from kwcolor_pipeline.training.critic_training import train_critic
from kwcolor_pipeline.training.paper_stages import CriticPictures, PaperAdversarial, PaperPretraining, save_generated
from kwcolor_pipeline.training.presets import load_preset
from kwcolor_pipeline.training.pretraining import pretrain_generator
from kwcolor_pipeline.training.stages import latest
from kwcolor_pipeline_tests.small_homes import settings_for

CPU = torch.device("cpu")
SMALL = {
    "size": 32,
    "batch_size": 8,
    "crop_scale": 1,
    "encoder": BUNDLED_ENCODER,
    "encoder_weights": "none",
    "critic_widths": (8, 16, 32),
    "pretrain_epochs": 2,
    "pretrain_frozen_epochs": 1,
    "critic_epochs": 2,
    "gan_epochs": 2,
    "score_pictures": 0,
}


@pytest.fixture(scope="module")
def trained(_home_with_pairs, tmp_path_factory):
    """Settings of a home in which the preset was trained, and the three results."""
    home = shutil.copytree(_home_with_pairs, tmp_path_factory.mktemp("paper") / "home")
    settings, preset = settings_for(home), load_preset("paper", SMALL)
    return (
        settings,
        preset,
        [train(settings, preset, lambda _: None) for train in (pretrain_generator, train_critic, train_gan)],
    )


def test_the_three_stages_give_what_their_table_promises(trained):
    _, _, (generator, critic, gan) = trained
    assert {"train_loss", "valid_loss"} <= set(generator.history[0])
    assert {"train_loss", "valid_loss", "accuracy_thresh_expand", "seconds"} <= set(critic.history[0])
    assert len(critic.history) == 2
    assert {"critic_loss"} <= set(gan.history[0])
    assert generator.bundle.weights_sha256 != gan.bundle.weights_sha256


def test_a_bundle_of_the_paper_colorizes_like_any_other(trained):
    _, _, (_, _, gan) = trained
    generator = load_generator(gan.bundle, CPU)
    assert isinstance(generator, PaperColorizer)
    chroma = generator(torch.rand(2, 1, 64, 96) * 100)
    assert chroma.shape == (2, 2, 32, 48)
    picture = Colorizer(generator, CPU, 64)(np.linspace(0, 255, 60 * 80).reshape(60, 80).astype(np.uint8))
    assert picture.shape == (60, 80, 3)


def test_the_generated_pictures_are_kept_to_be_looked_at_and_made_once(trained):
    settings, preset, (generator, _, _) = trained
    folder = save_generated(settings, preset, generator.bundle, CPU)
    kept = sorted(folder.glob("*/*.png"))
    before = [path.stat().st_mtime_ns for path in kept]
    assert {path.parent.name for path in kept} == {"train", "valid"}
    assert Image.open(kept[0]).size == (32, 32)
    save_generated(settings, preset, generator.bundle, CPU)
    assert [path.stat().st_mtime_ns for path in kept] == before


def test_the_critic_sees_each_picture_once_an_epoch_and_half_of_them_are_photographs(trained):
    settings, preset, (generator, _, _) = trained
    folder = save_generated(settings, preset, generator.bundle, CPU)
    pictures = CriticPictures(settings, preset, folder, "train", CPU)
    seen = [pictures.at(step) for step in range(pictures.steps_per_epoch)]
    labels = torch.cat([labels for _, labels in seen])
    assert labels.mean() == 0.5
    assert len(labels) == 2 * len(list((folder / "train").iterdir()))
    again = pictures.at(1)
    assert torch.equal(again[0], seen[1][0])
    next_epoch = torch.cat([pictures.at(pictures.steps_per_epoch + step)[1] for step in range(len(seen))])
    assert not torch.equal(next_epoch, labels)


def test_a_frozen_encoder_learns_its_norms_only_and_thaws(trained):
    settings, preset, _ = trained
    stage = PaperPretraining(settings, preset, CPU)
    encoder = stage.networks["generator"].unet.encoder
    batch = stage._validation.batches[0]
    before = {name: parameter.detach().clone() for name, parameter in encoder.named_parameters()}
    stage.step(batch, 0, 0.1)
    moved = {name for name, parameter in encoder.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved
    assert all("bn" in name for name in moved)
    stage.step(batch, 1, 0.6)
    assert any("conv" in name and not torch.equal(p, before[name]) for name, p in encoder.named_parameters())


def test_the_gan_takes_turns_and_remembers_whose_turn_it_is(trained):
    settings, preset, _ = trained
    easy = preset.model_copy(update={"gan_critic_threshold": 100.0})
    stage = PaperAdversarial(settings, easy, CPU)
    batch = stage._validation.batches[0]
    turns = ["critic_loss" in stage.step(batch, number, 0.0) for number in range(4)]
    assert turns == [True, False, True, False]
    stage.step(batch, 4, 0.0)
    other = PaperAdversarial(settings, easy, CPU)
    other.load_state(stage.state())
    assert "critic_loss" not in other.step(batch, 5, 0.0)


def test_the_encoder_is_frozen_in_the_gan(trained):
    settings, preset, _ = trained
    stage = PaperAdversarial(settings, preset.model_copy(update={"gan_critic_threshold": 100.0}), CPU)
    encoder = stage.networks["generator"].unet.encoder
    before = [parameter.detach().clone() for parameter in encoder.parameters()]
    for number in range(2):
        stage.step(stage._validation.batches[0], number, 0.0)
    assert all(torch.equal(now, then) for now, then in zip(encoder.parameters(), before, strict=True))


def test_a_critic_needs_the_papers_generator(trained_settings):
    settings = trained_settings
    assert latest(settings.paths, "pretrained_generator").bundle.description["architecture"].get("recipe") is None
    with pytest.raises(SettingsProblem, match="preset paper first"):
        train_critic(settings, load_preset("paper", SMALL), lambda _: None)


def test_widths_that_do_not_double_are_refused():
    assert sum(p.numel() for p in PaperCritic.of_widths((128, 256, 512, 1024)).parameters()) > 40e6
    for widths in itertools.permutations((8, 16, 32)):
        if widths != (8, 16, 32):
            with pytest.raises(ValueError, match="doubles its width"):
                PaperCritic.of_widths(widths)
