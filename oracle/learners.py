"""fastai's learners on pictures that are given, made so that nothing but the pictures decides.

Belongs here: what the schedule's and the training's checks both ask of fastai.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.layers import NormType
from fastai.learner import Learner
from fastai.losses import MSELossFlat
from fastai.vision.gan import AdaptiveLoss, gan_critic
from fastai.vision.learner import unet_learner
from torch import nn
from torch.nn import functional as F

from kwcolor_pipeline.training.paper_schedule import WEIGHT_DECAY
from oracle.networks_check import ARCHITECTURES


@dataclass(frozen=True)
class Pictures:
    """Batches of (grey, colour), both normalised RGB (N, 3, S, S), to learn from and to validate on."""

    train: list[tuple[torch.Tensor, torch.Tensor]]
    valid: list[tuple[torch.Tensor, torch.Tensor]]

    @classmethod
    def drawn(
        cls, *, batches: int, batch_size: int, size: int, dtype: torch.dtype = torch.float32, valid: int = 1
    ) -> "Pictures":
        """Smooth colours and their grey, from a seed of their own."""
        generator = torch.Generator().manual_seed(3)

        def batch() -> tuple[torch.Tensor, torch.Tensor]:
            coarse = torch.randn(batch_size, 3, 8, 8, generator=generator)
            colour = F.interpolate(coarse, (size, size), mode="bilinear").to(dtype)
            return colour.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1).contiguous(), colour

        return cls([batch() for _ in range(batches)], [batch() for _ in range(valid)])

    def loaders(self) -> DataLoaders:
        """fastai's loaders that give these batches in this order."""
        loaders = []
        for batches in (self.train, self.valid):
            items = [(x, y) for grey, colour in batches for x, y in zip(grey, colour, strict=True)]
            loaders.append(DataLoader(items, bs=len(batches[0][0]), shuffle=False, num_workers=0))
        return DataLoaders(*loaders)


class Seeds(Callback):
    """Begins every training batch with a seed of its own, so that dropout is the same wherever it runs."""

    def before_batch(self) -> None:
        if self.training:
            torch.manual_seed(seed_of(self.train_iter))


def seed_of(step: int) -> int:
    """The seed that step ``step`` begins with."""
    return 1000 + step


class Losses(Callback):
    """Keeps the raw loss of every training batch and, with a GAN, who learned."""

    def before_fit(self) -> None:
        self.kept: list[tuple[str, float]] = []

    def after_batch(self) -> None:
        if self.training:
            trainer = getattr(self.learn, "gan_trainer", None)
            phase = "" if trainer is None else "generator" if trainer.gen_mode else "critic"
            self.kept.append((phase, float(self.loss)))


def _mean_squared_error(coloured: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """MSELossFlat for double precision: fastai's makes the pictures single precision.

    Only the sum is rounded, as fastai's recorder wants it; no gradient depends on that.
    """
    return F.mse_loss(coloured, truth).float()


def _patch_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """AdaptiveLoss for double precision: fastai's labels are single precision, and PyTorch's loss then too."""
    return F.binary_cross_entropy_with_logits(logits, labels[:, None].expand_as(logits)).float()


def generator_learner(pictures: Pictures, architecture: str, cbs: Sequence[Callback] = ()) -> Learner:
    """fastai's `unet_learner` as the paper calls it, without ImageNet weights, in the pictures' precision."""
    dtype = pictures.train[0][0].dtype
    learner = unet_learner(
        pictures.loaders(),
        ARCHITECTURES[architecture],
        normalize=False,
        n_out=3,
        pretrained=False,
        loss_func=_mean_squared_error if dtype == torch.float64 else MSELossFlat(),
        wd=WEIGHT_DECAY,
        cbs=list(cbs),
        blur=True,
        self_attention=True,
        norm_type=NormType.Weight,
        y_range=(-3, 3),
        last_cross=True,
    )
    learner.model.to(dtype)
    if dtype == torch.float64:
        learner.model.layers[-1] = nn.Identity()  # it only names the tensor's class, and makes it float32
    return learner


def critic_learner(pictures: Pictures, width: int = 128, blocks: int = 3) -> Learner:
    """fastai's learner of `gan_critic` as the paper makes it, in the pictures' precision."""
    dtype = pictures.train[0][0].dtype
    return Learner(
        pictures.loaders(),
        gan_critic(nf=width, n_blocks=blocks).to(dtype),
        loss_func=_patch_loss if dtype == torch.float64 else AdaptiveLoss(nn.BCEWithLogitsLoss()),
        wd=WEIGHT_DECAY,
    )
