"""How many answers are enough: known laws are found again, and intervals cover as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from distill_sim.enough import Enough, enough
from watermark.errors import InputError

DOSES = np.array([48, 96, 192, 384, 768])


def of_hits(*hits: int, n: int = 9) -> Enough:
    doses = np.repeat(DOSES[: len(hits)], n)
    found = enough(doses, np.concatenate([[True] * k + [False] * (n - k) for k in hits]))
    assert found is not None
    return found


class TestEnough:
    def test_a_clean_step(self) -> None:
        """All detected from 192 on, none before: 192 is enough, and what lies between could be."""
        one = of_hits(0, 0, 9, 9, 9)
        assert one.status == "measured"
        assert one.dose == pytest.approx(192, rel=0.03)
        assert one.low == pytest.approx(96, rel=0.03)
        assert one.high is not None
        assert 192 < one.high < 384
        assert one.shares == ((48, 0, 9), (96, 0, 9), (192, 9, 9), (384, 9, 9), (768, 9, 9))

    def test_what_the_doses_do_not_allow_is_not_said(self) -> None:
        assert of_hits(0, 0, 0, 0, 0).status == "not reached"
        assert of_hits(0, 0, 0, 2, 7).status == "not reached"  # 7 of 9 is below .9
        assert of_hits(0, 5, 9, 9, 8).status == "measured"  # one miss at the end does not undo the rest
        all_hit = of_hits(9, 9, 9)
        assert (all_hit.status, all_hit.dose, all_hit.low) == ("at or below", None, None)
        assert of_hits(0, 0, 0, 0, 9).high is None  # beyond 768 nothing was seen
        assert enough([48.0] * 9, [True] * 9) is None
        with pytest.raises(InputError, match="dose above 0"):
            enough([0.0, 1.0], [True, True])

    def test_the_estimate_is_logistic_regressions(self) -> None:
        hits, n = np.array([1, 3, 5, 8, 9]), 9

        def loss(theta: np.ndarray) -> float:
            eta = theta[0] + math.exp(theta[1]) * np.log10(DOSES / 192)
            return float((hits * np.logaddexp(0, -eta) + (n - hits) * np.logaddexp(0, eta)).sum())

        best = optimize.minimize(loss, [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
        dose = 192 * 10 ** ((math.log(9) - best.x[0]) / math.exp(best.x[1]))
        one = of_hits(*hits)
        assert one.dose == pytest.approx(dose, rel=0.05)

        def profile(log_dose: float) -> float:
            """Twice the loss of likelihood at that dose."""
            inner = optimize.minimize_scalar(
                lambda s: loss(np.array([math.log(9) - math.exp(s) * (log_dose - math.log10(192)), s])),
                bounds=(-2, 6),
                method="bounded",
            )
            return 2 * (float(inner.fun) - float(best.fun))

        for edge in (one.low, one.high):
            if edge is not None:
                assert profile(math.log10(edge)) == pytest.approx(3.84, abs=0.35)
        assert one.low is not None

    def test_the_interval_covers_as_it_says(self) -> None:
        """200 studies of a logistic law, nine runs at each of five doses; true: 300 answers."""
        rng = np.random.default_rng(8)
        doses = np.repeat(DOSES, 9)
        chance = 1 / (1 + np.exp(-(math.log(9) + 6 * np.log10(doses / 300))))
        hits = 0
        for _ in range(200):
            one = enough(doses, rng.random(doses.size) < chance)
            assert one is not None
            hits += (one.low or 0) <= 300 <= (one.high or math.inf)
        assert 178 <= hits <= 200
