"""What the processors wrote is found from the command line, under its own key only; and no secret is ever shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.detect.cli.helpers import SPEECH, Cli, execute, read_rows, save_key, secrets_of, write_rows
from tests.watermark.engines.helpers import VOCABULARY, model, tokenizer
from watermark import GreenListProcessor, Key, MarkConfig

STRONG = 12.0


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("keys")
    return {
        "own": save_key(directory / "own", 1, delta=STRONG),
        "wide": save_key(directory / "wide", 2, delta=STRONG, width=3),
        "fixed": save_key(directory / "fixed", 3, delta=STRONG, width=0),
        "other": save_key(directory / "other", 4, delta=STRONG),
        "other wide": save_key(directory / "other-wide", 5, delta=STRONG, width=3),
        "other fixed": save_key(directory / "other-fixed", 6, delta=STRONG, width=0),
    }


def generated(how: str, key_file: Path) -> list[dict[str, Any]]:
    """Rows as an engineer would log them."""
    key = Key.load(key_file)
    marking: dict[str, Any] = (
        {"logits_processor": [GreenListProcessor(key, VOCABULARY)]}
        if how == "GreenListProcessor"
        else {"watermarking_config": MarkConfig(key)}
    )
    prompts = [f"The boat {number} came" for number in range(8)]
    batch = tokenizer()(prompts, return_tensors="pt", padding=True, padding_side="left")
    torch.manual_seed(17)
    output = model().generate(**batch, do_sample=True, temperature=0.9, max_new_tokens=60, **marking)
    width = batch.input_ids.shape[1]
    return [
        {"prompt": prompt, "prompt_ids": row[:width], "token_ids": row[width:]}
        for prompt, row in zip(prompts, output.tolist(), strict=True)
    ]


@pytest.mark.parametrize("how", ["GreenListProcessor", "MarkConfig"])
@pytest.mark.parametrize(("own", "other"), [("own", "other"), ("wide", "other wide"), ("fixed", "other fixed")])
def test_what_generate_wrote_is_detected_under_its_key_only(
    how: str, own: str, other: str, keys: dict[str, Path], cli: Cli, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", generated(how, keys[own]))
    found = cli("detect", "--key", keys[own], rows, "--decoys", 99, "--json").json()
    assert found["finding"] == "detected"
    assert found["green_fraction"] > 0.95
    assert found["n_scored"] > 40
    assert found["lineup"]["rank"] == 1
    assert cli("detect", "--key", keys[own], rows, "--fail-on-detect").code == 1
    foreign = cli("detect", "--key", keys[other], rows, "--json").json()
    assert foreign["finding"] != "detected"
    assert foreign["log10_p"] > -3


def test_what_the_command_wrote_is_detected_as_ids_and_as_text(
    keys: dict[str, Path], cli: Cli, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    directory = request.getfixturevalue("model")
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"Where is the {word}?"} for word in ("sea", "moon")])
    out = tmp_path / "out.jsonl"
    command = ["generate", "--model", directory, "--key", keys["own"], "--prompts", prompts, "-o", out]
    assert cli(*command, "--samples", 6, "--max-new-tokens", 80, "--temperature", 0.9).code == 0
    texts = write_rows(tmp_path / "texts.jsonl", [{"text": row["text"]} for row in read_rows(out)])
    for rows, least in ((out, 0.95), (texts, 0.4)):  # bytes that are no UTF-8 do not survive decoding
        found = cli("detect", "--key", keys["own"], rows, "--json").json()
        assert found["finding"] == "detected", rows
        assert found["green_fraction"] > least
        foreign = cli("detect", "--key", keys["other"], rows, "--json").json()
        assert foreign["log10_p"] > -3, rows


def test_a_derived_key_marks_and_its_siblings_and_parent_see_nothing(
    keys: dict[str, Path], cli: Cli, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        cli("key", "derive", keys["own"], "--account", name, "--epoch", "2026-11", "-o", tmp_path / name)
    cli("key", "rotate", keys["own"], "-o", tmp_path / "rotated")
    rows = write_rows(tmp_path / "rows.jsonl", generated("MarkConfig", tmp_path / "a"))
    findings = {}
    for name, path in (("a", tmp_path / "a"), ("b", tmp_path / "b"), ("r", tmp_path / "rotated"), ("p", keys["own"])):
        findings[name] = cli("detect", "--key", path, rows, "--json").json()["finding"]
    assert findings == {"a": "detected", "b": "not detected", "r": "not detected", "p": "not detected"}


# Secrets


def everything(cli: Cli, model_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run all commands, well and badly, on keys below `tmp_path`; returns what they printed."""
    monkeypatch.setenv("TAGGANT_DEBUG", "1")
    k, probes = tmp_path / "k", tmp_path / "probes.jsonl"
    write_rows(probes, [{"prompt": "rain", "text": SPEECH.read_text()[:200]}])
    commands: list[list[object]] = [
        ["keygen", "-o", k, "--tokenizer", model_directory, "--delta", 9, "-v"],
        ["keygen", "-o", k],
        ["key", "show", k],
        ["key", "show", k, "--json"],
        ["key", "derive", k, "--account", "acct", "--epoch", "2026-11", "-o", tmp_path / "k2", "--json"],
        ["key", "rotate", k, "-o", tmp_path / "k3"],
        ["key", "commit", k, "--account", "acct", "-o", tmp_path / "commitment", "--leaves", tmp_path / "leaves"],
        ["generate", "--model", model_directory, "--key", k, "--prompts", probes, "-o", tmp_path / "out", "-v",
         "--max-new-tokens", 40],
        ["detect", "--key", k, tmp_path / "out"],
        ["detect", "--key", tmp_path / "k2", tmp_path / "probes.jsonl", "--each", "--decoys", 3, "-v",
         "--highlight", tmp_path / "page.html"],
        ["detect", "--key", tmp_path / "k3", SPEECH, "--json"],
        ["detect", "--key", k, tmp_path / "none"],
        ["suspect", "--key", k, "--model", model_directory, "--probes", probes, "--sample", 20, "--decoys", 2, "-v"],
        ["suspect", "--key", k, "--model", tmp_path / "none", "--probes", probes, "--json"],
        ["plan", "--key", k],
        ["key", "check", k, SPEECH],  # last: it refuses one key in a hundred, which then marks nothing
        ["key", "check", k, SPEECH],
        ["doctor"],
    ]  # fmt: skip
    printed = []
    for command in commands:
        result = cli(*command)
        printed += [result.out, result.err]
    return printed


def test_no_secret_is_in_any_output_or_file(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    printed = everything(cli, request.getfixturevalue("model"), tmp_path, monkeypatch)
    names = ("k", "k2", "k3")
    secrets = [secret for name in names for secret in secrets_of(tmp_path / name)]
    assert len(set(secrets)) == 6
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name not in names]
    assert {path.name for path in files} > {"commitment", "leaves", "k.check.json", "out", "page.html"}
    content = b"\n".join([*(text.encode() for text in printed), *(path.read_bytes() for path in files)])
    assert len(content) > 20_000
    for secret in secrets:
        raw = bytes.fromhex(secret)
        for piece in (secret[:16], secret[-16:], secret[24:40]):
            assert piece.encode() not in content.lower()
        assert raw[:8] not in content
        assert repr(raw)[2:20].encode() not in content
    for name in names:
        assert json.loads((tmp_path / name).read_text())["key_id"].encode() in content


def test_a_malformed_key_is_not_quoted_even_by_a_traceback(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGGANT_DEBUG", "1")
    key = save_key(tmp_path / "k", 7, bare=True)
    secret = secrets_of(key)[0]
    key.write_text(key.read_text().replace('"delta": 2.0', f'"{secret}": 2.0'))
    result = cli("key", "show", key)
    result.refused(5, "lacks the member 'delta'")
    key.write_text(key.read_text()[:-20])
    cli("key", "show", key).refused(5, "not JSON")
    assert secret[:12] not in result.err
    crashing = execute("key", "show", key, TAGGANT_DEBUG="1")
    assert secret[:12] not in crashing.err
