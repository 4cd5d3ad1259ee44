"""Binomial tails in logs: exact, never clipped, from one pair to 10^9.

The mass is Loader's deviance form, so no large log-gammas are subtracted from each other; a tail is the mass
times a continued fraction, on the side where that fraction converges; the other side is its complement.
"""

from __future__ import annotations

import math
from typing import Any, SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt

from detect.exact.arguments import require_count, require_probability
from watermark.errors import TaggantError

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Number = TypeVar("Number", float, Floats)

_LN10 = math.log(10.0)
_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
_MOST_STEPS = 10_000_000


def log_pmf(k: SupportsIndex, n: SupportsIndex, gamma: float) -> float:
    """Natural log of P(Binomial(n, gamma) = k)."""
    n = require_count("n", n)
    k = require_count("k", k, high=n)
    gamma = require_probability("gamma", gamma)
    return float(log_pmf_array(np.array([float(k)]), np.array([float(n)]), gamma, 1.0 - gamma)[0])


def log10_sf(k: SupportsIndex, n: SupportsIndex, gamma: float) -> float:
    """log10 P(Binomial(n, gamma) >= k).

    Null: each of n distinct pairs is green independently with probability gamma. Exact, one-sided (upper).
    """
    n = require_count("n", n)
    k = require_count("k", k, high=n)
    gamma = require_probability("gamma", gamma)
    return _log_upper(k, n, gamma, 1.0 - gamma) / _LN10 + 0.0  # + 0.0: never prints -0.0


def log10_cdf(k: SupportsIndex, n: SupportsIndex, gamma: float) -> float:
    """log10 P(Binomial(n, gamma) <= k).

    Null: each of n distinct pairs is green independently with probability gamma. Exact, one-sided (lower).
    """
    n = require_count("n", n)
    k = require_count("k", k, high=n)
    gamma = require_probability("gamma", gamma)
    return _log_upper(n - k, n, 1.0 - gamma, gamma) / _LN10 + 0.0


def log10_sf_each(k: Counts, n: Counts, gamma: float) -> Floats:
    """`log10_sf` of many counts, to the last bit: int64[M], int64[M] → float64[M], 0 <= k <= n.

    Null: as of each.
    """
    gamma = require_probability("gamma", gamma)
    return _log_upper_each(k, n, gamma, 1.0 - gamma) / _LN10 + 0.0


def log10_cdf_each(k: Counts, n: Counts, gamma: float) -> Floats:
    """`log10_cdf` of many counts, as `log10_sf_each`."""
    gamma = require_probability("gamma", gamma)
    return _log_upper_each(n - k, n, 1.0 - gamma, gamma) / _LN10 + 0.0


def count_z_score(k: SupportsIndex, n: SupportsIndex, gamma: float) -> float:
    """k in standard deviations of Binomial(n, gamma) from its mean, n >= 1. For display: p never comes from z."""
    n = require_count("n", n, low=1)
    k = require_count("k", k, high=n)
    gamma = require_probability("gamma", gamma)
    return (k - n * gamma) / math.sqrt(n * gamma * (1 - gamma))


def log10_sf_table(n: SupportsIndex, gamma: float) -> Floats:
    """log10 P(Binomial(n, gamma) >= k) for k = 0 … n + 1: float64[n + 2]; the last entry is -inf.

    Null: as `log10_sf`; made for simulations that look up many counts of one n.
    """
    n = require_count("n", n)
    gamma = require_probability("gamma", gamma)
    mass = log_pmf_array(np.arange(n + 1.0), np.array([float(n)]), gamma, 1.0 - gamma)
    upper = np.logaddexp.accumulate(mass[::-1])[::-1]
    below = np.logaddexp.accumulate(mass)[:-1]  # log P(X <= k - 1) for k = 1 … n
    # The upper sum is exact to rounding where it is small; near one the complement is.
    near_one = np.flatnonzero(below < math.log(0.5))
    upper[near_one + 1] = np.log1p(-np.exp(below[near_one]))
    upper[0] = 0.0
    return np.append(upper, -np.inf) / _LN10


def log_pmf_array(k: Floats, n: Floats, p: float, q: float) -> Floats:
    """Natural log of C(n, k) p^k q^(n-k), elementwise over whole numbers 0 <= k <= n (broadcast), p + q = 1.

    Source: Loader 2000, Fast and accurate computation of binomial probabilities.
    """
    k, n = np.broadcast_arrays(k, n)
    rest = n - k
    inside = (k > 0) & (rest > 0)
    # At the borders the formula divides by zero; harmless values go in there, the true ones replace the result.
    a, b, total = np.where(inside, k, 1.0), np.where(inside, rest, 1.0), np.where(inside, n, 2.0)
    log_mass = stirling_error(total) - stirling_error(a) - stirling_error(b) - _LOG_SQRT_2PI
    log_mass += 0.5 * np.log(total / a / b)
    log_mass -= deviance(a, total * p) + deviance(b, total * q)
    if not inside.all():
        log_mass = np.where(inside, log_mass, np.where(k > 0, n * _log_of(p, q), rest * _log_of(q, p)))
    return log_mass


def deviance(x: Floats, mean: Floats) -> Floats:
    """x log(x / mean) + mean - x for x, mean > 0, without the cancellation near x = mean."""
    difference = x - mean
    v = difference / (x + mean)
    square = v * v
    # log(x / mean) = 2 atanh(v); its series beyond the first term, good to 2e-16 for |v| < 0.1
    series = np.full_like(v, 1.0 / 17.0)
    for odd in (15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0):
        series = series * square + 1.0 / odd
    near = difference * v + 2.0 * x * v * square * series
    wide = np.abs(v) >= 0.1
    if wide.any():
        x, mean = x[wide], mean[wide]
        near[wide] = x * (np.log(x) - np.log(mean)) - (x - mean)
    return near


def stirling_error(n: Floats) -> Floats:
    """log n! - log(sqrt(2 pi n) (n / e)^n) for whole n >= 1."""
    inverse = 1.0 / n
    square = inverse * inverse
    series = np.full_like(square, 1 / 1188.0)
    for coefficient in (-1 / 1680.0, 1 / 1260.0, -1 / 360.0, 1 / 12.0):
        series = series * square + coefficient
    error = series * inverse
    small = n < len(_SMALL_STIRLING_ERRORS)
    if small.any():
        error[small] = _SMALL_STIRLING_ERRORS[n[small].astype(np.intp)]
    return error


def _small_stirling_error(n: int) -> float:
    return math.log(math.factorial(n)) - (n + 0.5) * math.log(n) + n - _LOG_SQRT_2PI


_SMALL_STIRLING_ERRORS = np.array([math.nan, *(_small_stirling_error(n) for n in range(1, 16))])


def _log_of(p: float, q: float) -> float:
    """log p, from the complement where that is the more exact number."""
    return math.log(p) if p < 0.5 else math.log1p(-q)


def _log_upper(k: int, n: int, p: float, q: float) -> float:
    """log P(Binomial(n, p) >= k), p + q = 1."""
    if k == 0:
        return 0.0
    if p * (n + 3) < k + 1:  # where the fraction converges fast
        return _log_by_fraction(k, n, p, q)
    # p is so large here that P(X < k) is well below one: nothing is lost in the complement
    return math.log1p(-math.exp(_log_by_fraction(n - k + 1, n, q, p)))


def _log_by_fraction(k: int, n: int, p: float, q: float) -> float:
    mass = float(log_pmf_array(np.array([float(k)]), np.array([float(n)]), p, q)[0])
    return mass + math.log(tail_over_mass(float(k), float(n), p, q))


def _log_upper_each(k: Counts, n: Counts, p: float, q: float) -> Floats:
    """`_log_upper`, each."""
    result = np.zeros(k.shape, dtype=np.float64)
    near = (k > 0) & (p * (n + 3) < k + 1)
    result[near] = _log_by_fraction_each(k[near], n[near], p, q)
    far = (k > 0) & ~near
    below = _log_by_fraction_each(n[far] - k[far] + 1, n[far], q, p)
    result[far] = [math.log1p(-math.exp(one)) for one in below.tolist()]
    return result


def _log_by_fraction_each(k: Counts, n: Counts, p: float, q: float) -> Floats:
    if not k.size:
        return np.zeros(0)
    counts, totals = k.astype(np.float64), n.astype(np.float64)
    tails = tail_over_mass(counts, totals, p, q).tolist()
    mass = log_pmf_array(counts, totals, p, q)
    return np.asarray(mass + np.array([math.log(one) for one in tails]))


def tail_over_mass(k: Number, n: Number, p: float, q: float) -> Number:
    """P(Binomial(n, p) >= k) / P(Binomial(n, p) = k) for whole k >= 1 with p (n + 3) < k + 1; float or array.

    A continued fraction of positive terms, by Lentz's forward evaluation: some sqrt(n) steps at the mean, few far
    from it.

    Source: DLMF 8.17.22 with a = k, b = n - k + 1, its even part as in DiDonato and Morris 1992, eq. (9).
    """
    b = n - k + 1.0
    excess = k * q - b * p + 1.0  # from p and q both: as k + 1 - (n + 1) p it would lose digits for q << p
    value = k * excess / (k + 1.0)
    c, d = value, 0.0 * k
    active: Any = True  # what has converged stands still: going on, it would pick up noise
    for step in range(1, _MOST_STEPS):
        odd = k + (2.0 * step - 1.0)
        share = step * (b - step) * p / odd
        numerator: Number = (k + (step - 1.0)) * (k + b + (step - 1.0)) * p / odd * share * active
        denominator = step + share + (k + step) * (excess + step * (1.0 + q)) / (odd + 2.0)
        d = 1.0 / (denominator + numerator * d)
        c = denominator + numerator / c
        ratio = c * d
        value = value * (np.where(active, ratio, 1.0) if isinstance(ratio, np.ndarray) else ratio)
        active = active * (abs(ratio - 1.0) >= 1e-15)
        if not (active.any() if isinstance(active, np.ndarray) else active):
            return k * q / value
    raise TaggantError(f"a tail of Binomial({n}, {p}) at {k} did not converge; please report these numbers")
