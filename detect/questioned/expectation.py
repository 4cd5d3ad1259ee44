"""Whether a reference follows a key: what it expects of text that depends on no key, beside what the text says.

    a(c, v) = n_c^¼ · [n(c, v) − Σ p_r(v | text so far)]      over the n_c positions whose context is c

with the FOLLOWED likeliest tokens of each position alone, and what is said. Under a key that neither reference nor text
depends on, the colours of these pairs are drawn by chance. A reference that was trained on marked text expects green
tokens that the text does not say, most behind contexts that are frequent. One can also be made so that only its less
likely tokens follow the key, which a reading weighs as well: of a small model trained on English (2,000 tokens), 1 or 3
nats taken from the green ones past the 17th gave log10 p 0 where 16 tokens were followed, −3.4 to −12.2 with 256 (two
keys); the reading of the model itself against it would have said −200,000. Following 256 costs 1 s more in 10,000
positions of 49k tokens, and 20 ms a key. Past the 256th nothing is seen.
What is too faint for its own words is not found: a reference made from the base model by taking a tenth of a nat from
every green token of a fixed list (h = 0) passes, and a reading of the base model against it detects that list.
So the audit is no licence: a reference is one that was published before the key's first use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detect.fed import Probe
from detect.observation import Expectation
from detect.questioned.positions import CHUNK, batch_logits, plan_positions, said_at
from watermark.windows import Pairs, Table, WindowRule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLLOWED = 256  # likeliest tokens of a position: as many as a reading keeps weights of a context
_PENDING = 1 << 22  # cells that are added up at once


class Expected:
    """The weights, over positions that are added piece by piece."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._contexts: list[NDArray[np.int64]] = []
        self._cells: list[NDArray[np.int64]] = []
        self._weights: list[NDArray[np.float64]] = []
        self._pending = 0
        self.n_positions = 0

    def add(self, contexts: Tensor, said: Tensor, probabilities: Tensor) -> None:
        """Add positions.

        Args:
            contexts: int64 [P], the number of each position's context.
            said: int64 [P], the token there; below 0: none, and the position does not count.
            probabilities: float32 [P, V], of the reference.
        """
        there = said >= 0
        contexts, said, probabilities = contexts[there], said[there], probabilities[there]
        likely = probabilities.topk(min(FOLLOWED, self._vocab_size), dim=-1)
        rows = contexts * self._vocab_size
        self._contexts.append(contexts.numpy())
        self._cells += [(rows + said).numpy(), (rows[:, None] + likely.indices).reshape(-1).numpy()]
        self._weights += [np.ones(len(said)), -likely.values.reshape(-1).double().numpy()]
        self.n_positions += len(said)
        self._pending += len(said) * (1 + likely.indices.shape[1])
        if self._pending > _PENDING:
            self._sum_up()

    def _sum_up(self) -> None:
        cells, which = np.unique(np.concatenate(self._cells), return_inverse=True)
        self._weights = [np.bincount(which, weights=np.concatenate(self._weights)).astype(np.float64)]
        self._cells, self._pending = [cells], 0

    def finish(self, contexts: Table, rule: WindowRule) -> Expectation | None:
        """What was found, of the distinct contexts uint32 [C, h]; None: there was no position."""
        if not self.n_positions:
            return None
        self._sum_up()
        cells = self._cells[0]
        positions = np.bincount(np.concatenate(self._contexts))[cells // self._vocab_size]
        weights = self._weights[0] * positions**0.25
        tokens = (cells % self._vocab_size).astype(np.uint32)
        kept = ~rule.is_special(tokens) & (weights != 0)
        rows = (cells // self._vocab_size)[kept]
        pairs = Pairs(contexts[rows], tokens[kept], len(np.unique(rows)))
        return Expectation(pairs, weights[kept], self.n_positions)


def expectation_of(
    reference: PreTrainedModel,
    probes: Sequence[Probe],
    *,
    rule: WindowRule,
    vocab_size: int,
    on_positions: Callable[[int], None] | None = None,
) -> Expectation | None:
    """Let a reference read text that depends on no key, for the audit that the reference does not, either.

    Args:
        probes: text in the key's token ids; read is what stands in an answer.
        rule, vocab_size, on_positions: as in `detect.questioned.reading.read_model`.

    Raises:
        InputError: as `read_model`.
        ModelError: its logits are not finite.
    """
    plan = plan_positions(probes, rule, [reference], vocab_size, after_last=False)
    found = Expected(vocab_size)
    for batch in plan.batches():
        logits = batch_logits(reference, batch, vocab_size)
        for start in range(0, len(batch.rows), CHUNK):
            part = slice(start, start + CHUNK)
            said = said_at(batch, part, probes)
            found.add(batch.context_index[part], said, torch.softmax(logits(part), dim=-1))
        if on_positions is not None:
            on_positions(len(batch.rows))
    return found.finish(plan.contexts, rule)
