"""A DeOldify of the published layout that is small enough for tests, and files as they were published."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kwcolor_pipeline.baselines.deoldify_network import DeOldifyUnet
from kwcolor_pipeline.baselines.published import Published
from kwcolor_pipeline.home import sha256_of

CHANNELS = (8, 8, 16, 16, 32)


def _stage(below: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(below, width, 3, stride, 1), nn.ReLU())


def small(*, wide: bool = False) -> DeOldifyUnet:
    """A small encoder with eight layers as ResNet's, under either decoder."""
    encoder = nn.Sequential(
        nn.Conv2d(3, CHANNELS[0], 7, 2, 3),
        nn.BatchNorm2d(CHANNELS[0]),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
        _stage(CHANNELS[0], CHANNELS[1], 1),
        *(_stage(CHANNELS[number], CHANNELS[number + 1], 2) for number in (1, 2, 3)),
    )
    return DeOldifyUnet(encoder, CHANNELS, factor=0.25 if wide else 1.5, wide=wide)


@torch.no_grad()
def lively(network: DeOldifyUnet, seed: int = 0) -> DeOldifyUnet:
    """The network in evaluation mode, so that its random weights give colours and its attention takes part."""
    torch.manual_seed(seed)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            parameter.fill_(0.5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()(torch.randn(2, 3, 64, 64))
    return network.eval()


def saved(path: Path, content: Any, *, archive: bool = False) -> Published:
    """Save as PyTorch 1 did, or as a zip ``archive``; the file as if it were published."""
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    return published(path)


def published(path: Path) -> Published:
    return Published("Small_gen.pth", sha256_of(path), path.stat().st_size)


def packed(path: Path) -> None:
    """Compress the entries of a zip archive, as PyTorch never does."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as before, zipfile.ZipFile(path, "w") as after:
        for entry in before.infolist():
            after.writestr(entry.filename, before.read(entry), zipfile.ZIP_DEFLATED)
