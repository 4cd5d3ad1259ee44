"""Dose and response: evidence against the number of answers, fitted and extrapolated.

The model, and why. The statistic of a weighted test stands z = κ·√(what was read) deviations above chance, κ being how
far the student leans towards green, and −log10 p grows like z². While a student is far from having learnt all of its
teacher's leaning, κ grows like a power of the dose, and so does the evidence: log10 E = a + b·log10(dose), with
errors that are normal in log10 E. A student cannot lean further than its teacher, so the line must bend down somewhere:
beyond the doses measured it says what would happen if it did not. Where the doses measured show a bend, that is said;
no prediction goes beyond the most that the test can give; and the line is held against a dose it was not fitted to
(`hold_out`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from watermark.errors import InputError

Floats = NDArray[np.float64]
Lines = tuple[tuple[float, float], ...]  # (intercept, slope) of each
CLEAR = 2.0  # decades: a dose is fitted if three quarters of its runs have at least so much evidence
LEAST = 0.3  # decades: a fitted run with less counts as so much, since 0 has no logarithm
LEAST_DOSES = 3
EXTRAPOLATED = (10**5, 10**6, 10**7, 10**8, 10**9)  # answers: a real extraction

Bend = Literal["down", "none", "up"]


@dataclass(frozen=True)
class Prediction:
    """Evidence of one new run, in decades.

    Attributes:
        low, high: 95 % prediction interval.
        at_ceiling: the value or an end of its interval was cut at the most that the test can give.
    """

    dose: float
    evidence: float
    low: float
    high: float
    at_ceiling: bool


@dataclass(frozen=True)
class DoseFit:
    """log10 E = intercept + slope · log10(dose), fitted by least squares to single runs.

    Attributes:
        doses: those that were fitted, rising.
        left_out: those that were measured and not fitted, being too near to noise.
        raised: how many runs were counted as `LEAST`.
        slope_low, slope_high: 95 % t interval, runs taken as independent.
        deviation: of a run from the line, in log10 E.
        seed_lines, key_lines: (intercept, slope) of each seed's and of each key's own runs; none where it has fewer
            than two doses.
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
    seed_lines: Lines
    key_lines: Lines
    bend: Bend
    at_largest: float
    _mean: float
    _spread: float  # Σ (x − mean)²

    def predict(self, dose: float, level: float = 0.95, most: float | None = None, same: bool = False) -> Prediction:
        """The evidence of a new run, with a prediction interval; all cut at `most`, decades (None: not known).

        Its half-width in log10 E is the larger of two: the regression's own, which takes runs as independent, and
        one that takes the lines of seeds and of keys as the independent experiments, run noise added. For a run of the
        `same` seeds and keys, whose lines the regression has averaged already, it is the regression's own.
        """
        x = math.log10(dose)
        middle = self.intercept + self.slope * x
        half = self.half_width_of_runs(dose, level)
        half = half if same else max(half, self.half_width_of_groups(dose, level))
        top = math.inf if most is None else most
        evidence, low, high = (_power(at) for at in (middle, middle - half, middle + half))
        return Prediction(dose, min(evidence, top), min(low, top), min(high, top), high > top)

    def half_width_of_runs(self, dose: float, level: float = 0.95) -> float:
        """t_{n−2} · s · √(1 + 1/n + (x − x̄)²/Σ(x − x̄)²), log10 E."""
        leverage = 1.0 / self.n + (math.log10(dose) - self._mean) ** 2 / self._spread
        return _t(self.n - 2, level) * self.deviation * math.sqrt(1.0 + leverage)

    def half_width_of_groups(self, dose: float, level: float = 0.95) -> float:
        """t_ν · √(a new seed's variance + a new key's + a run's), log10 E; 0 for a single seed and key.

        A new one of G has the variance of the G lines at the dose, times 1 + 1/G. In a crossed design keys' shifts are
        alike in all seeds, so the lines of the seeds do not show them, nor the other way. ν: degrees of freedom of the
        sum. Source: Satterthwaite 1946.
        """
        x = math.log10(dose)
        parts = [_new(lines, x) for lines in (self.seed_lines, self.key_lines) if len(lines) > 1]
        if not parts:
            return 0.0
        parts.append((self.deviation**2, self.n - 2))
        total = sum(variance for variance, _ in parts)
        weight = sum(variance**2 / freedom for variance, freedom in parts)
        return _t(total**2 / weight, level) * math.sqrt(total) if weight else 0.0


def _new(lines: Lines, x: float) -> tuple[float, int]:
    """(variance, degrees of freedom) of a new line at x."""
    size = len(lines)
    return float(np.var([a + b * x for a, b in lines], ddof=1)) * (1.0 + 1.0 / size), size - 1


def clear_doses(doses: ArrayLike, evidence: ArrayLike) -> list[float]:
    """Doses that stand clear of noise, rising: at each of them three quarters of the runs have at least `CLEAR`."""
    dose, response = np.asarray(doses, float), np.asarray(evidence, float)
    return [float(d) for d in np.unique(dose) if np.quantile(response[dose == d], 0.25) >= CLEAR]


def fit_dose(doses: ArrayLike, evidence: ArrayLike, seeds: ArrayLike, keys: ArrayLike) -> DoseFit | None:
    """Fit the doses that stand clear of noise; None where fewer than three do.

    Doses are chosen, never single runs: leaving out the weak runs of a dose would bend the line.

    Args:
        doses: answers, above 0, [runs].
        evidence: −log10 p, [runs].
        seeds, keys: which seed and which key a run belongs to, [runs].

    Raises:
        InputError: they are not equally long, or a dose is not above 0.
    """
    dose, response, seed, key = (
        np.asarray(doses, float),
        np.asarray(evidence, float),
        np.asarray(seeds),
        np.asarray(keys),
    )
    if not dose.shape == response.shape == seed.shape == key.shape or dose.ndim != 1 or not (dose > 0).all():
        raise InputError("a dose above 0, an evidence, a seed and a key are needed of each run")
    clear = clear_doses(dose, response)
    fitted = np.isin(dose, clear)
    if len(clear) < LEAST_DOSES or fitted.sum() < LEAST_DOSES + 1:
        return None
    x, raw = np.log10(dose[fitted]), response[fitted]
    y = np.log10(np.maximum(raw, LEAST))
    intercept, slope = _line(x, y)
    n, spread = x.size, float(((x - x.mean()) ** 2).sum())
    deviation = math.sqrt(float(((y - intercept - slope * x) ** 2).sum()) / (n - 2))
    margin = _t(n - 2, 0.95) * deviation / math.sqrt(spread)
    return DoseFit(
        intercept=intercept,
        slope=slope,
        slope_low=slope - margin,
        slope_high=slope + margin,
        deviation=deviation,
        n=n,
        doses=tuple(clear),
        left_out=tuple(float(d) for d in np.unique(dose) if d not in clear),
        raised=int((raw < LEAST).sum()),
        seed_lines=_lines_of(seed[fitted], x, y),
        key_lines=_lines_of(key[fitted], x, y),
        bend=_bend(x, y),
        at_largest=float(np.median(raw[x == x.max()])),
        _mean=float(x.mean()),
        _spread=spread,
    )


def _lines_of(group: NDArray[np.generic], x: Floats, y: Floats) -> Lines:
    return tuple(_line(x[group == g], y[group == g]) for g in np.unique(group) if np.unique(x[group == g]).size > 1)


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


def _t(freedom: float, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def _power(exponent: float) -> float:
    return float(10.0 ** min(exponent, 300.0))
