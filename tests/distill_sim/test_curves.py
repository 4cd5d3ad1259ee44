"""Medians, trends, half-lives and nulls, against SciPy and against numbers that were worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from detect.exact.multiplicity import holm
from distill_sim.curves import (
    bonferroni,
    half_life,
    inversions,
    kendall_tau,
    median_of,
    null_count,
    null_quantiles,
)
from watermark.errors import InputError


class TestMedians:
    @pytest.mark.parametrize("n", [2, 5, 6, 9, 12, 30, 101])
    def test_the_interval_covers_as_it_says_and_no_narrower_one_does(self, n: int) -> None:
        one = median_of(range(n))
        below = int(one.low)  # so many runs lie below the interval
        assert one.high == n - 1 - below
        assert one.coverage == pytest.approx(1 - 2 * stats.binom.cdf(below, n, 0.5), abs=1e-12)
        if n >= 6:
            assert one.coverage >= 0.95 > 1 - 2 * stats.binom.cdf(below + 1, n, 0.5)
        else:
            assert below == 0

    def test_nine_runs(self) -> None:
        one = median_of([9, 1, 8, 2, 7, 3, 6, 4, 5])
        assert (one.n, one.median, one.low, one.high) == (9, 5, 2, 8)
        assert one.coverage == pytest.approx(0.9609375)
        assert (one.q1, one.q3, one.iqr, one.smallest, one.largest) == (3, 7, 4, 1, 9)

    def test_it_covers_the_median_of_a_skewed_law(self) -> None:
        rng = np.random.default_rng(0)
        hits = 0
        for _ in range(2000):
            one = median_of(rng.exponential(size=9))
            hits += one.low <= np.log(2) <= one.high
        assert abs(hits / 2000 - 0.961) < 4 * np.sqrt(0.961 * 0.039 / 2000)

    def test_one_run_covers_nothing_and_none_is_refused(self) -> None:
        assert median_of([3.0]).coverage == 0
        with pytest.raises(InputError, match="no runs"):
            median_of([])
        with pytest.raises(InputError, match="finite"):
            median_of([np.nan])


class TestTrends:
    @pytest.mark.parametrize("seed", range(8))
    def test_tau_is_scipys(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        x, y = rng.integers(0, 6, (2, 12))  # with ties
        assert kendall_tau(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)

    def test_ends(self) -> None:
        assert kendall_tau([1, 2, 3], [4, 5, 9]) == 1
        assert kendall_tau([1, 2, 3], [4, 3, 1]) == -1
        assert kendall_tau([1, 2, 3], [0, 0, 0]) is None
        with pytest.raises(InputError, match="equally long"):
            kendall_tau([1, 2], [1])

    def test_inversions_are_those_above_the_wider_quartile_range(self) -> None:
        def around(middle: float, spread: float) -> list[float]:
            return [middle - spread, middle - spread / 2, middle, middle + spread / 2, middle + spread]

        medians = [median_of(around(m, s)) for m, s in ((10, 1), (9.5, 2), (20, 1), (8, 1))]
        assert inversions(medians) == [(0, 3), (2, 3)]  # 0→1 falls by 0.5, and 1→3 by 1.5, within quartile range 2
        assert inversions(medians, rising=False) == [(0, 2), (1, 2)]

    def test_half_life(self) -> None:
        assert half_life([0, 100, 300], [20.0, 15.0, 5.0]) == pytest.approx(200)
        assert half_life([0, 100], [20.0, 10.0]) == 100
        assert half_life([0, 100], [20.0, 11.0]) is None
        assert half_life([0, 100], [0.0, 0.0]) is None  # nothing to be halved
        with pytest.raises(InputError, match="rise from 0"):
            half_life([10, 100], [2.0, 1.0])


class TestNulls:
    def test_limits_are_the_designs(self) -> None:
        assert list(null_count(np.zeros(100_000)).limits.values()) == [10_355, 1_119, 139, 24]
        assert list(null_count(np.zeros(10_000)).limits.values()) == [1_113, 139, 24, 6]

    def test_uniform_is_within_and_a_little_too_small_is_not(self) -> None:
        p = np.log10(np.random.default_rng(1).random(10_000))
        assert null_count(p).within
        assert null_count(p).found == {level: int((10**p <= level).sum()) for level in (0.1, 0.01, 1e-3, 1e-4)}
        assert not null_count(p * 1.2).within
        assert not null_count([-0.1] * 990 + [-5.0] * 10).within

    @pytest.mark.parametrize(("pairs", "gamma"), [(1100, 0.25), (1200, 0.5), (40, 0.1)])
    def test_a_count_that_never_gives_small_p_is_not_within(self, pairs: int, gamma: float) -> None:
        one = null_count(np.zeros(1000), pairs, gamma)
        assert not one.within
        assert one.outside == [(0.1, "few")]
        tails = stats.binom.sf(np.arange(pairs + 1) - 1, pairs, gamma)
        for level, least in one.least.items():
            margin = one.limits[level] - 1000 * level
            assert least == max(0, np.ceil(1000 * tails[tails <= level].max() - margin))
        assert one.checks == 5
        rng = np.random.default_rng(3)
        true = null_count(np.log10(tails[rng.binomial(pairs, gamma, 1000)]), pairs, gamma)
        assert true.within
        few = null_count(np.log10(tails[rng.binomial(pairs, gamma * 0.7, 1000)]), pairs, gamma)
        assert (0.1, "few") in few.outside

    def test_of_a_bound_and_of_a_count_that_can_attain_nothing_no_small_p_is_asked(self) -> None:
        assert null_count(np.zeros(1000)).within
        assert null_count(np.zeros(1000)).checks == 4
        assert null_count(np.zeros(1000), pairs=1, gamma=0.25).within  # its smallest p is .25

    def test_bonferroni(self) -> None:
        p = np.array([-3.0, -0.1, -8.0])
        np.testing.assert_allclose(bonferroni(p), [-3 + np.log10(3), 0, -8 + np.log10(3)])
        assert bonferroni(p).min() == pytest.approx(holm(p).min())
        with pytest.raises(InputError, match="above 0"):
            bonferroni([0.1])

    def test_quantiles(self) -> None:
        p = np.log10(np.random.default_rng(2).random(500))
        one = null_quantiles(p, points=500)
        ranks = np.rint(500.999 * 10**-one.expected).astype(int)
        assert set(range(1, 20)) <= set(ranks)
        np.testing.assert_allclose(one.observed, -np.sort(p)[ranks - 1])
        np.testing.assert_allclose(one.high, -np.log10(stats.beta.ppf(0.005, ranks, 501 - ranks)))
        np.testing.assert_allclose(one.low, -np.log10(stats.beta.ppf(0.995, ranks, 501 - ranks)))
        outside = ((one.observed > one.high) | (one.observed < one.low)).mean()
        assert outside < 0.05
