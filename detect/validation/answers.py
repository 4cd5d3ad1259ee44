"""Answers of a model at several strengths, each marked with a key of its own; at strength 0 unmarked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from detect.validation.keys import fresh_key, row_seed
from watermark.engines.answers import Sampling, answer
from watermark.keys import Key
from watermark.keys.parameters import Parameters

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def strength_name(delta: float) -> str:
    """How the row of a strength is called; its keys come from it."""
    return f"marked/{delta:g}"


def keys_of(seed: bytes, delta: float, parameters: Parameters, answers: int) -> list[Key]:
    """The keys that mark the answers of one strength, one each."""
    own = row_seed(seed, strength_name(delta))
    return [fresh_key(own, i, parameters).retuned(delta=delta) for i in range(answers)]


def write_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    seed: bytes,
    keys: Sequence[Key] | None,
    on_answers: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """An answer to each prompt (token ids), marked with the key of its number; None: unmarked.

    Args:
        seed: of the study.
        on_answers: called with the number of answers just written.
    """
    found: list[list[int]] = []
    drawn = int.from_bytes(row_seed(seed, "sampling")[:6], "little")
    for batch in answer(model, tokenizer, prompts, sampling, seed=drawn, key=keys):
        found += batch
        if on_answers is not None:
            on_answers(len(batch))
    return found
