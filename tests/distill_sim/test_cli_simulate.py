"""`taggant simulate`: help, fields, status, and that everything it refuses is one line with the designed exit code."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from detect.workers import Task
from distill_sim import pipeline
from distill_sim.condition import Condition
from distill_sim.kept import let_go
from distill_sim.study import file, run
from distill_sim.survival import SURVIVAL, read_table
from tests import tiny
from tests.detect.cli.helpers import Cli, execute, save_key
from tests.distill_sim.small import inline
from tests.distill_sim.study.small import shrink
from tests.watermark.engines.test_vllm_answers import STUB
from watermark.errors import InputError

pytestmark = pytest.mark.usefixtures("one_torch_thread")

STUDY = """
title = "Very small"
seeds = 1
keys = 1
fresh_keys = 5

[base]
answers = 8
answer_tokens = 12
epochs = 1
batch_size = 8
method = "top"
layers = 1
probe_tokens = 40
sampled_tokens = 40
"""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("TAGGANT_DEBUG", raising=False)
    return Cli(capsys)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages run in this process; chunks are small."""
    shrink(monkeypatch)
    monkeypatch.setattr(pipeline, "run_tasks", inline)
    whole = file.parse_study

    def parsed(content: Any) -> file.Study:
        found = whole(content)
        return replace(found, scale=replace(found.scale, chunk=16))

    monkeypatch.setattr(file, "parse_study", parsed)


@pytest.fixture
def unstarted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(tasks: Sequence[Task], workers: int, threads: int) -> Any:
        raise AssertionError("a stage was to be run")

    monkeypatch.setattr(pipeline, "run_tasks", refuse)


# --- what it says of itself ---


def test_help_and_the_list_of_commands(cli: Cli) -> None:
    found = cli("simulate", "--help")
    assert (found.code, found.err) == (0, "")
    for option in ("--output", "--key", "--model", "--workers", "--status", "--fields"):
        assert option in found.out
    assert "taggant simulate benchmarks/studies/nano.toml -o runs/nano" in found.out
    assert re.search(r"^  simulate +A study: ", cli("--help").out, re.MULTILINE)


def test_help_needs_no_torch() -> None:
    done = execute("simulate", "--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.code == 0
    assert re.search(r"\bclick\b", done.err)
    assert not re.search(r"\b(torch|transformers|scipy|pyarrow)\b", done.err)


def test_every_field_is_listed_with_its_default(cli: Cli) -> None:
    found = cli("simulate", "--fields")
    assert (found.code, found.err) == (0, "")
    *lines, profile = found.out.splitlines()
    assert profile.startswith("profile ")
    assert "trace, balanced, discreet: delta, gamma and context_width" in profile
    assert [line.split()[0] for line in lines] == [one.name for one in fields(Condition)]
    for line, one in zip(lines, fields(Condition), strict=True):
        assert line.endswith(f"[{one.default!r}]")


# --- a study ---


@pytest.mark.usefixtures("small")
def test_a_study_from_the_command_line_and_how_far_it_is(cli: Cli, study: Path, tmp_path: Path) -> None:
    root, key = tmp_path / "run", save_key(tmp_path / "owner.key", 3)
    arguments = (study, "-o", root, "--model", tiny.shared(), "--key", key, "--workers", 1)
    done = cli("simulate", *arguments)
    assert done.code == 0, done
    assert done.out == f"{root / 'index.html'}\n"
    assert {row["condition"] for row in read_table(root / SURVIVAL)} == {
        "base", "source=unmarked", "source=human", "source=another-owner",
    }  # fmt: skip
    assert json.loads((root / "study.json").read_text())["machine"]["workers"] == 1
    status = cli("simulate", *arguments, "--status")
    assert (status.code, status.err) == (0, "")
    stages = len(list((root / "stages").iterdir()))
    assert status.out.splitlines()[-1].split() == ["all", "stages", str(stages), "of", str(stages)]
    assert all(re.fullmatch(r"\S.*\S +(\d+) of \1", line) for line in status.out.splitlines())
    quiet = cli("-q", "simulate", *arguments)
    assert (quiet.code, quiet.out, quiet.err) == (0, f"{root / 'index.html'}\n", "")


@pytest.mark.usefixtures("small")
def test_a_study_whose_teacher_answers_through_vllm(
    cli: Cli, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for vLLM: other answers, and from there on the same stages; the same command finds them finished."""
    monkeypatch.syspath_prepend(STUB)
    monkeypatch.delenv("TAGGANT_VLLM_PYTHON", raising=False)
    root, key = tmp_path / "run", save_key(tmp_path / "owner.key", 3)
    arguments = (study, "-o", root, "--model", tiny.shared(), "--key", key, "--workers", 1)
    done = cli("simulate", *arguments, "--teacher-engine", "vllm")
    let_go()  # a worker's end would do it
    assert (done.code, done.out) == (0, f"{root / 'index.html'}\n")
    described = json.loads((root / "study.json").read_text())
    assert described["teacher_engine"] == "vllm"
    answers = [json.loads(path.read_text())["settings"] for path in root.glob("stages/marked-*/stage.json")]
    assert {one["engine"] for one in answers} == {"vllm"}
    begun = [json.loads(line)["stage"] for line in (root / "log.jsonl").read_text().splitlines() if "started" in line]
    kinds = [name.partition("-")[0] in ("marked", "answers") for name in begun]
    assert kinds == sorted(kinds, reverse=True)  # the engine is started once
    green = {row["condition"]: row["green_fraction"] for row in read_table(root / SURVIVAL) if row["test"] == "text"}
    assert green.pop("base") > 0.5
    assert len(green) == 3
    assert max(green.values()) < 0.45
    stages = len(list((root / "stages").iterdir()))
    status = cli("simulate", *arguments, "--teacher-engine", "vllm", "--status")
    assert status.out.splitlines()[-1].split() == ["all", "stages", str(stages), "of", str(stages)]
    other = cli("simulate", *arguments, "--status")  # the same study by transformers: little is shared
    shared, total = (int(number) for number in other.out.splitlines()[-1].split()[2::2])
    assert 0 < shared < total / 2


# --- what it refuses ---


@pytest.mark.usefixtures("unstarted")
def test_a_teacher_in_vllm_where_there_is_none(
    cli: Cli, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watermark.engines.vllm_answers.find_spec", lambda name: None)
    monkeypatch.delenv("TAGGANT_VLLM_PYTHON", raising=False)
    found = cli("simulate", study, "-o", tmp_path / "run", "--teacher-engine", "vllm")
    assert (found.code, found.out) == (3, "")
    assert "docs/vllm.md" in found.err
    assert len(found.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("unstarted")
@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("study.toml",),
        ("-o", "run"),
        ("study.toml", "-o", "run", "--workers", "0"),
        ("study.toml", "-o", "run", "--colour"),
        ("study.toml", "other.toml", "-o", "run"),
    ],
)
def test_bad_options(arguments: tuple[str, ...], cli: Cli, monkeypatch: pytest.MonkeyPatch, study: Path) -> None:
    monkeypatch.chdir(study.parent)
    found = cli("simulate", *arguments)
    assert (found.code, found.out) == (2, "")
    assert "Traceback" not in found.err
    assert not (study.parent / "run").exists()


@pytest.mark.usefixtures("unstarted")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scale = 'mega'", "scale: 'mega' is none of nano, smollm2"),
        ("seeds = ", "is not a study"),
        ("[[vary]]\nname = \"a\\nb\\u001b[31m\"\nafter = ['prune']", "write 'prune:0.5'"),
        ("[[vary]]\ndose = [1]", "is no field of a condition; `taggant simulate --fields` lists them"),
    ],
)
def test_a_file_that_cannot_be_meant(text: str, says: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(text)
    cli("simulate", tmp_path / "s.toml", "-o", tmp_path / "run", "--model", tiny.shared()).refused(3, says, "s.toml")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("unstarted")
def test_a_file_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    cli("simulate", tmp_path / "s.toml", "-o", tmp_path / "run").refused(3, "does not exist; give a study's TOML file")


@pytest.mark.usefixtures("unstarted")
def test_a_directory_that_is_not_a_studys(cli: Cli, study: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("precious")
    cli("simulate", study, "-o", tmp_path / "run", "--model", tiny.shared()).refused(3, "holds thesis.tex")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


@pytest.mark.usefixtures("unstarted")
def test_keys_that_cannot_be_used_are_the_keys_exit_code(cli: Cli, study: Path, tmp_path: Path) -> None:
    arguments = (study, "-o", tmp_path / "run", "--model", tiny.shared(), "--key")
    cli("simulate", *arguments, tmp_path / "missing.key").refused(5, "missing.key")
    (tmp_path / "open.key").write_bytes(save_key(tmp_path / "closed.key").read_bytes())
    (tmp_path / "open.key").chmod(0o644)
    cli("simulate", *arguments, tmp_path / "open.key").refused(5, "open.key")


@pytest.mark.usefixtures("unstarted")
def test_a_model_that_is_none(cli: Cli, study: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    cli("simulate", study, "-o", tmp_path / "run", "--model", tmp_path / "empty").refused(3, "empty")


@pytest.mark.usefixtures("unstarted")
def test_the_status_of_what_was_never_begun(cli: Cli, study: Path, tmp_path: Path) -> None:
    found = cli("simulate", study, "-o", tmp_path / "run", "--model", tiny.shared(), "--status")
    found.refused(3, "no study was begun in")
    assert not (tmp_path / "run").exists()


def test_what_a_study_raises_is_one_line(
    cli: Cli, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: run.Runner, *, quiet: bool = False) -> Path:
        raise InputError("stage student-1: the corpus is empty")

    monkeypatch.setattr(run.Runner, "run", fail)
    cli("simulate", study, "-o", tmp_path / "run").refused(3, "stage student-1: the corpus is empty")
