"""What the mark costs, against hand counts and plain loops."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.functional import cross_entropy

from distill_sim.corpus import CorpusRow
from distill_sim.fluency import fluency
from distill_sim.quality import Cloze, HeldOut, Length, Repetition, cloze, held_out_loss, length, repetition
from tests import tiny
from tests.distill_sim.test_corpus import ROW
from watermark.engines.models import load_model
from watermark.errors import InputError

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(tiny.shared())


def answers(*several: Sequence[int]) -> list[CorpusRow]:
    return [replace(ROW, id=str(i), token_ids=tuple(ids)) for i, ids in enumerate(several)]


def noise(count: int, tokens: int, seed: int = 1) -> list[CorpusRow]:
    draw = np.random.default_rng(seed)
    return [replace(row, prompt_ids=(5, 6)) for row in answers(*draw.integers(3, 384, (count, tokens)).tolist())]


# --- length and repetition ---


def test_length_counts_every_answer() -> None:
    found = length(answers([1] * 3, [2] * 10, [], [3] * 4))
    assert found == Length(4, 4.25, float(stats.sem([3, 10, 0, 4])), 3.5)
    assert length(answers([1, 2])) == Length(1, 2.0, 0.0, 2.0)
    with pytest.raises(InputError, match="without rows"):
        length([])


def test_repetition_counted_by_hand() -> None:
    rows = answers([1, 2, 1, 2, 1, 2], [7, 8, 9, 10], [7, 7, 7])
    # 4-grams: 1212 2121 1212 → 1/3 repeated; one of one; the third is too short
    assert repetition(rows) == Repetition(
        n_answers=2,
        seq_rep_4=pytest.approx(1 / 6),
        n_tokens=13,
        distinct_1=pytest.approx(6 / 13),  # 1 2 7 8 9 10
        distinct_2=pytest.approx(6 / 10),  # 12 21 78 89 910 77
    )


def test_grams_never_cross_answers() -> None:
    assert repetition(answers([1, 2, 3, 4], [1, 2, 3, 4])).seq_rep_4 == 0.0
    assert repetition(answers([1, 1, 1, 1, 1])).seq_rep_4 == 0.5


def test_variety_is_read_off_the_first_tokens_alone() -> None:
    rows = answers([1, 2, 3, 4], [5, 5, 5, 5, 5, 5])
    found = repetition(rows, max_tokens=6)
    assert (found.n_tokens, found.distinct_1) == (6, 5 / 6)
    assert found.distinct_2 == 1.0  # 12 23 34 55
    assert found.seq_rep_4 == repetition(rows).seq_rep_4  # of whole answers
    assert repetition(rows, max_tokens=99) == repetition(rows)
    with pytest.raises(InputError, match="max_tokens is 0"):
        repetition(rows, max_tokens=0)
    with pytest.raises(InputError, match="no answer has 4 tokens"):
        repetition(answers([1, 2, 3]))


# --- held-out loss ---


def test_held_out_loss_is_the_training_loss_on_other_rows(model: Any) -> None:
    rows = noise(11, 17)
    found = held_out_loss(model, rows)
    assert (found.n_texts, found.n_tokens) == (11, 11 * 17)
    assert found.nats_per_token == fluency(model, rows).nats_per_token


def test_a_text_without_prompt_is_read_from_its_second_token_on(model: Any) -> None:
    (row,) = noise(1, 20)
    bare = replace(row, prompt_ids=())
    ids = torch.tensor([bare.token_ids])
    with torch.inference_mode():
        expected = float(cross_entropy(model(input_ids=ids).logits[0, :-1].double(), ids[0, 1:]))
    found = held_out_loss(model, [bare])
    assert found == HeldOut(1, 19, pytest.approx(expected, rel=1e-5))


def test_texts_are_cut_and_ids_checked(model: Any) -> None:
    assert held_out_loss(model, noise(3, 40), max_length=12).n_tokens == 30
    with pytest.raises(InputError, match="the model has only 384"):
        held_out_loss(model, [replace(ROW, token_ids=(384,))])


# --- cloze ---


def test_every_choice_is_the_likeliest_by_a_plain_computation(model: Any) -> None:
    """With as many distractors as other texts nothing is left to the draw."""
    rows = noise(5, 14)
    counted = 0
    for row in rows:
        means = []
        for other in [row, *(one for one in rows if one is not row)]:
            ids = torch.tensor([row.prompt_ids + row.token_ids[:6] + other.token_ids[6:10]])
            with torch.inference_mode():
                log_p = model(input_ids=ids).logits[0].double().log_softmax(-1)
            means.append(float(sum(log_p[t - 1, ids[0, t]] for t in range(8, 12))) / 4)
        counted += means[0] > max(means[1:])
    found = cloze(model, rows, context_tokens=6, continuation_tokens=4, distractors=4)
    assert (found.n, found.correct, found.accuracy) == (5, counted, counted / 5)
    interval = stats.binomtest(counted, 5).proportion_ci(0.95)
    assert found.ci95 == pytest.approx((interval.low, interval.high))


def written(model: Any, count: int) -> list[CorpusRow]:
    """What the model itself would say."""
    rows = []
    for row in noise(count, 10):
        ids = torch.tensor([row.prompt_ids + row.token_ids])
        with torch.inference_mode():
            for _ in range(10):
                ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], dim=1)
        rows.append(replace(row, token_ids=tuple(ids[0, 2:].tolist())))
    return rows


def test_a_model_knows_its_own_texts_and_is_at_chance_on_noise(model: Any) -> None:
    own = cloze(model, written(model, 40), context_tokens=10, continuation_tokens=10)
    assert own.accuracy > 0.9
    blind = cloze(model, noise(200, 20), context_tokens=10, continuation_tokens=10)
    assert blind.chance == 0.25
    assert blind.ci95[0] < 0.25 < blind.ci95[1]


def test_lengths_do_not_decide(model: Any) -> None:
    """A model of equal chances ties everything, also choices of other lengths; and a tie is a miss."""

    class Uniform:
        def get_input_embeddings(self) -> Any:
            return model.get_input_embeddings()

        def __call__(self, *, input_ids: torch.Tensor, logits_to_keep: torch.Tensor, use_cache: bool) -> Any:
            return type("Output", (), {"logits": torch.zeros(int(logits_to_keep.sum()), 384)})

    rows = [replace(row, token_ids=row.token_ids[: 10 + i]) for i, row in enumerate(noise(9, 20))]
    found = cloze(Uniform(), rows, context_tokens=4, continuation_tokens=12)  # type: ignore[arg-type]
    assert (found.n, found.correct) == (9, 0)


def test_the_seed_draws_texts_and_distractors_and_batches_do_not_matter(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = noise(60, 20)
    arguments: dict[str, Any] = {"context_tokens": 8, "continuation_tokens": 8, "items": 30}
    steps: list[int] = []
    first = cloze(model, rows, **arguments, on_items=steps.append)
    assert first == cloze(model, rows, **arguments)
    assert (sum(steps), first.n) == (30, 30)
    assert len({cloze(model, rows, **arguments, seed=seed).correct for seed in range(4)}) > 1
    monkeypatch.setattr("distill_sim.quality.CLOZE_BATCH", 1)
    assert cloze(model, rows, **arguments) == first


def test_what_cannot_be_asked(model: Any) -> None:
    with pytest.raises(InputError, match="3 different continuations in texts of 30 tokens"):
        cloze(model, [*noise(3, 40), *noise(5, 29)])
    with pytest.raises(InputError, match="1 different"):
        cloze(model, [replace(noise(1, 40)[0], id=str(i)) for i in range(9)])
    with pytest.raises(InputError, match="distractors is 0"):
        cloze(model, noise(9, 40), distractors=0)
    with pytest.raises(InputError, match="has only 384"):
        cloze(model, [*noise(9, 40), replace(ROW, token_ids=(400,) * 40)])


@pytest.mark.parametrize("kind", [Length, Repetition, HeldOut, Cloze])
def test_results_are_frozen_and_become_json(kind: Any) -> None:
    one = kind(*range(len(dataclasses.fields(kind))))
    assert list(one.to_dict()) == [field.name for field in dataclasses.fields(kind)]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, dataclasses.fields(kind)[0].name, 2)
