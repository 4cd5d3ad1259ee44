"""The Key object: what it shows, what it hides, what it derives."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import pickle
import pprint
import secrets
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.watermark.keys import reference
from tests.watermark.keys.helpers import SECRET, TOKENIZER, assert_no_secret, assert_one_line, make_key, shown
from watermark.errors import KeyFileError, TokenizerMismatchError
from watermark.keys import CHEAPEST, PROFILES, DerivedFrom, Key, Parameters, TokenizerIdentity, gamma_units

# Identity


def test_a_key_agrees_with_the_second_implementation() -> None:
    key = make_key(gamma_65536=6554, context_width=3)
    assert key.chacha_key == reference.chacha(SECRET)
    assert key.key_id == reference.key_id(reference.chacha(SECRET), 6554, 3, "ab" * 32)
    assert key.short_id == key.key_id[:16]
    assert (key.scheme, key.gamma_65536, key.gamma, key.delta) == ("greenlist/1", 6554, 6554 / 65536, 2.0)
    assert (key.context_width, key.tokenizer, key.special_ids) == (3, TOKENIZER, (0, 1, 999))


def test_a_key_without_tokenizer_knows_no_special_ids() -> None:
    key = make_key(tokenizer=None)
    assert (key.tokenizer, key.special_ids) == (None, ())
    assert key.key_id == reference.key_id(reference.chacha(SECRET), 16384, 1, None)


def test_the_key_id_binds_all_that_decides_a_colour() -> None:
    other = dataclasses.replace(TOKENIZER, sha256="ac" * 32)
    variants = [
        make_key(),
        make_key(bytes(32)),
        make_key(gamma_65536=16385),
        make_key(context_width=2),
        make_key(tokenizer=None),
        make_key(tokenizer=other),
    ]
    assert len({key.key_id for key in variants}) == len(variants)


def test_delta_and_the_tokenizers_name_do_not_change_the_key_id() -> None:
    assert make_key(delta=1.0).key_id == make_key().key_id
    assert make_key(tokenizer=dataclasses.replace(TOKENIZER, name="other")).key_id == make_key().key_id


def test_equality_and_hash() -> None:
    assert make_key() == make_key()
    assert hash(make_key()) == hash(make_key())
    assert make_key() != make_key(bytes(32))
    assert make_key() != make_key(delta=1.0)
    assert make_key() != make_key().account("a")
    assert make_key() != "key"


# Derived keys


def test_nested_keys_stand_alone() -> None:
    owner = make_key()
    account = owner.account("acct-1")
    month = account.epoch("2026-11")
    secret = reference.child(reference.child(SECRET, "account", "acct-1"), "epoch", "2026-11")
    assert month.chacha_key == reference.chacha(secret)
    assert account.derived_from == DerivedFrom(owner.key_id, "account", "acct-1")
    assert month.derived_from == DerivedFrom(account.key_id, "epoch", "2026-11")
    assert month.parameters == owner.parameters
    assert len({owner.key_id, account.key_id, month.key_id, owner.epoch("2026-11").key_id}) == 4


def test_labels_are_kept_in_nfc() -> None:
    decomposed, composed = make_key().account("e\u0301"), make_key().account("\u00e9")
    assert decomposed == composed
    assert decomposed.derived_from is not None
    assert decomposed.derived_from.label == "\u00e9"


def test_a_retuned_key_is_the_same_secret_under_other_parameters() -> None:
    key = make_key()
    other = key.retuned(gamma=0.5, delta=3.0, context_width=2)
    assert (other.gamma_65536, other.delta, other.context_width) == (32768, 3.0, 2)
    assert other.chacha_key == key.chacha_key == reference.chacha(SECRET)
    assert other.key_id == reference.key_id(reference.chacha(SECRET), 32768, 2, "ab" * 32)
    assert other.tokenizer == key.tokenizer
    assert other == make_key(gamma_65536=32768, delta=3.0, context_width=2)
    assert (key.gamma_65536, key.delta, key.context_width) == (16384, 2.0, 1)  # untouched


@pytest.mark.parametrize(
    ("changes", "another"),
    [
        ({}, False),
        ({"delta": 5.0}, False),
        ({"gamma": 0.25}, False),
        ({"gamma": 0.5}, True),
        ({"context_width": 0}, True),
        ({"context_width": 2}, True),
    ],
)
def test_retuned_it_is_another_mark_unless_delta_alone_differs(changes: dict[str, Any], another: bool) -> None:
    key = make_key()
    assert (key.retuned(**changes).key_id != key.key_id) == another
    assert (key.retuned(**changes) == key) == (not another and "delta" not in changes)


def test_a_retuned_key_remembers_its_parent_and_derives_as_before() -> None:
    account = make_key().account("a")
    other = account.retuned(context_width=3)
    assert other.derived_from == account.derived_from == DerivedFrom(make_key().key_id, "account", "a")
    assert other.account("b").chacha_key == account.account("b").chacha_key
    assert other.account("b").context_width == 3


def test_a_retuned_key_is_saved_and_loaded(tmp_path: Path) -> None:
    other = make_key().account("a").retuned(gamma=0.1, context_width=0)
    other.save(tmp_path / "other.key")
    assert Key.load(tmp_path / "other.key") == other


@pytest.mark.parametrize("changes", [{"gamma": 0.0}, {"gamma": 1.0}, {"delta": -1.0}, {"context_width": -1}])
def test_a_key_is_not_retuned_out_of_range(changes: dict[str, Any]) -> None:
    with pytest.raises(KeyFileError) as caught:
        make_key().retuned(**changes)
    assert_one_line(caught.value)
    assert_no_secret(shown(caught.value))


@pytest.mark.parametrize(("method", "label"), [("account", ""), ("account", "a\tb"), ("epoch", "2026-13")])
def test_a_refused_label_leaves_no_trace_of_the_secret(method: str, label: str) -> None:
    key = make_key()
    with pytest.raises(KeyFileError) as caught:
        getattr(key, method)(label)
    assert_one_line(caught.value)
    assert_no_secret(shown(caught.value))


# Generation


def test_generated_keys_have_the_profiles_parameters() -> None:
    for name, profile in PROFILES.items():
        key = Key.generate(name)
        assert (key.gamma_65536, key.delta, key.context_width) == (
            profile.gamma_65536,
            profile.delta,
            profile.context_width,
        )
        assert key.public()["profile"] == name
    assert Key.generate().public()["profile"] == "trace"


def test_the_secret_comes_from_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(secrets, "token_bytes", lambda n: asked.append(n) or SECRET)
    assert Key.generate().chacha_key == reference.chacha(SECRET)
    assert asked == [32]


def test_no_two_generated_keys_are_the_same() -> None:
    assert len({Key.generate().key_id for _ in range(50)}) == 50


def test_parameters_given_replace_the_profiles() -> None:
    key = Key.generate("discreet", TOKENIZER, gamma=0.5, delta=3, context_width=0)
    assert (key.gamma_65536, key.delta, key.context_width, key.tokenizer) == (32768, 3.0, 0, TOKENIZER)
    assert isinstance(key.delta, float)
    assert key.public()["profile"] is None


@pytest.mark.parametrize(
    ("gamma", "units"), [(0.25, 16384), (0.1, 6554), (1 / 3, 21845), (1e-5, 1), (65535 / 65536, 65535)]
)
def test_gamma_is_rounded_and_the_exact_value_recorded(gamma: float, units: int) -> None:
    key = Key.generate(gamma=gamma)
    assert key.gamma_65536 == units == gamma_units(gamma)
    assert key.gamma == units / 65536
    assert abs(key.gamma - gamma) <= 0.5 / 65536


@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 0.0},
        {"gamma": 1.0},
        {"gamma": 1e-9},
        {"gamma": 1 - 1e-9},
        {"gamma": -0.25},
        {"gamma": 16384},
        {"gamma": float("nan")},
        {"gamma": "0.25"},
        {"gamma": True},
        {"delta": -0.1},
        {"delta": 50.1},
        {"delta": float("nan")},
        {"delta": float("inf")},
        {"delta": True},
        {"delta": "2"},
        {"context_width": -1},
        {"context_width": 9},
        {"context_width": 1.0},
        {"context_width": True},
        {"profile": "nonesuch"},
        {"profile": "cheapest"},
    ],
    ids=str,
)
def test_parameters_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(KeyFileError) as caught:
        Key.generate(**options)
    assert_one_line(caught.value)


def test_limits_are_accepted() -> None:
    for delta in (0, 50):
        assert Key.generate(delta=delta).delta == delta
    for width in range(9):
        assert Key.generate(context_width=width).context_width == width


@pytest.mark.parametrize("gamma_65536", [0, 65536, -1, 16384.0, True, None])
def test_refused_gamma_units(gamma_65536: object) -> None:
    with pytest.raises(KeyFileError, match="gamma_65536"):
        Parameters(gamma_65536, 2.0, 1)  # type: ignore[arg-type]


def test_another_scheme_is_refused() -> None:
    with pytest.raises(KeyFileError, match="scheme"):
        Parameters(16384, 2.0, 1, scheme="greenlist/2")


# Secrecy


def every_view_of(key: Key) -> list[str]:
    holder = dataclasses.make_dataclass("Holder", ["key"])(key)
    return [
        repr(key),
        str(key),
        f"{key}",
        f"{key!r:>200}",
        pprint.pformat([key]),
        repr(holder),
        repr(dataclasses.asdict(holder)),
        repr(getattr(key, "__dict__", {})),
        json.dumps(key.public()),
    ]


@pytest.mark.parametrize("derived", [False, True])
def test_no_view_of_a_key_shows_its_secrets(derived: bool) -> None:
    key = make_key().account("a") if derived else make_key()
    secret = reference.child(SECRET, "account", "a") if derived else SECRET
    for view in every_view_of(key):
        assert_no_secret(view, secret)
        assert_no_secret(view, key.chacha_key)
        assert_no_secret(view, SECRET)
    assert key.short_id in repr(key)


def test_the_check_for_secrets_finds_one() -> None:
    for leak in (SECRET.hex(), SECRET.hex().upper()[5:20], repr(SECRET)):
        with pytest.raises(AssertionError):
            assert_no_secret(f"before {leak} after")


@pytest.mark.parametrize(
    "secret",
    [SECRET[:-1], SECRET + b"x", b"", SECRET.hex(), list(SECRET[:-1])],
    ids=["short", "long", "none", "hex", "list"],
)
def test_a_secret_of_another_kind_is_refused_and_not_kept(secret: object) -> None:
    with pytest.raises(KeyFileError) as caught:
        Key(secret, make_key().parameters)  # type: ignore[arg-type]
    assert_one_line(caught.value)
    assert "32" in str(caught.value)
    assert_no_secret(shown(caught.value), SECRET)
    assert caught.value.__context__ is None


def test_a_failure_while_a_key_is_made_leaves_no_secret_and_a_repr_that_works() -> None:
    with pytest.raises(KeyFileError) as caught:
        Key(SECRET, None)  # type: ignore[arg-type]
    assert_no_secret(shown(caught.value))
    assert "<Key, not made>" in shown(caught.value)
    half = Key.__new__(Key)
    assert repr(half) == "<Key, not made>"
    object.__setattr__(half, "_secret", SECRET)
    assert_no_secret(repr(half))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_key_is_not_pickled(protocol: int) -> None:
    with pytest.raises(KeyFileError, match="pass the path") as caught:
        pickle.dumps(make_key(), protocol)
    assert_one_line(caught.value)
    assert_no_secret(shown(caught.value))


def test_its_state_cannot_be_asked_for() -> None:
    with pytest.raises(KeyFileError):
        make_key().__getstate__()


def test_copies_are_the_key_itself() -> None:
    key = make_key()
    assert copy.copy(key) is key
    assert copy.deepcopy({"mark": [key]})["mark"][0] is key


@pytest.mark.parametrize("name", ["key_id", "chacha_key", "_secret", "delta", "anything"])
def test_a_key_is_immutable(name: str) -> None:
    key = make_key()
    with pytest.raises(AttributeError):
        setattr(key, name, b"")
    with pytest.raises(AttributeError):
        delattr(key, name)
    assert key == make_key()


def test_public_is_all_but_the_secrets() -> None:
    key = make_key().account("a")
    assert key.public() == {
        "key_id": key.key_id,
        "short_id": key.key_id[:16],
        "scheme": "greenlist/1",
        "profile": "trace",
        "gamma": 0.25,
        "gamma_65536": 16384,
        "delta": 2.0,
        "context_width": 1,
        "tokenizer": {"name": "smol", "sha256": "ab" * 32, "vocab_size": 1000, "special_ids": [0, 1, 999]},
        "special_ids_digest": hashlib.sha256(struct.pack("<4I", 0, 1, 999, 1000)).hexdigest(),
        "derived_from": {"key_id": make_key().key_id, "kind": "account", "label": "a"},
    }
    assert make_key(tokenizer=None).public()["tokenizer"] is None
    assert make_key(tokenizer=None).public()["special_ids_digest"] is None


# Tokenizers


def test_the_right_tokenizer_is_accepted_under_any_name() -> None:
    make_key().check_tokenizer(TOKENIZER)
    make_key().check_tokenizer(dataclasses.replace(TOKENIZER, name="/moved"))


def test_a_key_without_tokenizer_accepts_any() -> None:
    make_key(tokenizer=None).check_tokenizer(TOKENIZER)


def test_another_tokenizer_is_refused() -> None:
    other = TokenizerIdentity("other", "cd" * 32, 1000, (0, 1, 999))
    with pytest.raises(TokenizerMismatchError) as caught:
        make_key().check_tokenizer(other)
    assert (caught.value.expected, caught.value.found) == ("ab" * 8, "cd" * 8)
    assert "ab" * 8 in str(caught.value)
    assert "cd" * 8 in str(caught.value)
    assert "keygen --tokenizer" in str(caught.value)
    assert_one_line(caught.value)
    assert_no_secret(shown(caught.value))


@pytest.mark.parametrize("changes", [{"special_ids": (0, 1)}, {"vocab_size": 1001}])
def test_an_altered_list_of_special_ids_is_found(changes: dict) -> None:
    """The hash covers special ids only through the tokenizer, so the file's list is compared with it."""
    with pytest.raises(TokenizerMismatchError, match="special ids"):
        make_key().check_tokenizer(dataclasses.replace(TOKENIZER, **changes))


@pytest.mark.parametrize("changes", [{"special_ids": (0, 1)}, {"special_ids": ()}, {"vocab_size": 1001}])
def test_the_digest_shows_an_altered_list_where_no_tokenizer_is_at_hand(changes: dict) -> None:
    altered = make_key(tokenizer=dataclasses.replace(TOKENIZER, **changes))
    assert altered.key_id == make_key().key_id  # the key id alone does not
    assert altered.special_ids_digest != make_key().special_ids_digest
    note = altered.special_ids_note(verified=False)
    assert note.startswith(f"{len(altered.special_ids)} special ids (digest {altered.special_ids_digest[:16]})")
    assert "taken from the key file, not verified against a tokenizer" in note
    assert "not verified" not in altered.special_ids_note(verified=True)
    assert "verified" in altered.special_ids_note(verified=True)


def test_the_digest_is_of_ids_and_size_and_not_of_names() -> None:
    assert make_key(bytes(32)).special_ids_digest == make_key().special_ids_digest
    moved = dataclasses.replace(TOKENIZER, name="moved", sha256="ac" * 32)
    assert make_key(tokenizer=moved).special_ids_digest == make_key().special_ids_digest
    assert "no tokenizer" in make_key(tokenizer=None).special_ids_note(verified=False)


# Profiles and the package


def test_profiles_state_their_cost_and_source() -> None:
    assert list(PROFILES) == ["trace", "balanced", "discreet"]
    perplexity = {"trace": "19.3", "balanced": "15.3", "discreet": "12.1"}
    for name, profile in PROFILES.items():
        assert profile.name == name
        Parameters(profile.gamma_65536, profile.delta, profile.context_width)
        assert "11.0" in profile.trade_off
        assert perplexity[name] in profile.trade_off
        assert "one key, one seed, one model" in profile.source
    trace = PROFILES["trace"]
    assert (trace.gamma_65536, trace.delta, trace.context_width) == (16384, 2.0, 1)
    assert "27.1" in trace.trade_off
    assert CHEAPEST.name not in PROFILES
    assert "tests only" in CHEAPEST.trade_off


def test_the_package_imports_no_model_library() -> None:
    program = "import sys, watermark.keys; print([m for m in ('torch', 'transformers', 'numba') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
