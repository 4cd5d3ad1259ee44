"""A validation study in words, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detect.pages.validation import headline, high_words, level_words, strength


def summary(study: Mapping[str, Any]) -> str:
    """The table in short, for a terminal: populations over all lengths, and what was found of what is marked."""
    levels = study["levels"]
    head = "".join(f"{f'p <= {level_words(level)}':>13}" for level in levels)
    lines = [headline(study), "", f"{'false positives':28}{'trials':>9}{head}"]
    for one in study["pooled"]:
        lines.append(_line(f"{one['population']}, {one['test']}", one["rates"]))
    for row in study["models"]:
        lines += [_line(f"{row['population']}, {test}", one["rates"]) for test, one in row["tests"].items()]
    if study["marked"]:
        lines += ["", f"{'found by the count':28}{'texts':>9}{head}"]
        for row in study["marked"]:
            lines.append(_line(f"{strength(row)}, {row['tokens']:,} tokens", row["tests"]["count"]["rates"]))
    worst = max(one["rates"][-1]["interval95"][1] for one in study["pooled"])
    lines += [
        "",
        f"Intervals are in the files. The rate at 10^-6 is below {high_words(worst)} in every population (95 %).",
    ]
    return "\n".join(lines)


def _line(name: str, rates: list[dict[str, Any]]) -> str:
    return f"{name:28}{rates[0]['of']:9,}" + "".join(f"{rate['count']:13,}" for rate in rates)
