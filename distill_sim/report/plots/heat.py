"""What was done × strength."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from detect.wording import FLOOR
from distill_sim.drawing import SOFT, drawing, powers, svg
from distill_sim.report.material import Ladder
from distill_sim.report.names import TEST_TITLES
from distill_sim.report.plots.axes import LOOKS, SMALL, spoken_p, wrapped
from distill_sim.report.results import LOG10_ALPHA, Results
from distill_sim.report.words import power_words

COLUMN, ROW = 1.6, 0.62  # inches


def heat(ladders: Sequence[Ladder], tests: Sequence[str]) -> Markup:
    """A row for each treatment, its strength growing to the right: the deeper, the more evidence is left."""
    columns = max(len(ladder.rungs) for ladder in ladders)
    with drawing(1.7 + COLUMN * columns, (0.35 + ROW * len(ladders)) * len(tests)) as figure:
        all_axes = figure.subplots(len(tests), 1, squeeze=False)[:, 0]
        said = []
        for axes, test in zip(all_axes, tests, strict=True):
            axes.spines[:].set_visible(False)
            axes.set(xlim=(0, columns), ylim=(len(ladders), 0), xticks=[])
            axes.set_yticks([at + 0.5 for at in range(len(ladders))], [wrapped(one.title, 20) for one in ladders])
            axes.tick_params(length=0, labelsize=10.5)
            axes.set_title(TEST_TITLES[test], loc="left", fontsize=12)
            for at, ladder in enumerate(ladders):
                for column, rung in enumerate(ladder.rungs):
                    if test in rung.cell.tests:
                        results = rung.cell.tests[test]
                        _cell(axes, column, at, ladder.strength(rung), results, LOOKS[test]["color"])
                        what = f"{TEST_TITLES[test]}, {ladder.title} {ladder.strength(rung)}"
                        said.append(f"{what}: {spoken_p(results)}, {results.detected} of {len(results.runs)} detected")
        return svg(figure, "heat", f"Median p by what was done, at growing strength. {'; '.join(said)}.")


def _cell(axes: Axes, column: int, row: int, strength: str, results: Results, colour: str) -> None:
    depth = min(-FLOOR, results.typical) / -FLOOR
    inside = (column + 0.02, row + 0.05)
    alpha = 0.04 + 0.46 * math.sqrt(depth)
    axes.add_patch(Rectangle(inside, 0.96, 0.9, facecolor=colour, alpha=alpha, edgecolor="none"))
    if -results.typical <= LOG10_ALPHA:
        axes.add_patch(Rectangle(inside, 0.96, 0.9, fill=False, edgecolor=colour, linewidth=1.6))
    p = powers(power_words(None if results.median is None else -results.typical))
    axes.text(column + 0.5, row + 0.3, strength, va="center", ha="center", fontsize=SMALL, color=SOFT)
    axes.text(column + 0.5, row + 0.68, f"{p}   {results.detected}/{len(results.runs)}", va="center", ha="center",
              fontsize=SMALL + 0.5)  # fmt: skip
