"""`sampled`: a local questioned model is asked key-independent prompts; its answers are pooled like any text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from watermark.engines.answers import Sampling, answer
from watermark.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


BATCH = 25  # prompts at a time, at most; whatever the number of tokens, so that a larger run extends a smaller one


@dataclass(frozen=True)
class Answers:
    """What a questioned model answered; made without a key.

    Attributes:
        answers: token ids of every answer.
        prompts: token ids of every distinct prompt that was planned, asked or not: their pairs count nowhere.
    """

    answers: list[list[int]]
    prompts: list[list[int]]


def sample_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    n_tokens: int,
    *,
    sampling: Sampling | None = None,
    seed: int = 0,
    on_tokens: Callable[[int], None] | None = None,
) -> Answers:
    """Ask every distinct prompt in turn, round after round, until the answers hold `n_tokens` tokens.

    The number of tokens is fixed beforehand and nothing is looked at on the way, so a fixed-n tail is valid. The
    last batch is kept whole. With the same prompts, sampling and seed a larger number begins with the same answers;
    who looks again after asking for more must judge by `log10_e`, which holds at any time.

    Args:
        prompts: token ids as the model expects them (chat template included).
        n_tokens: how many answer tokens to collect, at least.
        sampling: its batch size counts up to `BATCH`.
        on_tokens: called with the number of new tokens after each batch.

    Raises:
        InputError: no prompt, a prompt with token ids that the model doesn't have, or only empty answers.
    """
    sampling = as_asked(sampling or Sampling())
    distinct = [list(prompt) for prompt in dict.fromkeys(map(tuple, prompts)) if len(prompt)]
    if not distinct:
        raise InputError("there is no prompt to ask: give rows with `prompt` or `prompt_ids`")
    size = model.config.get_text_config().vocab_size
    if not 0 <= min(map(min, distinct)) <= max(map(max, distinct)) < size:
        raise InputError(f"a prompt holds a token id outside 0 … {size - 1}, the model's vocabulary")
    collected: list[list[int]] = []
    total, asked = 0, 0
    while total < n_tokens:
        batch = [distinct[(asked + i) % len(distinct)] for i in range(sampling.batch_size)]
        (answers,) = answer(model, tokenizer, batch, sampling, seed=_batch_seed(seed, asked))
        new = sum(map(len, answers))
        if new == 0:
            raise InputError(f"the model gave {len(answers)} empty answers in a row: nothing to count")
        collected += [ids for ids in answers if ids]
        total, asked = total + new, asked + len(batch)
        if on_tokens is not None:
            on_tokens(new)
    return Answers(collected, distinct)


def as_asked(sampling: Sampling) -> Sampling:
    """The sampling that `sample_model` makes of what it is given."""
    return replace(sampling, batch_size=min(sampling.batch_size, BATCH))


def _batch_seed(seed: int, asked: int) -> int:
    """A hash, so that two runs whose seeds lie close together share no batch."""
    return int.from_bytes(hashlib.sha256(f"taggant sampled {seed} {asked}".encode()).digest()[:7], "little")
