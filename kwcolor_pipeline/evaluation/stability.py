"""What can be measured without a truth: how colourful and how uniform results are, and how much they flicker.

Belongs here: measures of a colorizer on grey photographs whose colours nobody knows, as those of the Korean War.
Where there is a truth, ``evaluate`` compares with it.

Flicker is how far the colour of a pixel moves when the picture changes in a way that means nothing: by one pixel to
the right or downwards, or by four of 256 levels up or down. A colorizer that answers such changes with other colours
guesses. It is measured in CIELAB's a* b* plane, without lightness, since a brighter picture has to stay brighter:
the mean over the pixels of the distance, in units of CIELAB (2.3 is about just noticeable). A shift is undone first,
and only pixels that both pictures have are compared. Grey results do not flicker, so read it beside colourfulness.
"""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from kwcolor_pipeline.colour.measures import colourfulness, lab_of, uniformity_of_lab
from kwcolor_pipeline.evaluation.intervals import Interval, mean_with_interval
from kwcolor_pipeline.networks.features import Picture

Grey = NDArray[np.uint8]

#: Levels of 256 by which a picture is made darker and brighter.
BRIGHTNESS_STEP = 4


class TargetMetrics(NamedTuple):
    """What is known of one result that has no truth."""

    #: Signed Hasler-Süsstrunk M.
    colourfulness: float
    #: Share of the chroma in one sector of hue, see ``colour.measures.uniformity_of_lab``.
    uniformity: float
    #: Mean distance in a* b* after a shift by one pixel, to the right and downwards.
    shift_flicker: float
    #: Mean distance in a* b* after a change of brightness, up and down.
    brightness_flicker: float


@dataclass(frozen=True)
class TargetRow:
    """One photograph."""

    photo_id: str
    title: str
    metrics: TargetMetrics


@dataclass(frozen=True)
class TargetMeasures:
    """One colorizer over all photographs: the rows in their order, and each metric's mean with its 95 % interval."""

    photographs: list[TargetRow]
    means: dict[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and finite numbers; :meth:`from_json` reads them back."""
        return {
            "photographs": [dataclasses.asdict(row) | {"metrics": row.metrics._asdict()} for row in self.photographs],
            "means": {name: interval._asdict() for name, interval in self.means.items()},
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "TargetMeasures":
        """The measures that :meth:`to_json` wrote."""
        rows = [TargetRow(**{**row, "metrics": TargetMetrics(**row["metrics"])}) for row in value["photographs"]]
        return cls(rows, {name: Interval(**numbers) for name, numbers in value["means"].items()})


def measure_targets(
    photographs: Iterable[tuple[str, str, Grey]],
    colorizer: Callable[[Grey], Picture],
    progress: Callable[[int], object],
    seed: int = 0,
) -> TargetMeasures:
    """Colorize each photograph five times, as it is and changed in four ways, and measure the results.

    ``photographs`` gives (photo_id, title, grey uint8 (H, W)) and is gone through once; ``progress`` is told how many
    are done. Equal seeds give equal intervals. Raises ValueError when there is no photograph.
    """
    rows = []
    for done, (photo_id, title, gray) in enumerate(photographs, start=1):
        rows.append(TargetRow(photo_id, title, target_metrics(gray, colorizer)))
        progress(done)
    if not rows:
        raise ValueError("there is no photograph to measure")
    columns = {name: [getattr(row.metrics, name) for row in rows] for name in TargetMetrics._fields}
    return TargetMeasures(rows, {name: mean_with_interval(values, seed) for name, values in columns.items()})


def target_metrics(gray: Grey, colorizer: Callable[[Grey], Picture]) -> TargetMetrics:
    """The measures of one photograph, grey uint8 (H, W)."""
    result = colorizer(gray)
    lab = lab_of(result)
    shifts = [_after_shift(gray, lab, colorizer, axis) for axis in (0, 1) if gray.shape[axis] > 1]
    steps = [_after_step(gray, lab, colorizer, step) for step in (-BRIGHTNESS_STEP, BRIGHTNESS_STEP)]
    return TargetMetrics(
        colourfulness=colourfulness(result),
        uniformity=uniformity_of_lab(lab),
        shift_flicker=sum(shifts) / max(1, len(shifts)),
        brightness_flicker=sum(steps) / len(steps),
    )


def _after_shift(gray: Grey, lab: torch.Tensor, colorizer: Callable[[Grey], Picture], axis: int) -> float:
    """The picture moves by one pixel along the axis; its first row or column appears twice, its last one is lost."""
    length = gray.shape[axis]
    moved = np.take(gray, [0, *range(length - 1)], axis=axis)
    again = lab_of(colorizer(moved))
    return _distance(lab.narrow(axis + 1, 0, length - 1), again.narrow(axis + 1, 1, length - 1))


def _after_step(gray: Grey, lab: torch.Tensor, colorizer: Callable[[Grey], Picture], step: int) -> float:
    changed = np.clip(gray.astype(np.int16) + step, 0, 255).astype(np.uint8)
    return _distance(lab, lab_of(colorizer(changed)))


def _distance(first: torch.Tensor, second: torch.Tensor) -> float:
    difference = (first[1:] - second[1:]).numpy()
    return float(np.hypot(*difference).mean(dtype=np.float64))
