"""The mixture e-value of a count, and the e-process of a stream of distinct pairs.

    E(k, n) = ∫ (q/γ)^k ((1 - q)/(1 - γ))^(n - k) dπ(q),  π uniform on (γ, 1)
            = P(Binomial(n + 1, γ) <= k) / ((1 - γ) (n + 1) P(Binomial(n, γ) = k)).

Its mean under the null is at most 1 at any stopping time, so 1/E is a p-value that may be looked at after every pair.

Source: Robbins 1970; Ramdas et al. 2023, Game-theoretic statistics and safe anytime-valid inference.
"""

from __future__ import annotations

import math
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from detect.exact.arguments import require_count, require_probability
from detect.exact.binomial import Counts, log10_cdf, log10_cdf_each, log_pmf, log_pmf_array, tail_over_mass
from watermark.errors import InputError

Floats = npt.NDArray[np.float64]

_LN10 = math.log(10.0)
_SMALL = 1e-3  # below it the running sum has lost digits: that tail is computed by itself


def log10_e_value(k: SupportsIndex, n: SupportsIndex, gamma: float) -> float:
    """log10 E for k green among n distinct pairs; 0 for n = 0.

    Null: each distinct pair is green independently with probability gamma; then E has mean 1. Against greener.
    """
    n = require_count("n", n)
    k = require_count("k", k, high=n)
    gamma = require_probability("gamma", gamma)
    log_e = -math.log1p(-gamma) - math.log(n + 1) - log_pmf(k, n, gamma)
    return log_e / _LN10 + log10_cdf(k, n + 1, gamma)


def log10_e_each(k: Counts, n: Counts, gamma: float) -> Floats:
    """`log10_e_value` of many counts, to the last bit: int64[M], int64[M] → float64[M], 0 <= k <= n.

    Null: as of each; they may depend on each other in any way.
    """
    gamma = require_probability("gamma", gamma)
    log_mass = log_pmf_array(k.astype(np.float64), n.astype(np.float64), gamma, 1.0 - gamma)
    log_e = -math.log1p(-gamma) - np.array([math.log(one + 1) for one in n.tolist()]) - log_mass
    return np.asarray(log_e / _LN10 + log10_cdf_each(k, n + 1, gamma))


def log10_e_process(greens: npt.NDArray[np.bool_], gamma: float) -> Floats:
    """log10 E after each pair: bool[..., N] → float64[..., N], streams along the last axis.

    Null: each new distinct pair is green with probability gamma, whatever came before; then P(E ever >= 1/α) <= α.
    """
    return EProcess(gamma).advance(greens)


class EProcess:
    """The e-process of one stream of pairs, or of several side by side, a piece at a time.

    After pair j, with k_j green so far, the tail P(Binomial(j + 1, γ) <= k_j) has changed by
    (green_j - γ) P(Binomial(j, γ) = k_j), whose mass E needs anyway: the sum of these changes is carried over.

    Attributes:
        n: pairs so far.
        k: green ones among them, float64 [...], one for each stream.
    """

    def __init__(self, gamma: float) -> None:
        self._gamma = require_probability("gamma", gamma)
        self.n = 0
        self.k: Floats = np.zeros(())
        self._change: Floats = np.zeros(())  # of the tail, since it was 1 - γ before the first pair

    def advance(self, greens: npt.NDArray[np.bool_]) -> Floats:
        """log10 E after each of the next pairs: bool[..., N] → float64[..., N]; `...` as in the pieces before.

        Null: each new distinct pair is green with probability gamma, whatever came before; then P(E ever >= 1/α) <= α.

        Raises:
            InputError: no array of booleans.
        """
        gamma, greens = self._gamma, np.asarray(greens)
        if greens.dtype != np.bool_ or greens.ndim == 0:
            raise InputError(f"greens must be a boolean array, got {greens.dtype} of shape {greens.shape}")
        n = self.n + np.arange(1.0, greens.shape[-1] + 1.0)
        k = self.k[..., None] + np.cumsum(greens, axis=-1, dtype=np.float64)
        log_mass = log_pmf_array(k, n, gamma, 1.0 - gamma)
        before = np.broadcast_to(self._change[..., None], (*greens.shape[:-1], 1))
        changes = np.cumsum(np.concatenate([before, (greens - gamma) * np.exp(log_mass)], axis=-1), axis=-1)
        self.n += greens.shape[-1]
        self.k, self._change = self.k + greens.sum(axis=-1), changes[..., -1]
        tail = (1.0 - gamma) + changes[..., 1:]
        small = tail < _SMALL
        log_e = np.log(np.where(small, 1.0, tail)) - log_mass - np.log(n + 1.0) - math.log1p(-gamma)
        if small.any():  # E = P(X <= k) / P(X = k) / (n + 1 - k) for X ~ Binomial(n + 1, γ): nothing cancels
            above = np.broadcast_to(n, k.shape)[small] + 1.0
            rest = above - k[small]
            log_e[small] = np.log(tail_over_mass(rest, above, 1.0 - gamma, gamma)) - np.log(rest)
        return np.asarray(log_e / _LN10)
