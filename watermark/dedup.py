"""Distinct values of uint64 codes, by sorting: `np.unique` hashes and is some forty times slower here."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint64]
NUMBA_FROM = 200_000  # codes; below, importing numba costs more than it saves
_COMPILED = "watermark.dedup_numba"
_LOADED_FROM = 500  # codes, where it is imported already; below, a call costs as much as the sorting


def distinct(codes: Codes, bits: int) -> Codes:
    """The distinct values in ascending order.

    Args:
        codes: uint64 [N], all below 2^bits. Used as working space: its content is lost. (Fresh pages cost more than
            the sorting does.)
        bits: 1 … 64.
    """
    if codes.shape[0] >= NUMBA_FROM or (codes.shape[0] >= _LOADED_FROM and _COMPILED in sys.modules):
        from watermark.dedup_numba import radix_sort, squeeze

        ordered: Codes = radix_sort(codes, np.empty_like(codes), bits)
        return ordered[: squeeze(ordered)]
    codes.sort()
    return codes[run_starts(codes)]


def run_starts(ordered: Codes) -> NDArray[np.intp]:
    """Where each run of equal values begins."""
    if ordered.shape[0] == 0:
        return np.zeros(0, dtype=np.intp)
    return np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))


def contained(codes: Codes, pool: Codes) -> NDArray[np.bool_]:
    """Whether each code occurs in `pool`: bool [N]."""
    if pool.shape[0] == 0:
        return np.zeros(codes.shape[0], dtype=np.bool_)
    ordered = np.sort(pool)
    at = np.minimum(np.searchsorted(ordered, codes), ordered.shape[0] - 1)
    found: NDArray[np.bool_] = ordered[at] == codes
    return found
