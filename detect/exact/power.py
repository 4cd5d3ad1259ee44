"""How many distinct pairs a count needs: exact power, stable past the sawtooth."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import SupportsIndex

from detect.exact.arguments import require_count, require_probability
from detect.exact.binomial import log10_sf, log_pmf
from watermark.errors import InputError, UnsupportedError

_MOST_PAIRS = 2_000_000_000
_SMALLEST_ALPHA = 1e-200  # tails that are walked along must stay normal numbers


def critical_count(n: SupportsIndex, gamma: float, alpha: float) -> int:
    """The smallest k with P(Binomial(n, gamma) >= k) <= alpha; n + 1 when even n green are not enough."""
    n = require_count("n", n)
    gamma = require_probability("gamma", gamma)
    log10_alpha = math.log10(require_probability("alpha", alpha))
    return _first(lambda k: k > n or log10_sf(k, n, gamma) <= log10_alpha, low=0, high=n + 1)


def power(n: SupportsIndex, gamma: float, q: float, alpha: float) -> float:
    """P(p <= alpha) when n distinct pairs are green independently with probability q: exact."""
    n = require_count("n", n)
    return _chance(critical_count(n, gamma, alpha), n, require_probability("q", q))


@lru_cache(maxsize=64)  # a plan has it computed whenever it is made, read or verified
def pairs_needed(q: float, gamma: float, alpha: float = 1e-6, power: float = 0.9) -> int:
    """The smallest n from which on the test at `alpha` has at least this power against green fraction q.

    Power falls a little each time the critical count goes up by one, so it crosses the target more than once.
    The sawtooth is one count deep: the last crossing lies between the first n at which a critical count smaller by
    one would do and the first at which one larger by one does. That stretch (and as much again) is walked pair by pair.

    Raises:
        InputError: q is not above gamma.
        UnsupportedError: more than 2·10^9 pairs would be needed.
    """
    q, gamma = require_probability("q", q), require_probability("gamma", gamma)
    target = require_probability("power", power)
    if require_probability("alpha", alpha) < _SMALLEST_ALPHA:
        raise InputError(f"alpha must be at least {_SMALLEST_ALPHA}, got {alpha!r}")
    if q <= gamma:
        raise InputError(f"the green fraction to be detected must be above gamma = {gamma}, got {q}")

    def reached(n: int, handicap: int) -> bool:
        return _chance(critical_count(n, gamma, alpha) + handicap, n, q) >= target

    top = 1
    while not reached(top, 1):
        top *= 2
        if top > _MOST_PAIRS:
            raise UnsupportedError(f"telling {q} from gamma = {gamma} needs more than {_MOST_PAIRS} pairs")
    high = _first(lambda n: reached(n, 1), low=0, high=top)
    low = _first(lambda n: reached(n, -1), low=0, high=high)
    return _last_below(max(0, low - 1), 2 * high - low + 1, gamma, q, alpha, target) + 1


@lru_cache(maxsize=64)  # the same for every document of a collection, and for every account
def pairs_needed_if_any(q: float, gamma: float, alpha: float, power: float) -> float:
    """As `pairs_needed`; infinite where no number of pairs that anybody can count is enough."""
    if q <= gamma:
        return math.inf
    try:
        return pairs_needed(q, gamma, alpha=alpha, power=power)
    except (UnsupportedError, InputError):  # too close to gamma, or a level below what is computed
        return math.inf


def planned_maximum(n: SupportsIndex) -> int:
    """The most pairs a plan with optional stopping should allow for: 1.6 × the fixed n, rounded up."""
    return -(-8 * require_count("n", n) // 5)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest integer in [low, high] at which a rising condition holds; it is known to hold at `high`."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _chance(k: int, n: int, q: float) -> float:
    """P(Binomial(n, q) >= k), also for k beyond 0 … n."""
    if k > n:
        return 0.0
    return math.pow(10.0, log10_sf(max(0, k), n, q))


def _last_below(low: int, high: int, gamma: float, q: float, alpha: float, target: float) -> int:
    """The largest n in [low, high] with power below target; it is known to be so at `low`."""
    count = critical_count(low, gamma, alpha)
    null, alternative = _Tail(count, low, gamma), _Tail(count, low, q)
    last = low
    for n in range(low + 1, high + 1):
        null.raise_n()
        alternative.raise_n()
        if null.tail > alpha:  # one more count is always enough: P(X' >= k + 1) <= P(X >= k) for one pair more
            null.raise_k()
            alternative.raise_k()
        if alternative.tail < target:
            last = n
    return last


class _Tail:
    """P(Binomial(n, p) >= k), k >= 1, while n and k go up by one at a time: a few products a step."""

    def __init__(self, k: int, n: int, p: float) -> None:
        self.k, self.n, self.p = k, n, p
        self.tail = _chance(k, n, p)
        self.mass_below = math.exp(log_pmf(k - 1, n, p))  # P(X = k - 1)

    def raise_n(self) -> None:
        self.tail += self.p * self.mass_below
        self.mass_below *= (self.n + 1) * (1.0 - self.p) / (self.n - self.k + 2)
        self.n += 1

    def raise_k(self) -> None:
        self.mass_below *= (self.n - self.k + 1) * self.p / (self.k * (1.0 - self.p))
        self.tail -= self.mass_below
        self.k += 1
