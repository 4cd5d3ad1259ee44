"""From corpus rows to training batches: what is trained on, in which order, and how a batch is laid out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill_sim.corpus import CorpusRow
from watermark.errors import InputError

if TYPE_CHECKING:
    import torch

IGNORED = -100  # the label of a position without loss
WINDOW = 4  # batches within which rows are sorted by length


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of prompt and answer; those from `start` on are learnt. `start` ≥ 1: a first token has no context."""

    ids: tuple[int, ...]
    start: int

    @property
    def trained(self) -> int:
        """Tokens with loss."""
        return len(self.ids) - self.start


def make_examples(rows: Sequence[CorpusRow], max_length: int, vocab_size: int) -> list[Example]:
    """One example a row, cut to `max_length` tokens; rows with nothing to learn (no answer, or cut away) are left out.

    Raises:
        InputError: no example remains, or a token id the model doesn't have.
    """
    examples = []
    for row in rows:
        ids = (row.prompt_ids + row.token_ids)[:max_length]
        start = max(1, len(row.prompt_ids))
        if len(ids) <= start:
            continue
        if max(ids) >= vocab_size:
            raise InputError(f"corpus row {row.id!r} holds token id {max(ids)}, but the model has only {vocab_size}")
        examples.append(Example(ids, start))
    if not examples:
        raise InputError(f"no row has an answer within {max_length} tokens; give a corpus with answers")
    return examples


def arrange(lengths: Sequence[int], batch_size: int, epochs: int, seed: int) -> list[int]:
    """The order of training as row numbers, all epochs in one list: seeded, and batches of similar lengths.

    Every epoch is a fresh shuffle. Inside a window of a few batches rows are sorted, so little is padded; then the
    batches are shuffled, so that length says nothing about the time at which a row is seen.
    """
    draw = random.Random(seed)  # noqa: S311 (an order, not a secret)
    order: list[int] = []
    for _ in range(epochs):
        rows = list(range(len(lengths)))
        draw.shuffle(rows)
        span = WINDOW * batch_size
        windows = [sorted(rows[i : i + span], key=lambda row: lengths[row]) for i in range(0, len(rows), span)]
        rows = [row for window in windows for row in window]
        batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
        short = batches.pop() if len(batches[-1]) < batch_size else []  # stays last, to keep the others whole
        draw.shuffle(batches)
        order += [row for batch in [*batches, short] for row in batch]
    return order


def collate(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Pad on the right: `input_ids` and `labels`, int64 [batch, longest].

    No attention mask: a causal model never looks right, and what it computes on padding carries no loss. Without
    one, attention takes its plain causal kernel.
    """
    import torch

    longest = max(len(example.ids) for example in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.int64)
    labels = torch.full_like(ids, IGNORED)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        labels[row, example.start : len(example.ids)] = torch.tensor(example.ids[example.start :])
    return {"input_ids": ids, "labels": labels}
