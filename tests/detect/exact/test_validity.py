"""The design's validity test: of 100,000 null p-values, how many are small. And start-up: what is not imported."""

import math
import subprocess
import sys

import numpy as np
import pytest

from detect.exact.binomial import log10_sf_table
from detect.exact.multiplicity import key_check_adjustment
from detect.exact.weighted import CumulantFunction, TailCurve, chernoff
from tests.detect.exact.oracles import LIMITS_100K

DRAWS = 100_000


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


def test_a_positive_control_is_detected_by_the_bound() -> None:
    rng = np.random.default_rng(100)
    weights = rng.exponential(size=600)
    greens = rng.random(600) < np.where(weights > 0.5, 0.6, 0.3)
    s = float((greens - 0.25) @ weights)
    assert chernoff(CumulantFunction(weights, 0.25), s).log10_p < -12


def test_key_check_keeps_p_values_valid() -> None:
    """Keys accepted when the human corpus has p > .01, then a text that shares half of its pairs with that corpus."""
    rng = np.random.default_rng(101)
    shared, own = rng.binomial(200, 0.25, DRAWS), rng.binomial(200, 0.25, (2, DRAWS))
    table = log10_sf_table(400, 0.25)
    human, text = table[shared + own[0]], table[shared + own[1]]
    accepted = text[human > -2]
    adjusted = np.array([key_check_adjustment(p) for p in accepted])
    assert DRAWS * 0.98 < accepted.size < DRAWS
    for alpha, limit in LIMITS_100K.items():
        assert (adjusted <= math.log10(alpha)).sum() <= limit


def test_importing_it_loads_neither_torch_nor_scipy_nor_numba() -> None:
    code = (
        "import sys, detect.exact.weighted, detect.exact.evalue, detect.exact.power, detect.exact.interval, "
        "detect.exact.multiplicity, detect.exact.uniformity\n"
        "print(sorted({'torch', 'transformers', 'scipy', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
