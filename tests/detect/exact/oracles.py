"""Second computations, slow and independent: rational sums, mpmath, full enumeration, convolution."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb

import mpmath as mp
import numpy as np
import numpy.typing as npt

from detect.exact.evalue import log10_e_value

Floats = npt.NDArray[np.float64]

# Of 100,000 null p-values, how many may lie at or below α; each limit is exceeded with chance below 1e-4.
LIMITS_100K = {0.1: 10_355, 0.01: 1_119, 1e-3: 139, 1e-4: 24}


def rational_tail(k: int, n: int, gamma: float) -> Fraction:
    """P(Binomial(n, gamma) >= k) as an exact fraction (a float is one)."""
    p = Fraction(gamma)
    return sum((comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1)), Fraction(0))


def rational_log10(value: Fraction) -> float:
    with mp.workdps(60):
        return float(mp.log10(mp.mpf(value.numerator) / mp.mpf(value.denominator)))


def mp_log10_upper(k: int, n: int, gamma: float) -> float:
    """log10 P(Binomial(n, gamma) >= k) with 50 digits, summed from k away from the mean."""
    with mp.workdps(50):
        p = mp.mpf(gamma)
        if k <= 0:
            return 0.0
        if k > n * gamma:
            return float(_mp_log_sum(k, n, p, 1 - p) / mp.log(10))
        return float(mp.log1p(-mp.exp(_mp_log_sum(n - k + 1, n, 1 - p, p))) / mp.log(10))


def _mp_log_sum(k: int, n: int, p: mp.mpf, q: mp.mpf) -> mp.mpf:
    log_mass = mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1) + k * mp.log(p) + (n - k) * mp.log(q)
    term, total = mp.mpf(1), mp.mpf(1)
    for i in range(k, n):
        term *= (n - i) * p / ((i + 1) * q)
        total += term
        if term < total * mp.mpf(10) ** -30:
            break
    return log_mass + mp.log(total)


def enumerate_tail(weights: Floats, gamma: float) -> tuple[Floats, Floats]:
    """All 2^N values of S, falling, and P(S >= each)."""
    outcomes = np.array(list(itertools.product((0.0, 1.0), repeat=weights.size)))
    s = (outcomes - gamma) @ weights
    chance = np.prod(np.where(outcomes == 1.0, gamma, 1.0 - gamma), axis=1)
    order = np.argsort(-s, kind="stable")
    s, tail = s[order], np.cumsum(chance[order])
    # ties: every value gets the tail of its last copy
    last = np.searchsorted(-s, -s + 1e-12, side="right") - 1
    return s, tail[last]


def lattice_tail(weights: npt.NDArray[np.int64], gamma: float) -> tuple[Floats, Floats]:
    """All values of S for whole-number weights, rising, and P(S >= each), by convolution (only sums of positives)."""
    low = int(weights[weights < 0].sum())
    span = int(np.abs(weights).sum())
    law = np.zeros(span + 1)
    law[-low] = 1.0
    for weight in weights:
        shifted = np.roll(law, int(weight))  # never wraps: mass stays within reach
        law = (1.0 - gamma) * law + gamma * shifted
    values = np.arange(low, low + span + 1) - gamma * weights.sum()
    return values, np.cumsum(law[::-1])[::-1]


def mp_cumulant(weights: Floats, gamma: float, theta: float) -> mp.mpf:
    """K(θ) straight from its definition, 60 digits."""
    with mp.workdps(60):
        g, t = mp.mpf(gamma), mp.mpf(theta)
        return mp.fsum(mp.log(1 - g + g * mp.exp(t * mp.mpf(a))) - t * g * mp.mpf(a) for a in weights.tolist())


def stopping_quantiles(q: float, gamma: float, fractions: tuple[float, ...], log10_e: float) -> list[int]:
    """By exact dynamic programming over the count: after how many pairs these shares of all streams have crossed."""
    law, crossed, boundary, found = np.ones(1), 0.0, 0, []
    for n in range(1, 20_000):
        law = np.append(law * (1 - q), 0.0) + np.append(0.0, law * q)
        while boundary <= n and log10_e_value(boundary, n, gamma) < log10_e:
            boundary += 1
        crossed += law[boundary:].sum()
        law[boundary:] = 0.0
        found += [n for fraction in fractions[len(found) :] if crossed >= fraction]
        if len(found) == len(fractions):
            return found
    raise AssertionError("streams do not cross")
