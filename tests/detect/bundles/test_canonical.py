"""Canonical JSON: one spelling of every value, floats rounded, and nothing else is read."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect.bundles import canonical
from detect.bundles.refused import CODES, Refused
from tests.detect.bundles.helpers import refused

numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False, width=32)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


def close(a: Any, b: Any) -> bool:
    if isinstance(a, float):
        return math.isclose(a, b, rel_tol=5.1e-12)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return bool(a == b and type(a) is type(b))


def writable(value: Any) -> bool:
    """Whether no float of it is a large whole number, which JSON writes as an integer that is not exact."""
    if isinstance(value, float):
        return not value.is_integer() or abs(value) < 2**53 or abs(value) >= 1e21
    if isinstance(value, dict | list):
        return all(map(writable, value.values() if isinstance(value, dict) else value))
    return True


@given(values.filter(writable))
def test_what_is_written_is_read_and_written_the_same(value: Any) -> None:
    data = canonical.dumps(value)
    again = canonical.loads(data, "it")
    assert close(value, again)
    assert canonical.dumps(again) == data


def test_floats_keep_twelve_significant_digits() -> None:
    written = canonical.dumps([math.pi * 1e-40, -math.e * 1e6, 0.1 + 0.2, 5.0, -0.0])
    assert written == b"[3.14159265359e-40,-2718281.82846,0.3,5,0]"


def test_a_large_whole_float_is_not_written() -> None:
    with pytest.raises(ValueError, match="not exact"):
        canonical.dumps(1e17)
    assert canonical.loads(canonical.dumps(1.5e22), "it") == 1.5e22


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53, "\ud800"])
def test_what_json_has_no_word_for_is_not_written(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        canonical.dumps(value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}', b'{"b":1,"a":2}', b'{"a": 1}', b'{"a":1}\n', b" 1", b"1.0", b"1e2", b"NaN", b"Infinity",
        b"-Infinity", b"1e999", b"-0", b'"\\u0041"', b'"\\/"', b'"\xc3"', b"", b"{", b"9007199254740993",
        b'"\\ud800"', b"[" * 100_000, b"[" * 900 + b"]" * 900 + b" ", b"\xef\xbb\xbf1", b"'a'", b"1" * 5000,
        json.dumps("é").encode(), "1".encode("utf-16"),
    ],
    ids=lambda data: repr(data[:12]),
)  # fmt: skip
def test_other_spellings_are_refused(data: bytes) -> None:
    with refused("json") as caught:
        canonical.loads(data, "the file")
    assert str(caught.value).startswith("the file: ")
    assert "\n" not in str(caught.value)


def test_lines_are_each_ended() -> None:
    data = b'{"a":null,"b":[1]}\n2\n'
    assert canonical.load_lines(data, "it") == [{"a": None, "b": [1]}, 2]
    assert canonical.load_lines(b"", "it") == []
    with refused("json"):
        canonical.load_lines(data[:-1], "it")
    with refused("json") as caught:
        canonical.load_lines(data + b"\n", "it")
    assert str(caught.value).startswith("it, line 3")


def test_every_refusal_has_a_known_code() -> None:
    with pytest.raises(KeyError):
        Refused("other", "reason")
    assert all(code == code.lower() and words for code, words in CODES.items())
