"""One training by two processes: the same science, whole files, and no process left behind."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_sim import training
from distill_sim.recipe import Recipe
from distill_sim.training import train
from tests import tiny
from tests.distill_sim.processes import children, eventually, in_session, running
from tests.distill_sim.test_student import RECIPE, corpus, mean_loss, same, weights
from watermark.errors import InputError, ModelError, TaggantError

pytestmark = pytest.mark.usefixtures("one_torch_thread")
TWO = replace(RECIPE, epochs=2)  # nine steps


ROWS = [replace(row, id=str(i % 9)) for i, row in enumerate(corpus(17))]
"""Several corpora together; 34 rows in two epochs: in the last step one process has nothing to learn."""


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    directory = tmp_path_factory.mktemp("two")
    told: list[Any] = []
    output = train(
        tiny.shared(), ROWS, TWO, directory / "s", lambda *step: told.append(step),
        work=directory / "work", processes=2, threads=1, checkpoint_seconds=1e9,
    )  # fmt: skip
    assert [path.name for path in directory.iterdir()] == ["s"]  # all that was beside it is gone
    return output, told


def test_two_processes_learn_what_one_learns(by_two: tuple[Path, list[Any]], tmp_path: Path) -> None:
    """The same rows a step and the same loss: weights differ by rounding, thousands of times less than they moved."""
    output, told = by_two
    one = train(tiny.shared(), ROWS, TWO, tmp_path / "s", work=tmp_path / "work")
    start, alone, together = weights(tiny.shared()), weights(one), weights(output)
    assert alone.keys() == together.keys()
    moved = max(float((alone[name] - start[name]).abs().max()) for name in start)
    differ = max(float((alone[name] - together[name]).abs().max()) for name in start)
    assert differ < moved / 1000
    assert mean_loss(output, corpus(17)) < 0.9 * mean_loss(tiny.shared(), corpus(17))
    assert told == [(step, 9, "training") for step in range(10)]
    first, second = (json.loads((path / "recipe.json").read_text()) for path in (one, output))
    assert second["losses"] == pytest.approx(first["losses"], abs=2e-4)
    assert second["losses"][-1] < second["losses"][0]
    assert (second["processes"], "processes" in first) == (2, False)
    assert {path.name for path in output.iterdir()} == {path.name for path in one.iterdir()}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


PROGRAM = """
import sys
from pathlib import Path
import torch
from distill_sim.training import train
from tests.distill_sim.test_training import ROWS, TWO
if __name__ == "__main__":
    torch.set_num_threads(1)
    model, root = map(Path, sys.argv[1:])
    train(model, ROWS, TWO, root / "s", lambda *step: print(*step, flush=True),
          work=root / "work", processes=2, threads=1, checkpoint_seconds=0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_killed_and_resumed_it_ends_with_the_same_weights(by_two: tuple[Path, list[Any]], tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    root = tmp_path / "root"
    arguments = (str(tmp_path / "program.py"), str(tiny.shared()), str(root))
    with running(*arguments) as program:
        assert program.stdout is not None
        for line in program.stdout:
            if line.startswith("6 "):
                break
        ((torchrun, _),) = children(program.pid)
        ranks = {pid for pid, _ in children(torchrun)}  # in sessions of their own
        assert len(ranks) == 2
        os.kill(program.pid, signal.SIGKILL)
        eventually(lambda: not in_session(program.pid), 20, "torchrun's end")
        eventually(lambda: not any(map(alive, ranks)), 5, "no orphan")
    assert not (root / "s").exists()
    told: list[int] = []
    again = train(
        tiny.shared(), ROWS, TWO, root / "s", lambda done, *_: told.append(done),
        work=root / "work", processes=2, threads=1, checkpoint_seconds=1e9,
    )  # fmt: skip
    assert told[0] >= 5  # it went on; it did not start again
    assert told[-1] == 9
    assert same(by_two[0], again)


def test_errors_come_as_they_are_and_deaths_as_one_line(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"work": tmp_path / "work", "processes": 2, "threads": 1}
    with pytest.raises(ModelError, match=r"no config\.json"):
        train(tmp_path, ROWS, TWO, tmp_path / "s", **arguments)
    assert not (tmp_path / "s").exists()


def test_a_death_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho noise\necho no more memory >&2\nexit 9\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(TaggantError, match=r"2 processes ended with exit code 9 \(no more memory\)"):
        train(tiny.shared(), ROWS, TWO, tmp_path / "s", work=tmp_path / "work", processes=2)


@pytest.mark.parametrize("processes", [0, 3])
def test_batches_are_shared_evenly(processes: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{processes} processes cannot share batches of 4 rows"):
        train(tiny.shared(), ROWS, Recipe(batch_size=4), tmp_path / "s", work=tmp_path / "w", processes=processes)
    assert list(tmp_path.iterdir()) == []


def test_one_process_is_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_started", None)  # starting any would fail
    output = train(tiny.shared(), ROWS, RECIPE, tmp_path / "s", work=tmp_path / "w")
    assert not torch.equal(*(weights(d)["model.layers.2.mlp.up_proj.weight"] for d in (output, tiny.shared())))
