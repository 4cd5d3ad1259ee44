"""Many tests at once, in log10: Holm for p-values, e-BH for e-values, and the key check that comes first."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from detect.exact.arguments import require_count, require_probability
from watermark.errors import InputError

Floats = npt.NDArray[np.float64]


def holm(log10_p: npt.ArrayLike, *, others: int = 0) -> Floats:
    """Holm-adjusted log10 p, in the given order: float64[M] → float64[M].

    Args:
        others: tests of the family that are not among these, none with a smaller p than one of these.

    Null: any subset of the hypotheses holds, the p-values dependent in any way. The chance that an adjusted p of a
    true null is <= α is at most α, over all of them together.

    Source: Holm 1979.
    """
    values = _as_log10_p(log10_p)
    order = np.argsort(values, kind="stable")
    require_count("others", others)
    factor = np.log10(np.arange(others + values.size, others, -1.0))
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(np.minimum(0.0, values[order] + factor))
    return adjusted


def e_bh(log10_e: npt.ArrayLike, alpha: float, tests: int | None = None) -> npt.NDArray[np.bool_]:
    """Which e-values e-BH rejects at false-discovery rate alpha: float64[M] → bool[M].

    Args:
        tests: how many there are, where those given hold all of 1 / alpha and more: no smaller one is ever rejected.
            None: these are all.

    Null: each true null's e-value has mean at most 1, dependent in any way. Rejects the k largest for the
    largest k with at least k of them >= M / (k alpha).

    Source: Wang and Ramdas 2022.
    """
    values = _as_vector("log10_e", log10_e)
    alpha = require_probability("alpha", alpha)
    tests = values.size if tests is None else require_count("tests", tests, low=values.size)
    needed = math.log10(tests or 1) - np.log10(np.arange(1.0, values.size + 1.0)) - math.log10(alpha)
    passing = np.flatnonzero(np.sort(values)[::-1] >= needed)
    return values >= needed[passing[-1]] if passing.size else np.zeros(values.size, dtype=np.bool_)


def key_check_adjustment(log10_p: float, accept_probability: float = 0.99) -> float:
    """log10 of p / P(accept), at most 0: what a p-value costs once its key has passed a check on human text.

    Null: as of the p-value given; P(p <= x | key accepted) <= P(p <= x) / P(accept).
    """
    value = float(_as_log10_p([log10_p])[0])
    return min(0.0, value - math.log10(require_probability("accept_probability", accept_probability)))


def _as_log10_p(values: npt.ArrayLike) -> Floats:
    array = _as_vector("log10_p", values)
    if (array > 0).any():
        raise InputError(f"log10_p must not be above 0, got {array[array > 0][0]}")
    return array


def _as_vector(name: str, values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or np.isnan(array).any():
        raise InputError(f"{name} must be a vector of numbers without nan, got shape {array.shape}")
    return array
