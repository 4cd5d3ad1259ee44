"""The built-in probes: many domains, nothing shared, usable as they are, and the same for ever."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.fed import Probe
from detect.plans.parts import PlannedProbes
from detect.questioned.probes import make_probes
from detect.questioned.reading import read_model
from detect.readers import builtin, read_rows
from tests import tiny
from watermark.engines.models import load_model, load_tokenizer
from watermark.errors import InputError
from watermark.windows import WindowRule

# What a plan that was made with them holds. This never changes: a changed set gets a new name beside this one.
PLANNED = PlannedProbes("793994f9cc780848d5f8e3bdc230ad2c01489d1dde7361b1e39b0171a518c8e6", 185, 185)
CODE = ("code", "python", "shell", "sql", "web")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in builtin.FILE.read_text(encoding="utf-8").splitlines()]


def test_the_name_stands_for_these_rows_for_ever() -> None:
    assert hashlib.sha256(builtin.FILE.read_bytes()).hexdigest() == builtin.SHA256
    assert PlannedProbes.of(read_rows(["builtin"], prompts_only_ok=True)) == PLANNED


def test_rows_come_as_they_are_in_the_file(rows: list[dict[str, Any]]) -> None:
    read = list(read_rows(["builtin"], prompts_only_ok=True))
    assert [(row.id, row.prompt, row.text) for row in read] == [(r["id"], r["prompt"], r["text"]) for r in rows]
    assert read[7].source == "builtin:8"


def test_members_and_domains(rows: list[dict[str, Any]]) -> None:
    assert all(list(row) == ["id", "domain", "prompt", "text"] for row in rows)
    assert len({row["id"] for row in rows}) == len({row["prompt"] for row in rows}) == len(rows) == 185
    assert all(row["id"].startswith(f"{row['domain']}-") for row in rows)
    domains = Counter(row["domain"] for row in rows)
    assert len(domains) == 35
    assert {*CODE, "german", "french", "spanish", "chinese", "law", "medicine", "mathematics"} <= set(domains)
    assert max(domains.values()) < len(rows) / 20  # no domain weighs much


def test_answers_are_of_a_useful_length(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        text, words = row["text"], len(row["text"].split())
        assert text == text.strip()
        if row["domain"] in CODE:
            assert 8 <= text.count("\n") + 1 <= 30, row["id"]
        elif row["domain"] == "chinese":
            assert 130 <= len(text) <= 260, row["id"]
        else:
            assert 55 <= words <= 135, row["id"]


def test_no_two_rows_share_a_passage(rows: list[dict[str, Any]]) -> None:
    """Six words in a row, or twelve Chinese characters."""
    seen: dict[tuple[str, ...], str] = {}
    for row in rows:
        units, size = (list(row["text"]), 12) if row["domain"] == "chinese" else (row["text"].lower().split(), 6)
        for at in range(len(units) - size + 1):
            passage = tuple(units[at : at + size])
            assert seen.setdefault(passage, row["id"]) == row["id"], (row["id"], seen[passage], passage)
    assert len(seen) > 12_000


def test_code_is_what_it_says(rows: list[dict[str, Any]]) -> None:
    programs = [row for row in rows if row["domain"] == "python"]
    assert len(programs) >= 5
    for row in programs:
        compile(row["text"], row["id"], "exec")
    (configuration,) = (row for row in rows if row["domain"] == "web" and row["text"].startswith("{"))
    assert json.loads(configuration["text"])["interval_seconds"] == 300


def test_every_row_can_be_read_and_asked(one_torch_thread: None) -> None:
    tokenizer, model = load_tokenizer(tiny.shared()), load_model(tiny.shared())
    probes = make_probes(read_rows(["builtin"], prompts_only_ok=True), tokenizer)
    assert len({tuple(probe.prompt_ids) for probe in probes}) == len(probes)
    assert all(5 < len(probe.prompt_ids) < 250 and len(probe.answer_ids) > 100 for probe in probes)  # of bytes, nearly
    short = [Probe(probe.prompt_ids, probe.answer_ids[:12]) for probe in probes]
    found: list[int] = []
    reading = read_model(model, short, rule=WindowRule(1, (0, 1, 2)), vocab_size=384, on_positions=found.append)
    assert reading.n_positions == sum(found) == 12 * len(probes)
    assert np.isfinite(reading.weights).all()
    assert len(reading.pairs)


def test_only_probes_know_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested for a mark is a file; and a file of that name can be given as ./builtin."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="builtin does not exist"):
        list(read_rows(["builtin"]))
    Path("builtin").write_text("a text of mine")
    (mine,) = read_rows(["./builtin"], prompts_only_ok=True)
    assert mine.text == "a text of mine"
    (path,) = read_rows([Path("builtin")], prompts_only_ok=True)
    assert path.text == mine.text
    assert len(list(read_rows(["builtin"], prompts_only_ok=True))) == 185
    assert len(list(read_rows(["builtin", "./builtin"], prompts_only_ok=True))) == 186


@pytest.mark.parametrize("changed", [b"", b"\n", None])
def test_a_changed_or_missing_set_is_refused(
    changed: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "probes.jsonl"
    if changed is not None:
        other.write_bytes(builtin.FILE.read_bytes() + changed if changed else b"")
    monkeypatch.setattr(builtin, "FILE", other)
    with pytest.raises(InputError, match=r"built-in probes are missing or were changed .*install Taggant again"):
        list(read_rows(["builtin"], prompts_only_ok=True))


def test_they_are_shipped() -> None:
    """Inside the package, where hatchling takes every file that git does not ignore (tests/test_architecture.py)."""
    assert builtin.FILE.is_file()
    assert builtin.FILE.parent.parent == Path(builtin.__file__).parent.parent
