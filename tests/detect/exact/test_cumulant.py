"""The cumulant function against its definition in mpmath, its derivatives against differences, its limits."""

import math

import mpmath as mp
import numpy as np
import pytest

from detect.exact import cumulant as module
from detect.exact.weighted import CumulantFunction
from tests.detect.exact.oracles import enumerate_tail, mp_cumulant
from watermark.errors import InputError

RNG = np.random.default_rng(2026)
WEIGHTS = RNG.standard_normal(40) * 10.0 ** RNG.uniform(-4, 2, 40)


@pytest.mark.parametrize("gamma", [1 / 65536, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("theta", [0.0, 1e-3, 0.1, 1.0, 30.0, 1e4, -1e-3, -0.7, -50.0, -1e4])
def test_value_against_the_definition(gamma: float, theta: float) -> None:
    expected = mp_cumulant(WEIGHTS, gamma, theta)
    # The terms of K are of the size θ Σ|a|; what cancels between them is lost to rounding.
    scale = abs(theta) * np.abs(WEIGHTS).sum()
    assert CumulantFunction(WEIGHTS, gamma).value(theta) == pytest.approx(float(expected), rel=1e-12, abs=1e-15 * scale)


@pytest.mark.parametrize("theta", [-3.0, -0.02, 0.0, 0.01, 0.4, 2.0])
def test_derivatives_against_numerical_ones(theta: float) -> None:
    function = CumulantFunction(WEIGHTS, 0.25)
    with mp.workdps(60):

        def k(x: mp.mpf) -> mp.mpf:
            return mp.fsum(
                mp.log(mp.mpf(3) / 4 + mp.exp(x * mp.mpf(a)) / 4) - x * mp.mpf(a) / 4 for a in WEIGHTS.tolist()
            )

        first, second = (float(mp.diff(k, mp.mpf(theta), order)) for order in (1, 2))
    assert function.derivative(theta) == pytest.approx(first, rel=1e-10, abs=1e-12)
    assert function.second_derivative(theta) == pytest.approx(second, rel=1e-10)


@pytest.mark.parametrize("gamma", [0.1, 0.25, 0.8])
@pytest.mark.parametrize("theta", [0.0, 0.3, 1.0, 2.5, 7.0])
def test_sixth_derivative_never_exceeds_its_bound_from_there_on(gamma: float, theta: float) -> None:
    weights = np.array([1.0, -0.7, 0.3, 2.0, -1.9])
    bound = CumulantFunction(weights, gamma).missed(theta, sixth=True).sixth
    with mp.workdps(60):

        def k(x: mp.mpf) -> mp.mpf:
            return mp.fsum(mp.log(1 - mp.mpf(gamma) + mp.mpf(gamma) * mp.exp(x * mp.mpf(a))) for a in weights.tolist())

        largest = max(abs(mp.diff(k, mp.mpf(theta) + mp.mpf(step), 6)) for step in np.linspace(0, 6, 25).tolist())
    assert 0 < largest <= bound * (1 + 1e-9)
    assert bound <= np.sum(weights**6) / 4 * (1 + 1e-12)


def test_moments_of_the_null_against_all_outcomes() -> None:
    weights, gamma = np.array([1.0, -2.5, 0.5, 3.25, -0.125]), 0.3
    s, tail = enumerate_tail(weights, gamma)
    mass = np.diff(tail, prepend=0.0)
    function = CumulantFunction(weights, gamma)
    assert mass @ s == pytest.approx(0, abs=1e-12)
    assert function.variance == pytest.approx(mass @ s**2)
    assert function.skewness == pytest.approx(mass @ s**3 / (mass @ s**2) ** 1.5)
    assert function.maximum == pytest.approx(s.max())
    assert function.maximum - function.total == pytest.approx(s.min())
    assert function.log_at_maximum == pytest.approx(math.log(mass[0]))
    assert function.n == 5


def test_mirrored_is_the_law_of_minus_s() -> None:
    function = CumulantFunction(WEIGHTS, 0.25)
    mirror = function.mirrored()
    for theta in (0.01, 0.5, 4.0):
        assert mirror.value(theta) == pytest.approx(CumulantFunction(-WEIGHTS, 0.25).value(theta), rel=1e-13)
        assert mirror.value(theta) == pytest.approx(function.value(-theta), rel=1e-13)
    assert mirror.skewness == pytest.approx(-function.skewness)


def test_huge_theta_overflows_nowhere() -> None:
    function = CumulantFunction(np.array([1e30, 1.0, 1e-30, -1e5]), 0.25)
    missed = function.missed(1e300)
    assert missed.log_l == pytest.approx(function.log_at_maximum)
    assert missed.deficit == missed.curvature == 0
    assert math.isfinite(function.value(1e250))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = RNG.standard_normal(1_003)
    whole = CumulantFunction(weights, 0.25).missed(0.7, sixth=True)
    monkeypatch.setattr(module, "_CHUNK", 64)
    np.testing.assert_allclose(CumulantFunction(weights, 0.25).missed(0.7, sixth=True), whole, rtol=1e-13)


def test_zero_weights_are_dropped_and_the_callers_array_is_left_alone() -> None:
    weights = np.array([0.0, 1.0, -0.0, -2.0])
    function = CumulantFunction(weights, 0.25)
    assert function.n == 2
    assert function.value(0.3) == CumulantFunction(np.array([1.0, -2.0]), 0.25).value(0.3)
    weights[1] = 100.0  # a function built once does not change afterwards
    assert function.value(0.3) == CumulantFunction(np.array([1.0, -2.0]), 0.25).value(0.3)


def test_frozen_and_silent_about_weights() -> None:
    function = CumulantFunction(np.array([1.0, 2.0]), 0.25)
    with pytest.raises(AttributeError):
        function.gamma = 0.5  # type: ignore[misc]
    assert repr(function) == "CumulantFunction(gamma=0.25)"


@pytest.mark.parametrize(
    ("weights", "gamma", "words"),
    [
        ([1.0, math.nan], 0.25, "nan"),
        ([1.0, math.inf], 0.25, "inf"),
        ([[1.0]], 0.25, "shape"),
        ([1e50], 0.25, "1e.50"),
        ([1e-50], 0.25, "1e-50"),
        ([1.0], 0.0, "0.0"),
        ([1.0], 1e-20, "1e-20"),
    ],
)
def test_refused(weights: list[float], gamma: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        CumulantFunction(np.array(weights), gamma)


@pytest.mark.parametrize("s", [math.nan, math.inf, 1.51, -0.51 - 1e-6])
def test_a_statistic_that_the_weights_cannot_give_is_refused(s: float) -> None:
    with pytest.raises(InputError, match="cannot come"):
        CumulantFunction(np.array([2.0]), 0.25).deficit(s)
