"""The marks of the requests in vLLM's persistent batch: which row of the logits is whose, and what it was preceded by.

Nothing here imports vLLM. What it tells of its batch is taken as its `BatchUpdate` has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from watermark.engines.bias import GreenBias
from watermark.errors import UnsupportedError


class BatchUpdate(Protocol):
    """What changed in the batch since the last step; to be read in this order."""

    @property
    def removed(self) -> Iterable[int]:
        """Rows that fell empty."""

    @property
    def added(self) -> Iterable[tuple[int, Any, Sequence[int] | None, Sequence[int]]]:
        """Row, sampling parameters, prompt and answer. The answer is the running list, which vLLM goes on to extend."""

    @property
    def moved(self) -> Iterable[tuple[int, int, Any]]:
        """From row, to row, and whether two rows were swapped (named SWAP) or one took another's place."""


@dataclass(frozen=True)
class _Request:
    """A marked request: its mark, and what was said so far. Prompt None: it came as embeddings, its ids are unknown."""

    bias: GreenBias
    prompt: Sequence[int] | None
    answer: Sequence[int]

    def context(self) -> list[int] | None:
        """The last h ids; None: there are not so many.

        Raises:
            UnsupportedError: vLLM has not yet filled in the last of them.
        """
        width = self.bias.context_width
        ids = list(self.answer[max(0, len(self.answer) - width) :])
        missing = width - len(ids)
        if missing > 0:
            prompt = self.prompt or ()
            ids = [*prompt[max(0, len(prompt) - missing) :], *ids]
        if any(token < 0 for token in ids):
            raise UnsupportedError(
                "vLLM hands out answers whose last token is still a placeholder, after which nothing can be marked; "
                "switch its asynchronous scheduling off (--no-async-scheduling)"
            )
        return ids if len(ids) == width else None


class MarkedRequests:
    """Follows the batch and marks the rows of its marked requests.

    Args:
        bias_of: the mark a request's sampling parameters ask for; None: it stays unmarked.
    """

    def __init__(self, bias_of: Callable[[Any], GreenBias | None]) -> None:
        self._bias_of = bias_of
        self._requests: dict[int, _Request] = {}  # by row

    def update(self, update: BatchUpdate | None) -> None:
        """Follow what changed; None: nothing did. Raises what `bias_of` raises."""
        if update is None:
            return
        for row in update.removed:
            self._requests.pop(row, None)
        for row, parameters, prompt, answer in update.added:
            bias = self._bias_of(parameters)
            self._put(row, None if bias is None else _Request(bias, prompt, answer))
        for start, end, direction in update.moved:
            moved, displaced = self._requests.pop(start, None), self._requests.pop(end, None)
            self._put(end, moved)
            if direction.name == "SWAP":
                self._put(start, displaced)

    def _put(self, row: int, request: _Request | None) -> None:
        """Rows are taken over without a word: an unmarked request must not inherit the mark of the one before it."""
        if request is None:
            self._requests.pop(row, None)
        else:
            self._requests[row] = request

    def marked(self, logits: Tensor) -> Tensor:
        """`logits` + δ on green in the rows of marked requests, in place or as a new tensor.

        Contexts are read now and not in `update`, which vLLM calls before the last token is known.

        Args:
            logits: [requests in the batch, V].

        Raises:
            UnsupportedError: rows are missing, or a context is not known yet.
        """
        groups: dict[int, tuple[GreenBias, list[int], list[list[int]]]] = {}
        for row, request in sorted(self._requests.items()):
            if row >= logits.shape[0]:
                raise UnsupportedError(f"vLLM gives {logits.shape[0]} rows of logits, and row {row} is to be marked")
            context = request.context()
            if context is not None:
                _, rows, contexts = groups.setdefault(id(request.bias), (request.bias, [], []))
                rows.append(row)
                contexts.append(context)
        for bias, rows, contexts in groups.values():
            logits = _with_rows(logits, rows, bias, contexts)
        return logits


def _with_rows(logits: Tensor, rows: list[int], bias: GreenBias, contexts: list[list[int]]) -> Tensor:
    ids = torch.tensor(contexts, dtype=torch.long, device=logits.device).reshape(len(contexts), bias.context_width)
    if logits.shape[1] != bias.vocab_size:
        raise UnsupportedError(f"vLLM gives {logits.shape[1]} logits a row, its model has {bias.vocab_size}")
    if len(rows) == logits.shape[0]:
        return bias.added(ids, logits, in_place=True)
    chosen = torch.tensor(rows, dtype=torch.long, device=logits.device)
    logits[chosen] = bias.added(ids, logits[chosen])
    return logits
