"""Homes with a few drawn photographs, and presets that train in seconds; see the fixtures in ``conftest``."""

import shutil
from pathlib import Path
from typing import Any

from kwcolor_pipeline.photos.curation import curate
from kwcolor_pipeline.photos.near_duplicates import deduplicate
from kwcolor_pipeline.photos.pairs import make_pairs
from kwcolor_pipeline.settings import Settings, load_settings
from kwcolor_pipeline.training.presets import Preset, load_preset
from kwcolor_pipeline_tests.photos.pictures import PhotoHome, encoded, scene

PHOTOGRAPHS = 32
PAIRS = {"size": 48}
#: Fields of the preset `demo` that make it tiny: two epochs of each stage, three steps each.
TINY: dict[str, Any] = {
    "size": 32,
    "batch_size": 4,
    "crop_scale": 1.15,
    "encoder_weights": "none",
    "pretrain_start": "none",
    "generator_widths": (16, 12, 8, 8),
    "critic_widths": (8, 16),
    "pretrain_epochs": 2,
    "pretrain_min_steps": 6,
    "critic_epochs": 2,
    "critic_min_steps": 6,
    "gan_epochs": 2,
    "gan_min_steps": 6,
}


def tiny_preset(**replace: Any) -> Preset:
    return load_preset("demo", TINY | replace)


def settings_for(home: Path, **overrides: Any) -> Settings:
    return load_settings(**{"home": home, "pairs": PAIRS, "device": "cpu", "training": TINY, **overrides})


def make_home_with_pairs(root: Path) -> None:
    """A home whose photographs were crawled, deduplicated, curated and made into pairs."""
    home = PhotoHome(root, pairs=PAIRS)
    for seed in range(PHOTOGRAPHS):
        size = (96, 72) if seed % 2 else (67, 97)
        home.add(encoded(scene(seed, size)), title=f"Scene {seed}", licence="CC0", year_taken=1942)
    deduplicate(home.settings)
    curate(home.settings)
    made = make_pairs(home.settings)
    assert made.result.summary["photographs"] == PHOTOGRAPHS


def train_all(settings: Settings, preset: Preset) -> list[str]:
    """The weights' hashes of the three stages, trained or as they were."""
    from kwcolor_pipeline.training.adversarial import train_gan
    from kwcolor_pipeline.training.critic_training import train_critic
    from kwcolor_pipeline.training.pretraining import pretrain_generator

    stages = (pretrain_generator, train_critic, train_gan)
    return [stage(settings, preset, lambda record: None).bundle.weights_sha256 for stage in stages]


def copied(home: Path, to: Path) -> Path:
    return Path(shutil.copytree(home, to))
