"""Charts: points where the numbers say, words for who cannot see them, and no text that could do anything."""

from __future__ import annotations

import re

import pytest

from detect.pages.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Point, Series, chart, power

X = Axis(1.0, 100.0, "length", ((1.0, "1"), (10.0, "10"), (100.0, "100")), logarithmic=True)
Y = Axis(0.0, 1.0, "rate", ((0.0, "0"), (1.0, "1")))


def marks(svg: str) -> list[tuple[float, float]]:
    return [
        (float(x), float(y)) for x, y in re.findall(r'class="mark[^"]*" transform="translate\(([\d.]+) ([\d.]+)\)', svg)
    ]


def test_points_stand_where_the_numbers_say() -> None:
    points = (Point(1.0, 0.0, 0.0, 0.2), Point(10.0, 0.5, 0.4, 0.6), Point(100.0, 1.0, 0.9, 1.0))
    svg = str(chart(X, Y, [Series("a", points)], "d"))
    middle = (LEFT + (WIDTH - LEFT - RIGHT) / 2, TOP + (HEIGHT - TOP - BOTTOM) / 2)
    assert marks(svg)[:3] == [(LEFT, HEIGHT - BOTTOM), middle, (WIDTH - RIGHT, TOP)]
    heights = re.findall(r'class="interval" x1="[\d.]+" y1="([\d.]+)" x2="[\d.]+" y2="([\d.]+)"', svg)
    low, high = map(float, heights[1])
    assert low - high == pytest.approx(0.2 * (HEIGHT - TOP - BOTTOM), abs=0.1)
    assert "polyline" not in svg
    assert "polyline" in chart(X, Y, [Series("a", points, joined=True)], "d")


def test_what_lies_beyond_an_axis_is_drawn_at_its_end() -> None:
    svg = str(chart(X, Y, [Series("a", (Point(1000.0, -3.0, 0.0, 7.0),))], "d"))
    assert marks(svg)[0] == (WIDTH - RIGHT, HEIGHT - BOTTOM)
    logarithmic = Axis(1e-3, 1.0, "y", (), logarithmic=True)
    assert marks(str(chart(X, logarithmic, [Series("a", (Point(1.0, 0.0, 0.0, 0.1, hollow=True),))], "d")))[0] == (
        LEFT, HEIGHT - BOTTOM,
    )  # fmt: skip


def test_series_are_told_apart_and_named() -> None:
    svg = str(chart(X, Y, [Series(f"series {i}", (Point(1.0, 0.5, 0.4, 0.6),)) for i in range(6)], "d"))
    assert len(set(re.findall(r'class="mark" [^>]* d="([^"]+)"', svg))) == 5
    assert all(f"series {i}" in svg for i in range(6))
    assert svg == str(chart(X, Y, [Series(f"series {i}", (Point(1.0, 0.5, 0.4, 0.6),)) for i in range(6)], "d"))


def test_text_is_text() -> None:
    hostile = "<script>\"'&\u202e"
    axis = Axis(0.0, 1.0, hostile, ((0.0, hostile),))
    svg = str(chart(axis, axis, [Series(hostile, ())], hostile, diagonal=True))
    assert "<script" not in svg
    assert "\u202e" not in re.sub(r"<text[^>]*soft[^<]*</text>|<text[^>]*(end|middle)[^<]*</text>", "", svg)
    assert 'role="img" aria-label="&lt;script&gt;' in svg


def test_powers() -> None:
    assert power(-12) == "10⁻¹²"
