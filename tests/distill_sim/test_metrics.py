"""Metrics on request: what is written where, and that they change nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distill_sim import metrics as module
from distill_sim.metrics import Metrics
from distill_sim.student import train_student
from tests import tiny
from tests.distill_sim.test_student import RECIPE, Killed, corpus, killer, same
from watermark.errors import InputError

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def logged(directory: Path, name: str) -> dict[int, float]:
    """Values by step, as TensorBoard shows them."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(directory))
    events.Reload()
    return {one.step: one.value for one in events.Scalars(name)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
def test_tensorboard_shows_every_step_and_the_student_is_the_same(tmp_path: Path) -> None:
    plain = train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "plain")
    watched = train_student(
        tiny.shared(), corpus(), RECIPE, tmp_path / "s", metrics=Metrics("tensorboard", tmp_path / "m", "one")
    )
    assert same(plain, watched)
    losses = json.loads((watched / "recipe.json").read_text())["losses"]
    assert logged(tmp_path / "m" / "one", "train/loss") == pytest.approx(dict(enumerate(losses, 1)), abs=1e-3)
    assert {path.name for path in tmp_path.iterdir()} == {"plain", "s", "m"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
def test_after_a_kill_no_step_is_shown_twice(tmp_path: Path) -> None:
    metrics = Metrics("tensorboard", tmp_path / "m")
    with pytest.raises(Killed):
        train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "s", killer(4), checkpoint_seconds=0, metrics=metrics)
    train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "s", metrics=metrics)
    assert sorted(logged(tmp_path / "m" / "student", "train/loss")) == [1, 2, 3, 4, 5]


def test_trackio_writes_into_the_directory_and_to_no_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for trackio: its releases want other versions of what is installed here."""
    calls: list[Any] = []
    trackio = SimpleNamespace(
        __version__="0.43.0",
        __spec__=object(),
        init=lambda **values: print("noise") or calls.append(values),  # type: ignore[func-returns-value]
        log=lambda values: calls.append(values["train/global_step"]),
        finish=lambda: print("noise") or calls.append("finish"),  # type: ignore[func-returns-value]
        config={},
        context_vars=SimpleNamespace(current_space_id=SimpleNamespace(get=lambda: None)),
    )
    trackio.config = type("Config", (dict,), {"update": lambda self, values, allow_val_change: None})()
    monkeypatch.setitem(sys.modules, "trackio", trackio)  # type: ignore[arg-type]
    monkeypatch.setattr("transformers.integrations.integration_utils.is_trackio_available", lambda: True)
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "s", metrics=Metrics("trackio", tmp_path / "m", "one"))
    assert module.os.environ["TRACKIO_DIR"] == str(tmp_path / "m")
    assert capfd.readouterr().out == ""  # that is for data
    begun = calls[0]
    assert (begun["project"], begun["name"], begun["space_id"], begun["bucket_id"]) == ("taggant", "one", None, None)
    assert {step for step in calls[1:] if isinstance(step, int)} >= {1, 2, 3, 4, 5}
    assert calls[-1] == "finish"


def test_what_cannot_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="tool is 'wandb'"):
        Metrics("wandb", tmp_path)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'taggant\[tensorboard\]'"):
        Metrics("tensorboard", tmp_path)


def test_a_relative_directory_means_the_same_in_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Metrics("tensorboard", Path("m")).directory == tmp_path / "m"
