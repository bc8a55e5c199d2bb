"""Stage 3: generator and critic learn together."""

from typing import Any

import torch
from torch import nn

from kwcolor_pipeline.networks.bundle import load_critic, load_generator
from kwcolor_pipeline.networks.devices import placed
from kwcolor_pipeline.networks.generator import Generator
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.training.averaging import AveragedNetwork
from kwcolor_pipeline.training.critic_training import BETAS, with_chroma
from kwcolor_pipeline.training.critic_training import STAGE as CRITIC_STAGE
from kwcolor_pipeline.training.data import Batch
from kwcolor_pipeline.training.loop import OnEpoch, Stage
from kwcolor_pipeline.training.losses import (
    chroma_l1,
    critic_hinge,
    generator_hinge,
    perceptual_distance,
    perceptual_features,
)
from kwcolor_pipeline.training.paper_stages import PaperAdversarial
from kwcolor_pipeline.training.presets import Preset
from kwcolor_pipeline.training.pretraining import STAGE as GENERATOR_STAGE
from kwcolor_pipeline.training.preview import preview_of
from kwcolor_pipeline.training.processes import Processes
from kwcolor_pipeline.training.stages import Request, Trained, latest, pairs_version, run_stage
from kwcolor_pipeline.training.update import update
from kwcolor_pipeline.training.validation import Validation, arithmetic

STAGE = "gan_model"


class Adversarial(Stage):
    """One critic step, then one generator step, each at its own rate; the averaged generator is the result."""

    def __init__(self, settings: Settings, preset: Preset, device: torch.device, processes: Processes | None = None):
        self._preset, self._device = preset, device
        self._processes = processes or Processes.single(device)
        home = settings.paths
        self._generator = placed(load_generator(latest(home, GENERATOR_STAGE).bundle, device), device)
        self._critic = load_critic(latest(home, CRITIC_STAGE).bundle, device).train()
        self._average = AveragedNetwork(self._generator, preset.ema_decay)
        self._call = torch.compile(self._generator) if preset.compile else self._generator
        features = perceptual_distance(preset.perceptual_weights) if preset.gan_perceptual_weight else None
        self._features = placed(features, device) if features else None
        self._validation = Validation(settings, preset, device)
        # The encoder stays as pretrained: a few hundred noisy adversarial steps would only blur what it knows.
        self._generator.encoder.requires_grad_(False)
        decoder = [parameter for parameter in self._generator.parameters() if parameter.requires_grad]
        fused = device.type != "mps"
        self._generator_optimiser = torch.optim.Adam(decoder, lr=preset.gan_lr, betas=BETAS, fused=fused)
        learned = self._critic.parameters()
        self._critic_optimiser = torch.optim.Adam(learned, lr=preset.gan_critic_lr, betas=BETAS, fused=fused)
        self.networks = {"generator": self._generator, "critic": self._critic, "average": self._average.network}
        self.optimisers = {"generator": self._generator_optimiser, "critic": self._critic_optimiser}

    def _generated(self, batch: Batch) -> torch.Tensor:
        with arithmetic(self._preset, self._device):
            chroma = self._call(batch.lightness)
        return with_chroma(batch.lab, chroma.to(batch.lab.dtype))

    def _generator_losses(self, batch: Batch, generated: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        adversarial = generator_hinge(self._critic(generated))
        pixel = chroma_l1(generated[:, 1:], batch.lab[:, 1:])
        loss = pixel + self._preset.gan_adversarial_weight * adversarial
        losses = {"adversarial_loss": adversarial, "pixel_loss": pixel}
        if self._features is not None:
            with arithmetic(self._preset, self._device):
                perceptual = self._features(generated, batch.lab)
            loss = loss + self._preset.gan_perceptual_weight * perceptual
            losses["perceptual_loss"] = perceptual
        return loss, {"train_loss": loss, **losses}

    def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
        # Batch statistics stay as pretrained: small adversarial batches would blur them.
        self._generator.eval()
        parts = batch.parts(self._preset.accumulate)
        # A whole batch is colorized once for both networks. Parts are colorized for each, so that one is in memory.
        whole = self._generated(batch) if len(parts) == 1 else None

        def critic_losses(part: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            with torch.no_grad():
                generated = self._generated(part) if whole is None else whole.detach()
            loss = critic_hinge(self._critic(part.lab), self._critic(generated))
            return loss, {"critic_loss": loss}

        def generator_losses(part: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            return self._generator_losses(part, self._generated(part) if whole is None else whole)

        of_critic = update(self._critic_optimiser, parts, critic_losses, self._processes)
        self._critic.requires_grad_(False)
        of_generator = update(self._generator_optimiser, parts, generator_losses, self._processes)
        self._critic.requires_grad_(True)
        self._average.update(self._generator, step)
        return {**of_generator, **of_critic}

    def validate(self) -> dict[str, float]:
        return self._validation.score(self._average.network)

    def result(self) -> nn.Module:
        return self._average.network

    def finish(self) -> dict[str, float]:
        """Make the result as colourful as photographs are: a network that is unsure predicts the middle of colours."""
        if self._preset.gan_colour_gain == 1:
            return {}
        network = self._average.network
        assert isinstance(network, Generator)  # what this recipe's bundles hold
        gain = self._validation.colour_gain(network, self._preset.gan_colour_gain)
        for parameter in network.chroma.parameters():
            parameter.mul_(gain)
        return {"colour_gain": gain, **self._validation.score(network)}


def adversarial_request(settings: Settings, preset: Preset) -> Request:
    """What this stage is asked: the pairs, both networks and the preset's fields for it."""
    home = settings.paths
    asked: dict[str, Any] = {
        "pairs": pairs_version(home),
        "generator": latest(home, GENERATOR_STAGE).result.data_version,
        "critic": latest(home, CRITIC_STAGE).result.data_version,
        "preset": preset.of_stage("gan"),
    }
    if preset.gan_perceptual_weight:
        asked["perceptual"] = perceptual_features(preset.perceptual_weights)
    return Request(settings, preset, STAGE, asked)


def train_gan(settings: Settings, preset: Preset, on_epoch: OnEpoch, processes: Processes | None = None) -> Trained:
    """The generator after adversarial training: trained now, resumed, or as it was.

    Raises TrainingDiverged, SettingsProblem.
    """
    stage = PaperAdversarial if preset.recipe == "paper" else Adversarial
    return run_stage(
        adversarial_request(settings, preset),
        lambda processes: stage(settings, preset, processes.device, processes),
        kind="generator",
        epochs=preset.gan_epochs,
        min_steps=preset.gan_min_steps,
        patience=preset.gan_patience,
        architecture=preset.generator_architecture,
        on_epoch=on_epoch,
        preview=preview_of(settings),
        processes=processes,
    )
