"""Colours: one definition for every array kind, dtype and engine, equal to what the openssl program computes."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.watermark import openssl
from tests.watermark.keys.helpers import SECRET, assert_no_secret, make_key
from watermark import GreenList, Key, chacha
from watermark.errors import KeyFileError
from watermark.greenlist import MAX_TOKEN_ID, colours_of

pytestmark = pytest.mark.usefixtures("one_torch_thread")
GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "golden" / "greenlist.json").read_text())
NUMPY_DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
TORCH_DTYPES = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32]


def mark_of(number: int, gamma_65536: int = 16384, width: int = 1) -> GreenList:
    return GreenList.from_chacha_key(hashlib.sha256(str(number).encode()).digest(), gamma_65536, width)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
@pytest.mark.parametrize("width", range(9))
def test_a_key_files_colours_by_the_openssl_program_alone(width: int, tmp_path: Path) -> None:
    """From the saved file and the design's text to the colour, without a line of Taggant in between."""
    Key.generate(context_width=width, gamma=[0.25, 0.5, 0.1][width % 3]).save(tmp_path / "key")
    file = json.loads((tmp_path / "key").read_text())
    mark = GreenList(Key.load(tmp_path / "key"))
    chacha_key = openssl.chacha_key(file["secret"])
    contexts = [openssl.context_of(width, number) for number in (0, 1, 2)] if width else [[]]
    for context in contexts:
        values = openssl.values(chacha_key, context, 0, 320)
        last = openssl.values(chacha_key, context, 128_224, 32)
        values_of = dict(enumerate(values)) | dict(enumerate(last, start=128_224))
        for gamma in {1, 6554, file["gamma_65536"], 65535}:
            other = GreenList.from_chacha_key(bytes.fromhex(chacha_key), gamma, width)
            for used in [mark, other] if gamma == file["gamma_65536"] else [other]:
                assert_colours(used, context, {token: u < gamma for token, u in values_of.items()})


def assert_colours(mark: GreenList, context: list[int], expected: dict[int, bool]) -> None:
    tokens = np.array(list(expected))
    contexts = np.array([context], dtype=np.int64).reshape(1, -1)
    many = np.repeat(contexts, len(tokens), axis=0)
    size = int(tokens.max()) + 1
    colours = list(expected.values())
    assert mark.mask(contexts, size)[0, tokens].tolist() == colours
    assert mark.mask(torch.from_numpy(contexts), size)[0, tokens].tolist() == colours
    assert mark.is_green(many, tokens).tolist() == colours
    assert mark.is_green(torch.from_numpy(many), torch.from_numpy(tokens)).tolist() == colours


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda v: f"h{len(v['context'])}-gamma{v['gamma_65536']}")
def test_the_golden_colours(vector: dict[str, Any]) -> None:
    key = make_key(
        bytes.fromhex(vector["secret"]),
        gamma_65536=vector["gamma_65536"],
        context_width=len(vector["context"]),
    )
    assert key.chacha_key.hex() == vector["chacha_key"]
    mark = GreenList(key)
    assert_colours(mark, vector["context"], {t: bit == "1" for t, bit in enumerate(vector["green"])})
    contexts = np.array([vector["context"]] * 3, dtype=np.uint32).reshape(3, -1)
    far = np.array([entry["token"] for entry in vector["far"]])
    colours = [entry["green"] for entry in vector["far"]]
    assert mark.is_green(contexts, far).tolist() == colours
    assert mark.is_green(torch.from_numpy(contexts.astype(np.int64)), torch.from_numpy(far)).tolist() == colours
    assert mark.colour(mark.prepare(contexts, far)).tolist() == colours


@given(st.integers(0, 8), st.integers(1, 65535), st.integers(1, 120), st.randoms(use_true_random=False))
def test_mask_and_is_green_agree_in_every_cell(width: int, gamma: int, size: int, random: Any) -> None:
    mark = mark_of(random.randrange(1000), gamma, width)
    top = random.choice([3, 300, MAX_TOKEN_ID])
    contexts = np.array([[random.randint(0, top) for _ in range(width)] for _ in range(4)]).reshape(4, width)
    mask = mark.mask(contexts, size)
    assert (mask.shape, mask.dtype) == ((4, size), np.bool_)
    rows, tokens = np.divmod(np.arange(4 * size), size)
    assert np.array_equal(mark.is_green(contexts[rows], tokens).reshape(4, size), mask)
    tensor = torch.from_numpy(contexts.astype(np.int64))
    assert np.array_equal(mark.mask(tensor, size).numpy(), mask)
    green = mark.is_green(tensor[torch.from_numpy(rows)], torch.from_numpy(tokens))
    assert np.array_equal(green.numpy().reshape(4, size), mask)


@pytest.mark.parametrize("width", [0, 1, 3, 4])
@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
def test_any_numpy_integer_dtype(dtype: str, width: int) -> None:
    contexts = np.random.default_rng(3).integers(0, 128, (10, width))
    tokens = np.arange(10)
    mark = mark_of(0, 30_000, width)
    for order in ("=", ">"):
        kind = np.dtype(dtype).newbyteorder(order)
        assert np.array_equal(mark.mask(contexts.astype(kind), 50), mark.mask(contexts, 50))
        assert np.array_equal(
            mark.is_green(contexts.astype(kind), tokens.astype(kind)), mark.is_green(contexts, tokens)
        )


@pytest.mark.parametrize("width", [0, 1, 3, 4])
@pytest.mark.parametrize("dtype", TORCH_DTYPES, ids=str)
def test_any_torch_integer_dtype(dtype: torch.dtype, width: int) -> None:
    contexts = torch.from_numpy(np.random.default_rng(3).integers(0, 128, (10, width)))
    tokens = torch.arange(10)
    mark = mark_of(0, 30_000, width)
    assert mark.mask(contexts.to(dtype), 50).tolist() == mark.mask(contexts.numpy(), 50).tolist()
    green = mark.is_green(contexts.to(dtype), tokens.to(dtype))
    assert green.dtype == torch.bool
    assert green.tolist() == mark.is_green(contexts.numpy(), tokens.numpy()).tolist()


def test_the_largest_ids_in_the_dtypes_that_hold_them() -> None:
    mark = mark_of(0, 30_000, 2)
    ids = [[MAX_TOKEN_ID, 0], [MAX_TOKEN_ID - 1, MAX_TOKEN_ID], [2**31, 2**31 - 1]]
    expected = mark.mask(np.array(ids), 200)
    assert len({row.tobytes() for row in expected}) == 3
    for dtype in ("uint32", "int64", "uint64"):
        assert np.array_equal(mark.mask(np.array(ids, dtype=dtype), 200), expected)
    for kind in (torch.uint32, torch.int64):
        assert mark.mask(torch.tensor(ids, dtype=torch.int64).to(kind), 200).tolist() == expected.tolist()


def test_views_are_as_good_as_copies() -> None:
    table = np.random.default_rng(1).integers(0, 1000, (40, 9))
    mark = mark_of(0, 30_000, 4)
    contexts, tokens = table[::-2, 1:8:2], table[::-2, 0]
    assert not contexts.flags.c_contiguous
    expected = mark.mask(contexts.copy(), 99)
    assert np.array_equal(mark.mask(contexts, 99), expected)
    green = mark.is_green(contexts.copy(), tokens.copy())
    assert np.array_equal(mark.is_green(contexts, tokens), green)
    transposed = torch.from_numpy(contexts.copy()).T.contiguous().T
    assert not transposed.is_contiguous()
    assert np.array_equal(mark.mask(transposed, 99).numpy(), expected)
    assert np.array_equal(mark.is_green(transposed, torch.from_numpy(tokens.copy())).numpy(), green)
    assert mark.mask(contexts.tolist(), 99).tolist() == expected.tolist()


@pytest.mark.parametrize("width", range(9))
def test_empty_batches(width: int) -> None:
    mark = mark_of(0, width=width)
    for empty in (np.zeros((0, width), dtype=np.int64), torch.zeros((0, width), dtype=torch.int64)):
        assert tuple(mark.mask(empty, 10).shape) == (0, 10)
        assert tuple(mark.is_green(empty, empty[:, :0].reshape(0)).shape) == (0,)
    assert mark.mask(np.zeros((2, width), dtype=np.int64), 0).shape == (2, 0)


def test_width_zero_is_one_list_for_every_row() -> None:
    mark = mark_of(0, width=0)
    mask = mark.mask(np.zeros((3, 0), dtype=np.int64), 500)
    assert mask.any()
    assert np.array_equal(mask, np.repeat(mask[:1], 3, axis=0))
    assert np.array_equal(mark.mask(torch.zeros((3, 0), dtype=torch.int64), 500).numpy(), mask)


def arrays(values: Any, dtype: str = "int64") -> list[Any]:
    return [np.array(values, dtype=dtype), torch.tensor(values, dtype=getattr(torch, dtype))]


@pytest.mark.parametrize(
    ("contexts", "dtype", "reason"),
    [
        ([[1, 2, 3]], "int64", r"shape \[any, 2\], not \[1, 3\]"),
        ([[1]], "int64", r"not \[1, 1\]"),
        ([1, 2], "int64", r"not \[2\]"),
        ([[[1, 2]]], "int64", r"not \[1, 1, 2\]"),
        ([[1.0, 2.0]], "float32", "integers, not .*float32"),
        ([[True, False]], "bool", "integers, not .*bool"),
        ([[5, -3]], "int64", "0 … 4294967294, found -3"),
        ([[5, -3]], "int8", "found -3"),
        ([[5, 2**32 - 1]], "int64", "found 4294967295"),
        ([[2**62, 7]], "int64", "found 4611686018427387904"),
    ],
)
def test_contexts_that_are_refused(contexts: Any, dtype: str, reason: str) -> None:
    mark = mark_of(0, width=2)
    for array in arrays(contexts, dtype):
        with pytest.raises(ValueError, match=f"contexts must .*{reason}"):
            mark.mask(array, 100)
        tokens = array.reshape(-1)[: len(array)]
        with pytest.raises(ValueError, match=f"contexts must .*{reason}"):
            mark.is_green(array, tokens)


@pytest.mark.parametrize(
    ("tokens", "dtype", "reason"),
    [
        ([1], "int64", r"shape \[2\], not \[1\]"),
        ([[1, 2]], "int64", r"shape \[2\], not \[1, 2\]"),
        ([1.0, 2.0], "float64", "integers, not .*float64"),
        ([1, -1], "int64", "found -1"),
        ([1, 2**32 - 1], "int64", "found 4294967295"),
    ],
)
def test_tokens_that_are_refused(tokens: Any, dtype: str, reason: str) -> None:
    mark = mark_of(0, width=1)
    for contexts, array in zip(arrays([[1], [2]]), arrays(tokens, dtype), strict=True):
        with pytest.raises(ValueError, match=f"tokens must .*{reason}"):
            mark.is_green(contexts, array)


def test_other_kinds_of_ids_that_are_refused() -> None:
    mark = mark_of(0, width=1)
    with pytest.raises(ValueError, match="18446744073709551615"):
        mark.mask(np.array([[2**64 - 1]], dtype=np.uint64), 10)
    with pytest.raises(ValueError, match="integers, not object"):
        mark.mask(np.array([["a"]], dtype=object), 10)
    with pytest.raises(ValueError, match="both be torch tensors or neither"):
        mark.is_green(torch.tensor([[1]]), np.array([1]))
    with pytest.raises(ValueError, match="both be torch tensors or neither"):
        mark.is_green(np.array([[1]]), torch.tensor([1]))
    for size in (-1, 2**32):
        with pytest.raises(ValueError, match=f"vocab_size must .* not {size}"):
            mark.mask(np.array([[1]]), size)
    with pytest.raises(TypeError):
        mark.mask(np.array([[1]]), 10.0)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chacha_key": bytes(31)}, "32 bytes, not 31"),
        ({"gamma_65536": 0}, "1 … 65535, not 0"),
        ({"gamma_65536": 65536}, "not 65536"),
        ({"context_width": -1}, "0 … 8, not -1"),
        ({"context_width": 9}, "not 9"),
    ],
)
def test_parameters_that_are_refused(change: dict[str, Any], reason: str) -> None:
    good = {"chacha_key": bytes(32), "gamma_65536": 1, "context_width": 0}
    GreenList.from_chacha_key(**good)
    with pytest.raises(ValueError, match=reason):
        GreenList.from_chacha_key(**{**good, **change})


def test_prepared_pairs_are_coloured_under_many_keys() -> None:
    random = np.random.default_rng(8)
    contexts, tokens = random.integers(0, 500, (700, 2)), random.integers(0, 500, 700)
    mark = mark_of(0, 20_000, 2)
    prepared = mark.prepare(contexts, tokens)
    colours = set()
    for number in range(5):
        decoy = mark.with_chacha_key(hashlib.sha256(bytes([number])).digest())
        assert (decoy.gamma_65536, decoy.context_width) == (20_000, 2)
        assert np.array_equal(decoy.colour(prepared), decoy.is_green(contexts, tokens))
        colours.add(decoy.colour(prepared).tobytes())
    assert len(colours) == 5
    with pytest.raises(ValueError, match="pairs of context width 2, green list of 3"):
        mark_of(0, width=3).colour(prepared)


def test_the_colour_turns_exactly_at_gamma() -> None:
    key = hashlib.sha256(b"turn").digest()
    values = chacha.row(key, chacha.nonces(np.zeros((1, 0), np.uint32))[:, 0], 200)
    for token, value in enumerate(values.tolist()):
        for gamma, green in ((value, False), (value + 1, True)):
            if 1 <= gamma <= 65535:
                mark = GreenList.from_chacha_key(key, gamma, 0)
                assert bool(mark.is_green(np.zeros((1, 0), int), np.array([token]))[0]) is green


@pytest.mark.parametrize("gamma", [1, 65535])
def test_gamma_is_exact_at_both_ends(gamma: int) -> None:
    """Green ⇔ u = 0 and red ⇔ u = 65535: each is one value of 65,536, over a million tokens seen about 16 times."""
    mark = mark_of(11, gamma, 1)
    size = 1 << 20
    values = chacha.row(mark._chacha_key, chacha.nonces(np.array([[9]], np.uint32))[:, 0], size)
    mask = mark.mask(np.array([[9]]), size)[0]
    rare = values == (0 if gamma == 1 else 65535)
    assert np.array_equal(mask if gamma == 1 else ~mask, rare)
    assert stats.binomtest(int(rare.sum()), size, 1 / 65536).pvalue > 1e-3
    assert mark.gamma == gamma / 65536
    assert np.array_equal(mark.mask(torch.tensor([[9]]), size)[0].numpy(), mask)


@pytest.mark.parametrize(("gamma", "width"), [(16384, 1), (32768, 0), (6554, 4)])
def test_over_keys_the_green_count_is_binomial(gamma: int, width: int) -> None:
    """Chi-square of 4,000 seeded keys' counts over 64 pairs against Binomial(64, γ), tails pooled."""
    contexts = np.arange(4 * width).reshape(4, width) if width else np.zeros((1, 0), dtype=int)
    counts = np.array([mark_of(i, gamma, width).mask(contexts, 64 // len(contexts)).sum() for i in range(4000)])
    law = stats.binom(64, gamma / 65536)
    edges = np.arange(law.ppf(0.005), law.ppf(0.995) + 1)
    expected = np.diff(law.cdf(edges), prepend=0, append=1)
    observed = np.bincount(np.searchsorted(edges, counts), minlength=len(expected))
    assert len(expected) > 10
    assert stats.chisquare(observed, 4000 * expected).pvalue > 1e-3


def test_colours_of_different_keys_contexts_and_tokens_are_uncorrelated() -> None:
    """All pairwise correlations of rows of 4,096 bits; under independence √n·r is standard normal."""
    rows = [mark_of(key, 32768, 1).mask(np.arange(8)[:, None], 4096) for key in range(6)]
    bits = np.concatenate(rows).astype(float)  # [keys × contexts, tokens]
    assert len({row.tobytes() for row in bits}) == 48
    between_rows = np.corrcoef(bits)[np.triu_indices(48, 1)] * np.sqrt(4096)
    lags = [np.corrcoef(bits[:, lag:].ravel(), bits[:, :-lag].ravel())[0, 1] for lag in (*range(1, 40), 64, 512, 1024)]
    between_tokens = np.array(lags) * np.sqrt(bits.size)
    for z in (between_rows, between_tokens):
        assert np.abs(z).max() < 5
        assert stats.kstest(z, "norm").pvalue > 1e-3


def test_the_green_list_shows_and_pickles_no_key() -> None:
    key = make_key()
    mark = GreenList(key)
    assert repr(mark) == "GreenList(gamma_65536=16384, context_width=1)"
    for shown in (repr(mark), str(mark), f"{[mark]}"):
        assert_no_secret(shown, SECRET)
        assert_no_secret(shown, key.chacha_key)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(KeyFileError, match="not pickled"):
            pickle.dumps(mark, protocol)
    assert copy.deepcopy({"mark": mark})["mark"] is mark
    assert copy.copy(mark) is mark


@pytest.mark.parametrize("token", [-1, 0xFFFFFFFF, 1 << 32, -(1 << 40)])
@pytest.mark.parametrize("place", [0, 1])
def test_a_row_is_filled_for_token_ids_only(token: int, place: int) -> None:
    green = GreenList.from_chacha_key(bytes(32), 16384, 2)
    context = [7, 7]
    out = np.zeros(4, dtype=np.uint32)
    green.fill_bits(context, out)
    before = out.copy()
    assert before.any()
    context[place] = token
    with pytest.raises(ValueError, match=f"found {token}"):
        green.fill_bits(context, out)
    assert np.array_equal(out, before)
    context[place] = 0xFFFFFFFE
    green.fill_bits(context, out)
    assert np.array_equal(colours_of(out, 100), green.mask(np.array([context]), 100)[0])


@pytest.mark.parametrize("width", [0, 1, 4])
def test_rows_by_openssl_and_by_the_compiled_kernel_are_the_same(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import watermark.chacha_numba  # noqa: F401

    mark, contexts = mark_of(0, width=width), np.arange(3 * width).reshape(3, width)
    compiled, bits = mark.mask(contexts, 1500), [np.zeros(47, dtype=np.uint32) for _ in range(2)]
    mark.fill_bits(contexts[2].tolist(), bits[0])
    monkeypatch.setattr(chacha, "COMPILED", "not loaded")
    monkeypatch.setattr("watermark.chacha_numba.green_bits", None)  # would fail if it were called
    assert np.array_equal(mark.mask(contexts, 1500), compiled)
    mark.fill_bits(contexts[2].tolist(), bits[1])
    assert np.array_equal(*bits)
    assert [int(bits[0][t // 32]) >> t % 32 & 1 for t in range(1500)] == compiled[2].astype(int).tolist()
    assert np.array_equal(colours_of(bits[0], 1500), compiled[2])
