"""Rates: counts against plain loops, limits against the design's figures, sizes against enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from detect.exact.validity import largest_expected, smallest_expected
from detect.validation.rates import LEVELS, Rate, attainable_size, counts_below, detection_rates, null_rates


def test_the_levels_are_those_that_reports_use() -> None:
    assert LEVELS == (0.1, 0.01, 1e-3, 1e-4, 1e-6)


def test_counts_are_those_of_a_loop() -> None:
    p = np.concatenate([np.random.default_rng(0).random(5000) ** 2, [1e-3, 1e-6, 1e-7, 0.1, 0.0100001]])
    log10_p = np.log10(p)
    assert counts_below(log10_p) == [sum(one <= math.log10(level) for one in log10_p.tolist()) for level in LEVELS]
    assert counts_below(np.array([-3.0, -6.0])) == [2, 2, 2, 1, 1]


@pytest.mark.parametrize(("of", "limits"), [(100_000, [10_355, 1_119, 139, 24]), (10_000, [1_113, 139, 24, 6])])
def test_the_limits_are_the_designs(of: int, limits: list[int]) -> None:
    rates = null_rates([0] * 5, of)
    assert [rate.at_most for rate in rates[:4]] == limits
    assert all(binom.sf(rate.at_most, of, rate.level) <= 1e-4 < binom.sf(rate.at_most - 1, of, rate.level)
               for rate in rates if rate.at_most)  # fmt: skip
    assert rates[-1].at_most == (1 if of == 10_000 else 3)


def test_intervals_are_scipys() -> None:
    for rate in detection_rates([0, 3, 17, 64, 64], 64):
        expected = binomtest(rate.count, 64).proportion_ci(method="exact")
        assert rate.interval == pytest.approx((expected.low, expected.high), rel=1e-8, abs=1e-12)
        assert (rate.at_most, rate.at_least, rate.within) == (None, None, True)
        assert set(rate.to_dict()) == {"level", "count", "of", "rate", "interval95"}


@pytest.mark.parametrize("n", [0, 1, 3, 24, 150])
def test_the_attainable_size_by_enumeration(n: int) -> None:
    tails = binom.sf(np.arange(n + 1) - 1, n, 0.25)
    for level in LEVELS:
        reachable = tails[tails <= level]
        assert attainable_size(n, 0.25, level) == pytest.approx(reachable.max() if reachable.size else 0.0, rel=1e-9)


def test_a_p_that_is_always_one_is_outside_where_it_should_be_exact() -> None:
    sizes = [10_000 * attainable_size(200, 0.25, level) for level in LEVELS]
    rates = null_rates([0] * 5, 10_000, sizes)
    assert [rate.within for rate in rates] == [False, False, True, True, True]
    assert [rate.attainable for rate in rates] == pytest.approx([size / 10_000 for size in sizes])
    assert all(rate.within for rate in null_rates([0] * 5, 10_000))  # a bound may be 1


@pytest.mark.parametrize(("of", "mean"), [(10_000, 900.0), (10_000, 8.0), (4000, 40.0), (100, 7e-5), (100, 9.5)])
def test_the_lower_limit_is_met_with_chance_1e_4_at_most(of: int, mean: float) -> None:
    """Against scipy; and for sizes that differ from text to text, against their exact law."""
    (rate,) = (one for one in null_rates([0] * 5, of, [mean] * 5) if one.level == 0.1)
    least = rate.at_least or 0
    assert binom.cdf(least - 1, of, mean / of) <= 1e-4 < binom.cdf(least, of, mean / of)
    spread = np.linspace(0, 2 * mean / of, of)
    law = np.zeros(least + 2)
    law[0] = 1.0
    for size in spread:
        law[1:] = law[1:] * (1 - size) + law[:-1] * size
        law[0] *= 1 - size
    assert law[:least].sum() <= 1e-4


def test_one_more_than_the_limit_is_outside() -> None:
    most = [rate.at_most or 0 for rate in null_rates([0] * 5, 10_000)]
    assert all(rate.within for rate in null_rates(most, 10_000))
    assert not any(rate.within for rate in null_rates([one + 1 for one in most], 10_000))
    assert Rate(0.1, 5, 9, (0.0, 1.0), at_least=6).within is False


def test_simulated_nulls_lie_within() -> None:
    """60 rows of 2,000 counts of 120 pairs: three hundred limits on either side, none of them met."""
    n = 120
    rng = np.random.default_rng(7)
    table = binom.logsf(np.arange(n + 1) - 1, n, 0.25) / math.log(10)
    sizes = [2000 * attainable_size(n, 0.25, level) for level in LEVELS]
    for _ in range(60):
        counts = counts_below(table[rng.binomial(n, 0.25, 2000)])
        assert all(rate.within for rate in null_rates(counts, 2000, sizes))
    wrong = counts_below(table[rng.binomial(n, 0.28, 2000)])
    assert not all(rate.within for rate in null_rates(wrong, 2000, sizes))


def test_the_lower_limits_are_no_wider_than_the_designs() -> None:
    """The attainable size less the margin of the upper limit; but where nothing small can be expected at all."""
    for of in (100, 2000, 10_000, 100_000):
        for level in LEVELS:
            for share in (1.0, 0.9, 0.7, 0.3, 0.1):
                most = largest_expected(of, level)
                design = of * level * share - (most - of * level)
                assert smallest_expected(of, level * share) >= math.ceil(design) or most == 0
