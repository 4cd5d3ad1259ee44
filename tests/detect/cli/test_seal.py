"""`taggant seal`: one bundle of everything, closed or with the one key opened."""

from __future__ import annotations

import errno
import hashlib
import json
import socket
from pathlib import Path

import pytest

from detect.bundles.container import read_bundle
from detect.bundles.custody import Log
from detect.bundles.signer import PublicKey
from tests.detect.bundles.helpers import events, payloads
from tests.detect.cli.helpers import SPEECH, Cli, names, save_key, secrets_of
from tests.tools.second import second
from watermark import Key
from watermark.errors import InputError
from watermark.keys import Commitment, Opening, verify_opening

pytestmark = pytest.mark.usefixtures("here")
CASE = Path("case")


@pytest.fixture
def case(cli: Cli, text_key: Path) -> Path:
    """Of account b's key, committed to with two others."""
    three = [part for name in "abc" for part in ("--account", name)]
    where = ["-o", "commitment.json", "--leaves", "leaves.json", "--case", CASE]
    assert cli("key", "commit", text_key, *three, *where).code == 0
    assert cli("key", "derive", text_key, "--account", "b", "-o", "b.key").code == 0
    assert cli("detect", "--key", "b.key", SPEECH, "--case", CASE).code == 0
    return CASE


def test_a_closed_bundle_holds_no_secret(cli: Cli, case: Path, text_key: Path) -> None:
    shown = cli("seal", case, "-o", "bundle.zip", "--json").json()
    files = read_bundle("bundle.zip")
    assert shown["manifest_sha256"] == hashlib.sha256(files["manifest.json"]).hexdigest()
    assert (shown["files"], shown["entries"], shown["opened"]) == (len(files), 5, False)
    assert "opening.json" not in files
    signing = (case / "signer.pem").read_text().splitlines()[1]
    held = [*secrets_of(text_key), *secrets_of(Path("b.key"))]
    for secret in [signing.encode(), *(one.encode() for one in held), *map(bytes.fromhex, held)]:
        for name, content in files.items():
            said = json.dumps(payloads(content)).encode() if name == "custody.jsonl" else b""
            assert secret not in content + said, name


def test_the_bundle_is_all_that_was_recorded(cli: Cli, case: Path) -> None:
    assert cli("seal", case, "-o", "bundle").code == 0
    files = read_bundle("bundle")
    keys = {name[8:-4]: PublicKey.from_pem(data, name) for name, data in files.items() if name.startswith("signers/")}
    log = Log.read(files["custody.jsonl"], keys)
    log.require_sealed()
    assert {f"case/{name}": found for name, found in log.subjects.items()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name.startswith("case/")
    }
    assert {name: key.keyid for name, key in keys.items()} == {name: name for name in keys}
    environment = json.loads(files["environment.json"])
    assert environment["format"] == "taggant-environment/1"
    assert set(environment) == {"format", "taggant", "python", "implementation", "system", "machine", "libraries"}


def test_one_key_is_opened_in_its_commitment(cli: Cli, case: Path, text_key: Path) -> None:
    command = ["seal", case, "-o", "bundle", "--open-key", "--key", "b.key"]
    cli(*command).refused(5, "--leaves")
    assert events(case)[-1] == "finished"
    result = cli(*command, "--leaves", "leaves.json")
    assert result.code == 0
    assert "whoever has it can forge and remove this one mark" in result.err
    opening = Opening.from_json(json.loads(read_bundle("bundle")["opening.json"]))
    verify_opening(opening, Commitment.load("commitment.json"))
    assert opening.chacha_key == Key.load("b.key").chacha_key.hex()
    assert opening.leaf.account == "b"
    for secret in [*secrets_of(text_key), secrets_of(Path("b.key"))[0]]:
        assert all(secret.encode() not in content for content in read_bundle("bundle").values())
    assert payloads((case / "custody.jsonl").read_bytes())[-1]["details"] == {"opened": True}


FEW = "counted fewer than 20 pairs"


def test_counts_of_few_pairs_tell_colours_of_a_closed_bundle(cli: Cli, case: Path) -> None:
    """Of one pair the count is the colour; an opened bundle tells all colours anyway."""
    assert FEW not in cli("seal", case, "-o", "long.zip").err
    rows = [{"token_ids": [10 + i, 50 + i]} for i in range(3)]
    Path("short.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert cli("detect", "--key", "b.key", "short.jsonl", "--each", "--case", case).code == 0
    shown = cli("seal", case, "-o", "closed.zip")
    assert shown.code == 0
    assert "of one pair, its count is its colour" in shown.err
    files = read_bundle("closed.zip")
    few = [
        one for name, data in files.items() if "/runs/" in name and name.endswith(".json")
        for one in [json.loads(data)] if "alpha" in one and 0 < one["n_scored"] < 20
    ]  # fmt: skip
    assert f"{len(few)} recorded tests {FEW}" in shown.err
    assert len(few) >= 3
    opened = cli("seal", case, "-o", "opened.zip", "--open-key", "--key", "b.key", "--leaves", "leaves.json")
    assert FEW not in opened.err


def test_another_key_is_not_opened(cli: Cli, case: Path, text_key: Path, tmp_path: Path) -> None:
    for key in (text_key, save_key(tmp_path / "other.key", 1)):
        command = ["seal", case, "-o", "bundle", "--open-key", "--key", key, "--leaves", "leaves.json"]
        cli(*command).refused(5, "give its own key")
    assert not Path("bundle").exists()


def test_a_case_can_be_sealed_again(cli: Cli, case: Path) -> None:
    assert cli("seal", case, "-o", "closed.zip").code == 0
    assert cli("case", "note", case, "the court orders the key opened").code == 0
    opened = ["--open-key", "--key", "b.key", "--leaves", "leaves.json"]
    assert cli("seal", case, "-o", "opened.zip", *opened).code == 0
    assert events(case)[-3:] == ["sealed", "noted", "sealed"]
    first, second = read_bundle("closed.zip"), read_bundle("opened.zip")
    assert second["custody.jsonl"].startswith(first["custody.jsonl"])


def test_options_that_do_not_go_together(cli: Cli, case: Path, tmp_path: Path) -> None:
    cli("seal", case, "-o", "b", "--open-key").refused(2, "--open-key and --key are needed together")
    cli("seal", case, "-o", "b", "--key", "b.key").refused(2, "--open-key and --key are needed together")
    cli("seal", case, "-o", "b", "--leaves", "leaves.json").refused(2, "--leaves", "--open-key")
    cli("seal", case).refused(2, "-o")
    (tmp_path / "b").write_text("mine")
    cli("seal", case, "-o", "b").refused(3, "b already exists")
    cli("seal", case, "-o", "none/b").refused(3, "none is not a directory")
    cli("seal", "nowhere", "-o", "c").refused(3, "nowhere is not a case")
    assert not Path("nowhere").exists()
    assert events(case)[-1] == "finished"


def test_what_was_changed_is_not_sealed(cli: Cli, case: Path, tmp_path: Path) -> None:
    path = case / "runs" / "0001" / "text.json"
    path.write_bytes(path.read_bytes() + b" ")
    before = names(tmp_path)
    cli("seal", case, "-o", "bundle").refused(3, "text.json is not the file that was recorded")
    assert names(tmp_path) == before
    assert events(case)[-1] == "finished"


def test_a_case_without_a_mark_is_not_sealed(cli: Cli, text_key: Path) -> None:
    assert cli("key", "commit", text_key, "-o", "c.json", "--case", CASE).code == 0
    cli("seal", CASE, "-o", "bundle").refused(3, "has no mark yet")


@pytest.mark.parametrize("place", ["bundle", "bundle.zip"])
def test_an_authority_that_is_gone_leaves_no_trace(place: str, cli: Cli, case: Path) -> None:
    """Neither a bundle, nor an entry that says there was one."""
    before, there = (case / "custody.jsonl").read_bytes(), names(Path())
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        cli("seal", case, "-o", place, "--timestamp", nobody).refused(3, "127.0.0.1 cannot be reached")
    assert (case / "custody.jsonl").read_bytes() == before
    assert names(Path()) == there
    assert cli("seal", case, "-o", place).code == 0
    assert events(case).count("sealed") == 1
    assert cli("verify", place).code == 0


@pytest.mark.parametrize("place", ["bundle", "bundle.zip"])
def test_a_bundle_that_cannot_be_written_leaves_none_either(
    place: str, cli: Cli, case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (case / "custody.jsonl").read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("detect.bundles.seal.write_zip", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    cli("seal", case, "-o", place).refused(3, "No space left on device")
    assert (case / "custody.jsonl").read_bytes() == before
    assert not Path(place).exists()


@pytest.mark.parametrize("place", ["bundle", "bundle.zip"])
def test_a_log_that_cannot_be_written_leaves_no_bundle(
    place: str, cli: Cli, case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise InputError("custody.jsonl cannot be written")

    there = names(Path())
    monkeypatch.setattr("detect.bundles.case.Case.write", full)
    cli("seal", case, "-o", place).refused(3, "custody.jsonl cannot be written")
    assert names(Path()) == there


# --- what shows the special ids ---


def second_verifier(bundle: str) -> str:
    *_, last = second.verify(Path(bundle))
    return str(last)


def test_an_opened_bundle_shows_the_tokens_of_the_keys_tokenizer(cli: Cli, case: Path, text_key: Path) -> None:
    command = ["seal", case, "--open-key", "--key", "b.key", "--leaves", "leaves.json"]
    assert cli(*command, "-o", "bundle.zip").code == 0
    files, mark = read_bundle("bundle.zip"), Key.load("b.key").tokenizer
    assert mark is not None
    ids = b"".join(one.to_bytes(4, "little") for one in mark.special_ids)
    assert hashlib.sha256(files["vocabulary.bin"] + ids).hexdigest() == mark.sha256
    verified = cli("verify", "bundle.zip")
    assert verified.code == 0
    assert second_verifier("bundle.zip").startswith("PASSED")
    for said in (verified.out, second_verifier("bundle.zip")):
        assert "which ids are special" not in said
        assert f"with its {len(mark.special_ids)} special ids, is the model's" in said
    whose = cli("verify", "bundle.zip", "--tokenizer", mark.name)
    assert whose.code == 0
    assert "special ids" not in whose.out


def test_without_the_tokenizer_the_special_ids_stay_a_word(cli: Cli, case: Path) -> None:
    content = json.loads(Path("b.key").read_text())
    kept, content["tokenizer"]["name"] = content["tokenizer"]["name"], str(Path("gone").resolve())
    Path("b.key").write_text(json.dumps(content))
    command = ["seal", case, "--open-key", "--key", "b.key", "--leaves", "leaves.json"]
    result = cli(*command, "-o", "without.zip")
    assert result.code == 0
    assert "cannot check which ids are special. Give --tokenizer" in result.notes
    assert "vocabulary.bin" not in read_bundle("without.zip")
    assert "which ids are special" in cli("verify", "without.zip").out
    assert "which ids are special" in second_verifier("without.zip")
    assert cli(*command, "-o", "with.zip", "--tokenizer", kept).code == 0
    assert "vocabulary.bin" in read_bundle("with.zip")
    assert cli("seal", case, "-o", "closed.zip").code == 0
    assert "vocabulary.bin" not in read_bundle("closed.zip")
    assert cli("seal", case, "-o", "closed-with.zip", "--tokenizer", kept).code == 0
    assert "vocabulary.bin" in read_bundle("closed-with.zip")
    assert "which ids are special" in cli("verify", "closed-with.zip").out  # whose the hash is, is not shown


def test_another_tokenizer_is_refused(cli: Cli, case: Path, foreign_model: Path) -> None:
    cli("seal", case, "-o", "bundle.zip", "--tokenizer", foreign_model).refused(5, "is not the tokenizer of the case")
    cli("seal", case, "-o", "bundle.zip", "--tokenizer", "nowhere").refused(3, "nowhere")
    assert not Path("bundle.zip").exists()
    assert events(case)[-1] == "finished"
