"""The curves of `benchmarks.power`: log10 p against tokens, one line a key, the median thick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

PANELS = (
    ("tokens read", ("reading", "argmax", "ADFP", "green_mass", "green_mass, all positions")),
    ("tokens sampled", ("sampled, excess", "sampled, distinct")),
)
NAMES = {
    "reading": "reading (Taggant)",
    "argmax": "argmax, distinct pairs (Sander et al.)",
    "ADFP": "ADFP: green mass, each context once (Hoeffding)",
    "green_mass": "green mass, mean of each context (Hoeffding)",
    "green_mass, all positions": "green mass, all positions (Hoeffding; as if independent)",
    "sampled, excess": "n − e against a reference (Taggant)",
    "sampled, distinct": "distinct pairs",
}


def draw(rows: list[dict[str, Any]], path: Path, goal: float = -6.0) -> None:
    """Write the figure as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "taggant"
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    for panel, (label, tests) in zip(panels, PANELS, strict=True):
        for colour, test in enumerate(tests):
            curves = [{int(n): np.median(values) for n, values in row["curves"][test].items()} for row in rows]
            for curve in curves:
                sizes = sorted(curve)
                panel.plot(sizes, [curve[n] for n in sizes], color=f"C{colour}", alpha=0.25, linewidth=0.8)
            common = sorted(set.intersection(*map(set, curves)))
            middle = [np.median([curve[n] for curve in curves]) for n in common]
            panel.plot(common, middle, color=f"C{colour}", linewidth=2, label=NAMES[test])
        panel.axhline(goal, color="0.5", linestyle=":")
        panel.set_xscale("log")
        panel.set_ylim(-30, 0.5)
        panel.set_xlabel(label)
        panel.legend(fontsize=8, loc="lower left")
    panels[0].set_ylabel("log10 p")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
