"""How many null p-values may be small, and how many must be: the limits by which validity is tested."""

from __future__ import annotations

from typing import SupportsIndex

from detect.exact.arguments import require_count
from detect.exact.power import critical_count

LEVELS = (0.1, 0.01, 1e-3, 1e-4)
CHANCE = 1e-4  # with which one limit is exceeded under the null


def largest_expected(count: SupportsIndex, level: float, chance: float = CHANCE) -> int:
    """So many of `count` null p-values may lie at or below `level`: more do with a probability of at most `chance`.

    Null: independent p-values, uniform or larger; exact (binomial quantile). Of 100,000, at the levels above: 10,355,
    1,119, 139, 24.
    """
    return critical_count(count, level, chance) - 1


def smallest_expected(count: SupportsIndex, size: float, chance: float = CHANCE) -> int:
    """So many of `count` exact null p-values lie at or below a level: fewer do with a probability of at most `chance`.

    Null: independent p-values that lie there with chance `size` each, on average: the attainable size of the level.
    Binomial quantile; where the sizes differ it is valid by Hoeffding 1956, theorem 4: so far below their mean the
    binomial tail is the largest. 0: none need be.
    """
    count = require_count("count", count)
    if not 0.0 < size < 1.0:
        return count if size == 1.0 else 0
    return max(0, count + 1 - critical_count(count, 1.0 - size, chance))
