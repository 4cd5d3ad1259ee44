"""A reading under fresh keys: the same as `weigh` and `assess`, valid, and able to fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detect.counting import weigh
from detect.evidence import assess
from detect.observation import ContextMass, Reading
from detect.validation import weights
from detect.validation.rates import counts_below, null_rates
from detect.validation.weights import TESTS, bounds, score_reading
from tests.detect.exact.oracles import enumerate_tail
from tests.detect.material import no_probes
from tests.detect.validation.material import PARAMETERS, SEED, slow_key, stream
from watermark.greenlist import GreenList
from watermark.keys import Key
from watermark.windows import WindowRule

pytestmark = pytest.mark.usefixtures("compiled_colours")
KEYS = 2000


def reading(numbers: int = 1, tokens: int = 400, follows: Key | None = None) -> Reading:
    """Weights of made-up pairs; with `follows`, positive where that key is green."""
    rule = WindowRule(1)
    pairs = rule.extract([stream(numbers, tokens, 200)]).pairs
    rng = np.random.default_rng(numbers)
    values = rng.normal(size=len(pairs)) * rng.exponential(size=len(pairs))
    if follows is not None:
        values = np.abs(values) * np.where(GreenList(follows).is_green(pairs.contexts, pairs.tokens), 1.0, -0.3)
    argmax = rule.extract([stream(numbers + 50, tokens // 2, 200)]).pairs
    mass = ContextMass(np.ones((1, 1), np.uint32), np.ones((1, 1), np.uint32), np.ones((1, 1), np.float32))
    return Reading(pairs, values, tokens, True, no_probes(), argmax=argmax, mass=mass)


def outside(scored: dict[str, Any]) -> list[tuple[str, float]]:
    return [
        (test, rate.level)
        for test in TESTS
        for rate in null_rates(scored["counts"][test], KEYS, scored["sizes"] if test == "argmax" else None)
        if not rate.within
    ]


def test_it_says_what_assess_says_key_by_key() -> None:
    observed = reading()
    log10_p: dict[str, list[float]] = {test: [] for test in TESTS}
    for i in range(80):
        one = weigh(slow_key("model/x", i), observed)
        log10_p["reading"].append(float(assess(one).log10_p or 0.0))
        log10_p["argmax"].append(one.comparisons["argmax"].log10_p)
    found = score_reading(observed, "model/x", PARAMETERS, SEED, 80)
    for test in TESTS:
        assert found["counts"][test] == counts_below(np.array(log10_p[test]))
        assert found["smallest_log10_p"][test] == pytest.approx(min(log10_p[test]), rel=1e-9)
    assert (found["positions"], found["weights"], found["pairs"]) == (
        400, len(observed.pairs), len(observed.argmax),
    )  # fmt: skip


def test_the_bound_is_one_for_every_outcome_of_few_weights() -> None:
    """All 2^12 colourings: the bound is at least the exact tail."""
    values = np.random.default_rng(3).normal(size=12)
    s, tail = enumerate_tail(values, 0.25)
    found = bounds(values, s, 0.25)
    assert (found >= np.log10(tail) - 1e-9).all()
    assert found.min() < -3


def test_fresh_keys_lie_within_the_limits() -> None:
    found = score_reading(reading(2), "model/y", PARAMETERS, SEED, KEYS)
    assert outside(found) == []
    assert found["counts"]["reading"][0] > 15  # a bound, but no p that is always 1
    assert found["counts"]["argmax"][0] > 0.8 * found["sizes"][0]


def test_a_reading_that_follows_the_key_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key in fifty is the one that the model follows."""
    key, fresh = slow_key("followed", 0), weights.fresh_key
    observed = reading(4, follows=key)
    assert float(assess(weigh(key, observed)).log10_p or 0.0) < -10
    monkeypatch.setattr(
        weights, "fresh_key", lambda seed, index, parameters: key if index % 50 == 0 else fresh(seed, index, parameters)
    )
    found = score_reading(observed, "model/z", PARAMETERS, SEED, KEYS)
    assert {("reading", level) for level in (0.01, 1e-3, 1e-4, 1e-6)} <= set(outside(found))
