"""Which recipe gives better colours in the same time: the paper's or ours, on the same photographs and encoder?

Belongs here: giving each recipe the same wall-clock, and the table. How a recipe trains is the package's affair.

Both are trained whole (generator, critic, both together) from the same pairs, each in a process of its own, one after
the other or, with --at-once, at the same time on half of the cores each; then both are measured on the test split. How
many epochs fit is found out by timing a few steps of each stage before it begins. The encoder is EfficientNet-Lite0,
whose ImageNet weights the package brings. Give --photos: the few photographs of the package are enough to try the
benchmark and no more.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from homes import home_with_pairs
from report import Promise, conclude, machine_facts, options, say, table

from kwcolor_pipeline.colorize.engine import open_colorizer
from kwcolor_pipeline.evaluation.evaluate import COLOURFULNESS_DISTANCE, FRECHET, Evaluation, by_grey, evaluate
from kwcolor_pipeline.photos.pairs import read_pairs
from kwcolor_pipeline.settings import Settings, load_settings
from kwcolor_pipeline.training.adversarial import Adversarial, train_gan
from kwcolor_pipeline.training.augmentation import Strengths
from kwcolor_pipeline.training.critic_training import CriticTraining, train_critic
from kwcolor_pipeline.training.data import TrainingBatches, open_cache
from kwcolor_pipeline.training.loop import Stage
from kwcolor_pipeline.training.paper_stages import PaperAdversarial, PaperCriticTraining, PaperPretraining, critic_steps
from kwcolor_pipeline.training.presets import PRESETS, Preset, load_preset
from kwcolor_pipeline.training.pretraining import Pretraining, pretrain_generator
from kwcolor_pipeline.training.stages import Trained, pairs_version

_PACKAGES = ("kwcolor_pipeline", "torch", "timm", "numpy")
JUDGED = ("ciede2000", COLOURFULNESS_DISTANCE, FRECHET)
_SHOWN = ("psnr", "colourfulness", *JUDGED)
_TRAIN: dict[str, Callable[..., Trained]] = {"pretrain": pretrain_generator, "critic": train_critic, "gan": train_gan}
_STAGES: dict[str, dict[str, type[Stage]]] = {
    "paper": {"pretrain": PaperPretraining, "critic": PaperCriticTraining, "gan": PaperAdversarial},
    "archive": {"pretrain": Pretraining, "critic": CriticTraining, "gan": Adversarial},
}
#: Share of the time for each stage. By its own epochs (5, 6 to 10 and 40) the paper's generator would have seen the
#: photographs a few times only before its GAN begins; it is given more here.
_SHARES = {
    "paper": {"pretrain": 0.5, "critic": 0.2, "gan": 0.3},
    "archive": {"pretrain": 0.8, "critic": 0.05, "gan": 0.15},
}
#: Steps whose pace says how many epochs fit, after one that warms up.
_TIMED_STEPS = 5


@dataclass
class Run:
    """One recipe's training, stage by stage: what was asked, what came of it, and how long it took."""

    recipe: str
    epochs: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def preset_of(recipe: str, size: int, gpu: bool, **replace: Any) -> Preset:
    """The recipe on Lite0 at ``size`` pixels; ours with a decoder and a critic that fit a small encoder."""
    given: dict[str, Any] = {"size": size, "encoder": "tf_efficientnet_lite0.in1k", "encoder_weights": "bundled"}
    given |= {f"{stage}_min_steps": 1 for stage in _TRAIN}
    if recipe == "archive":
        # The preset's marks are those of a print at its own size; seen smaller, they are smaller.
        scale = size / PRESETS["archive"].size
        given |= {"blur": PRESETS["archive"].blur * scale, "grain": PRESETS["archive"].grain * scale}
        given |= {"blockiness": 0.0} if scale < 1 else {}
        given |= {
            "pretrain_start": "none",
            "generator_widths": (128, 96, 64, 48),
            "critic_widths": (48, 96, 192, 192),
            "ema_decay": 0.998,
        }
        given |= {"gan_patience": 0, "perceptual_weights": "bundled"}
        if not gpu:
            given |= {"precision": "float32", "compile": False, "batch_size": 16}
    return load_preset(recipe, given | replace)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _seconds_an_epoch(settings: Settings, preset: Preset, stage: str) -> float:
    """How long one epoch of ``stage`` will take: its steps at the pace of a few, and one validation."""
    device = torch.device(settings.device)
    side = round(preset.size * preset.crop_scale)
    cache = open_cache(settings.paths, "train", side, pairs_version(settings.paths))
    batches = TrainingBatches(cache, preset.size, preset.batch_size, Strengths.of(preset), preset.seed, device)
    steps = batches.steps_per_epoch
    if preset.recipe == "paper" and stage == "critic":
        steps = critic_steps(settings, preset) // preset.critic_epochs
    made: Any = _STAGES[preset.recipe][stage]
    trained = made(settings, preset, device)
    for step in range(1 + _TIMED_STEPS):
        if step == 1:
            _synchronise(device)
            began = time.perf_counter()
        trained.step(batches.at(step), step, 0.5)
    _synchronise(device)
    pace = (time.perf_counter() - began) / _TIMED_STEPS
    began = time.perf_counter()
    trained.validate()
    return pace * steps + time.perf_counter() - began


def train_within(settings: Settings, recipe: str, budget: float, size: int, **replace: Any) -> Run:
    """Train all stages of ``recipe`` in about ``budget`` seconds; the last stage gets what the others leave."""
    run = Run(recipe)
    gpu = torch.device(settings.device).type == "cuda"
    given: dict[str, Any] = dict(replace)
    for stage, train in _TRAIN.items():
        share = _SHARES[recipe][stage] * budget if stage != "gan" else budget - run.total
        preset = preset_of(recipe, size, gpu, **given)
        an_epoch = _seconds_an_epoch(settings, preset, stage)
        run.epochs[stage] = given[f"{stage}_epochs"] = max(1, int(share / an_epoch))
        if recipe == "paper" and stage == "pretrain":  # as in the paper, two fifths with the encoder frozen
            given["pretrain_frozen_epochs"] = 2 * run.epochs[stage] // 5
        preset = preset_of(recipe, size, gpu, **given)
        say(f"{recipe}, {stage}: {run.epochs[stage]} epochs of about {an_epoch:.0f} s")
        began = time.perf_counter()
        trained = train(settings, preset, lambda record: say(f"  {_told(record)}"))
        run.seconds[stage] = time.perf_counter() - began
        run.folders[stage] = str(trained.bundle.folder)
    return run


def _told(record: dict[str, float]) -> str:
    names = ("epoch", "train_loss", "valid_loss", "accuracy", "score", "seconds")
    return ", ".join(f"{name} {record[name]:.4g}" for name in names if name in record)


def measure(settings: Settings, runs: list[Run]) -> Evaluation:
    """All generators on the test split: each recipe's before and after its GAN."""
    colorizers = {}
    for run in runs:
        for stage, name in (("pretrain", f"{run.recipe}, generator alone"), ("gan", run.recipe)):
            colorizers[name] = by_grey(open_colorizer(Path(run.folders[stage]), settings.device))
    truths = ((p.photo_id, p.photo_id[:12], p.gray, p.color) for p in read_pairs(settings.paths, "test"))
    return evaluate(truths, colorizers, lambda _: None)


def _promises(means: dict[str, dict[str, float]]) -> list[Promise]:
    """That ours is better in all three measures than the paper's, with its GAN and without."""
    promises = []
    for metric in JUDGED:
        for theirs in ("paper", "paper, generator alone"):
            how = f"{metric} of `archive` over that of `{theirs}` on the test split; lower is better"
            ratio = means["archive"][metric] / means[theirs][metric]
            promises.append(Promise.at_most(f"{metric}, archive over {theirs}", ratio, 1.0, how))
    return promises


def _child(asked: argparse.Namespace, recipe: str, home: Path, cores: set[int] | None) -> subprocess.Popen[str]:
    """The process that trains ``recipe`` in ``home``, on ``cores`` only where they are given."""
    command = [sys.executable, __file__, "--train", recipe, "--home", str(home), "--device", asked.device]
    command += ["--size", str(asked.size), "--minutes", str(asked.minutes)]
    environment = os.environ | ({"OMP_NUM_THREADS": str(len(cores))} if cores else {})
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    if cores:
        os.sched_setaffinity(child.pid, cores)
    return child


def _ended(child: subprocess.Popen[str]) -> Run:
    """What the child did. Raises SystemExit where it failed; its message is on standard error already."""
    printed, _ = child.communicate()
    if child.returncode:
        raise SystemExit(f"A training ended with status {child.returncode}; its message is above.")
    run: Run = Run(**json.loads(printed))
    return run


def train_both(asked: argparse.Namespace, home: Path) -> list[Run]:
    """Both recipes, each in a copy of ``home``: the paper's, then ours; or both at once."""
    recipes = ("paper", "archive")
    homes = {recipe: home.with_name(f"{home.name}-{recipe}") for recipe in recipes}
    for copy in homes.values():
        shutil.copytree(home, copy, dirs_exist_ok=True)
    if not asked.at_once:
        return [_ended(_child(asked, recipe, homes[recipe], None)) for recipe in recipes]
    cores = sorted(os.sched_getaffinity(0))
    halves = [set(cores[: len(cores) // 2]), set(cores[len(cores) // 2 :])]
    children = [_child(asked, recipe, homes[recipe], half) for recipe, half in zip(recipes, halves, strict=True)]
    return [_ended(child) for child in children]


def _options() -> argparse.ArgumentParser:
    parser = options(__doc__ or "")
    gpu = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if gpu else "cpu", help="cpu or cuda; default: %(default)s")
    parser.add_argument("--size", type=int, default=128 if gpu else 64, help="side in pixels; default: %(default)s")
    parser.add_argument(
        "--minutes", type=float, default=5 if gpu else 30, help="time for each recipe; default: %(default)s"
    )
    parser.add_argument("--at-once", action="store_true", help="train both at the same time, on half of the cores each")
    parser.add_argument(
        "--home", type=Path, help="keep photographs, pairs and models here; default: a temporary folder"
    )
    parser.add_argument("--train", choices=_SHARES, help=argparse.SUPPRESS)
    return parser


def main() -> int:
    """Train, measure, print the table and the JSON object; gives the exit status."""
    asked = _options().parse_args()
    asked.minutes = 1 / 3 if asked.quick else asked.minutes
    if asked.train:
        settings = load_settings(home=asked.home, device=asked.device)
        run = train_within(settings, asked.train, 60 * asked.minutes, asked.size)
        print(json.dumps(asdict(run)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        home = asked.home or Path(temporary) / "home"
        settings = home_with_pairs(home, asked.photos, device=asked.device)
        machine = machine_facts(_PACKAGES, home)
        runs = train_both(asked, home)
        evaluation = measure(settings, runs)
    means = {row.colorizer: {name: one.value for name, one in row.metrics.items()} for row in evaluation.table}
    say()
    say(table(["", *_SHOWN], [[name, *(row.get(metric) for metric in _SHOWN)] for name, row in means.items()]))
    for run in runs:
        say(f"{run.recipe}: {run.total:.0f} s, epochs {run.epochs}")
    facts = {
        "device": asked.device,
        "size": asked.size,
        "minutes": asked.minutes,
        "at_once": asked.at_once,
        "test_photographs": len(evaluation.rows_of("archive")),
        "runs": {run.recipe: {"epochs": run.epochs, "seconds": run.seconds} for run in runs},
        "table": {row.colorizer: {name: list(one) for name, one in row.metrics.items()} for row in evaluation.table},
    }
    scaled = ["20 seconds for each recipe, or an epoch of each stage"] if asked.quick else []
    paper, archive = runs
    how = "seconds that ours trained over those of the paper's"
    fair = Promise.at_most("time, archive over paper", archive.total / paper.total, 1.05, how)
    return conclude(asked, "recipes", [fair, *_promises(means)], facts, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
