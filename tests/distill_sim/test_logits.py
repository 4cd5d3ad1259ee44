"""Distillation from distributions: what the teacher says, how far the student is from it, and that it learns it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distill_sim.examples import Example, collate
from distill_sim.logits import LogitTeacher, windows
from distill_sim.recipe import Recipe
from distill_sim.student import train_student
from tests import tiny
from tests.distill_sim.test_corpus import ROW
from tests.watermark.engines.helpers import SPECIALS, key_for, model
from watermark import GreenList
from watermark.engines.models import load_model
from watermark.errors import InputError

pytestmark = pytest.mark.usefixtures("one_torch_thread")

EXAMPLES = [Example((1, 40, 41, 2, 60, 61, 62, 63), 4), Example((1, 50, 2, 70, 71), 3)]
BATCH = collate(EXAMPLES)
LEARNT = [(row, t) for row, one in enumerate(EXAMPLES) for t in range(one.start, len(one.ids))]  # labelled tokens


@pytest.mark.parametrize("width", [0, 1, 2, 3])
def test_the_window_of_a_token_is_what_stands_before_it(width: int) -> None:
    found = windows(BATCH["input_ids"], BATCH["labels"], width).tolist()
    span = max(1, width)
    expected = [[EXAMPLES[row].ids[max(0, t - span + i)] for i in range(span)] for row, t in LEARNT]
    assert found == expected


@pytest.mark.parametrize("width", [0, 1, 2])
def test_the_teacher_says_what_its_marked_logits_say(width: int) -> None:
    """Every distribution by hand: the logits behind the prefix, and delta on green tokens that are no specials."""
    key = key_for(width)
    found = LogitTeacher(model(), key).log_probabilities(BATCH["input_ids"], BATCH["labels"])
    colours = GreenList(key)
    for (row, t), said in zip(LEARNT, found, strict=True):
        ids = EXAMPLES[row].ids[:t]
        with torch.no_grad():
            logits = model()(torch.tensor([ids])).logits[0, -1]
        context = ids[len(ids) - width :] if width else ()
        green = colours.mask(np.array([context], dtype=np.int64).reshape(1, width), logits.shape[0])[0]
        green[list(SPECIALS)] = False
        if not set(context) & set(SPECIALS):
            logits = logits + key.delta * torch.from_numpy(green)
        assert torch.allclose(said, logits.log_softmax(-1), atol=1e-4)


@torch.no_grad()
def test_the_loss_is_the_mean_divergence_and_nothing_from_itself() -> None:
    plain, marked = LogitTeacher(model(), None), LogitTeacher(model(), key_for())
    assert float(plain.loss(model(), BATCH["input_ids"], BATCH["labels"])) == pytest.approx(0, abs=1e-6)
    p = marked.log_probabilities(BATCH["input_ids"], BATCH["labels"]).double()
    q = plain.log_probabilities(BATCH["input_ids"], BATCH["labels"]).double()
    expected = float((p.exp() * (p - q)).sum(dim=1).mean())
    assert expected > 0.1
    assert float(marked.loss(model(), BATCH["input_ids"], BATCH["labels"])) == pytest.approx(expected, rel=1e-4)


def test_a_student_comes_nearer_to_the_marked_teacher(tmp_path: Path) -> None:
    rows = [
        replace(ROW, id=str(n), prompt_ids=(1, 30 + n, 2), token_ids=tuple(range(60 + n, 90 + n))) for n in range(16)
    ]
    teacher = LogitTeacher(load_model(tiny.shared()), key_for())
    recipe = Recipe(method="full", batch_size=4, epochs=25, learning_rate=3e-3)
    train_student(tiny.shared(), rows, recipe, tmp_path / "student", teacher=teacher)
    batch = collate([Example(row.prompt_ids + row.token_ids, 3) for row in rows])

    def distance(of: object) -> float:
        with torch.no_grad():
            return float(teacher.loss(of, batch["input_ids"], batch["labels"]))

    assert distance(load_model(tmp_path / "student")) < 0.5 * distance(model())


def test_several_processes_do_not_share_a_loss_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distill_sim import ranks

    monkeypatch.setattr(ranks, "count", lambda: 2)
    with pytest.raises(InputError, match="trained by one process"):
        train_student(
            tiny.shared(),
            [replace(ROW, prompt_ids=(1, 2), token_ids=(60, 61))],
            Recipe(layers=1),
            tmp_path / "student",
            teacher=LogitTeacher(model(), None),
        )
