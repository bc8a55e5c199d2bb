"""Trainings that are killed or asked to end, at random moments; the next run ends in the same weights."""

import json
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kwcolor_pipeline_tests
from kwcolor_pipeline.settings import Settings, load_settings
from kwcolor_pipeline.tracking.mlflow_tracking import open_tracking
from kwcolor_pipeline_tests.small_homes import PAIRS, TINY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KILLS, STEPS = 20, 60
STAGES = ("pretrained_generator", "critic", "gan_model")
#: timm's encoder for tests has 82,300 parameters, so a checkpoint is written in milliseconds.
TRAINING: dict[str, Any] = TINY | {
    "encoder": "test_efficientnet",
    **{f"{stage}_min_steps": STEPS for stage in ("pretrain", "critic", "gan")},
    **{f"{stage}_epochs": 5 for stage in ("pretrain", "critic", "gan")},
}
#: The paper's recipe as small: its GAN also has a switch to remember.
PAPER: dict[str, Any] = {name: value for name, value in TRAINING.items() if name != "generator_widths"} | {
    "critic_widths": (8, 16, 32),
    "pretrain_frozen_epochs": 2,
}
FIELDS = {"demo": TRAINING, "paper": PAPER}


def settings_of(home: Path, recipe: str = "demo") -> Settings:
    return load_settings(home=home, pairs=PAIRS, device="cpu", training=FIELDS[recipe])


class Place:
    """How many steps of all three stages are done, in memory that a process shares with its children."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    def set(self, place: int) -> None:
        self._memory[:] = struct.pack("q", place)

    def get(self) -> int:
        return int(struct.unpack("q", self._memory[:])[0])


def drive(home: Path, undisturbed: Path, seed: int, recipe: str) -> None:
    """Train once undisturbed and once with many kills, in forked children; print what came of it as JSON."""
    from kwcolor_pipeline.training import loop
    from kwcolor_pipeline.training.adversarial import Adversarial
    from kwcolor_pipeline.training.critic_training import CriticTraining
    from kwcolor_pipeline.training.paper_stages import PaperAdversarial, PaperCriticTraining, PaperPretraining
    from kwcolor_pipeline.training.presets import load_preset
    from kwcolor_pipeline.training.pretraining import Pretraining
    from kwcolor_pipeline_tests.small_homes import train_all

    stages: dict[str, tuple[Any, ...]] = {
        "demo": (Pretraining, CriticTraining, Adversarial),
        "paper": (PaperPretraining, PaperCriticTraining, PaperAdversarial),
    }

    loop._CHECKPOINT_SECONDS = 0.02
    place, began = Place(), Place()

    def telling(original: Callable[..., Any], stage: int) -> Callable[..., Any]:
        def step(self: Any, batch: Any, number: int, progress: float) -> Any:
            if began.get() < 0:
                began.set(number)
            place.set(stage * STEPS + number)
            return original(self, batch, number, progress)

        return step

    for number, stage in enumerate(stages[recipe]):
        stage.step = telling(stage.step, number)

    def start(root: Path) -> int:
        place.set(-1)
        began.set(-1)
        child = os.fork()
        if child:
            return child
        hashes = train_all(settings_of(root, recipe), load_preset(recipe, FIELDS[recipe]))
        (root / "weights.json").write_text(json.dumps(hashes))
        os._exit(0)

    def finished(root: Path) -> list[str]:
        assert os.waitpid(start(root), 0)[1] == 0
        hashes: list[str] = json.loads((root / "weights.json").read_text())
        return hashes

    moments = random.Random(seed)
    places = sorted(moments.randrange(1, 3 * STEPS - 2) for _ in range(KILLS))
    beginnings = []
    for wanted in places:
        child = start(home)
        while place.get() < wanted:
            assert os.waitpid(child, os.WNOHANG) == (0, 0), f"ended at {place.get()} before it was killed at {wanted}"
            time.sleep(0.0005)
        time.sleep(moments.uniform(0, 0.05))  # into the step, the checkpoint, the validation, the bundle
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        beginnings.append(began.get())
    killed = finished(home)
    print(json.dumps([places, beginnings, killed, finished(undisturbed)]))


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KWCOLOR_")}
    return kept | {"PYTHONPATH": str(Path(kwcolor_pipeline_tests.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


_DRIVE = """
import sys
from pathlib import Path
from kwcolor_pipeline_tests.faults.test_killed_training import drive
drive(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
"""


@pytest.mark.parametrize("recipe", FIELDS)
def test_twenty_kills_change_nothing(small_settings: Settings, tmp_path: Path, recipe: str) -> None:
    home, undisturbed = small_settings.home, tmp_path / "undisturbed"
    shutil.copytree(home, undisturbed)
    done = subprocess.run(
        python(_DRIVE, home, undisturbed, 4, recipe), capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    places, beginnings, killed, known = json.loads(done.stdout)
    assert len(places) == KILLS
    assert {place // STEPS for place in places} == {0, 1, 2}
    assert sum(beginning > 0 for beginning in beginnings) > KILLS / 2, "hardly any run went on from a checkpoint"
    assert killed == known
    assert len(set(known)) == 3
    for stage in STAGES:
        # The paper's critic keeps the pictures that it learned from.
        left = sorted(path for path in (home / "models" / stage).iterdir() if path.name != "generated")
        assert len(left) == 2
        assert left[1].name == "result.json"
        assert left[0].is_dir()


_MATERIALIZE = """
import sys, time
from pathlib import Path
import dagster as dg
from kwcolor_pipeline.assets.pretrained_generator import pretrained_generator
from kwcolor_pipeline.orchestration.resources import default_resources
from kwcolor_pipeline.training.pretraining import Pretraining
from kwcolor_pipeline_tests.faults.test_killed_training import settings_of

original = Pretraining.step

def step(self, batch, number, progress):
    losses = original(self, batch, number, progress)
    if number == 7:
        Path(sys.argv[1], "here").touch()
        time.sleep(3)  # the signal comes in the middle of a step
    return losses

Pretraining.step = step
dg.materialize([pretrained_generator], resources=default_resources(settings_of(Path(sys.argv[1]))))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_dagster_run_that_is_asked_to_end_saves_its_step(
    small_settings: Settings, tmp_path: Path, number: signal.Signals
) -> None:
    import torch

    from kwcolor_pipeline.training.presets import load_preset
    from kwcolor_pipeline.training.pretraining import pretrain_generator, pretraining_request

    home, undisturbed = small_settings.home, tmp_path / "undisturbed"
    shutil.copytree(home, undisturbed)
    process = subprocess.Popen(python(_MATERIALIZE, home), stderr=subprocess.PIPE, text=True, env=environment())
    while not (home / "here").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"interrupted at step 8 of {STEPS}; the next run goes on at step 8" in told

    settings, preset = settings_of(home), load_preset("demo", TRAINING)
    saved = torch.load(pretraining_request(settings, preset).checkpoint, weights_only=True)
    assert (saved["step"], saved["about"]["preset"]["encoder"]) == (8, "test_efficientnet")
    tracking = open_tracking(settings)
    [run] = tracking._client.search_runs([tracking._experiment_id])
    assert run.info.status == "KILLED"

    epochs: list[float] = []
    again = pretrain_generator(settings, preset, lambda record: epochs.append(record["epoch"]))
    whole = pretrain_generator(settings_of(undisturbed), preset, lambda record: None)
    assert epochs == [1, 2, 3, 4, 5]
    assert again.bundle.weights_sha256 == whole.bundle.weights_sha256
