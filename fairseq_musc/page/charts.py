"""Where the marks of the charts stand: numbers in, places and SVG paths out; what they look like is the template's.

All places are in units of the charts' own boxes, x to the right and y down. A chart is small, so that it can stand
alone on a phone and in a grid elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairseq_musc.evaluate.calibration import Bins
from fairseq_musc.evaluate.figure import COLOURS, Points


class Tick(NamedTuple):
    """A value at an axis."""

    at: float
    label: str


class Box(NamedTuple):
    """The size of a chart, and the room at its sides that axes and labels take."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float

    @property
    def x_end(self) -> float:
        """The right end of the drawing area."""
        return self.width - self.right

    @property
    def y_end(self) -> float:
        """The lower end of the drawing area."""
        return self.height - self.bottom

    def x(self, low: float, high: float) -> Callable[[float], float]:
        """From a value to its place, ``low`` at the left."""
        return lambda value: round(self.left + (value - low) / (high - low) * (self.x_end - self.left), 2)

    def y(self, low: float, high: float) -> Callable[[float], float]:
        """From a value to its place, ``low`` at the bottom."""
        return lambda value: round(self.y_end - (value - low) / (high - low) * (self.y_end - self.top), 2)


def steps(low: float, high: float, most: int) -> list[float]:
    """Round values from ``low`` to ``high``, at most ``most``: multiples of 1, 2 or 5 times a power of ten."""
    size = 10.0 ** math.floor(math.log10(((high - low) or 1.0) / most))
    for step in (size * factor for factor in (1, 2, 5, 10, 20, 50)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [round(place * step, 10) for place in range(first, last + 1)]


def path(points: Iterable[tuple[float, float]]) -> str:
    """An SVG path through points; where one is not finite the path is broken, and a point by itself is a dot."""
    pieces: list[list[str]] = [[]]
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            pieces[-1].append(f"{x:g} {y:g}")
        else:
            pieces.append([])
    return "".join(f"M{'L'.join(piece)}{'h0' if len(piece) == 1 else ''}" for piece in pieces if piece)


# --- intervals -------------------------------------------------------------------------------------------------------


class Mark(NamedTuple):
    """A value with its interval."""

    series: int
    y: float
    x: float
    low: float
    high: float


class IntervalRow(NamedTuple):
    """The marks of a language, or of the average."""

    label: str
    y: float
    marks: list[Mark]


class Intervals(NamedTuple):
    """A chart of values with intervals, a row for each name."""

    box: Box
    ticks: list[Tick]
    rows: list[IntervalRow]


def intervals(rows: Mapping[str, Sequence[tuple[float, float, float] | None]]) -> Intervals:
    """A chart of percentages.

    Args:
        rows: name to value, lower end and upper end for each series, in [0, 1]; None where there is none.
    """
    series = max(map(len, rows.values()))
    gap = 8 if series < 5 else 6
    height = max(24, gap * (series + 1))
    box = Box(360, 22 + height * len(rows) + 18, 44, 12, 8, 32)
    ends = [end for cells in rows.values() for cell in cells if cell for end in cell]
    low, high = 100 * min(ends), 100 * max(ends)
    margin = max(1.0, 0.04 * (high - low))
    low, high = max(0.0, low - margin), min(100.0, high + margin)
    x = box.x(low, high)
    placed = []
    for place, (label, cells) in enumerate(rows.items()):
        middle = box.top + height * (place + 0.5)
        marks = [
            Mark(
                number,
                round(middle + gap * (number - (len(cells) - 1) / 2), 2),
                *(x(100 * value) for value in cell),
            )
            for number, cell in enumerate(cells)
            if cell is not None
        ]
        placed.append(IntervalRow(label, middle, marks))
    return Intervals(box, [Tick(x(value), f"{value:g}") for value in steps(low, high, 6)], placed)


# --- curves ----------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """One curve."""

    series: int
    """Chooses the colour."""
    dash: int
    """Chooses the dashes: the place of the run in its group."""
    path: str
    chosen: tuple[float, float] | None
    """Where the checkpoint was taken that predicted, if the curve has that update."""


class LineChart(NamedTuple):
    """Values over optimiser steps."""

    box: Box
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]


class Series(NamedTuple):
    """A curve before it is placed."""

    series: int
    dash: int
    points: Sequence[tuple[int, float]]
    chosen: int | None = None
    """The update of the checkpoint; None: not marked."""


def line_chart(curves: Sequence[Series], span: tuple[float, float] | None = None) -> LineChart:
    """Curves over updates; what is not finite is left out.

    Args:
        curves: at least one, each with at least one point.
        span: the ends of the axis of values; those of the curves if None.
    """
    box = Box(340, 200, 44, 12, 10, 34)
    updates = [update for curve in curves for update, _ in curve.points]
    low, high = span or value_span(value for curve in curves for _, value in curve.points)
    first, last = min(updates), max(updates)
    x, y = box.x(first, last if last > first else first + 1), box.y(low, high)
    lines = []
    for curve in curves:
        at = dict(curve.points)
        chosen = None
        if curve.chosen in at and math.isfinite(at[curve.chosen]):
            chosen = x(curve.chosen), y(at[curve.chosen])
        lines.append(Line(curve.series, curve.dash, path((x(u), y(v)) for u, v in curve.points), chosen))
    return LineChart(
        box,
        [Tick(x(value), f"{value:,g}") for value in steps(first, max(last, first + 1), 5) if value == int(value)],
        [Tick(y(value), f"{value:g}") for value in steps(low, high, 5)],
        lines,
    )


def value_span(values: Iterable[float], percent: bool = False) -> tuple[float, float]:
    """The ends of an axis for values, with some room beside them; of percentages within 0 and 100."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return (
        max(0.0, low - margin) if low >= 0 else low - margin,
        min(100.0, high + margin) if percent else high + margin,
    )


def thinned(points: Sequence[tuple[int, float]], most: int) -> tuple[list[tuple[int, float]], int]:
    """At most ``most`` points: means of neighbours, each at the last of their updates; and how many are in one."""
    together = -(-len(points) // most)
    if together <= 1:
        return list(points), 1
    groups = [points[start : start + together] for start in range(0, len(points), together)]
    return [(group[-1][0], math.fsum(value for _, value in group) / len(group)) for group in groups], together


# --- Figure 1 --------------------------------------------------------------------------------------------------------

#: Points are put on a grid of so many steps from 0 to 1, a unit each: finer than the marks are large.
GRID = 250
SCATTER = Box(GRID + 46, GRID + 56, 34, 12, 22, 34)
#: The marks of the four colours around (0, 0), as relative paths; the round one is a dot that the line's cap makes.
MARKS = {"blue": "h0", "red": "m-2-2l4 4m0-4l-4 4", "orange": "m-3-2.5h6l-3 5.5z", "green": "m-3 2.5h6l-3-5.5z"}
#: The same for panels with more than :data:`CROWD` rows.
SMALL_MARKS = {"blue": "h0", "red": "m-1-1l2 2m0-2l-2 2", "orange": "m-2-1h4l-2 3z", "green": "m-2 1h4l-2-3z"}
CROWD = 1000


class Scatter(NamedTuple):
    """A panel of Figure 1: a path for each colour, whatever the number of rows."""

    name: str
    rows: int
    counts: dict[str, int]
    paths: dict[str, str]
    """Colour to all its marks. Rows of one colour that fall on one step of the grid are one mark."""
    crowded: bool
    """Whether the marks are the small ones."""


def scatter(name: str, points: Points) -> Scatter:
    """The marks of a panel, each colour as one path, and the exact counts."""
    crowded = len(points.x) > CROWD
    marks = SMALL_MARKS if crowded else MARKS
    return Scatter(
        name,
        len(points.x),
        points.counts(),
        {
            colour: _marks(points.x[mine], points.y[mine], marks[colour])
            for colour, kind in COLOURS.items()
            if (mine := points.of(kind)).any()
        },
        crowded,
    )


def _marks(x: NDArray[np.float64], y: NDArray[np.float64], mark: str) -> str:
    places = np.unique(np.stack([np.rint(x * GRID), np.rint(y * GRID)], axis=1).astype(int), axis=0)
    left, bottom = round(SCATTER.left), round(SCATTER.y_end)
    return "".join(f"M{left + i} {bottom - j}{mark}" for i, j in places.tolist())


# --- calibration -----------------------------------------------------------------------------------------------------

RELIABILITY = Box(296, 352, 34, 12, 22, 80)
#: The height of the bars below a reliability diagram.
BARS = 34


class Bar(NamedTuple):
    """The share of the rows in a bin."""

    x: float
    y: float
    width: float
    height: float


class Reliability(NamedTuple):
    """Accuracy over mean probability, bin by bin, and the share of the rows in each."""

    path: str
    points: list[tuple[float, float]]
    gaps: list[tuple[float, float, float]]
    """x of a bin, and the ends of the line from its mean probability to its accuracy."""
    bars: list[Bar]


def reliability(bins: Bins) -> Reliability:
    """The reliability diagram of the bins; empty ones have no point."""
    x, y = RELIABILITY.x(0, 1), RELIABILITY.y(0, 1)
    filled = bins.rows > 0
    pairs = list(zip(bins.confidence[filled].tolist(), bins.accuracy[filled].tolist(), strict=True))
    points = [(x(confidence), y(accuracy)) for confidence, accuracy in pairs]
    count, shares = len(bins.rows), bins.rows / bins.rows.max()
    bottom = RELIABILITY.height - 34
    bars = [
        Bar(
            x(place / count),
            round(bottom - BARS * share, 2),
            round(x((place + 1) / count) - x(place / count) - 1, 2),
            round(BARS * share, 2),
        )
        for place, share in enumerate(shares.tolist())
        if share > 0
    ]
    gaps = [(x(confidence), y(confidence), y(accuracy)) for confidence, accuracy in pairs]
    return Reliability(path(points), points, gaps, bars)
