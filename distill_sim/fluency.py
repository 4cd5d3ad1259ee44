"""What the mark costs readers: perplexity of answers under a model that never saw the key."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from distill_sim.corpus import CorpusRow
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
    total, count = 0.0, 0
    usable = [row for row in rows if row.token_ids and row.prompt_ids]
    for start in range(0, len(usable), BATCH_ROWS):
        loss, tokens = _batch(model, usable[start : start + BATCH_ROWS])
        total, count = total + loss, count + tokens
        if on_tokens is not None:
            on_tokens(tokens)
        if max_tokens is not None and count >= max_tokens:
            break
    if not count:
        raise InputError("no row of the corpus has a prompt and an answer: there is no perplexity to measure")
    return Fluency(count, total / count, math.exp(total / count))


def _batch(model: PreTrainedModel, rows: Sequence[CorpusRow]) -> tuple[float, int]:
    """Summed loss in nats and how many tokens it covers."""
    import torch

    from distill_sim.examples import Example, collate
    from distill_sim.trainer import answer_loss

    batch = collate([Example(row.prompt_ids + row.token_ids, len(row.prompt_ids)) for row in rows])
    tokens = sum(len(row.token_ids) for row in rows)
    with torch.inference_mode():
        mean = answer_loss(model, batch["input_ids"], batch["labels"])
    return float(mean) * tokens, tokens
