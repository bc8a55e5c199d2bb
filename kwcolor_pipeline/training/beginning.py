"""Where a generator's training begins: another generator's weights, or its encoder's alone.

Belongs here: which weights, and whether they fit. Where an encoder's own weights come from is in
``networks.encoders``.
"""

from pathlib import Path

import torch

from kwcolor_pipeline.networks.bundle import Bundle, load_generator, read_bundle
from kwcolor_pipeline.networks.generator import Generator
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline.starter import STARTER
from kwcolor_pipeline.training.presets import Preset


def beginning_bundle(preset: Preset) -> Bundle | None:
    """The model bundle that the preset's generator begins as; None where it begins with its encoder's weights.

    Raises SettingsProblem when there is none, or when it holds another network than the preset asks for.
    """
    if preset.pretrain_start == "none":
        return None
    bundle = read_bundle(STARTER if preset.pretrain_start == "starter" else Path(preset.pretrain_start).expanduser())
    found, wanted = bundle.description.get("architecture"), preset.generator_architecture
    if found != wanted:
        raise SettingsProblem(
            f"The generator in {bundle.folder} is {found} and the preset asks for {wanted}; set pretrain_start=none, "
            "or leave encoder and generator_widths as they were."
        )
    return bundle


def beginning(preset: Preset) -> Generator:
    """The generator with which the preset's pretraining begins, on the CPU, in training mode."""
    bundle = beginning_bundle(preset)
    if bundle is None:
        return Generator(preset.encoder, preset.encoder_weights, preset.generator_widths)
    generator = load_generator(bundle, torch.device("cpu"))
    assert isinstance(generator, Generator)  # the architecture says so
    return generator.train()
