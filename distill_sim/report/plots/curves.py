"""p along an axis, or by condition where the conditions have no order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from distill_sim.drawing import LINE, SOFT, drawing, svg
from distill_sim.report.names import TEST_TITLES
from distill_sim.report.plots.axes import (
    DASHES,
    DRAWN,
    LOOKS,
    MAIN,
    MARKERS,
    ROW,
    SMALL,
    WIDE,
    dodged,
    evidence_axis,
    framed,
    numbers,
    placed,
    points,
    spoken_p,
    table_of_runs,
    wrapped,
)
from distill_sim.report.results import Cell, Results

HIGH = 3.0  # inches of one panel's axis


@dataclass(frozen=True)
class Curve:
    """Median evidence along x."""

    name: str
    x: tuple[float, ...]
    results: tuple[Results, ...]
    look: Mapping[str, Any]
    intervals: bool = True


def curves_by_test(x: Sequence[float], cells: Sequence[Cell], tests: Iterable[str]) -> list[Curve]:
    """A curve a test; the literature's without intervals."""
    found = []
    for test in tests:
        there = [(at, cell.tests[test]) for at, cell in zip(x, cells, strict=True) if test in cell.tests]
        if test in LOOKS and len(there) > 1:
            xs, results = zip(*there, strict=True)
            found.append(Curve(TEST_TITLES[test], tuple(xs), results, LOOKS[test], test in MAIN))
    return found


def lines_figure(
    name: str,
    label: str,
    lines: Sequence[tuple[str, Sequence[float], Sequence[Cell]]],
    tests: Sequence[str] = DRAWN,
) -> Markup | None:
    """One line: a curve a test. Several: a panel a test in its colour, a curve a line."""
    if len(lines) == 1:
        _, x, cells = lines[0]
        curves = curves_by_test(x, cells, tests)
        return along(name, label, {"": curves}) if curves else None
    panels: dict[str, list[Curve]] = {}
    for test in (one for one in MAIN if one in tests):
        curves = []
        for at, (title, x, cells) in enumerate(lines):
            for curve in curves_by_test(x, cells, [test]):
                look = {**curve.look, "marker": MARKERS[at % 5], "linestyle": DASHES[at % 5]}
                curves.append(Curve(title or "otherwise as the base", curve.x, curve.results, look))
        if curves:
            panels[TEST_TITLES[test]] = curves
    return along(name, label, panels) if panels else None


def along(name: str, label: str, panels: Mapping[str, Sequence[Curve]]) -> Markup:
    """p along an axis: panels by title, each with its curves; one panel without a title is drawn without."""
    rows = sum(len(curves) + 1 for curves in panels.values())
    with drawing(WIDE, (HIGH + 0.7) * len(panels) + ROW / 72 * rows) as figure:
        all_axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, (title, curves) in zip(all_axes, panels.items(), strict=True):
            framed(axes)
            evidence_axis(axes, "y")
            numbers(axes, sorted({x for curve in curves for x in curve.x}))
            for at, curve in enumerate(curves):
                _draw(axes, curve, at, len(curves))
            axes.set_xlabel(label, fontsize=SMALL + 0.5)
            axes.set_title(title, loc="left", fontsize=12)
            table_of_runs(axes, [(c.name, c.look, dict(zip(c.x, c.results, strict=True))) for c in curves])
        said = " ".join(f"{title} {_spoken(curve)}." for title, curves in panels.items() for curve in curves)
        return svg(figure, name, f"p against {label}. {said}".replace("  ", " "))


def _spoken(curve: Curve) -> str:
    parts = (
        f"{x:g}: {spoken_p(one)}, detected in {one.detected} of {len(one.runs)}"
        for x, one in zip(curve.x, curve.results, strict=True)
    )
    return f"{curve.name}: {'; '.join(parts)}"


def _draw(axes: Axes, curve: Curve, at: int, of: int) -> None:
    there = [(x, one.median) for x, one in zip(curve.x, curve.results, strict=True) if one.median is not None]
    moved = dodged(axes, at, of)
    look = {**curve.look, "transform": moved, "clip_on": False}
    points(axes, [x for x, _ in there], [m.median for _, m in there], look)
    if curve.intervals and there:
        axes.vlines([x for x, _ in there], [placed(m.low) for _, m in there], [placed(m.high) for _, m in there],
                    color=curve.look["color"], linewidth=1.5, transform=moved)  # fmt: skip


def dots(name: str, rows: Sequence[tuple[str, Cell]]) -> Markup:
    """Median evidence of conditions that have no order: a row each, reading and asking, with the runs detected."""
    with drawing(WIDE, 1.2 + 0.5 * len(rows)) as figure:
        axes = figure.subplots()
        framed(axes)
        evidence_axis(axes, "x")
        axes.set_yticks(range(len(rows)), [wrapped(label) for label, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0, labelsize=10.5, pad=9)
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        said = []
        tests = [test for test in MAIN if any(test in cell.tests for _, cell in rows)]
        for column, test in enumerate(tests):
            there = [(at, cell.tests[test]) for at, (_, cell) in enumerate(rows) if test in cell.tests]
            look, offset = LOOKS[test], 0.26 * (column - (len(tests) - 1) / 2)
            found = [(at + offset, one.median) for at, one in there if one.median is not None]
            marks = {**look, "linestyle": "none", "label": TEST_TITLES[test], "clip_on": False}
            points(axes, [m.median for _, m in found], [y for y, _ in found], marks, across=True)
            axes.hlines([y for y, _ in found], [placed(m.low) for _, m in found], [placed(m.high) for _, m in found],
                        color=look["color"], linewidth=1.8)  # fmt: skip
            for at, one in there:
                axes.annotate(f"{one.detected}/{len(one.runs)}", (1.0, at), (14 + 34 * column, 0), va="center",
                              xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=SMALL,
                              color=look["color"])  # fmt: skip
            said += [f"{rows[at][0]}, {TEST_TITLES[test]}: {spoken_p(one)}, detected in {one.detected} of "
                     f"{len(one.runs)}" for at, one in there]  # fmt: skip
        axes.annotate("detected", (1.0, -0.6), (14, 8), xycoords=("axes fraction", "data"), textcoords="offset points",
                      fontsize=SMALL, color=SOFT, style="italic")  # fmt: skip
        if tests:
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False, fontsize=10.5)
        return svg(figure, name, f"Median p of each condition. {'; '.join(said)}.")
