"""Commitments and openings: what they hold, what they reveal, and that tampering is refused."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import pickle
import stat
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.watermark.keys import reference
from tests.watermark.keys.helpers import SECRET, TOKENIZER, assert_no_secret, assert_one_line, make_key, shown
from watermark.errors import CommitmentError, InputError, KeyFileError
from watermark.keys import UNTIMESTAMPED_NOTE, Commitment, Key, Leaf, Opening, verify_opening

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "keys.json").read_text())
MONTH = "2026-11"
WHEN = datetime(2026, 11, 24, 9, 30, 15, 999, tzinfo=timezone(timedelta(hours=1)))
ACCOUNTS = [f"acct-{i}" for i in range(5)]


def mark(account: str, owner: Key | None = None) -> Key:
    return (owner or make_key()).account(account).epoch(MONTH)


def leaves_of(accounts: list[str]) -> list[Leaf]:
    return [Leaf(account, MONTH, mark(account).key_id) for account in accounts]


@pytest.fixture(scope="module")
def commitment() -> Commitment:
    return Commitment.of(leaves_of(ACCOUNTS), created=WHEN)


@pytest.fixture(scope="module")
def opening(commitment: Commitment) -> Opening:
    return commitment.open(mark("acct-3"), "acct-3", MONTH)


def refused(opening: Opening, commitment: Commitment | None = None) -> bool:
    try:
        verify_opening(opening, commitment)
    except CommitmentError as error:
        assert_one_line(error)
        assert_no_secret(str(error), bytes.fromhex(opening.chacha_key))
        return True
    return False


# Leaves


def test_a_leaf_is_canonical_json_written_out() -> None:
    leaf = Leaf("étoile", MONTH, "ab" * 32)
    text = f'{{"account":"étoile","epoch":"2026-11","key_id":"{"ab" * 32}"}}'
    assert leaf.canonical == text.encode("utf-8")


def test_a_leaf_quotes_as_rfc_8785_does() -> None:
    assert Leaf('a"\\/b', None, "ab" * 32).canonical.startswith(b'{"account":"a\\"\\\\/b","epoch":null,"key_id":"')


def test_a_leafs_labels_are_in_nfc() -> None:
    assert Leaf("e\u0301", MONTH, "ab" * 32) == Leaf("\u00e9", MONTH, "ab" * 32)


@pytest.mark.parametrize(
    "values",
    [
        ("", MONTH, "ab" * 32),
        ("a\n", MONTH, "ab" * 32),
        ("a", "2026-13", "ab" * 32),
        ("a", MONTH, "ab"),
        ("a", MONTH, None),
        (7, MONTH, "ab" * 32),
    ],
)
def test_malformed_leaves(values: tuple) -> None:
    with pytest.raises(KeyFileError):
        Leaf(*values)


# Roots


@pytest.mark.parametrize("vector", GOLDEN["commitments"], ids=lambda vector: str(vector["size"]))
def test_golden_roots(vector: dict) -> None:
    leaves = [Leaf(f"a{i}", MONTH, f"{i:064x}") for i in range(vector["size"])]
    commitment = Commitment.of(leaves)
    assert (commitment.root, commitment.size) == (vector["root"], vector["size"])


@given(st.permutations(range(7)))
def test_the_order_of_leaves_does_not_matter(order: list[int]) -> None:
    leaves = [Leaf(f"a{i}", MONTH, f"{i:064x}") for i in order]
    assert Commitment.of(leaves).root == GOLDEN["commitments"][6]["root"]


def test_leaves_are_sorted_by_bytes_not_by_code_points_or_length() -> None:
    accounts = ["b", "a", "aa", "Z", "é", "\uffee", "\U00010000"]
    leaves = [Leaf(account, MONTH, f"{i:064x}") for i, account in enumerate(accounts)]
    expected = sorted(leaf.canonical for leaf in leaves)
    commitment = Commitment.of(leaves)
    assert [leaf.canonical for leaf in commitment.leaves] == expected
    assert commitment.root == reference.merkle_root(expected).hex()


def test_empty_and_repeated_leaves_are_refused() -> None:
    with pytest.raises(CommitmentError, match="at least one"):
        Commitment.of([])
    with pytest.raises(CommitmentError, match="twice"):
        Commitment.of([*leaves_of(ACCOUNTS), *leaves_of(ACCOUNTS[2:3])])
    with pytest.raises(CommitmentError, match="twice"):
        Commitment.of([Leaf("e\u0301", MONTH, "ab" * 32), Leaf("\u00e9", MONTH, "ab" * 32)])


@pytest.mark.parametrize("other", [("acct-2", MONTH), ("acct-1", "2026-12"), (None, None)], ids=str)
def test_a_key_under_two_labels_is_refused(other: tuple) -> None:
    """One mark, one account: what carries it could be attributed to either."""
    key_id = mark("acct-1").key_id
    with pytest.raises(CommitmentError, match="two labels") as caught:
        Commitment.of([*leaves_of(ACCOUNTS[2:]), Leaf("acct-1", MONTH, key_id), Leaf(*other, key_id)])
    assert_one_line(caught.value)
    assert key_id[:16] in str(caught.value)


def test_a_single_owner_key_can_be_committed() -> None:
    key = make_key()
    commitment = Commitment.of([Leaf(None, None, key.key_id)])
    opening = commitment.open(key)
    assert (opening.path, opening.size, opening.index) == ((), 1, 0)
    verify_opening(opening, commitment)


def test_created_is_utc_to_the_second() -> None:
    assert Commitment.of(leaves_of(ACCOUNTS), created=WHEN).created == "2026-11-24T08:30:15Z"
    before = datetime.now(UTC).replace(microsecond=0)
    created = datetime.strptime(Commitment.of(leaves_of(ACCOUNTS)).created, "%Y-%m-%dT%H:%M:%S%z")
    assert before <= created <= datetime.now(UTC)


def test_the_note_says_what_a_date_of_ones_own_is_worth() -> None:
    assert "timestamp from outside" in UNTIMESTAMPED_NOTE
    assert "2^40" in UNTIMESTAMPED_NOTE
    assert "12 decades" in UNTIMESTAMPED_NOTE


# The public file


def test_the_file_holds_four_members_and_no_account(commitment: Commitment, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    commitment.save(path)
    text = path.read_text()
    expected = {"format": "taggant-commitment/1", "root": commitment.root, "size": 5, "created": "2026-11-24T08:30:15Z"}
    assert json.loads(text) == expected
    assert "acct" not in text
    assert_no_secret(text)
    for account in ACCOUNTS:
        assert_no_secret(text, mark(account).chacha_key)


def test_round_trip_with_and_without_leaves(commitment: Commitment, opening: Opening, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    commitment.save(path)
    assert Commitment.load(path) == commitment
    with pytest.raises(CommitmentError, match="only its root"):
        Commitment.load(path).open(mark("acct-3"), "acct-3", MONTH)
    full = Commitment.load(path, leaves_of(ACCOUNTS[::-1]))
    assert full.created == commitment.created
    assert full.open(mark("acct-3"), "acct-3", MONTH) == opening


def test_leaves_that_are_not_the_committed_ones(commitment: Commitment, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    commitment.save(path)
    with pytest.raises(CommitmentError, match="other marks"):
        Commitment.load(path, leaves_of(ACCOUNTS[:4]))


def test_an_existing_file_is_kept(commitment: Commitment, opening: Opening, tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.write_text("precious")
    for each in (commitment, opening):
        with pytest.raises(InputError, match="exists"):
            each.save(path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "taggant-commitment/2"},
        {"root": "00"},
        {"root": None},
        {"size": 0},
        {"size": True},
        {"size": 2.0},
        {"created": "2026-11-24"},
        {"created": "2026-11-24T8:30:15Z"},
        {"created": "2026-11-31T08:30:15Z"},
        {"created": "2026-11-24T08:30:15+01:00"},
        {"created": 7},
        {"more": 1},
    ],
    ids=str,
)
def test_malformed_commitment_files(commitment: Commitment, changes: dict, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({**commitment.to_json(), **changes}))
    with pytest.raises(CommitmentError) as caught:
        Commitment.load(path)
    assert_one_line(caught.value)
    assert str(path) in str(caught.value)


# Openings


def test_an_opening_verifies(commitment: Commitment, opening: Opening) -> None:
    verify_opening(opening)
    verify_opening(opening, commitment)


def test_an_opening_checked_by_hand(commitment: Commitment, opening: Opening) -> None:
    """With hashlib and the RFC's recursive definition only, as the other side's expert would."""
    secret = reference.child(reference.child(SECRET, "account", "acct-3"), "epoch", MONTH)
    assert opening.chacha_key == reference.chacha(secret).hex()
    ids = {a: mark(a).key_id for a in ACCOUNTS}
    lines = sorted(f'{{"account":"{a}","epoch":"{MONTH}","key_id":"{ids[a]}"}}'.encode() for a in ACCOUNTS)
    index = next(i for i, line in enumerate(lines) if b"acct-3" in line)
    assert opening.index == index
    assert [bytes.fromhex(p) for p in opening.path] == reference.audit_path(index, lines)
    assert opening.root == commitment.root == reference.merkle_root(lines).hex()
    assert opening.leaf.key_id == reference.key_id(bytes.fromhex(opening.chacha_key), 16384, 1, TOKENIZER.sha256)


def test_every_mark_can_be_opened(commitment: Commitment) -> None:
    openings = [commitment.open(mark(account), account, MONTH) for account in ACCOUNTS]
    for each in openings:
        verify_opening(each, commitment)
    assert sorted(each.index for each in openings) == list(range(5))


def test_an_opening_reveals_one_mark_only(opening: Opening) -> None:
    text = json.dumps(opening.to_json())
    for account in ACCOUNTS:
        key = mark(account)
        assert (key.chacha_key.hex() in text) == (account == "acct-3")
        assert (account in text) == (account == "acct-3")
        assert (key.key_id in text) == (account == "acct-3")
    for key_secret in (SECRET, reference.child(SECRET, "account", "acct-3")):
        assert_no_secret(text, key_secret)


def test_an_openings_repr_hides_the_key(opening: Opening) -> None:
    assert_no_secret(repr(opening), bytes.fromhex(opening.chacha_key))


def test_marks_that_were_not_committed_are_not_opened(commitment: Commitment) -> None:
    for key, account, month in [
        (mark("acct-9"), "acct-9", MONTH),
        (mark("acct-3"), "acct-2", MONTH),
        (mark("acct-3"), "acct-3", "2026-12"),
        (mark("acct-3"), None, None),
        (make_key(), "acct-3", MONTH),
        (mark("acct-3", make_key(gamma_65536=1)), "acct-3", MONTH),
    ]:
        with pytest.raises(CommitmentError, match="not in the commitment") as caught:
            commitment.open(key, account, month)
        assert_one_line(caught.value)
        assert_no_secret(shown(caught.value), key.chacha_key)


def test_the_opening_file(opening: Opening, tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    opening.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {
        "format": "taggant-opening/1",
        "leaf": {"account": "acct-3", "epoch": MONTH, "key_id": mark("acct-3").key_id},
        "chacha_key": mark("acct-3").chacha_key.hex(),
        "index": 3,
        "path": list(opening.path),
        "root": opening.root,
        "size": 5,
        "gamma_65536": 16384,
        "context_width": 1,
        "scheme": "greenlist/1",
        "tokenizer_sha256": "ab" * 32,
        "special_ids": [0, 1, 999],
        "vocab_size": 1000,
    }
    loaded = Opening.load(path)
    assert loaded == opening
    verify_opening(loaded)
    assert (loaded.special_ids, loaded.vocab_size) == (TOKENIZER.special_ids, TOKENIZER.vocab_size)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_an_opening_open_to_others_is_refused(opening: Opening, mode: int, tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    opening.save(path)
    path.chmod(mode)
    with pytest.raises(CommitmentError, match=f"open to group or others .*{mode:04o}") as caught:
        Opening.load(path)
    assert_no_secret(shown(caught.value), bytes.fromhex(opening.chacha_key))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_opening_is_not_pickled(opening: Opening, protocol: int) -> None:
    with pytest.raises(KeyFileError, match="pass the path") as caught:
        pickle.dumps(opening, protocol)
    assert_no_secret(shown(caught.value), bytes.fromhex(opening.chacha_key))
    assert copy.copy(opening) is copy.deepcopy(opening) is opening
    with pytest.raises(KeyFileError):
        opening.__getstate__()


def test_a_failed_save_leaves_no_key_in_its_traceback(opening: Opening, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none" / "o.json"):
        with pytest.raises(InputError) as caught:
            opening.save(place)
        assert_no_secret(shown(caught.value), bytes.fromhex(opening.chacha_key))


@pytest.mark.parametrize(
    "changes",
    [
        {"special_ids": [1, 0]},
        {"special_ids": [0, 0]},
        {"special_ids": [1000]},
        {"special_ids": [-1]},
        {"special_ids": [True]},
        {"special_ids": "01"},
        {"special_ids": None},
        {"vocab_size": 999},
        {"vocab_size": 0},
        {"vocab_size": None},
        {"vocab_size": True},
        {"tokenizer_sha256": None},
        {"tokenizer_sha256": None, "vocab_size": None},
    ],
    ids=str,
)
def test_special_ids_of_an_opening_are_checked_when_it_is_read(opening: Opening, changes: dict, tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.touch(0o600)
    path.write_text(json.dumps({**opening.to_json(), **changes}))
    with pytest.raises(CommitmentError, match=r"'(special_ids|vocab_size)") as caught:
        Opening.load(path)
    assert_one_line(caught.value)


def test_an_opening_of_a_key_without_tokenizer(tmp_path: Path) -> None:
    key = make_key(tokenizer=None)
    opening = Commitment.of([Leaf(None, None, key.key_id)]).open(key)
    assert (opening.tokenizer_sha256, opening.special_ids, opening.vocab_size) == (None, (), None)
    opening.save(tmp_path / "o.json")
    verify_opening(Opening.load(tmp_path / "o.json"))


TAMPERED: list[tuple[str, Any]] = [
    ("chacha_key", "00" * 32),
    ("root", "00" * 32),
    ("index", 2),
    ("index", 0),
    ("size", 4),
    ("size", 9),
    ("gamma_65536", 16385),
    ("context_width", 2),
    ("tokenizer_sha256", None),
    ("tokenizer_sha256", "ac" * 32),
    ("path", ()),
    ("leaf", Leaf("acct-2", MONTH, mark("acct-3").key_id)),
    ("leaf", Leaf("acct-3", "2026-12", mark("acct-3").key_id)),
    ("leaf", Leaf("acct-3", None, mark("acct-3").key_id)),
    ("leaf", Leaf("acct-2", MONTH, mark("acct-2").key_id)),
]


@pytest.mark.parametrize(("name", "value"), TAMPERED, ids=lambda v: str(v)[:12])
def test_tampered_openings_are_refused(commitment: Commitment, opening: Opening, name: str, value: Any) -> None:
    without = {"special_ids": (), "vocab_size": None} if (name, value) == ("tokenizer_sha256", None) else {}
    tampered = dataclasses.replace(opening, **{name: value}, **without)
    assert tampered != opening
    assert refused(tampered, commitment)


@given(
    st.sampled_from(["chacha_key", "root", "path", "tokenizer_sha256", "key_id"]),
    st.integers(0, 63),
    st.integers(1, 15),
    st.data(),
)
def test_every_changed_digit_is_refused(name: str, at: int, change: int, draw: st.DataObject) -> None:
    def altered(digits: str) -> str:
        return f"{digits[:at]}{int(digits[at], 16) ^ change:x}{digits[at + 1 :]}"

    commitment = Commitment.of(leaves_of(ACCOUNTS[:3]))
    opening = commitment.open(mark("acct-0"), "acct-0", MONTH)
    assert not refused(opening)
    if name == "path":
        which = draw.draw(st.integers(0, len(opening.path) - 1))
        value: Any = tuple(altered(p) if i == which else p for i, p in enumerate(opening.path))
    elif name == "key_id":
        name, value = "leaf", dataclasses.replace(opening.leaf, key_id=altered(opening.leaf.key_id))
    else:
        value = altered(getattr(opening, name))
    assert refused(dataclasses.replace(opening, **{name: value}))


def test_a_size_that_shares_the_path_is_refused_against_the_commitment(commitment: Commitment) -> None:
    opening = commitment.open(mark("acct-0"), "acct-0", MONTH)
    grown = dataclasses.replace(opening, size=6)
    assert not refused(grown)  # a path alone does not bind the size
    assert refused(grown, commitment)


def test_a_commitment_made_up_afterwards_is_refused(commitment: Commitment) -> None:
    key = make_key(hashlib.sha256(b"another").digest())
    own = Commitment.of([Leaf("acct-3", MONTH, key.key_id)])
    opening = own.open(key, "acct-3", MONTH)
    verify_opening(opening)
    assert refused(opening, commitment)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "taggant-opening/2"),
        ("leaf", None),
        ("leaf", {"account": "a", "epoch": MONTH}),
        ("leaf", {"account": "a", "epoch": MONTH, "key_id": 7}),
        ("chacha_key", "AB" * 32),
        ("chacha_key", None),
        ("index", 5),
        ("index", -1),
        ("index", True),
        ("path", "00" * 32),
        ("path", [7]),
        ("path", ["00"]),
        ("root", "zz" * 32),
        ("size", 0),
        ("size", "5"),
        ("gamma_65536", 0),
        ("context_width", 9),
        ("scheme", "other"),
        ("tokenizer_sha256", ""),
        ("more", 1),
    ],
)
def test_malformed_opening_files(opening: Opening, name: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.touch(0o600)
    path.write_text(json.dumps({**opening.to_json(), name: value}))
    with pytest.raises(CommitmentError) as caught:
        Opening.load(path)
    assert_one_line(caught.value)
    assert str(path) in str(caught.value)
    assert_no_secret(shown(caught.value), bytes.fromhex(opening.chacha_key))


@pytest.mark.parametrize("load", [Opening.load, Commitment.load])
def test_missing_and_broken_files(load: Any, tmp_path: Path) -> None:
    with pytest.raises(CommitmentError, match="does not exist"):
        load(tmp_path / "none")
    path = tmp_path / "broken"
    path.touch(0o600)
    path.write_text("{")
    with pytest.raises(CommitmentError, match="not JSON"):
        load(path)
    path.write_text("[]")
    with pytest.raises(CommitmentError, match="JSON object"):
        load(path)
