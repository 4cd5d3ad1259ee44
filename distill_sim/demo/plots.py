"""The plots of the demo's page: inline SVG in the page's own colours, so that they follow light and dark mode.

matplotlib draws in stand-in colours that no plot shows; they become the page's CSS variables afterwards.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from detect.wording import FLOOR, probability_words
from distill_sim.judge import Scores

INK, SOFT, LINE, CARD, FIRST, SECOND = (f"#0a0b{i:02x}" for i in range(6))
VARIABLES = {INK: "ink", SOFT: "soft", LINE: "line", CARD: "card", FIRST: "first", SECOND: "second"}
WIDTH = 4.6  # inches; small, so that letters stay readable when a phone shrinks the plot
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib; drawn as paths
    "font.size": 12,
    "svg.fonttype": "path",
    "svg.hashsalt": "taggant",
    "hatch.linewidth": 1.5,
    "hatch.color": SECOND,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "mathtext.default": "regular",
}
SOLID: dict[str, Any] = {"facecolor": FIRST, "edgecolor": FIRST}
HATCHED: dict[str, Any] = {"facecolor": CARD, "edgecolor": SECOND, "hatch": "////"}  # told apart without colour


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
    with _drawing(WIDTH, 1.0 + 0.55 * len(fractions)) as figure:
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
        return _svg(figure, "green", f"Share of green pairs: {said}; chance gives {gamma:.1%}.")


def perplexities(values: Mapping[str, float]) -> Markup:
    """What the mark costs readers."""
    with _drawing(WIDTH, 0.85 + 0.5 * len(values)) as figure:
        axes = _axes(figure, list(values))
        for at, (value, look) in enumerate(zip(values.values(), (SOLID, HATCHED), strict=False)):
            axes.barh(at, value, height=0.55, linewidth=1.5, **look)
            axes.annotate(f"{value:.1f}", (value, at), (6, 0), textcoords="offset points", va="center")
        axes.set_xlim(0, max(values.values()) * 1.2)
        axes.set_xlabel("perplexity under the unmarked teacher")
        said = ", ".join(f"{name} {value:.1f}" for name, value in values.items())
        return _svg(figure, "price", f"Perplexity: {said}. Lower reads more fluently to the model.")


def evidence(tests: Sequence[Paired], log10_alpha: float) -> Markup:
    """log10 p of every test for student and control, with the level of a finding; drawn down to the floor only."""
    with _drawing(WIDTH, 0.9 + 0.8 * len(tests)) as figure:
        axes = _axes(figure, [test.name for test in tests])
        longest = max(-log10_alpha, *(_length(p) for test in tests for p in (test.student, test.control)))
        for at, test in enumerate(tests):
            for offset, p, who, look in (
                (-0.2, test.student, "student", SOLID),
                (0.2, test.control, "control", HATCHED),
            ):
                axes.barh(at + offset, _length(p), height=0.34, linewidth=1.5, **look)
                axes.annotate(f"{who}: {_powers(probability_words(p))}", (longest, at + offset), (10, 0),
                              textcoords="offset points", va="center", fontsize=10.5)  # fmt: skip
        axes.axvline(-log10_alpha, color=INK, linestyle="--", linewidth=1.2, zorder=0)
        axes.annotate(f"detected from {_powers(f'10^{log10_alpha:.3g}')}", (-log10_alpha, 1), (0, 5),
                      xycoords=("data", "axes fraction"), textcoords="offset points", ha="center")  # fmt: skip
        axes.set_xlim(0, longest * 1.9)
        axes.spines["bottom"].set_bounds(0, longest)
        ticks = range(0, int(longest) + 1, 3 if longest <= 9 else 5 if longest <= 15 else 10)
        axes.set_xticks(ticks, [_powers(f"10^{-tick}") if tick else "1" for tick in ticks])
        axes.set_xlabel("p (further right: rarer by chance)", loc="left")
        said = "; ".join(
            f"{t.name}: student {probability_words(t.student)}, control {probability_words(t.control)}" for t in tests
        )
        return _svg(figure, "evidence", f"p of each test. {said}. The line of detection is at 10^{log10_alpha:.3g}.")


def lineups(scores: Mapping[str, Scores]) -> Markup:
    """Where the key stands among the decoys, one histogram a model."""
    everything = np.concatenate([np.append(one.decoys, one.own) for one in scores.values()])
    low = np.floor(everything.min())
    high = max(np.ceil(everything.max()), low + 1)  # all alike where there are no weights
    bins = np.arange(low, high + 0.25, 0.25)
    with _drawing(WIDTH, 0.4 + 1.55 * len(scores)) as figure:
        all_axes = figure.subplots(len(scores), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, one), look in zip(all_axes, scores.items(), (SOLID, HATCHED), strict=False):
            _plain(axes)
            axes.hist(one.decoys, bins=bins, histtype="stepfilled", **look)
            axes.axvline(one.own, color=INK, linewidth=2.2)
            right = one.own > (low + high) / 2
            axes.annotate(f"the key: {one.own:.1f}", (one.own, 0.97), (-6 if right else 6, 0), va="top",
                          xycoords=("data", "axes fraction"), textcoords="offset points",
                          ha="right" if right else "left", weight="bold", bbox=_halo())  # fmt: skip
            axes.set_title(name, loc="left", fontsize=12)
            axes.set_yticks([])
        all_axes[-1].set_xlabel("score, standard deviations from what chance gives")
        all_axes[-1].set_xlim(low - 0.5, high + 0.5)
        said = "; ".join(
            f"{name}: decoys from {one.decoys.min():.1f} to {one.decoys.max():.1f}, the key at {one.own:.1f}"
            for name, one in scores.items()
        )
        return _svg(figure, "lineup", f"Histograms of the decoys' scores. {said}.")


def _length(log10_p: float) -> float:
    return min(-FLOOR, max(0.0, -log10_p))


def _powers(words: str) -> str:
    """10^-7 with a raised exponent."""
    return re.sub(r"10\^(-?[\d.]+)", lambda found: f"$10^{{{found[1]}}}$", words)


def _halo() -> dict[str, Any]:
    return {"boxstyle": "square,pad=0.1", "facecolor": CARD, "edgecolor": "none"}


def _axes(figure: Figure, names: Sequence[str]) -> Axes:
    """Horizontal rows, the first on top."""
    axes = figure.subplots()
    _plain(axes)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    return axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)


@contextmanager
def _drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of its own, with settings that hold inside the block only."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type, unused-ignore]
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure


def _svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as an element to put into a page: own ids, no fixed size, no style sheet, described in words."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    inside = re.sub(
        r"<defs>\s*<style.*?</defs>|<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL
    )
    box = re.search(r'viewBox="([\d. ]+)"', inside)
    assert box is not None
    inside = inside[inside.index(">") + 1 :].replace("xlink:href", "href")
    inside = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", inside)
    for colour, variable in VARIABLES.items():
        inside = inside.replace(colour, f"var(--{variable})")
    return Markup(f'<svg viewBox="{box[1]}" role="img" aria-label="{escape(description)}">{inside}')  # noqa: S704
