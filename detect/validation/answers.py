"""Answers of a model at several strengths, each marked with a key of its own; at strength 0 unmarked."""

from __future__ import annotations

from collections.abc import Sequence
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
    first: int,
) -> list[list[int]]:
    """One batch of answers (token ids), each marked with the key of its number; None: unmarked.

    Args:
        prompts, keys: all of them, of every batch.
        seed: of the study.
        first: the number of the batch's first prompt, a multiple of the batch size.
    """
    drawn = int.from_bytes(row_seed(seed, "sampling")[:6], "little")
    return next(answer(model, tokenizer, prompts, sampling, seed=drawn, key=keys, first=first))
