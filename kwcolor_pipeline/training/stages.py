"""What the three stages share: a request with its fingerprint, and the bundle that answers it.

A stage that is asked the same again returns its bundle; one that was killed goes on from its
checkpoint; a new bundle appears whole or not at all. Several processes may train together; the first one writes.
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from kwcolor_pipeline.home import Home, Result, atomic_folder, fingerprint, write_json
from kwcolor_pipeline.networks.bundle import Bundle, read_bundle, write_bundle
from kwcolor_pipeline.networks.devices import pick_device
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.training.augmentation import Strengths
from kwcolor_pipeline.training.checkpoints import seed_random_numbers
from kwcolor_pipeline.training.data import TrainingBatches, open_cache
from kwcolor_pipeline.training.loop import OnEpoch, Stage, train
from kwcolor_pipeline.training.memory import fitting_batch, is_out_of_memory, memory_problem
from kwcolor_pipeline.training.model_card import write_model_card
from kwcolor_pipeline.training.presets import CODE_VERSION, Preset
from kwcolor_pipeline.training.processes import Processes

log = logging.getLogger(__name__)

#: Beginnings of a record's names that tell how a training went, and not what it came to.
_COURSE = ("learning_rate/", "gradient_norm/")


@dataclass(frozen=True)
class Request:
    """What a stage is asked: ``asked`` decides the result, and nothing else does."""

    settings: Settings
    preset: Preset
    stage: str
    asked: dict[str, Any]

    @property
    def home(self) -> Home:
        return self.settings.paths

    @property
    def fingerprint(self) -> str:
        return fingerprint({"stage": self.stage, "code": CODE_VERSION, **self.asked})

    @property
    def folder(self) -> Path:
        return self.home.models / self.stage / self.fingerprint[:16]

    @property
    def checkpoint(self) -> Path:
        return self.home.models / self.stage / f"{self.fingerprint[:16]}.checkpoint"

    def panel(self, epoch: int) -> Path:
        """The validation photographs as they looked after ``epoch``; there while a generator is trained."""
        return self.home.models / self.stage / f"{self.fingerprint[:16]}.panels" / f"epoch-{epoch:04}.webp"


@dataclass(frozen=True)
class Trained:
    """A finished stage: its bundle, its record, and whether it was there before."""

    bundle: Bundle
    result: Result
    reused: bool

    @property
    def history(self) -> list[dict[str, float]]:
        """One record per epoch."""
        return self.result.summary["history"]


def latest(home: Home, stage: str) -> Trained:
    """The stage's latest result.

    Raises SettingsProblem when the stage has not been run yet.
    """
    result = Result.read(home.models / stage / "result.json")
    if result is None:
        raise SettingsProblem(f"There is no {stage} yet; materialize it first (kwcolor run --select {stage}).")
    return Trained(read_bundle(home.models / stage / result.summary["folder"]), result, reused=True)


def existing(request: Request) -> Trained | None:
    """The finished result of exactly this request, made the latest one again; None when there is none."""
    result = Result.read(request.folder / "result.json")
    if result is None:
        return None
    trained = Trained(read_bundle(request.folder), result, reused=True)
    result.write(request.home.models / request.stage / "result.json")
    return trained


def is_latest(request: Request) -> bool:
    """Whether the stage's latest result is the answer to exactly this request."""
    result = Result.read(request.home.models / request.stage / "result.json")
    if result is None or result.fingerprint != request.fingerprint:
        return False
    return Result.read(request.folder / "result.json") is not None


def pairs_version(home: Home) -> str:
    """Data version of the pairs.

    Raises SettingsProblem when no pairs have been made yet.
    """
    result = Result.read(home.pairs / "result.json")
    if result is None:
        raise SettingsProblem("There are no grayscale pairs yet; run `kwcolor run --select grayscale_pairs` first.")
    return result.data_version


def _forget_unfinished(folder: Path) -> None:
    """Delete the stage's checkpoints and panels, and what killed processes left half written."""
    for checkpoint in folder.glob("*.checkpoint"):
        checkpoint.unlink()
    for panels in folder.glob("*.panels"):
        shutil.rmtree(panels)
    for unfinished in folder.glob(".*"):
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        else:
            unfinished.unlink()


def _tell_of_other_checkpoints(request: Request) -> None:
    for other in request.checkpoint.parent.glob("[!.]*.checkpoint"):
        if other != request.checkpoint:
            log.warning(
                "The checkpoint %s is of another request (other pairs, preset or code); %s begins without it.",
                other,
                request.stage,
            )


def _train(
    request: Request,
    make_stage: Callable[[Processes], Stage],
    batches: TrainingBatches,
    processes: Processes,
    *,
    epochs: int,
    min_steps: int,
    patience: int,
    on_epoch: OnEpoch,
    preview: Callable[[nn.Module, Path], None] | None,
) -> tuple[nn.Module, list[dict[str, float]], int, dict[str, float]]:
    """The trained network, its history, its best epoch, and what was measured when it was finished.

    Raises what :func:`train` raises, and SettingsProblem that names a smaller batch when memory is too small.
    """

    def draw(network: nn.Module, epoch: int) -> None:
        if preview is not None:
            preview(network, request.panel(epoch))

    stage = None
    try:
        with processes.first_before_others():  # what a stage decodes or downloads is there for the others
            stage = make_stage(processes)
        history, best_epoch = train(
            stage,
            batches.at,
            steps=max(min_steps, epochs * batches.steps_per_epoch),
            steps_per_epoch=max(batches.steps_per_epoch, -(-min_steps // epochs)),
            checkpoint=request.checkpoint,
            asked=request.fingerprint,
            about={"stage": request.stage, "code": CODE_VERSION, **request.asked},
            label=request.stage,
            on_epoch=on_epoch,
            draw=draw,
            patience=patience,
            processes=processes,
        )
        return stage.result(), history, best_epoch, stage.finish()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        log.warning("%s ran out of memory: %s", request.stage, error)
    # Here the failed step is forgotten, and with it what it held in memory.
    # A trial step of one process would wait for the others, which have not failed.
    can_try = stage is not None and processes.ranks == 1
    fits = fitting_batch(stage, batches.at(0), processes.device) if stage is not None and can_try else None
    del stage
    raise memory_problem(request.stage, request.preset, processes.device, fits)


def _finished(request: Request, processes: Processes) -> Trained | None:
    """The finished result of exactly this request, if the first process finds one."""
    processes.agree_on(f"training of {request.stage} (preset, pairs or inputs)", request.fingerprint)
    done = existing(request) if processes.is_first else None
    return _read(request) if any(processes.any(done is not None)) else None


def _read(request: Request) -> Trained:
    result = Result.read(request.folder / "result.json")
    if result is None:
        raise SettingsProblem(f"The bundle {request.folder} was deleted while it was read; start again.")
    return Trained(read_bundle(request.folder), result, reused=True)


def _keep(
    request: Request,
    network: nn.Module,
    history: list[dict[str, float]],
    best_epoch: int,
    finished: dict[str, float],
    description: dict[str, Any],
    kind: str,
    preview: Callable[[nn.Module, Path], None] | None,
) -> None:
    """Write the bundle and make it the stage's latest result; the checkpoint is of no more use then."""
    summary: dict[str, Any] = {"folder": request.folder.name, "history": history, "best_epoch": best_epoch}
    best = history[best_epoch - 1] | finished
    description = {
        **description,
        "preset": request.preset.model_dump(mode="json"),
        "stage": request.stage,
        "asked": request.asked,
        "best_epoch": best_epoch,
        "validation": {name: value for name, value in best.items() if not name.startswith(_COURSE)},
    }
    with atomic_folder(request.folder) as folder:
        bundle = write_bundle(folder, kind, network, description)
        result = Result(request.fingerprint, bundle.weights_sha256, summary)
        write_json(folder / "history.json", history)
        write_model_card(folder, bundle.description, request.home)
        if preview is not None:
            preview(network, folder / "preview.webp")
        result.write(folder / "result.json")
    result.write(request.home.models / request.stage / "result.json")
    _forget_unfinished(request.checkpoint.parent)


def run_stage(
    request: Request,
    make_stage: Callable[[Processes], Stage],
    *,
    kind: str,
    epochs: int,
    min_steps: int,
    architecture: dict[str, Any],
    on_epoch: OnEpoch,
    preview: Callable[[nn.Module, Path], None] | None = None,
    patience: int = 0,
    processes: Processes | None = None,
) -> Trained:
    """Train what ``request`` asks for, unless it exists, and write its bundle.

    ``preview`` draws a network's picture into a file: after every epoch, before ``on_epoch`` is told, to
    ``request.panel(epoch)``, and for the best epoch into the bundle. Of several ``processes``, each calls this with
    the same request; the first one alone writes and tells ``on_epoch``, and all get the result.
    Raises TrainingDiverged when a loss explodes or is not finite, SettingsProblem when there is nothing to learn
    from, a checkpoint is damaged, memory is too small or a batch cannot be shared out.
    """
    processes = processes or Processes.single(pick_device(request.settings.device))
    done = _finished(request, processes)
    if done is not None:
        return done
    preset, home = request.preset, request.home
    processes.check_batch(preset.batch_size, preset.accumulate)
    seed_random_numbers(preset.seed)
    with processes.first_before_others():
        cache = open_cache(home, "train", round(preset.size * preset.crop_scale), pairs_version(home))
    batches = TrainingBatches(
        cache,
        preset.size,
        preset.batch_size,
        Strengths.of(preset),
        preset.seed,
        processes.device,
        rank=processes.rank,
        ranks=processes.ranks,
    )
    if processes.is_first:
        request.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        _tell_of_other_checkpoints(request)
    network, history, best_epoch, finished = _train(
        request,
        make_stage,
        batches,
        processes,
        epochs=epochs,
        min_steps=min_steps,
        patience=patience,
        on_epoch=on_epoch,
        preview=preview,
    )
    if processes.is_first:
        description: dict[str, Any] = {"architecture": architecture, "training_pictures": len(cache)}
        if processes.ranks > 1:
            description["processes"] = processes.ranks  # each had batch statistics of its own
        _keep(request, network, history, best_epoch, finished, description, kind, preview)
    processes.barrier()
    return replace(_read(request), reused=False)
