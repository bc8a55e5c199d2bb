"""What one of several processes does in the tests of them; torchrun starts it with a task and a folder."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.training import loop, worker
from kwcolor_pipeline.training.adversarial import Adversarial
from kwcolor_pipeline.training.augmentation import Strengths
from kwcolor_pipeline.training.data import Batch, TrainingBatches, open_cache
from kwcolor_pipeline.training.loop import Stage
from kwcolor_pipeline.training.pretraining import Pretraining
from kwcolor_pipeline.training.processes import Processes
from kwcolor_pipeline.training.stages import pairs_version
from kwcolor_pipeline_tests.small_homes import settings_for, tiny_preset

STAGES: dict[str, Callable[..., Stage]] = {"pretraining": Pretraining, "adversarial": Adversarial}
#: The adversarial steps take the trained home's larger encoder, so there are fewer of them.
STEPS = {"pretraining": 50, "adversarial": 8}
UNAUGMENTED = dict.fromkeys(
    ("lightness_jitter", "film_response", "blur", "uneven_light", "grain", "fade", "scratches", "blockiness"), 0.0
)


def _stays_in_evaluation_mode(network: nn.Module) -> None:
    network.eval()
    network.train = lambda mode=True: network  # type: ignore[method-assign, assignment]


def losses_of(settings: Settings, name: str, processes: Processes, accumulate: int = 1) -> dict[str, list[float]]:
    """Each loss of each step, in float64 and with batch statistics that stay as they are."""
    preset, steps = tiny_preset(encoder="test_efficientnet", accumulate=accumulate, **UNAUGMENTED), STEPS[name]
    torch.manual_seed(0)
    stage = STAGES[name](settings, preset, processes.device, processes)
    for network in stage.networks.values():
        network.double()
        _stays_in_evaluation_mode(network)
    cache = open_cache(settings.paths, "train", round(preset.size * preset.crop_scale), pairs_version(settings.paths))
    share = {"rank": processes.rank, "ranks": processes.ranks}
    strengths = Strengths.of(preset)
    batches = TrainingBatches(cache, preset.size, preset.batch_size, strengths, 0, processes.device, **share)
    found: dict[str, list[float]] = {}
    for step in range(steps):
        batch = batches.at(step)
        batch = Batch(batch.lightness.double(), batch.lab.double(), batch.rgb.double())
        for loss, value in processes.means(stage.step(batch, step, step / steps)).items():
            found.setdefault(loss, []).append(float(value))
    return found


def _compare(folder: Path) -> None:
    settings = settings_for(folder / "home")
    processes = Processes.joined(settings)
    found = {name: losses_of(settings, name, processes) for name in STAGES}
    if processes.is_first:
        (folder / "losses.json").write_text(json.dumps(found))


def _at_step(number: int, act: Callable[[], None]) -> None:
    """Let this process do something before a step of the pretraining."""
    original = Pretraining.step

    def step(self: Any, batch: Batch, at: int, progress: float) -> dict[str, torch.Tensor]:
        if at == number:
            act()
        return original(self, batch, at, progress)

    Pretraining.step = step  # type: ignore[method-assign]


def _fail() -> None:
    raise ValueError("the third picture is upside down")


def _note_writes(folder: Path) -> None:
    """Append to a file of this process what it writes, moves and deletes in the home's models."""
    # Opened here, and by its number: what is noted has not to be noted again.
    note = os.open(folder / f"written-by-{os.environ['RANK']}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        is_write = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir") or (
            event == "open" and isinstance(given[1], str) and set(given[1]) & set("wax+")
        )
        if is_write and "/models/" in str(given[0]):
            os.write(note, f"{event} {given[1] if event == 'os.rename' else given[0]}\n".encode())

    sys.addaudithook(hook)


def main() -> None:
    task, folder = sys.argv[1], Path(sys.argv[2])
    sys.argv = ["worker", *sys.argv[3:]]
    (folder / f"process-{os.environ['RANK']}.txt").write_text(str(os.getpid()))
    is_second = os.environ["RANK"] == "1"
    if task == "elsewhere" and is_second:
        os.environ["KWCOLOR_HOME"] = str(folder / "elsewhere")
    if task == "compare":
        _compare(folder)
        return
    loop._CHECKPOINT_SECONDS = -1
    _note_writes(folder)
    if task == "fail" and is_second:
        _at_step(3, _fail)
    if task == "kill" and is_second:
        _at_step(4, lambda: os.kill(os.getpid(), signal.SIGKILL))
    worker.main()


if __name__ == "__main__":
    main()
