"""How many answers are enough: known laws are found again, and intervals cover as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from distill_sim.enough import SIMULATED, Coverage, Enough, enough
from distill_sim.report.words import enough_words
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
        assert one.flat is not None
        assert one.flat[1] == one.dose
        assert one.flat[0] == pytest.approx(96, rel=0.03)  # one dose is as good as another
        assert enough_words(vars(one)) == "between 99 and 200 (95% interval)"
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
        assert one.flat is not None
        assert one.flat[0] <= one.dose <= one.flat[1]

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

    @pytest.mark.parametrize(("stated", "noise"), list(zip(SIMULATED, (0.1, 0.08), strict=True)))
    def test_where_runs_are_alike_it_covers_as_is_stated(self, stated: Coverage, noise: float) -> None:
        """150 studies of nested doses; each key and each seed shifts log10 evidence of all of its runs."""
        rng = np.random.default_rng(14)
        slope, spread = 1.3, math.sqrt(stated.keys**2 + stated.seeds**2 + noise**2)
        doses = np.array([3, 6, 12, 24, 48, 96, 192, 384])
        dose, seed, key = (a.ravel() for a in np.meshgrid(doses, np.arange(3), np.arange(3), indexing="ij"))
        hits = 0
        for _ in range(150):
            middle = 12 * 10 ** rng.uniform(-0.15, 0.15)  # half of the runs are detected there
            true = middle * 10 ** (stats.norm.ppf(0.9) * spread / slope)
            shift = (stated.keys * rng.standard_normal(3))[key] + (stated.seeds * rng.standard_normal(3))[seed]
            one = enough(dose, slope * np.log10(dose / middle) + shift + noise * rng.standard_normal(dose.size) >= 0)
            assert one is not None
            hits += (one.low or 0) <= true <= (one.high or math.inf)
        assert abs(hits / 150 - stated.share) < 4 * math.sqrt(stated.share * (1 - stated.share) / 150)


@pytest.mark.parametrize(
    ("low", "high", "flat", "said"),
    [
        (130.2, 320.4, (188.0, 190.0), "about 190 (95% interval 130 to 320)"),
        (None, None, (188.0, 190.0), "about 190 (95% interval below 48 to above 768)"),
        (12.2, 27.4, (12.2, 15.9), "between 12 and 27 (95% interval)"),
        (None, 27.4, (12.2, 15.9), "at most 27 (95% interval)"),
        (260.1, None, (300.0, 384.0), "260 or more (95% interval)"),
        (None, None, (48.0, 768.0), "not to be told from 48 to 768"),
    ],
)
def test_where_no_number_is_likelier_the_interval_is_said(
    low: float | None, high: float | None, flat: tuple[float, float], said: str
) -> None:
    one = Enough("measured", 190.0, low, high, flat, ((48.0, 0, 9), (768.0, 9, 9)))
    assert enough_words(vars(one)) == said
