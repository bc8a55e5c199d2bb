"""Stage 1: the generator learns colours from the pixels' chroma (and, where asked, a network's features)."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from kwcolor_pipeline.home import sha256_of
from kwcolor_pipeline.networks.devices import placed
from kwcolor_pipeline.networks.generator import Generator
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.training.averaging import AveragedNetwork
from kwcolor_pipeline.training.beginning import beginning, beginning_bundle
from kwcolor_pipeline.training.capture import CapturedUpdate
from kwcolor_pipeline.training.data import Batch
from kwcolor_pipeline.training.loop import OnEpoch, Stage, one_cycle, set_rates
from kwcolor_pipeline.training.losses import chroma_l1, perceptual_distance, perceptual_features
from kwcolor_pipeline.training.paper_stages import PaperPretraining
from kwcolor_pipeline.training.presets import Preset
from kwcolor_pipeline.training.preview import preview_of
from kwcolor_pipeline.training.processes import Processes
from kwcolor_pipeline.training.stages import Request, Trained, pairs_version, run_stage
from kwcolor_pipeline.training.update import update
from kwcolor_pipeline.training.validation import Validation, arithmetic

STAGE = "pretrained_generator"


def encoder_and_decoder(generator: Generator, rate: float, encoder_scale: float) -> list[dict[str, object]]:
    """Parameter groups with their peak rates: the pretrained encoder learns more slowly."""
    encoder = list(generator.encoder.parameters())
    of_encoder = {id(parameter) for parameter in encoder}
    decoder = [parameter for parameter in generator.parameters() if id(parameter) not in of_encoder]
    return [
        {"params": encoder, "peak_lr": rate * encoder_scale, "lr": rate * encoder_scale},
        {"params": decoder, "peak_lr": rate, "lr": rate},
    ]


class Pretraining(Stage):
    """AdamW, one-cycle, L1 on a*, b*; the averaged weights are the result."""

    def __init__(self, settings: Settings, preset: Preset, device: torch.device, processes: Processes | None = None):
        self._preset, self._device = preset, device
        self._processes = processes or Processes.single(device)
        generator = placed(self._untrained(), device)
        self._average = AveragedNetwork(generator, preset.ema_decay)
        self._generator = generator
        self._call = torch.compile(generator) if preset.compile else generator
        features = perceptual_distance(preset.perceptual_weights) if preset.pretrain_perceptual_weight else None
        self._features = placed(features, device) if features else None
        self._validation = Validation(settings, preset, device)
        groups = encoder_and_decoder(generator, preset.pretrain_lr, preset.pretrain_encoder_lr_scale)
        self._optimiser = torch.optim.AdamW(
            groups, weight_decay=preset.pretrain_weight_decay, fused=device.type != "mps"
        )
        capture = preset.capture and device.type == "cuda" and preset.accumulate == 1
        self._captured = CapturedUpdate(self._optimiser, self._losses, self._processes) if capture else None
        self.networks = {"generator": generator, "average": self._average.network}
        self.optimisers = {"generator": self._optimiser}

    def _untrained(self) -> Generator:
        return beginning(self._preset)

    @staticmethod
    def _truth(batch: Batch) -> torch.Tensor:
        """CIELAB at the resolution that the generator predicts at."""
        return batch.lab

    def _losses(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with arithmetic(self._preset, self._device):
            predicted = self._call(batch.lightness)
        truth = self._truth(batch)
        predicted = predicted.to(truth.dtype)
        pixel = chroma_l1(predicted, truth[:, 1:])
        loss, losses = pixel, {"pixel_loss": pixel}
        if self._features is not None:
            with arithmetic(self._preset, self._device):
                perceptual = self._features(torch.cat([truth[:, :1], predicted], dim=1), truth)
            loss = pixel + self._preset.pretrain_perceptual_weight * perceptual
            losses["perceptual_loss"] = perceptual
        return loss, {"train_loss": loss, **losses}

    def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
        set_rates(self._optimiser, one_cycle(progress))
        self._generator.train()
        if self._captured is not None:
            losses = self._captured(batch)
        else:
            losses = update(self._optimiser, batch.parts(self._preset.accumulate), self._losses, self._processes)
        self._average.update(self._generator, step)
        return losses

    def validate(self) -> dict[str, float]:
        return self._validation.score(self._average.network)

    def result(self) -> nn.Module:
        return self._average.network


def pretraining_request(settings: Settings, preset: Preset) -> Request:
    """What this stage is asked: the pairs and the preset's fields for it."""
    asked: dict[str, Any] = {"pairs": pairs_version(settings.paths), "preset": preset.of_stage("pretrain")}
    weights = Path(preset.encoder_weights)
    if weights.is_file():
        asked["encoder_weights_sha256"] = sha256_of(weights)  # the name may stay when the file changes
    bundle = beginning_bundle(preset)
    if bundle is not None:
        asked["start"] = bundle.weights_sha256
    if preset.pretrain_perceptual_weight:
        asked["perceptual"] = perceptual_features(preset.perceptual_weights)
    return Request(settings, preset, STAGE, asked)


def pretrain_generator(
    settings: Settings, preset: Preset, on_epoch: OnEpoch, processes: Processes | None = None
) -> Trained:
    """The pretrained generator for these pairs and this preset: trained now, resumed, or as it was.

    Raises TrainingDiverged, SettingsProblem.
    """
    stage = PaperPretraining if preset.recipe == "paper" else Pretraining
    return run_stage(
        pretraining_request(settings, preset),
        lambda processes: stage(settings, preset, processes.device, processes),
        kind="generator",
        epochs=preset.pretrain_epochs,
        min_steps=preset.pretrain_min_steps,
        patience=preset.pretrain_patience,
        architecture=preset.generator_architecture,
        on_epoch=on_epoch,
        preview=preview_of(settings),
        processes=processes,
    )
