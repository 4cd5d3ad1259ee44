"""From the first command with --case to `taggant verify`, and the second verifier, on what was sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.detect.cli.helpers import SPEECH, Cli, save_key, write_rows
from tests.detect.cli.test_case import CASE
from tests.detect.cli.test_case_suspect import asking, planned
from tests.detect.cli.test_suspect_plan import PROMPTS, written
from tests.detect.questioned import table_model
from tests.detect.questioned.fake_server import FakeServer
from tests.tools.second import second
from watermark import Key

pytestmark = pytest.mark.usefixtures("here", "unconfigured")
WORDS = "The moon goes still over the harbour where the boats counted coins twice and then the rain fell. "


@pytest.fixture
def account_key(cli: Cli, text_key: Path) -> Path:
    """Of account b, committed to in the case with that of a."""
    files = ["-o", "commitment.json", "--leaves", "leaves.json", "--case", CASE]
    assert cli("key", "commit", text_key, "--account", "a", "--account", "b", *files).code == 0
    assert cli("key", "derive", text_key, "--account", "b", "-o", "b.key").code == 0
    return Path("b.key")


def handed_over(cli: Cli, key: Path, *, opened: bool) -> dict[str, Any]:
    """What both verifiers say of the case, sealed; that of the first as JSON."""
    name = f"{'opened' if opened else 'closed'}.zip"
    options = ["--open-key", "--key", key, "--leaves", "leaves.json"] if opened else []
    sealed = cli("seal", CASE, "-o", name, *options)
    assert sealed.code == 0, sealed
    lines = list(second.verify(Path(name)))
    assert lines[-1].startswith("PASSED: "), lines
    shown: dict[str, Any] = cli("verify", name, "--json").json()
    assert (shown["passed"], shown["opened"]) == (True, opened)
    return shown


def test_texts_from_commitment_to_verification(cli: Cli, account_key: Path) -> None:
    assert cli("detect", "--key", account_key, SPEECH, "--each", "--scan", "--decoys", 20, "--case", CASE).code == 0
    assert cli("case", "note", CASE, "read by two of us").code == 0
    closed = handed_over(cli, account_key, opened=False)
    opened = handed_over(cli, account_key, opened=True)
    assert closed["tests"] == opened["tests"]
    assert [test["name"] for test in opened["tests"]] == ["text", "text/scan", "each/00001"]
    assert {test["finding"] for test in opened["tests"]} == {"not detected"}


def test_a_case_is_no_bundle_yet(cli: Cli, account_key: Path) -> None:
    words = "manifest.json is not there; this is a case: `taggant seal` makes a bundle of it"
    shown = cli("verify", CASE)
    assert (shown.code, shown.out) == (1, f"FAILED: missing {words}\n")
    done = cli("report", CASE, "-o", "report.html")
    assert (done.code, done.err) == (1, f"FAILED: missing {words}; nothing was written\n")
    assert cli("detect", "--key", account_key, SPEECH, "--case", CASE).code == 0
    assert cli("seal", CASE, "-o", "bundle").code == 0
    Path("bundle/manifest.json").unlink()
    assert cli("verify", "bundle").out == "FAILED: missing manifest.json is not there\n"


def test_normalised_texts(cli: Cli, account_key: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(SPEECH.read_text(encoding="utf-8")[:6000].replace("a", "а"), encoding="utf-8")
    command = ["detect", "--key", account_key, tmp_path / "text.txt", "--normalise", "--scan", "--each", "--case", CASE]
    assert cli(*command).code == 0
    names = [test["name"] for test in handed_over(cli, account_key, opened=True)["tests"]]
    assert names == ["text", "text/scan", "normalised", "normalised/scan", "each/00001", "each/00001/normalised"]


def test_a_planned_examination_of_a_server(cli: Cli, account_key: Path, tmp_path: Path) -> None:
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])
    plan = planned(cli, account_key, prompts)
    with FakeServer(text=written(account_key, 0.6)) as server:
        assert cli(*asking(server, account_key, prompts, "--plan", plan)).code == 0
        assert cli(*asking(server, account_key, prompts, "--plan", plan)).code == 0
    for opened in (False, True):
        shown = handed_over(cli, account_key, opened=opened)
        assert [(test["finding"], test["confirmatory"]) for test in shown["tests"]] == [
            ("detected", True),
            ("detected", False),
        ]


def test_a_reading_with_its_control_and_the_answers(
    cli: Cli, account_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Key.load(save_key(tmp_path / "again.key")).account("b")
    base = table_model.build(tmp_path / "base", key=None, delta=0.0, seed=0)
    student = table_model.build(tmp_path / "student", key=key, delta=1.0, seed=0)
    rows = [{"prompt": p, "text": (WORDS * 3)[i * 9 :]} for i, p in enumerate(PROMPTS)]
    probes = write_rows(tmp_path / "probes.jsonl", rows)
    monkeypatch.setattr("detect.cli.weighing.AUDITED", 60)  # a short audit of the reference
    known = ["--reference", base, "--positive-control", student]
    tests = ["--primary", "reading", "--also", "sampled/distinct", "--also", "sampled/excess", "--sample", 100]
    plan = planned(cli, account_key, probes, *tests, *known)
    command = ["suspect", "--key", account_key, "--probes", probes, "--plan", plan, *known, "--model", student]
    assert cli(*command, "--case", CASE).code == 0
    for opened in (False, True):
        shown = handed_over(cli, account_key, opened=opened)
        assert [test["name"] for test in shown["tests"]] == [
            "reading/difference",
            "sampled/distinct",
            "sampled/excess",
            "reading/difference/control",
            "sampled/excess/control",
        ]
        assert [test["confirmatory"] for test in shown["tests"]] == [True, True, True, False, False]
