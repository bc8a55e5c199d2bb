"""What does each part of the recipe `archive` bring? The same time for every variant, one difference each.

Belongs here: the variants and their table. The adversarial stage is compared in `recipes.py`, before and after.

Every variant trains a generator for the same wall-clock, its learning rate following the time, and its averaged weights
are measured on the test split of the photographs of the topic (--photos). --natural names colour photographs of
anything: with them the paper's own question is asked, whether photographs of the topic alone are enough. ResNet34's
ImageNet weights come in no package, so both encoders are also compared with random weights.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from homes import home_with_pairs
from recipes import preset_of
from report import conclude, machine_facts, options, say, table

from kwcolor_pipeline.colorize.engine import Colorizer
from kwcolor_pipeline.colour.lab import rgb_to_lab
from kwcolor_pipeline.evaluation.evaluate import COLOURFULNESS_DISTANCE, FRECHET, TableRow, by_grey, evaluate
from kwcolor_pipeline.networks.generator import CHROMA_SCALE, Generator, UpBlock
from kwcolor_pipeline.photos.pairs import read_pairs
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.training.augmentation import Strengths
from kwcolor_pipeline.training.checkpoints import seed_random_numbers
from kwcolor_pipeline.training.data import Batch, PictureCache, TrainingBatches, open_cache
from kwcolor_pipeline.training.pretraining import Pretraining
from kwcolor_pipeline.training.stages import pairs_version

_PACKAGES = ("kwcolor_pipeline", "torch", "timm", "numpy")
_SHOWN = ("psnr", "ciede2000", "colourfulness", COLOURFULNESS_DISTANCE, FRECHET)
_WITHOUT_AUGMENTATION: dict[str, Any] = dict.fromkeys(
    ("film_response", "blur", "uneven_light", "lightness_jitter", "grain", "fade", "scratches", "blockiness"), 0.0
)
_RANDOM = {"encoder_weights": "none", "pretrain_encoder_lr_scale": 1.0}


class FullResolutionGenerator(Generator):
    """The generator with one more block, so that it predicts chroma for every pixel."""

    def __init__(self, encoder: str, encoder_weights: str, widths: Sequence[int]):
        super().__init__(encoder, encoder_weights, widths)
        self.last = UpBlock(widths[3], 1, widths[3])

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        """CIE L* (N, 1, H, W) to a*, b* (N, 2, H, W)."""
        return self.chroma(self.last(self.decoded(lightness), lightness / 100)) * CHROMA_SCALE


class FullResolution(Pretraining):
    """Pretraining whose generator and losses are at full resolution."""

    def _untrained(self) -> Generator:
        preset = self._preset
        return FullResolutionGenerator(preset.encoder, preset.encoder_weights, preset.generator_widths)

    @staticmethod
    def _truth(batch: Batch) -> torch.Tensor:
        return rgb_to_lab(batch.rgb)


@dataclass(frozen=True)
class Variant:
    """One difference from the recipe."""

    name: str
    replace: dict[str, Any] = field(default_factory=dict)
    stage: type[Pretraining] = Pretraining
    data: str = "topic"


VARIANTS = (
    Variant("archive"),
    Variant("without perceptual loss", {"pretrain_perceptual_weight": 0.0}),
    Variant("without averaged weights (EMA)", {"ema_decay": 0.0}),
    Variant("without lightness jitter", {"lightness_jitter": 0.0}),
    Variant("without any augmentation of the input", _WITHOUT_AUGMENTATION),
    Variant("full resolution", {}, FullResolution),
    Variant("Lite0, random weights", _RANDOM),
    Variant("ResNet34, random weights", _RANDOM | {"encoder": "resnet34.tv_in1k"}),
    Variant("natural photographs alone", {}, data="natural"),
    Variant("topic and natural photographs", {}, data="both"),
)


def joined(first: PictureCache, second: PictureCache) -> PictureCache:
    """The pictures of both caches in one."""
    end = len(first.pixels)
    return PictureCache(
        photo_ids=first.photo_ids + second.photo_ids,
        shapes=first.shapes + second.shapes,
        offsets=first.offsets + [end + offset for offset in second.offsets],
        pixels=np.concatenate([first.pixels, second.pixels]),
    )


def train_for(
    settings: Settings, variant: Variant, cache: PictureCache, seconds: float, size: int
) -> tuple[Colorizer, int]:
    """The variant's colorizer after ``seconds``, and how many pictures it saw."""
    device = torch.device(settings.device)
    preset = preset_of("archive", size, device.type == "cuda", **variant.replace)
    seed_random_numbers(preset.seed)
    stage = variant.stage(settings, preset, device)
    batches = TrainingBatches(cache, preset.size, preset.batch_size, Strengths.of(preset), preset.seed, device)
    began, step, spent = time.perf_counter(), 0, 0.0
    while spent < seconds:
        losses = stage.step(batches.at(step), step, min(spent / seconds, 1.0))
        step += 1
        if step % 20 == 0:
            float(losses["train_loss"])  # waits for the device, so that the time is the time
        spent = time.perf_counter() - began
    return Colorizer(stage.result(), device, round(preset.size * preset.crop_scale)), step * preset.batch_size


def main() -> int:
    """Train all variants, measure, print the table and the JSON object; gives the exit status."""
    parser = options(__doc__ or "")
    gpu = torch.cuda.is_available()
    parser.add_argument("--natural", type=Path, metavar="DIR", help="a folder of colour photographs of anything")
    parser.add_argument("--device", default="cuda" if gpu else "cpu", help="cpu or cuda; default: %(default)s")
    parser.add_argument("--size", type=int, default=128 if gpu else 64, help="side in pixels; default: %(default)s")
    parser.add_argument("--minutes", type=float, default=5, help="time for each variant; default: %(default)s")
    parser.add_argument("--home", type=Path, help="keep photographs and pairs here; default: a temporary folder")
    asked = parser.parse_args()
    seconds = 3.0 if asked.quick else 60 * asked.minutes
    variants = [one for one in VARIANTS if asked.natural or one.data == "topic"]
    rows: dict[str, TableRow] = {}
    seen: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = asked.home or Path(temporary)
        settings = home_with_pairs(root / "topic", asked.photos, device=asked.device)
        machine = machine_facts(_PACKAGES, root)
        side = round(asked.size * preset_of("archive", asked.size, gpu).crop_scale)
        caches = {"topic": open_cache(settings.paths, "train", side, pairs_version(settings.paths))}
        if asked.natural:
            natural = home_with_pairs(root / "natural", asked.natural, device=asked.device).paths
            caches["natural"] = open_cache(natural, "train", side, pairs_version(natural))
            caches["both"] = joined(caches["topic"], caches["natural"])
        pictures = {name: len(cache) for name, cache in caches.items()}
        say(f"Training photographs: {pictures}; {seconds:.0f} s for each of {len(variants)} variants")
        for variant in variants:
            colorizer, seen[variant.name] = train_for(settings, variant, caches[variant.data], seconds, asked.size)
            truths = ((p.photo_id, p.photo_id[:12], p.gray, p.color) for p in read_pairs(settings.paths, "test"))
            evaluation = evaluate(truths, {variant.name: by_grey(colorizer)}, lambda _: None)
            rows |= {row.colorizer: row for row in evaluation.table}
            numbers = rows[variant.name].metrics
            say(f"{variant.name}: " + ", ".join(f"{name} {numbers[name].value:.2f}" for name in _SHOWN))
    names = ["grey copy", *(variant.name for variant in variants), "truth"]
    means = {name: {metric: one.value for metric, one in rows[name].metrics.items()} for name in names}
    say()
    heads = ["variant", "pictures seen", *_SHOWN]
    say(table(heads, [[name, seen.get(name), *(row.get(one) for one in _SHOWN)] for name, row in means.items()]))
    facts = {
        "device": asked.device,
        "size": asked.size,
        "seconds": seconds,
        "training_photographs": pictures,
        "pictures_seen": seen,
        "table": {name: {metric: list(one) for metric, one in rows[name].metrics.items()} for name in names},
    }
    scaled = ["3 seconds for each variant"] if asked.quick else []
    return conclude(asked, "ablation", [], facts, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
