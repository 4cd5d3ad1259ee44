"""A finished study for all tests of it, made in this process."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from detect.workers import Task
from distill_sim import pipeline
from tests.distill_sim.small import inline
from tests.distill_sim.study.small import runner, save_owner, shrink


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages run in this process, and a study's own quantities are small."""
    monkeypatch.setattr(pipeline, "run_tasks", inline)
    shrink(monkeypatch)


@pytest.fixture(scope="session")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_owner(tmp_path_factory.mktemp("owner"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, owner: Path) -> Path:
    """A study that nothing disturbed. Read only."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()  # trainings collect garbage, and there is nothing to be found among what was imported
    root = tmp_path_factory.mktemp("study") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "run_tasks", inline)
        shrink(patch)
        assert runner(root, owner).run(quiet=True) == root / "index.html"
    gc.unfreeze()
    torch.set_num_threads(threads)
    return root


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that are begun from here on."""
    names: list[str] = []

    def noted(tasks: Sequence[Task], workers: int, threads: int) -> Any:
        for update in inline(tasks, workers, threads):
            if update[1] == "started":
                names.append(update[0])
            yield update

    monkeypatch.setattr(pipeline, "run_tasks", noted)
    return names
