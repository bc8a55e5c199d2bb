"""The little picture that every generator's bundle carries: validation photographs in grey, colorized, original."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from kwcolor_pipeline.colorize.engine import Colorizer
from kwcolor_pipeline.home import write_bytes
from kwcolor_pipeline.photos.pairs import read_pairs
from kwcolor_pipeline.photos.sheets import contact_sheet
from kwcolor_pipeline.settings import Settings

_PHOTOGRAPHS = 4
_SHORTEST_SIDE = 128


def preview_of(settings: Settings) -> Callable[[nn.Module, Path], None]:
    """A function that writes a generator's preview to a path."""

    def write(generator: nn.Module, path: Path) -> None:
        device = next(generator.parameters(), torch.empty(0)).device
        colorizer = Colorizer(generator, device, _SHORTEST_SIDE)
        cells: list[Image.Image] = []
        for _, pair in zip(range(_PHOTOGRAPHS), read_pairs(settings.paths, "valid"), strict=False):
            grey = np.repeat(pair.gray[..., None], 3, axis=-1)
            cells += [Image.fromarray(picture) for picture in (grey, colorizer(pair.gray), pair.color)]
        write_bytes(path, contact_sheet(cells, columns=3, cell=128))

    return write
