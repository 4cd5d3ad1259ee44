"""What the mark costs, and what a treatment costs the student."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from distill_sim.curves import median_of

LOSS, CLOZE = "held_out_nats", "cloze_accuracy"
WRITES = "written_perplexity"
WRITTEN = {  # of what a student writes, and of the text that it was given: the same
    f"written_{name}": name for name in ("perplexity", "repetition", "distinct_2", "tokens_per_answer")
}
OF_STUDENTS = (LOSS, CLOZE, *WRITTEN)  # all other measures are of the text

Rows = Sequence[Mapping[str, Any]]


def quality(rows: Rows) -> list[dict[str, Any]]:
    """condition × measure: medians over runs, beside the unmarked counterpart's.

    interval: ends of a run's own 95% interval, each the median over runs; None where the measure has none.
    """
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
                "interval": _interval(members),
            }
        )
    return found


def _interval(members: Rows) -> list[float] | None:
    ends = [[row[end] for row in members if row[end] is not None] for end in ("low", "high")]
    return [median_of(values).median for values in ends] if all(ends) else None


def medians(measured: Rows) -> dict[str, dict[str, float]]:
    """measure → condition → median, from what `quality` gives."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for row in measured:
        found[row["measure"]][row["condition"]] = row["median"]
    return found
