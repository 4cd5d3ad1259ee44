"""The plots of a study's page. Evidence is −log10 p, drawn on a square-root scale, as standard deviations run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from detect.wording import FLOOR, probability_words
from distill_sim.curves import Quantiles
from distill_sim.dose import LEAST, DoseFit
from distill_sim.drawing import (
    FIFTH,
    FIRST,
    FOURTH,
    INK,
    LINE,
    SECOND,
    SOFT,
    THIRD,
    drawing,
    halo,
    literal,
    powers,
    svg,
)
from distill_sim.report.material import LOG10_ALPHA, Cell, Ladder, Results
from distill_sim.report.words import TEST_TITLES, power_words

WIDE = 6.4  # inches
DRAWN = ("reading", "sampled", "argmax", "green_mass", "distinct_pairs")
MAIN = ("reading", "sampled")
LOOKS: dict[str, dict[str, Any]] = {  # told apart by shape and dash too
    "reading": {"color": FIRST, "marker": "o", "linestyle": "-", "linewidth": 2.2, "markersize": 6},
    "sampled": {"color": SECOND, "marker": "s", "linestyle": "-", "linewidth": 2.2, "markersize": 6},
    "argmax": {"color": THIRD, "marker": "^", "linestyle": ":", "linewidth": 1.4, "markersize": 5},
    "green_mass": {"color": FOURTH, "marker": "v", "linestyle": "-.", "linewidth": 1.4, "markersize": 5},
    "distinct_pairs": {"color": FIFTH, "marker": "D", "linestyle": "--", "linewidth": 1.4, "markersize": 4},
}
COLOURS = (FIRST, SECOND, THIRD, FOURTH, FIFTH)
TICKS = (0, 1, 3, 6, 10, 15, 20, 30)


@dataclass(frozen=True)
class Curve:
    """Median evidence along x."""

    name: str
    x: tuple[float, ...]
    results: tuple[Results, ...]
    look: Mapping[str, Any]
    intervals: bool = True

    @property
    def top(self) -> float:
        return max((one.median.high if one.median else 0.0) for one in self.results)


def curves_by_test(x: Sequence[float], cells: Sequence[Cell], tests: Iterable[str]) -> list[Curve]:
    """A curve a test; the literature's without intervals."""
    found = []
    for test in tests:
        there = [(at, cell.tests[test]) for at, cell in zip(x, cells, strict=True) if test in cell.tests]
        if test in LOOKS and len(there) > 1:
            xs, results = zip(*there, strict=True)
            found.append(Curve(TEST_TITLES[test], tuple(xs), results, LOOKS[test], test in MAIN))
    return found


def along(name: str, label: str, panels: Mapping[str, Sequence[Curve]]) -> Markup:
    """log10 p along an axis: panels by title, each with its curves; one panel without a title is drawn without."""
    with drawing(WIDE, 3.9 * len(panels) + 0.4) as figure:
        all_axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, (title, curves) in zip(all_axes, panels.items(), strict=True):
            _frame(axes)
            for curve in curves:
                _draw(axes, curve)
            _evidence_axis(axes, "y", max(curve.top for curve in curves))
            _numbers(axes, sorted({x for curve in curves for x in curve.x}))
            axes.set_xlabel(label)
            axes.set_title(title, loc="left", fontsize=12)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False, fontsize=10.5)
        said = " ".join(f"{title} {_spoken(curve)}." for title, curves in panels.items() for curve in curves)
        return svg(figure, name, f"log10 p against {label}. {said}".replace("  ", " "))


def _spoken(curve: Curve) -> str:
    parts = (f"{x:g}: {_spoken_p(one)}" for x, one in zip(curve.x, curve.results, strict=True))
    return f"{curve.name}: {'; '.join(parts)}"


def _spoken_p(results: Results) -> str:
    return probability_words(None if results.median is None else -results.median.median)


def _draw(axes: Axes, curve: Curve) -> None:
    there = [(x, one.median) for x, one in zip(curve.x, curve.results, strict=True) if one.median is not None]
    xs, middle = [x for x, _ in there], [m.median for _, m in there]
    axes.plot(xs, middle, label=literal(curve.name), **curve.look)
    if curve.intervals and there:
        axes.vlines(xs, [m.low for _, m in there], [m.high for _, m in there], color=curve.look["color"], linewidth=1.5)


def dots(name: str, rows: Sequence[tuple[str, Cell]]) -> Markup:
    """Median evidence of conditions that have no order: a row each, reading and sampled."""
    with drawing(WIDE, 1.2 + 0.42 * len(rows)) as figure:
        axes = figure.subplots()
        _frame(axes)
        axes.set_yticks(range(len(rows)), [literal(label, 44) for label, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0, labelsize=10.5)
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        top, said = 0.0, []
        for test, offset in zip(MAIN, (-0.13, 0.13), strict=True):
            there = [(at, cell.tests[test]) for at, (_, cell) in enumerate(rows) if test in cell.tests]
            found = [(at, one.median) for at, one in there if one.median is not None]
            if not found:
                continue
            ys, look = [at + offset for at, _ in found], LOOKS[test]
            axes.plot([m.median for _, m in found], ys, **{**look, "linestyle": "none"}, label=TEST_TITLES[test])
            axes.hlines(ys, [m.low for _, m in found], [m.high for _, m in found], color=look["color"], linewidth=1.8)
            top = max(top, *(m.high for _, m in found))
            said += [f"{rows[at][0]}, {test}: {_spoken_p(one)}" for at, one in there]
        _evidence_axis(axes, "x", top)
        axes.set_xlabel("p (further right: rarer by chance)")
        if said:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=10.5)
        return svg(figure, name, f"Median p of each condition. {'; '.join(said)}.")


def heat(ladders: Sequence[Ladder]) -> Markup:
    """What was done × strength, for reading and sampled: the deeper, the more evidence is left."""
    columns = max(3, *(len(ladder.rungs) for ladder in ladders))
    with drawing(2.2 + 1.55 * columns * 2, 0.9 + 0.5 * len(ladders)) as figure:
        both = figure.subplots(1, 2, sharey=True, squeeze=False)[0]
        said = []
        for axes, test in zip(both, MAIN, strict=True):
            axes.spines[:].set_visible(False)
            axes.set(xlim=(0, columns), ylim=(len(ladders), 0), xticks=[])
            axes.set_yticks([at + 0.5 for at in range(len(ladders))], [literal(one.label, 34) for one in ladders])
            axes.tick_params(length=0, labelsize=10.5)
            axes.set_title(TEST_TITLES[test], loc="left", fontsize=12)
            for at, ladder in enumerate(ladders):
                for column, rung in enumerate(ladder.rungs):
                    if test in rung.cell.tests:
                        _heat_cell(axes, column, at, ladder.strength(rung), rung.cell.tests[test])
                        said.append(f"{test}, {ladder.label} {ladder.strength(rung)}: "
                                    f"{_spoken_p(rung.cell.tests[test])}")  # fmt: skip
        return svg(figure, "heat", f"Median p by what was done, at growing strength. {'; '.join(said)}.")


def _heat_cell(axes: Axes, column: int, row: int, strength: str, results: Results) -> None:
    depth = min(-FLOOR, results.typical) / -FLOOR
    inside = (column + 0.02, row + 0.05)
    axes.add_patch(Rectangle(inside, 0.96, 0.9, facecolor=FIRST, alpha=0.04 + 0.5 * math.sqrt(depth), edgecolor="none"))
    if -results.typical <= LOG10_ALPHA:
        axes.add_patch(Rectangle(inside, 0.96, 0.9, fill=False, edgecolor=FIRST, linewidth=1.6))
    p = powers(power_words(None if results.median is None else -results.typical))
    axes.text(column + 0.07, row + 0.5, strength, va="center", fontsize=9.5, color=SOFT)
    axes.text(column + 0.93, row + 0.5, p, va="center", ha="right", fontsize=11.5)


def nulls(panels: Mapping[str, Mapping[str, Quantiles]]) -> Markup:
    """Quantiles of p under fresh keys: test → control → quantiles. Above the band: more small p than chance gives."""
    with drawing(WIDE, 3.1 * math.ceil(len(panels) / 2) + 0.6) as figure:
        grid = figure.subplots(math.ceil(len(panels) / 2), 2, squeeze=False).ravel()
        handles: dict[str, Any] = {}
        for axes, (test, controls) in zip(grid, panels.items(), strict=False):
            _frame(axes)
            top = max(float(np.max([one.expected[0], one.observed[0]])) for one in controls.values())
            axes.plot([0, top], [0, top], color=INK, linestyle="--", linewidth=1)
            for at, (name, one) in enumerate(controls.items()):
                if at == 0:
                    axes.fill_between(one.expected, one.low, one.high, color=SOFT, alpha=0.15, linewidth=0)
                colour, marker = COLOURS[at % 5], "osv^D"[at % 5]
                (handles[name],) = axes.plot(one.expected, one.observed, marker, color=colour, markersize=3.2)
            axes.set_title(TEST_TITLES.get(test, literal(test)), loc="left", fontsize=12)
            ticks = range(math.ceil(top) + 1)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_ticks(ticks, [powers(f"10^{-tick}") if tick else "1" for tick in ticks])
            axes.set(xlim=(0, top * 1.05), ylim=(0, top * 1.35))
            axes.set_xlabel("p expected by chance")
            axes.set_ylabel("p found")
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        figure.legend(handles.values(), [literal(name) for name in handles], loc="outside lower center", ncols=3,
                      frameon=False, fontsize=10.5)  # fmt: skip
        said = "; ".join(
            f"{test}, {name}: smallest p {probability_words(-float(one.observed[0]))}"
            for test, controls in panels.items()
            for name, one in controls.items()
        )
        return svg(figure, "nulls", f"p under fresh keys against what chance gives. {said}.")


def responses(
    fits: Mapping[str, tuple[Sequence[float], Sequence[float], DoseFit]], extrapolated: Sequence[float]
) -> Markup:
    """Test → (doses, evidence of single runs, fit): the fitted line, dashed where it is extrapolation."""
    with drawing(WIDE, 4.6) as figure:
        axes = figure.subplots()
        _frame(axes)
        axes.set(xscale="log", yscale="log")
        measured = max(max(doses) for doses, _, _ in fits.values())
        highest = max(max(evidence) for _, evidence, _ in fits.values())
        top = max(1000.0, 4 * highest)
        for test, (doses, evidence, fit) in fits.items():
            look = LOOKS[test]
            axes.plot(doses, np.maximum(evidence, LEAST), look["marker"], color=look["color"], markersize=4, alpha=0.55,
                      label=f"{TEST_TITLES[test]}, single runs")  # fmt: skip
            for first, last, dash in ((fit.doses[0], fit.doses[-1], "-"), (fit.doses[-1], max(extrapolated), "--")):
                grid = np.geomspace(first, last, 60)
                found = [fit.predict(float(dose)) for dose in grid]
                axes.plot(grid, [one.evidence for one in found], dash, color=look["color"], linewidth=2)
                axes.fill_between(grid, [one.low for one in found], [one.high for one in found],
                                  color=look["color"], alpha=0.14, linewidth=0)  # fmt: skip
        smallest = min(min(doses) for doses, _, _ in fits.values())
        axes.set(xlim=(smallest / 1.5, max(extrapolated)), ylim=(LEAST * 0.9, top))
        axes.axvline(measured, color=INK, linewidth=1.2)
        for side, offset, words in (("right", -5, "measured"), ("left", 5, "extrapolation")):
            axes.annotate(words, (measured, 0.02), (offset, 0), xycoords=("data", "axes fraction"), ha=side,
                          textcoords="offset points", fontsize=10.5, style="italic", bbox=halo())  # fmt: skip
        _floor_band(axes, "y", top)
        axes.axhline(-LOG10_ALPHA, color=INK, linestyle="--", linewidth=1)
        ticks = [tick for tick in (1, 3, 6, 10, 30) if tick < top]
        axes.set_yticks(ticks, [_tick(tick) for tick in ticks])
        axes.yaxis.set_minor_locator(_none())
        axes.set_xlabel("number of answers")
        axes.set_ylabel("p (further up: rarer by chance)")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=10.5)
        said = "; ".join(
            f"{test}: measured from {fit.doses[0]:g} to {fit.doses[-1]:g} answers, slope {fit.slope:.2f} "
            f"({fit.slope_low:.2f} to {fit.slope_high:.2f})"
            for test, (_, _, fit) in fits.items()
        )
        return svg(figure, "responses", f"Evidence against the number of answers, both logarithmic. {said}. "
                                        "Beyond the largest dose measured everything is extrapolation.")  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """One strength of the mark: what it costs, and what it leaves to be found (median evidence)."""

    delta: float
    quality: Mapping[str, float]  # by measure
    evidence: float


def costs(points: Sequence[Cost], measures: Mapping[str, str]) -> Markup:
    """Evidence of the reading test against each measure of quality (measure → axis label), a point a delta."""
    with drawing(WIDE, 3.5) as figure:
        panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        said = []
        for axes, (measure, label) in zip(panels, measures.items(), strict=True):
            _frame(axes)
            there = [point for point in points if measure in point.quality]
            xs, ys = [point.quality[measure] for point in there], [point.evidence for point in there]
            axes.plot(xs, ys, **LOOKS["reading"])
            for point, x in zip(there, xs, strict=True):
                axes.annotate(f"δ {point.delta:g}", (x, point.evidence), (7, -4), textcoords="offset points",
                              va="top", fontsize=10.5, bbox=halo(), zorder=1.5)  # fmt: skip
                said.append(f"delta {point.delta:g}: {measure} {x:.3g}, p {probability_words(-point.evidence)}")
            axes.margins(x=0.18)
            axes.set_xlabel(label)
        for axes in panels:  # after both: they share it
            _evidence_axis(axes, "y", max(point.evidence for point in points), label=axes is panels[0])
        return svg(figure, "costs", f"What the mark costs and what it leaves. {'; '.join(said)}.")


# --- axes ---


def _frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _tick(evidence: float) -> str:
    return "1" if evidence == 0 else "0.1" if evidence == 1 else powers(f"10^{-evidence:g}")


def _evidence_axis(axes: Axes, which: str, top: float, label: bool = True) -> None:
    """Square-root scale from p = 1 on, the line of detection, and a band where errors of procedure dominate."""
    top = max(8.0, top * 1.12)
    top = max(top, 38.0) if top > 26 else top  # the band is there whole or not at all
    scale = (lambda v: np.sqrt(np.maximum(v, 0.0)), np.square)
    ticks = [tick for tick in TICKS if tick <= top]
    crowded: tuple[int, ...] = (15,) if which == "x" else ()  # they would run into each other
    if top > 60:
        crowded = (1, 3, 10, 15) if which == "x" else (3, 15)
    ticks = [tick for tick in ticks if tick not in crowded]
    if which == "y":
        axes.set_yscale("function", functions=scale)
        axes.set_ylim(0, top)
        axes.set_yticks(ticks, [_tick(tick) for tick in ticks])
        axes.axhline(-LOG10_ALPHA, color=INK, linestyle="--", linewidth=1, zorder=0)
        if label:
            axes.set_ylabel("p (further up: rarer by chance)")
    else:
        axes.set_xscale("function", functions=scale)
        axes.set_xlim(0, top)
        axes.set_xticks(ticks, [_tick(tick) for tick in ticks])
        axes.axvline(-LOG10_ALPHA, color=INK, linestyle="--", linewidth=1, zorder=0)
    _floor_band(axes, which, top)


def _floor_band(axes: Axes, which: str, top: float) -> None:
    if top <= -FLOOR:
        return
    words = powers(f"below 10^{FLOOR}")
    if which == "y":
        axes.axhspan(-FLOOR, top, color=SOFT, alpha=0.12, linewidth=0, zorder=0)
        axes.annotate(words, (0.01, -FLOOR), (0, 3), xycoords=("axes fraction", "data"), va="bottom",
                      textcoords="offset points", fontsize=10, color=SOFT)  # fmt: skip
    else:
        axes.axvspan(-FLOOR, top, color=SOFT, alpha=0.12, linewidth=0, zorder=0)
        axes.annotate(words, (top, 0.0), (-3, 4), xycoords=("data", "axes fraction"), ha="right",
                      textcoords="offset points", fontsize=10, color=SOFT)  # fmt: skip


def _numbers(axes: Axes, xs: Sequence[float]) -> None:
    """The measured x as ticks; a logarithmic scale where they span a factor of eight, linear below the smallest."""
    positive = [x for x in xs if x > 0]
    if positive and max(positive) >= 8 * min(positive):
        if len(positive) == len(xs):
            axes.set_xscale("log")
        else:
            axes.set_xscale("symlog", linthresh=min(positive), linscale=0.6)
        axes.xaxis.set_minor_locator(_none())
    shown = xs if len(xs) <= 8 else xs[:: math.ceil(len(xs) / 8)]
    axes.set_xticks(shown, [f"{x:,g}" for x in shown])


def _none() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()
