"""How many answers are enough for a student to be detected: a logistic curve in log dose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from watermark.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """How often the interval covered in a simulation where keys and seeds shift log10 evidence for all of their runs.

    Attributes:
        keys, seeds: standard deviations of the shifts, in log10 evidence.
        share: of the studies (eight nested doses × 3 seeds × 3 keys) whose nominal 95 % interval held the truth.
    """

    keys: float
    seeds: float
    share: float


# ADR 13; simulated again in tests/distill_sim/test_enough.py
SIMULATED = (Coverage(0.1, 0.0, 0.93), Coverage(0.15, 0.1, 0.82))


@dataclass(frozen=True)
class Enough:
    """The dose from which on a run is detected with a stated power.

    Attributes:
        status: "measured": the estimate lies within the doses measured; "at or below": already the smallest dose is
            enough; "not reached": not even the largest one is.
        dose: the estimate; None unless "measured".
        low, high: 95 % likelihood interval; None where it goes beyond the doses measured.
        flat: doses that are as likely as the estimate, to 1 % of the likelihood; None unless "measured". Where it is
            wide, the estimate is a convention and the interval is what is known.
        shares: (dose, runs detected, runs), doses rising.
    """

    status: Literal["measured", "at or below", "not reached"]
    dose: float | None
    low: float | None
    high: float | None
    flat: tuple[float, float] | None
    shares: tuple[tuple[float, int, int], ...]


FLAT = 0.01  # of log likelihood: so little is no difference
_STEPS = 80  # of the grid of doses, a decade
_SLOPES = np.geomspace(0.2, 2000.0, 120)  # of the logistic curve, in logits a decade of dose


def enough(doses: ArrayLike, detected: ArrayLike, power: float = 0.9, level: float = 0.95) -> Enough | None:
    """A logistic curve in log dose, rising, fitted to the shares detected; None for fewer than two doses.

    For every dose d* on a fine grid, the likelihood of the best curve that passes through `power` at d* (its slope is
    profiled out). The interval is where twice its logarithm is within a chi-square quantile of the largest. Where
    several d* are equally likely (all runs of one dose detected, none of the next smaller one), the largest is given,
    and `flat` says which they are. Runs are taken as independent; `SIMULATED` says what that costs.

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
    outside = np.arange(1, 2 * _STEPS + 1) / _STEPS
    grid = np.concatenate((first - outside[::-1], inside, last + outside))
    profile = _profile(grid, shares, math.log(power / (1 - power)))
    from scipy.special import chdtri

    best = float(grid[np.flatnonzero(profile >= profile.max() - 1e-3)[-1]])
    held = grid[2 * (profile.max() - profile) <= float(chdtri(1, 1 - level))]
    low, high = (float(10**edge) if first <= edge <= last else None for edge in (held[0], held[-1]))
    # beyond the smallest or the largest dose nothing was seen
    if best > last:
        return Enough("not reached", None, low, None, None, shares)
    if best < first:
        return Enough("at or below", None, None, high, None, shares)
    alike = grid[(profile >= profile.max() - FLAT) & (grid >= first) & (grid <= last)]
    return Enough("measured", float(10**best), low, high, (float(10 ** alike[0]), float(10 ** alike[-1])), shares)


def _profile(grid: Floats, shares: Sequence[tuple[float, int, int]], logit: float) -> Floats:
    """Log likelihood at each d* of the grid, the slope profiled out."""
    found = np.full((grid.size, _SLOPES.size), 0.0)
    for dose, hits, runs in shares:
        eta = logit + _SLOPES[None, :] * (math.log10(dose) - grid[:, None])
        found -= hits * np.logaddexp(0.0, -eta) + (runs - hits) * np.logaddexp(0.0, eta)
    return np.asarray(found.max(axis=1))
