"""A scan for a stretch of pairs with too many green ones: a fixed family of intervals, exact tails, a union bound.

    lengths    32, then each a fifth longer (L + L // 5) while below n; and n itself
    starts     0, s, 2s, … with s = L // 8, and the last one possible
    weights    equal for every length, then equal for every interval of that length: they sum to 1

An interval's corrected p is its binomial tail over its weight. The family depends on n alone. What else was tried:
docs/adr/0008-scan-and-normalisation.md. Source of the idea that few intervals are enough: Rivera and Walther 2013.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from detect.exact.arguments import require_count, require_probability
from detect.exact.binomial import log10_sf
from detect.exact.power import pairs_needed
from watermark.errors import InputError, UnsupportedError

FAMILY = "lengths 32 and then each a fifth longer, steps of an eighth, and the whole; equal weight for every length"
_A_LITTLE = 1e-9  # decades: one that just reaches the level is named, too
SHORTEST = 32  # pairs: fewer could hardly be significant after the correction


@dataclass(frozen=True)
class Interval:
    """Pairs start … end − 1 of a sequence.

    Attributes:
        log10_p: corrected for the whole family of its sequence.
    """

    start: int
    end: int
    n_green: int
    log10_p: float

    @property
    def n_scored(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Intervals:
    """Intervals as columns: start, end, n_green int64 [M]; log10_p float64 [M]."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    n_green: NDArray[np.int64]
    log10_p: NDArray[np.float64]

    def __len__(self) -> int:
        return int(self.start.shape[0])

    @staticmethod
    def none() -> Intervals:
        empty = np.zeros(0, dtype=np.int64)
        return Intervals(empty, empty, empty, np.zeros(0))

    @staticmethod
    def joined(parts: list[Intervals]) -> Intervals:
        columns = zip(*((one.start, one.end, one.n_green, one.log10_p) for one in parts), strict=True)
        return Intervals(*(np.concatenate(column) for column in columns))

    def take(self, rows: NDArray[np.intp]) -> Intervals:
        return Intervals(self.start[rows], self.end[rows], self.n_green[rows], self.log10_p[rows])

    def to_list(self) -> list[Interval]:
        columns = (self.start.tolist(), self.end.tolist(), self.n_green.tolist(), self.log10_p.tolist())
        return [Interval(*row) for row in zip(*columns, strict=True)]


def lengths(n: SupportsIndex) -> list[int]:
    """The family's lengths for n pairs, rising; the last is n. Empty for n = 0."""
    n = require_count("n", n)
    found, length = [], SHORTEST
    while length < n:
        found.append(length)
        length += max(1, length // 5)
    return [*found, n] if n else []


def starts(n: SupportsIndex, length: int) -> NDArray[np.intp]:
    """Where the family's intervals of one of its lengths begin, rising."""
    last = require_count("n", n) - length
    grid = np.arange(0, last + 1, step(length))
    return grid if grid[-1] == last else np.append(grid, last)


def step(length: int) -> int:
    """Pairs from one interval of the family to the next of the same length."""
    return max(1, length // 8)


@lru_cache(maxsize=256)  # many documents are of one length
def log10_costs(n: int) -> tuple[tuple[int, float], ...]:
    """(length, −log10 of the weight of each interval of that length) for every length of the family."""
    family = lengths(n)
    return tuple((length, math.log10(len(family)) + math.log10(_count(n, length))) for length in family)


def family_size(n: SupportsIndex) -> int:
    """How many intervals the family has."""
    n = require_count("n", n)
    return sum(_count(n, length) for length in lengths(n))


def smallest(colours: NDArray[np.bool_], gamma: float) -> float:
    """The scan's log10 p: the smallest corrected one of the family; 0 without any pairs.

    Null: the colours, bool [n] in a fixed order, are independently green with probability gamma. One-sided (upper).
    Valid bound: each interval's tail is exact, the union over the family is bounded by the sum of the weights.
    """
    green = _running(colours)
    best = 0.0
    for length, cost in log10_costs(len(colours)):
        begin = starts(len(colours), length)
        most = int((green[begin + length] - green[begin]).max())
        best = min(best, _tail(most, length, gamma) + cost)
    return best


def of_all(log10_p: Sequence[float]) -> float:
    """log10 p of several scans together, each with the same share of the level; 0 of none.

    Null: as `smallest`, of each. Valid bound (union), one-sided (upper).

    Args:
        log10_p: of each scan that has a pair.
    """
    return min(0.0, min(log10_p) + math.log10(len(log10_p))) if log10_p else 0.0


def significant(colours: NDArray[np.bool_], gamma: float, at_most: float) -> Intervals:
    """Every interval of the family whose corrected log10 p lies at or below `at_most`.

    Null: as `smallest`; the chance that the list is not empty is at most 10^at_most.
    """
    green = _running(colours)
    found = [Intervals.none()]
    for length, cost in log10_costs(len(colours)):
        begin = starts(len(colours), length)
        counts = green[begin + length] - green[begin]
        values, tails = _small_tails(counts, length, gamma, at_most - cost)
        if values.size:
            kept = counts >= values[0]
            tail = tails[np.searchsorted(values, counts[kept])] + cost
            found.append(Intervals(begin[kept], begin[kept] + length, counts[kept], np.minimum(0.0, tail)))
    return Intervals.joined(found)


def disjoint(intervals: Intervals, level: float) -> list[Interval]:
    """The disjoint ones among `intervals` that are, in sum, farthest below `level`: Σ (level − log10 p); by position.

    Each p carries its own correction and each interval has to reach the level anew, so that one long stretch is not
    cut into pieces, and two stretches are not joined across a gap, unless that carries much more evidence.

    Args:
        level: log10 of what `intervals` are significant at.
    """
    ordered = intervals.take(np.lexsort((-intervals.start, intervals.end)))
    before = np.searchsorted(ordered.end, ordered.start, side="right").tolist()  # how many end in time for each
    totals, taken = [0.0], []  # totals[i]: the best of the first i
    for ahead, log10_p in zip(before, ordered.log10_p.tolist(), strict=True):
        total = totals[ahead] + level - log10_p + _A_LITTLE
        taken.append(total > totals[-1])
        totals.append(max(total, totals[-1]))
    chosen, i = [], len(taken)
    while i:
        if taken[i - 1]:
            chosen.append(i - 1)
        i = before[i - 1] if taken[i - 1] else i - 1
    return ordered.take(np.array(chosen[::-1], dtype=np.intp)).to_list()


def span_found(n: SupportsIndex, gamma: float, effect: float, alpha: float, power: float = 0.9) -> int | None:
    """The shortest stretch of pairs with green fraction `effect` that a scan of n pairs finds with this power.

    A stretch of L + step − 1 pairs holds an interval of length L, wherever it lies. None: no stretch is long enough.
    """
    n = require_count("n", n)
    if require_probability("effect", effect) <= gamma:
        return None
    for length, cost in log10_costs(n):
        try:
            if pairs_needed(effect, gamma, alpha * 10**-cost, power) <= length:
                return min(n, length + step(length) - 1)
        except (InputError, UnsupportedError):  # a level below what is computed, or more pairs than anybody has
            return None
    return None


@lru_cache(maxsize=1 << 16)  # thousands of keys share some hundred counts
def _tail(k: int, length: int, gamma: float) -> float:
    """As `log10_sf`."""
    return log10_sf(k, length, gamma)


def _count(n: int, length: int) -> int:
    return -(-(n - length) // step(length)) + 1


def _running(colours: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Green among the first i pairs, int64 [n + 1]."""
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(colours, dtype=np.int64)))


def _small_tails(
    counts: NDArray[np.int64], length: int, gamma: float, limit: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The counts that occur and whose log10 tail is at or below `limit`, rising, and those tails."""
    occurring = np.unique(counts)
    tails: list[float] = []
    for k in occurring[::-1].tolist():  # the tail falls as counts rise
        tail = log10_sf(k, length, gamma)
        if tail > limit:
            break
        tails.append(tail)
    return occurring[len(occurring) - len(tails) :], np.array(tails[::-1])
