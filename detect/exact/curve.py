"""Tails of many S over one set of weights: the cumulant function is read off a curve through some exact points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detect.exact.cumulant import CumulantFunction, Missed
from detect.exact.tails import chernoff, log_tail_from_saddlepoint, saddlepoint
from watermark.errors import InputError

Floats = npt.NDArray[np.float64]

_LN10 = math.log(10.0)
_UP_NODES, _DOWN_NODES = 100, 40
_TOLERANCE = 1e-6  # interpolation error of log p, relative to log p
_NEGLIGIBLE = -45.0  # nats: 1 - exp(-45) is 1 in floating point


class TailCurve:
    """`chernoff` and `saddlepoint` for arrays of S: a line-up of decoys over the same weights.

    L (see detect.exact.cumulant) and two derivatives are computed exactly at no more than 140 values of θ; between
    them runs the quintic that agrees with all three at both ends. |L⁽⁶⁾| beyond a node is at most M, computed
    there, so over a step h the quintic is wrong by at most M h⁶ / 46080 (Hermite's remainder, M/720 · (h/2)⁶). That
    is added to the bound, which so remains one. An S beyond the last node is computed by itself.
    """

    def __init__(self, cumulant: CumulantFunction) -> None:
        self.cumulant = cumulant
        if cumulant.n:
            self._up = _trace(cumulant, _UP_NODES, floor=-math.inf)
            self._down = _trace(cumulant.mirrored(), _DOWN_NODES, floor=_NEGLIGIBLE)

    def chernoff_log10_p(self, s: npt.ArrayLike) -> Floats:
        """log10 of a bound on P(S >= s), elementwise: float64[M] → float64[M].

        Null: colours i.i.d. Bernoulli(γ), weights fixed. Valid bound, one-sided (upper), within 1e-5 of the best.
        """
        s = _as_vector(s)
        log10_p = np.zeros(s.size)
        if self._weightless(s):
            return log10_p
        deficit = self.cumulant.deficits(s)
        inside = (s > 0) & self._up.reaches(deficit)
        theta, log_l, _ = self._up.tilt(deficit[inside], margin=True)
        log10_p[inside] = np.minimum(0.0, log_l + theta * deficit[inside]) / _LN10 + 0.0
        for i in np.flatnonzero((s > 0) & ~inside):
            log10_p[i] = chernoff(self.cumulant, float(s[i])).log10_p
        return log10_p

    def saddlepoint_log10_p(self, s: npt.ArrayLike) -> Floats:
        """log10 P(S >= s), approximately, elementwise: float64[M] → float64[M].

        Null: colours i.i.d. Bernoulli(γ), weights fixed. Approximation, one-sided (upper); agrees with
        `saddlepoint` to 1e-3.
        """
        s = _as_vector(s)
        log10_p = np.zeros(s.size)
        if self._weightless(s):
            return log10_p
        deficit = self.cumulant.deficits(s)
        excess = np.maximum(0.0, self.cumulant.total - deficit)
        up = (s >= 0) & self._up.reaches(deficit)
        down = (s < 0) & self._down.reaches(excess)
        log10_p[up] = self._up.log_tail(deficit[up]) / _LN10
        log10_p[down] = np.log1p(-np.exp(self._down.log_tail(excess[down]))) / _LN10 + 0.0
        for i in np.flatnonzero(~(up | down)):
            log10_p[i] = saddlepoint(self.cumulant, float(s[i]))
        return log10_p

    def _weightless(self, s: Floats) -> bool:
        if not self.cumulant.n and s.any():
            raise InputError(f"without weights S is 0, got {s[s != 0][0]}")
        return not self.cumulant.n


@dataclass(frozen=True, eq=False)
class _HalfCurve:
    """L for θ from 0 to the last node, as one quintic in x = (θ - node) / step for each interval."""

    nodes: Floats  # θ, [J + 1]
    deficits: Floats  # -L' at the nodes, falling, [J + 1]
    coefficients: Floats  # of 1, x, … x⁵, [6, J]
    errors: Floats  # at least |L - quintic|, [J]
    skewness: float  # of S under the null
    log_at_maximum: float  # log P(S at its maximum)

    def reaches(self, deficit: Floats) -> npt.NDArray[np.bool_]:
        return np.asarray(deficit > self.deficits[-1])

    def tilt(self, deficit: Floats, *, margin: bool = False) -> tuple[Floats, Floats, Floats]:
        """(θ, L, L'') where the tilted law has this mean deficit; with `margin`, L is never too small."""
        interval = np.searchsorted(-self.deficits, -deficit, side="right") - 1
        interval = np.clip(interval, 0, self.errors.size - 1)
        step = np.diff(self.nodes)[interval]
        c0, c1, c2, c3, c4, c5 = self.coefficients[:, interval]
        low, high = np.zeros(deficit.size), np.ones(deficit.size)
        for _ in range(52):  # bisection: L' rises
            x = 0.5 * (low + high)
            slope = c1 + x * (2 * c2 + x * (3 * c3 + x * (4 * c4 + x * 5 * c5)))
            below = slope < -deficit * step
            low, high = np.where(below, x, low), np.where(below, high, x)
        x = 0.5 * (low + high)
        log_l = c0 + x * (c1 + x * (c2 + x * (c3 + x * (c4 + x * c5))))
        curvature = (2 * c2 + x * (6 * c3 + x * (12 * c4 + x * 20 * c5))) / step**2
        if margin:
            log_l = log_l + self.errors[interval]
        return self.nodes[interval] + x * step, log_l, curvature

    def log_tail(self, deficit: Floats) -> Floats:
        theta, log_l, curvature = self.tilt(deficit)
        exponent = np.minimum(0.0, log_l + theta * deficit)
        tail = log_tail_from_saddlepoint(exponent, theta, np.maximum(0.0, curvature), self.skewness)
        return np.maximum(tail, self.log_at_maximum)


def _trace(cumulant: CumulantFunction, limit: int, floor: float) -> _HalfCurve:
    """Evaluate L at up to `limit` nodes, each step as long as the remainder allows; stop where log p < floor."""
    theta, missed = 0.0, cumulant.missed(0.0, sixth=True)
    nodes, values, errors = [theta], [missed], []
    while len(nodes) < limit and theta < cumulant.theta_max:
        exponent = missed.log_l + theta * missed.deficit
        if exponent < floor:
            break
        step = _step(missed, _TOLERANCE * max(0.1, -exponent), cumulant.theta_max - theta)
        errors.append(missed.sixth * step**6 / 46080.0)
        theta += step
        missed = cumulant.missed(theta, sixth=True)
        nodes.append(theta)
        values.append(missed)
    return _HalfCurve(
        nodes=np.array(nodes),
        deficits=np.array([value.deficit for value in values]),
        coefficients=_quintics(np.diff(nodes), values),
        errors=np.array(errors),
        skewness=cumulant.skewness,
        log_at_maximum=cumulant.log_at_maximum,
    )


def _step(missed: Missed, error: float, longest: float) -> float:
    """The h whose remainder M h⁶ / 46080 is `error`, but no more than `longest`."""
    sixth = missed.sixth
    return min(longest, (46080.0 * error / sixth) ** (1.0 / 6.0)) if sixth > 0 else longest


def _quintics(step: Floats, values: list[Missed]) -> Floats:
    """Coefficients [6, J] of the quintics with L, L', L'' at both ends of each interval."""
    log_l, slope, curvature = (
        np.array(column) for column in zip(*((v.log_l, -v.deficit, v.curvature) for v in values), strict=True)
    )
    c0, c1, c2 = log_l[:-1], step * slope[:-1], 0.5 * step**2 * curvature[:-1]
    a = log_l[1:] - c0 - c1 - c2
    b = step * slope[1:] - c1 - 2 * c2
    c = step**2 * curvature[1:] - 2 * c2
    return np.array([c0, c1, c2, 10 * a - 4 * b + 0.5 * c, -15 * a + 7 * b - c, 6 * a - 3 * b + 0.5 * c])


def _as_vector(s: npt.ArrayLike) -> Floats:
    s = np.asarray(s, dtype=np.float64)
    if s.ndim != 1:
        raise InputError(f"S must be a vector, got shape {s.shape}")
    return s
