"""A finished demo for all tests of it, made in this process."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from distill_sim import pipeline
from distill_sim.demo.run import run_demo
from distill_sim.workers import Task
from tests import tiny
from tests.distill_sim.demo.outcome import nobody
from tests.distill_sim.small import CONDITION, inline


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages run in this process; those of the driver, a process of its own, do not."""
    monkeypatch.setattr(pipeline, "run_tasks", inline)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo that nothing disturbed. Read only."""
    import torch

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("demo") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "run_tasks", inline)
        assert run_demo(root, CONDITION, model=tiny.shared(), on_event=nobody) == root / "index.html"
    return root


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture
def unstarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stage may run."""

    def refuse(tasks: Sequence[Task], workers: int, threads: int) -> Any:
        assert not tasks, "a stage was to be run"
        return inline(tasks, workers, threads)

    monkeypatch.setattr(pipeline, "run_tasks", refuse)
