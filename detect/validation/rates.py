"""How often a test's p lay at or below a level: the count, its interval, and the limits of the design."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.exact.binomial import log10_sf
from detect.exact.interval import clopper_pearson
from detect.exact.power import critical_count
from detect.exact.validity import LEVELS as LIMITED
from detect.exact.validity import largest_expected, smallest_expected

LEVELS = (*LIMITED, 1e-6)  # the last is the one that findings are made at

count_log10_p = lru_cache(maxsize=1 << 16)(log10_sf)  # thousands of keys share some hundred counts


@dataclass(frozen=True)
class Rate:
    """How many of `of` trials had p at or below `level`.

    Attributes:
        interval: Clopper–Pearson, 95 %: exact for independent trials of one chance, at least that for several.
        at_most: more would come about with chance below 10^-4 under the null; None: the null does not hold here.
        attainable: the rate that an exact p has under the null: below the level, as a count has steps; None: as
            `at_least`.
        at_least: fewer would come about with chance below 10^-4 for an exact p, given the sizes that it can attain;
            None: the test's p is a bound, or the null does not hold.
    """

    level: float
    count: int
    of: int
    interval: tuple[float, float]
    at_most: int | None = None
    at_least: int | None = None
    attainable: float | None = None

    @property
    def within(self) -> bool:
        """Whether the count lies within its limits; True where there are none."""
        return (self.at_most is None or self.count <= self.at_most) and (
            self.at_least is None or self.count >= self.at_least
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the limits only where there are any."""
        found: dict[str, Any] = {
            "level": self.level,
            "count": self.count,
            "of": self.of,
            "rate": self.count / self.of,
            "interval95": list(self.interval),
        }
        if self.at_most is not None:
            limits = {"at_most": self.at_most, "at_least": self.at_least, "within": self.within}
            found |= {"attainable": self.attainable, **limits}
        return found


def counts_below(log10_p: NDArray[np.float64]) -> list[int]:
    """How many of float64 [T] lie at or below each of `LEVELS`."""
    return [int(np.count_nonzero(log10_p <= math.log10(level))) for level in LEVELS]


def null_rates(counts: Sequence[int], of: int, sizes: Sequence[float] | None = None) -> list[Rate]:
    """Rates of trials under the null, with the limits of the design.

    Null: the trials are independent, and each p uniform or larger.

    Args:
        counts: at or below each of `LEVELS`.
        of: trials.
        sizes: at each of `LEVELS`: the attainable sizes, summed over the trials, of a p that is exact; None: it is a
            bound.
    """
    found = []
    for at, (level, count) in enumerate(zip(LEVELS, counts, strict=True)):
        size = None if sizes is None else sizes[at] / of
        least = None if size is None else smallest_expected(of, size)
        interval = clopper_pearson(count, of)
        found.append(Rate(level, count, of, interval, largest_expected(of, level), least, size))
    return found


def detection_rates(counts: Sequence[int], of: int) -> list[Rate]:
    """Rates of trials on text that is marked, at each of `LEVELS`."""
    found = zip(LEVELS, counts, strict=True)
    return [Rate(level, count, of, clopper_pearson(count, of)) for level, count in found]


@lru_cache(maxsize=1 << 14)  # many texts have one number of pairs
def attainable_size(n: int, gamma: float, level: float) -> float:
    """The largest P(p <= level) that a count of n pairs has under the null: the chance of its critical count.

    Null: each of n distinct pairs is green independently with probability gamma. Exact.
    """
    count = critical_count(n, gamma, level)
    return 0.0 if count > n else math.pow(10.0, log10_sf(count, n, gamma))
