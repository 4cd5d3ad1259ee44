"""u(c, t) on NumPy arrays: the RFC's vectors, the openssl program's values, and all kernels against each other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.watermark.rfc8439 import BLOCKS, COUNTING, STREAM, STREAM_NONCE, Block
from watermark import chacha
from watermark.chacha_numba import LANES, count_below, green_bits, keystream_u16, lay_out, values

GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "golden" / "greenlist.json").read_text())
KEY = bytes(range(100, 132))


def by_numpy(key: bytes, nonce_words: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return _run(chacha._pairs_numpy, key, nonce_words, tokens)


def by_numba(key: bytes, nonce_words: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return _run(keystream_u16, key, nonce_words, tokens)


def _run(kernel: Any, key: bytes, nonce_words: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    out = np.full(tokens.shape[0], 0x5A5A, dtype=np.uint16)
    words = np.ascontiguousarray(np.broadcast_to(nonce_words.reshape(3, -1), (3, tokens.shape[0])))
    kernel(np.frombuffer(key, dtype="<u4").astype(np.uint32), words, tokens, out)
    return out


KERNELS = [by_numpy, by_numba]


@pytest.mark.parametrize("vector", BLOCKS, ids=lambda vector: vector.name)
def test_the_rfcs_blocks_by_every_kernel(vector: Block) -> None:
    for kernel in KERNELS:
        assert kernel(vector.key, vector.nonce_words, vector.tokens).tolist() == vector.values.tolist()
    row = chacha.row(vector.key, vector.nonce_words, 32 * (vector.counter + 1))
    assert row[32 * vector.counter :].tolist() == vector.values.tolist()


def test_the_rfcs_keystream_by_every_kernel() -> None:
    nonce = np.frombuffer(STREAM_NONCE, dtype="<u4")
    expected = np.frombuffer(STREAM, dtype="<u2").tolist()
    tokens = np.arange(32, 32 + len(expected), dtype=np.uint32)
    for kernel in KERNELS:
        assert kernel(COUNTING, nonce, tokens).tolist() == expected
    assert chacha.row(COUNTING, nonce, 32 + len(expected))[32:].tolist() == expected


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda v: f"h{len(v['context'])}-gamma{v['gamma_65536']}")
def test_every_kernel_gives_the_openssl_programs_values(vector: dict[str, Any]) -> None:
    key = bytes.fromhex(vector["chacha_key"])
    context = np.array([vector["context"]], dtype=np.uint32).reshape(1, -1)
    expected = vector["values"]
    nonce = chacha.nonces(context)
    assert chacha.row(key, nonce[:, 0], len(expected)).tolist() == expected
    far = np.array([entry["token"] for entry in vector["far"]], dtype=np.uint32)
    for kernel in KERNELS:
        assert kernel(key, nonce, np.arange(len(expected), dtype=np.uint32)).tolist() == expected
        assert kernel(key, nonce, far).tolist() == [entry["value"] for entry in vector["far"]]


def test_the_golden_vectors_cover_every_width_with_several_keys() -> None:
    assert {len(vector["context"]) for vector in GOLDEN} == set(range(9))
    assert len({(vector["secret"], len(vector["context"])) for vector in GOLDEN}) == 27
    assert len({vector["gamma_65536"] for vector in GOLDEN}) == 3


@pytest.mark.parametrize("width", range(9))
def test_nonces_follow_the_designs_text(width: int) -> None:
    contexts = np.random.default_rng(width).integers(0, 2**32 - 1, (50, width), dtype=np.uint32)
    got = chacha.nonces(contexts)
    assert got.shape == (3, 50)
    assert got.dtype == np.uint32
    for context, nonce in zip(contexts.tolist(), got.T.tolist(), strict=True):
        if width <= 3:
            expected = [0xFFFFFFFF] * (3 - width) + context
        else:
            digest = hashlib.sha256(b"".join(token.to_bytes(4, "little") for token in context)).digest()
            expected = [int.from_bytes(digest[i : i + 4], "little") for i in (0, 4, 8)]
        assert nonce == expected


@pytest.mark.parametrize("width", range(9))
def test_no_contexts_have_no_nonces(width: int) -> None:
    assert chacha.nonces(np.zeros((0, width), dtype=np.uint32)).shape == (3, 0)
    assert chacha.pairs(KEY, np.zeros((0, width), dtype=np.uint32), np.zeros(0, dtype=np.uint32)).shape == (0,)


def test_nonces_of_short_contexts_differ_from_those_of_longer_ones() -> None:
    ids = np.arange(1, 9, dtype=np.uint32)
    nonces = {tuple(chacha.nonces(ids[None, 8 - h :])[:, 0].tolist()) for h in range(1, 9)}
    assert len(nonces | {tuple(chacha.nonces(np.zeros((1, 0), np.uint32))[:, 0].tolist())}) == 9


@given(
    st.binary(min_size=32, max_size=32),
    st.lists(
        st.tuples(st.lists(st.integers(0, 2**32 - 2), min_size=2, max_size=2), st.integers(0, 2**32 - 2)),
        min_size=1,
        max_size=2 * LANES,
    ),
)
def test_numba_equals_numpy(key: bytes, pairs: list[tuple[list[int], int]]) -> None:
    nonce_words = chacha.nonces(np.array([context for context, _ in pairs], dtype=np.uint32))
    tokens = np.array([token for _, token in pairs], dtype=np.uint32)
    assert by_numba(key, nonce_words, tokens).tolist() == by_numpy(key, nonce_words, tokens).tolist()


@pytest.mark.parametrize("count", [1, LANES - 1, LANES, LANES + 1, 3 * LANES + 7])
def test_a_last_block_of_lanes_that_is_not_full(count: int) -> None:
    random = np.random.default_rng(count)
    nonce_words = random.integers(0, 2**32, (3, count), dtype=np.uint32)
    tokens = random.integers(0, 200_000, count, dtype=np.uint32)
    expected = [chacha.row(KEY, n, int(t) + 1)[t] for n, t in zip(nonce_words.T, tokens, strict=True)]
    assert by_numba(KEY, nonce_words, tokens).tolist() == expected
    assert by_numpy(KEY, nonce_words, tokens).tolist() == expected


@pytest.mark.parametrize("width", [0, 1, 5])
def test_many_pairs_take_the_compiled_kernel_and_give_the_same(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    count = chacha.NUMBA_FROM + chacha._CHUNK // 2 + 3  # neither a whole number of chunks nor of lanes
    random = np.random.default_rng(width)
    contexts = random.integers(0, 2**32 - 1, (count, width), dtype=np.uint32)
    tokens = random.integers(0, 2**32 - 1, count, dtype=np.uint32)
    with monkeypatch.context() as patch:
        patch.setattr(chacha, "_pairs_numpy", None)  # would fail if it were called
        compiled = chacha.pairs(KEY, contexts, tokens)
        prepared = chacha.pairs_from_nonces(KEY, chacha.nonces(contexts), tokens)
    parts = [slice(i, i + 10_000) for i in range(0, count, 10_000)]
    few = np.concatenate([chacha.pairs(KEY, contexts[part], tokens[part]) for part in parts])
    assert compiled.dtype == np.uint16
    assert np.array_equal(compiled, few)
    assert np.array_equal(prepared, few)


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda v: f"h{len(v['context'])}-gamma{v['gamma_65536']}")
def test_compiled_rows_are_the_openssl_programs_colours(vector: dict[str, Any]) -> None:
    key, length = bytes.fromhex(vector["chacha_key"]), len(vector["green"])
    out = np.zeros(-(-length // 32), dtype=np.uint32)
    green_bits(chacha.key_words(key), chacha.nonce_of(vector["context"]), np.uint16(vector["gamma_65536"]), out)
    bits = [int(out[t // 32]) >> t % 32 & 1 for t in range(length)]
    assert bits == [int(colour) for colour in vector["green"]]


@pytest.mark.parametrize("words", [0, 1, 2, 31, 32, 33, 64, 65, 1250])
@pytest.mark.parametrize("threshold", [1, 16_384, 65_535])
def test_compiled_rows_of_any_length(words: int, threshold: int) -> None:
    nonce = np.array([1, 1 << 31, 0xFFFFFFFF], dtype=np.uint32)
    guarded = np.full(words + 64, 7, dtype=np.uint32)  # what lies behind the row is left alone
    green_bits(chacha.key_words(KEY), nonce, np.uint16(threshold), guarded[:words])
    expected = chacha.row(KEY, nonce, 32 * words) < threshold
    assert [int(word) >> t & 1 for word in guarded[:words] for t in range(32)] == expected.astype(int).tolist()
    assert (guarded[words:] == 7).all()


@pytest.mark.parametrize("width", range(6))
def test_the_nonce_of_one_context_is_that_of_the_table(width: int) -> None:
    context = [4_000_000_000 + i for i in range(width)]
    table = np.array([context], dtype=np.uint32).reshape(1, width)
    assert chacha.nonce_of(context).tolist() == chacha.nonces(table)[:, 0].tolist()
    assert chacha.nonce_of(context).dtype == np.uint32


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("count", [0, 1, 40, LANES + 1, 20 * LANES])
def test_neighbours_share_a_block_and_keep_their_values(count: int, shared: bool) -> None:
    """In order of context and token, neighbours share blocks; out of order they do not, and the values are the same."""
    random = np.random.default_rng(count)
    contexts = random.integers(0, 6, count, dtype=np.uint32)
    tokens = random.integers(0, 300, count, dtype=np.uint32)
    order = np.lexsort((tokens, contexts)) if shared else np.arange(count)
    nonce_words = chacha.nonces(contexts[order, None])
    layout = lay_out(nonce_words, tokens[order])
    out = np.empty(count, dtype=np.uint16)
    values(chacha.key_words(KEY), *layout, out)
    assert out.tolist() == by_numpy(KEY, nonce_words, tokens[order]).tolist()
    blocks = set(zip(contexts.tolist(), (tokens >> 5).tolist(), strict=True))
    if shared:
        assert layout.n_blocks == -(-len(blocks) // LANES) * LANES
    else:
        assert layout.n_blocks >= len(blocks)
    assert layout.ends[-1] == count or not count
    below = np.empty(3, dtype=np.int64)
    thresholds = np.array([1, 20_000, 65_535], dtype=np.uint16)
    count_below(np.tile(chacha.key_words(KEY), (3, 1)), thresholds, *layout, below)
    assert below.tolist() == [int((out < threshold).sum()) for threshold in thresholds]


def test_blocks_differ_in_every_word_of_the_nonce_and_in_the_counter() -> None:
    """Neighbours that differ in one word alone lie in two blocks."""
    same = np.full((3, 2), 7, dtype=np.uint32)
    near = np.array([64, 65], dtype=np.uint32)
    assert lay_out(same, near).blocks[0, :, :2].tolist() == [[2, 0], [7, 0], [7, 0], [7, 0]]
    assert lay_out(same, near + np.array([0, 31], dtype=np.uint32)).blocks[0, 0, :2].tolist() == [2, 3]
    for word in range(3):
        other = same.copy()
        other[word, 1] = 1 << 31
        assert lay_out(other, near).blocks[0, 1 + word, :2].tolist() == [7, 1 << 31]


def test_pairs_take_views_and_leave_them_alone() -> None:
    random = np.random.default_rng(5)
    table = random.integers(0, 1000, (300, 6), dtype=np.uint32)
    before = table.copy()
    contexts, tokens = table[::2, 1:3], table[::2, 5]
    expected = chacha.pairs(KEY, contexts.copy(), tokens.copy())
    assert not contexts.flags.c_contiguous
    assert np.array_equal(chacha.pairs(KEY, contexts, tokens), expected)
    assert np.array_equal(chacha.pairs(KEY, np.asfortranarray(contexts), tokens), expected)
    assert np.array_equal(table, before)


def test_a_row_of_no_tokens_is_empty() -> None:
    assert chacha.row(KEY, np.zeros(3, dtype=np.uint32), 0).shape == (0,)
