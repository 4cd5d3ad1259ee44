"""What people are told of the notes: what changes a conclusion, in words; the rest is counted, and with -v told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from detect.cli.people import describe, describe_all
from detect.cli.told import Told, in_words
from detect.evidence import EXPLORATORY_NOTE, REFERENCE_NOTE, Assessment, assess
from tests.detect.cli.helpers import EVIDENCE, LINEUP, Cli, write_rows
from tests.detect.test_evidence import counted

MEMBERS = {name for name in (*EVIDENCE, *LINEUP, "token_ids", "prompt_ids", "top_p") if "_" in name}


def said(text: str) -> list[str]:
    return [line.removeprefix("  note         ") for line in text.splitlines() if line.startswith("  note  ")]


def members_in(text: str, directory: Path) -> set[str]:
    """Words with an underscore, paths aside."""
    return set(re.findall(r"[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+", text.replace(str(directory), "")))


def test_what_changes_no_conclusion_is_counted_and_not_told() -> None:
    evidence = assess(counted(50, 100), Assessment(key_check=True), notes=["2 documents skipped: too short"])
    shown = said(describe(evidence))
    assert "2 documents skipped: too short" in shown
    assert EXPLORATORY_NOTE in shown
    assert shown[-1] == f"{len(evidence.notes) - len(shown) + 1} more notes: -v or --json"
    assert len(said(describe(evidence, verbose=True))) == len(evidence.notes)


@pytest.mark.parametrize("how", [Assessment(key_check=False), Assessment(probes_marked=True)], ids=["key", "probes"])
def test_why_nothing_is_claimed_is_always_told(how: Assessment) -> None:
    evidence = assess(counted(90, 100), how)
    (why,) = [note for note in evidence.notes if "no p under it" in note or "so no p is claimed" in note]
    assert why in said(describe(evidence))


def test_a_note_that_nobody_knows_is_told() -> None:
    told = Told.of(["something new", "S = 1.0, the sum"])
    assert told.notes == ("something new",)
    assert len(told.held_back) == 1


def test_long_conditions_are_short_for_people_and_whole_with_verbose() -> None:
    note = REFERENCE_NOTE.format(-0.3)
    assert Told.of([note]).notes == ("p presupposes a reference that was published before the key's first use",)
    (whole,) = Told.of([note], verbose=True).notes
    assert whole == note.replace("log10_p", "log10 p")


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ("log10_p_adjusted: Holm over 2 tests", "adjusted p: Holm over 2 tests"),
        ("by the same test, log10_p -35.0", "by the same test, log10 p -35.0"),
        ("test it without token_ids.", "test it without token ids."),
        ("(first: out/token_ids.jsonl:3)", "(first: out/token_ids.jsonl:3)"),
        ("(first: my_token_ids)", "(first: my_token_ids)"),
    ],
)
def test_members_of_json_are_said_in_words_and_names_of_files_kept(note: str, words: str) -> None:
    assert in_words(note) == words


def test_of_several_tests_one_line_counts_what_is_held_back() -> None:
    found = {name: assess(counted(50, 100), notes=[f"probes: {name} rows, SHA-256 x"]) for name in ("12", "13")}
    lines = said(describe_all(found))
    held = {note for one in found.values() for note in one.notes} - set(lines)
    assert [line for line in lines if "more note" in line] == [f"{len(held)} more notes: -v or --json"]
    assert len(said(describe_all(found, verbose=True))) == len({note for one in found.values() for note in one.notes})


@pytest.mark.parametrize("verbose", [(), ("-v",)], ids=["", "-v"])
def test_no_command_says_a_member_of_json_to_people(
    verbose: tuple[str, ...], cli: Cli, text_key: Path, ids: Path, model: Path, tmp_path: Path
) -> None:
    rows: list[Any] = [
        {"id": str(n), "prompt": "Where is the sea?", "text": "The rain fell on the harbour and the boats." * 3}
        for n in range(4)
    ]
    probes = write_rows(tmp_path / "probes.jsonl", rows)
    both = write_rows(tmp_path / "both.jsonl", [{"text": "the rain fell", "token_ids": list(range(3, 90))}])
    suspect = ["suspect", "--key", text_key, "--model", model, "--probes", probes]
    commands: list[list[Any]] = [
        ["detect", "--key", text_key, ids, both, "--tokenizer", model, "--scan", "--normalise", "--decoys", 20],
        [*suspect, "--sample", 200, "--max-new-tokens", 20, "--decoys", 20],
        [*suspect, "--reference", model, "--sample", 200, "--max-new-tokens", 20],
        ["plan"],
        ["plan", "-o", tmp_path / "plan.json", "--key", text_key, "--probes", probes, "--effect", 0.5],
    ]
    for command in commands:
        result = cli(*verbose, *command)
        assert result.code == 0, result
        assert members_in(result.out, tmp_path) & MEMBERS == set(), result.out
        assert ("more note" in result.out) == (not verbose and command != ["plan"])
