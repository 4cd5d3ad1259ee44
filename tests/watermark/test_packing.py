"""Pairs as words: nothing is lost, equal means the same, contexts lie together and evenly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark.dedup import distinct_words
from watermark.errors import InputError
from watermark.packing import BUCKETS, Packing

TOP = 2**32 - 2
WIDTHS = (0, 1, 2, 3, 5, 8)
SIZES = (None, 2, 384, 49152, 131072, 256000)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Packing, np.ndarray]:
    width, size = draw(st.sampled_from(WIDTHS)), draw(st.sampled_from(SIZES))
    highest = TOP if size is None else size - 1
    pool = draw(st.lists(st.integers(0, highest), min_size=1, max_size=6))
    ids = st.sampled_from([*pool, 0, highest])
    rows = draw(st.lists(st.lists(ids, min_size=width + 1, max_size=width + 1), max_size=40))
    return Packing(width, size), np.array(rows, dtype=np.uint32).reshape(len(rows), width + 1)


@given(tables())
@settings(max_examples=300)
def test_what_is_packed_comes_back_and_is_counted_as_sets_count_it(case: tuple[Packing, np.ndarray]) -> None:
    packing, rows = case
    packed = packing.pack(rows)
    assert packed.shape == (packing.words, len(rows))
    assert (packing.unpack(packed) == rows).all()
    pairs = packing.pairs(distinct_words(packed.copy(), packing.first_bits))
    found = {(*context, token) for context, token in zip(pairs.contexts.tolist(), pairs.tokens.tolist(), strict=True)}
    expected = {tuple(row) for row in rows.tolist()}
    assert (found, len(pairs)) == (expected, len(expected))
    assert pairs.n_contexts == len({row[:-1] for row in expected})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", WIDTHS)
def test_as_few_words_as_the_ids_need(width: int, size: int | None) -> None:
    packing = Packing(width, size)
    bits = 32 if size is None else max(1, (size - 1).bit_length())
    assert packing.bits == bits
    assert packing.words == -(-(width + 1) // (64 // bits))
    assert packing.words > 1 or packing.first_bits == bits * (width + 1) <= 64


@pytest.mark.parametrize(("width", "size"), [(1, 49152), (1, None), (2, 49152), (3, 131072), (5, 49152)])
def test_contexts_lie_together_and_evenly_whatever_the_language(width: int, size: int | None) -> None:
    """Zipf's law: a few contexts are very common, and small ids are."""
    random = np.random.default_rng(width)
    ids = np.minimum(random.zipf(1.3, size=(60_000, width + 1)), 49151).astype(np.uint32)
    packing = Packing(width, size)
    words = distinct_words(packing.pack(ids), packing.first_bits)
    starts = packing.bucket_starts(words)
    assert (starts[0], starts[-1], len(starts)) == (0, words.shape[1], BUCKETS + 1)
    seen: set[tuple[int, ...]] = set()
    quarters = []
    for first in range(0, BUCKETS, BUCKETS // 4):
        part = packing.unpack(words[:, starts[first] : starts[first + BUCKETS // 4]])
        contexts = {tuple(row) for row in part[:, :-1].tolist()}
        assert not contexts & seen  # a context is in one stretch alone
        seen |= contexts
        quarters.append(len(contexts))
    assert max(quarters) < 1.2 * min(quarters)


@pytest.mark.parametrize(("width", "size"), [(0, 49152), (1, 384)])
def test_few_contexts_are_one_stretch(width: int, size: int) -> None:
    rows = np.random.default_rng(0).integers(0, size, size=(1000, width + 1)).astype(np.uint32)
    packing = Packing(width, size)
    words = distinct_words(packing.pack(rows), packing.first_bits)
    assert packing.bucket_starts(words).tolist() == [0, *[words.shape[1]] * BUCKETS]


def test_the_words_mean_the_same_for_ever() -> None:
    """Runs of a job may lie on disk for weeks: what they hold must not change with the code."""
    rows = np.array([[1, 2], [2, 1], [49151, 0]], dtype=np.uint32)
    assert Packing(1, 49152).pack(rows).tolist() == [[897449986, 1794899969, 3784900608]]
    row = np.array([[1, 2, 3, 4, 5, 6]], dtype=np.uint32)
    assert Packing(5, 49152).pack(row).tolist() == [[2864137554261809984], [327686]]


def test_an_id_of_more_bits_than_there_are_is_refused() -> None:
    """It would make two pairs one: a tokenizer may have holes, and ids beyond its length."""
    fits = np.array([[5, 255], [255, 0]], dtype=np.uint32)
    assert np.array_equal(Packing(1, 256).unpack(Packing(1, 256).pack(fits)), fits)
    with pytest.raises(InputError, match="token id 256 is not among the 256 tokens of the key's tokenizer"):
        Packing(1, 256).pack(np.array([[5, 256]], dtype=np.uint32))
