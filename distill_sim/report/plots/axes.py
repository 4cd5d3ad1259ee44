"""What all plots share: looks of the tests, the axis of p, and the small table of runs detected.

Evidence is −log10 p, on a square-root scale, as standard deviations run. Nothing is drawn beyond p = 10^-30: what lies
there sits on the edge, with an arrow.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation, Transform, blended_transform_factory

from detect.wording import FLOOR, probability_words
from distill_sim.drawing import FIFTH, FIRST, FOURTH, INK, SECOND, SOFT, THIRD, literal, powers
from distill_sim.report.results import LOG10_ALPHA, Results

WIDE = 5.8  # inches
DRAWN = ("reading", "sampled", "argmax", "green_mass", "distinct_pairs")
MAIN = ("reading", "sampled")
LOOKS: dict[str, dict[str, Any]] = {  # told apart by shape and dash too
    "reading": {"color": FIRST, "marker": "o", "linestyle": "-", "linewidth": 2.2, "markersize": 6.5},
    "sampled": {"color": SECOND, "marker": "s", "linestyle": "-", "linewidth": 2.2, "markersize": 6},
    "argmax": {"color": THIRD, "marker": "^", "linestyle": ":", "linewidth": 1.5, "markersize": 5.5},
    "green_mass": {"color": FOURTH, "marker": "v", "linestyle": "-.", "linewidth": 1.5, "markersize": 5.5},
    "distinct_pairs": {"color": FIFTH, "marker": "D", "linestyle": "--", "linewidth": 1.5, "markersize": 4.5},
}
MARKERS, DASHES = "osv^D", ("-", "--", ":", "-.", (0, (5, 1, 1, 1)))
EDGE = 33.0  # where evidence beyond the floor sits
TOP = 36.5
TICKS = (0, 1, 3, 6, 10, 20, 30)
TICKS_ACROSS = (0, 1, 6, 20, 30)  # horizontally more would run into each other
SMALL = 10.0  # points
ROW = 14.0  # points between the lines of the table


def placed(evidence: float) -> float:
    """Where evidence is drawn."""
    return EDGE if evidence > -FLOOR else evidence


def beyond(evidence: float) -> bool:
    return evidence > -FLOOR


def spoken_p(results: Results) -> str:
    return probability_words(None if results.median is None else -results.median.median)


def framed(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def tick(evidence: float) -> str:
    return "1" if evidence == 0 else "0.1" if evidence == 1 else powers(f"10^{-evidence:g}")


def evidence_axis(axes: Axes, which: str, label: bool = True) -> None:
    """The axis of p: from 1 to the edge, the same in every plot; the line of detection; what lies beyond in grey."""
    scale = (lambda v: np.sqrt(np.maximum(v, 0.0)), np.square)
    ticks = TICKS if which == "y" else TICKS_ACROSS
    words = powers(f"below 10^{FLOOR}")
    if which == "y":
        axes.set_yscale("function", functions=scale)
        axes.set_ylim(0, TOP)
        axes.set_yticks(ticks, [tick(one) for one in ticks])
        axes.axhline(-LOG10_ALPHA, color=INK, linestyle="--", linewidth=1, zorder=0)
        axes.axhspan(-FLOOR, TOP, color=SOFT, alpha=0.13, linewidth=0, zorder=0)
        axes.annotate(words, (0.99, TOP), (0, 2), xycoords=("axes fraction", "data"), va="bottom", ha="right",
                      textcoords="offset points", fontsize=SMALL, color=SOFT)  # fmt: skip
        if label:
            axes.set_ylabel("median p (further up: rarer by chance)", fontsize=SMALL)
    else:
        axes.set_xscale("function", functions=scale)
        axes.set_xlim(0, TOP)
        axes.set_xticks(ticks, [tick(one) for one in ticks], fontsize=SMALL)
        axes.axvline(-LOG10_ALPHA, color=INK, linestyle="--", linewidth=1, zorder=0)
        axes.axvspan(-FLOOR, TOP, color=SOFT, alpha=0.13, linewidth=0, zorder=0)
        axes.set_xlabel("median p (further right: rarer by chance)", fontsize=SMALL)


def points(axes: Axes, x: Sequence[float], y: Sequence[float], look: Mapping[str, Any], across: bool = False) -> None:
    """Markers, a line, and an arrow at what lies beyond the floor; `across`: evidence is x."""
    drawn = [placed(one) for one in (x if across else y)]
    offset = look.get("transform")
    axes.plot(*((drawn, y) if across else (x, drawn)), **look)
    for at, one in enumerate(x if across else y):
        if beyond(one):
            place = (drawn[at], y[at]) if across else (x[at], drawn[at])
            _arrow(axes, place, across, look["color"], offset)


def _arrow(axes: Axes, place: tuple[float, float], across: bool, colour: str, offset: Transform | None) -> None:
    x, y = (7 / 72, 0) if across else (0, 7 / 72)
    shift = ScaledTranslation(x, y, axes.figure.dpi_scale_trans)
    base = axes.transData if offset is None else offset
    marker = ">" if across else "^"
    axes.plot([place[0]], [place[1]], marker, color=colour, markersize=4, markeredgewidth=0, transform=base + shift,
              clip_on=False, zorder=3)  # fmt: skip


def dodged(axes: Axes, at: int, of: int, step: float = 3.0) -> Transform:
    """Data coordinates, moved sideways by some points so that curves on top of each other can be told apart."""
    shift = (at - (of - 1) / 2) * step
    return axes.transData + ScaledTranslation(shift / 72, 0, axes.figure.dpi_scale_trans)


def numbers(axes: Axes, xs: Sequence[float]) -> None:
    """The measured x as ticks; a logarithmic scale where they span a factor of eight, linear below the smallest."""
    positive = [x for x in xs if x > 0]
    if positive and max(positive) >= 8 * min(positive):
        if len(positive) == len(xs):
            axes.set_xscale("log")
        else:
            axes.set_xscale("symlog", linthresh=min(positive), linscale=0.6)
    shown = xs if len(xs) <= 9 else xs[:: -(-len(xs) // 9)]
    axes.set_xticks(shown, [f"{x:,g}" for x in shown])
    axes.set_xticks([], minor=True)
    scale = axes.xaxis.get_transform()
    first, last = (float(one) for one in scale.transform(np.array([min(xs), max(xs)], float)))
    margin = 0.07 * (last - first or 1.0)
    axes.set_xlim(*scale.inverted().transform(np.array([first - margin, last + margin])))


Line = tuple[str, Mapping[str, Any], Mapping[float, Results]]


def table_of_runs(axes: Axes, lines: Sequence[Line], below: float = 40.0) -> None:
    """Under an axis, a line for each curve: its marker and name, and at every x the runs detected.

    Args:
        below: points under the axis at which the table begins.
    """
    sizes = {len(one.runs) for _, _, results in lines for one in results.values()}
    same = len(sizes) == 1
    head = f"detected, of {next(iter(sizes))} runs" if same else "detected"
    _cell(axes, None, below, head, SOFT, style="italic")
    for at, (name, look, results) in enumerate(lines, 1):
        y = below + at * ROW
        place = blended_transform_factory(axes.transAxes, axes.transAxes)
        moved = place + ScaledTranslation(-12 / 72, -y / 72, axes.figure.dpi_scale_trans)
        shape = {key: look[key] for key in ("color", "marker", "markersize") if key in look}
        axes.plot([0], [0], **{**shape, "linestyle": "none"}, transform=moved, clip_on=False)
        _cell(axes, None, y, literal(name, 26), INK, left=-22)
        for x, one in results.items():
            _cell(axes, x, y, f"{one.detected}" if same else f"{one.detected}/{len(one.runs)}", look["color"])


def _cell(
    axes: Axes, x: float | None, below: float, text: str, colour: str, *, left: float = -8, style: str = "normal"
) -> None:
    """A word `below` points under the axis: at x, or (None) ending left of it."""
    shift = ScaledTranslation((0 if x is not None else left) / 72, -below / 72, axes.figure.dpi_scale_trans)
    base = axes.transAxes if x is None else blended_transform_factory(axes.transData, axes.transAxes)
    axes.text(0.0 if x is None else x, 0.0, text, transform=base + shift, ha="right" if x is None else "center",
              va="center", fontsize=SMALL, color=colour, style=style)  # fmt: skip


def wrapped(label: str, width: int = 24) -> str:
    """Anybody's text on two lines at most."""
    text = literal(label, 2 * width - 4)
    return "\n".join(textwrap.wrap(text, width, max_lines=2, placeholder=" …")) or " "
