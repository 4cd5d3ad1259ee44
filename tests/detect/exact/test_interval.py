"""Clopper-Pearson against scipy, its definition through our own tails, and its coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from detect.exact.binomial import log10_cdf, log10_sf
from detect.exact.interval import clopper_pearson
from watermark.errors import InputError


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 30), (7, 30), (30, 30), (4_000, 10_000), (1, 1_000_000)])
def test_against_scipy(k: int, n: int, level: float) -> None:
    expected = stats.binomtest(k, n).proportion_ci(confidence_level=level, method="exact")
    assert clopper_pearson(k, n, level) == pytest.approx((expected.low, expected.high), rel=1e-8, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5_000), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_each_end_leaves_half_of_the_rest(n: int, fraction: float, level: float) -> None:
    k = round(n * fraction)
    low, high = clopper_pearson(k, n, level)
    assert low <= k / n <= high
    if k > 0:
        assert 10 ** log10_sf(k, n, low) == pytest.approx((1 - level) / 2, rel=1e-7)
    else:
        assert low == 0
    if k < n:
        assert 10 ** log10_cdf(k, n, high) == pytest.approx((1 - level) / 2, rel=1e-7)
    else:
        assert high == 1


@pytest.mark.parametrize("q", [0.02, 0.25, 0.5, 0.71])
def test_coverage_is_never_below_the_level(q: float) -> None:
    n = 60
    k = np.arange(n + 1)
    covered = np.array([low <= q <= high for low, high in (clopper_pearson(int(i), n) for i in k)])
    assert 0.95 <= stats.binom.pmf(k, n, q)[covered].sum() < 1


def test_nothing_seen_says_nothing() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("k", "n", "level"), [(2, 1, 0.95), (1, 2, 1.0), (1, 2, 0.0), (-1, 2, 0.95)])
def test_refused(k: int, n: int, level: float) -> None:
    with pytest.raises(InputError):
        clopper_pearson(k, n, level)
