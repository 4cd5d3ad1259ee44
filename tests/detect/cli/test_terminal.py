"""Nothing that others wrote steers a terminal: every command, in a directory and on texts with hostile names."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import click
import pytest

from detect.bundles.seal import write_bundle
from detect.cli.main import COMMANDS, LazyGroup
from tests.detect.bundles.bad.mutations import good, made
from tests.detect.cli.helpers import SPEECH, Cli, Result, write_rows
from watermark import Key

EVIL = "a\x1b]0;owned\x07\x1b[2J\u202e\x9b1m\x08\x7f b\u200b"
STEERS = set(EVIL) - set("a]0;owned[2J1m b")
FORMULA = "=cmd|' /C calc'!A0"


def tame(result: Result, *codes: int) -> Result:
    """Ended as it should, and neither stream holds what a terminal obeys or hides."""
    assert result.code in codes or (not codes and result.code == 0), result
    for stream in (result.out, result.err):
        assert not STEERS & set(stream), result
        assert "\r" not in stream, result
    return result


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose name is hostile, and which is the working directory."""
    made_here = tmp_path / EVIL
    made_here.mkdir()
    monkeypatch.chdir(made_here)
    return made_here


@pytest.fixture
def hostile(place: Path) -> Path:
    """Rows whose texts, prompts, ids and names are hostile."""
    words = SPEECH.read_text(encoding="utf-8")[:3000]
    rows = [{"id": f"{EVIL}{i}", "prompt": f"{EVIL} {FORMULA}", "text": f"{EVIL}\n{FORMULA} {words}"} for i in range(2)]
    return write_rows(place / f"{FORMULA.replace('/', '')}{EVIL}.jsonl", rows)


def every_command() -> set[str]:
    """Every command by its whole name; groups stand for their commands."""
    group, found = LazyGroup(), set()
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        found |= {f"{name} {sub}" for sub in command.commands} if isinstance(command, click.Group) else {name}
    return found


def test_keys(cli: Cli, place: Path, model: Path, hostile: Path) -> None:
    key = place / f"{EVIL}.key"
    tame(cli("keygen", "-o", key, "--tokenizer", model))
    tame(cli("keygen", "-o", key), 3)
    tame(cli("keygen", "-o", place / EVIL / "x", "--tokenizer", model), 3)
    tame(cli("key", "show", key))
    tame(cli("key", "derive", key, "--account", "a", "-o", place / f"{EVIL}derived"))
    tame(cli("key", "derive", key, "--account", EVIL, "-o", place / "x"), 2)
    tame(cli("key", "commit", key, "-o", place / f"{EVIL}c.json", "--leaves", place / f"{EVIL}l.json"))
    tame(cli("key", "check", key, hostile), 0, 5)
    tame(cli("key", "rotate", key, "--epoch", EVIL), 2)
    tame(cli("key", "rotate", place / EVIL), 2, 5)
    key.chmod(0o600)
    key.write_text(EVIL)
    tame(cli("key", "show", key), 5)


def test_texts(cli: Cli, place: Path, text_key: Path, hostile: Path, model: Path) -> None:
    tame(cli("detect", "--key", text_key, hostile, "--scan", "--normalise", "--case", f"{EVIL}case", "-v"))
    for how in ("--json", "--each"):
        tame(cli("detect", "--key", text_key, hostile, how))
    tame(cli("detect", "--key", text_key, hostile, "--highlight", place / f"{EVIL}.html"))
    tame(cli("detect", "--key", text_key, place / f"{EVIL}absent"), 2, 3)
    keys = place / f"{EVIL}keys"
    keys.mkdir()
    Key.load(text_key).save(keys / f"{EVIL}.key")
    tame(cli("attribute", "--keys", keys, hostile))
    tame(cli("case", "note", f"{EVIL}case", f"{EVIL}{FORMULA}"))
    assert "⟨U+001B⟩" in tame(cli("case", "show", f"{EVIL}case")).out
    tame(cli("seal", f"{EVIL}case", "-o", place / f"{EVIL}.zip"))
    tame(cli("seal", place / EVIL, "-o", place / "x.zip"), 3)
    small = ("--keys", 100, "--length", 30)
    tame(cli("validate", "-o", place / f"{EVIL}v", "--tokenizer", model, *small, "--texts", f"{EVIL}={hostile}"), 0, 2)
    tame(cli("validate", "-o", place / f"{EVIL}w", "--tokenizer", model, *small, "--texts", f"mine={hostile}"))
    for line in csv.reader((place / f"{EVIL}w" / "validation.csv").read_text().splitlines()):
        assert not [cell for cell in line if cell[:1] in ("=", "+", "-", "@", "\t", "\r") or STEERS & set(cell)]


def test_models(cli: Cli, place: Path, text_key: Path, hostile: Path, model: Path) -> None:
    short = ("--max-new-tokens", 8)
    tame(cli("generate", "--model", model, "--no-mark", "--prompts", hostile, "-o", place / f"{EVIL}.out", *short))
    tame(cli("suspect", "--key", text_key, "--model", model, "--probes", hostile, "--case", f"{EVIL}case", "-v"))
    tame(cli("suspect", "--key", text_key, "--model", place / EVIL, "--probes", hostile), 2, 3)
    tame(cli("suspect", "--key", text_key, "--api", f"http://127.0.0.1:9/{EVIL}", "--model-name", EVIL, "--probes",
             hostile, "--give-up-after", 0), 2, 3)  # fmt: skip
    tame(cli("plan", "-o", place / f"{EVIL}plan", "--key", text_key, "--probes", hostile))
    tame(
        cli("suspect", "--key", text_key, "--plan", place / f"{EVIL}absent", "--model", model, "--probes", hostile),
        2,
        3,
    )


def test_bundles(cli: Cli, place: Path) -> None:
    bundle = place / f"{EVIL}.zip"
    write_bundle(good("texts-checked"), bundle)
    tame(cli("verify", bundle))
    tame(cli("report", bundle, "-o", place / f"{EVIL}.html"))
    tame(cli("report", bundle, "-o", place / f"{EVIL}.html"), 3)
    tame(cli("verify", place / f"{EVIL}absent.zip"), 1, 2, 3)
    for name in ("nul-in-a-name", "evidence-with-another-member", "hidden-file"):
        (place / "bad.zip").write_bytes(made(name))
        tame(cli("verify", "bad.zip"), 1)
    (place / "c.toml").write_text(f"{json.dumps(EVIL)} = 1\n")
    tame(cli("report", bundle, "-o", place / "x.html", "--commission", place / "c.toml"), 3)


def test_the_simulator(cli: Cli, place: Path, model: Path) -> None:
    study = place / f"{EVIL}.toml"
    for content in (f"scale = {json.dumps(EVIL)}", f"{json.dumps(EVIL)} = 1", f"[[vary]]\n{json.dumps(EVIL)} = [1]"):
        study.write_text(content)
        tame(cli("simulate", study, "-o", place / "run"), 3)
    tame(cli("simulate", place / f"{EVIL}absent", "-o", place / "run"), 3)
    tame(cli("demo", "-o", place, "--model", model), 3)  # holds what is not a demo's
    tame(cli("demo", "-o", study, "--model", model), 3)
    tame(cli("model", "pull", "smollm2", "-o", study), 3)
    tame(cli("doctor"), 0, 1)


def test_no_command_is_left_out() -> None:
    """By the calls above."""
    called = re.findall(r'cli\("([a-z]+)"(?:, "([a-z]+)")?', Path(__file__).read_text(encoding="utf-8"))
    assert {f"{name} {sub}" if name in ("key", "case", "model") else name for name, sub in called} == every_command()
