"""Dose and response: laws that are known are found again, and intervals cover as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from distill_sim.dose import CLEAR, LEAST, Enough, enough, fit_dose
from watermark.errors import InputError

DOSES = np.array([48, 96, 192, 384, 768])
SEEDS, KEYS = 3, 3


def a_study(
    rng: np.random.Generator, slope: float = 1.0, noise: float = 0.12, seed_slope: float = 0.0, at_192: float = 20.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dose, evidence, seed) of every run; log10 evidence is a line in log10 dose, each seed's with its own slope."""
    dose, seed, _ = (a.ravel() for a in np.meshgrid(DOSES, np.arange(SEEDS), np.arange(KEYS), indexing="ij"))
    slopes = slope + seed_slope * rng.standard_normal(SEEDS)
    middle = math.log10(at_192) + slopes[seed] * np.log10(dose / 192)
    return dose.astype(float), 10 ** (middle + noise * rng.standard_normal(dose.size)), seed


class TestFit:
    def test_it_is_scipys_line(self) -> None:
        dose, evidence, seed = a_study(np.random.default_rng(9))
        fit = fit_dose(dose, evidence, seed)
        assert fit is not None
        line = stats.linregress(np.log10(dose), np.log10(evidence))
        assert (fit.slope, fit.intercept) == pytest.approx((line.slope, line.intercept), rel=1e-10)
        margin = stats.t.ppf(0.975, fit.n - 2) * line.stderr
        assert (fit.slope_low, fit.slope_high) == pytest.approx((line.slope - margin, line.slope + margin), rel=1e-10)
        assert fit.slope_low < 1 < fit.slope_high
        assert fit.doses == tuple(DOSES)
        assert (fit.n, fit.raised, fit.left_out, fit.bend) == (45, 0, (), "none")
        assert fit.at_largest == np.median(evidence[dose == 768])

    @pytest.mark.parametrize("at", [100, 10**5, 10**9])
    def test_the_interval_of_runs_by_matrices(self, at: float) -> None:
        dose, evidence, seed = a_study(np.random.default_rng(1))
        fit = fit_dose(dose, evidence, seed)
        assert fit is not None
        design = np.stack((np.ones(dose.size), np.log10(dose)), axis=1)
        inverse = np.linalg.inv(design.T @ design)
        residual = np.log10(evidence) - design @ (inverse @ design.T @ np.log10(evidence))
        here = np.array([1.0, math.log10(at)])
        variance = residual @ residual / (dose.size - 2) * (1 + here @ inverse @ here)
        assert fit.half_width_of_runs(at) == pytest.approx(
            stats.t.ppf(0.975, dose.size - 2) * math.sqrt(variance), rel=1e-9
        )
        one = fit.predict(at)
        assert one.low < one.evidence < one.high
        half = max(fit.half_width_of_runs(at), fit.half_width_of_seeds(at))
        assert math.log10(one.high / one.low) == pytest.approx(2 * half)

    def test_a_sum_of_squares_over_seeds_by_hand(self) -> None:
        dose, evidence, seed = a_study(np.random.default_rng(2), seed_slope=0.1)
        fit = fit_dose(dose, evidence, seed)
        assert fit is not None
        ends = []
        for one in range(SEEDS):
            line = stats.linregress(np.log10(dose[seed == one]), np.log10(evidence[seed == one]))
            ends.append(line.intercept + line.slope * 6)
        between = stats.t.ppf(0.975, 2) * np.std(ends, ddof=1) * math.sqrt(1 + 1 / 3)
        noise = stats.t.ppf(0.975, fit.n - 2) * fit.deviation
        assert fit.half_width_of_seeds(10**6) == pytest.approx(math.hypot(between, noise))

    @pytest.mark.parametrize("at", [150.0, 10**5])
    def test_runs_interval_covers_as_it_says(self, at: float) -> None:
        """200 studies; a limit of four standard deviations of a share of .95."""
        rng = np.random.default_rng(3)
        hits = 0
        for _ in range(200):
            fit = fit_dose(*a_study(rng))
            assert fit is not None
            new = math.log10(20.0) + math.log10(at / 192) + 0.12 * rng.standard_normal()
            hits += abs(new - fit.intercept - fit.slope * math.log10(at)) <= fit.half_width_of_runs(at)
        assert 178 <= hits <= 200
        assert hits < 200 or at > 1000

    def test_where_seeds_differ_the_runs_interval_is_too_narrow_and_the_reported_one_is_not(self) -> None:
        rng = np.random.default_rng(4)
        hits = narrow = 0
        for _ in range(200):
            fit = fit_dose(*a_study(rng, seed_slope=0.15))
            assert fit is not None
            slope = 1 + 0.15 * rng.standard_normal()  # another seed's
            new = math.log10(20.0) + slope * math.log10(10**6 / 192) + 0.12 * rng.standard_normal()
            one = fit.predict(10**6)
            hits += math.log10(one.low) <= new <= math.log10(one.high)
            narrow += abs(new - math.log10(one.evidence)) <= fit.half_width_of_runs(10**6)
        assert hits >= 178
        assert narrow < 160

    def test_doses_in_the_noise_are_left_out_whole(self) -> None:
        dose, evidence, seed = a_study(np.random.default_rng(5), at_192=10.0)
        evidence[dose == 48] = 0.9 * CLEAR
        evidence[np.flatnonzero(dose == 96)[0]] = 0.0  # one weak run of a good dose stays
        fit = fit_dose(dose, evidence, seed)
        assert fit is not None
        assert (fit.left_out, fit.doses, fit.n, fit.raised) == ((48,), (96, 192, 384, 768), 36, 1)
        raised = np.maximum(evidence, LEAST)[dose > 48]
        assert fit.slope == pytest.approx(stats.linregress(np.log10(dose[dose > 48]), np.log10(raised)).slope)

    def test_too_few_clear_doses_give_no_fit(self) -> None:
        dose, evidence, seed = a_study(np.random.default_rng(6))
        few = dose >= 384
        assert fit_dose(dose[few], evidence[few], seed[few]) is None
        assert fit_dose(dose, np.zeros_like(evidence), seed) is None
        with pytest.raises(InputError, match="dose above 0"):
            fit_dose([0.0, 1.0], [1.0, 1.0], [0, 0])

    def test_saturation_is_seen(self) -> None:
        dose, evidence, seed = a_study(np.random.default_rng(7))
        fit = fit_dose(dose, evidence / (1 + (dose / 200) ** 1.5), seed)
        assert fit is not None
        assert fit.bend == "down"
        fit = fit_dose(dose, evidence * (1 + (dose / 200) ** 1.5), seed)
        assert fit is not None
        assert fit.bend == "up"


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
