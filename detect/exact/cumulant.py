"""The cumulant function of a weighted sum of colours, in a form that no θ, however large, can upset.

S = Σ a (green - γ). A pair with a > 0 contributes most when it is green, one with a < 0 when it is red; so
S = S_max - Σ |a| [the pair missed], where a pair misses with probability 1 - γ or γ. For θ >= 0

    log E exp(θ S) = θ S_max + L(θ),     L(θ) = Σ log(1 - g (1 - exp(-θ |a|))),     g = P(the pair misses).

L falls from 0 to log P(S = S_max), and no exponential in it can overflow. θ < 0 is the same with all signs turned.
"""

from __future__ import annotations

import math
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detect.exact.arguments import require_probability
from watermark.errors import InputError

Floats = npt.NDArray[np.float64]

_CHUNK = 8192  # numbers at a time: six buffers of this size stay in a core's cache
_LARGEST_WEIGHT = (1e-40, 1e40)  # squares and sixth powers stay finite
_ROUNDING = 1e-9  # how far S may lie beyond its extremes, relative to Σ|a|


class Missed(NamedTuple):
    """L and its derivatives at one θ >= 0, in nats."""

    log_l: float  # L(θ)
    deficit: float  # -L'(θ): the mean of S_max - S under the tilted law
    curvature: float  # L''(θ): the variance of S under it
    sixth: float  # at least |L⁽⁶⁾| at this and every larger θ (nan unless asked for)


@dataclass(frozen=True, eq=False)
class CumulantFunction:
    """K(θ) = Σ log(1 - γ + γ exp(θ a)) - θ γ Σ a: the log-moment generating function of S under the null.

    Built once from weights float64[N] of either sign. Zero weights say nothing and are dropped. One evaluation
    costs about 6 ns a weight and, beside the weights, a few hundred kB.
    """

    weights: InitVar[npt.ArrayLike]
    gamma: float
    _up: Floats = field(init=False, repr=False)
    _down: Floats = field(init=False, repr=False)

    def __post_init__(self, weights: npt.ArrayLike) -> None:
        weights = np.asarray(weights, dtype=np.float64)
        gamma = require_probability("gamma", self.gamma)
        if not 2.0**-53 <= gamma <= 1.0 - 2.0**-53:
            raise InputError(f"gamma must lie between 2^-53 and 1 - 2^-53 for weighted tests, got {gamma!r}")
        up, down = weights[weights > 0], -weights[weights < 0]
        _check_weights(weights, up, down)
        for array in (up, down):
            array.flags.writeable = False
        for name, value in (("gamma", gamma), ("_up", up), ("_down", down)):
            object.__setattr__(self, name, value)

    @property
    def n(self) -> int:
        """How many weights are not zero."""
        return self._up.size + self._down.size

    @cached_property
    def variance(self) -> float:
        """γ(1 - γ) Σa²: the variance of S under the null."""
        return self.gamma * (1.0 - self.gamma) * float((self._up**2).sum() + (self._down**2).sum())

    @cached_property
    def skewness(self) -> float:
        """Third standardised cumulant of S under the null; 0 without weights."""
        if not self.n:
            return 0.0
        third = float((self._up**3).sum() - (self._down**3).sum())
        return self.gamma * (1.0 - self.gamma) * (1.0 - 2.0 * self.gamma) * third / math.pow(self.variance, 1.5)

    @cached_property
    def total(self) -> float:
        """Σ|a|."""
        return float(self._up.sum() + self._down.sum())

    @cached_property
    def maximum(self) -> float:
        """The largest S there can be: all pairs with a > 0 green, all others red."""
        return (1.0 - self.gamma) * float(self._up.sum()) + self.gamma * float(self._down.sum())

    @property
    def log_at_maximum(self) -> float:
        """log P(S = its maximum), in nats."""
        return self._up.size * math.log(self.gamma) + self._down.size * math.log1p(-self.gamma)

    @cached_property
    def theta_max(self) -> float:
        """The largest θ worth storing.

        At 64 / min|a| the bound at the maximum equals its limit in floating point. At 2^43 / Σ|a| the last bit of S
        moves log p by 1e-3 nats: beyond, rounding would decide the evidence.
        """
        smallest = min(float(array.min()) for array in (self._up, self._down) if array.size)
        return min(64.0 / smallest, 2.0**43 / self.total)

    def mirrored(self) -> CumulantFunction:
        """The cumulant function of -S, which has the weights -a."""
        return CumulantFunction(np.concatenate((self._down, -self._up)), self.gamma)

    def value(self, theta: float) -> float:
        """K(θ) in nats, θ of either sign."""
        if theta < 0:
            return self.mirrored().value(-theta)
        return self.missed(theta).log_l + theta * self.maximum

    def derivative(self, theta: float) -> float:
        """K'(θ): the mean of S under the law tilted by θ."""
        if theta < 0:
            return -self.mirrored().derivative(-theta)
        return self.maximum - self.missed(theta).deficit

    def second_derivative(self, theta: float) -> float:
        """K''(θ): the variance of S under the law tilted by θ."""
        if theta < 0:
            return self.mirrored().second_derivative(-theta)
        return self.missed(theta).curvature

    def deficit(self, s: float) -> float:
        """S_max - s, at least 0; refuses an s that these weights cannot bring about."""
        return float(self.deficits(np.array([s], dtype=np.float64))[0])

    def deficits(self, s: Floats) -> Floats:
        """S_max - s, at least 0, elementwise.

        Raises:
            InputError: an s is not finite, or lies where these weights cannot bring S.
        """
        maximum, minimum = self.maximum, self.maximum - self.total
        slack = _ROUNDING * self.total
        possible = (minimum - slack <= s) & (s <= maximum + slack)
        if not possible.all():
            wrong = float(s[~possible][0])
            raise InputError(f"S = {wrong} cannot come from these weights: it lies between {minimum} and {maximum}")
        return np.maximum(0.0, maximum - s)

    def missed(self, theta: float, *, sixth: bool = False) -> Missed:
        """L and its derivatives at θ >= 0, one pass over the weights."""
        up = _sums(self._up, theta, 1.0 - self.gamma, sixth=sixth)
        down = _sums(self._down, theta, self.gamma, sixth=sixth)
        return Missed(*(float(x) for x in up + down))


def _check_weights(weights: Floats, up: Floats, down: Floats) -> None:
    if weights.ndim != 1:
        raise InputError(f"weights must be a vector, got shape {weights.shape}")
    if not np.isfinite(weights).all():
        raise InputError(f"weights must be finite, got {weights[~np.isfinite(weights)][0]}")
    largest = max((float(array.max()) for array in (up, down) if array.size), default=1.0)
    if not _LARGEST_WEIGHT[0] <= largest <= _LARGEST_WEIGHT[1]:
        raise InputError(f"the largest |weight| must lie between 1e-40 and 1e40, got {largest}; rescale the weights")


def _sums(magnitudes: Floats, theta: float, g: float, *, sixth: bool) -> Floats:
    """[L, -L', L'', bound on |L⁽⁶⁾|] of weights that miss with probability g."""
    sums = np.zeros(4)
    e, d, r, square = (np.empty(min(_CHUNK, magnitudes.size)) for _ in range(4))
    for start in range(0, magnitudes.size, _CHUNK):
        m = magnitudes[start : start + _CHUNK]
        if m.size < e.size:
            e, d, r, square = (buffer[: m.size] for buffer in (e, d, r, square))
        with np.errstate(over="ignore", under="ignore"):
            np.multiply(m, -theta, out=e)
            np.expm1(e, out=e)
            np.multiply(e, g, out=d)
            np.log1p(d, out=r)
            sums[0] += r.sum()
            d += 1.0  # 1 - g (1 - t), where t = exp(-θ m)
            e += 1.0  # t
            np.divide(e, d, out=r)
            sums[1] += g * np.dot(m, r)
            r /= d
            np.multiply(m, m, out=square)
            sums[2] += g * (1.0 - g) * np.dot(square, r)
            if sixth:
                sums[3] += _sixth_derivative_bound(square, r, e, g)
    if not sixth:
        sums[3] = math.nan
    return sums


def _sixth_derivative_bound(square: Floats, r: Floats, t: Floats, g: float) -> float:
    """At least |L⁽⁶⁾| of these weights at this θ and at every larger one.

    A Bernoulli's sixth cumulant is v (1 - 30 v + 120 v²) with v <= 1/4 its variance, so it is at most v in absolute
    value; and v = g (1 - g) r falls with θ once t <= (1 - g) / g, where the tilted chance of a miss is below one half.
    """
    variance = g * (1.0 - g) * r
    if g > 0.5:
        variance[t > (1.0 - g) / g] = 0.25
    return float(np.dot(variance, square * square * square))
