"""How many null p-values may be small: the limits by which validity is tested."""

from __future__ import annotations

from typing import SupportsIndex

from detect.exact.power import critical_count

LEVELS = (0.1, 0.01, 1e-3, 1e-4)
CHANCE = 1e-4  # with which one limit is exceeded under the null


def largest_expected(count: SupportsIndex, level: float, chance: float = CHANCE) -> int:
    """So many of `count` null p-values may lie at or below `level`: more do with a probability of at most `chance`.

    Null: independent p-values, uniform or larger; exact (binomial quantile). Of 100,000, at the levels above: 10,355,
    1,119, 139, 24.
    """
    return critical_count(count, level, chance) - 1
