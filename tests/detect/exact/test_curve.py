"""TailCurve against one-by-one tails, its proof obligation (never below the best bound), and its cost."""

import math

import numpy as np
import pytest

from detect.exact.weighted import CumulantFunction, TailCurve, chernoff, saddlepoint
from tests.detect.exact.oracles import enumerate_tail
from watermark.errors import InputError

RNG = np.random.default_rng(41)
WEIGHTS = {
    "one": np.ones(1),
    "two": np.array([1.0, -3.0]),
    "equal": np.ones(1_000),
    "normal": RNG.standard_normal(20_000),
    "exponential": RNG.exponential(size=3_000) - 0.5,
    "student": RNG.standard_t(2, 5_000) * RNG.lognormal(0, 1, 5_000),  # a few large ones, as a real reading has
    "wide": RNG.lognormal(0, 3, 5_000) * RNG.choice([-1, 1], 5_000),
    "widest": 10.0 ** RNG.uniform(-15, 5, 2_000) * RNG.choice([-1, 1], 2_000),
    "all negative": -RNG.exponential(size=400),
}


def statistics(function: CumulantFunction) -> np.ndarray:
    """z from -6 to 40 as far as these weights reach, the neighbourhood of 0, and shares of the maximum."""
    sd = math.sqrt(function.variance)
    z = np.concatenate((np.linspace(-6, 20, 53), [25, 30, 40], [-1e-3, -1e-5, -1e-9, 0, 1e-9, 1e-5, 1e-3]))
    s = np.concatenate((z * sd, np.array([0.3, 0.7, 0.9, 0.99]) * function.maximum))
    return s[(s > function.maximum - function.total) & (s < function.maximum)]


@pytest.mark.parametrize("gamma", [0.05, 0.25, 0.6])
@pytest.mark.parametrize("name", WEIGHTS)
def test_agrees_with_one_by_one(name: str, gamma: float) -> None:
    function = CumulantFunction(WEIGHTS[name], gamma)
    curve = TailCurve(function)
    s = statistics(function)
    assert s.size > 3
    best = np.array([chernoff(function, x).log10_p for x in s])
    bound = curve.chernoff_log10_p(s)
    assert (bound >= best - 1e-9 * np.abs(best)).all()  # a valid bound cannot be better than the best one
    np.testing.assert_allclose(bound, best, rtol=1e-5, atol=1e-5)
    shown = curve.saddlepoint_log10_p(s)
    np.testing.assert_allclose(shown, [saddlepoint(function, x) for x in s], rtol=1e-6, atol=1e-3)
    assert np.isfinite(shown).all()
    assert np.isfinite(bound).all()


@pytest.mark.parametrize("gamma", [0.1, 0.25, 0.75])
def test_bound_over_all_outcomes(gamma: float) -> None:
    weights = np.array([1.0, -0.3, 2.2, 0.05, -1.7, 0.9, 0.9, 3.1, -0.001, 0.4])
    s, tail = enumerate_tail(weights, gamma)
    bound = TailCurve(CumulantFunction(weights, gamma)).chernoff_log10_p(s)
    assert (bound >= np.log10(tail) - 1e-9).all()
    assert (bound[s <= 0] == 0).all()
    assert bound[0] == pytest.approx(math.log10(tail[0]), rel=1e-5)  # at the maximum


@pytest.mark.parametrize("name", WEIGHTS)
def test_building_it_stays_below_150_evaluations(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations = 0
    original = CumulantFunction.missed

    def counted(self: CumulantFunction, theta: float, *, sixth: bool = False):  # type: ignore[no-untyped-def]
        nonlocal evaluations
        evaluations += 1
        return original(self, theta, sixth=sixth)

    monkeypatch.setattr(CumulantFunction, "missed", counted)
    function = CumulantFunction(WEIGHTS[name], 0.25)
    curve = TailCurve(function)
    assert 10 < evaluations <= 140
    built = evaluations
    z = np.clip(RNG.standard_normal(1_000), -3, 3)
    s = np.clip(z * math.sqrt(function.variance), 0.99 * (function.maximum - function.total), 0.99 * function.maximum)
    curve.chernoff_log10_p(s)
    curve.saddlepoint_log10_p(s)
    assert evaluations == built  # ordinary decoys cost nothing more


def test_refusals_and_empty_weights() -> None:
    curve = TailCurve(CumulantFunction(np.array([1.0, 2.0]), 0.25))
    with pytest.raises(InputError, match="cannot come"):
        curve.chernoff_log10_p([3.0])
    with pytest.raises(InputError, match="cannot come"):
        curve.saddlepoint_log10_p([math.nan])
    with pytest.raises(InputError, match="shape"):
        curve.chernoff_log10_p([[1.0]])
    assert curve.chernoff_log10_p([]).shape == (0,)
    empty = TailCurve(CumulantFunction(np.zeros(2), 0.25))
    assert empty.chernoff_log10_p([0.0, 0.0]).tolist() == [0, 0]
    with pytest.raises(InputError, match="without weights"):
        empty.saddlepoint_log10_p([0.0, 2.5])
