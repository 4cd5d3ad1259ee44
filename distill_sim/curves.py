"""What the numbers of a study say: medians with intervals, trends along an axis, half-lives, and nulls.

Evidence is −log10 p: decades. Pure functions of numbers. A run is one seed × key. Intervals take runs as independent;
keys that share a seed's models are not quite, so the intervals are too narrow where seeds differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detect.exact.binomial import log10_sf
from detect.exact.power import critical_count
from detect.exact.validity import LEVELS, largest_expected
from watermark.errors import InputError

Floats = NDArray[np.float64]
NULL_LEVEL = 0.01  # a control's p, Bonferroni-adjusted, is remarkable at or below it


@dataclass(frozen=True)
class Median:
    """The median of some runs.

    Attributes:
        low, high: order statistics, an interval of the median.
        coverage: the probability with which it covers, for independent runs of one continuous law; 0 for one run.
        q1, q3: quartiles.
    """

    n: int
    median: float
    low: float
    high: float
    coverage: float
    q1: float
    q3: float
    smallest: float
    largest: float

    @property
    def iqr(self) -> float:
        return self.q3 - self.q1


def median_of(values: ArrayLike, level: float = 0.95) -> Median:
    """The median with the narrowest symmetric order-statistic interval that covers with `level`.

    Where no such interval exists (fewer than six runs at .95), it is all of the runs, with what that covers.

    Raises:
        InputError: no values, or some that are no numbers.
    """
    ordered = np.sort(_vector("values", values))
    n = ordered.size
    if n == 0:
        raise InputError("no runs, so no median")
    outside = [2 * sum(math.comb(n, i) for i in range(rank)) / 2**n for rank in range(1, n // 2 + 1)]
    rank = max((rank for rank, chance in enumerate(outside, 1) if chance <= 1 - level), default=1)
    q1, median, q3 = np.quantile(ordered, (0.25, 0.5, 0.75))
    return Median(
        n=n,
        median=float(median),
        low=float(ordered[rank - 1]),
        high=float(ordered[n - rank]),
        coverage=1.0 - outside[rank - 1] if outside else 0.0,
        q1=float(q1),
        q3=float(q3),
        smallest=float(ordered[0]),
        largest=float(ordered[-1]),
    )


def kendall_tau(x: ArrayLike, y: ArrayLike) -> float | None:
    """Kendall's tau-b: 1 rising throughout, −1 falling; None where one of them never changes.

    Source: Kendall 1945.
    """
    one, other = _vector("x", x), _vector("y", y)
    if one.shape != other.shape:
        raise InputError(f"x and y must be equally long, got {one.size} and {other.size}")
    pairs = [(np.sign(one[j] - one[i]), np.sign(other[j] - other[i])) for i, j in combinations(range(one.size), 2)]
    untied = math.sqrt(sum(a != 0 for a, _ in pairs) * sum(b != 0 for _, b in pairs))
    return float(sum(a * b for a, b in pairs)) / untied if untied else None


def inversions(medians: Sequence[Median], rising: bool = True) -> list[tuple[int, int]]:
    """Pairs i < j between which the median goes the wrong way by more than the wider of the two quartile ranges."""
    sign = 1.0 if rising else -1.0
    return [
        (i, j)
        for (i, one), (j, other) in combinations(enumerate(medians), 2)
        if sign * (one.median - other.median) > max(one.iqr, other.iqr)
    ]


def half_life(amounts: ArrayLike, evidence: ArrayLike) -> float | None:
    """The amount at which evidence has fallen to half of what it was at amount 0; None: not within the amounts.

    Between neighbours it is interpolated linearly. Amounts rise and begin at 0.

    Raises:
        InputError: they do not.
    """
    x, y = _vector("amounts", amounts), _vector("evidence", evidence)
    if x.size == 0 or x.size != y.size or x[0] != 0 or (np.diff(x) <= 0).any():
        raise InputError(f"amounts must rise from 0, one for each evidence, got {x.tolist()}")
    half = y[0] / 2
    below = np.flatnonzero(y <= half)
    if y[0] <= 0 or below.size == 0:
        return None
    j = int(below[0])
    share = (y[j - 1] - half) / (y[j - 1] - y[j])
    return float(x[j - 1] + share * (x[j] - x[j - 1]))


@dataclass(frozen=True)
class NullCount:
    """Of a model's p-values under fresh keys: how many are small, how many may be, and how many must be.

    Attributes:
        least: 0 where nothing is asked: of a bound, whose p may be larger than need be, and where chance allows none.
    """

    n: int
    found: Mapping[float, int]
    limits: Mapping[float, int]
    least: Mapping[float, int]

    @property
    def outside(self) -> list[tuple[float, str]]:
        """(level, "many" or "few")."""
        many = [(level, "many") for level, limit in self.limits.items() if self.found[level] > limit]
        return many + [(level, "few") for level, least in self.least.items() if self.found[level] < least]

    @property
    def within(self) -> bool:
        return not self.outside

    @property
    def checks(self) -> int:
        return len(self.limits) + sum(least > 0 for least in self.least.values())

    def to_dict(self) -> dict[str, Any]:
        counts = {"at_or_below": self.found, "limits": self.limits, "least": self.least}
        named = {name: {f"{level:g}": count for level, count in one.items()} for name, one in counts.items()}
        return {"n": self.n, **named, "within": self.within}


def null_count(log10_p: ArrayLike, pairs: int | None = None, gamma: float = 0.25) -> NullCount:
    """Count small p-values at the design's levels.

    Null: fresh keys marked nothing, so p is uniform or larger; each limit is exceeded with chance at most 1e-4. For an
    exact test of a count also from below, so that a test that always says 1 is seen: at least the attainable size less
    the same margin.

    Args:
        log10_p: [keys].
        pairs: what an exact test of a count has counted; None: the test is a bound, or this is not known.
        gamma: chance of one of them to be green; only with pairs.
    """
    values = _log10_p(log10_p)
    limits = {level: largest_expected(values.size, level) for level in LEVELS}
    sizes = {level: 0.0 if pairs is None else attainable_size(pairs, gamma, level) for level in LEVELS}
    margins = {level: limits[level] - values.size * level for level in LEVELS}
    return NullCount(
        n=values.size,
        found={level: int((values <= math.log10(level)).sum()) for level in LEVELS},
        limits=limits,
        least={level: max(0, math.ceil(values.size * sizes[level] - margins[level])) for level in LEVELS},
    )


def attainable_size(pairs: int, gamma: float, level: float) -> float:
    """The chance that an exact count gives p at or below the level: the largest such tail of Binomial(pairs, γ)."""
    critical = critical_count(pairs, gamma, level)
    return float(10 ** log10_sf(critical, pairs, gamma)) if critical <= pairs else 0.0


def bonferroni(log10_p: ArrayLike) -> Floats:
    """log10 of min(1, m p): float64[m] → float64[m].

    Null: any subset of the m hypotheses holds, p-values dependent in any way.
    """
    values = _log10_p(log10_p)
    return np.minimum(0.0, values + math.log10(max(1, values.size)))


@dataclass(frozen=True)
class Quantiles:
    """What −log10 p of a null ought to be against what they are, both falling; and a pointwise band.

    Attributes:
        expected, observed, low, high: float64 [points].
    """

    expected: Floats
    observed: Floats
    low: Floats
    high: Floats


def null_quantiles(log10_p: ArrayLike, points: int = 120, level: float = 0.99) -> Quantiles:
    """For a plot of quantiles: the smallest p-values one by one, then ever fewer of the rest.

    The i-th smallest of n uniform values is Beta(i, n − i + 1); the band holds each with probability `level`.
    """
    ordered = np.sort(_log10_p(log10_p))
    n = ordered.size
    if n == 0:
        raise InputError("no p-values, so no quantiles")
    from scipy.special import betaincinv

    ranks = np.unique(np.rint(np.geomspace(1, n, points)).astype(int))
    tail = (1 - level) / 2
    low, high = (-np.log10(betaincinv(ranks, n - ranks + 1.0, share)) for share in (1 - tail, tail))
    return Quantiles(-np.log10(ranks / (n + 1.0)), -ordered[ranks - 1], low, high)


def _vector(name: str, values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise InputError(f"{name} must be a vector of finite numbers, got shape {array.shape}")
    return array


def _log10_p(values: ArrayLike) -> Floats:
    array = _vector("log10_p", values)
    if (array > 0).any():
        raise InputError(f"log10_p must not be above 0, got {array[array > 0][0]}")
    return array
