"""The pictures of the README and of the starter's card, made by the starter from the package's own photographs.

Belongs here: which photographs, and in which rows. They are public domain or CC0, and the starter never saw them.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from kwcolor_pipeline.colorize.engine import Colorizer, open_colorizer
from kwcolor_pipeline.home import write_bytes
from kwcolor_pipeline.photos.decolorizing import decolorize
from kwcolor_pipeline.photos.sheets import contact_sheet

#: What comes out well, and what does not: names in skimage.data, or files that matplotlib carries.
_SHOWN = ("grace_hopper", "rocket", "camera", "coins")
_FAILURES = ("coffee", "astronaut")
_CELL = 256


def _picture(name: str) -> Image.Image:
    if name == "grace_hopper":
        import matplotlib

        return Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    return Image.fromarray(getattr(skimage.data, name)())


def _row(name: str, colorizer: Colorizer) -> list[Image.Image]:
    """Grey, colorized, and the photograph itself, which may have no colour of its own."""
    picture = _picture(name)
    picture.thumbnail((2 * _CELL, 2 * _CELL))
    grey = np.asarray(picture) if picture.mode == "L" else decolorize(np.asarray(picture), "lightness")
    return [Image.fromarray(grey), Image.fromarray(colorizer(grey)), picture]


def draw(shown: Path, failures: Path, bundle: Path) -> None:
    """Write both sheets: in each row the grey picture, the bundle's colours and the photograph, twice."""
    colorizer = open_colorizer(bundle, "cpu")
    for path, names in ((shown, _SHOWN), (failures, _FAILURES)):
        cells = [cell for name in names for cell in _row(name, colorizer)]
        write_bytes(path, contact_sheet(cells, columns=6, cell=_CELL))
