"""DeOldify's networks and its rule beside its own code: `python -m oracle.deoldify_check [artistic] [stable]`.

A program of its own, in an environment of its own (`deoldify-requirements.txt`): fastai 1, which DeOldify's
package carries, cannot be installed beside the fastai 2 of the other checks. All weights are random and
DeOldify's; they come into ours through a file, as the published ones do.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from deoldify.dataset import get_dummy_databunch
from deoldify.filters import ColorizerFilter
from deoldify.generators import unet_learner_deep, unet_learner_wide
from fastai.basic_train import Learner
from fastai.layers import NormType
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision import models

from kwcolor_pipeline.baselines import deoldify_network
from kwcolor_pipeline.baselines.deoldify import DeOldify
from kwcolor_pipeline.baselines.deoldify_network import DeOldifyUnet
from kwcolor_pipeline.baselines.deoldify_weights import load_published
from kwcolor_pipeline.baselines.published import Published
from kwcolor_pipeline.home import sha256_of
from oracle.table import Table

OUTPUT_BOUND = 1e-4
#: Pixels a side; the second one's features cannot be halved evenly.
SIDES = (128, 208)
#: Render factor and sizes (height, width) of the pictures that go through both filters.
RENDER_FACTOR, PICTURES = 9, ((120, 90), (77, 201))
#: Rounding down turns a difference in the seventh digit into a grey level, now and then.
LEVELS, SHARE = 4, 0.001


def _learner(kind: str) -> Learner:
    """DeOldify's learner, made as its `gen_learner_deep` and `gen_learner_wide` do but without ImageNet weights."""
    make, arch, factor = {
        "artistic": (unet_learner_deep, models.resnet34, 1.5),
        "stable": (unet_learner_wide, models.resnet101, 2),
    }[kind]
    return make(
        get_dummy_databunch(),
        arch=arch,
        pretrained=False,
        wd=1e-3,
        blur=True,
        norm_type=NormType.Spectral,
        self_attention=True,
        y_range=(-3.0, 3.0),
        loss_func=F.l1_loss,
        nf_factor=factor,
    )


@torch.no_grad()
def _settle(network: nn.Module, brightness: float) -> None:
    """Give the layers statistics that random weights cause, and attention, which begins at zero, a share.

    ``brightness`` keeps what no batch norm follows out of the sigmoid's ends, where any two networks agree.
    """
    network.layers[8].conv[0].weight_g.mul_(brightness)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            parameter.fill_(0.5)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(torch.randn(2, 3, 96, 96))
    network.eval()


def _saved(learner: Learner, path: Path) -> Published:
    """Save as fastai 1 under PyTorch 1 did, with the optimiser's whole state; what was saved, as if published."""
    learner.create_opt(slice(1e-6, 1e-4))
    state = {"model": learner.model.state_dict(), "opt": learner.opt.get_state()}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return Published(path.name, sha256_of(path), path.stat().st_size)


def _check_names(table: Table, ours: DeOldifyUnet, theirs: nn.Module) -> None:
    of_ours, of_theirs = (
        {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} for network in (ours, theirs)
    )
    table.equal(f"names and shapes of {len(of_theirs)} tensors", of_ours == of_theirs, True)
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (ours, theirs)]
    table.equal("parameters", *counts)


@torch.no_grad()
def _check_outputs(table: Table, ours: DeOldifyUnet, theirs: nn.Module) -> None:
    for side in SIDES:
        grey = torch.randn(1, 1, side, side).expand(-1, 3, -1, -1).contiguous()
        seconds, outputs = [], []
        for network in (ours, theirs):
            started = time.monotonic()
            outputs.append(network(grey))
            seconds.append(time.monotonic() - started)
        difference = float((outputs[0] - outputs[1]).abs().max())
        table.at_most(f"{side}x{side}: output, largest difference", difference, OUTPUT_BOUND)
        spread = float(outputs[1].std())
        table.note(f"spread of the outputs {spread:.3g}; {seconds[0]:.1f} s ours, {seconds[1]:.1f} s DeOldify's")


def _check_rule(table: Table, ours: DeOldifyUnet, learner: Learner) -> None:
    """Pictures through both filters, from grey to colour."""
    filtered, colorize = ColorizerFilter(learner), DeOldify(ours, torch.device("cpu"), RENDER_FACTOR)
    noise = np.random.default_rng(5)
    for height, width in PICTURES:
        coarse = Image.fromarray(noise.integers(0, 256, (8, 8), dtype=np.uint8))
        grey = coarse.resize((width, height), Image.Resampling.BICUBIC)
        picture = grey.convert("RGB")
        theirs = np.asarray(filtered.filter(picture, picture, RENDER_FACTOR)).astype(int)
        off = np.abs(colorize(np.asarray(grey), "") - theirs)
        size = f"{height}x{width}"
        table.at_most(f"{size} through the filter: largest difference, grey levels", float(off.max()), LEVELS)
        table.at_most(f"{size} through the filter: share of values that differ", float((off > 0).mean()), SHARE)
        table.note(f"colour in it: red and blue differ by {np.abs(theirs[..., 0] - theirs[..., 2]).mean():.1f} levels")


def check(table: Table, kind: str) -> None:
    """One network: names, sizes, outputs, and pictures through both filters."""
    table.heading(f"DeOldify {kind}, its own weights saved and loaded")
    torch.manual_seed(0)
    learner = _learner(kind)
    _settle(learner.model, 1.0 if kind == "artistic" else 0.1)
    build: Callable[[], DeOldifyUnet] = getattr(deoldify_network, kind)
    path = Path(f"{kind}.pth")
    ours = load_published(path, _saved(learner, path), build)
    path.unlink()
    _check_names(table, ours, learner.model)
    _check_outputs(table, ours, learner.model)
    _check_rule(table, ours, learner)


def main(kinds: list[str]) -> int:
    """Compare the networks that are named, both when none is; gives the exit status."""
    table = Table()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # DeOldify reads pictures from ./dummy to make a learner
        Path("dummy").mkdir()
        for number in range(20):
            Image.new("RGB", (8, 8)).save(f"dummy/{number}.png")
        for kind in kinds or ["artistic", "stable"]:
            started = time.monotonic()
            check(table, kind)
            table.note(f"({time.monotonic() - started:.0f} s)")
        os.chdir("/")
    print(f"\n{len(table.rows)} comparisons, {len(table.off)} off")
    for name in table.off:
        print(f"OFF: {name}")
    return 1 if table.off else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
