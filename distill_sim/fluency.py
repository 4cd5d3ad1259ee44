"""What the mark costs readers: perplexity of answers under a model that never saw the key."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from distill_sim.corpus import CorpusRow
from distill_sim.examples import Example, collate
from watermark.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH_ROWS = 8


@dataclass(frozen=True)
class Fluency:
    """Mean negative log-likelihood of answer tokens given prompt and answer so far, and its exponential."""

    n_tokens: int
    nats_per_token: float
    perplexity: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def fluency(
    model: PreTrainedModel,
    rows: Sequence[CorpusRow],
    *,
    max_tokens: int | None = None,
    on_tokens: Callable[[int], None] | None = None,
) -> Fluency:
    """Perplexity of the rows' answers under `model`.

    Args:
        max_tokens: stop after the batch that reaches this many answer tokens.
        on_tokens: called with the number of answer tokens just scored.

    Raises:
        InputError: no row has a prompt and an answer.
    """
    usable = [Example(row.prompt_ids + row.token_ids, len(row.prompt_ids)) for row in rows if row.token_ids]
    usable = [example for example in usable if example.start]
    if not usable:
        raise InputError("no row of the corpus has a prompt and an answer: there is no perplexity to measure")
    return mean_nats(model, usable, max_tokens=max_tokens, on_tokens=on_tokens)


def mean_nats(
    model: PreTrainedModel,
    examples: Sequence[Example],
    *,
    max_tokens: int | None = None,
    on_tokens: Callable[[int], None] | None = None,
) -> Fluency:
    """As `fluency`, for examples that are laid out already: at least one, each with something to predict."""
    total, count = 0.0, 0
    for start in range(0, len(examples), BATCH_ROWS):
        loss, tokens = _batch(model, examples[start : start + BATCH_ROWS])
        total, count = total + loss, count + tokens
        if on_tokens is not None:
            on_tokens(tokens)
        if max_tokens is not None and count >= max_tokens:
            break
    return Fluency(count, total / count, math.exp(total / count))


def _batch(model: PreTrainedModel, examples: Sequence[Example]) -> tuple[float, int]:
    """Summed loss in nats and how many tokens it covers."""
    import torch

    from distill_sim.trainer import answer_loss

    batch = collate(examples)
    tokens = sum(example.trained for example in examples)
    with torch.inference_mode():
        mean = answer_loss(model, batch["input_ids"], batch["labels"])
    return float(mean) * tokens, tokens
