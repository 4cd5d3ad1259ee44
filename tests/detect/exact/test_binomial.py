"""Binomial tails against rational arithmetic, mpmath, scipy, and themselves."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from detect.exact.binomial import (
    deviance,
    log10_cdf,
    log10_cdf_each,
    log10_sf,
    log10_sf_each,
    log10_sf_table,
    log_pmf,
    stirling_error,
)
from tests.detect.exact.oracles import mp_log10_upper, rational_log10, rational_tail
from watermark.errors import InputError

GAMMAS = [1 / 65536, 0.01, 0.25, 0.3, 0.5, 0.75, 65535 / 65536]


def assert_close_in_logs(found: float, expected: float) -> None:
    """The design's accuracy: 1e-9 of log10 p wherever that is above 1e-3 in size; 1e-12 in p where it is not."""
    if abs(expected) > 1e-3:
        assert found == pytest.approx(expected, rel=1e-9, abs=0)
    else:
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("n", [1, 2, 3, 7, 20, 61])
def test_small_n_against_rational_sums(n: int, gamma: float) -> None:
    for k in range(n + 1):
        tail = rational_tail(k, n, gamma)
        assert_close_in_logs(log10_sf(k, n, gamma), rational_log10(tail))
        below = 1 - rational_tail(k + 1, n, gamma)
        assert_close_in_logs(log10_cdf(k, n, gamma), rational_log10(below))
        mass = tail - rational_tail(k + 1, n, gamma)
        assert log_pmf(k, n, gamma) == pytest.approx(rational_log10(mass) * math.log(10), rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("gamma", [0.01, 0.25, 0.5])
@pytest.mark.parametrize("n", [100, 1_000, 4_000])
def test_against_mpmath_betainc(n: int, gamma: float) -> None:
    sd = math.sqrt(n * gamma * (1 - gamma))
    checked = 0
    for z in (-3, -1, 0, 0.5, 2, 5, 10, 20):
        k = round(n * gamma + z * sd)
        if 0 < k <= n:
            with mp.workdps(60):
                expected = float(mp.log10(mp.betainc(k, n - k + 1, 0, mp.mpf(gamma), regularized=True)))
            assert_close_in_logs(log10_sf(k, n, gamma), expected)
            checked += 1
    assert checked >= 5


@pytest.mark.parametrize(
    ("k", "n", "gamma"),
    [
        (900, 1_000, 0.25),  # where scipy's logsf gives -inf
        (999_000, 1_000_000, 0.25),
        (250_001, 1_000_000, 0.25),
        (249_000, 1_000_000, 0.25),
        (251_000, 1_000_000, 0.25),
        (16, 1_000_000, 1 / 65536),
        (200, 1_000_000, 1 / 65536),
        (999_990, 1_000_000, 65535 / 65536),
        (250_100_000, 1_000_000_000, 0.25),
        (255_000_000, 1_000_000_000, 0.25),
        (400_000_000, 1_000_000_000, 0.25),
        (1_000_000_000, 1_000_000_000, 0.25),
        (249_950_000, 1_000_000_000, 0.25),
        (5, 1_000_000_000, 1e-9),
        (1_428, 100_000_000, 1 / 65536),  # the small side of a small γ: digits are easily lost there
        (1_487, 100_000_000, 1 / 65536),
        (99_998_500, 100_000_000, 65535 / 65536),
    ],
)
def test_extremes_against_fifty_digits(k: int, n: int, gamma: float) -> None:
    expected = mp_log10_upper(k, n, gamma)
    assert_close_in_logs(log10_sf(k, n, gamma), expected)


def test_the_designs_example_and_a_tail_beyond_ten_to_the_minus_hundred_thousand() -> None:
    assert log10_sf(900, 1000, 0.25) == pytest.approx(-414.5, abs=0.05)
    assert not math.isfinite(stats.binom.logsf(899, 1000, 0.25))
    far = log10_sf(500_000, 1_000_000, 0.25)
    assert far < -60_000
    assert far == pytest.approx(mp_log10_upper(500_000, 1_000_000, 0.25), rel=1e-12)


def test_at_the_mean_of_a_thousand_million() -> None:
    """Edgeworth with the lattice term, an error of order 1/n: 1/2 + φ(0) (1/2 - (1 - 2γ)/6) / σ."""
    n, gamma = 1_000_000_000, 0.25
    sd = math.sqrt(n * gamma * (1 - gamma))
    expected = 0.5 + (0.5 - (1 - 2 * gamma) / 6) / (sd * math.sqrt(2 * math.pi))
    assert 10 ** log10_sf(n // 4, n, gamma) == pytest.approx(expected, abs=1e-10)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_against_scipy_where_scipy_is_good(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 3_000))
    k = data.draw(st.integers(0, n))
    gamma = data.draw(st.integers(1, 65535)) / 65536
    reference = stats.binom.sf(k - 1, n, gamma)
    if reference > 1e-280:
        assert log10_sf(k, n, gamma) == pytest.approx(math.log10(reference), rel=1e-9, abs=1e-11)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 10**9),
    st.floats(0, 1),
    st.floats(1e-12, 1 - 1e-12),
)
@example(1, 1.0, 1e-300)
@example(10**9, 1.0, 1e-300)
@example(10**9, 0.0, math.nextafter(1.0, 0.0))
def test_laws_that_hold_everywhere(n: int, fraction: float, gamma: float) -> None:
    k = min(n, round(n * fraction))
    upper, lower, mass = log10_sf(k, n, gamma), log10_cdf(k, n, gamma), log_pmf(k, n, gamma)
    assert -math.inf < upper <= 0
    assert -math.inf < lower <= 0
    slack = 1e-9 * (1 + abs(mass))
    assert mass <= min(upper, lower) * math.log(10) + slack  # the mass is part of both tails
    # P(X >= k) + P(X <= k) = 1 + P(X = k)
    assert 10**upper + 10**lower == pytest.approx(1 + math.exp(mass), rel=1e-9)
    if k < n:
        assert log10_sf(k + 1, n, gamma) <= upper + 1e-12 * abs(upper)


@pytest.mark.parametrize("gamma", [1 / 65536, 0.25, 0.9])
@pytest.mark.parametrize("n", [0, 1, 10, 500, 5_000])
def test_table_holds_the_same_tails(n: int, gamma: float) -> None:
    table = log10_sf_table(n, gamma)
    assert table.shape == (n + 2,)
    assert table[0] == 0
    assert table[-1] == -np.inf
    for k in sorted({0, n // 7, n // 4, n // 3, n - n // 5, n}):
        assert_close_in_logs(table[k], log10_sf(k, n, gamma))


def test_stirling_error_and_deviance_against_mpmath() -> None:
    n = np.array([1.0, 2, 5, 15, 16, 17, 100, 1e6, 1e12])
    with mp.workdps(60):
        expected = [
            float(mp.loggamma(x + 1) - mp.log(2 * mp.pi * x) / 2 - x * mp.log(x) + x) for x in map(mp.mpf, n.tolist())
        ]
    np.testing.assert_allclose(stirling_error(n), expected, rtol=1e-11)
    x = np.array([1.0, 10, 99, 100, 100 + 1e-9, 122, 123, 1e5, 3.0])
    mean = np.array([5.0, 100, 100, 100, 100, 100, 100, 3.0, 1e-200])
    with mp.workdps(60):
        pairs = zip(map(mp.mpf, x.tolist()), map(mp.mpf, mean.tolist()), strict=True)
        expected = [float(a * mp.log(a / b) + b - a) for a, b in pairs]
    np.testing.assert_allclose(deviance(x, mean), expected, rtol=1e-13)


def test_numpy_integers_are_integers_and_no_result_is_minus_zero() -> None:
    assert log10_sf(np.int32(3), np.uint16(7), 0.25) == log10_sf(3, 7, 0.25)
    assert math.copysign(1, log10_sf(1, 10**6, 0.5)) == 1
    assert log10_sf(0, 0, 0.25) == log10_cdf(0, 0, 0.25) == log_pmf(0, 0, 0.25) == 0


@pytest.mark.parametrize("function", [log10_sf, log10_cdf, log_pmf])
@pytest.mark.parametrize(
    ("k", "n", "gamma", "shown"),
    [
        (11, 10, 0.25, "11"),
        (-1, 10, 0.25, "-1"),
        (0, -3, 0.25, "-3"),
        (1.5, 10, 0.25, "1.5"),
        (True, 10, 0.25, "True"),
        (1, 10, 0.0, "0.0"),
        (1, 10, 1.0, "1.0"),
        (1, 10, math.nan, "nan"),
    ],
)
def test_refusals_show_the_value(function, k, n, gamma, shown) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=shown) as caught:
        function(k, n, gamma)
    assert isinstance(caught.value, ValueError)


@given(st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 1)), max_size=30), st.sampled_from([1 / 65536, 0.25, 0.9]))
def test_many_counts_are_each_alone_to_the_last_bit(cases: list[tuple[int, float]], gamma: float) -> None:
    n = np.array([size for size, _ in cases], dtype=np.int64)
    k = np.array([round(size * fraction) for size, fraction in cases], dtype=np.int64)
    for each, alone in ((log10_sf_each, log10_sf), (log10_cdf_each, log10_cdf)):
        expected = [alone(int(a), int(b), gamma) for a, b in zip(k, n, strict=True)]
        assert each(k, n, gamma).tolist() == expected
