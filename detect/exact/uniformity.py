"""Are these p-values uniform? An audit of keys and scorer: decoys must behave as the null says."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from detect.exact.binomial import log10_sf
from watermark.errors import InputError

Floats = npt.NDArray[np.float64]


def randomised_p(k: npt.ArrayLike, n: npt.ArrayLike, gamma: float, rng: np.random.Generator) -> Floats:
    """P(X > k) + U P(X = k) for X ~ Binomial(n, gamma), U uniform from `rng`: integers [M] (n broadcast) → float64[M].

    Null: each pair is green independently with probability gamma; then these are exactly uniform, which a count's
    own p-values, having atoms, are not. One-sided (upper). For audits, never as evidence.
    """
    counts, totals = np.broadcast_arrays(np.asarray(k), np.asarray(n))
    if counts.ndim != 1:
        raise InputError(f"counts must be a vector, got shape {counts.shape}")
    pairs, inverse = np.unique(np.stack((counts, totals)), axis=1, return_inverse=True)
    tails = np.array([_tail_and_next(count, total, gamma) for count, total in pairs.T])
    at_least, above = tails.reshape(-1, 2)[inverse.reshape(-1)].T
    return np.asarray(above + rng.random(counts.size) * (at_least - above))


def _tail_and_next(k: np.integer, n: np.integer, gamma: float) -> tuple[float, float]:
    """P(X >= k), P(X > k)."""
    above = math.pow(10.0, log10_sf(k + 1, n, gamma)) if k < n else 0.0
    return math.pow(10.0, log10_sf(k, n, gamma)), above


def kolmogorov_smirnov_p(p_values: npt.ArrayLike) -> float:
    """Two-sided Kolmogorov-Smirnov p of float64[M] against the uniform law on [0, 1]; 1 for M = 0.

    Null: independent uniform values. Twice the exact one-sided tail where that is below 0.02 (wrong by less than
    1e-5 of it); elsewhere Kolmogorov's limit with a correction for small samples (within 0.005 from M = 10 on, 0.001
    from M = 100 on, against Kolmogorov's exact law).

    Source: Smirnov's exact law through scipy.special; Vrbik 2018 for the correction.
    """
    values = np.sort(np.asarray(p_values, dtype=np.float64))
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise InputError("p-values must be a vector of numbers from 0 to 1")
    size = values.size
    if size == 0:
        return 1.0
    from scipy.special import kolmogorov, smirnov

    steps = np.arange(size + 1.0) / size
    distance = float(max((steps[1:] - values).max(), (values - steps[:-1]).max()))
    two_tails = 2.0 * float(smirnov(size, distance))
    if two_tails < 0.02 or distance >= 0.5:  # both signs cannot reach one half together: exact
        return min(1.0, two_tails)
    z = distance * math.sqrt(size)
    return min(1.0, float(kolmogorov(z + 1.0 / (6.0 * math.sqrt(size)) + (z - 1.0) / (4.0 * size))))
