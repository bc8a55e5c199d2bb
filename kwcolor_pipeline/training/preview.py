"""A few validation photographs in grey, colorized, original: what a generator's bundle and every epoch show."""

from collections.abc import Callable
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from kwcolor_pipeline.colorize.engine import Colorizer
from kwcolor_pipeline.home import write_bytes
from kwcolor_pipeline.photos.pairs import read_pairs
from kwcolor_pipeline.photos.sheets import contact_sheet
from kwcolor_pipeline.settings import Settings

_PHOTOGRAPHS = 4
#: Photographs are drawn within this square, and colorized at that size: it is done after every epoch.
_CELL = 128


def preview_of(settings: Settings) -> Callable[[nn.Module, Path], None]:
    """A function that writes a generator's preview to a path: the first validation photographs, always the same.

    The file is smaller than ``sheets.MAX_BYTES``. The generator is left in the mode (training, evaluation)
    that it was in.
    """

    @cache
    def photographs() -> list[tuple[Image.Image, Image.Image]]:
        pairs = islice(read_pairs(settings.paths, "valid"), _PHOTOGRAPHS)
        return [(_small(pair.gray), _small(pair.color)) for pair in pairs]

    def write(generator: nn.Module, path: Path) -> None:
        device = next(generator.parameters(), torch.empty(0)).device
        was_training = generator.training
        cells: list[Image.Image] = []
        for grey, colour in photographs():
            colorized = Colorizer(generator, device, min(grey.size))(np.asarray(grey))
            cells += [grey, Image.fromarray(colorized), colour]
        generator.train(was_training)
        write_bytes(path, contact_sheet(cells, columns=3, cell=_CELL))

    return write


def _small(pixels: np.ndarray) -> Image.Image:
    return ImageOps.contain(Image.fromarray(pixels), (_CELL, _CELL))
