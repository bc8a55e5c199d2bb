"""Stage 2: the critic learns to tell the pretrained generator's pictures from originals."""

import torch
from torch import nn

from kwcolor_pipeline.networks.bundle import load_generator
from kwcolor_pipeline.networks.critic import Critic
from kwcolor_pipeline.networks.devices import pick_device
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.training.data import Batch, centre_crops, open_cache
from kwcolor_pipeline.training.loop import OnEpoch, Stage
from kwcolor_pipeline.training.losses import critic_hinge
from kwcolor_pipeline.training.paper_stages import PaperCriticTraining, critic_steps
from kwcolor_pipeline.training.presets import Preset
from kwcolor_pipeline.training.pretraining import STAGE as GENERATOR_STAGE
from kwcolor_pipeline.training.processes import Processes
from kwcolor_pipeline.training.stages import Request, Trained, latest, pairs_version, run_stage
from kwcolor_pipeline.training.update import update
from kwcolor_pipeline.training.validation import arithmetic

STAGE = "critic"
#: Adam's moments for adversarial training: no momentum for the gradient (arXiv 1805.08318).
BETAS = (0.0, 0.99)


def with_chroma(lab: torch.Tensor, chroma: torch.Tensor) -> torch.Tensor:
    """The pictures ``lab`` (N, 3, h, w) with other a*, b* (N, 2, h, w)."""
    return torch.cat([lab[:, :1], chroma], dim=1)


class CriticTraining(Stage):
    """Adam on the hinge loss; the generator is fixed, so both kinds of picture stay as they are."""

    def __init__(self, settings: Settings, preset: Preset, device: torch.device, processes: Processes | None = None):
        self._preset, self._device = preset, device
        self._processes = processes or Processes.single(device)
        self._generator = load_generator(latest(settings.paths, GENERATOR_STAGE).bundle, device).requires_grad_(False)
        self._critic = Critic(preset.critic_widths).to(device)
        self._optimiser = torch.optim.Adam(
            self._critic.parameters(), lr=preset.critic_lr, betas=BETAS, fused=device.type != "mps"
        )
        home = settings.paths
        cache = open_cache(home, "valid", preset.size, pairs_version(home))
        self._valid = list(centre_crops(cache, preset.size, preset.batch_size, device))
        self.networks = {"critic": self._critic}
        self.optimisers = {"critic": self._optimiser}

    def _scores(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Patch scores of the photographs and of the generated pictures."""
        with torch.no_grad(), arithmetic(self._preset, self._device):
            chroma = self._generator(batch.lightness)
        generated = with_chroma(batch.lab, chroma.to(batch.lab.dtype))
        return self._critic(batch.lab), self._critic(generated)

    def _losses(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = critic_hinge(*self._scores(batch))
        return loss, {"train_loss": loss}

    def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
        self._critic.train()
        return update(self._optimiser, batch.parts(self._preset.accumulate), self._losses, self._processes)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        self._critic.eval()
        losses, right, count = 0.0, 0.0, 0
        for batch in self._valid:
            photographs, generated = self._scores(batch)
            losses += float(critic_hinge(photographs, generated)) * len(photographs)
            right += float(((photographs > 0).float().mean() + (generated < 0).float().mean()) / 2) * len(photographs)
            count += len(photographs)
        return {"valid_loss": losses / count, "accuracy": right / count, "score": losses / count}

    def result(self) -> nn.Module:
        return self._critic


def critic_request(settings: Settings, preset: Preset) -> Request:
    """What this stage is asked: the pairs, the pretrained generator and the preset's fields for it."""
    home = settings.paths
    asked = {
        "pairs": pairs_version(home),
        "generator": latest(home, GENERATOR_STAGE).result.data_version,
        "preset": preset.of_stage("critic"),
    }
    return Request(settings, preset, STAGE, asked)


def train_critic(settings: Settings, preset: Preset, on_epoch: OnEpoch, processes: Processes | None = None) -> Trained:
    """The critic for the latest pretrained generator: trained now, resumed, or as it was.

    Raises TrainingDiverged, SettingsProblem.
    """
    processes = processes or Processes.single(pick_device(settings.device))
    is_paper = preset.recipe == "paper"
    with processes.first_before_others():  # counting the paper's pictures decodes them
        steps = critic_steps(settings, preset) if is_paper else 0
    stage = PaperCriticTraining if is_paper else CriticTraining
    return run_stage(
        critic_request(settings, preset),
        lambda processes: stage(settings, preset, processes.device, processes),
        kind="critic",
        epochs=preset.critic_epochs,
        min_steps=max(preset.critic_min_steps, steps),
        architecture=preset.critic_architecture,
        on_epoch=on_epoch,
        processes=processes,
    )
