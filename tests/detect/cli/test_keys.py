"""`keygen` and `key show|derive|check|rotate`."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.detect.cli.helpers import SPEECH, Cli, names, save_key, secrets_of, tiny_identity, write_rows
from tests.watermark.keys import reference
from watermark import Key

PUBLIC = [
    "key_id",
    "short_id",
    "scheme",
    "profile",
    "gamma",
    "gamma_65536",
    "delta",
    "context_width",
    "tokenizer",
    "special_ids_digest",
    "derived_from",
]


def document(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text())
    assert isinstance(value, dict)
    return value


def recomputed_id(path: Path) -> str:
    """The key id from the file's members by a second implementation."""
    content = document(path)
    tokenizer = content["tokenizer"] and content["tokenizer"]["sha256"]
    chacha = reference.chacha(bytes.fromhex(content["secret"]))
    return reference.key_id(chacha, content["gamma_65536"], content["context_width"], tokenizer)


# keygen


def test_a_new_key_is_private_whole_and_shown_without_its_secret(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "owner.key"
    shown = cli("keygen", "-o", path, "--json").json()
    assert list(shown) == PUBLIC
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(tmp_path) == ["owner.key"]
    content = document(path)
    assert list(content) == (
        ["format", "key_id", "secret", "scheme", "gamma_65536", "delta", "context_width", "tokenizer", "derived_from"]
    )
    assert content["key_id"] == shown["key_id"] == recomputed_id(path)
    assert (content["gamma_65536"], content["delta"], content["context_width"]) == (16384, 2.0, 1)
    assert shown["profile"] == "trace"


def test_no_two_keys_are_alike(cli: Cli, tmp_path: Path) -> None:
    seen = {cli("keygen", "-q", "-o", tmp_path / f"{i}", "--json").json()["key_id"] for i in range(5)}
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], (16384, 2.0, 1)),
        (["--profile", "balanced"], (16384, 1.5, 1)),
        (["--profile", "discreet"], (16384, 1.0, 2)),
        (["--gamma", "0.5", "--delta", "3", "--context-width", "0"], (32768, 3.0, 0)),
        (["--profile", "discreet", "--context-width", "8"], (16384, 1.0, 8)),
    ],
    ids=str,
)
def test_profiles_and_parameters(options: list[str], expected: tuple[Any, ...], cli: Cli, tmp_path: Path) -> None:
    cli("keygen", "-o", tmp_path / "k", *options, "--json").json()
    content = document(tmp_path / "k")
    assert (content["gamma_65536"], content["delta"], content["context_width"]) == expected


@pytest.mark.parametrize(
    "options",
    [
        ["--gamma", "0"],
        ["--gamma", "1"],
        ["--gamma", "nan"],
        ["--gamma", "1e-9"],
        ["--gamma", "0.9999999"],
        ["--delta", "-1"],
        ["--delta", "inf"],
        ["--delta", "51"],
        ["--context-width", "9"],
        ["--context-width", "1.5"],
    ],
    ids=str,
)
def test_parameters_out_of_range_are_bad_options(options: list[str], cli: Cli, tmp_path: Path) -> None:
    cli("keygen", "-o", tmp_path / "k", *options).refused(2, "taggant keygen --help")
    assert names(tmp_path) == []


def test_a_tokenizer_is_recorded_by_the_name_it_loads_by(cli: Cli, tmp_path: Path, model: Path) -> None:
    shown = cli("keygen", "-o", tmp_path / "k", "--tokenizer", model, "--json").json()["tokenizer"]
    assert shown == {
        "name": str(model.resolve()),
        "sha256": tiny_identity().sha256,
        "vocab_size": 384,
        "special_ids": [0, 1, 2],
    }
    assert document(tmp_path / "k")["key_id"] == recomputed_id(tmp_path / "k")


def test_a_note_says_what_a_key_without_tokenizer_lacks(cli: Cli, tmp_path: Path, model: Path) -> None:
    assert "knows no special tokens" in cli("keygen", "-o", tmp_path / "k").err
    assert cli("keygen", "-o", tmp_path / "t", "--tokenizer", model).err == ""


def test_a_tokenizer_that_cannot_be_had_leaves_no_key(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, reason in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "empty", "holds no tokenizer"),
        ("some/where", "hub cannot be reached"),
    ):
        cli("keygen", "-o", tmp_path / "k", "--tokenizer", name).refused(3, reason)
    assert names(tmp_path) == ["empty"]


def test_an_existing_file_is_never_overwritten(cli: Cli, tmp_path: Path) -> None:
    for command in (["keygen"], ["key", "derive", "K", "--account", "a"], ["key", "rotate", "K"]):
        owner = tmp_path / "owner"
        if not owner.exists():
            save_key(owner, bare=True)
        before = owner.read_bytes()
        cli(*(owner if part == "K" else part for part in command), "-o", owner).refused(3, "already exists")
        assert owner.read_bytes() == before
    cli("keygen", "-o", tmp_path / "no" / "k").refused(3, f"{tmp_path / 'no'} is not a directory; create it first")
    assert names(tmp_path) == ["owner"]


# A key file that is refused


@pytest.mark.parametrize(
    "command",
    [
        ["key", "show", "K"],
        ["key", "derive", "K", "--account", "a", "-o", "OUT"],
        ["key", "commit", "K", "-o", "OUT"],
        ["key", "rotate", "K", "-o", "OUT"],
        ["key", "check", "K", "TEXT"],
        ["detect", "--key", "K", "TEXT", "--highlight", "OUT"],
        ["plan", "--key", "K"],
        ["generate", "--key", "K", "--model", "nowhere", "--prompts", "TEXT", "-o", "OUT"],
        ["suspect", "--key", "K", "--model", "nowhere", "--probes", "TEXT"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_keys_that_are_refused_by_every_command(command: list[str], cli: Cli, tmp_path: Path) -> None:
    key, text, out = tmp_path / "k", tmp_path / "t.txt", tmp_path / "out"
    text.write_text("The rain fell on the harbour.")
    save_key(key, bare=True)
    good = key.read_text()
    secret = document(key)["secret"]
    arguments = [{"K": key, "OUT": out, "TEXT": text}.get(part, part) for part in command]

    def refused(reason: str) -> None:
        result = cli(*arguments)
        result.refused(5, str(key), reason)
        assert secret[:12] not in result.err
        assert not out.exists()

    key.chmod(0o640)
    refused("chmod 600")
    key.chmod(0o604)
    refused("open to group or others")
    key.chmod(0o600)
    for content, reason in (
        ("", "holds no key"),
        (good[: len(good) // 2], "not JSON"),
        ("[]", "holds no key"),
        (f"[{good}]", "must be a JSON object"),
        (good.replace("taggant-key/1", "taggant-key/2"), "'format'"),
        (good.replace("16384", "16385"), "'key_id' does not belong"),
        (good.replace("16384", "70000"), "'gamma_65536'"),
        (good.replace(secret, secret[:-2]), "'secret' must be 64"),
        (good.replace('"delta": 2.0', '"delta": NaN'), "NaN"),
    ):
        key.write_text(content)
        refused(reason)
    key.write_bytes(b"\xff\xfe" + good.encode())
    refused("not UTF-8")
    key.unlink()
    refused("does not exist")
    key.mkdir()
    refused("is not a regular file")
    assert names(tmp_path) == ["k", "t.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_key(cli: Cli, key: Path) -> None:
    key.chmod(0)
    cli("key", "show", key).refused(5, "cannot be opened", "Permission denied")


def test_an_unreadable_key_as_the_system_reports_it(cli: Cli, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("watermark.keys.members.os.open", denied)
    cli("key", "show", key).refused(5, "cannot be opened (Permission denied)", "permissions")


# show, derive, rotate


def test_show_prints_the_public_members(cli: Cli, text_key: Path) -> None:
    shown = cli("key", "show", text_key, "--json").json()
    assert list(shown) == PUBLIC
    people = cli("key", "show", text_key)
    assert (people.code, people.err) == (0, "")
    assert [line.split()[0] for line in people.out.splitlines()] == PUBLIC
    assert shown["key_id"] in people.out


@pytest.mark.parametrize(
    ("options", "path"),
    [
        (["--account", "acct-1"], [("account", "acct-1")]),
        (["--epoch", "2026-11"], [("epoch", "2026-11")]),
        (["--epoch", "2026-11", "--account", "acct-1"], [("account", "acct-1"), ("epoch", "2026-11")]),
    ],
    ids=str,
)
def test_derived_keys_are_those_of_the_design(
    options: list[str], path: list[tuple[str, str]], cli: Cli, key: Path, tmp_path: Path
) -> None:
    shown = cli("key", "derive", key, *options, "-o", tmp_path / "child", "--json").json()
    secret = bytes.fromhex(document(key)["secret"])
    for kind, label in path:
        parent = reference.key_id(reference.chacha(secret), 16384, 1, None)
        secret = reference.child(secret, kind, label)
    content = document(tmp_path / "child")
    assert content["secret"] == secret.hex()
    assert content["key_id"] == shown["key_id"] == recomputed_id(tmp_path / "child")
    assert content["derived_from"] == {"key_id": parent, "kind": path[-1][0], "label": path[-1][1]}
    assert stat.S_IMODE((tmp_path / "child").stat().st_mode) == 0o600


def test_derive_needs_a_label_of_the_right_form(cli: Cli, key: Path, tmp_path: Path) -> None:
    out = tmp_path / "child"
    cli("key", "derive", key, "-o", out).refused(2, "give --account, --epoch, or both")
    cli("key", "derive", key, "--epoch", "November", "-o", out).refused(2, "--epoch", "2026-11")
    cli("key", "derive", key, "--account", "a\nb", "-o", out).refused(2, "--account", "invisible")
    assert not out.exists()


def test_rotation_keeps_the_parameters_and_changes_the_rest(cli: Cli, tmp_path: Path, model: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    cli("keygen", "-o", old, "--tokenizer", model, "--gamma", "0.1", "--delta", "2.75", "--context-width", "3")
    cli("key", "rotate", old, "-o", new, "--json").json()
    before, after = document(old), document(new)
    for name in ("gamma_65536", "delta", "context_width", "tokenizer", "scheme", "format", "derived_from"):
        assert before[name] == after[name], name
    assert before["secret"] != after["secret"]
    assert before["key_id"] != after["key_id"] == recomputed_id(new)


# check


def biased_rows(key_file: Path, path: Path, wanted: bool) -> Path:
    """Token ids whose pairs are, for this key, all green or all red."""
    import numpy as np

    from watermark import GreenList

    mark, stream = GreenList(Key.load(key_file)), [7]
    for i in range(60):
        candidates = np.flatnonzero(mark.mask(np.array([[stream[-1]]]), 384)[0] == wanted)
        stream.append(int(candidates[(i * 7919) % len(candidates)]))
    return write_rows(path, [{"token_ids": stream}])


def test_a_key_that_colours_human_text_green_is_refused_for_good(cli: Cli, key: Path, tmp_path: Path) -> None:
    corpus = biased_rows(key, tmp_path / "green.jsonl", True)
    result = cli("key", "check", key, corpus, "--json")
    assert result.code == 5
    record = json.loads(result.out)
    assert record["accepted"] is False
    assert record["log10_p"] < -2
    assert "make another with taggant keygen" in result.err
    assert document(tmp_path / "bare.key.check.json") == record
    cli("key", "check", key, corpus).refused(3, "a key is checked once")
    detected = cli("detect", "--key", key, corpus, "--json").json()
    assert any("refused by its own check" in note for note in detected["notes"])


def test_an_accepted_key_costs_later_tests_one_percent(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    import math

    before = cli("detect", "--key", key, ids, "--json").json()
    assert before["log10_p_adjusted"] == before["log10_p"] < math.log10(0.99)
    record = cli("key", "check", key, biased_rows(key, tmp_path / "red.jsonl", False), "--json").json()
    assert record["accepted"] is True
    assert (record["n_green"], record["key_id"]) == (0, Key.load(key).key_id)
    after = cli("detect", "--key", key, ids, "--json").json()
    assert after["log10_p"] == before["log10_p"]
    assert after["log10_p_adjusted"] == pytest.approx(before["log10_p"] - math.log10(0.99), abs=1e-12)
    assert any("1/.99" in note for note in after["notes"])
    (told,) = [note for note in after["notes"] if record["corpus_sha256"] in note]
    assert "is the owner's statement: a check that was repeated elsewhere leaves no trace" in told


def test_the_check_counts_as_a_second_implementation_does(cli: Cli, text_key: Path, tmp_path: Path) -> None:
    from tests.watermark.engines.helpers import green_of_scored, tokenizer

    record = cli("key", "check", text_key, SPEECH, "--json").json()
    stream = tokenizer()(SPEECH.read_text(), add_special_tokens=False).input_ids
    pairs = dict.fromkeys(itertools.pairwise(stream))
    colours = green_of_scored(Key.load(text_key), [list(pair) for pair in pairs])
    assert (record["n_scored"], record["n_green"]) == (len(colours), int(colours.sum()))
    assert len(colours) > 1000


def test_a_check_of_another_key_or_a_broken_one_is_refused(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    record = tmp_path / "bare.key.check.json"
    record.write_text("{}")
    cli("detect", "--key", key, ids).refused(5, str(record), "is not a key check")
    other = save_key(tmp_path / "other.key", 1, bare=True)
    assert cli("key", "check", other, ids).code in (0, 5)
    (tmp_path / "other.key.check.json").replace(record)
    cli("detect", "--key", key, ids).refused(5, str(record), "check of another key")


def test_a_corpus_that_is_refused_leaves_no_record(cli: Cli, key: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    cli("key", "check", key, empty).refused(3, "holds no rows")
    cli("key", "check", key, write_rows(tmp_path / "s.jsonl", [{"token_ids": [1]}])).refused(3, "at least 2 are needed")
    assert not (tmp_path / "bare.key.check.json").exists()


def test_skipped_documents_are_named(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    short = write_rows(tmp_path / "short.jsonl", [{"token_ids": [1]}])
    assert "1 document skipped: shorter than 2 tokens" in cli("key", "check", key, ids, short).err


def test_secrets_of_a_key_are_its_secret_and_its_chacha_key(key: Path) -> None:
    """The helper that other tests rely on, against the second implementation."""
    secret = document(key)["secret"]
    assert secrets_of(key) == [secret, reference.chacha(bytes.fromhex(secret)).hex()]
    assert hashlib.sha256(bytes.fromhex(secret)).hexdigest() not in secrets_of(key)
