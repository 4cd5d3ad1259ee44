"""The plots of the demo's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from detect.wording import FLOOR, probability_words
from distill_sim.drawing import FIRST, HATCHED, INK, SECOND, SOLID, WIDTH, drawing, halo, plain, powers, svg
from distill_sim.judge import Scores


@dataclass(frozen=True)
class Fraction:
    """A green fraction with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """One test of student and control: log10 p of each."""

    name: str
    student: float
    control: float


def green_fractions(fractions: Sequence[Fraction], gamma: float) -> Markup:
    """How green each text is, beside what chance gives."""
    with drawing(WIDTH, 1.0 + 0.55 * len(fractions)) as figure:
        axes = _axes(figure, [one.name for one in fractions])
        for at, (one, colour, shape) in enumerate(zip(fractions, (FIRST, SECOND), "os", strict=False)):
            error = [[one.value - one.low], [one.high - one.value]]
            axes.errorbar(
                one.value, at, xerr=error, fmt=shape, ms=6, color=colour, ecolor=colour, elinewidth=2, capsize=6
            )
            axes.annotate(f"{one.value:.1%}", (one.high, at), (8, 0), textcoords="offset points", va="center")
        axes.axvline(gamma, color=INK, linestyle="--", linewidth=1.2)
        axes.annotate(f"chance: {gamma:.0%}", (gamma, 1), (0, 5), xycoords=("data", "axes fraction"),
                      textcoords="offset points", ha="center")  # fmt: skip
        axes.set_xlim(0, min(1.12, max(0.5, *(one.high for one in fractions)) * 1.25))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value <= 1 else "")
        axes.set_xlabel("green pairs")
        said = ", ".join(f"{x.name} {x.value:.1%} (interval {x.low:.1%} to {x.high:.1%})" for x in fractions)
        return svg(figure, "green", f"Share of green pairs: {said}; chance gives {gamma:.1%}.")


def perplexities(values: Mapping[str, float]) -> Markup:
    """What the mark costs readers."""
    with drawing(WIDTH, 0.85 + 0.5 * len(values)) as figure:
        axes = _axes(figure, list(values))
        for at, (value, look) in enumerate(zip(values.values(), (SOLID, HATCHED), strict=False)):
            axes.barh(at, value, height=0.55, linewidth=1.5, **look)
            axes.annotate(f"{value:.1f}", (value, at), (6, 0), textcoords="offset points", va="center")
        axes.set_xlim(0, max(values.values()) * 1.2)
        axes.set_xlabel("perplexity under the unmarked teacher")
        said = ", ".join(f"{name} {value:.1f}" for name, value in values.items())
        return svg(figure, "price", f"Perplexity: {said}. Lower reads more fluently to the model.")


def evidence(tests: Sequence[Paired], log10_alpha: float) -> Markup:
    """log10 p of every test for student and control, with the level of a finding; drawn down to the floor only."""
    with drawing(WIDTH, 0.9 + 0.8 * len(tests)) as figure:
        axes = _axes(figure, [test.name for test in tests])
        longest = max(-log10_alpha, *(_length(p) for test in tests for p in (test.student, test.control)))
        for at, test in enumerate(tests):
            for offset, p, who, look in (
                (-0.2, test.student, "student", SOLID),
                (0.2, test.control, "control", HATCHED),
            ):
                axes.barh(at + offset, _length(p), height=0.34, linewidth=1.5, **look)
                axes.annotate(f"{who}: {powers(probability_words(p))}", (longest, at + offset), (10, 0),
                              textcoords="offset points", va="center", fontsize=10.5)  # fmt: skip
        axes.axvline(-log10_alpha, color=INK, linestyle="--", linewidth=1.2, zorder=0)
        axes.annotate(f"detected from {powers(f'10^{log10_alpha:.3g}')}", (-log10_alpha, 1), (0, 5),
                      xycoords=("data", "axes fraction"), textcoords="offset points", ha="center")  # fmt: skip
        axes.set_xlim(0, longest * 1.9)
        axes.spines["bottom"].set_bounds(0, longest)
        ticks = range(0, int(longest) + 1, 3 if longest <= 9 else 5 if longest <= 15 else 10)
        axes.set_xticks(ticks, [powers(f"10^{-tick}") if tick else "1" for tick in ticks])
        axes.set_xlabel("p (further right: rarer by chance)", loc="left")
        said = "; ".join(
            f"{t.name}: student {probability_words(t.student)}, control {probability_words(t.control)}" for t in tests
        )
        return svg(figure, "evidence", f"p of each test. {said}. The line of detection is at 10^{log10_alpha:.3g}.")


def lineups(scores: Mapping[str, Scores]) -> Markup:
    """Where the key stands among the decoys, one histogram a model."""
    everything = np.concatenate([np.append(one.decoys, one.own) for one in scores.values()])
    low = np.floor(everything.min())
    high = max(np.ceil(everything.max()), low + 1)  # all alike where there are no weights
    bins = np.arange(low, high + 0.25, 0.25)
    with drawing(WIDTH, 0.4 + 1.55 * len(scores)) as figure:
        all_axes = figure.subplots(len(scores), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, one), look in zip(all_axes, scores.items(), (SOLID, HATCHED), strict=False):
            plain(axes)
            axes.hist(one.decoys, bins=bins, histtype="stepfilled", **look)
            axes.axvline(one.own, color=INK, linewidth=2.2)
            right = one.own > (low + high) / 2
            axes.annotate(f"the key: {one.own:.1f}", (one.own, 0.97), (-6 if right else 6, 0), va="top",
                          xycoords=("data", "axes fraction"), textcoords="offset points",
                          ha="right" if right else "left", weight="bold", bbox=halo())  # fmt: skip
            axes.set_title(name, loc="left", fontsize=12)
            axes.set_yticks([])
        all_axes[-1].set_xlabel("score, standard deviations from what chance gives")
        all_axes[-1].set_xlim(low - 0.5, high + 0.5)
        said = "; ".join(
            f"{name}: decoys from {one.decoys.min():.1f} to {one.decoys.max():.1f}, the key at {one.own:.1f}"
            for name, one in scores.items()
        )
        return svg(figure, "lineup", f"Histograms of the decoys' scores. {said}.")


def _length(log10_p: float) -> float:
    return min(-FLOOR, max(0.0, -log10_p))


def _axes(figure: Figure, names: Sequence[str]) -> Axes:
    """Horizontal rows, the first on top."""
    axes = figure.subplots()
    plain(axes)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    return axes
