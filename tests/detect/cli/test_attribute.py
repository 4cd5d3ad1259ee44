"""`attribute`: keys from files or an owner's key, texts, answers and readings; what it prints, and what it refuses."""

from __future__ import annotations

import hashlib
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from detect.bundles.verify.check import verify_bundle
from detect.cli.main import cli as top_level
from detect.cli.main import run
from detect.counting import weigh
from detect.evidence import assess
from detect.exact.binomial import log10_sf
from detect.exact.power import pairs_needed
from detect.fed import Probe, ProbePairs
from detect.keycheck import check_path
from detect.observation import ContextMass, Excess, Reading
from tests.detect.bundles.helpers import events
from tests.detect.cli.helpers import (
    SPEECH,
    Cli,
    Result,
    execute,
    names,
    save_key,
    secrets_of,
    tiny_identity,
    write_rows,
)
from tests.detect.material import distinct_pairs, is_green
from tests.detect.test_attribution import FIELDS, KEY_FIELDS, an_excess
from tests.tools.second import check_of
from watermark import GreenList, Key
from watermark.files import write_json
from watermark.keys import Parameters, TokenizerIdentity
from watermark.windows import Pairs, WindowRule

ACCOUNTS = [f"acct-{i}" for i in range(6)]


@pytest.fixture
def ids_file(tmp_path: Path) -> Path:
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(ACCOUNTS) + "\n")
    return path


@pytest.fixture
def keys(tmp_path: Path, key: Path) -> Path:
    """The key files of all accounts of the bare owner's key `key`."""
    return derive_all(key, tmp_path / "keys")


def derive_all(owner: Path, directory: Path) -> Path:
    directory.mkdir()
    for name in ACCOUNTS:
        Key.load(owner).account(name).save(directory / f"{name}.key")
    return directory


def green_for(key: Key, length: int, seed: int = 0) -> list[int]:
    """Ids whose every token is green for the key; three ids are special to the tiny tokenizer, none of them here."""
    mark, random, stream = GreenList(key), np.random.default_rng(seed), [9]
    while len(stream) < length:
        row = mark.mask(np.array([[stream[-1]]]), 384)[0]
        row[:3] = False
        stream.append(int(random.choice(np.flatnonzero(row))))
    return stream


def answers(path: Path, owner: Path, *accounts: str, length: int = 150, **more: Any) -> Path:
    keys = [Key.load(owner).account(account) for account in accounts]
    rows = [{"token_ids": green_for(key, length, seed), **more} for seed, key in enumerate(keys)]
    return write_rows(path, rows)


def reading_of(path: Path, owner: Path, account: str, probe: Probe | None = None) -> Path:
    """A reading that favours what is green for an account."""
    rng = np.random.default_rng(3)
    contexts, tokens = np.arange(3, 303, dtype=np.uint32).reshape(-1, 1), rng.integers(3, 384, 300).astype(np.uint32)
    green = GreenList(Key.load(owner).account(account)).is_green(contexts, tokens)
    Reading(
        pairs=Pairs(contexts, tokens, 300),
        weights=rng.standard_normal(300) + 2.0 * green,
        n_positions=41,
        with_reference=True,
        argmax=Pairs(contexts[:4], tokens[:4], 4),
        mass=ContextMass(contexts[:1], np.ones((1, 1), np.uint32), np.ones((1, 1), np.float32)),
        probes=ProbePairs.of(WindowRule(1), [] if probe is None else [probe]),
    ).save(path)
    return path


# --- results ---


def test_one_object_for_the_accounts_of_a_directory(cli: Cli, key: Path, keys: Path, tmp_path: Path) -> None:
    rows = answers(tmp_path / "a.jsonl", key, "acct-4", "acct-1", prompt_ids=[9, 8, 7])
    found = cli("attribute", "--keys", keys, rows, "--json", "--top", 4).json()
    assert list(found) == FIELDS
    assert [list(one) for one in found["accounts"]] == [KEY_FIELDS] * 4
    assert (found["finding"], set(found["attributed"])) == ("attributed", {"acct-1", "acct-4"})
    assert (found["n_accounts"], found["n_keys"], found["n_tokens"]) == (6, 6, 300)
    documents = [json.loads(line)["token_ids"] for line in rows.read_text().splitlines()]
    pairs = distinct_pairs(documents, [[9, 8, 7]], 1)
    for one in found["accounts"]:
        account = Key.load(key).account(one["account"])
        k = sum(is_green(account, pair) for pair in pairs)
        assert (one["n_green"], one["n_scored"], one["key_id"]) == (k, len(pairs), account.key_id)
        assert one["log10_p"] == pytest.approx(binom.logsf(k - 1, len(pairs), 0.25) / math.log(10), rel=1e-9)
        assert one["epoch"] is None
    p = [one["log10_p"] for one in found["accounts"]]
    assert p == sorted(p)
    assert found["runner_up_gap"] == p[2] - p[1] > 5
    assert found["accounts"][0]["log10_p_adjusted"] == pytest.approx(p[0] + math.log10(6))


def test_keys_derived_on_the_spot_give_the_same(
    cli: Cli, key: Path, keys: Path, ids_file: Path, tmp_path: Path
) -> None:
    rows = answers(tmp_path / "a.jsonl", key, "acct-2")
    files = cli("attribute", "--keys", keys, rows, "--json").json()
    derived = cli("attribute", "--owner", key, "--accounts", ids_file, rows, "--json").json()
    assert derived == files
    assert any("no key check was at hand (none is, for keys derived on the spot)" in note for note in files["notes"])
    assert derived["attributed"] == ["acct-2"]


def test_months(cli: Cli, key: Path, ids_file: Path, tmp_path: Path) -> None:
    november = Key.load(key).account("acct-3").epoch("2026-11")
    rows = write_rows(tmp_path / "a.jsonl", [{"token_ids": green_for(november, 200)}])
    months = ("--epoch", "2026-10", "--epoch", "2026-11", "--epoch", "2026-10")
    found = cli("attribute", "--owner", key, "--accounts", ids_file, *months, rows, "--json").json()
    assert (found["n_keys"], found["n_accounts"], found["attributed"]) == (12, 6, ["acct-3"])
    first = found["accounts"][0]
    assert (first["account"], first["epoch"], first["key_id"]) == ("acct-3", "2026-11", november.key_id)
    table = cli("attribute", "--owner", key, "--accounts", ids_file, *months, rows).out
    assert "month" in table
    assert f"acct-3   2026-11  {november.key_id[:16]}" in table


def test_none_is_an_answer_and_no_more(cli: Cli, keys: Path, ids: Path) -> None:
    found = cli("attribute", "--keys", keys, ids, "--json").json()
    assert (found["finding"], found["attributed"], found["runner_up_gap"]) == ("none attributed", [], None)
    assert {one["finding"] for one in found["accounts"]} == {"not attributed"}
    people = cli("attribute", "--keys", keys, ids).out
    assert "none attributed: this is not a sign that no account's mark was used" in people
    assert "runner-up" not in people


def test_words_for_people(cli: Cli, key: Path, keys: Path, tmp_path: Path) -> None:
    result = cli("attribute", "--keys", keys, answers(tmp_path / "a.jsonl", key, "acct-5", length=400))
    assert (result.code, result.notes) == (0, "")
    lines = result.out.splitlines()
    assert lines[1] == "  finding      attributed to the mark of acct-5"
    assert any(line.startswith("  runner-up    ") and "decades of p behind" in line for line in lines)
    (row,) = [line for line in lines if line.startswith("  acct-5 ")]
    assert row.endswith("below 10^-30  below 10^-30  attributed")
    assert "100.0%" in row
    assert "month" not in result.out.split("status")[0]  # no such column
    assert any(line.startswith("  keys         6 of 6 accounts, ") for line in lines)
    for word in ("proves", "match", "guilty", "certain", "confidence"):
        assert word not in result.out.lower()


def test_a_reading(cli: Cli, key: Path, keys: Path, tmp_path: Path) -> None:
    path = reading_of(tmp_path / "r.npz", key, "acct-3")
    found = cli("attribute", "--keys", keys, "--reading", path, "--json").json()
    assert (found["test"], found["attributed"], found["n_tokens"], found["n_scored"]) == (
        "reading",
        ["acct-3"],
        41,
        300,
    )
    for one in found["accounts"]:
        evidence = assess(weigh(Key.load(key).account(one["account"]), Reading.load(path)))
        assert (one["log10_p"], one["theta"], one["n_green"]) == (evidence.log10_p, evidence.theta, None)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"computed from a saved file: taggant-reading/2, SHA-256 {digest}" in found["notes"]
    people = cli("attribute", "--keys", keys, "--reading", path).out
    assert "weighed under every key" in people
    assert "green" not in people.split("status")[0].split("\n\n")[1]  # no such column


def test_weights_of_a_models_answers(cli: Cli, key: Path, keys: Path, tmp_path: Path) -> None:
    account, path = Key.load(key).account("acct-3"), tmp_path / "e.npz"
    observed = an_excess(account)
    observed.save(path)
    found = cli("attribute", "--keys", keys, "--reading", path, "--json").json()
    assert (found["test"], found["weighted"], found["attributed"]) == ("sampled", True, ["acct-3"])
    assert (found["n_tokens"], found["n_scored"]) == (90, 400)
    for one in found["accounts"]:
        evidence = assess(weigh(Key.load(key).account(one["account"]), Excess.load(path)))
        assert (one["log10_p"], one["theta"], one["n_green"]) == (evidence.log10_p, evidence.theta, None)
    people = cli("attribute", "--keys", keys, "--reading", path).out
    assert people.startswith(
        "Attribution of a questioned model's answers: weighed against a reference, under every key"
    )
    assert "6 of 6 accounts, 400 weights" in people
    path.unlink()
    an_excess(account, fed=[green_for(account, 60)]).save(path)
    withdrawn = cli("attribute", "--keys", keys, "--reading", path, "--json").json()
    assert (withdrawn["attributed"], withdrawn["n_withdrawn"]) == ([], 1)


def test_one_account_and_one_document_are_singular(cli: Cli, key: Path, tmp_path: Path) -> None:
    directory = tmp_path / "one"
    directory.mkdir()
    Key.load(key).account("acct-1").save(directory / "acct-1.key")
    rows = write_rows(tmp_path / "a.jsonl", [{"token_ids": [5, 6]}])
    people = cli("attribute", "--keys", directory, rows).out
    assert "  keys         1 of 1 account, 1 distinct pair\n" in people
    assert "2 tokens in 1 document, " in cli("-v", "attribute", "--keys", directory, rows).out


def test_an_owners_key_in_the_directory_is_told(cli: Cli, key: Path, keys: Path, ids: Path) -> None:
    assert "unlike the rest" not in cli("attribute", "--keys", keys, ids).out
    Key.load(key).save(keys / "owner.key")
    assert (
        "1 key (first: owner) was derived from no other, unlike the rest" in cli("attribute", "--keys", keys, ids).out
    )


def test_probes_marked_by_an_account_withdraw_its_claim(cli: Cli, key: Path, keys: Path, tmp_path: Path) -> None:
    probe = Probe(green_for(Key.load(key).account("acct-3"), 60), [5, 6, 7])
    path = reading_of(tmp_path / "r.npz", key, "acct-3", probe)
    found = cli("attribute", "--keys", keys, "--reading", path, "--json").json()
    assert (found["attributed"], found["n_withdrawn"]) == ([], 1)
    (silent,) = [one for one in found["accounts"] if one["account"] == "acct-3"]
    assert (silent["log10_p"], silent["log10_p_adjusted"], silent["finding"]) == (None, None, "inconclusive")
    people = cli("attribute", "--keys", keys, "--reading", path).out
    assert "1 key (acct-3): what the model was fed, or the reference, carries the mark" in people
    assert "not claimed  not claimed  inconclusive" in people


def test_prompts_marked_by_an_account_withdraw_its_claim_to_sampled_answers(
    cli: Cli, key: Path, keys: Path, tmp_path: Path
) -> None:
    prompt = green_for(Key.load(key).account("acct-3"), 60, seed=9)
    rows = answers(tmp_path / "a.jsonl", key, "acct-3", "acct-0", prompt_ids=prompt)
    assert set(cli("attribute", "--keys", keys, rows, "--json").json()["attributed"]) == {"acct-0", "acct-3"}
    sampled = cli("attribute", "--keys", keys, rows, "--json", "--sampled").json()
    assert (sampled["test"], sampled["attributed"], sampled["n_withdrawn"]) == ("sampled", ["acct-0"], 1)


def test_key_checks_on_record_count(cli: Cli, key: Path, keys: Path, tmp_path: Path) -> None:
    rows = answers(tmp_path / "a.jsonl", key, "acct-0", "acct-1")
    for name, accepted in (("acct-0", True), ("acct-1", False)):
        record = {"key_id": Key.load(key).account(name).key_id, "accepted": accepted, "created": "2026-11-24"}
        n_green = 230 if accepted else 270
        record |= {"log10_p": log10_sf(n_green, 900, 0.25), "n_scored": 900, "n_green": n_green}
        record |= {"corpus_sha256": "ab" * 32, "n_documents": 3}
        write_json(check_path(keys / f"{name}.key"), {**record, "format": "taggant-key-check/2"})
    found = cli("attribute", "--keys", keys, rows, "--json").json()
    assert (found["attributed"], found["n_keys"], found["n_withdrawn"]) == (["acct-0"], 6, 1)
    first = found["accounts"][0]
    assert first["log10_p_adjusted"] == pytest.approx(first["log10_p"] + math.log10(6 / 0.99))
    record_file = check_path(keys / "acct-0.key")
    record_file.rename(check_path(keys / "acct-2.key"))
    cli("attribute", "--keys", keys, rows).refused(5, "acct-2.key.check.json", "check of another key")


def test_text_is_read_with_the_keys_tokenizer(
    cli: Cli, text_key: Path, ids_file: Path, foreign_model: Path, tmp_path: Path
) -> None:
    text = tmp_path / "speech.txt"
    text.write_text(SPEECH.read_text()[:3000])
    command = ("attribute", "--owner", text_key, "--accounts", ids_file, text, "--json")
    found = cli(*command).json()
    alone = cli("detect", "--key", text_key, text, "--json").json()
    assert (found["n_tokens"], found["n_scored"]) == (alone["n_tokens"], alone["n_scored"])
    assert any("verified against the tokenizer" in note for note in found["notes"])
    assert found["groups"][0]["tokenizer_sha256"] == tiny_identity().sha256
    cli(*command, "--tokenizer", foreign_model).refused(5, "was made for tokenizer")


# --- keys of several kinds ---


def test_keys_of_several_widths_read_standard_input_once(
    cli: Cli, key: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = Key.load(save_key(tmp_path / "wide.key", 4, width=2, bare=True)).account("wide-account")
    wide.save(keys / "wide.key")
    rows = answers(tmp_path / "a.jsonl", key, "acct-1")
    from_file = cli("attribute", "--keys", keys, rows, "--json").json()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rows.read_bytes())))
    assert cli("attribute", "--keys", keys, "-", "--json").json() == from_file
    assert [(group["n_keys"], group["context_width"]) for group in from_file["groups"]] == [(6, 1), (1, 2)]
    assert from_file["n_scored"] is None
    assert (from_file["attributed"], from_file["n_keys"]) == (["acct-1"], 7)
    wide_one = next(one for one in from_file["accounts"] if one["account"] == "wide-account")
    assert wide_one["n_scored"] == from_file["groups"][1]["n_scored"]
    reading = reading_of(tmp_path / "r.npz", key, "acct-1")
    cli("attribute", "--keys", keys, "--reading", reading).refused(3, "context width 1", "give keys of one width")


def test_ids_under_keys_of_two_tokenizers_are_refused(cli: Cli, text_key: Path, tmp_path: Path, ids: Path) -> None:
    directory = tmp_path / "keys"
    directory.mkdir()
    Key.load(text_key).account("one").save(directory / "one.key")
    other = TokenizerIdentity("elsewhere", "ab" * 32, 384, (0, 1, 2))
    Key(bytes(range(32)), Parameters(16384, 2.0, 1, other)).account("two").save(directory / "two.key")
    cli("attribute", "--keys", directory, ids).refused(3, "ids.jsonl:1 holds token ids", "the keys are of 2")
    prompts = write_rows(tmp_path / "p.jsonl", [{"text": "a", "prompt_ids": [4, 5]}])
    cli("attribute", "--keys", directory, prompts).refused(3, "p.jsonl:1 holds token ids")
    reading = reading_of(tmp_path / "r.npz", text_key, "one")
    cli("attribute", "--keys", directory, "--reading", reading).refused(3, "what was saved is of one tokenizer")
    save_key(directory / "bare.key", 7, bare=True)  # a key without tokenizer takes ids as they are
    (directory / "two.key").unlink()
    assert cli("attribute", "--keys", directory, ids, "--json").json()["n_keys"] == 2


# --- options ---


def test_exit_codes(cli: Cli, key: Path, keys: Path, ids: Path, tmp_path: Path) -> None:
    few = write_rows(tmp_path / "few.jsonl", [{"token_ids": [5, 6, 7, 8]}])
    there = answers(tmp_path / "a.jsonl", key, "acct-1")
    reading = reading_of(tmp_path / "r.npz", key, "acct-1", Probe(green_for(Key.load(key).account("acct-1"), 60), []))

    def code(*arguments: object) -> int:
        result = cli("attribute", "--keys", keys, "--json", "--top", 0, *arguments)
        assert json.loads(result.out)["finding"] in ("attributed", "none attributed")
        return result.code

    assert [code(few), code(few, "--strict"), code(few, "--fail-on-detect")] == [0, 4, 0]
    assert [code(ids), code(ids, "--strict"), code(ids, "--fail-on-detect")] == [0, 0, 0]
    assert [code(there), code(there, "--strict"), code(there, "--fail-on-detect")] == [0, 0, 1]
    assert code("--reading", reading, "--strict") == 4


def test_alpha_effect_and_top(cli: Cli, key: Path, keys: Path, tmp_path: Path, ids: Path) -> None:
    weak = answers(tmp_path / "a.jsonl", key, "acct-1", length=16)
    assert cli("attribute", "--keys", keys, weak, "--json").json()["attributed"] == ["acct-1"]
    assert cli("attribute", "--keys", keys, weak, "--json", "--alpha", "1e-30").json()["attributed"] == []
    assert [len(cli("attribute", "--keys", keys, ids, "--json", "--top", n).json()["accounts"]) for n in (0, 2, 9)] == [
        *(0, 2, 6)
    ]
    assert len(cli("attribute", "--keys", keys, weak, "--json", "--top", 0).json()["accounts"]) == 1
    found = cli("attribute", "--keys", keys, ids, "--json", "--effect", "0.3").json()
    assert {one["finding"] for one in found["accounts"]} == {"inconclusive"}
    needed = pairs_needed(0.3, 0.25, alpha=1e-6 / 6)
    assert any(f"from {needed:,} pairs" in note for note in found["notes"])
    assert cli("attribute", "--keys", keys, ids, "--top", 0).code == 0


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (("{ids}",), "give --keys DIR, or --owner KEY --accounts FILE"),
        (("--keys", "{keys}", "--owner", "{key}", "--accounts", "{accounts}", "{ids}"), "give --keys DIR, or"),
        (("--owner", "{key}", "{ids}"), "--owner and --accounts go together"),
        (("--keys", "{keys}", "--accounts", "{accounts}", "{ids}"), "--owner and --accounts go together"),
        (("--keys", "{keys}", "--epoch", "2026-11", "{ids}"), "--epoch goes with --owner"),
        (("--keys", "{keys}"), "give FILES, or --reading FILE"),
        (("--keys", "{keys}", "--reading", "r.npz", "{ids}"), "give FILES, or --reading FILE"),
        (("--keys", "{keys}", "--reading", "r.npz", "--sampled"), "--sampled goes with FILES"),
        (("--keys", "{keys}", "--reading", "r.npz", "--tokenizer", "x"), "--tokenizer goes with FILES"),
        (("--keys", "{keys}", "{ids}", "--alpha", "1"), "--alpha"),
        (("--keys", "{keys}", "{ids}", "--alpha", "nan"), "--alpha"),
        (("--keys", "{keys}", "{ids}", "--top", "-1"), "--top"),
        (("--owner", "{key}", "--accounts", "{accounts}", "--epoch", "May", "{ids}"), "2026-11"),
    ],
)
def test_bad_options(
    cli: Cli, key: Path, keys: Path, ids: Path, ids_file: Path, arguments: tuple[str, ...], fragment: str
) -> None:
    places = {"keys": keys, "key": key, "ids": ids, "accounts": ids_file}
    cli("attribute", *(argument.format(**places) for argument in arguments)).refused(2, fragment)


def test_refused_inputs(cli: Cli, key: Path, keys: Path, ids: Path, ids_file: Path, tmp_path: Path) -> None:
    owner = ("attribute", "--owner", key, "--accounts")
    cli("attribute", "--keys", tmp_path / "missing", ids).refused(3, "is not a directory")
    (tmp_path / "empty").mkdir()
    cli("attribute", "--keys", tmp_path / "empty", ids).refused(3, "holds no key files")
    cli("attribute", "--keys", keys, tmp_path / "missing.jsonl").refused(3, "missing.jsonl")
    cli("attribute", "--keys", keys, "--reading", ids).refused(3, "is not a taggant-reading/2 or taggant-excess/2 file")
    cli("attribute", "--keys", keys, "--reading", tmp_path / "no.npz").refused(3, "cannot be read")
    cli(*owner, tmp_path / "no.txt", ids).refused(3, "cannot be read")
    cli("attribute", "--owner", tmp_path / "no.key", "--accounts", ids_file, ids).refused(5, "does not exist")
    twice = tmp_path / "twice.txt"
    twice.write_text("a\nb\na\n")
    cli(*owner, twice, ids).refused(3, "is listed for a, twice")
    bad = tmp_path / "bad.txt"
    bad.write_text("a\nb\u200b\n")
    cli(*owner, bad, ids).refused(3, "bad.txt:2", "invisible")
    (keys / "again.key").write_bytes((keys / "acct-1.key").read_bytes())
    (keys / "again.key").chmod(0o600)
    cli("attribute", "--keys", keys, ids).refused(3, "is listed for acct-1, twice")
    (keys / "again.key").write_text("{}")
    cli("attribute", "--keys", keys, ids).refused(5, "again.key", "holds no key")
    (keys / "again.key").write_text('{"secret": 1}')
    cli("attribute", "--keys", keys, ids).refused(5, "again.key", "lacks the member")
    (keys / "again.key").chmod(0o640)
    cli("attribute", "--keys", keys, ids).refused(5, "again.key", "open to group or others")


def test_a_file_named_to_steer_a_terminal_is_spelled_out(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    directory = tmp_path / "hostile"
    directory.mkdir()
    Key.load(key).save(directory / "\x1b[31mred\u202e.key")
    result = cli("attribute", "--keys", directory, ids)
    assert result.code == 0
    assert "⟨U+001B⟩[31mred⟨U+202E⟩" in result.out
    assert "\x1b" not in result.out
    as_json = cli("attribute", "--keys", directory, ids, "--json")
    assert as_json.out.isascii()
    assert as_json.json()["accounts"][0]["account"] == "\x1b[31mred\u202e"


def test_no_secret_and_no_file_is_left(cli: Cli, key: Path, keys: Path, ids_file: Path, tmp_path: Path) -> None:
    rows = answers(tmp_path / "a.jsonl", key, "acct-1")
    before = names(tmp_path), names(keys)
    outputs = [
        cli("-v", "attribute", "--keys", keys, rows, *more).out + cli("attribute", "--keys", keys, rows, *more).err
        for more in ((), ("--json",))
    ]
    derived = cli("-v", "attribute", "--owner", key, "--accounts", ids_file, rows, "--json")
    outputs += [derived.out, derived.err]
    for path in [key, *keys.iterdir()]:
        for hidden in secrets_of(path):
            assert not any(hidden in output for output in outputs)
    assert (names(tmp_path), names(keys)) == before


def test_an_interruption_is_one_line(
    cli: Cli, keys: Path, ids: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("detect.accounts.scores._count_tails", stop)
    assert run(["attribute", "--keys", str(keys), str(ids)]) == 130
    result = Result(130, *capsys.readouterr())
    assert (result.out, result.notes.count("\n")) == ("", 1)


def test_it_is_mounted_and_runs_as_installed(key: Path, keys: Path, tmp_path: Path) -> None:
    assert "attribute" in top_level.list_commands(top_level.make_context("taggant", [], resilient_parsing=True))
    rows = answers(tmp_path / "a.jsonl", key, "acct-1")
    result = execute("attribute", "--keys", keys, "-", "--json", stdin=rows.read_bytes())
    assert result.json()["attributed"] == ["acct-1"]
    assert result.notes == ""


def test_a_derived_key_in_the_owner_s_place_is_spoken_of(cli: Cli, tmp_path: Path, key: Path) -> None:
    derived = tmp_path / "account.key"
    Key.load(key).account("a").save(derived)
    ids_file = tmp_path / "ids.txt"
    ids_file.write_text("x\ny\n")
    rows = answers(tmp_path / "rows.jsonl", key, "a")
    warned = cli("attribute", "--owner", derived, "--accounts", ids_file, rows)
    assert "account.key is a derived key (account a), not an owner's" in warned.err
    assert "derived key" not in cli("attribute", "--owner", key, "--accounts", ids_file, rows).err


# --- in a case ---


def in_a_case(key: Path, case: str = "case") -> list[object]:
    return ["--key", key, "--case", case, "--json"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("what", ["text", "sampled", "reading"])
def test_a_case_has_the_test_of_its_own_key_among_all(what: str, cli: Cli, key: Path, tmp_path: Path) -> None:
    ids_file, own = tmp_path / "ids.txt", tmp_path / "own.key"
    ids_file.write_text("\n".join(ACCOUNTS))
    Key.load(key).account("acct-4").save(own)
    if what == "reading":
        material: list[object] = ["--reading", reading_of(tmp_path / "material", key, "acct-4")]
    else:
        rows = answers(tmp_path / "material", key, "acct-4", "acct-1", prompt_ids=[9, 8, 7])
        material = [rows.rename(tmp_path / "material.jsonl"), *(["--sampled"] if what == "sampled" else [])]
    command = ["attribute", "--owner", key, "--accounts", ids_file, *material]
    shown = cli(*command, *in_a_case(own)).json()
    assert shown == cli(*command, "--json").json()
    assert "acct-4" in shown["attributed"]
    assert cli("seal", "case", "-o", "bundle", "--open-key", "--key", own).code == 0
    found = verify_bundle("bundle")
    assert check_of(Path("bundle")) == "passed"
    (test,), (row,) = found.tests, [one for one in shown["accounts"] if one["account"] == "acct-4"]
    one = test.evidence
    assert one["log10_p"] == pytest.approx(row["log10_p"], abs=1e-9)
    assert one["log10_p_adjusted"] == pytest.approx(row["log10_p"] + math.log10(6), abs=1e-9)
    assert (one["n_scored"], one["n_green"]) == (row["n_scored"], row["n_green"])
    assert (one["test"], one["finding"], one["status"]) == (what, "detected", "exploratory")
    begun = found.log.entries[1].details
    assert (begun["command"], begun["key_id"]) == ("attribute", Key.load(own).key_id)
    assert len(begun["inputs"]) == 2
    others = [Key.load(key).account(account) for account in ACCOUNTS if account != "acct-4"]
    for data in found.files.values():  # of nobody else's account a word
        assert b"acct-" not in data
        assert not any(other.key_id.encode() in data for other in others)


@pytest.mark.usefixtures("here")
def test_a_case_that_cannot_be_one_of_it(cli: Cli, key: Path, keys: Path, ids: Path, tmp_path: Path) -> None:
    cli("attribute", "--keys", keys, ids, "--case", "case").refused(2, "--case and --key go together")
    cli("attribute", "--keys", keys, ids, "--key", key).refused(2, "--case and --key go together")
    told = cli("attribute", "--keys", keys, ids, *in_a_case(key))
    assert (told.code, "is none of the 6 listed" in told.err) == (3, True)
    assert events(Path("case")) == ["opened"]
    own = next(keys.iterdir())
    broken = write_rows(tmp_path / "broken.jsonl", [{"token_ids": [2**40]}])
    assert cli("attribute", "--keys", keys, broken, *in_a_case(own, "second")).code == 3
    assert events(Path("second")) == ["opened", "begun", "stopped"]
