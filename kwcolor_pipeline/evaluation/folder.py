"""Measuring a model on any folder of colour photographs."""

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from kwcolor_pipeline.colorize.engine import open_colorizer
from kwcolor_pipeline.colorize.formats import photograph_files
from kwcolor_pipeline.evaluation.evaluate import Evaluation, Grey, by_grey, evaluate
from kwcolor_pipeline.evaluation.metrics import Picture
from kwcolor_pipeline.home import sha256_of
from kwcolor_pipeline.photos.borders import open_trimmed
from kwcolor_pipeline.photos.curation import looks_coloured
from kwcolor_pipeline.photos.decolorizing import decolorize
from kwcolor_pipeline.settings import Settings, SettingsProblem


def evaluate_folder(settings: Settings, bundle: Path, name: str, folder: Path) -> tuple[Evaluation, list[str]]:
    """The evaluation of a model bundle on the folder's photographs, and a sentence for each that was left out.

    Photographs are prepared as pairs are: borders trimmed, shortest side at most ``settings.pairs.size``.
    Pictures without colours have no truth to compare with and are left out.
    Raises SettingsProblem when the folder does not exist or holds no usable photograph.
    """
    if not folder.is_dir():
        raise SettingsProblem(f"{folder} is not a folder.")
    files = list(photograph_files([folder]))
    if not files:
        raise SettingsProblem(f"There is no picture in {folder}.")
    colorizers = {name: by_grey(open_colorizer(bundle, settings.device))}
    left_out: list[str] = []
    with tqdm(total=len(files), desc="evaluation", unit="photo", disable=not sys.stderr.isatty()) as bar:
        truths = _truths(files, settings, left_out)
        try:
            evaluation = evaluate(truths, colorizers, lambda done: bool(bar.update(done - bar.n)))
        except ValueError as error:
            if len(left_out) < len(files):
                raise
            raise SettingsProblem(f"None of the {len(files)} pictures in {folder} is a colour photograph.") from error
    return evaluation, left_out


def _truths(files: list[Path], settings: Settings, left_out: list[str]) -> Iterator[tuple[str, str, Grey, Picture]]:
    for path in files:
        try:
            image = open_trimmed(path)
        except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
            left_out.append(f"{path} cannot be read: {error}.")
            continue
        if not looks_coloured(image, settings.curation):
            left_out.append(f"{path} is not in colour, so there is nothing to compare with.")
            continue
        image.thumbnail(_bounds(image, settings.pairs.size), Image.Resampling.LANCZOS)
        colour = np.asarray(image.convert("RGB"))
        yield sha256_of(path), path.name, decolorize(colour, settings.pairs.decolorizer), colour


def _bounds(image: Image.Image, shortest: int) -> tuple[int, int]:
    """The largest size whose shortest side is at most ``shortest``."""
    scale = min(1.0, shortest / min(image.size))
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))
