"""An interval for a green fraction."""

from __future__ import annotations

from typing import SupportsIndex

from detect.exact.arguments import require_count, require_probability
from watermark.errors import InputError


def clopper_pearson(k: SupportsIndex, n: SupportsIndex, level: float = 0.95) -> tuple[float, float]:
    """(low, high) that covers q with at least `level` when k is Binomial(n, q): equal tails; (0, 1) for n = 0.

    Marked text need not be binomial: whoever shows this says "under a binomial model".

    Source: Clopper and Pearson 1934.
    """
    n = require_count("n", n)
    k = require_count("k", k, high=n)
    tail = (1.0 - require_probability("level", level)) / 2.0
    if n == 0:
        return 0.0, 1.0
    from scipy.special import betaincinv

    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    # The upper limit is one minus the lower limit of the reds: exact where 1 - tail would lose digits
    high = 1.0 - float(betaincinv(n - k, k + 1, tail)) if k < n else 1.0
    if not 0.0 <= low <= k / n <= high <= 1.0:
        raise InputError(f"no interval for k = {k}, n = {n}, level = {level!r}: beyond what floating point can hold")
    return low, high
