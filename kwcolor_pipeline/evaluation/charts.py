"""Geometry of the report's charts, in the units of their SVG view box.

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
#: Radius of a rose's longest sector.
ROSE_RADIUS = 90
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
    title: str, x_label: str, bars: tuple[str, Sequence[float]], *outlines: tuple[str, Sequence[float]]
) -> Chart:
    """Named samples in the same bins from 0: the first as bars, the others as outlines over them."""
    samples = [bars, *outlines]
    x_axis = _x_axis(0, max(value for _, values in samples for value in values))
    spaces = len(x_axis.steps) - 1
    edges = np.linspace(0, x_axis.steps[-1], spaces * max(1, round(_BINS / spaces)) + 1).tolist()
    counts, *outline_counts = [np.histogram(values, edges)[0].tolist() for _, values in samples]
    y_axis = _y_axis(0, max(count for sample in (counts, *outline_counts) for count in sample))
    drawn = [
        Bar(
            x_axis.at(left),
            y_axis.at(count),
            x_axis.at(right) - x_axis.at(left) - 1,
            _BOTTOM - y_axis.at(count),
            f"{count} {'photograph' if count == 1 else 'photographs'} from {left:.3g} to {right:.3g}",
        )
        for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True)
        if count
    ]
    lines = [
        (name, _outline(counted, edges, x_axis, y_axis))
        for (name, _), counted in zip(outlines, outline_counts, strict=True)
    ]
    return Chart(title, x_label, x_axis.ticks, y_axis.whole_ticks, lines, drawn, bars[0])


@dataclass(frozen=True)
class Rose:
    """Shares around a circle: ``sectors`` are (index, SVG path, sentence), ``outline`` the path
    of another's over them.

    The area of a sector is in proportion to its share. The circle has its centre at 0, 0; angles run
    anticlockwise from the right, as in the plane of a* and b*.
    """

    title: str
    sectors: list[tuple[int, str, str]]
    outline: str


def _point(radius: float, turn: float) -> str:
    angle = 2 * math.pi * turn
    return f"{radius * math.cos(angle):.1f} {-radius * math.sin(angle):.1f}"


def roses(samples: Mapping[str, Sequence[float]], reference: Sequence[float]) -> list[Rose]:
    """A rose of each sample's shares, all to one scale, each with the outline of ``reference`` over it.

    All have equally many sectors. A sample without any share gives a rose without sectors.
    """
    largest = max(max(shares) for shares in (*samples.values(), reference)) or 1.0
    count = len(reference)

    def radius(share: float) -> float:
        return ROSE_RADIUS * math.sqrt(share / largest)

    corners = [
        _point(radius(share), (index + end) / count) for index, share in enumerate(reference) for end in (0.0, 1.0)
    ]
    outline = f"M{' L'.join(corners)} Z"

    def sector(index: int, share: float) -> str:
        far = radius(share)
        start, end = _point(far, index / count), _point(far, (index + 1) / count)
        return f"M0 0 L{start} A{far:.1f} {far:.1f} 0 0 0 {end} Z"

    def says(index: int, share: float) -> str:
        return f"{share:.1%} between {index * 360 // count}° and {(index + 1) * 360 // count}°"

    return [
        Rose(
            name,
            [(index, sector(index, share), says(index, share)) for index, share in enumerate(shares) if share],
            outline,
        )
        for name, shares in samples.items()
    ]
