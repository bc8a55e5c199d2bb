"""Geometry of the report's two kinds of chart, in the units of their SVG view box.

Belongs here: from numbers to points, bars and ticks. How they are drawn and coloured is in the
templates.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 396, 14, 206
_TICKS = 5
#: Bins of a histogram, about; so many between two ticks that edges and ticks meet.
_BINS = 16


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its position in the view box and what it says."""

    position: float
    label: str


@dataclass(frozen=True)
class Bar:
    """A rectangle of a histogram, with the sentence that its tooltip says."""

    x: float
    y: float
    width: float
    height: float
    says: str


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn; ``lines`` are (name, SVG points)."""

    title: str
    x_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[tuple[str, str]]
    bars: list[Bar]
    bars_name: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM


def _round_steps(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that enclose low..high."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * _TICKS >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * index for index in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True)
class _Axis:
    """Maps values to positions; its ends are round numbers."""

    steps: list[float]
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.steps[0]) / (self.steps[-1] - self.steps[0])
        return round(self.start + share * (self.end - self.start), 2)

    @property
    def ticks(self) -> list[Tick]:
        return [Tick(self.at(step), f"{step:,.4g}") for step in self.steps]

    @property
    def whole_ticks(self) -> list[Tick]:
        """For what is counted: there are no half photographs and no half epochs."""
        return [tick for step, tick in zip(self.steps, self.ticks, strict=True) if step == round(step)]


def _x_axis(low: float, high: float) -> _Axis:
    return _Axis(_round_steps(low, high), _LEFT, _RIGHT)


def _y_axis(low: float, high: float) -> _Axis:
    return _Axis(_round_steps(low, high), _BOTTOM, _TOP)


def line_chart(title: str, x_label: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> Chart:
    """Named series of (x, y) on common axes; points that are not finite are left out of the lines.

    Raises ValueError when no finite point is left: there is nothing to draw.
    """
    finite = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in series.items()}
    everything = [point for points in finite.values() for point in points]
    if not everything:
        raise ValueError(f"the curves of `{title}` have no finite point")
    xs, ys = zip(*everything, strict=True)
    x_axis, y_axis = _x_axis(min(xs), max(xs)), _y_axis(min(ys), max(ys))
    lines = [(name, " ".join(f"{x_axis.at(x)},{y_axis.at(y)}" for x, y in points)) for name, points in finite.items()]
    counted = all(x == round(x) for x in xs)
    return Chart(title, x_label, x_axis.whole_ticks if counted else x_axis.ticks, y_axis.ticks, lines, [])


def _outline(counts: Sequence[int], edges: Sequence[float], x_axis: _Axis, y_axis: _Axis) -> str:
    points = [(edges[0], 0)]
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        points += [(left, count), (right, count)]
    points.append((edges[-1], 0))
    return " ".join(f"{x_axis.at(x)},{y_axis.at(y)}" for x, y in points)


def histogram(
    title: str, x_label: str, bars: tuple[str, Sequence[float]], outline: tuple[str, Sequence[float]]
) -> Chart:
    """Two named samples in the same bins from 0: one as bars, one as an outline over them."""
    x_axis = _x_axis(0, max(*bars[1], *outline[1]))
    spaces = len(x_axis.steps) - 1
    edges = np.linspace(0, x_axis.steps[-1], spaces * max(1, round(_BINS / spaces)) + 1).tolist()
    counts = np.histogram(bars[1], edges)[0].tolist()
    outline_counts = np.histogram(outline[1], edges)[0].tolist()
    y_axis = _y_axis(0, max(counts + outline_counts))
    drawn = [
        Bar(
            x_axis.at(left),
            y_axis.at(count),
            x_axis.at(right) - x_axis.at(left) - 1,
            _BOTTOM - y_axis.at(count),
            f"{count} photographs from {left:.3g} to {right:.3g}",
        )
        for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True)
        if count
    ]
    lines = [(outline[0], _outline(outline_counts, edges, x_axis, y_axis))]
    return Chart(title, x_label, x_axis.ticks, y_axis.whole_ticks, lines, drawn, bars[0])
