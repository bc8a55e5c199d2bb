"""The preset `paper`: its three stages, from the paper's networks, schedules and losses.

Belongs here: what a step of each stage does, and the pictures that the critic learns from. The networks are in
`networks.dynamic_unet` and `networks.paper_critic`, schedules in `paper_schedule`, the adversarial step in
`paper_gan`. Where fastai has a fault these stages do what was meant; `original_faults` restores the fault.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from kwcolor_pipeline.home import Home, atomic_folder
from kwcolor_pipeline.networks.bundle import Bundle, load_critic, load_generator
from kwcolor_pipeline.networks.dynamic_unet import DynamicUnet
from kwcolor_pipeline.networks.paper_colorizer import PaperColorizer
from kwcolor_pipeline.networks.paper_critic import PaperCritic
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.training.data import Batch, PictureCache, centre_crops, open_cache
from kwcolor_pipeline.training.loop import Stage
from kwcolor_pipeline.training.paper_gan import BETAS, AdaptiveSwitcher, PaperGan, patch_accuracy, patch_loss
from kwcolor_pipeline.training.paper_schedule import OneCycle, freeze_all_but_last, layer_rates, paper_adam
from kwcolor_pipeline.training.presets import Preset
from kwcolor_pipeline.training.processes import Processes
from kwcolor_pipeline.training.stages import latest, pairs_version
from kwcolor_pipeline.training.update import update
from kwcolor_pipeline.training.validation import Validation, arithmetic

GENERATOR_STAGE, CRITIC_STAGE = "pretrained_generator", "critic"
#: Where the paper trains the decoder alone, the rate rises for most of the time; afterwards for 0.3 of it.
_FROZEN_WARM_UP, _WARM_UP = 0.8, 0.3


def build_paper_generator(preset: Preset) -> PaperColorizer:
    """The untrained generator of the preset."""
    unet = DynamicUnet(preset.encoder, preset.encoder_weights, initialisation_is_lost=preset.original_faults)
    return PaperColorizer(unet)


def build_paper_critic(preset: Preset) -> PaperCritic:
    """The untrained critic of the preset: `critic_widths` double from layer to layer."""
    return PaperCritic.of_widths(preset.critic_widths)


class PaperPretraining(Stage):
    """Mean squared error on ImageNet-normalised RGB; first the decoder alone, then all layers at their own rates."""

    def __init__(self, settings: Settings, preset: Preset, device: torch.device, processes: Processes | None = None):
        self._preset, self._device = preset, device
        self._processes = processes or Processes.single(device)
        self._colorizer = build_paper_generator(preset).to(device)
        self._call = torch.compile(self._colorizer.unet) if preset.compile else self._colorizer.unet
        self._validation = Validation(settings, preset, device)
        unet, groups = self._colorizer.unet, self._colorizer.unet.layer_groups()
        shared: dict[str, Any] = {
            "weight_decay": preset.pretrain_weight_decay,
            "decay_norm_and_bias": preset.original_faults,
            "fused": device.type != "mps",
        }
        rates = layer_rates(preset.pretrain_shallow_lr, preset.pretrain_lr, len(groups))
        # fastai forgets the moments when it unfreezes, so each part has an optimiser of its own.
        frozen = paper_adam(unet, groups, [preset.pretrain_lr] * len(groups), **shared)
        unfrozen = paper_adam(unet, groups, rates, **shared)
        self._frozen_share = preset.pretrain_frozen_epochs / preset.pretrain_epochs
        self.networks = {"generator": self._colorizer}
        self.optimisers = {"frozen": frozen, "unfrozen": unfrozen}

    def _begin(self, progress: float) -> torch.optim.Optimizer:
        """The optimiser of this part of the training, its rate and momentum set, its layers free to learn."""
        unet = self._colorizer.unet
        if progress < self._frozen_share:
            freeze_all_but_last(unet, unet.layer_groups())
            OneCycle(_FROZEN_WARM_UP).apply(self.optimisers["frozen"], progress / self._frozen_share)
            return self.optimisers["frozen"]
        unet.requires_grad_(True)
        rest = (progress - self._frozen_share) / (1 - self._frozen_share)
        OneCycle(_WARM_UP).apply(self.optimisers["unfrozen"], rest)
        return self.optimisers["unfrozen"]

    def _error(self, batch: Batch) -> torch.Tensor:
        colorizer = self._colorizer
        with arithmetic(self._preset, self._device):
            coloured = self._call(colorizer.grey(batch.lightness))
        return F.mse_loss(coloured.float(), colorizer.normalised(batch.rgb))

    def _losses(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = self._error(batch)
        return loss, {"train_loss": loss}

    def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
        optimiser = self._begin(progress)
        self._colorizer.train()
        for other in self.optimisers.values():
            other.zero_grad(set_to_none=True)
        return update(optimiser, batch.parts(self._preset.accumulate), self._losses, self._processes)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        self._colorizer.eval()
        count = sum(len(batch.lightness) for batch in self._validation.batches)
        loss = sum(float(self._error(batch)) * len(batch.lightness) for batch in self._validation.batches) / count
        return {"valid_loss": loss, **self._validation.score(self._colorizer)}

    def result(self) -> nn.Module:
        return self._colorizer


def save_generated(settings: Settings, preset: Preset, generator: Bundle, device: torch.device) -> Path:
    """The generator's pictures of the training and validation photographs, as the paper keeps them; made once.

    Gives the folder: ``train/`` and ``valid/`` hold a PNG of the centre of each photograph, ``size`` pixels wide.
    """
    home = settings.paths
    name = f"{generator.weights_sha256[:16]}-{pairs_version(home)[:16]}-{preset.size}"
    folder = home.models / "critic" / "generated" / name
    if folder.exists():
        return folder
    colorizer = _paper_generator(generator, device)
    with atomic_folder(folder) as temporary:
        for split in ("train", "valid"):
            (temporary / split).mkdir()
            cache = _squares(home, preset, split)
            batches = centre_crops(cache, preset.size, preset.batch_size, device)
            number = 0
            for batch in batches:
                with torch.no_grad(), arithmetic(preset, device):
                    pictures = colorizer.rgb(batch.lightness)
                levels = (pictures.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
                for picture in levels:
                    Image.fromarray(picture).save(temporary / split / f"{cache.photo_ids[number]}.png")
                    number += 1
    return folder


def _paper_generator(bundle: Bundle, device: torch.device) -> PaperColorizer:
    """The bundle's generator. Raises SettingsProblem where it is not the paper's."""
    colorizer = load_generator(bundle, device)
    if not isinstance(colorizer, PaperColorizer):
        raise SettingsProblem(
            "The pretrained generator is not the paper's; materialize pretrained_generator with the preset paper first."
        )
    return colorizer


def critic_steps(settings: Settings, preset: Preset) -> int:
    """Steps of the critic's training: its pictures are the photographs and as many generated ones."""
    pictures = 2 * len(_squares(settings.paths, preset, "train"))
    return preset.critic_epochs * -(-pictures // preset.batch_size)


def _squares(home: Home, preset: Preset, split: str) -> PictureCache:
    return open_cache(home, split, preset.size, pairs_version(home))


class CriticPictures:
    """Photographs and generated pictures of one split in one shuffled row, each mirrored or not.

    Several processes share out each batch; the last one of an epoch is smaller, and some may get none of it.
    """

    def __init__(
        self,
        settings: Settings,
        preset: Preset,
        generated: Path,
        split: str,
        device: torch.device,
        rank: int = 0,
        ranks: int = 1,
    ):
        cache = _squares(settings.paths, preset, split)
        real = [batch.rgb.cpu() for batch in centre_crops(cache, preset.size, preset.batch_size, torch.device("cpu"))]
        made = [np.asarray(Image.open(generated / split / f"{name}.png")) for name in cache.photo_ids]
        self._levels = torch.cat(
            [
                (torch.cat(real) * 255).round().to(torch.uint8),
                torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2),
            ]
        )
        self._labels = torch.arange(2 * len(cache)) < len(cache)
        self._seed, self._batch_size, self._device = preset.seed, preset.batch_size, device
        self._rank, self._ranks = rank, ranks

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self._levels) // self._batch_size)

    def count(self, step: int) -> int:
        """How many pictures all processes together see in ``step``."""
        return min(self._batch_size, len(self._levels) - step % self.steps_per_epoch * self._batch_size)

    def at(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """sRGB (N, 3, S, S) in 0..1 and whether each is a photograph (N,): this process's rows of the step's batch.

        A pure function of the step.
        """
        epoch, number = divmod(step, self.steps_per_epoch)
        rng = np.random.default_rng([self._seed, 2, epoch])
        rows = rng.permutation(len(self._levels))[number * self._batch_size :][: self._batch_size]
        mirrored = torch.from_numpy(np.random.default_rng([self._seed, 3, step]).random(len(rows)) < 0.5)
        own = slice(len(rows) * self._rank // self._ranks, len(rows) * (self._rank + 1) // self._ranks)
        mirrored = mirrored[own]
        pictures, labels = self._of(torch.from_numpy(rows[own]))
        return torch.where(mirrored.to(self._device).view(-1, 1, 1, 1), pictures.flip(3), pictures), labels

    def in_order(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """All pictures once, as they are."""
        return [self._of(rows) for rows in torch.arange(len(self._levels)).split(self._batch_size)]

    def _of(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._levels[rows].to(self._device).float() / 255, self._labels[rows].to(self._device).float()


class PaperCriticTraining(Stage):
    """Binary cross-entropy over the patches of photographs and of saved generated pictures; accuracy over patches."""

    def __init__(self, settings: Settings, preset: Preset, device: torch.device, processes: Processes | None = None):
        self._preset, self._device = preset, device
        self._processes = processes or Processes.single(device)
        generator = latest(settings.paths, GENERATOR_STAGE).bundle
        generated = save_generated(settings, preset, generator, device)
        train = CriticPictures(
            settings, preset, generated, "train", device, self._processes.rank, self._processes.ranks
        )
        self._train = train
        self._valid = CriticPictures(settings, preset, generated, "valid", device)
        self._critic = build_paper_critic(preset).to(device)
        self._colorizer = _paper_generator(generator, device)
        self._optimiser = paper_adam(
            self._critic,
            [list(self._critic.parameters())],
            [preset.critic_lr],
            weight_decay=preset.pretrain_weight_decay,
            decay_norm_and_bias=preset.original_faults,
            fused=device.type != "mps",
        )
        self.networks = {"critic": self._critic}
        self.optimisers = {"critic": self._optimiser}

    def _logits(self, pictures: torch.Tensor) -> torch.Tensor:
        with arithmetic(self._preset, self._device):
            return self._critic(self._colorizer.normalised(pictures)).float()

    def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
        """Learns from the saved pictures; ``batch`` says only how far the training is."""
        OneCycle(_WARM_UP).apply(self._optimiser, progress)
        self._critic.train()
        pictures, labels = self._train.at(step)
        count = self._preset.accumulate
        parts = list(zip(pictures.tensor_split(count), labels.tensor_split(count), strict=True))
        # A smaller last batch has no equal parts: each counts by its pictures.
        even = self._train.count(step) / (count * self._processes.ranks)

        def losses_of(part: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            logits, photographed = self._logits(part[0]), part[1]
            # Without a picture there is nothing to learn, but the other processes wait for the gradients.
            loss = patch_loss(logits, photographed) * (len(logits) / even) if len(logits) else logits.sum()
            return loss, {"train_loss": loss}

        return update(self._optimiser, parts, losses_of, self._processes)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        self._critic.eval()
        seen = [(self._logits(pictures), labels) for pictures, labels in self._valid.in_order()]
        logits, labels = torch.cat([one for one, _ in seen]), torch.cat([one for _, one in seen])
        loss, accuracy = float(patch_loss(logits, labels)), float(patch_accuracy(logits, labels))
        return {"valid_loss": loss, "accuracy": accuracy, "accuracy_thresh_expand": accuracy, "score": loss}

    def result(self) -> nn.Module:
        return self._critic


class PaperAdversarial(Stage):
    """Critic and generator in turns, by the adaptive switch; the generator's encoder is frozen."""

    def __init__(self, settings: Settings, preset: Preset, device: torch.device, processes: Processes | None = None):
        self._preset, self._device = preset, device
        colorizer = _paper_generator(latest(settings.paths, GENERATOR_STAGE).bundle, device)
        self._colorizer = colorizer
        self._critic = load_critic(latest(settings.paths, CRITIC_STAGE).bundle, device)
        self._validation = Validation(settings, preset, device)
        shared: dict[str, Any] = {
            "weight_decay": preset.pretrain_weight_decay,
            "decay_norm_and_bias": preset.original_faults,
            "betas": BETAS,
            "fused": device.type != "mps",
        }
        decoder = colorizer.unet.layer_groups()[-1]
        self.optimisers = {
            "generator": paper_adam(colorizer.unet, [decoder], [preset.gan_lr], **shared),
            "critic": paper_adam(self._critic, [list(self._critic.parameters())], [preset.gan_critic_lr], **shared),
        }
        self.networks = {"generator": colorizer, "critic": self._critic}
        self._gan = PaperGan(
            colorizer.unet,
            self._critic,
            self.optimisers["generator"],
            self.optimisers["critic"],
            rate=preset.gan_lr,
            critic_rate_factor=preset.gan_critic_lr / preset.gan_lr,
            loss_weights=(preset.gan_adversarial_weight, preset.gan_pixel_weight),
            switcher=AdaptiveSwitcher(preset.gan_critic_threshold),
            arithmetic=lambda: arithmetic(preset, device),
            as_original=preset.original_faults,
            accumulate=preset.accumulate,
            processes=processes,
        )

    def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
        grey, truth = self._colorizer.grey(batch.lightness), self._colorizer.normalised(batch.rgb)
        done = self._gan.step(grey, truth)
        return {"train_loss": done.losses[f"{done.phase}_loss"], **done.losses}

    def validate(self) -> dict[str, float]:
        self._gan.begin_validation()
        found = self._validation.score(self._colorizer)
        self._gan.begin_epoch()
        return found

    def result(self) -> nn.Module:
        return self._colorizer

    def state(self) -> dict[str, Any]:
        return self._gan.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        self._gan.load_state_dict(state)
