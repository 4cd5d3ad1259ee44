"""What every figure keeps to: one axis of p, nothing beyond its edge, the runs detected beside."""

from __future__ import annotations

import re

import pytest

from distill_sim.condition import Condition
from distill_sim.drawing import drawing
from distill_sim.report.material import gather
from distill_sim.report.plots.axes import (
    DRAWN,
    EDGE,
    LOOKS,
    TICKS,
    TOP,
    evidence_axis,
    numbers,
    placed,
    points,
    table_of_runs,
)
from distill_sim.report.plots.curves import along, curves_by_test
from distill_sim.report.results import Cell
from tests.distill_sim.report import synthetic
from tests.distill_sim.report.synthetic import row


def cells(evidence: dict[int, float], test: str = "reading") -> list[Cell]:
    """A condition for each number of answers, two keys."""
    rows = [
        row(f"n{n}", Condition(answers=n), 0, key, "account", test, -value)
        for n, value in evidence.items()
        for key in (0, 1)
    ]
    return list(gather(synthetic.study(series=[]), rows).cells.values())


@pytest.mark.parametrize(("evidence", "place"), [(0.0, 0.0), (29.9, 29.9), (30.0, 30.0), (30.1, EDGE), (1e6, EDGE)])
def test_beyond_the_floor_everything_sits_on_the_edge(evidence: float, place: float) -> None:
    assert placed(evidence) == place <= TOP


@pytest.mark.parametrize("across", [False, True])
def test_what_is_drawn_stays_on_the_axis_and_has_an_arrow_where_it_is_more(across: bool) -> None:
    with drawing(4, 3) as figure:
        axes = figure.subplots()
        evidence_axis(axes, "x" if across else "y")
        values, places = [2.0, 40.0, 500.0], [1.0, 2.0, 3.0]
        before = len(axes.lines)
        points(axes, *((values, places) if across else (places, values)), LOOKS["reading"], across)
        curve, *arrows = axes.lines[before:]
        drawn = curve.get_xdata() if across else curve.get_ydata()
        assert list(drawn) == [2.0, EDGE, EDGE]
        assert len(arrows) == 2
        assert (axes.get_xlim() if across else axes.get_ylim()) == (0, TOP)


def test_the_axis_is_the_same_whatever_is_on_it() -> None:
    ticks = set()
    for evidence in ({10: 0.1, 20: 0.2}, {10: 5.0, 20: 900.0}):
        drawn = along("one", "answers", {"": curves_by_test((10, 20), cells(evidence), DRAWN)})
        ticks.add(tuple(re.findall(r'id="one-ytick_\d+"', drawn)))
    assert len(ticks) == 1
    assert len(ticks.pop()) == len(TICKS)


def test_runs_detected_stand_below_each_point() -> None:
    with drawing(4, 3) as figure:
        axes = figure.subplots()
        found = {float(c.values["answers"]): c.tests["reading"] for c in cells({10: 1.0, 20: 7.0, 40: 70.0})}
        numbers(axes, list(found))
        table_of_runs(axes, [("Reading", LOOKS["reading"], found)])
        assert [text.get_text() for text in axes.texts] == ["detected, of 2 runs", "Reading", "0", "2", "2"]


def test_each_test_has_a_look_of_its_own() -> None:
    assert len({(one["color"]) for one in LOOKS.values()}) == len(LOOKS) == len(DRAWN)
    assert len({one["marker"] for one in LOOKS.values()}) == len(LOOKS)
