"""Distinct values of uint64 codes, by sorting: `np.unique` hashes and is some forty times slower here."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Numbered:
    """Rows by the number of their content, in the order in which it first occurs.

    Attributes:
        numbers: int32 [N], of each row.
        firsts: int32 [D], where the row of each number first stands.
        fresh: bool [N], the row does not stand earlier in its group.
    """

    numbers: NDArray[np.int32]
    firsts: NDArray[np.int32]
    fresh: NDArray[np.bool_]


def number_rows(rows: NDArray[np.uint32], groups: NDArray[np.intp]) -> Numbered:
    """Number the distinct rows, and mark those that are new in their group: compiled, one pass, exact at any width.

    Args:
        rows: uint32 [N, w], N below 2^31; best with contiguous columns.
        groups: intp [N], ascending.
    """
    from watermark.dedup_numba import number_rows as kernel

    count = rows.shape[0]
    slots = np.full(1 << (2 * count).bit_length(), -1, dtype=np.int32)
    numbers, firsts = np.empty(count, dtype=np.int32), np.empty(count, dtype=np.int32)
    last, fresh = np.empty(count, dtype=np.intp), np.empty(count, dtype=np.bool_)
    salt = np.uint64(secrets.randbits(64))  # nobody can write rows that meet in one slot
    found = kernel(np.ascontiguousarray(rows.T), groups, salt, slots, numbers, firsts, last, fresh)
    return Numbered(numbers, firsts[:found], fresh)


def distinct_words(words: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    """The distinct columns of uint64 [k, N], sorted by their first word, then the second …

    Args:
        words: as `distinct` has them; where there is one word only, its content is lost.
        bits: every first word lies below 2^bits.
    """
    if words.shape[0] == 1:
        return distinct(words[0], bits)[None]
    ordered = words[:, np.lexsort(words[::-1])]
    if ordered.shape[1] == 0:
        return ordered
    changed = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    return ordered[:, np.concatenate(([True], changed))]
