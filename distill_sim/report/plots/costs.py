"""Strength of the mark against what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from distill_sim.drawing import INK, SOFT, drawing, svg
from distill_sim.report.names import TEST_TITLES
from distill_sim.report.plots.axes import LOOKS, MAIN, SMALL, WIDE, framed, numbers, table_of_runs
from distill_sim.report.results import Cell


@dataclass(frozen=True)
class Cost:
    """One strength of the mark: what it costs by measure, and the same of unmarked text where that is known."""

    delta: float
    quality: Mapping[str, float]
    unmarked: Mapping[str, float]
    cell: Cell


def costs(points: Sequence[Cost], measures: Mapping[str, str]) -> Markup:
    """Each measure (→ axis label) along delta, with the runs detected below."""
    with drawing(WIDE, 2.6 * len(measures) + 0.9) as figure:
        panels = figure.subplots(len(measures), 1, squeeze=False, sharex=True)[:, 0]
        said = []
        for axes, (measure, label) in zip(panels, measures.items(), strict=True):
            framed(axes)
            there = [point for point in points if measure in point.quality]
            axes.plot([p.delta for p in there], [p.quality[measure] for p in there], "o-", color=INK, linewidth=2)
            unmarked = [p.unmarked[measure] for p in there if measure in p.unmarked]
            if unmarked:
                level = sum(unmarked) / len(unmarked)
                axes.axhline(level, color=SOFT, linestyle="--", linewidth=1)
                axes.annotate("unmarked", (1.0, level), (0, 3), xycoords=("axes fraction", "data"), ha="right",
                              textcoords="offset points", fontsize=SMALL, color=SOFT)  # fmt: skip
            axes.margins(y=0.15)
            axes.set_title(label, loc="left", fontsize=11.5)
            said += [f"delta {p.delta:g}: {measure} {p.quality[measure]:.3g}" for p in there]
        last = panels[-1]
        numbers(last, sorted({point.delta for point in points}))
        last.set_xlabel("strength of the mark: bias δ of green tokens, nats", fontsize=SMALL + 0.5)
        tests = [test for test in MAIN if all(test in point.cell.tests for point in points)]
        table_of_runs(last, [(TEST_TITLES[t], LOOKS[t], {p.delta: p.cell.tests[t] for p in points}) for t in tests])
        return svg(figure, "costs", f"What the mark costs at each strength. {'; '.join(said)}.")
