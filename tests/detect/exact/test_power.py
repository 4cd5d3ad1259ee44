"""Power planning against brute force with scipy, and the design's table."""

import math
import time

import numpy as np
import pytest
from scipy import stats

from detect.exact.binomial import log10_sf
from detect.exact.power import critical_count, pairs_needed, planned_maximum, power
from watermark.errors import InputError, UnsupportedError


def brute_force(longest: int, gamma: float, q: float, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """(critical count, power) for n = 0 … longest, from scipy's tails of every count."""
    critical, chance = [], []
    for n in range(longest + 1):
        k = np.arange(n + 2)
        enough = np.flatnonzero(stats.binom.sf(k - 1, n, gamma) <= alpha)
        critical.append(int(enough[0]))
        chance.append(stats.binom.sf(enough[0] - 1, n, q))
    return np.array(critical), np.array(chance)


@pytest.mark.parametrize(
    ("gamma", "q", "alpha", "target"),
    [
        (0.25, 0.50, 1e-6, 0.9),
        (0.25, 0.90, 1e-6, 0.9),
        (0.25, 0.40, 1e-3, 0.5),
        (0.50, 0.60, 0.01, 0.9),
        (0.05, 0.10, 1e-4, 0.8),
        (0.25, 0.45, 0.3, 0.95),
        (0.90, 0.97, 0.01, 0.9),
        (0.01, 0.30, 1e-6, 0.99),
    ],
)
def test_against_brute_force(gamma: float, q: float, alpha: float, target: float) -> None:
    longest = 900
    critical, chance = brute_force(longest, gamma, q, alpha)
    expected = int(np.flatnonzero(chance < target)[-1]) + 1
    assert 5 < expected < longest - 200  # far enough from the end to be the last crossing
    assert pairs_needed(q, gamma, alpha, target) == expected
    for n in (0, 1, 2, expected - 1, expected, longest):
        assert critical_count(n, gamma, alpha) == critical[n]
        assert power(n, gamma, q, alpha) == pytest.approx(chance[n], rel=1e-9, abs=1e-12)


def test_the_designs_table() -> None:
    needed = {q: pairs_needed(q, 0.25) for q in (0.50, 0.35, 0.28, 0.26)}
    assert needed[0.50] == 132
    assert needed[0.35] == 758
    assert needed[0.28] == pytest.approx(7_900, abs=50)
    assert needed[0.26] == pytest.approx(69_200, abs=50)


def test_stable_past_the_sawtooth() -> None:
    """Power is short of the target just before, and reached for each of the next 1,000 n."""
    n = pairs_needed(0.28, 0.25)
    assert power(n - 1, 0.25, 0.28, 1e-6) < 0.9
    assert all(power(m, 0.25, 0.28, 1e-6) >= 0.9 for m in range(n, n + 1_000))
    assert any(power(m, 0.25, 0.28, 1e-6) >= 0.9 for m in range(n - 100, n))  # reached before, and lost again


def test_attainable_size_is_exact() -> None:
    for n in (10, 132, 758, 7_885):
        k = critical_count(n, 0.25, 1e-6)
        if k <= n:
            assert log10_sf(k, n, 0.25) <= -6
        assert log10_sf(k - 1, n, 0.25) > -6
    assert critical_count(9, 0.25, 1e-6) == 10  # nine greens out of nine are 3.8e-6: not enough
    assert power(9, 0.25, 0.5, 1e-6) == 0


def test_small_effects_are_quick() -> None:
    started = time.process_time()
    n = pairs_needed(0.251, 0.25)
    assert time.process_time() - started < 2
    assert power(n, 0.25, 0.251, 1e-6) >= 0.9 > power(n - 1, 0.25, 0.251, 1e-6)
    # the normal approximation, good to a per mille here
    z = -stats.norm.ppf(1e-6) * math.sqrt(0.1875) + stats.norm.ppf(0.9) * math.sqrt(0.251 * 0.749)
    assert n == pytest.approx((z / 0.001) ** 2, rel=2e-3)


def test_planned_maximum_is_at_least_1_6_times() -> None:
    assert [planned_maximum(n) for n in (0, 1, 5, 132, 758)] == [0, 2, 8, 212, 1_213]
    assert all(5 * planned_maximum(n) >= 8 * n > 5 * (planned_maximum(n) - 1) for n in range(1, 200))


@pytest.mark.parametrize("arguments", [(0.25, 0.25), (0.2, 0.25), (1.0, 0.25), (0.5, 0.25, 0.0), (0.5, 0.25, 1e-250)])
def test_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(InputError):
        pairs_needed(*arguments)


def test_an_effect_too_small_to_plan_for_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="2000000000"):
        pairs_needed(0.25001, 0.25)
