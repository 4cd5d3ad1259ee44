"""What the mark costs, and what a treatment costs the student."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from distill_sim.curves import median_of

LOSS = "held_out_nats"

Rows = Sequence[Mapping[str, Any]]


def quality(rows: Rows) -> list[dict[str, Any]]:
    """condition × measure: medians over runs, beside the unmarked counterpart's."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["condition"], row["measure"]].append(row)
    found = []
    for (condition, measure), members in sorted(groups.items()):
        one = median_of([row["value"] for row in members])
        unmarked = [row["unmarked"] for row in members if row["unmarked"] is not None]
        found.append(
            {
                "condition": condition,
                "measure": measure,
                "runs": one.n,
                "median": one.median,
                "low": one.low,
                "high": one.high,
                "unmarked": median_of(unmarked).median if unmarked else None,
            }
        )
    return found


def medians(measured: Rows) -> dict[str, dict[str, float]]:
    """measure → condition → median, from what `quality` gives."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for row in measured:
        found[row["measure"]][row["condition"]] = row["median"]
    return found
