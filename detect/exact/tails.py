"""Tails of S = Σ a (green - γ) for any fixed weights: a valid bound, and a saddlepoint for display."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detect.exact.cumulant import CumulantFunction, Missed
from watermark.errors import InputError

Floats = npt.NDArray[np.float64]

_LN10 = math.log(10.0)
_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
_NEAR_MEAN = 1e-3  # standard deviations within which 1/u - 1/w is replaced by its limit


class Bound(NamedTuple):
    """A valid upper bound on a p-value, and the θ at which anyone can evaluate it again."""

    log10_p: float
    theta: float


def chernoff(cumulant: CumulantFunction, s: float) -> Bound:
    """The best Chernoff bound: min over θ of K(θ) - θ s. Always a finite θ; log10_p = 0 with θ = 0 when s <= 0.

    Null: colours i.i.d. Bernoulli(γ), weights fixed. Valid bound, one-sided (upper). It costs some 0.7 to 0.9
    decades against the true tail.
    """
    if not cumulant.n:
        return _no_weights(s)
    deficit = cumulant.deficit(s)
    if s <= 0:
        return Bound(0.0, 0.0)
    theta, missed = _tilt(cumulant, deficit)
    return Bound(min(0.0, missed.log_l + theta * deficit) / _LN10 + 0.0, theta)


def statistic(colours: npt.NDArray[np.bool_], weights: Floats, gamma: float) -> float:
    """S = Σ a·(green − γ); colours bool [N], weights float64 [N]."""
    return float(weights[colours].sum() - gamma * weights.sum())


def evaluate_bound(weights: npt.ArrayLike, gamma: float, s: float, theta: float) -> float:
    """log10 of the bound exp(K(θ) - θ s), capped at 0: what a verifier computes from stored evidence, once.

    Null: colours i.i.d. Bernoulli(γ), weights fixed. A valid bound for every θ >= 0, one-sided (upper).
    """
    theta = float(theta)
    if not 0.0 <= theta < math.inf:
        raise InputError(f"theta must be finite and not negative, got {theta!r}")
    cumulant = CumulantFunction(weights, gamma)
    if not cumulant.n:
        return _no_weights(s).log10_p
    return min(0.0, cumulant.missed(theta).log_l + theta * cumulant.deficit(s)) / _LN10 + 0.0


def saddlepoint(cumulant: CumulantFunction, s: float) -> float:
    """log10 P(S >= s) by Lugannani and Rice: for display beside the bound, never as evidence.

    Null: colours i.i.d. Bernoulli(γ), weights fixed. An approximation, one-sided (upper), for S that takes many
    values; kept between P(S = its maximum) and the Chernoff bound. Few large weights make it poor.

    Source: Lugannani and Rice 1980; Daniels 1987.
    """
    if not cumulant.n:
        return _no_weights(s).log10_p
    deficit = cumulant.deficit(s)
    if s >= 0:
        return _log_tail(cumulant, s, deficit) / _LN10
    lower = _log_tail(cumulant.mirrored(), -s, max(0.0, cumulant.total - deficit))
    return math.log1p(-math.exp(lower)) / _LN10 + 0.0


def z_score(cumulant: CumulantFunction, s: float) -> float:
    """S in standard deviations under the null; 0 without weights. For display: p never comes from z."""
    return float(s) / math.sqrt(cumulant.variance) if cumulant.n else 0.0


def log_tail_from_saddlepoint(exponent: Floats, theta: Floats, curvature: Floats, skewness: float) -> Floats:
    """Natural log of the upper tail at s >= 0, elementwise.

    Args:
        exponent: K(θ) - θ s <= 0 at the saddlepoint, nats.
        theta: the saddlepoint, >= 0.
        curvature: K''(θ) there.
        skewness: of S under the null; settles the removable singularity at s = 0.
    """
    from scipy.special import erfcx, log_ndtr

    w = np.sqrt(-2.0 * exponent)
    u = theta * np.sqrt(curvature)
    mills = math.sqrt(math.pi / 2.0) * erfcx(w / math.sqrt(2.0))
    with np.errstate(all="ignore"):
        correction = np.where(w < _NEAR_MEAN, -skewness / 6.0, 1.0 / u - 1.0 / w)
        log_tail = -0.5 * w * w - _LOG_SQRT_2PI + np.log(mills + correction)
        # Barndorff-Nielsen's form of the same approximation is positive where the first is not
        other = log_ndtr(-(w + np.log(u / w) / w))
    log_tail = np.where(np.isfinite(log_tail), log_tail, np.where(np.isfinite(other), other, exponent))
    return np.asarray(np.minimum(log_tail, exponent))


def _no_weights(s: float) -> Bound:
    if s != 0:
        raise InputError(f"without weights S is 0, got {s!r}")
    return Bound(0.0, 0.0)


def _log_tail(cumulant: CumulantFunction, s: float, deficit: float) -> float:
    """log P(S >= s) for s >= 0."""
    if s == 0:
        theta, missed = 0.0, cumulant.missed(0.0)
    else:
        theta, missed = _tilt(cumulant, deficit)
    exponent = min(0.0, missed.log_l + theta * deficit)
    column = np.array([[exponent], [theta], [missed.curvature]])
    tail = float(log_tail_from_saddlepoint(column[0], column[1], column[2], cumulant.skewness)[0])
    return cumulant.log_at_maximum if deficit == 0 else max(tail, cumulant.log_at_maximum)


def _tilt(cumulant: CumulantFunction, deficit: float) -> tuple[float, Missed]:
    """The θ in (0, theta_max] whose tilted law has this mean deficit, to 1e-7 of θ, and L there.

    log(-L') falls in θ, almost linearly: Newton's method on it, with bisection of log θ as a safeguard.
    """
    low, high = 0.0, cumulant.theta_max
    if deficit == 0:
        return high, cumulant.missed(high)
    theta = min(high, max(0.0, cumulant.maximum - deficit) / cumulant.variance)
    missed = cumulant.missed(theta)
    if theta == 0:
        return theta, missed
    for step in range(200):
        if missed.deficit > deficit:
            low = theta
        else:
            high = theta
        newton = _newton_step(missed, deficit)
        if abs(newton) <= 1e-7 * theta:
            break
        following = theta + newton
        if step > 40 or not low < following < high:
            following = math.sqrt(low * high) if low else high / 16.0
        if theta >= cumulant.theta_max and missed.deficit > deficit:
            break
        if high - low <= 1e-12 * high:
            break
        theta = following
        missed = cumulant.missed(theta)
    return theta, missed


def _newton_step(missed: Missed, deficit: float) -> float:
    if missed.deficit <= 0 or missed.curvature <= 0:  # underflow: θ is far too large
        return -math.inf
    return math.log(missed.deficit / deficit) * missed.deficit / missed.curvature
