"""The numbers of tools/verify_bundle.py against mpmath, exact fractions and scipy; and against Taggant's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mpmath import mp
from scipy import special, stats

from detect.exact.binomial import log10_sf
from detect.exact.evalue import log10_e_process, log10_e_value
from detect.exact.interval import clopper_pearson
from detect.exact.multiplicity import holm
from detect.exact.weighted import CumulantFunction, chernoff, evaluate_bound
from tests.detect.exact.oracles import mp_cumulant, mp_log10_upper, rational_log10, rational_tail
from tests.tools.second import second

GAMMAS = [1 / 65536, 0.25, 0.5, 30000 / 65536, 65535 / 65536]
LN10 = math.log(10)


def tail(k: int, n: int, gamma: float) -> float:
    return float(second.log_tail(k, n, gamma)[0] / LN10)


def close(found: float, expected: float) -> bool:
    """As ADR 15 has it, and to nine digits where the tail is not within 10^-3 of one."""
    return abs(found - expected) <= 1e-9 * (abs(expected) if abs(expected) > 1e-3 else 1)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_small_tails_are_exact(n: int, gamma: float) -> None:
    for k in range(n + 1):
        assert tail(k, n, gamma) == pytest.approx(rational_log10(rational_tail(k, n, gamma)), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("gamma", [0.25, 0.5, 30000 / 65536])
@pytest.mark.parametrize("n", [1000, 10_000, 100_000])
def test_tails_against_mpmath(n: int, gamma: float) -> None:
    """From near one to far beyond what a float holds."""
    deviation = math.sqrt(n * gamma * (1 - gamma))
    for sigmas in (-8, -3, -1, 0, 1, 4, 12, 40):
        k = min(n, max(0, round(n * gamma + sigmas * deviation)))
        assert close(tail(k, n, gamma), mp_log10_upper(k, n, gamma)), (k, n)
    assert tail(n, n, gamma) == pytest.approx(n * math.log10(gamma), rel=1e-12)


def test_the_tail_beyond_scipy() -> None:
    assert tail(900, 1000, 0.25) == pytest.approx(-414.5, abs=0.05)
    assert math.isinf(stats.binom.logsf(899, 1000, 0.25))
    for k in (200, 250, 300):
        assert tail(k, 1000, 0.25) == pytest.approx(stats.binom.logsf(k - 1, 1000, 0.25) / LN10, rel=1e-9)


@pytest.mark.parametrize("gamma", [0.25, 0.5, 30000 / 65536])
def test_e_values_against_the_integral(gamma: float) -> None:
    with mp.workdps(40):
        for k, n in ((0, 0), (0, 9), (9, 9), (3, 9), (30, 60), (12, 60), (150, 500), (90, 500)):

            def density(q: mp.mpf, k: int = k, n: int = n) -> mp.mpf:
                return (q / gamma) ** k * ((1 - q) / (1 - mp.mpf(gamma))) ** (n - k)

            peak = min(max(k / n if n else gamma, gamma + 1e-3), 1 - 1e-3)
            value = mp.quad(density, [gamma, peak, 1]) / (1 - mp.mpf(gamma))
            assert second.log10_e(k, n, gamma) == pytest.approx(float(mp.log10(value)), rel=1e-9, abs=1e-12)


def test_e_values_are_taggants() -> None:
    rng = np.random.default_rng(4)
    for n in (50, 5_000, 100_000):
        for k in rng.integers(0, n, 8).tolist():
            assert second.log10_e(k, n, 0.25) == pytest.approx(log10_e_value(k, n, 0.25), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("green", [0.02, 0.25, 0.3, 0.9])
def test_the_e_process_is_taggants_after_every_pair(green: float) -> None:
    colours = np.random.default_rng(7).random(20_000) < green
    found = np.array(list(second.e_process(colours.tolist(), 0.25)))
    expected = np.maximum(0, log10_e_process(colours, 0.25))  # what is below 1 stops nothing, and is never the largest
    assert np.all(np.abs(found - expected) <= 1e-9 * np.maximum(1, expected))


@pytest.mark.parametrize(
    ("k", "n"), [(0, 5), (5, 5), (1, 5), (30, 100), (600, 2000), (7000, 20_000), (25_000, 100_000)]
)
def test_the_interval_against_scipy(k: int, n: int) -> None:
    exact = stats.binomtest(k, n).proportion_ci(0.95, "exact") if n <= 2000 else clopper_pearson(k, n)
    low, high = map(float, exact)
    assert second.is_limit(low, k, n)
    assert second.is_limit(1 - high, n - k, n)
    if k > 0:
        assert low == pytest.approx(float(special.betaincinv(k, n - k + 1, 0.025)), abs=1e-12)
    for off in (-1e-8, 1e-8):
        assert not second.is_limit(low + off, k, n)
        assert not second.is_limit(1 - high + off, n - k, n)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_bound_against_mpmath_and_taggant(scale: float) -> None:
    rng, gamma = np.random.default_rng(9), 0.25
    weights = scale * rng.standard_t(3, 400)
    cumulant = CumulantFunction(weights, gamma)
    for share in (0.05, 0.3, 0.8, 1.0):
        s = share * cumulant.maximum
        best = chernoff(cumulant, s)
        for theta in (best.theta, 0.5 * best.theta):
            found = second.bound(weights.tolist(), gamma, s, theta)
            with mp.workdps(60):
                expected = float(
                    min(mp.mpf(0), mp_cumulant(weights, gamma, theta) - mp.mpf(theta) * mp.mpf(s)) / mp.log(10)
                )
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
            assert found == pytest.approx(evaluate_bound(weights, gamma, s, theta), rel=1e-9, abs=1e-9)
    assert second.bound(weights.tolist(), gamma, -1.0, 1.0) == 0


def test_a_bound_that_overflows_no_float() -> None:
    weights, gamma = [1.0, 1e-3, -2.0], 0.25
    s = math.fsum([0.75 * 1.0, 0.75 * 1e-3, 0.25 * 2])
    assert second.bound(weights, gamma, s, 64e3) == pytest.approx(math.log10(0.25**2 * 0.75), rel=1e-9)


def test_holm_by_what_is_judged() -> None:
    """`judged` takes it as it goes; its rule is the one of `holm`."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        values = -np.abs(rng.exponential(3, rng.integers(1, 9)))
        largest, found = -math.inf, {}
        for rank, i in enumerate(np.argsort(values, kind="stable").tolist()):
            largest = max(largest, min(0.0, float(values[i]) + math.log10(len(values) - rank)))
            found[i] = largest
        assert [found[i] for i in range(len(values))] == pytest.approx(holm(values).tolist(), abs=1e-12)


def test_tails_agree_with_taggants_everywhere() -> None:
    rng = np.random.default_rng(11)
    for _ in range(300):
        n = int(rng.integers(1, 3000))
        k, gamma = int(rng.integers(0, n + 1)), float(rng.integers(1, 65536)) / 65536
        assert close(tail(k, n, gamma), log10_sf(k, n, gamma)), (k, n, gamma)
