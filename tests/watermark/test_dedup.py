"""Distinct codes by sorting: the plain and the compiled way, both against Python's sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watermark import dedup
from watermark.dedup import contained, distinct, distinct_words, number_rows, run_starts
from watermark.dedup_numba import radix_sort, squeeze

CODES = st.integers(1, 64).flatmap(
    lambda bits: st.tuples(
        st.just(bits),
        st.lists(st.one_of(st.integers(0, min(5, 2**bits - 1)), st.integers(0, 2**bits - 1)), max_size=80),
    )
)


def array(codes: list[int]) -> np.ndarray:
    return np.array(codes, dtype=np.uint64)


def compiled(codes: np.ndarray, bits: int) -> np.ndarray:
    ordered = radix_sort(codes, np.empty_like(codes), bits)
    return ordered[: squeeze(ordered)]


@given(CODES)
def test_distinct_is_the_sorted_set(case: tuple[int, list[int]]) -> None:
    bits, codes = case
    expected = sorted(set(codes))
    assert distinct(array(codes), bits).tolist() == expected
    assert compiled(array(codes), bits).tolist() == expected


@given(CODES)
def test_the_radix_sort_sorts(case: tuple[int, list[int]]) -> None:
    bits, codes = case
    given_codes = array(codes)
    assert radix_sort(given_codes, np.empty_like(given_codes), bits).tolist() == sorted(codes)


@pytest.mark.parametrize("bits", [1, 8, 9, 33, 63, 64])
def test_both_ways_agree_on_many_codes(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.random.default_rng(bits).integers(0, 2**bits - 1, 50_000, dtype=np.uint64, endpoint=True)
    codes[::3] = codes[0]
    codes[1] = 2**bits - 1
    expected = np.unique(codes)
    assert np.array_equal(distinct(codes.copy(), bits), expected)
    assert np.array_equal(compiled(codes.copy(), bits), expected)
    with monkeypatch.context() as patch:
        patch.setattr(dedup, "_COMPILED", "not loaded")
        assert np.array_equal(distinct(codes.copy(), bits), expected)
    monkeypatch.setattr(dedup, "run_starts", None)  # the plain way would call it
    assert np.array_equal(distinct(codes.copy(), bits), expected), "loaded, so it is used"
    monkeypatch.setattr(dedup, "_COMPILED", "not loaded")
    monkeypatch.setattr(dedup, "NUMBA_FROM", 1)
    assert np.array_equal(distinct(codes.copy(), bits), expected)


@given(st.lists(st.integers(0, 9), max_size=30), st.lists(st.integers(0, 12), max_size=10))
def test_contained_is_membership(codes: list[int], pool: list[int]) -> None:
    assert contained(array(codes), array(pool)).tolist() == [code in pool for code in codes]


def test_contained_at_the_ends_of_the_range() -> None:
    top = 2**64 - 1
    assert contained(array([0, top, top - 1]), array([top])).tolist() == [False, True, False]
    assert contained(array([0, top]), array([0])).tolist() == [True, False]
    assert contained(array([]), array([1])).tolist() == []


def test_run_starts() -> None:
    assert run_starts(array([3, 3, 5, 9, 9, 9])).tolist() == [0, 2, 3]
    assert run_starts(array([])).tolist() == []
    assert run_starts(array([0])).tolist() == [0]


def test_squeeze_leaves_the_distinct_in_front() -> None:
    codes = array([1, 1, 2, 3, 3])
    assert squeeze(codes) == 3
    assert codes[:3].tolist() == [1, 2, 3]
    assert squeeze(array([])) == 0


ROWS = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.sampled_from([0, 1, 2, 2**32 - 2]), min_size=width, max_size=width)),
        min_size=1,
        max_size=60,
    )
)


@given(ROWS)
def test_rows_are_numbered_as_they_first_occur(rows: list[tuple[int, list[int]]]) -> None:
    rows = sorted(rows, key=lambda one: one[0])
    found = number_rows(
        np.array([row for _, row in rows], dtype=np.uint32), np.array([group for group, _ in rows], dtype=np.intp)
    )
    numbers: dict[tuple[int, ...], int] = {}
    seen: set[tuple[int, ...]] = set()
    firsts = []
    for at, (group, row) in enumerate(rows):
        if tuple(row) not in numbers:
            firsts.append(at)
        assert found.numbers[at] == numbers.setdefault(tuple(row), len(numbers))
        assert found.fresh[at] == ((group, *row) not in seen)
        seen.add((group, *row))
    assert found.firsts.tolist() == firsts


def test_no_rows_at_all() -> None:
    found = number_rows(np.zeros((0, 2), dtype=np.uint32), np.zeros(0, dtype=np.intp))
    assert (found.numbers.size, found.firsts.size, found.fresh.size) == (0, 0, 0)


@given(st.integers(1, 3).flatmap(lambda k: st.lists(st.lists(st.integers(0, 3), min_size=k, max_size=k), min_size=1)))
def test_distinct_words_are_the_sorted_set(columns: list[list[int]]) -> None:
    words = np.array(columns, dtype=np.uint64).T.copy()
    assert distinct_words(words, 64).T.tolist() == [list(one) for one in sorted({tuple(one) for one in columns})]
    empty = distinct_words(words[:, :0].copy(), 64)
    assert empty.shape == (words.shape[0], 0)
