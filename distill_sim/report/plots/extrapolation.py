"""The fitted dose–response line, and far beyond the doses measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from detect.wording import FLOOR
from distill_sim.dose import LEAST, DoseFit
from distill_sim.drawing import INK, SOFT, drawing, halo, svg
from distill_sim.report.names import TEST_TITLES
from distill_sim.report.plots.axes import LOOKS, SMALL, WIDE, framed
from distill_sim.report.results import LOG10_ALPHA


@dataclass(frozen=True)
class Response:
    """One test: its single runs, the fit, the most evidence that it could ever give (None: not known), and whether the
    line failed its hold-out check."""

    doses: Sequence[float]
    evidence: Sequence[float]
    fit: DoseFit
    ceiling: float | None
    failed: bool

    @property
    def remark(self) -> str:
        return " (the line failed its own check: no forecast)" if self.failed else ""


def extrapolation(found: Mapping[str, Response], to: Sequence[float]) -> Markup:
    """−log10 p against the number of answers, both logarithmic. Runs beyond the floor sit on its edge."""
    with drawing(WIDE, 4.4) as figure:
        axes = figure.subplots()
        framed(axes)
        axes.set(xscale="log", yscale="log")
        measured = max(max(one.doses) for one in found.values())
        smallest = min(min(one.doses) for one in found.values())
        top = max(one.fit.predict(max(to), most=one.ceiling).evidence for one in found.values())
        top = 10 * max([100.0, top, *(one.ceiling for one in found.values() if one.ceiling)])
        for test, one in found.items():
            _response(axes, test, one, max(to))
        axes.set(xlim=(smallest / 1.5, max(to) * 1.2), ylim=(LEAST * 0.8, top))
        axes.axvspan(measured, max(to) * 1.2, color=SOFT, alpha=0.07, linewidth=0, zorder=0)
        axes.axvline(measured, color=INK, linewidth=1.2)
        for side, offset, words in (("right", -5, "measured"), ("left", 5, "extrapolation, fitted")):
            axes.annotate(words, (measured, 0.02), (offset, 0), xycoords=("data", "axes fraction"), ha=side,
                          textcoords="offset points", fontsize=SMALL, style="italic", bbox=halo())  # fmt: skip
        for level, words in ((-LOG10_ALPHA, "detected"), (float(-FLOOR), "p is told down to here")):
            axes.axhline(level, color=INK, linestyle="--", linewidth=1)
            axes.annotate(words, (1.0, level), (-3, 3), xycoords=("axes fraction", "data"), ha="right",
                          textcoords="offset points", fontsize=SMALL)  # fmt: skip
        axes.set_xlabel("number of answers", fontsize=SMALL + 0.5)
        axes.set_ylabel("−log10 p", fontsize=SMALL + 0.5)
        axes.legend(loc="upper left", frameon=False, fontsize=SMALL)
        said = "; ".join(
            f"{TEST_TITLES[test]}: measured from {one.fit.doses[0]:g} to {one.fit.doses[-1]:g} answers, slope "
            f"{one.fit.slope:.2f} ({one.fit.slope_low:.2f} to {one.fit.slope_high:.2f}){one.remark}"
            for test, one in found.items()
        )
        said += ". Beyond the largest dose measured everything is extrapolation."
        return svg(figure, "extrapolation", f"Minus log10 p against the number of answers, both logarithmic. {said}")


def _response(axes: Axes, test: str, one: Response, last: float) -> None:
    look, fit = LOOKS[test], one.fit
    axes.plot(one.doses, np.clip(one.evidence, LEAST, -FLOOR), look["marker"], color=look["color"], markersize=4,
              alpha=0.6, label=TEST_TITLES[test] + one.remark)  # fmt: skip
    for start, end, dash in ((fit.doses[0], fit.doses[-1], "-"), (fit.doses[-1], last, "--")):
        grid = np.geomspace(start, end, 60)
        found = [fit.predict(float(dose), most=one.ceiling) for dose in grid]
        axes.plot(grid, [each.evidence for each in found], linestyle=dash, color=look["color"], linewidth=2)
        axes.fill_between(grid, [each.low for each in found], [each.high for each in found],
                          color=look["color"], alpha=0.14, linewidth=0)  # fmt: skip
    if one.ceiling is not None:
        axes.axhline(one.ceiling, color=look["color"], linestyle=":", linewidth=1.5)
        axes.annotate(f"the most that {TEST_TITLES[test]} can give here", (1.0, one.ceiling), (-3, 3), ha="right",
                      xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=SMALL,
                      color=look["color"], bbox=halo())  # fmt: skip
