"""p under keys that marked nothing, against what chance gives."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from detect.wording import probability_words
from distill_sim.curves import Quantiles
from distill_sim.drawing import INK, SOFT, drawing, literal, powers, svg
from distill_sim.report.names import TEST_TITLES
from distill_sim.report.plots.axes import LOOKS, MARKERS, SMALL, WIDE, framed

NAMES_A_LINE, LONGEST_NAME = 2, 44  # of the legend, no wider than the figure


def nulls(panels: Mapping[str, Mapping[str, Quantiles]]) -> Markup:
    """Test → control → quantiles. Above the band: more small p than chance gives."""
    lines = math.ceil(len(panels) / 2)
    controls = list(dict.fromkeys(name for one in panels.values() for name in one))
    with drawing(WIDE, 2.7 * lines + 0.3 * math.ceil(len(controls) / NAMES_A_LINE)) as figure:
        grid = figure.subplots(lines, 2, squeeze=False).ravel()
        for axes, (test, found) in zip(grid, panels.items(), strict=False):
            framed(axes)
            top = max(float(np.max([one.expected[0], one.observed[0]])) for one in found.values())
            axes.plot([0, top], [0, top], color=INK, linestyle="--", linewidth=1)
            widest = min(found.values(), key=lambda one: float(one.expected[0]))
            axes.fill_between(widest.expected, widest.low, widest.high, color=SOFT, alpha=0.15, linewidth=0)
            for name, one in found.items():
                colour = LOOKS.get(test, {"color": INK})["color"]
                hollow = {"markerfacecolor": "none"} if controls.index(name) % 2 else {}
                axes.plot(one.expected, one.observed, MARKERS[controls.index(name) % 5], color=colour, markersize=3.6,
                          alpha=0.8, **hollow)  # fmt: skip
            axes.set_title(TEST_TITLES.get(test, literal(test)), loc="left", fontsize=11.5)
            ticks = range(math.ceil(top) + 1)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_ticks(ticks, [powers(f"10^{-tick}") if tick else "1" for tick in ticks], fontsize=SMALL)
            axes.set(xlim=(0, top * 1.05), ylim=(0, top * 1.35))
            axes.set_xlabel("p expected by chance", fontsize=SMALL)
            axes.set_ylabel("p found", fontsize=SMALL)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        handles = []
        for at, _ in enumerate(controls):
            hollow = {"markerfacecolor": "none"} if at % 2 else {}
            handles += grid[0].plot([], [], MARKERS[at % 5], color=INK, markersize=5, **hollow)
        names = [literal(name, LONGEST_NAME) for name in controls]
        figure.legend(handles, names, loc="outside lower center", ncols=NAMES_A_LINE, frameon=False, fontsize=SMALL)
        said = "; ".join(
            f"{TEST_TITLES.get(test, test)}, {name}: smallest p {probability_words(-float(one.observed[0]))}"
            for test, found in panels.items()
            for name, one in found.items()
        )
        return svg(figure, "nulls", f"p under fresh keys against what chance gives. {said}.")
