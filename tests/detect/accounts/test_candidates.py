"""Which marks are asked about: key files and what they are called, derivation, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detect.accounts.candidates import (
    Candidate,
    derived_candidates,
    key_files,
    load_candidates,
    refuse_doubles,
    same_rule,
)
from detect.exact.binomial import log10_sf
from detect.keycheck import check_path
from tests.detect.material import hkdf, make_key, secret
from watermark.errors import InputError, KeyFileError
from watermark.files import write_json
from watermark.keys import Key, Parameters, TokenizerIdentity

OWNER = make_key(900)


def record_check(key: Key, path: Path, accepted: bool) -> None:
    n_green = 230 if accepted else 270
    content = {"key_id": key.key_id, "accepted": accepted, "log10_p": log10_sf(n_green, 900, key.gamma)}
    content |= {
        "n_scored": 900,
        "n_green": n_green,
        "created": "2026-11-24",
        "corpus_sha256": "ab" * 32,
        "n_documents": 3,
    }
    write_json(check_path(path), {**content, "format": "taggant-key-check/2"})


def save(key: Key, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    key.save(path)
    return path


def test_keys_are_named_by_what_they_were_derived_from(tmp_path: Path) -> None:
    alice, bob = OWNER.account("alice"), OWNER.account("bob")
    saved = {
        "1.key": alice,
        "2.key": alice.epoch("2026-11"),  # its parent is at hand
        "deep/bob-november.key": bob.epoch("2026-11"),  # its parent is not
        "deep/er/3.key": OWNER.epoch("2026-10").account("carol"),
        "owner.key": OWNER,
    }
    for name, key in saved.items():
        save(key, tmp_path / name)
    found = load_candidates(key_files(tmp_path))
    assert [(one.account, one.epoch) for one in found] == [
        ("alice", None),
        ("alice", "2026-11"),
        ("bob-november", "2026-11"),
        ("carol", None),
        ("owner", None),
    ]
    assert [one.key for one in found] == list(saved.values())
    assert [one.key_check for one in found] == [None] * 5
    assert [one.name for one in found][:2] == ["alice", "alice 2026-11"]
    save(bob, tmp_path / "9.key")
    save(OWNER.epoch("2026-10"), tmp_path / "8.key")
    named = {one.key.key_id: (one.account, one.epoch) for one in load_candidates(key_files(tmp_path))}
    assert named[saved["deep/bob-november.key"].key_id] == ("bob", "2026-11")
    assert named[saved["deep/er/3.key"].key_id] == ("carol", "2026-10")
    assert named[OWNER.epoch("2026-10").key_id] == ("8", "2026-10")


def test_an_accounts_own_label_wins_over_its_parents(tmp_path: Path) -> None:
    reseller = OWNER.account("reseller")
    save(reseller, tmp_path / "a.key")
    save(reseller.account("customer"), tmp_path / "b.key")
    assert [one.account for one in load_candidates(key_files(tmp_path))] == ["reseller", "customer"]


def test_a_key_file_that_names_itself_as_parent_does_no_harm(tmp_path: Path) -> None:
    """derived_from is not bound by the key id: anybody who can write the file can write this."""
    path = save(OWNER.account("a"), tmp_path / "a.key")
    content = json.loads(path.read_text())
    content["derived_from"]["key_id"] = content["key_id"]
    path.write_text(json.dumps(content))
    assert [one.account for one in load_candidates([path])] == ["a"]


def test_checks_on_record(tmp_path: Path) -> None:
    for name, accepted in (("a", True), ("b", False), ("c", None)):
        path = save(OWNER.account(name), tmp_path / f"{name}.key")
        if accepted is not None:
            record_check(OWNER.account(name), path, accepted)
    files = key_files(tmp_path)
    assert [path.name for path in files] == ["a.key", "b.key", "c.key"]  # the records are no keys
    steps: list[int] = []
    assert [one.key_check for one in load_candidates(files, steps.append)] == [True, False, None]
    assert steps == [1, 1, 1]
    record_check(OWNER, tmp_path / "c.key", True)
    with pytest.raises(KeyFileError, match="check of another key"):
        load_candidates(files)


def test_hidden_files_are_left_out_and_nothing_else(tmp_path: Path) -> None:
    save(OWNER, tmp_path / "a.key")
    save(make_key(1), tmp_path / ".hidden" / "b.key")
    (tmp_path / ".notes").write_text("x")
    assert [one.account for one in load_candidates(key_files(tmp_path))] == ["a"]
    (tmp_path / "readme.txt").write_text("our accounts")
    with pytest.raises(KeyFileError, match=r"readme\.txt"):
        load_candidates(key_files(tmp_path))


def test_files_that_others_can_read_are_refused(tmp_path: Path) -> None:
    path = save(OWNER, tmp_path / "a.key")
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="open to group or others"):
        load_candidates([path])


def test_no_keys(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no key files"):
        key_files(tmp_path)
    with pytest.raises(InputError, match="is not a directory"):
        key_files(tmp_path / "missing")
    with pytest.raises(InputError, match="is not a directory"):
        key_files(save(OWNER, tmp_path / "one.key"))


def test_derivation_is_the_designs() -> None:
    steps: list[int] = []
    found = list(derived_candidates(OWNER, ["b", "a"], ["2026-11", "2026-12"], steps.append))
    assert [(one.account, one.epoch) for one in found] == [
        (account, epoch) for account in ("b", "a") for epoch in ("2026-11", "2026-12")
    ]
    for one in found:
        assert one.epoch is not None
        account_secret = hkdf(secret(900), "account", one.account)
        assert one.key.chacha_key == hkdf(hkdf(account_secret, "epoch", one.epoch), "scheme", "greenlist/1")
        assert one.key_check is None
    assert steps == [2, 2]
    (plain,) = derived_candidates(OWNER, ["a"])
    assert (plain.account, plain.epoch, plain.key) == ("a", None, OWNER.account("a"))
    with pytest.raises(KeyFileError, match="invisible"):
        list(derived_candidates(OWNER, ["a\u200b"]))


def test_derived_keys_are_the_keys_in_the_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(OWNER.account(name), tmp_path / f"{name}.key")
    assert load_candidates(key_files(tmp_path)) == list(derived_candidates(OWNER, ["a", "b"]))


def test_a_key_under_two_names_is_refused() -> None:
    one, two = Candidate("a", None, OWNER), Candidate("b", "2026-11", OWNER)
    refuse_doubles([one, Candidate("b", None, make_key(1))])
    with pytest.raises(InputError, match="is listed for a and b 2026-11; list every key once"):
        refuse_doubles([one, two])
    with pytest.raises(InputError, match="is listed for a, twice"):
        refuse_doubles([one, Candidate("a", None, OWNER)])
    with pytest.raises(InputError, match="twice"):
        refuse_doubles([one, one, two])
    refuse_doubles([one, Candidate("a", None, make_key(2))])  # an account whose key was rotated has two


def test_groups_by_what_decides_which_pairs_count() -> None:
    def tokenizer(digest: str) -> TokenizerIdentity:
        return TokenizerIdentity("made up", digest * 64, 500, (0,))

    def key(number: int, h: int, identity: TokenizerIdentity | None, gamma: int = 16384, delta: float = 2.0) -> Key:
        return Key(secret(number), Parameters(gamma, delta, h, identity))

    keys = [
        key(0, 1, None),
        key(1, 2, None),
        key(2, 1, tokenizer("a")),
        key(3, 1, None, gamma=32768),
        key(4, 1, tokenizer("b")),
        key(5, 1, tokenizer("a"), delta=1.0),
    ]
    candidates = [Candidate(str(i), None, one) for i, one in enumerate(keys)]
    assert [[one.account for one in group] for group in same_rule(candidates)] == [["0", "3"], ["1"], ["2", "5"], ["4"]]


def test_names_are_safe_to_show_and_nothing_shows_a_secret() -> None:
    hostile = Candidate("a\x1b[2J\u202e\n", None, OWNER)
    assert hostile.name == "a⟨U+001B⟩[2J⟨U+202E⟩⟨U+000A⟩"
    assert secret(900).hex() not in repr(hostile)
    assert OWNER.chacha_key.hex() not in repr(hostile)
    assert repr(OWNER.chacha_key) not in repr(hostile)
