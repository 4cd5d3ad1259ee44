"""`sampled`: a local questioned model is asked key-independent prompts; its answers are pooled like any text."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watermark.engines.answers import Sampling, answer
from watermark.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
    last batch is kept whole.

    Args:
        prompts: token ids as the model expects them (chat template included).
        n_tokens: how many answer tokens to collect, at least.
        on_tokens: called with the number of new tokens after each batch.

    Raises:
        InputError: no prompt, a prompt with token ids that the model doesn't have, or only empty answers.
    """
    sampling = sampling or Sampling()
    distinct = [list(prompt) for prompt in dict.fromkeys(map(tuple, prompts)) if len(prompt)]
    if not distinct:
        raise InputError("there is no prompt to ask: give rows with `prompt` or `prompt_ids`")
    size = model.config.get_text_config().vocab_size
    if not 0 <= min(map(min, distinct)) <= max(map(max, distinct)) < size:
        raise InputError(f"a prompt holds a token id outside 0 … {size - 1}, the model's vocabulary")
    rows = min(sampling.batch_size, math.ceil(n_tokens / sampling.max_new_tokens))  # no more than surely needed
    collected: list[list[int]] = []
    total, asked = 0, 0
    while total < n_tokens:
        batch = [distinct[(asked + i) % len(distinct)] for i in range(rows)]
        (answers,) = answer(model, tokenizer, batch, sampling, seed=_batch_seed(seed, asked))
        new = sum(map(len, answers))
        if new == 0:
            raise InputError(f"the model gave {len(answers)} empty answers in a row: nothing to count")
        collected += [ids for ids in answers if ids]
        total, asked = total + new, asked + len(batch)
        if on_tokens is not None:
            on_tokens(new)
    return Answers(collected, distinct)


def _batch_seed(seed: int, asked: int) -> int:
    """A hash, so that two runs whose seeds lie close together share no batch."""
    return int.from_bytes(hashlib.sha256(f"taggant sampled {seed} {asked}".encode()).digest()[:7], "little")
