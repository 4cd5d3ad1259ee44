"""The audit's p against scipy's exact test, and randomised p-values against their law."""

import math

import numpy as np
import pytest
from scipy import stats

from detect.exact.uniformity import kolmogorov_smirnov_p, randomised_p
from watermark.errors import InputError


@pytest.mark.parametrize(
    ("size", "accuracy"), [(1, 1e-12), (2, 0.07), (5, 0.02), (10, 5e-3), (100, 1e-3), (1_000, 1e-4)]
)
def test_against_scipys_exact_law(size: int, accuracy: float) -> None:
    rng = np.random.default_rng(size)
    small = 0
    for _ in range(60):
        values = rng.random(size) ** rng.uniform(0.6, 1.6)
        expected = stats.kstest(values, "uniform", method="exact").pvalue
        found = kolmogorov_smirnov_p(values)
        assert found == pytest.approx(expected, abs=accuracy)
        if expected < 0.019:
            small += 1
            assert found == pytest.approx(expected, rel=1e-5)
    assert small or size < 100


def test_far_from_uniform_is_far_out() -> None:
    values = np.linspace(0, 0.5, 1_000)
    assert kolmogorov_smirnov_p(values) == pytest.approx(
        stats.kstest(values, "uniform", method="exact").pvalue, rel=1e-6
    )
    assert kolmogorov_smirnov_p(values) < 1e-200
    assert kolmogorov_smirnov_p(np.zeros(50)) == 0
    assert kolmogorov_smirnov_p([]) == 1
    assert kolmogorov_smirnov_p((np.arange(1_000) + 0.5) / 1_000) == pytest.approx(1, abs=1e-6)


def test_randomised_p_lies_between_the_neighbouring_tails() -> None:
    k = np.array([0, 3, 10, 10, 4, 0])
    n = np.array([10, 10, 10, 12, 7, 0])
    p = randomised_p(k, n, 0.25, np.random.default_rng(1))
    assert (stats.binom.sf(k, n, 0.25) - 1e-12 <= p).all()
    assert (p <= stats.binom.sf(k - 1, n, 0.25) + 1e-12).all()
    u = np.random.default_rng(1).random(6)
    np.testing.assert_allclose(p, stats.binom.sf(k, n, 0.25) + u * stats.binom.pmf(k, n, 0.25), rtol=1e-10)


def test_randomised_p_of_null_counts_is_uniform_where_plain_p_is_not() -> None:
    rng = np.random.default_rng(12)
    k = rng.binomial(40, 0.25, 5_000)
    assert kolmogorov_smirnov_p(randomised_p(k, 40, 0.25, rng)) > 1e-3
    assert kolmogorov_smirnov_p(stats.binom.sf(k - 1, 40, 0.25)) < 1e-9
    assert kolmogorov_smirnov_p(randomised_p(k + 1, 40, 0.25, rng)) < 1e-9  # a scorer off by one is noticed


def test_audit_is_itself_uniform() -> None:
    rng = np.random.default_rng(13)
    p = np.array([kolmogorov_smirnov_p(rng.random(200)) for _ in range(2_000)])
    for alpha in (0.5, 0.1, 0.01):
        assert abs((p <= alpha).mean() - alpha) < 4 * math.sqrt(alpha * (1 - alpha) / 2_000)


@pytest.mark.parametrize("values", [[-0.1], [1.1], [math.nan], [[0.5]]])
def test_what_is_no_p_value_is_refused(values: list[float]) -> None:
    with pytest.raises(InputError):
        kolmogorov_smirnov_p(values)


def test_counts_must_be_possible() -> None:
    with pytest.raises(InputError, match="11"):
        randomised_p([3, 11], 10, 0.25, np.random.default_rng(0))
    with pytest.raises(InputError, match="shape"):
        randomised_p([[3]], 10, 0.25, np.random.default_rng(0))
