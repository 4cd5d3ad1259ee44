"""Drawing for pages: inline SVG in the page's own colours, so that it follows light and dark mode.

matplotlib draws in stand-in colours that no plot shows; they become the page's CSS variables afterwards. The same
figure gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from detect.visible import one_line

COLOURS = INK, SOFT, LINE, CARD, FIRST, SECOND, THIRD, FOURTH, FIFTH = tuple(f"#0a0b{i:02x}" for i in range(9))
VARIABLES = dict(
    zip(COLOURS, ("ink", "soft", "line", "card", "first", "second", "third", "fourth", "fifth"), strict=True)
)
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


def plain(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def powers(words: str) -> str:
    """10^-7 with a raised exponent: by raised digits, which are drawn ten times as fast as a formula."""

    def raised(found: re.Match[str]) -> str:
        return f"$10^{{{found[1]}}}$" if "." in found[1] else f"10{found[1].translate(_RAISED)}"

    return re.sub(r"10\^(-?[\d.]+)", raised, words)


def literal(text: object, limit: int = 40) -> str:
    """Anybody's text for a drawing: one line, nothing hidden, no formulas, never left out of a legend."""
    plain_text = one_line(text, limit).replace("$", r"\$")
    return f" {plain_text}" if plain_text.startswith("_") else plain_text


def halo() -> dict[str, Any]:
    return {"boxstyle": "square,pad=0.1", "facecolor": CARD, "edgecolor": "none"}


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of its own, with settings that hold inside the block only."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type, unused-ignore]
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure


def svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as an element to put into a page: own ids, no fixed size, no style sheet, described in words."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    inside = re.sub(
        r"<defs>\s*<style.*?</defs>|<metadata>.*?</metadata>|<!--.*?-->",
        "",
        text[text.index("<svg") :],
        flags=re.DOTALL,
    )
    box = re.search(r'viewBox="([\d. ]+)"', inside)
    assert box is not None
    inside = inside[inside.index(">") + 1 :].replace("xlink:href", "href")
    inside = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", inside)
    for colour, variable in VARIABLES.items():
        inside = inside.replace(colour, f"var(--{variable})")
    return Markup(f'<svg viewBox="{box[1]}" role="img" aria-label="{escape(one_line(description, 20_000))}">{inside}')  # noqa: S704
