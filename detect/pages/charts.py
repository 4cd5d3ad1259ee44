"""Charts of rates with their intervals, as inline SVG in the page's own colours. The same numbers give the same bytes.

Series are told apart by shape and dash as well as by colour; the drawing is described in words for who cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from detect.visible import one_line

WIDTH, HEIGHT = 720.0, 400.0  # of the plot with its axes, user units
LEFT, RIGHT, TOP, BOTTOM = 84.0, 16.0, 14.0, 58.0
LEGEND_LINE, LEGEND_COLUMNS = 22.0, 4
LOOKS = 5  # shapes, dashes and colours there are
DASHES = ("none", "8 4", "2 3", "9 3 2 3", "5 2")
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, linear or logarithmic; ticks are (value, label)."""

    low: float
    high: float
    label: str
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """0 at `low`, 1 at `high`; what lies outside is drawn at the end."""
        low, high, at = self.low, self.high, min(self.high, max(self.low, value))
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)


@dataclass(frozen=True)
class Point:
    """A rate and its interval; `hollow` where nothing was counted."""

    x: float
    y: float
    low: float
    high: float
    hollow: bool = False


@dataclass(frozen=True)
class Series:
    """Points of one name, joined by a line or not."""

    name: str
    points: tuple[Point, ...]
    joined: bool = False


def power(exponent: int) -> str:
    """10^-3 with a raised exponent."""
    return f"10{str(exponent).translate(RAISED)}"


def chart(x: Axis, y: Axis, series: Sequence[Series], description: str, *, diagonal: bool = False) -> Markup:
    """The drawing as an element to put into a page.

    Args:
        description: in words.
        diagonal: draw y = x, dashed.
    """
    rows = -(-len(series) // LEGEND_COLUMNS)
    parts = [*_axes(x, y)]
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(_line(x, y, (low, low), (high, high), "diagonal"))
    for number, one in enumerate(series):
        parts.append(f'<g class="s{number % LOOKS}">{"".join(_series(x, y, one, number))}</g>')
    parts += _legend(series)
    height = HEIGHT + LEGEND_LINE * rows
    opening = f'<svg class="chart" viewBox="0 0 {WIDTH:g} {height:g}" role="img"'
    said = escape(one_line(description, 20_000))
    return Markup(f'{opening} aria-label="{said}">{"".join(parts)}</svg>')  # noqa: S704 (every text in it is escaped)


def _axes(x: Axis, y: Axis) -> Iterator[str]:
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    for value, label in y.ticks:
        at = _y(y, value)
        yield f'<line class="grid" x1="{left:g}" y1="{at}" x2="{right:g}" y2="{at}"/>'
        yield f'<text class="end" x="{left - 8:g}" y="{at}" dy=".35em">{escape(label)}</text>'
    for value, label in x.ticks:
        at = _x(x, value)
        yield f'<line class="tick" x1="{at}" y1="{bottom:g}" x2="{at}" y2="{bottom + 5:g}"/>'
        yield f'<text class="middle" x="{at}" y="{bottom + 20:g}">{escape(label)}</text>'
    yield f'<line class="axis" x1="{left:g}" y1="{bottom:g}" x2="{right:g}" y2="{bottom:g}"/>'
    yield f'<text class="middle soft" x="{(left + right) / 2:g}" y="{bottom + 42:g}">{escape(x.label)}</text>'
    middle = (top + bottom) / 2
    yield f'<text class="middle soft" transform="translate(18 {middle:g}) rotate(-90)">{escape(y.label)}</text>'


def _series(x: Axis, y: Axis, one: Series, number: int) -> Iterator[str]:
    if one.joined and len(one.points) > 1:
        line = " ".join(f"{_x(x, point.x)},{_y(y, point.y)}" for point in one.points)
        yield f'<polyline class="line" stroke-dasharray="{DASHES[number % LOOKS]}" points="{line}"/>'
    for point in one.points:
        yield _line(x, y, (point.x, point.low), (point.x, point.high), "interval")
        yield _marker(float(_x(x, point.x)), float(_y(y, point.y)), number, point.hollow)


def _legend(series: Sequence[Series]) -> Iterator[str]:
    column = (WIDTH - LEFT) / LEGEND_COLUMNS
    for number, one in enumerate(series):
        left = LEFT + column * (number % LEGEND_COLUMNS)
        at = HEIGHT + LEGEND_LINE * (number // LEGEND_COLUMNS)
        mark = _marker(left + 6, at, number, False)
        yield f'<g class="s{number % LOOKS}">{mark}</g>'
        yield f'<text x="{left + 18:g}" y="{at:g}" dy=".35em">{escape(one_line(one.name, 24))}</text>'


def _marker(x: float, y: float, number: int, hollow: bool) -> str:
    shapes = (
        "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0",
        "M-4.5,-4.5h9v9h-9z",
        "M0,-6l5.5,10h-11z",
        "M0,-6.5l6,6.5l-6,6.5l-6,-6.5z",
        "M0,6l5.5,-10h-11z",
    )
    kind = "mark hollow" if hollow else "mark"
    return f'<path class="{kind}" transform="translate({x:.1f} {y:.1f})" d="{shapes[number % LOOKS]}"/>'


def _line(x: Axis, y: Axis, start: tuple[float, float], end: tuple[float, float], kind: str) -> str:
    (x1, y1), (x2, y2) = ((_x(x, at), _y(y, height)) for at, height in (start, end))
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _x(axis: Axis, value: float) -> str:
    return f"{LEFT + (WIDTH - LEFT - RIGHT) * axis.place(value):.1f}"


def _y(axis: Axis, value: float) -> str:
    return f"{HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * axis.place(value):.1f}"
