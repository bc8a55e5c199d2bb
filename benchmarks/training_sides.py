"""The sides that `training_throughput.py` compares, each in a process of its own and in its own environment.

`python training_sides.py ours|fastai DEVICE SIZE BATCH PRECISION` prints a line of JSON with the names of its rows,
then reads lines `ROW SECONDS` and answers each with a line of JSON: `images`, `seconds` and, for ours, `flops` (of one
picture, forward, backward and update) and `peak_gib` (of the device's memory, with CUDA). Nothing is imported for one
side that only the other has.

Belongs here: making each side's step. Taking turns and comparing are `training_throughput.py`'s affair.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_HERE = Path(__file__).resolve().parent
#: Steps before the clock runs: memory is allocated, kernels are chosen, networks are compiled or captured.
_WARM_UP = {"cpu": 1, "cuda": 12}

#: Learns from one batch, the same one each time.
Step = Callable[[], Any]


def _tell_nobody(record: dict[str, float]) -> None:
    """For epochs that are trained only because a later step needs their networks."""


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Ours:
    """Our recipes' steps on random crops that are on the device already, from uint8 to updated weights."""

    def __init__(self, device: torch.device, size: int, batch: int, precision: str):
        from homes import home_with_pairs

        self._device, self._size, self._batch, self._precision = device, size, batch, precision
        self._folder = tempfile.TemporaryDirectory()
        self._settings = home_with_pairs(Path(self._folder.name) / "home", device=str(device))
        self._made: dict[str, Step] = {}
        self.rows: dict[str, Callable[[], Step]] = {
            "archive: generator, pixel loss": lambda: self._archive(perceptual=0.0),
            "archive: generator, perceptual loss": lambda: self._archive(perceptual=2.0),
            "archive: batches cut and augmented as well": lambda: self._archive(perceptual=0.0, batches=True),
            "archive: critic and generator, perceptual loss": self._adversarial,
            "paper: generator": lambda: self._paper(gan=False),
            "paper: critic or generator in turns": lambda: self._paper(gan=True),
        }
        if precision == "bfloat16":
            single = "archive: generator, pixel loss, float32"
            self.rows[single] = lambda: self._archive(perceptual=0.0, precision="float32")

    def _preset(self, name: str, **replace: Any) -> Any:
        from kwcolor_pipeline.training.presets import load_preset

        fast = {"compile": False} if self._device.type == "cpu" else {"capture": True}
        brief = {f"{stage}_{what}": 1 for stage in ("pretrain", "critic", "gan") for what in ("epochs", "min_steps")}
        given = {"size": self._size, "batch_size": self._batch, "encoder_weights": "none"}
        if name == "archive":
            given |= {"precision": self._precision, "encoder": "resnet34.tv_in1k", "pretrain_start": "none"}
        return load_preset(name, given | fast | brief | {"perceptual_weights": "bundled"} | replace)

    def _random_batch(self) -> Any:
        from kwcolor_pipeline.training.data import to_batch

        generator = torch.Generator().manual_seed(0)
        shape = (self._batch, self._size, self._size, 4)
        crops = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(self._device)
        return lambda: to_batch(crops, self._device)

    def _archive(self, *, perceptual: float, batches: bool = False, **replace: Any) -> Step:
        from kwcolor_pipeline.training.pretraining import Pretraining

        preset = self._preset("archive", pretrain_perceptual_weight=perceptual, **replace)
        stage = Pretraining(self._settings, preset, self._device)
        return self._repeated(stage, self._augmented_batch(preset) if batches else self._random_batch())

    def _augmented_batch(self, preset: Any) -> Any:
        from kwcolor_pipeline.training.augmentation import Strengths
        from kwcolor_pipeline.training.data import TrainingBatches, open_cache
        from kwcolor_pipeline.training.stages import pairs_version

        side = round(preset.size * preset.crop_scale)
        home = self._settings.paths
        cache = open_cache(home, "train", side, pairs_version(home))
        drawn = TrainingBatches(cache, preset.size, preset.batch_size, Strengths.of(preset), 0, self._device)
        numbers = iter(range(10**9))
        return lambda: drawn.at(next(numbers))

    def _adversarial(self) -> Step:
        from kwcolor_pipeline.training.adversarial import Adversarial
        from kwcolor_pipeline.training.critic_training import train_critic
        from kwcolor_pipeline.training.pretraining import pretrain_generator

        preset = self._preset("archive", compile=False)
        for train in (pretrain_generator, train_critic):
            train(self._settings, preset, _tell_nobody)
        stage = Adversarial(self._settings, self._preset("archive"), self._device)
        return self._repeated(stage, self._random_batch())

    def _paper(self, *, gan: bool) -> Step:
        from kwcolor_pipeline.training.critic_training import train_critic
        from kwcolor_pipeline.training.paper_stages import PaperAdversarial, PaperPretraining
        from kwcolor_pipeline.training.pretraining import pretrain_generator

        preset = self._preset("paper", pretrain_frozen_epochs=0)
        if not gan:
            return self._repeated(PaperPretraining(self._settings, preset, self._device), self._random_batch())
        for train in (pretrain_generator, train_critic):
            train(self._settings, preset, _tell_nobody)
        return self._repeated(PaperAdversarial(self._settings, preset, self._device), self._random_batch())

    @staticmethod
    def _repeated(stage: Any, batch: Any) -> Step:
        numbers = iter(range(10**9))
        return lambda: stage.step(batch(), next(numbers), 0.5)

    def measure(self, row: str, seconds: float) -> dict[str, Any]:
        """Images and seconds of whole steps for about so many seconds; and FLOPs of a picture."""
        answer: dict[str, Any] = {}
        if row not in self._made:
            step = self._made[row] = self.rows[row]()
            if "in turns" not in row:  # a step there is one of two kinds
                answer["flops"] = self._flops(step) / self._batch
            for _ in range(_WARM_UP[self._device.type]):
                step()
        step = self._made[row]
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        synchronise(self._device)
        began, steps = time.perf_counter(), 0
        while steps == 0 or time.perf_counter() - began < seconds:
            step()
            steps += 1
        synchronise(self._device)
        answer |= {"images": steps * self._batch, "seconds": time.perf_counter() - began}
        if self._device.type == "cuda":
            answer["peak_gib"] = torch.cuda.max_memory_allocated(self._device) / 2**30
        return answer

    @staticmethod
    def _flops(step: Step) -> int:
        """Floating point operations of one step's matrix products and convolutions, by PyTorch's own counter."""
        from torch.utils.flop_counter import FlopCounterMode

        counter = FlopCounterMode(display=False)
        with torch.compiler.set_stance("force_eager"), counter:
            step()
        return counter.get_total_flops()


class Fastai:
    """fastai's own learners in fastai's own loop, on batches that are on the device already."""

    def __init__(self, device: torch.device, size: int, batch: int, precision: str):
        sys.path.insert(0, str(_HERE.parent))
        self._device, self._size, self._batch = device, size, batch
        self._made: dict[str, Any] = {}
        self.rows: dict[str, Callable[[], Any]] = {
            "fastai: DynamicUnet": lambda: self._learner(gan=False, half=False),
            "fastai: GANLearner": lambda: self._learner(gan=True, half=False),
        }
        if device.type == "cuda":
            self.rows["fastai: DynamicUnet, bfloat16"] = lambda: self._learner(gan=False, half=True)

    def _learner(self, *, gan: bool, half: bool) -> Any:
        from functools import partial

        from fastai.optimizer import Adam
        from fastai.vision.gan import AdaptiveGANSwitcher, GANDiscriminativeLR, GANLearner

        from kwcolor_pipeline.training.paper_gan import BETAS, CRITIC_RATE_FACTOR, LOSS_WEIGHTS
        from oracle.learners import Pictures, critic_learner, generator_learner

        torch.manual_seed(0)
        pictures = Pictures.drawn(batches=1, batch_size=self._batch, size=self._size)
        generator = generator_learner(pictures, "resnet34")
        if not gan:
            generator.dls = self._loaders(pictures)
            return generator.to_bf16() if half else generator
        critic = critic_learner(pictures)
        generator.freeze()
        learner = GANLearner.from_learners(
            generator,
            critic,
            switcher=AdaptiveGANSwitcher(critic_thresh=0.65),
            weights_gen=LOSS_WEIGHTS,
            opt_func=partial(Adam, mom=BETAS[0], sqr_mom=BETAS[1]),
            cbs=GANDiscriminativeLR(mult_lr=CRITIC_RATE_FACTOR),
            wd=generator.wd,
        )
        learner.dls = self._loaders(pictures)
        return learner

    def _loaders(self, pictures: Any) -> Any:
        """Loaders that give one batch again and again, without putting it together each time."""
        from fastai.data.core import DataLoaders
        from fastai.data.load import DataLoader

        def endless(batches: Any) -> Any:
            items = [tuple(one.to(self._device) for one in batches[0])] * 100_000
            return DataLoader(items, bs=None, shuffle=False, num_workers=0, device=self._device)

        return DataLoaders(endless(pictures.train), endless(pictures.valid), device=self._device)

    def measure(self, row: str, seconds: float) -> dict[str, Any]:
        """Images and seconds of whole steps for about so many seconds."""
        from fastai.callback.core import Callback, CancelFitException

        warm_up = 0 if row in self._made else _WARM_UP[self._device.type]
        if row not in self._made:
            self._made[row] = self.rows[row]()
        learner, device, batch = self._made[row], self._device, self._batch

        class Clock(Callback):
            """Times the steps after the first few, and ends the fit."""

            order = 1000

            def before_fit(self) -> None:
                self.done, self.began, self.steps, self.seconds = 0, 0.0, 0, 0.0
                self._start_when_warm()

            def _start_when_warm(self) -> None:
                if self.done == warm_up:
                    synchronise(device)
                    self.began = time.perf_counter()

            def after_batch(self) -> None:
                if not self.training:
                    return
                self.done += 1
                self._start_when_warm()
                self.steps = self.done - warm_up
                if self.steps > 0 and time.perf_counter() - self.began >= seconds:
                    synchronise(device)
                    self.seconds = time.perf_counter() - self.began
                    raise CancelFitException

        clock = Clock()
        with learner.no_bar(), learner.no_logging(), learner.added_cbs(clock):
            learner.fit(1, 1e-4)
        return {"images": clock.steps * batch, "seconds": clock.seconds}


def main() -> None:
    """Answer measurements until standard input ends."""
    side, device, size, batch, precision = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is for people
    made = (Ours if side == "ours" else Fastai)(torch.device(device), int(size), int(batch), precision)
    print(json.dumps({"rows": list(made.rows)}), file=answers, flush=True)
    for line in sys.stdin:
        row, _, seconds = line.strip().rpartition(" ")
        print(json.dumps(made.measure(row, float(seconds))), file=answers, flush=True)


if __name__ == "__main__":
    main()
