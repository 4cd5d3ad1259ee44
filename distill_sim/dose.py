"""Dose and response: evidence against the number of answers, extrapolated; and how many answers are enough.

The model, and why. The statistic of a weighted test stands z = κ·√(what was read) deviations above chance, κ being how
far the student leans towards green, and −log10 p grows like z². While a student is far from having learnt all of its
teacher's leaning, κ grows like a power of the dose, and so does the evidence: log10 E = a + b·log10(dose), with
errors that are normal in log10 E. A student cannot lean further than its teacher, so the line must bend down somewhere:
beyond the doses measured it says what would happen if it did not. Where the doses measured show a bend, that is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from watermark.errors import InputError

Floats = NDArray[np.float64]
CLEAR = 2.0  # decades: a dose is fitted if three quarters of its runs have at least so much evidence
LEAST = 0.3  # decades: a fitted run with less counts as so much, since 0 has no logarithm
LEAST_DOSES = 3
EXTRAPOLATED = (10**5, 10**6, 10**7, 10**8, 10**9)  # answers: a real extraction

Bend = Literal["down", "none", "up"]


@dataclass(frozen=True)
class Prediction:
    """Evidence of one new run (another seed, another key), in decades; unclipped."""

    dose: float
    evidence: float
    low: float
    high: float


@dataclass(frozen=True)
class DoseFit:
    """log10 E = intercept + slope · log10(dose), fitted by least squares to single runs.

    Attributes:
        doses: those that were fitted, rising.
        left_out: those that were measured and not fitted, being too near to noise.
        raised: how many runs were counted as `LEAST`.
        slope_low, slope_high: 95 % t interval, runs taken as independent.
        deviation: of a run from the line, in log10 E.
        seed_lines: (intercept, slope) of each seed's own runs; none where a seed has fewer than two doses.
        bend: whether a parabola would bend down or up, by the 95 % t interval of its leading coefficient.
        at_largest: median evidence at the largest dose.
    """

    intercept: float
    slope: float
    slope_low: float
    slope_high: float
    deviation: float
    n: int
    doses: tuple[float, ...]
    left_out: tuple[float, ...]
    raised: int
    seed_lines: tuple[tuple[float, float], ...]
    bend: Bend
    at_largest: float
    _mean: float
    _spread: float  # Σ (x − mean)²

    def predict(self, dose: float, level: float = 0.95) -> Prediction:
        """The evidence of a new run, with a prediction interval.

        Its half-width in log10 E is the larger of two: the regression's own, which takes runs as independent, and
        one that takes the seeds' lines as the independent experiments, run noise added.
        """
        x = math.log10(dose)
        middle = self.intercept + self.slope * x
        half = max(self.half_width_of_runs(dose, level), self.half_width_of_seeds(dose, level))
        return Prediction(dose, _power(middle), _power(middle - half), _power(middle + half))

    def half_width_of_runs(self, dose: float, level: float = 0.95) -> float:
        """t_{n−2} · s · √(1 + 1/n + (x − x̄)²/Σ(x − x̄)²), log10 E."""
        leverage = 1.0 / self.n + (math.log10(dose) - self._mean) ** 2 / self._spread
        return _t(self.n - 2, level) * self.deviation * math.sqrt(1.0 + leverage)

    def half_width_of_seeds(self, dose: float, level: float = 0.95) -> float:
        """Seeds' lines at the dose: t_{S−1} · sd · √(1 + 1/S), and a run's noise, added as squares; 0 for one seed."""
        lines = [a + b * math.log10(dose) for a, b in self.seed_lines]
        size = len(lines)
        if size < 2:
            return 0.0
        between = _t(size - 1, level) * float(np.std(lines, ddof=1)) * math.sqrt(1.0 + 1.0 / size)
        return math.hypot(between, _t(self.n - 2, level) * self.deviation)


def fit_dose(doses: ArrayLike, evidence: ArrayLike, seeds: ArrayLike) -> DoseFit | None:
    """Fit the doses that stand clear of noise; None where fewer than three do.

    Doses are chosen, never single runs: leaving out the weak runs of a dose would bend the line.

    Args:
        doses: answers, above 0, [runs].
        evidence: −log10 p, [runs].
        seeds: which seed a run belongs to, [runs].

    Raises:
        InputError: they are not equally long, or a dose is not above 0.
    """
    dose, response, seed = np.asarray(doses, float), np.asarray(evidence, float), np.asarray(seeds)
    if not dose.shape == response.shape == seed.shape or dose.ndim != 1 or not (dose > 0).all():
        raise InputError("a dose above 0, an evidence and a seed are needed of each run")
    levels = np.unique(dose)
    clear = [float(d) for d in levels if np.quantile(response[dose == d], 0.25) >= CLEAR]
    fitted = np.isin(dose, clear)
    if len(clear) < LEAST_DOSES or fitted.sum() < LEAST_DOSES + 1:
        return None
    x, raw, seed = np.log10(dose[fitted]), response[fitted], seed[fitted]
    y = np.log10(np.maximum(raw, LEAST))
    intercept, slope = _line(x, y)
    n, spread = x.size, float(((x - x.mean()) ** 2).sum())
    deviation = math.sqrt(float(((y - intercept - slope * x) ** 2).sum()) / (n - 2))
    margin = _t(n - 2, 0.95) * deviation / math.sqrt(spread)
    lines = tuple(_line(x[seed == s], y[seed == s]) for s in np.unique(seed) if np.unique(x[seed == s]).size > 1)
    return DoseFit(
        intercept=intercept,
        slope=slope,
        slope_low=slope - margin,
        slope_high=slope + margin,
        deviation=deviation,
        n=n,
        doses=tuple(clear),
        left_out=tuple(float(d) for d in levels if d not in clear),
        raised=int((raw < LEAST).sum()),
        seed_lines=lines,
        bend=_bend(x, y),
        at_largest=float(np.median(raw[x == x.max()])),
        _mean=float(x.mean()),
        _spread=spread,
    )


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """(intercept, slope) by least squares."""
    centred = x - x.mean()
    slope = float((centred * y).sum() / (centred**2).sum())
    return float(y.mean()) - slope * float(x.mean()), slope


def _bend(x: Floats, y: Floats) -> Bend:
    centred = x - x.mean()
    design = np.stack((np.ones_like(x), centred, centred**2), axis=1)
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    freedom = x.size - 3
    if freedom < 1:
        return "none"
    residual = y - design @ coefficients
    variance = float(residual @ residual) / freedom * float(np.linalg.inv(design.T @ design)[2, 2])
    margin = _t(freedom, 0.95) * math.sqrt(variance)
    return "down" if coefficients[2] + margin < 0 else "up" if coefficients[2] - margin > 0 else "none"


def _t(freedom: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def _power(exponent: float) -> float:
    return float(10.0 ** min(exponent, 300.0))


# --- how many answers are enough ---


@dataclass(frozen=True)
class Enough:
    """The dose from which on a run is detected with a stated power.

    Attributes:
        status: "measured": the estimate lies within the doses measured; "at or below": already the smallest dose is
            enough; "not reached": not even the largest one is.
        dose: the estimate; None unless "measured".
        low, high: 95 % likelihood interval; None where it goes beyond the doses measured.
        shares: (dose, runs detected, runs), doses rising.
    """

    status: Literal["measured", "at or below", "not reached"]
    dose: float | None
    low: float | None
    high: float | None
    shares: tuple[tuple[float, int, int], ...]


_STEPS = 160  # of the grid of doses, a decade
_SLOPES = np.geomspace(0.2, 2000.0, 240)  # of the logistic curve, in logits a decade of dose


def enough(doses: ArrayLike, detected: ArrayLike, power: float = 0.9, level: float = 0.95) -> Enough | None:
    """A logistic curve in log dose, rising, fitted to the shares detected; None for fewer than two doses.

    For every dose d* on a fine grid, the likelihood of the best curve that passes through `power` at d* (its slope is
    profiled out). The interval is where twice its logarithm is within a chi-square quantile of the largest. Where
    several d* are equally likely (all runs of one dose detected, none of the next smaller one), the largest is given.
    Runs are taken as independent.

    Args:
        doses: above 0, [runs].
        detected: whether p was at or below alpha, [runs].
    """
    dose, hit = np.asarray(doses, float), np.asarray(detected, bool)
    if dose.shape != hit.shape or dose.ndim != 1 or not (dose > 0).all():
        raise InputError("a dose above 0 and whether it was detected are needed of each run")
    levels = np.unique(dose)
    if levels.size < 2:
        return None
    shares = tuple((float(d), int(hit[dose == d].sum()), int((dose == d).sum())) for d in levels)
    first, last = math.log10(levels[0]), math.log10(levels[-1])
    inside = np.linspace(first, last, max(2, round(_STEPS * (last - first)) + 1))
    outside = np.arange(1, 3 * _STEPS + 1) / _STEPS
    grid = np.concatenate((first - outside[::-1], inside, last + outside))
    profile = _profile(grid, shares, math.log(power / (1 - power)))
    from scipy.special import chdtri

    best = float(grid[np.flatnonzero(profile >= profile.max() - 1e-3)[-1]])
    held = grid[2 * (profile.max() - profile) <= float(chdtri(1, 1 - level))]
    low, high = (float(10**edge) if first <= edge <= last else None for edge in (held[0], held[-1]))
    # beyond the smallest or the largest dose nothing was seen
    if best > last or shares[-1][1] < power * shares[-1][2]:
        return Enough("not reached", None, low, None, shares)
    if best < first:
        return Enough("at or below", None, None, high, shares)
    return Enough("measured", float(10**best), low, high, shares)


def _profile(grid: Floats, shares: Sequence[tuple[float, int, int]], logit: float) -> Floats:
    """Log likelihood at each d* of the grid, the slope profiled out."""
    found = np.full((grid.size, _SLOPES.size), 0.0)
    for dose, hits, runs in shares:
        eta = logit + _SLOPES[None, :] * (math.log10(dose) - grid[:, None])
        found -= hits * np.logaddexp(0.0, -eta) + (runs - hits) * np.logaddexp(0.0, eta)
    return np.asarray(found.max(axis=1))
