"""`sampled`: a local questioned model is asked key-independent prompts; its answers are pooled like any text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from detect.questioned.schedule import EMPTY_RUN, Schedule
from watermark.engines.answers import Sampling, answer
from watermark.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


BATCH = 25  # prompts at a time, at most; whatever the number of tokens, so that a larger run extends a smaller one


@dataclass(frozen=True)
class Answers:
    """What a questioned model answered; made without a key.

    Attributes:
        answers: token ids of every answer that counts and has any.
        prompts: token ids of every distinct prompt that was planned, asked or not: their pairs count nowhere.
        asked: of every answer, which of `prompts` it answers.
    """

    answers: list[list[int]]
    prompts: list[list[int]]
    asked: list[int]


def sample_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    n_tokens: int | None,
    *,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop: Callable[[int, list[int]], bool] | None = None,
    on_tokens: Callable[[int], None] | None = None,
) -> Answers:
    """Ask every distinct prompt in turn, round after round, until the answers hold `n_tokens` tokens or `stop` says so.

    Counted is what `Schedule` counts of a server's answers: the smallest run of answers 0, 1, 2 … that holds them, or
    with which `stop` ended it. What the last batch holds beyond that is dropped, so how many prompts are asked at a
    time decides which answers are drawn, never how many of them count.

    Without `stop` the number of tokens is fixed beforehand and nothing is looked at on the way, so a fixed-n tail is
    valid. With the same prompts, sampling and seed a larger number begins with the same answers; who looks again after
    asking for more must judge by `log10_e`, which holds at any time.

    Args:
        prompts: token ids as the model expects them (chat template included).
        n_tokens: how many answer tokens to collect, at least; None: until `stop` says so.
        sampling: its batch size counts up to `BATCH`.
        stop: is shown each answer with its number (from 0, empty ones included), in order; True makes it the last one
            that counts. A run of empty answers ends the asking as well, if there was any answer before.
        on_tokens: called after each batch with the number of its tokens that count.

    Raises:
        InputError: no prompt, a prompt with token ids that the model doesn't have, or nothing but empty answers any
            more.
    """
    sampling = as_asked(sampling or Sampling())
    kept: list[tuple[int, list[int]]] = []
    in_order = None if stop is None else lambda number: stop(number, kept[number][1])
    schedule = Schedule(n_tokens, sampling.max_new_tokens, stop=in_order)
    distinct = _distinct(prompts, model.config.get_text_config().vocab_size)
    for batch in _batches(model, tokenizer, distinct, sampling, seed):
        before, first = schedule.tokens, len(kept)
        kept += batch
        for number, (_, ids) in enumerate(batch, first):
            schedule.answered(number, len(ids))
        if on_tokens is not None:
            on_tokens(schedule.tokens - before)
        if schedule.complete or schedule.fruitless:
            break
    if schedule.fruitless and (stop is None or not schedule.tokens):
        raise InputError(f"the model gave {EMPTY_RUN} empty answers in a row: nothing to count")
    counted = [(which, ids) for which, ids in kept[: schedule.counted] if ids]
    return Answers([ids for _, ids in counted], distinct, [which for which, _ in counted])


def _distinct(prompts: Sequence[Sequence[int]], vocab_size: int) -> list[list[int]]:
    """Every prompt that is not empty once, in their order.

    Raises:
        InputError: there is none, or one holds token ids that the model doesn't have.
    """
    distinct = [list(prompt) for prompt in dict.fromkeys(map(tuple, prompts)) if len(prompt)]
    if not distinct:
        raise InputError("there is no prompt to ask: give rows with `prompt` or `prompt_ids`")
    if not 0 <= min(map(min, distinct)) <= max(map(max, distinct)) < vocab_size:
        raise InputError(f"a prompt holds a token id outside 0 … {vocab_size - 1}, the model's vocabulary")
    return distinct


def _batches(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    sampling: Sampling,
    seed: int,
) -> Iterator[list[tuple[int, list[int]]]]:
    """Without end: (number of the prompt, its answer) of the next prompts in turn."""
    for first in count(0, sampling.batch_size):
        which = [(first + i) % len(prompts) for i in range(sampling.batch_size)]
        (answers,) = answer(model, tokenizer, [prompts[i] for i in which], sampling, seed=_batch_seed(seed, first))
        yield list(zip(which, answers, strict=True))


def as_asked(sampling: Sampling) -> Sampling:
    """The sampling that `sample_model` makes of what it is given."""
    return replace(sampling, batch_size=min(sampling.batch_size, BATCH))


def _batch_seed(seed: int, asked: int) -> int:
    """A hash, so that two runs whose seeds lie close together share no batch."""
    return int.from_bytes(hashlib.sha256(f"taggant sampled {seed} {asked}".encode()).digest()[:7], "little")
