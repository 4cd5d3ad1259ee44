"""Which way evidence goes along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from distill_sim.curves import inversions, kendall_tau
from distill_sim.report.material import Line, Material
from distill_sim.report.names import ASKED, READ
from distill_sim.report.results import Cell

RISING = ("answers", "share", "epochs", "delta", "probe_tokens", "sampled_tokens")  # more of it: more evidence
FALLS = (1.0, 2.0)  # standard deviations of a run
AFFECTED = {"probe_tokens": READ, "sampled_tokens": ASKED}  # what a field can change; any other: every test


def trends_along(material: Material, line: Line) -> dict[str, Any]:
    """Of the tests that the field can change; with inversions where more of it must give more evidence."""
    tests = [test for test in material.tests if test in AFFECTED.get(line.field, material.tests)]
    return trends(tests, line.x, line.cells, rising=line.field in RISING or None)


def trends(tests: Sequence[str], x: Sequence[float], cells: Sequence[Cell], rising: bool | None) -> dict[str, Any]:
    """Test → Kendall's tau of median evidence; inversions where the direction is known, and how large one is noticed.

    `notices`: (fall in standard deviations of a run, share of studies in which it would be an inversion).
    """
    found = {}
    for test in tests:
        medians = [cell.tests[test].median if test in cell.tests else None for cell in cells]
        there = [(at, one) for at, one in zip(x, medians, strict=True) if one is not None]
        if len(there) < 2:
            continue
        wrong = None if rising is None else inversions([one for _, one in there], rising)
        runs = min(one.n for _, one in there)
        found[test] = {
            "tau": kendall_tau([at for at, _ in there], [one.median for _, one in there]),
            "inversions": None if wrong is None else [[there[i][0], there[j][0]] for i, j in wrong],
            "notices": None if wrong is None or runs < 2 else [[fall, noticed(runs, fall)] for fall in FALLS],
        }
    return found


@lru_cache
def noticed(runs: int, fall: float) -> float:
    """How often a true fall between two conditions is an inversion, simulated, to two digits.

    Args:
        runs: of each condition, independent and normal.
        fall: of the mean, in standard deviations of a run.
    """
    one, other = np.random.default_rng(0).standard_normal((2, 40_000, runs))
    quartiles = [np.quantile(sample, (0.25, 0.5, 0.75), axis=1) for sample in (one, other - fall)]
    (low, middle, high), (other_low, other_middle, other_high) = quartiles
    return round(float((middle - other_middle > np.maximum(high - low, other_high - other_low)).mean()), 2)
