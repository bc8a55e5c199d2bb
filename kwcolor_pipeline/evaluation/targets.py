"""The photographs without colours that a report shows: a few of them, small, in a model's colours.

Belongs here: which ones, and their panels and measures. The gallery of all of them at full size is in
``target_gallery``, what is measured in ``stability``.
"""

import logging
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from kwcolor_pipeline.colorize.reading import UnreadablePhotograph, read_photograph
from kwcolor_pipeline.evaluation.evaluate import Grey, TableRow
from kwcolor_pipeline.evaluation.report_data import Panel
from kwcolor_pipeline.evaluation.stability import measure_targets
from kwcolor_pipeline.evaluation.target_gallery import target_photographs
from kwcolor_pipeline.networks.features import Picture
from kwcolor_pipeline.photos.manifest import ManifestRow
from kwcolor_pipeline.photos.sheets import chosen
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import Settings

log = logging.getLogger(__name__)


class Targets(NamedTuple):
    """Panels of target photographs, and each colorizer's means over them; nothing of both where there are none."""

    panels: list[Panel]
    table: list[TableRow]


def shown_targets(settings: Settings) -> list[ManifestRow]:
    """Target photographs for the report, mostly the same ones when others are added."""
    rows = target_photographs(settings.paths)
    wanted = chosen([row.photo_id or "" for row in rows], settings.evaluation.target_photographs)
    return [row for row in rows if row.photo_id in wanted]


def colorized_targets(settings: Settings, name: str, colorizer: Callable[[Grey], Picture]) -> Targets:
    """Those of :func:`shown_targets` that can be read, in the colours of ``colorizer``, which tables call ``name``."""
    store = PhotoStore(settings.paths.photos)
    readable: list[tuple[ManifestRow, Grey]] = []
    for row in shown_targets(settings):
        try:
            photograph = read_photograph(store.find(row.photo_id or ""), settings.download.max_pixels)
        except (UnreadablePhotograph, FileNotFoundError) as error:
            log.warning("left out of the report: %s", error)
            continue
        readable.append((row, _small(photograph.gray, settings.pairs.size)))
    if not readable:
        return Targets([], [])
    named = [(row.photo_id or "", row.title or "untitled", gray) for row, gray in readable]
    measured = measure_targets(named, colorizer, lambda _: None)
    panels = [
        Panel(
            photo_id=one.photo_id,
            title=one.title,
            gray=gray,
            pictures={name: colorizer(gray)},
            creator=row.creator,
            date_text=row.date_text,
            licence=row.licence,
            licence_url=row.licence_url,
            landing_url=row.landing_url,
            measures={name: one.metrics._asdict()},
        )
        for (row, gray), one in zip(readable, measured.photographs, strict=True)
    ]
    return Targets(panels, [TableRow(name, measured.means)])


def _small(gray: Grey, shortest: int) -> Grey:
    """The picture at a size that pairs have, and no longer than four times its shortest side."""
    scale = min(1.0, shortest / min(gray.shape), 4 * shortest / max(gray.shape))
    height, width = (max(1, math.floor(side * scale)) for side in gray.shape)
    return np.asarray(Image.fromarray(gray).resize((width, height), Image.Resampling.LANCZOS))
