"""What is trained on, in which order, in which tensors."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_sim.examples import IGNORED, Example, arrange, collate, make_examples
from tests.distill_sim.test_corpus import ROW
from watermark.errors import InputError


def row(prompt: tuple[int, ...], answer: tuple[int, ...]):  # type: ignore[no-untyped-def]
    return replace(ROW, prompt_ids=prompt, token_ids=answer)


def test_an_example_is_prompt_then_answer() -> None:
    (example,) = make_examples([row((5, 6, 7), (8, 9))], 100, 10)
    assert example == Example((5, 6, 7, 8, 9), 3)
    assert example.trained == 2


def test_without_a_prompt_the_first_token_is_only_context() -> None:
    assert make_examples([row((), (8, 9, 1))], 100, 10) == [Example((8, 9, 1), 1)]


def test_long_answers_are_cut_and_rows_with_nothing_left_are_left_out() -> None:
    rows = [row((1, 2), (3, 4, 5)), row((1, 2, 3), (4,)), row((1,), ()), row((), (7,))]
    assert make_examples(rows, 3, 10) == [Example((1, 2, 3), 2)]
    with pytest.raises(InputError, match="no row has an answer within 2 tokens"):
        make_examples(rows, 2, 10)


def test_an_id_the_model_does_not_have() -> None:
    with pytest.raises(InputError, match="token id 10, but the model has only 10"):
        make_examples([row((1,), (10,))], 9, 10)


def test_a_batch_is_padded_on_the_right_and_labels_only_answers() -> None:
    batch = collate([Example((5, 6, 7, 8), 2), Example((9, 4), 1)])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [9, 4, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 7, 8], [IGNORED, 4, IGNORED, IGNORED]]
    assert batch.keys() == {"input_ids", "labels"}


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=90),
    batch=st.integers(1, 9),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_epoch_sees_every_row_once(lengths: list[int], batch: int, epochs: int, seed: int) -> None:
    order = arrange(lengths, batch, epochs, seed)
    n = len(lengths)
    assert len(order) == n * epochs
    for epoch in range(epochs):
        assert sorted(order[epoch * n : (epoch + 1) * n]) == list(range(n))
    assert order == arrange(lengths, batch, epochs, seed)


def test_the_order_is_shuffled_anew_and_pads_less_than_chance() -> None:
    lengths = [(37 * i) % 200 + 1 for i in range(256)]
    order = arrange(lengths, 8, 2, 1)
    assert order[:256] != order[256:]
    assert order != arrange(lengths, 8, 2, 2)

    def padding(rows: list[int]) -> int:
        batches = [rows[i : i + 8] for i in range(0, len(rows), 8)]
        return sum(max(lengths[r] for r in b) - lengths[r] for b in batches for r in b)

    assert padding(order) < 0.5 * padding(list(range(256)))
    position = {r: i for i, r in enumerate(order[:256])}  # length tells (almost) nothing about time
    short = [position[r] for r in range(256) if lengths[r] <= 100]
    assert abs(sum(short) / len(short) - 127.5) < 25
