"""Derivation: RFC 5869's vectors, our golden vectors, and the rules for labels."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.watermark.keys import reference
from tests.watermark.keys.helpers import SECRET, assert_no_secret, assert_one_line
from watermark.errors import KeyFileError
from watermark.keys import decoy_key, derive, key_id, lp, scheme_key
from watermark.keys.derive import LABEL_MAX_BYTES, hkdf_sha256, normal_label

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "keys.json").read_text())

RFC_5869 = [  # secret, salt, info, output: appendices A.1 to A.3
    (
        b"\x0b" * 22,
        bytes(range(13)),
        bytes(range(0xF0, 0xFA)),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)),
        bytes(range(0x60, 0xB0)),
        bytes(range(0xB0, 0x100)),
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        b"\x0b" * 22,
        b"",
        b"",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
opaque_ids = st.text(st.characters(categories=["L", "M", "N", "P"]), min_size=1, max_size=20)


@pytest.mark.parametrize(("secret", "salt", "info", "output"), RFC_5869)
def test_hkdf_gives_the_vectors_of_rfc_5869(secret: bytes, salt: bytes, info: bytes, output: str) -> None:
    length = len(output) // 2
    assert hkdf_sha256(secret, salt=salt, info=info, length=length).hex() == output
    assert reference.hkdf(secret, salt, info, length).hex() == output  # the second implementation is one


def test_the_golden_file_is_what_the_second_implementation_writes() -> None:
    assert reference.golden() == GOLDEN
    assert len(GOLDEN["keys"]) >= 7
    assert len({vector["key_id"] for vector in GOLDEN["keys"]}) == len(GOLDEN["keys"])


@pytest.mark.parametrize("vector", GOLDEN["keys"], ids=lambda vector: vector["key_id"][:8])
def test_golden_keys(vector: dict) -> None:
    secret = bytes.fromhex(vector["secret"])
    for kind, label in vector["derivations"]:
        secret = derive(secret, kind, label)
    assert secret.hex() == vector["derived_secret"]
    chacha_key = scheme_key(secret, "greenlist/1")
    assert chacha_key.hex() == vector["chacha_key"]
    found = key_id(
        hashlib.sha256(chacha_key).hexdigest(),
        scheme="greenlist/1",
        gamma_65536=vector["gamma_65536"],
        context_width=vector["context_width"],
        tokenizer_sha256=vector["tokenizer_sha256"],
    )
    assert found == vector["key_id"]


@pytest.mark.parametrize("vector", GOLDEN["decoys"], ids=lambda vector: str(vector["index"]))
def test_golden_decoys(vector: dict) -> None:
    assert decoy_key(bytes.fromhex(vector["seed"]), vector["index"]).hex() == vector["chacha_key"]


def test_the_order_of_derivations_matters() -> None:
    one = derive(derive(SECRET, "account", "a"), "epoch", "2026-11")
    other = derive(derive(SECRET, "epoch", "2026-11"), "account", "a")
    assert one != other


@given(opaque_ids)
def test_derive_agrees_with_the_second_implementation(label: str) -> None:
    assert derive(SECRET, "account", label) == reference.child(SECRET, "account", label)


def test_kinds_separate_equal_labels() -> None:
    seen = {
        derive(SECRET, "account", "2026-11"),
        derive(SECRET, "epoch", "2026-11"),
        scheme_key(SECRET, "2026-11"),
        reference.child(SECRET, "decoy", "2026-11"),
    }
    assert len(seen) == 4


def test_decoys_differ() -> None:
    assert len({decoy_key(bytes(32), i) for i in range(100)}) == 100


# lp


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", b"\0\0\0\0"),
        ("epoch", b"\x05\0\0\0epoch"),
        ("e\u0301", b"\x02\0\0\0\xc3\xa9"),  # NFC composes
        ("\u00e9", b"\x02\0\0\0\xc3\xa9"),
        ("\ufb01", b"\x03\0\0\0\xef\xac\x81"),  # and keeps a ligature, which NFKC would not
        ("x" * 300, b"\x2c\x01\0\0" + b"x" * 300),
    ],
)
def test_lp_by_hand(text: str, data: bytes) -> None:
    assert lp(text) == data


@given(texts, texts, texts, texts)
def test_lp_is_injective_up_to_nfc_even_when_concatenated(a: str, b: str, c: str, d: str) -> None:
    same = [unicodedata.normalize("NFC", text) for text in (a, b)] == [
        unicodedata.normalize("NFC", text) for text in (c, d)
    ]
    assert (lp(a) + lp(b) == lp(c) + lp(d)) == same


@given(st.text(st.sampled_from("ab\0\x01"), max_size=6), st.integers(0, 6), st.integers(0, 6))
def test_lp_tells_where_a_text_was_cut(text: str, i: int, j: int) -> None:
    i, j = min(i, len(text)), min(j, len(text))
    assert (lp(text[:i]) + lp(text[i:]) == lp(text[:j]) + lp(text[j:])) == (i == j)


@given(texts)
def test_lp_can_be_read_back(text: str) -> None:
    data = lp(text)
    assert int.from_bytes(data[:4], "little") == len(data) - 4
    assert data[4:].decode() == unicodedata.normalize("NFC", text)


# Labels


def test_labels_that_look_the_same_give_the_same_secret() -> None:
    assert derive(SECRET, "account", "e\u0301") == derive(SECRET, "account", "\u00e9")
    assert derive(SECRET, "account", "\ufb01") != derive(SECRET, "account", "fi")


@pytest.mark.parametrize(
    "label",
    ["", "a\n", "a\0b", "\x7f", "a\u202eb", "zero\u200bwidth", "\ud800", "\ue000", "\u2028", "\u0378", "a" * 257],
    ids=ascii,
)
def test_refused_account_labels(label: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        derive(SECRET, "account", label)
    assert_one_line(caught.value)
    assert_no_secret(str(caught.value))


@pytest.mark.parametrize("label", [None, 7, b"a", ["a"]])
def test_labels_must_be_text(label: object) -> None:
    with pytest.raises(KeyFileError):
        derive(SECRET, "account", label)  # type: ignore[arg-type]


def test_the_length_of_a_label_is_bounded_in_bytes_after_nfc() -> None:
    assert normal_label("account", "\u00e9" * (LABEL_MAX_BYTES // 2))
    assert normal_label("account", "e\u0301" * (LABEL_MAX_BYTES // 2))  # 384 bytes before, 256 after
    with pytest.raises(KeyFileError, match="256"):
        normal_label("account", "\u00e9" * (LABEL_MAX_BYTES // 2) + "a")


@pytest.mark.parametrize("label", ["2026-11", "0000-01", "9999-12", "2026-10"])
def test_accepted_epochs(label: str) -> None:
    assert derive(SECRET, "epoch", label) == reference.child(SECRET, "epoch", label)


@pytest.mark.parametrize(
    "label",
    [
        "",
        "2026",
        "2026-1",
        "2026-00",
        "2026-13",
        "2026-11-01",
        " 2026-11",
        "2026-11\n",
        "26-11",
        "2026/11",
        "２０２６-11",
    ],
    ids=ascii,
)
def test_refused_epochs(label: str) -> None:
    with pytest.raises(KeyFileError, match="epoch"):
        derive(SECRET, "epoch", label)


@pytest.mark.parametrize("kind", ["scheme", "decoy", "", "Account", "account ", None])
def test_internal_and_unknown_kinds_are_refused(kind: str) -> None:
    with pytest.raises(KeyFileError, match=r'"account" or an "epoch"'):
        derive(SECRET, kind, "a")


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_secrets_of_another_length_are_refused(size: int) -> None:
    for call in (
        lambda s: derive(s, "account", "a"),
        lambda s: scheme_key(s, "greenlist/1"),
        lambda s: decoy_key(s, 0),
    ):
        with pytest.raises(KeyFileError, match="32 bytes"):
            call(b"\xa5" * size)


@pytest.mark.parametrize("index", [-1, True])
def test_refused_decoy_indices(index: int) -> None:
    with pytest.raises(KeyFileError, match="index"):
        decoy_key(bytes(32), index)
