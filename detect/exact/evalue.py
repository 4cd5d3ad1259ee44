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
from detect.exact.binomial import log10_cdf, log_pmf, log_pmf_array, tail_over_mass
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


def log10_e_process(greens: npt.NDArray[np.bool_], gamma: float) -> Floats:
    """log10 E after each pair: bool[..., N] → float64[..., N], streams along the last axis.

    Null: each new distinct pair is green with probability gamma, whatever came before; then P(E ever >= 1/α) <= α.

    One pass: after pair j, with k_j green so far, the tail P(Binomial(j + 1, γ) <= k_j) has changed by
    (green_j - γ) P(Binomial(j, γ) = k_j), whose mass E needs anyway.
    """
    gamma = require_probability("gamma", gamma)
    greens = np.asarray(greens)
    if greens.dtype != np.bool_ or greens.ndim == 0:
        raise InputError(f"greens must be a boolean array, got {greens.dtype} of shape {greens.shape}")
    n = np.arange(1.0, greens.shape[-1] + 1.0)
    k = np.cumsum(greens, axis=-1, dtype=np.float64)
    log_mass = log_pmf_array(k, n, gamma, 1.0 - gamma)
    tail = (1.0 - gamma) + np.cumsum((greens - gamma) * np.exp(log_mass), axis=-1)
    small = tail < _SMALL
    log_tail = np.log(np.where(small, 1.0, tail))
    if small.any():
        log_tail[small] = _log_lower(k[small], np.broadcast_to(n, k.shape)[small] + 1.0, gamma)
    return np.asarray((log_tail - log_mass - np.log(n + 1.0) - math.log1p(-gamma)) / _LN10)


def _log_lower(k: Floats, n: Floats, gamma: float) -> Floats:
    """log P(Binomial(n, gamma) <= k), elementwise, far below the mean."""
    return log_pmf_array(k, n, gamma, 1.0 - gamma) + np.log(tail_over_mass(n - k, n, 1.0 - gamma, gamma))
