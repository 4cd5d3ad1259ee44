"""A finished demo for all tests of it, made in this process."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from detect.workers import Task
from distill_sim import pipeline
from distill_sim.demo.condition import stages
from distill_sim.demo.keys import ACCOUNT, demo_keys
from distill_sim.demo.run import _summary, run_demo
from distill_sim.pipeline import Finished, Pipeline, run_stage
from tests import tiny
from tests.distill_sim.demo import pages
from tests.distill_sim.demo.outcome import nobody
from tests.distill_sim.small import CONDITION, inline
from watermark import Key
from watermark.engines.models import load_tokenizer, model_digest


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


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> pages.Run:
    """A whole demo, its stages run one after the other in this process, under a key that never changes. Read only."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root, model = tmp_path_factory.mktemp("page"), tiny.shared()
    (root / "keys").mkdir()
    owner = Key(bytes(range(32)), Key.generate(tokenizer=load_tokenizer(model)).parameters)
    owner.save(root / "keys" / "owner.key")
    owner.account(ACCOUNT).epoch("2026-11").save(root / "keys" / "account.key")
    keys = demo_keys(root / "keys", model, used=False)
    plan = stages(pages.CONDITION, keys.account, key_file=keys.account_file, model=model, model_id=model_digest(model))
    pipeline = Pipeline(root, plan)
    finished: dict[str, Finished] = {}
    for number, stage in enumerate(plan):
        output = pipeline.directory(stage.name)
        run_stage(
            {
                "function": stage.function,
                "settings": dict(stage.settings),
                "private": dict(stage.private),
                "inputs": {need: str(pipeline.directory(need)) for need in stage.needs},
                "output": str(output),
                "work": str(root / "work" / stage.name),
                "identity": pipeline.identities[stage.name],
            },
            lambda done, total, what: None,
        )
        finished[stage.name] = Finished(output, 10.0 + number)
    torch.set_num_threads(threads)
    return pages.Run(root, keys.account, _summary(root, pages.CONDITION, keys, model, finished), finished)


@pytest.fixture(scope="session")
def whole(done: pages.Run) -> pages.Page:
    return done.page(done.root / "index.html")
