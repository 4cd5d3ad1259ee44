"""How tools/verify_bundle.py reads: JSON as RFC 8785 has it, numbers of an .npz, colours as the golden vectors are."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from detect.bundles import canonical
from detect.bundles.refused import Refused
from tests.detect.bundles.factory import KEY, LONG, WIDE
from tests.tools.second import second
from watermark.greenlist import GreenList
from watermark.keys.merkle import inclusion_path, levels

NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.text(max_size=9) | NUMBERS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_canonical_json_is_rfc8785s(value: Any) -> None:
    assert second.canonical(value).encode() == rfc8785.dumps(value)


@settings(max_examples=150, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_rfc8785s(value: float) -> None:
    assert second.canonical(value).encode() == rfc8785.dumps(value)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.integers(0, 10**6), st.integers(0, 255))
def test_both_read_the_same_bytes_as_json(value: Any, place: int, byte: int) -> None:
    """One byte changed, or nothing."""
    data = bytearray(rfc8785.dumps(value))
    data[place % len(data)] = byte
    assert outcome(lambda: second.parse(bytes(data))) == outcome(lambda: canonical.loads(bytes(data), "it"))


OTHER = [
    b'{"a":1,"a":1}', b'{"a":1,"a":2}', b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1.0", b"-0", b"01", b"1E5",
    b" 1", b"1 ", b"9007199254740992", b'{"b":1,"a":1}', b'"\\u0061"', b'"\\/"', b'"\xff"', b'"\\ud800"', b"", b"{",
    b"[" * 99_999, b"9" * 5000, "\ufeff1".encode(), '"a"'.encode("utf-16"), b'"\x00"',
]  # fmt: skip


@pytest.mark.parametrize("data", OTHER)
def test_other_json_is_refused_by_both(data: bytes) -> None:
    assert outcome(lambda: second.parse(data)) == "refused"
    with pytest.raises(Refused) as refused:
        canonical.loads(data, "it")
    assert refused.value.code == "json"


def outcome(read: Any) -> str:
    """What was read, or that nothing was; `verify` takes RecursionError for a refusal as well."""
    try:
        return repr(read())
    except (ValueError, RecursionError):
        return "refused"


def colours(key: bytes, gamma: float, pairs: list[Any]) -> list[bool]:
    order, batches = second.layout(pairs)
    return [green for _, green in sorted(zip(order, second.greens(key, gamma, batches), strict=True))]


def test_many_colours_are_those_of_the_green_list() -> None:
    """More than are looked up at a time, far apart and close together in one context."""
    rng = np.random.default_rng(2)
    tokens = rng.permutation(np.concatenate([np.arange(4000, 8200), rng.integers(0, 10**9, 900)])).astype(np.uint32)
    contexts = rng.integers(0, 3, (len(tokens), 1), dtype=np.uint32)
    found = colours(KEY.chacha_key, KEY.gamma, np.column_stack((contexts, tokens)).tolist())
    assert found == GreenList(KEY).is_green(contexts, tokens).tolist()


@pytest.mark.parametrize("key", [KEY, WIDE, LONG])
def test_colours_are_those_of_the_green_list(key: Any) -> None:
    rng = np.random.default_rng(1)
    contexts = rng.integers(0, 2**32 - 1, (60, key.context_width), dtype=np.uint32)
    tokens = np.concatenate([rng.integers(0, 200_000, 57), [0, 31, 2**32 - 2]]).astype(np.uint32)
    pairs = np.column_stack((contexts, tokens)).tolist()
    found = colours(key.chacha_key, key.gamma, pairs)
    assert found == GreenList(key).is_green(contexts, tokens).tolist()


def test_colours_are_those_of_the_golden_vectors() -> None:
    golden = json.loads((Path(__file__).parents[1] / "golden" / "greenlist.json").read_text(encoding="utf-8"))
    for one in golden:
        key, gamma = bytes.fromhex(one["chacha_key"]), one["gamma_65536"]
        found = colours(key, gamma / 65536, [(*one["context"], token) for token in range(len(one["values"]))])
        assert found == [value < gamma for value in one["values"]]


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays(order: Any) -> None:
    contexts = np.asarray(np.arange(12, dtype=np.uint32).reshape(4, 3), order=order)
    handle = io.BytesIO()
    np.savez(handle, format=np.array("a kind"), contexts=contexts, weights=np.array([1.5, -2]), flags=np.array([True]),
             empty=np.zeros((0, 2), dtype=np.uint32), one=np.array(7))  # fmt: skip
    found = second.arrays(handle.getvalue())
    assert found == {"contexts": (4, list(range(12))), "weights": (2, [1.5, -2]), "one": (1, [7]), "empty": (0, [])}


@pytest.mark.parametrize("array", [np.array([{}], dtype=object), np.array([1j]), np.array([1], dtype=">u4")])
def test_arrays_of_something_else_are_not_read(array: Any) -> None:
    handle = io.BytesIO()
    np.savez(handle, weights=array)
    assert second.arrays(handle.getvalue()) == {}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_the_path_to_the_root(size: int) -> None:
    leaves = [{"account": str(i), "epoch": None, "key_id": "0" * 64} for i in range(size)]
    tree = levels([rfc8785.dumps(leaf) for leaf in leaves])
    for index, leaf in enumerate(leaves):
        path = [one.hex() for one in inclusion_path(tree, index)]
        assert second.root_of(leaf, index, size, path) == tree[-1][0].hex()
        for wrong in ([*path, "0" * 64], path[:-1]) if path else (["0" * 64],):
            with pytest.raises(ValueError, match=r"path|unpack"):
                second.root_of(leaf, index, size, wrong)
        for other in (-1, size):
            with pytest.raises(ValueError, match=r"path|unpack"):
                second.root_of(leaf, other, size, path)


def test_nothing_is_lost_in_the_last_digits() -> None:
    assert second.canonical(math.pi) == repr(math.pi)
    assert [second.canonical(x) for x in (1e21, 1e-7, -1.5e-7, 1e20, 0.1, -0.0)] == [
        "1e+21", "1e-7", "-1.5e-7", "100000000000000000000", "0.1", "0",
    ]  # fmt: skip
