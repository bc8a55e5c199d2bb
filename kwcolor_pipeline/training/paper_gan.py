"""The paper's adversarial learning: losses, accuracy, the adaptive switch, and one step of it.

Belongs here: what is the same for every generator and critic. The networks are in `networks.dynamic_unet`
and `networks.paper_critic`; batches, epochs and checkpoints are the training loop's. `make oracle`
compares all of it with fastai's GANLearner.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from kwcolor_pipeline.training.processes import Processes
from kwcolor_pipeline.training.update import update

Phase = Literal["critic", "generator"]

#: Rates, weights and moments of the paper's adversarial stage.
RATE = 1e-4
CRITIC_RATE_FACTOR = 5.0
LOSS_WEIGHTS = (1.0, 100.0)
BETAS = (0.0, 0.5)
#: Just under ln 2, the loss of a critic that knows nothing.
CRITIC_THRESHOLD = 0.65


def _at_least_single(values: torch.Tensor) -> torch.Tensor:
    """Half precision becomes single; double stays, so that the oracle's comparison is not rounded."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _for_patches(photographed: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """One label a picture (N,) to one label a patch (N, patches)."""
    return photographed[:, None].expand_as(logits).to(logits.dtype)


def patch_loss(logits: torch.Tensor, photographed: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of patch logits (N, patches) where pictures are photographs (1) or generated (0) (N,)."""
    return F.binary_cross_entropy_with_logits(logits, _for_patches(photographed, logits))


def patch_accuracy(logits: torch.Tensor, photographed: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
    """Share of patches on the right side of ``threshold``; fastai's `accuracy_thresh_expand`."""
    return ((logits.sigmoid() > threshold) == (_for_patches(photographed, logits) > 0.5)).float().mean()


def critic_loss(on_photographs: torch.Tensor, on_generated: torch.Tensor) -> torch.Tensor:
    """Half the sum of the cross-entropies on photographs and on generated pictures."""
    ones = on_photographs.new_ones(len(on_photographs))
    zeros = on_generated.new_zeros(len(on_generated))
    return (patch_loss(on_photographs, ones) + patch_loss(on_generated, zeros)) / 2


@dataclass(frozen=True)
class GeneratorLoss:
    """The generator's loss and its two parts before they are weighted."""

    total: torch.Tensor
    adversarial: torch.Tensor
    pixel: torch.Tensor


def generator_loss(
    on_generated: torch.Tensor,
    generated: torch.Tensor,
    truth: torch.Tensor,
    weights: tuple[float, float] = LOSS_WEIGHTS,
) -> GeneratorLoss:
    """How far the critic is from being fooled, and the mean squared error, times ``weights``."""
    adversarial = patch_loss(on_generated, on_generated.new_ones(len(on_generated)))
    pixel = F.mse_loss(generated, truth)
    return GeneratorLoss(weights[0] * adversarial + weights[1] * pixel, adversarial, pixel)


@dataclass
class AdaptiveSwitcher:
    """Says who learns next: the critic until its batch loss is below a threshold, then the generator.

    It decides by the loss of the one batch before, as the original does. Without a threshold a network
    learns for one step at a time. A loss that is not a number switches nothing.
    """

    critic_threshold: float | None = CRITIC_THRESHOLD
    generator_threshold: float | None = None
    phase: Phase = "critic"

    def after_step(self, loss: float) -> None:
        """Take note of the loss that the learning network had."""
        threshold = self.critic_threshold if self.phase == "critic" else self.generator_threshold
        if threshold is None or loss < threshold:
            self.phase = "generator" if self.phase == "critic" else "critic"


@dataclass(frozen=True)
class GanStep:
    """What one step did: who learned, and the detached losses (`critic_loss`, or the generator's three)."""

    phase: Phase
    losses: dict[str, torch.Tensor]


class PaperGan:
    """Generator and critic learn in turns.

    In its phase a network is in training mode and the other in evaluation mode: its dropout is off and
    its spectral-norm vectors rest. Only the learning network's optimiser steps. What the generator's
    optimiser does not hold (in the paper the encoder's convolutions) is frozen.

    Args:
        generator: grey pictures to coloured ones, both ImageNet-normalised RGB (N, 3, H, W).
        critic: pictures to patch logits (N, patches).
        generator_optimiser, critic_optimiser: see :func:`paper_schedule.paper_adam`, with `BETAS`.
            Their rates are set here.
        rate: the generator's learning rate; the critic's is ``critic_rate_factor`` times that.
        arithmetic: gives the autocast context for the networks; losses are float32.
        accumulate: parts in which a batch is taken; batch statistics and dropout are of each part.
        processes: those that learn together; without, this one alone. All take the same turns.
        as_original: restore what fastai 2.8's GANLearner does:
            - until the first switch of an epoch both networks are in training mode, so that the generator's
              batch statistics move while the critic learns (or the critic drops out under the generator);
            - the waiting network is stepped with a gradient of zero: its weights decay, its moments fade;
            - validation runs with the generator in training mode, which moves its batch statistics, and
              the next epoch begins with the generator, whosever turn it was.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        generator_optimiser: torch.optim.Optimizer,
        critic_optimiser: torch.optim.Optimizer,
        *,
        rate: float = RATE,
        critic_rate_factor: float = CRITIC_RATE_FACTOR,
        loss_weights: tuple[float, float] = LOSS_WEIGHTS,
        switcher: AdaptiveSwitcher | None = None,
        arithmetic: Callable[[], AbstractContextManager[object]] = nullcontext,
        as_original: bool = False,
        accumulate: int = 1,
        processes: Processes | None = None,
    ):
        self.rate = rate
        self.switcher = switcher or AdaptiveSwitcher()
        self._networks: dict[Phase, nn.Module] = {"critic": critic, "generator": generator}
        self._optimisers: dict[Phase, torch.optim.Optimizer] = {
            "critic": critic_optimiser,
            "generator": generator_optimiser,
        }
        self._critic_rate_factor, self._loss_weights = critic_rate_factor, loss_weights
        self._arithmetic, self._as_original = arithmetic, as_original
        self._accumulate, self._processes = accumulate, processes or Processes.single(torch.device("cpu"))
        self._both_train = False
        for network in self._networks.values():
            network.requires_grad_(False)  # a step turns on what its optimiser holds
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """To be called before every epoch's first step."""
        self._both_train = self._as_original

    def begin_validation(self) -> None:
        """Put both networks in evaluation mode; the next step puts them back, and whose turn it is does not change."""
        for phase, network in self._networks.items():
            network.train(self._as_original and phase == "generator")
        if self._as_original:
            self.switcher.phase = "generator"

    def step(self, grey: torch.Tensor, truth: torch.Tensor) -> GanStep:
        """One step of whose turn it is. Reads its loss from the device, because the next turn depends on it."""
        phase = self.switcher.phase
        self._prepare(phase)
        losses_in_phase = self._critic_losses if phase == "critic" else self._generator_losses

        def losses_of(part: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            losses = losses_in_phase(*part)
            return losses[f"{phase}_loss"], losses

        parts = list(zip(grey.chunk(self._accumulate), truth.chunk(self._accumulate), strict=True))
        losses = self._processes.means(update(self._optimisers[phase], parts, losses_of, self._processes))
        self._optimisers[phase].zero_grad(set_to_none=True)
        if self._as_original:
            self._step_waiting(phase)
        self.switcher.after_step(float(losses[f"{phase}_loss"]))
        self._both_train = self._both_train and self.switcher.phase == phase
        return GanStep(phase, losses)

    def _prepare(self, learning: Phase) -> None:
        """Set modes, gradients and rates for a step in which ``learning`` learns."""
        rate = self.rate * (self._critic_rate_factor if learning == "critic" else 1)
        for phase, network in self._networks.items():
            network.train(self._both_train or phase == learning)
            for group in self._optimisers[phase].param_groups:
                group["lr"] = rate
                for parameter in group["params"]:
                    parameter.requires_grad_(phase == learning)

    def _critic_losses(self, grey: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
        generator, critic = self._networks["generator"], self._networks["critic"]
        with self._arithmetic():
            on_photographs = critic(truth)
            with torch.no_grad():
                generated = generator(grey)
            on_generated = critic(generated)
        return {"critic_loss": critic_loss(_at_least_single(on_photographs), _at_least_single(on_generated))}

    def _generator_losses(self, grey: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
        generator, critic = self._networks["generator"], self._networks["critic"]
        with self._arithmetic():
            generated = generator(grey)
            on_generated = critic(generated)
        seen, made = _at_least_single(on_generated), _at_least_single(generated)
        loss = generator_loss(seen, made, truth, self._loss_weights)
        return {"generator_loss": loss.total, "adversarial_loss": loss.adversarial, "pixel_loss": loss.pixel}

    def _step_waiting(self, learning: Phase) -> None:
        """The original's fault: the waiting network's gradients are zero and not absent, so Adam steps it too."""
        waiting = self._optimisers["generator" if learning == "critic" else "critic"]
        if not waiting.state:  # it has not learned yet, so its gradients are absent in the original as well
            return
        for parameter in list(waiting.state):
            parameter.grad = torch.zeros_like(parameter)
        waiting.step()
        waiting.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Whose turn it is: what a checkpoint holds beside the networks and the optimisers."""
        return {"phase": self.switcher.phase, "both_train": self._both_train}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.switcher.phase, self._both_train = state["phase"], state["both_train"]
