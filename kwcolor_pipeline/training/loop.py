"""The training loop: steps, epochs, validation, checkpoints, resuming.

A stage brings networks, optimisers, one step and one validation; the loop knows nothing else
about it. Losses stay on the device and are read every few seconds, at the end of an epoch, and before a
checkpoint; no step waits for the device.
"""

import contextlib
import logging
import math
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline.training.checkpoints import damaged, read_checkpoint, set_random_states, write_checkpoint
from kwcolor_pipeline.training.data import Batch
from kwcolor_pipeline.training.interruptions import Interruption, deferred_interruptions
from kwcolor_pipeline.training.processes import Processes
from kwcolor_pipeline.training.readings import (
    LateValues,
    LossWatch,
    TrainingDiverged,
    check_weights,
    gradient_norms,
    learning_rates,
)

log = logging.getLogger(__name__)

#: Called after every epoch with its record: epoch, step, losses, rates, gradient norms, validation, images a
#: second. A resumed training tells the epochs of before again, so that every listener has all of them.
OnEpoch = Callable[[dict[str, float]], None]
#: Called with the stage's result and the number of an epoch that was just validated.
Draw = Callable[[nn.Module, int], None]
#: Seconds between checkpoints, and as many times more as writing one takes whole seconds: 5 % of the time at
#: most. A killed training loses no more than that.
_CHECKPOINT_SECONDS = 20.0
#: Seconds between readings of the losses, each of which waits for the device.
_READ_SECONDS = 3.0
#: Steps between measured gradient norms.
_GRADIENT_STEPS = 10


class Stage(ABC):
    """What is trained. ``networks`` and ``optimisers``, with ``state()``, are all that a checkpoint needs to hold.

    The loop measures the gradients that a step leaves behind, so a step sets them to zero at its beginning.
    """

    networks: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]

    @abstractmethod
    def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
        """Learn from one batch; ``progress`` runs from 0 to 1. Gives detached losses, left on the device.

        Not every step has to give every loss. Losses are scaled to be near 1 (see readings.LossWatch).
        """

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Measure on the validation split; ``score`` (lower is better) chooses the epoch that is kept."""

    @abstractmethod
    def result(self) -> nn.Module:
        """The network that the stage is there for, as it stands."""

    def finish(self) -> dict[str, float]:
        """Change the result a last time, when it has its best epoch's weights; gives what was measured then."""
        return {}

    def state(self) -> dict[str, Any]:
        """What else decides how the stage goes on: tensors, numbers, texts, and lists and dicts of them."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:  # noqa: B027 - a stage without a state has nothing to do
        """Go on from what :meth:`state` gave; tensors come on the CPU."""


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


class _Pace:
    """Images and seconds since the last reading and since the epoch began, in this process."""

    def __init__(self) -> None:
        self.begin_epoch()

    def begin_epoch(self) -> None:
        self.read_at = self._epoch_at = time.monotonic()
        self._images_read = self._images = 0

    def add(self, images: int) -> None:
        self._images += images

    def read(self) -> float:
        """Images a second since the last reading, which just waited for the device."""
        images, seconds = self._images - self._images_read, time.monotonic() - self.read_at
        self._images_read, self.read_at = self._images, time.monotonic()
        return images / max(seconds, 1e-9)

    def of_epoch(self) -> dict[str, float]:
        seconds = time.monotonic() - self._epoch_at
        return {"images_per_second": self._images / max(seconds, 1e-9), "seconds": seconds}


@dataclass(frozen=True)
class _Due:
    """What is to be done between two steps, the same in all processes."""

    saving: bool
    reading: bool
    #: What to raise: this process's own interruption, or one for the sake of another's.
    stopping: BaseException | None

    def stop(self) -> None:
        if self.stopping is not None:
            raise self.stopping


def _received(interruption: Interruption) -> BaseException | None:
    """What the interruption that has come raises in this process; None where none has come."""
    try:
        interruption.deliver()
    except BaseException as raised:  # noqa: BLE001 - the loop raises it, when all processes know of it
        return raised
    return None


class _Training:
    """One training: where it stands, what was read of it, and its checkpoint."""

    def __init__(
        self,
        stage: Stage,
        steps: int,
        steps_per_epoch: int,
        checkpoint: Path,
        asked: str,
        about: Any,
        processes: Processes,
    ):
        self.stage, self.steps, self._steps_per_epoch = stage, steps, steps_per_epoch
        self._checkpoint, self._asked, self._about, self._processes = checkpoint, asked, about, processes
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.best = _Best()
        self.losses, self._norms, self._watch = LateValues(), LateValues(), LossWatch(steps_per_epoch)
        self.pace = _Pace()
        self._whole = True  # false while a step or a validation has done only a part of its work
        # Whether all processes are at the same place; saving takes all of them. Unknown when one is interrupted.
        self._together = processes.ranks == 1
        self._saved_step, self._saved_at, self._saving_took = 0, time.monotonic(), 0.0

    def learn(self, batch: Batch) -> None:
        self._whole = False
        losses = self.stage.step(batch, self.step, self.step / self.steps)
        self.losses.add(self.step, self._processes.means(losses))
        self.step += 1
        if self.step % _GRADIENT_STEPS == 0 or self.epoch_is_over:
            self._norms.add(self.step - 1, gradient_norms(self.stage.optimisers))
        self.pace.add(len(batch.lightness) * self._processes.ranks)
        self._whole = True

    @property
    def epoch_is_over(self) -> bool:
        """Whether an epoch's steps are done and its validation is not."""
        recorded = self.history[-1]["step"] if self.history else 0
        return self.step > recorded and (self.step % self._steps_per_epoch == 0 or self.step == self.steps)

    def gave_up(self, patience: int) -> bool:
        """Whether so many epochs have passed since the best one; never where ``patience`` is 0."""
        return 0 < patience <= len(self.history) - self.best.epoch

    def read(self) -> None:
        """Bring losses and gradient norms to the host. Raises TrainingDiverged."""
        self._norms.read()
        self._watch.look_at(self.losses.read())

    def finish_epoch(self, draw: Draw | None) -> dict[str, float]:
        """Validate, and record the epoch. Raises TrainingDiverged when a loss or a weight went wrong in it.

        All processes validate, each for itself: what they measure is the same up to rounding, and none has to wait.
        The first one's record counts, so all choose the same best epoch.
        """
        epoch = len(self.history) + 1
        self.read()
        pace = self.pace.of_epoch()
        self._processes.share_statistics(self.stage.networks)
        check_weights(self.stage.networks, self.step)
        self._whole = False
        record = {"epoch": float(epoch), "step": float(self.step), **self.losses.means(), **self.stage.validate()}
        record |= {**pace, **learning_rates(self.stage.optimisers), **self._norms.means()}
        record = self._processes.of_first(record)
        self.best.offer(record["score"], epoch, self.stage.result())
        if draw is not None and self._processes.is_first:
            draw(self.stage.result(), epoch)
        self.losses.begin_epoch()
        self._norms.begin_epoch()
        self.history.append(record)
        self._whole = True
        self.pace.begin_epoch()
        return record

    @property
    def reading_is_due(self) -> bool:
        return time.monotonic() - self.pace.read_at > _READ_SECONDS

    @property
    def saving_is_due(self) -> bool:
        pause = _CHECKPOINT_SECONDS * max(1.0, self._saving_took)
        return self.step > self._saved_step and time.monotonic() - self._saved_at > pause

    def save(self) -> None:
        """Write a checkpoint, unless the training may be exploding. Raises TrainingDiverged, SettingsProblem."""
        self.read()
        self._processes.share_statistics(self.stage.networks)
        check_weights(self.stage.networks, self.step)
        began = time.monotonic()
        if not self._watch.suspicious:
            if self._processes.is_first:
                write_checkpoint(self._checkpoint, self._asked, self._content())
            self._saved_step = self.step
        self._saved_at = time.monotonic()
        self._saving_took = self._saved_at - began

    def _content(self) -> dict[str, Any]:
        stage = self.stage
        return {
            "about": self._about,
            "step": self.step,
            "history": self.history,
            "losses": self.losses.state(),
            "norms": self._norms.state(),
            "watch": self._watch.state(),
            "best": vars(self.best),
            "networks": {name: network.state_dict() for name, network in stage.networks.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in stage.optimisers.items()},
            "stage": stage.state(),
        }

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one of the same request. Raises SettingsProblem.

        All processes read it and begin with the same weights; those after the first draw random numbers of their own.
        """
        self._processes.barrier()
        content = read_checkpoint(self._checkpoint, self._asked)
        if content is not None:
            self._go_on(content)
        self._processes.agree_on("checkpoint", f"step {self.step}")
        self._processes.share_weights(self.stage.networks)
        self._processes.draw_apart(f"{self._asked} from step {self.step}")

    def _go_on(self, content: dict[str, Any]) -> None:
        try:
            for name, network in self.stage.networks.items():
                network.load_state_dict(content["networks"][name])
            for name, optimiser in self.stage.optimisers.items():
                optimiser.load_state_dict(content["optimisers"][name])
            self.stage.load_state(content["stage"])
            self.losses.load_state(content["losses"])
            self._norms.load_state(content["norms"])
            self._watch.load_state(content["watch"])
            vars(self.best).update(content["best"])
            self.step, self.history = content["step"], content["history"]
            set_random_states(content["random"])
        except (LookupError, ValueError, TypeError, RuntimeError) as error:
            raise damaged(self._checkpoint) from error
        self._saved_step = self.step
        log.info("Training goes on at step %d of %d, from %s.", self.step, self.steps, self._checkpoint)

    @contextlib.contextmanager
    def saved_when_interrupted(self) -> Iterator[None]:
        """Save before Ctrl-C and other interruptions (what is no Exception) leave; errors pass as they are."""
        try:
            yield
        except Exception:
            raise
        except BaseException as interruption:
            sentence = f"Training was interrupted at step {self.step} of {self.steps}; {self._last_words()}"
            if self._processes.is_first:
                log.warning("%s", sentence)
            interruption.add_note(sentence)
            raise

    def due(self, interruption: Interruption) -> "_Due":
        """What all processes do now: the first one's clock decides, and an interruption of any stops all."""
        came = _received(interruption)
        first = self._processes.is_first
        saving, reading, stopping = self._processes.any(
            first and self.saving_is_due, first and self.reading_is_due, came is not None
        )
        self._together = self._together or stopping
        return _Due(saving, reading, came or (SystemExit(128 + signal.SIGTERM) if stopping else None))

    def _last_words(self) -> str:
        """Save what can be saved, and say where the next run goes on."""
        problem = ""
        if self._whole and self._together and self.step > self._saved_step:
            try:
                self.save()
            except (TrainingDiverged, SettingsProblem) as error:
                problem = f"it could not be saved there: {error} "
        if self._saved_step == 0:
            return f"{problem}the next run begins it anew."
        return f"{problem}the next run goes on at step {self._saved_step}."


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
    about: Any = None,
    draw: Draw | None = None,
    patience: int = 0,
    processes: Processes | None = None,
) -> tuple[list[dict[str, float]], int]:
    """Train for ``steps`` steps, or finish what a killed training of the same request (``asked``) began.

    ``batches`` gives the batch of a step, always the same one. ``about`` says in the checkpoint what was asked
    (preset, data), for people. An interruption (Ctrl-C, Dagster's) waits for the end of the step or the
    validation and is raised again after a checkpoint was written. With ``patience`` the training ends after so
    many epochs without a better one. With several ``processes``, ``batches`` gives this one's part; only the first
    writes, draws and tells ``on_epoch``, and all end at the same step.
    The stage's result is set to its best validated epoch. Gives the history (one record per epoch)
    and the best epoch's number.
    Raises TrainingDiverged when a loss explodes, or a loss or a weight is not finite; SettingsProblem when the
    checkpoint is damaged or cannot be written.
    """
    processes = processes or Processes.single(torch.device("cpu"))
    training = _Training(stage, steps, steps_per_epoch, checkpoint, asked, about, processes)
    training.resume()

    def tell(record: dict[str, float]) -> None:
        if processes.is_first:
            on_epoch(record)

    shown = tqdm(
        total=steps,
        initial=training.step,
        desc=label,
        unit="step",
        disable=not (processes.is_first and sys.stderr.isatty()),
        dynamic_ncols=True,
    )
    with deferred_interruptions() as interruption, training.saved_when_interrupted(), shown as bar:
        for record in training.history:
            tell(record)
        while (training.step < steps and not training.gave_up(patience)) or training.epoch_is_over:
            if training.epoch_is_over:
                tell(training.finish_epoch(draw))
                continue
            due = training.due(interruption)
            if due.saving:
                training.save()
            due.stop()
            training.learn(batches(training.step))
            bar.update()
            if due.reading:
                training.read()
                losses = (f"{name} {value:.3g}" for name, value in training.losses.latest.items())
                bar.set_postfix_str(", ".join([f"{training.pace.read():.0f} images/s", *losses]))
        training.due(interruption).stop()
    stage.result().load_state_dict(training.best.state)
    return training.history, training.best.epoch
