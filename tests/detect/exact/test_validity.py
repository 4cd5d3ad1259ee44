"""The design's validity test: of 100,000 null p-values, how many are small. And start-up: what is not imported."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binom

from detect.exact.binomial import log10_sf_table, log_pmf
from detect.exact.multiplicity import key_check_adjustment
from detect.exact.validity import LEVELS, largest_expected
from detect.exact.weighted import CumulantFunction, TailCurve, chernoff
from tests.detect.exact.oracles import LIMITS_100K, lattice_tail

DRAWS = 100_000


def test_limits_are_the_designs_and_the_exact_binomials() -> None:
    assert {level: largest_expected(100_000, level) for level in LEVELS} == LIMITS_100K
    assert [largest_expected(10_000, level) for level in LEVELS] == [1_113, 139, 24, 6]
    for count, level in itertools.product((1, 10, 1000), LEVELS):
        limit = largest_expected(count, level)
        assert binom.sf(limit, count, level) < 1e-4
        assert limit == 0 or binom.sf(limit - 1, count, level) >= 1e-4


@pytest.mark.parametrize(("n", "gamma"), [(40, 0.25), (400, 0.25), (5_000, 0.25), (1_000, 0.5), (300, 0.05)])
def test_counts(n: int, gamma: float) -> None:
    """At most the limit, and at least the attainable size minus the same margin (p ≡ 1 must not pass)."""
    table = log10_sf_table(n, gamma)
    p = table[np.random.default_rng(n).binomial(n, gamma, DRAWS)]
    for alpha, limit in LIMITS_100K.items():
        found = int((p <= math.log10(alpha)).sum())
        attainable = 10.0 ** table[table <= math.log10(alpha)][0]  # the largest tail that is small enough
        assert found <= limit
        assert found >= DRAWS * attainable - (limit - DRAWS * alpha)
        assert attainable > 0


@pytest.mark.parametrize("shape", ["equal", "exponential", "student"])
def test_weighted_bound(shape: str) -> None:
    rng = np.random.default_rng(99)
    weights = {
        "equal": np.ones(60),
        "exponential": rng.exponential(size=60) * rng.choice([-1, 1], 60),
        "student": rng.standard_t(2, 60),
    }[shape]
    function = CumulantFunction(weights, 0.25)
    s = (rng.random((DRAWS, 60)) < 0.25) @ weights - 0.25 * weights.sum()
    p = TailCurve(function).chernoff_log10_p(s)
    for alpha, limit in LIMITS_100K.items():
        assert (p <= math.log10(alpha)).sum() <= limit
    assert (p < -0.3).sum() > DRAWS / 100  # it is no constant
    some = rng.integers(0, DRAWS, 50)
    np.testing.assert_allclose(p[some], [chernoff(function, x).log10_p for x in s[some]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_lies_above_the_exact_tail_and_not_far(seed: int) -> None:
    """Whole-number weights, every value of S: a bound that were smaller by half a decade would fall below the tail."""
    rng = np.random.default_rng(102 + seed)
    weights = rng.integers(1, 9, 40) * rng.choice([-1, 1], 40)
    values, tail = lattice_tail(weights, 0.25)
    possible = (values > 0) & (tail > 1e-250)
    function = CumulantFunction(weights.astype(float), 0.25)
    bound = np.array([chernoff(function, s).log10_p for s in values[possible]])
    exact = np.log10(tail[possible])
    assert (bound >= exact - 1e-9).all()
    assert ((bound - 0.5) < exact - 1e-9).any()
    assert (bound - exact).max() < 1.5
    assert exact.min() < -10
    curve = TailCurve(function).chernoff_log10_p(values[possible])
    assert (curve >= bound - 1e-9).all()


def test_a_positive_control_is_detected_by_the_bound() -> None:
    rng = np.random.default_rng(100)
    weights = rng.exponential(size=600)
    greens = rng.random(600) < np.where(weights > 0.5, 0.6, 0.3)
    s = float((greens - 0.25) @ weights)
    assert chernoff(CumulantFunction(weights, 0.25), s).log10_p < -12


def test_key_check_keeps_p_values_valid() -> None:
    """Keys accepted when the human corpus has p > .01, then a text that shares half of its pairs with that corpus.

    Here the check makes p larger, if anything: green in the corpus is green in the text. The next test is the hard one.
    """
    rng = np.random.default_rng(101)
    shared, own = rng.binomial(200, 0.25, DRAWS), rng.binomial(200, 0.25, (2, DRAWS))
    table = log10_sf_table(400, 0.25)
    human, text = table[shared + own[0]], table[shared + own[1]]
    accepted = text[human > -2]
    adjusted = np.array([key_check_adjustment(p) for p in accepted])
    assert DRAWS * 0.98 < accepted.size < DRAWS
    for alpha, limit in LIMITS_100K.items():
        assert (adjusted <= math.log10(alpha)).sum() <= limit


@pytest.mark.parametrize("threshold", [0.01, 0.2])
def test_without_the_adjustment_a_key_check_would_break_validity(threshold: float) -> None:
    """Exactly, no draws: a reading that weighs the corpus' own pairs by −1, and so is extreme when few are green.

    Such a key always passes the check, so P(p <= x | accepted) = x / P(accepted): above x without the factor.
    """
    n, gamma = 300, 0.25
    green = np.arange(n + 1)
    law = np.exp([log_pmf(k, n, gamma) for k in green])
    accepted = log10_sf_table(n, gamma)[green] > math.log10(threshold)
    p = log10_sf_table(n, 1 - gamma)[n - green]  # of the reading: as many red or more
    chance = law[accepted].sum()
    assert 1 - threshold <= chance < 1
    adjusted = np.array([key_check_adjustment(float(x), 1 - threshold) for x in p])
    attained = 0
    for level in p[(p > -6) & (p < -1)]:
        assert law[accepted & (p <= level + 1e-12)].sum() / chance > 10.0**level * (1 + 1e-9)
        found = law[accepted & (adjusted <= level)].sum() / chance
        assert found <= 10.0**level * (1 + 1e-9)
        attained += found > 0
    assert attained > 10


def test_importing_it_loads_neither_torch_nor_scipy_nor_numba() -> None:
    code = (
        "import sys, detect.exact.weighted, detect.exact.evalue, detect.exact.power, detect.exact.interval, "
        "detect.exact.multiplicity, detect.exact.uniformity\n"
        "print(sorted({'torch', 'transformers', 'scipy', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
