"""Losses and gradient norms: kept on the device, read late, and watched.

Belongs here: numbers of steps and what they say about the training's health. When they are read is the
loop's affair: reading waits for the device, and nothing else here does.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

#: A loss has exploded when its size stays above this many times what it was at its calmest.
_EXPLOSION = 100.0
#: Losses of this project are near 1, so a loss that was calmer than that is measured against 1: a hinge
#: loss may be 0 for a while, and a critic's verdict passes through 0.
_NORMAL_LOSS = 1.0
#: Steps over which the median is taken, at least and at most; three epochs' steps in between.
_FEWEST_STEPS, _MOST_STEPS = 20, 200
#: Last steps whose median says whether a checkpoint of now could be one of an exploding training.
_LAST_STEPS = 5

#: A value read, with its step.
Reading = tuple[int, float]


class TrainingDiverged(Exception):
    """A loss exploded or is no longer a number; the message names the step and what to do."""


def diverged(what: str) -> TrainingDiverged:
    """The exception for ``what`` happened, a sentence without its full stop."""
    return TrainingDiverged(
        f"{what}; the last good checkpoint is kept. Lower the learning rate, or use precision=float32."
    )


class LateValues:
    """Numbers by name that stay on the device until they are read, and their means over the epoch under way."""

    def __init__(self) -> None:
        self._unread: list[tuple[int, Mapping[str, torch.Tensor]]] = []
        self._epoch: dict[str, list[float]] = {}
        #: Means over what was read last.
        self.latest: dict[str, float] = {}

    def add(self, step: int, values: Mapping[str, torch.Tensor]) -> None:
        """Keep the detached scalars of a step; not every step has to have every name."""
        self._unread.append((step, values))

    def read(self) -> dict[str, list[Reading]]:
        """What was added since the last time, read from the device now: one wait for each name."""
        steps: dict[str, list[int]] = {}
        tensors: dict[str, list[torch.Tensor]] = {}
        for step, values in self._unread:
            for name, tensor in values.items():
                steps.setdefault(name, []).append(step)
                tensors.setdefault(name, []).append(tensor.reshape(()))
        self._unread = []
        read = {name: list(zip(steps[name], torch.stack(tensors[name]).tolist(), strict=True)) for name in tensors}
        for name, readings in read.items():
            self._epoch.setdefault(name, []).extend(value for _, value in readings)
            self.latest[name] = math.fsum(value for _, value in readings) / len(readings)
        return read

    def means(self) -> dict[str, float]:
        """Means over what was read of the epoch under way."""
        return {name: math.fsum(values) / len(values) for name, values in self._epoch.items()}

    def begin_epoch(self) -> None:
        self._epoch = {}

    def state(self) -> dict[str, list[float]]:
        """What was read of the epoch under way; everything has to be read before."""
        assert not self._unread, "these values would be lost"
        return self._epoch

    def load_state(self, state: dict[str, list[float]]) -> None:
        self._epoch = state


class LossWatch:
    """Finds losses that are no numbers, and losses that exploded.

    A loss has exploded when the median of its size over the last steps (three epochs' steps, 20 to 200) is
    over 100 times the smallest such median so far, or over 100 where that was below 1. Single wild steps, and
    losses that are negative or wander around zero, are therefore none. What is found does not depend on
    when losses are read.
    """

    def __init__(self, steps_per_epoch: int):
        self._patience = min(max(3 * steps_per_epoch, _FEWEST_STEPS), _MOST_STEPS)
        self._recent: dict[str, list[Reading]] = {}
        self._calmest: dict[str, float] = {}

    def look_at(self, read: Mapping[str, list[Reading]]) -> None:
        """Judge what was read, in the order of the steps.

        Raises TrainingDiverged that names the loss, its value and the step.
        """
        broken = [
            (step, name, value) for name, all_ in read.items() for step, value in all_ if not math.isfinite(value)
        ]
        if broken:
            step, name, value = min(broken, key=lambda entry: entry[0])
            raise diverged(f"The loss `{name}` is {value} at step {step}")
        for name, readings in read.items():
            self._follow(name, readings)

    def _follow(self, name: str, readings: list[Reading]) -> None:
        line = self._recent.get(name, []) + readings
        sizes = np.abs([value for _, value in line])
        self._recent[name] = line[1 - self._patience :]
        if len(line) < self._patience:
            return
        windows = np.lib.stride_tricks.sliding_window_view(sizes, self._patience)
        for start, median in enumerate(np.median(windows, axis=1).tolist()):
            calmest = self._calmest.get(name, median)
            if median > self._limit(calmest):
                first = next(step for step, value in line[start:] if abs(value) > self._limit(calmest))
                raise diverged(
                    f"The loss `{name}` exploded at step {first}: over {self._patience} steps it is about "
                    f"{median:.3g}, and it was about {calmest:.3g}"
                )
            self._calmest[name] = min(calmest, median)

    @staticmethod
    def _limit(calmest: float) -> float:
        return _EXPLOSION * max(_NORMAL_LOSS, calmest)

    @property
    def suspicious(self) -> bool:
        """Whether the last few steps look like an explosion that has not lasted long enough yet."""
        return any(
            float(np.median([abs(value) for _, value in self._recent[name][-_LAST_STEPS:]])) > self._limit(calmest)
            for name, calmest in self._calmest.items()
        )

    def state(self) -> dict[str, Any]:
        return {"recent": self._recent, "calmest": self._calmest}

    def load_state(self, state: dict[str, Any]) -> None:
        self._recent, self._calmest = state["recent"], state["calmest"]


@torch.no_grad()
def gradient_norms(optimisers: Mapping[str, torch.optim.Optimizer]) -> dict[str, torch.Tensor]:
    """Euclidean norm of all gradients that each optimiser last used, left on the device; without any, no entry.

    What a stage clips is measured after clipping.
    """
    norms = {}
    for name, optimiser in optimisers.items():
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if gradients:
            norms[f"gradient_norm/{name}"] = nn.utils.get_total_norm(gradients)
    return norms


def learning_rates(optimisers: Mapping[str, torch.optim.Optimizer]) -> dict[str, float]:
    """The rate of each optimiser, or of each of its parameter groups where there are several."""
    rates = {}
    for name, optimiser in optimisers.items():
        groups = optimiser.param_groups
        for number, group in enumerate(groups):
            suffix = f"/{number}" if len(groups) > 1 else ""
            rates[f"learning_rate/{name}{suffix}"] = float(group["lr"])
    return rates


def check_weights(networks: Mapping[str, nn.Module], step: int) -> None:
    """A finite loss can have a gradient that is not: the weights show it one step before the loss does.

    Raises TrainingDiverged.
    """
    for name, network in networks.items():
        finite = [tensor.isfinite().all() for tensor in network.state_dict().values()]
        if finite and not bool(torch.stack(finite).all()):
            raise diverged(f"The weights of the {name} are no longer finite at step {step}")
