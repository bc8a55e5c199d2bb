"""Networks with made-up answers, and picture files of many kinds."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from kwcolor_pipeline.colorize.engine import Colorizer

CPU = torch.device("cpu")


class Scattered(nn.Module):
    """Answers with random chroma, far outside of what a screen can show; remembers what it was asked."""

    def __init__(self, spread: float = 60.0) -> None:
        super().__init__()
        self.spread = spread
        self.asked: list[tuple[int, ...]] = []

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        self.asked.append(tuple(lightness.shape))
        count, _, height, width = lightness.shape
        return torch.randn(count, 2, height // 2, width // 2) * self.spread


class Even(nn.Module):
    """Answers with the same a*, b* everywhere."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.chroma = torch.tensor([a, b]).view(1, 2, 1, 1)

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        count, _, height, width = lightness.shape
        return self.chroma.expand(count, 2, height // 2, width // 2)


def colorizer_of(network: nn.Module, shortest: int = 37) -> Colorizer:
    return Colorizer(network, CPU, shortest)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def jpeg_bytes(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()
