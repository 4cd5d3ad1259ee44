"""Answers of a local model to prompts, marked or not: one batch at a time, the same ones for the same seed.

Used by `taggant generate`, by the sampled test of a questioned model and by the teacher of the simulator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from watermark.engines.transformers import EachItsOwn, GreenListProcessor
from watermark.errors import InputError, ModelError
from watermark.journal import Journal
from watermark.keys import Key

if TYPE_CHECKING:
    from transformers import LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. The mark's δ is added before temperature, top-k and top-p."""

    max_new_tokens: int = 64
    temperature: float = 1.0
    top_k: int = 0  # 0: off
    top_p: float = 1.0
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.batch_size < 1 or self.temperature <= 0 or self.top_k < 0:
            raise ValueError(f"not a way to sample: {self}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], not {self.top_p}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    seed: int,
    key: Key | Sequence[Key] | None = None,
    first: int = 0,
    on_tokens: Callable[[int], None] | None = None,
) -> Iterator[list[list[int]]]:
    """Yield, batch after batch, the answers to `prompts` in their order (token ids, without end-of-text and padding).

    Every batch has its own generator seed, a hash of (seed, number of its first prompt): a run that resumes at a batch
    boundary writes what the undisturbed run would have written. Only `sampling` says how tokens are drawn, not the
    model's own generation defaults.

    Args:
        prompts: token ids per prompt, none empty.
        key: marks the answers; several, one a prompt, mark each its own; None leaves them unmarked.
        first: the prompt to begin with, a multiple of the batch size.
        on_tokens: called with the number of new tokens after each decoding step (all rows of the batch together).

    Raises:
        InputError: a prompt without tokens.
        ModelError: the model's end-of-text ids are no ids.
        TokenizerMismatchError: the key was made for another tokenizer.
        ValueError: `first` is not where a batch begins, or there are not as many keys as prompts.
    """
    check_prompts(prompts, first, sampling.batch_size)
    vocab_size = model.config.get_text_config().vocab_size
    processors: list[LogitsProcessor] = []
    if isinstance(key, Key):
        processors = [GreenListProcessor(key, vocab_size, tokenizer=tokenizer, in_place=True)]
    elif key is not None and len(key) != len(prompts):
        raise ValueError(f"{len(key)} keys for {len(prompts)} prompts")
    for start in range(first, len(prompts), sampling.batch_size):
        batch = prompts[start : start + sampling.batch_size]
        if key is not None and not isinstance(key, Key):
            processors = [EachItsOwn(key[start : start + len(batch)], vocab_size, tokenizer=tokenizer)]
        with _seeded(drawing_seed(seed, start), model.device):
            answers = _answer_batch(model, tokenizer, batch, sampling, processors, on_tokens)
        yield answers  # outside the block: the caller's random numbers are the caller's


def answer_resumably(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    journal: Journal,
    *,
    seed: int,
    key: Key | None = None,
    on_answers: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """All answers, each batch kept in `journal` as soon as it is there; batches already kept are not written again.

    Args:
        journal: its identity names model, key, prompts, sampling and seed.
        on_answers: called with the number of answers just added, those of earlier runs included.
    """
    return resumed(
        lambda first: answer(model, tokenizer, prompts, sampling, seed=seed, key=key, first=first), journal, on_answers
    )


def resumed(
    draw: Callable[[int], Iterator[list[list[int]]]],
    journal: Journal,
    on_answers: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """`answer_resumably` for any engine.

    Args:
        draw: takes the number of the first prompt that has no answer yet; yields batches, as `answer` does.
    """
    answers = [ids for batch in journal.entries for ids in batch]
    if on_answers is not None and answers:
        on_answers(len(answers))
    for batch in draw(len(answers)):
        journal.append(batch)
        answers += batch
        if on_answers is not None:
            on_answers(len(batch))
    return answers


def check_prompts(prompts: Sequence[Sequence[int]], first: int, batch_size: int) -> None:
    """Refuse, before anything is drawn, what `answer` says."""
    if first < 0 or (first % batch_size and first < len(prompts)):
        raise ValueError(f"no batch of {batch_size} begins at prompt {first}")
    for number, prompt in enumerate(prompts):
        if not len(prompt):
            raise InputError(f"prompt {number} (from 0) has no tokens; leave it out")


def drawing_seed(seed: int, number: int) -> int:
    """Of the draw that begins at prompt `number`, 63 bits. A hash: torch's CPU generator looks at the lower 32 only."""
    return int.from_bytes(hashlib.sha256(f"taggant answers {seed} {number}".encode()).digest()[:8], "little") >> 1


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    elsewhere = device.type != "cpu"
    with torch.random.fork_rng(devices=[device] if elsewhere else [], device_type=device.type if elsewhere else "cuda"):
        torch.manual_seed(seed)
        yield


def _answer_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: Sequence[Sequence[int]],
    sampling: Sampling,
    processors: list[LogitsProcessor],
    on_tokens: Callable[[int], None] | None,
) -> list[list[int]]:
    vocab_size = model.config.get_text_config().vocab_size
    stops = stop_ids(model.generation_config.eos_token_id, tokenizer, vocab_size, model.name_or_path)
    padding = tokenizer.pad_token_id
    if padding is None or not 0 <= padding < vocab_size:
        padding = min(stops, default=0)
    width = max(len(prompt) for prompt in batch)
    ids = torch.full((len(batch), width), padding, dtype=torch.long)  # [batch, width], padded on the left
    attention = torch.zeros_like(ids)
    for row, prompt in enumerate(batch):
        ids[row, width - len(prompt) :] = torch.tensor(list(prompt), dtype=torch.long)
        attention[row, width - len(prompt) :] = 1
    streamer = None if on_tokens is None else _StepCounter(on_tokens)
    with torch.inference_mode(), _without_own_defaults(model):
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=attention.to(model.device),
            do_sample=True,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_new_tokens,
            pad_token_id=padding,
            eos_token_id=sorted(stops) or None,
            logits_processor=processors,
            stopping_criteria=None if streamer is None else [streamer],
        )
    return [until_stop(row, stops) for row in output[:, width:].tolist()]


def stop_ids(configured: Any, tokenizer: PreTrainedTokenizerBase, vocab_size: int, where: str) -> set[int]:
    """Ids that end an answer: the model's and the tokenizer's; those that the model cannot draw are left out.

    Args:
        configured: `eos_token_id` of the model's generation settings.
        where: the model, for the message.

    Raises:
        ModelError: the model's settings name something else than ids.
    """
    stops = [*(configured if isinstance(configured, list | tuple) else [configured]), tokenizer.eos_token_id]
    for stop in stops:
        if stop is not None and (isinstance(stop, bool) or not isinstance(stop, int)):
            raise ModelError(f"{where}: eos_token_id must be a token id or a list of them; mend generation_config.json")
    return {stop for stop in stops if stop is not None and 0 <= stop < vocab_size}


@contextmanager
def _without_own_defaults(model: PreTrainedModel) -> Iterator[None]:
    """Set the model's generation defaults aside: beams, penalties, several answers a prompt."""
    from transformers import GenerationConfig

    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def until_stop(ids: list[int], stops: set[int]) -> list[int]:
    """What comes before the first stop."""
    for position, token in enumerate(ids):
        if token in stops:
            return ids[:position]
    return ids


class _StepCounter:
    """A stopping criterion that never stops; transformers calls it once per decoding step."""

    def __init__(self, on_tokens: Callable[[int], None]) -> None:
        self._on_tokens = on_tokens

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self._on_tokens(input_ids.shape[0])
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
