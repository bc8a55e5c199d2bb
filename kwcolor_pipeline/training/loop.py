"""The training loop: steps, epochs, validation, checkpoints, resuming.

A stage brings networks, optimisers, one step and one validation; the loop knows nothing else
about it. Losses are read from the device once an epoch.
"""

import math
import pickle
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from kwcolor_pipeline.home import atomic_path
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline.training.data import Batch

#: Called after every epoch with its record: epoch, step, losses, validation, images a second.
OnEpoch = Callable[[dict[str, float]], None]
#: Seconds between checkpoints; a killed training loses no more than that.
_CHECKPOINT_SECONDS = 20.0


class TrainingDiverged(Exception):
    """A loss is no longer a number; the message names the step and what to do."""


class Stage(ABC):
    """What is trained. ``networks`` and ``optimisers`` are everything that a checkpoint holds."""

    networks: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]

    @abstractmethod
    def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
        """Learn from one batch; ``progress`` runs from 0 to 1. Gives detached losses, left on the device."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Measure on the validation split; ``score`` (lower is better) chooses the epoch that is kept."""

    @abstractmethod
    def result(self) -> nn.Module:
        """The network that the stage is there for, as it stands."""


def one_cycle(progress: float, warm_up: float = 0.2, start: float = 0.04) -> float:
    """Learning rate over its peak: cosine up from ``start``, then cosine down to nearly zero (arXiv 1708.07120)."""
    if progress < warm_up:
        return start + (1 - start) * (1 - math.cos(math.pi * progress / warm_up)) / 2
    return 1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Give every parameter group ``factor`` times its own ``peak_lr``."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak_lr"] * factor


class _Best:
    """The stage's network at its best validation score, in memory and in every checkpoint."""

    def __init__(self) -> None:
        self.score = math.inf
        self.epoch = 0
        self.state: dict[str, torch.Tensor] = {}

    def offer(self, score: float, epoch: int, network: nn.Module) -> None:
        if score < self.score:
            self.score, self.epoch = score, epoch
            self.state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


class _Progress:
    """Where the loop stands: steps done, finished epochs, losses of the epoch under way."""

    def __init__(self) -> None:
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.losses: list[dict[str, torch.Tensor]] = []


def _save(path: Path, stage: Stage, best: _Best, progress: _Progress, asked: str) -> None:
    state: dict[str, Any] = {
        "asked": asked,
        "progress": vars(progress),
        "best": vars(best),
        "networks": {name: network.state_dict() for name, network in stage.networks.items()},
        "optimisers": {name: optimiser.state_dict() for name, optimiser in stage.optimisers.items()},
        "torch_random": torch.get_rng_state(),
    }
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def _resume(path: Path, stage: Stage, best: _Best, progress: _Progress, asked: str) -> None:
    """Restore everything from the checkpoint, if there is one of the same request."""
    if not path.exists():
        return
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise SettingsProblem(f"The checkpoint {path} is damaged; delete it to begin this training anew.") from error
    if state["asked"] != asked:
        return
    for name, network in stage.networks.items():
        network.load_state_dict(state["networks"][name])
    for name, optimiser in stage.optimisers.items():
        optimiser.load_state_dict(state["optimisers"][name])
    torch.set_rng_state(state["torch_random"])
    vars(best).update(state["best"])
    vars(progress).update(state["progress"])


def _check_weights(stage: Stage, step: int) -> None:
    """A finite loss can have a gradient that is not: the weights show it one step before the loss does."""
    for name, network in stage.networks.items():
        if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
            raise _diverged(f"The weights of the {name} are no longer finite", step)


def _diverged(what: str, step: int) -> TrainingDiverged:
    return TrainingDiverged(
        f"{what} at step {step}; the last good checkpoint is kept. Lower the learning rate, or use precision=float32."
    )


def _means(progress: _Progress) -> dict[str, float]:
    """Mean of each loss over the epoch under way, read from the device now.

    Raises TrainingDiverged when one is not finite.
    """
    means = {}
    first_step = progress.step - len(progress.losses)
    for name in progress.losses[0] if progress.losses else ():
        # Losses of before a checkpoint are on the host, later ones on the device.
        values = torch.stack([losses[name].cpu() for losses in progress.losses]).float()
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            raise _diverged(f"The loss `{name}` is {float(values[bad[0, 0]])}", first_step + int(bad[0, 0]))
        means[name] = float(values.mean())
    return means


def train(
    stage: Stage,
    batches: Callable[[int], Batch],
    *,
    steps: int,
    steps_per_epoch: int,
    checkpoint: Path,
    asked: str,
    label: str,
    on_epoch: OnEpoch,
) -> tuple[list[dict[str, float]], int]:
    """Train for ``steps`` steps, or finish what a killed training of the same request (``asked``) began.

    The stage's result is set to its best validated epoch. Gives the history (one record per epoch)
    and the best epoch's number.
    Raises TrainingDiverged when a loss or a weight is not finite, SettingsProblem when the checkpoint is damaged.
    """
    best, done = _Best(), _Progress()
    _resume(checkpoint, stage, best, done, asked)
    began = saved = time.monotonic()
    images = 0
    with tqdm(total=steps, initial=done.step, desc=label, unit="step", disable=not sys.stderr.isatty()) as bar:
        while done.step < steps:
            batch = batches(done.step)
            done.losses.append(stage.step(batch, done.step, done.step / steps))
            images += len(batch.lightness)
            done.step += 1
            bar.update()
            if done.step % steps_per_epoch == 0 or done.step == steps:
                epoch = len(done.history) + 1
                record = {"epoch": float(epoch), "step": float(done.step)} | _means(done)
                seconds = time.monotonic() - began
                _check_weights(stage, done.step)
                record |= {**stage.validate(), "images_per_second": images / seconds, "seconds": seconds}
                best.offer(record["score"], epoch, stage.result())
                done.history.append(record)
                done.losses, images, began = [], 0, time.monotonic()
                bar.set_postfix(score=f"{record['score']:.2f}")
                on_epoch(record)
            if done.step < steps and time.monotonic() - saved > _CHECKPOINT_SECONDS:
                _means(done)  # a checkpoint after a broken step would be no good one
                _check_weights(stage, done.step)
                _save(checkpoint, stage, best, done, asked)
                saved = time.monotonic()
    stage.result().load_state_dict(best.state)
    return done.history, best.epoch
