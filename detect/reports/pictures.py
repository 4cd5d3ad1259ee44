"""The pictures of a report: the decoy line-up and the order of events. The same numbers give the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from detect.visible import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, SOFT, LINE, FILL, KEY = "#1d2125", "#4d555d", "#b9bec3", "#c8ced4", "#8a2b06"
MOST_BARS = 40
MOST_EVENTS = 40
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib; drawn as paths, so that no font is needed
    "font.size": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "taggant",
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.facecolor": "white",
    "figure.facecolor": "white",
}


def lineup_picture(scores: Sequence[float], key: float, unit: str) -> bytes:
    """Where the key stands among decoys: a histogram with the key marked.

    Args:
        scores: every decoy's statistic.
        key: the key's own.
        unit: what is counted, for the axis.
    """
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    with _drawing(6.6, 2.7) as figure:
        axes = figure.add_subplot()
        axes.hist(scores, bins=_edges(scores), color=FILL, edgecolor=SOFT, linewidth=0.6)
        low, high = min(*scores, key), max(*scores, key)
        axes.axvline(key, color=KEY, linewidth=2)
        axes.annotate("the key", (key, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                      ha="center", color=KEY, weight="bold")  # fmt: skip
        room = (high - low or 1.0) * 0.04
        axes.set_xlim(low - room, high + room)
        axes.set_xlabel(unit)
        axes.set_ylabel("decoys")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        assert np.isfinite([low, high]).all()
        return _bytes(figure)


def _edges(scores: Sequence[float]) -> Any:
    """Of bars: one a whole number where the scores are few whole ones."""
    import numpy as np

    values = np.asarray(scores, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if (values == np.round(values)).all():
        step = max(1, int(np.ceil((high - low + 1) / MOST_BARS)))
        return np.arange(low - 0.5, high + step, step)
    return np.linspace(low, high, MOST_BARS + 1 if len(values) > 200 else 15)


def order_picture(events: Sequence[tuple[str, str]]) -> bytes:
    """The order of events, from the top down: (time, what) of each."""
    shown = list(events)
    if len(shown) > MOST_EVENTS:
        half = MOST_EVENTS // 2
        left_out = len(shown) - 2 * half + 1
        shown = [*shown[:half], ("", f"… {left_out:,} more …"), *shown[-half + 1 :]]
    with _drawing(6.6, 0.35 + 0.24 * len(shown)) as figure:
        axes = figure.add_subplot()
        axes.axis("off")
        axes.set_xlim(0, 10)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.plot([2.35, 2.35], [0, len(shown) - 1], color=LINE, linewidth=1.5, zorder=1)
        for at, (time, what) in enumerate(shown):
            again = at > 0 and shown[at - 1][0] == time
            axes.text(2.2, at, "" if again else time, ha="right", va="center", color=SOFT)
            if time:
                axes.plot([2.35], [at], "o", color=INK, markersize=4, zorder=2)
            axes.text(2.55, at, one_line(what, 62).replace("$", r"\$"), va="center")
        return _bytes(figure)


@contextmanager
def _drawing(width: float, height: float) -> Iterator[Figure]:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure


def _bytes(figure: Figure) -> bytes:
    """A document without dates, versions or references to anything outside."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", text, flags=re.DOTALL).encode("utf-8")
