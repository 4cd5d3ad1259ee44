"""`key commit`: the root recomputed by RFC 6962 written out here."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.detect.cli.helpers import Cli, names
from tests.watermark.keys import reference
from watermark.keys import Commitment, Key, Leaf, verify_opening

ACCOUNTS = ["acct-1", "acct-2", "étoile", 'quo"te', "z"]
MONTHS = ["2026-11", "2026-12"]


def tree_hash(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + tree_hash(leaves[:k]) + tree_hash(leaves[k:])).digest()


def expected_leaves(key_file: Path, accounts: list[Any], months: list[Any]) -> list[bytes]:
    """RFC 8785 JSON of every leaf, sorted bytewise; secrets derived by the second implementation."""
    owner = bytes.fromhex(json.loads(key_file.read_text())["secret"])
    leaves = []
    for account in accounts:
        for month in months:
            secret = owner if account is None else reference.child(owner, "account", account)
            secret = secret if month is None else reference.child(secret, "epoch", month)
            leaf = {"account": account, "epoch": month}
            leaf["key_id"] = reference.key_id(reference.chacha(secret), 16384, 1, None)
            leaves.append(json.dumps(leaf, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode())
    return sorted(leaves)


@pytest.mark.parametrize(
    ("accounts", "months"),
    [([None], [None]), (["a"], [None]), ([None], MONTHS), (ACCOUNTS[:3], MONTHS[:1]), (ACCOUNTS, MONTHS)],
    ids=str,
)
def test_the_root_is_rfc_6962s(accounts: list[Any], months: list[Any], cli: Cli, key: Path, tmp_path: Path) -> None:
    options = [part for account in accounts if account for part in ("--account", account)]
    options += [part for month in months if month for part in ("--epoch", month)]
    leaves_file, out = tmp_path / "leaves.json", tmp_path / "commitment.json"
    shown = cli("key", "commit", key, *options, "-o", out, "--leaves", leaves_file, "--json").json()
    leaves = expected_leaves(key, accounts, months)
    content = json.loads(out.read_text())
    assert content["root"] == shown["root"] == tree_hash(leaves).hex()
    assert (content["format"], content["size"]) == ("taggant-commitment/1", len(accounts) * len(months))
    assert set(content) == {"format", "root", "size", "created"}
    assert "timestamp" in shown["note"]
    listed = json.loads(leaves_file.read_text())
    assert [Leaf(**leaf).canonical for leaf in listed] == leaves
    assert stat.S_IMODE(leaves_file.stat().st_mode) == 0o600


def test_marks_are_opened_with_the_two_files(cli: Cli, key: Path, tmp_path: Path) -> None:
    result = cli(
        "key", "commit", key, "--account", "a", "--account", "b", "-o", tmp_path / "c", "--leaves", tmp_path / "l"
    )
    assert result.code == 0
    leaves = [Leaf(**leaf) for leaf in json.loads((tmp_path / "l").read_text())]
    commitment = Commitment.load(tmp_path / "c", leaves)
    opening = commitment.open(Key.load(key).account("b"), "b")
    verify_opening(opening, Commitment.load(tmp_path / "c"))


def test_accounts_from_a_file(cli: Cli, key: Path, tmp_path: Path) -> None:
    names = tmp_path / "ids.txt"
    names.write_text("\ufeffacct-1\r\n\n  acct-2  \nétoile", encoding="utf-8")
    cli("key", "commit", key, "--accounts", names, "--account", "z", "-o", tmp_path / "c", "--json").json()
    root = json.loads((tmp_path / "c").read_text())["root"]
    assert root == tree_hash(expected_leaves(key, ["acct-1", "acct-2", "étoile", "z"], [None])).hex()


def test_without_leaves_no_list_of_accounts_is_written(cli: Cli, key: Path, tmp_path: Path) -> None:
    assert cli("key", "commit", key, "--account", "acct-77", "-o", tmp_path / "c").code == 0
    assert names(tmp_path) == ["bare.key", "c"]
    assert "acct-77" not in (tmp_path / "c").read_text()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no account ids"),
        (b" \n\n", "holds no account ids"),
        (b"a\n\xff\n", "not UTF-8 at byte 2"),
        (b"ok\nb\x07d\n", "ids.txt:2: the account label"),
        (b"x" * 300, "ids.txt:1: the account label"),
    ],
    ids=str,
)
def test_files_of_accounts_that_are_refused(content: bytes, reason: str, cli: Cli, key: Path, tmp_path: Path) -> None:
    names = tmp_path / "ids.txt"
    names.write_bytes(content)
    cli("key", "commit", key, "--accounts", names, "-o", tmp_path / "c").refused(3, str(names), reason)
    assert not (tmp_path / "c").exists()


def test_commitments_that_are_refused_leave_neither_file(cli: Cli, key: Path, tmp_path: Path) -> None:
    out, leaves = tmp_path / "c", tmp_path / "l"
    both = ["-o", out, "--leaves", leaves]
    cli("key", "commit", key, "--account", "a", "--account", "a", *both).refused(5, "given twice")
    cli("key", "commit", key, "--epoch", "2026-00", *both).refused(2, "--epoch")
    cli("key", "commit", key, "-o", out, "--leaves", out).refused(2, "must be two files")
    cli("key", "commit", key, "--accounts", tmp_path / "none", *both).refused(3, "none cannot be read")
    leaves.write_text("mine")
    cli("key", "commit", key, *both).refused(3, "l already exists")
    assert leaves.read_text() == "mine"
    assert not out.exists()


def test_leaves_go_when_the_commitment_cannot_be_written(
    cli: Cli, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Commitment, "save", full)
    result = cli("key", "commit", key, "-o", tmp_path / "c", "--leaves", tmp_path / "l")
    result.refused(3, f"{tmp_path / 'c'} cannot be written (No space left on device)")
    assert names(tmp_path) == ["bare.key"]
