"""Bound, saddlepoint and z for weighted sums: against all outcomes, exact convolution, and 100,000 draws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detect.exact.binomial import log10_sf
from detect.exact.weighted import CumulantFunction, chernoff, evaluate_bound, saddlepoint, z_score
from tests.detect.exact.oracles import enumerate_tail, lattice_tail, mp_cumulant
from watermark.errors import InputError

LN10 = math.log(10)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-100, 100).filter(lambda x: abs(x) > 1e-6), min_size=1, max_size=9),
    st.sampled_from([1 / 65536, 0.1, 0.25, 0.5, 0.9]),
)
def test_bound_is_never_below_the_truth_over_all_outcomes(values: list[float], gamma: float) -> None:
    weights = np.array(values)
    function = CumulantFunction(weights, gamma)
    s, tail = enumerate_tail(weights, gamma)
    for value, truth in zip(s, tail, strict=True):
        bound = chernoff(function, value)
        assert bound.log10_p >= math.log10(truth) - 1e-9
        assert math.isfinite(bound.theta)
        assert bound.log10_p <= 0
        if value <= 0:
            assert bound == (0.0, 0.0)
        shown = saddlepoint(function, value)
        assert -math.inf < shown <= 0


def test_bound_and_saddlepoint_against_exact_convolution() -> None:
    """Whole-number weights on a lattice much finer than S's spread, tails down to 10^-40."""
    rng = np.random.default_rng(7)
    weights = rng.integers(1, 60, 260) * rng.choice([-1, 1], 260)
    function = CumulantFunction(weights.astype(float), 0.25)
    values, tail = lattice_tail(weights, 0.25)
    checked, losses = 0, []
    for index in range(0, values.size, 37):
        s, truth = float(values[index]), float(tail[index])
        if s <= 0 or truth < 1e-40:
            continue
        log10_truth = math.log10(truth)
        loss = chernoff(function, s).log10_p - log10_truth
        assert loss >= 0
        if 1e-12 < truth < 1e-4:
            losses.append(loss)
        assert saddlepoint(function, s) == pytest.approx(log10_truth, abs=0.02)
        checked += 1
    assert checked > 50
    assert len(losses) > 20
    assert 0.7 < np.median(losses) < 1.4  # the price of a bound: sqrt(2π) z
    assert max(losses) < 1.4


def test_lower_half_of_the_saddlepoint_against_exact_convolution() -> None:
    rng = np.random.default_rng(8)
    weights = rng.integers(1, 90, 200)
    function = CumulantFunction(weights.astype(float), 0.25)
    values, tail = lattice_tail(weights, 0.25)
    below = np.flatnonzero((values < 0) & (tail < 1 - 1e-9))
    assert below.size > 100
    for index in below[::50]:
        half = 0.5 * (tail[index] + tail[index + 1])  # the middle of the lattice's step
        assert 10 ** saddlepoint(function, float(values[index])) == pytest.approx(half, abs=2e-3)


def test_unit_weights_are_the_binomial() -> None:
    function = CumulantFunction(np.ones(500), 0.25)
    for k in (126, 150, 200, 300, 499, 500):
        exact = log10_sf(k, 500, 0.25)
        bound = chernoff(function, k - 125.0)
        assert -1e-12 * abs(exact) <= bound.log10_p - exact < 1.5
        # Chernoff's bound for a binomial in closed form: exp(-n KL(k/n, γ))
        x = k / 500
        divergence = x * math.log(x / 0.25) + ((1 - x) * math.log((1 - x) / 0.75) if x < 1 else 0)
        assert bound.log10_p == pytest.approx(-500 * divergence / LN10, rel=1e-9)


@pytest.mark.parametrize("heavy", [False, True])
def test_saddlepoint_against_a_hundred_thousand_draws(heavy: bool) -> None:
    rng = np.random.default_rng(11)
    weights = rng.exponential(size=80) * rng.choice([-1.0, 1.0], 80)
    if heavy:  # one weight with just under a quarter of Σa²
        weights[0] = math.sqrt(0.32 * np.sum(weights[1:] ** 2))
    assert 0.2 * heavy < np.max(weights**2) / np.sum(weights**2) <= 0.25
    draws = (rng.random((100_000, 80)) < 0.25) @ weights - 0.25 * weights.sum()
    function = CumulantFunction(weights, 0.25)
    for tail in (0.9, 0.7, 0.5, 0.3, 0.1, 0.05, 0.02, 0.01):
        s = float(np.quantile(draws, 1 - tail))
        assert saddlepoint(function, s) == pytest.approx(math.log10(tail), abs=0.1), tail


def test_saddlepoint_runs_smoothly_through_the_mean() -> None:
    weights = np.random.default_rng(3).exponential(size=300)
    function = CumulantFunction(weights, 0.25)
    sd = math.sqrt(function.variance)
    z = np.concatenate((-np.logspace(0.6, -12, 200), [0.0], np.logspace(-12, 1, 200)))
    shown = np.array([saddlepoint(function, x * sd) for x in z])
    assert np.isfinite(shown).all()
    assert (np.diff(shown) <= 1e-5).all()
    middle = shown[(z > -0.01) & (z < 0.01)]
    # Daniels: at the mean the tail is 1/2 - skewness / (6 sqrt(2π))
    expected = math.log10(0.5 - function.skewness / (6 * math.sqrt(2 * math.pi)))
    np.testing.assert_allclose(middle, expected, atol=0.01)


@pytest.mark.parametrize("weights", [[1.0], [3.0, -2.0, 0.5], [1e-9, 1.0, 1.0], [1e3] * 50, [-1.0] * 7])
def test_at_the_maximum_the_bound_is_its_limit(weights: list[float]) -> None:
    function = CumulantFunction(np.array(weights), 0.25)
    bound = chernoff(function, function.maximum)
    assert bound.log10_p == pytest.approx(function.log_at_maximum / LN10, rel=1e-13)
    assert 0 < bound.theta < math.inf
    assert saddlepoint(function, function.maximum) == pytest.approx(function.log_at_maximum / LN10, rel=1e-13)
    assert evaluate_bound(np.array(weights), 0.25, function.maximum, bound.theta) == bound.log10_p


def test_weights_over_twenty_orders_of_magnitude() -> None:
    rng = np.random.default_rng(5)
    weights = 10.0 ** rng.uniform(-15, 5, 3_000) * rng.choice([-1, 1], 3_000)
    function = CumulantFunction(weights, 0.25)
    previous = 0.0
    for share in (1e-9, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-9, 1.0):
        s = share * function.maximum
        bound = chernoff(function, s)
        assert math.isfinite(bound.theta)
        assert bound.log10_p >= function.log_at_maximum / LN10
        assert bound.log10_p < previous
        previous = bound.log10_p
        assert evaluate_bound(weights, 0.25, s, bound.theta) == pytest.approx(bound.log10_p, rel=1e-12)
        assert math.isfinite(saddlepoint(function, s))


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 50), st.floats(-1, 1))
def test_verifiers_evaluation_is_the_formula_and_every_theta_is_valid(theta: float, share: float) -> None:
    weights = np.array([1.0, -0.5, 2.0, 0.25, -3.0, 1.5])
    function = CumulantFunction(weights, 0.25)
    s = share * function.maximum if share > 0 else share * (function.total - function.maximum)
    expected = float(mp_cumulant(weights, 0.25, theta) - theta * s) / LN10
    found = evaluate_bound(weights, 0.25, s, theta)
    assert found == pytest.approx(min(0.0, expected), abs=1e-11)
    assert found >= chernoff(function, s).log10_p - 1e-12
    values, tail = enumerate_tail(weights, 0.25)
    truth = tail[values >= s - 1e-9].max()
    assert found >= math.log10(truth) - 1e-9


def test_the_chosen_theta_is_the_best_one() -> None:
    weights = np.random.default_rng(9).standard_normal(500)
    function = CumulantFunction(weights, 0.25)
    s = 6 * math.sqrt(function.variance)
    best = chernoff(function, s)
    around = [evaluate_bound(weights, 0.25, s, best.theta * f) for f in (0.9, 0.99, 0.999, 1.001, 1.01, 1.1)]
    assert min(around) >= best.log10_p
    assert function.derivative(best.theta) == pytest.approx(s, rel=1e-6)


def test_without_weights_nothing_is_shown() -> None:
    empty = CumulantFunction(np.zeros(3), 0.25)
    assert chernoff(empty, 0.0) == (0.0, 0.0)
    assert saddlepoint(empty, 0.0) == z_score(empty, 0.0) == evaluate_bound([], 0.25, 0.0, 1.0) == 0
    with pytest.raises(InputError, match="without weights"):
        chernoff(empty, 1.0)


def test_z_score_is_s_in_standard_deviations() -> None:
    weights = np.array([1.0, -2.0, 3.0])
    s, tail = enumerate_tail(weights, 0.25)
    sd = math.sqrt(np.diff(tail, prepend=0.0) @ s**2)
    assert z_score(CumulantFunction(weights, 0.25), 1.7) == pytest.approx(1.7 / sd)


@pytest.mark.parametrize("theta", [-1.0, math.inf, math.nan])
def test_evidence_with_a_bad_theta_is_refused(theta: float) -> None:
    with pytest.raises(InputError, match="theta"):
        evaluate_bound([1.0], 0.25, 0.5, theta)
