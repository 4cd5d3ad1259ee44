"""What a mark adds to logits: δ on the green columns of every row. The one rule, for every engine.

Special tokens are never biased, and nothing is biased after a context that holds one. Columns beyond the key's
tokenizer are left alone: models are often wider.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from watermark.engines.row_cache import Context, Row, RowCache
from watermark.errors import TokenizerMismatchError
from watermark.greenlist import GreenList, colours_of
from watermark.keys import Key

CACHE_BYTES = 32 << 20  # rows of recurring contexts: 2,000 at 128k tokens, 5,400 at 49k
# How much wider than the tokenizer logits may be: models are padded to round numbers (phi-2 by 905, DeepSeek by 2.4 %).
PADDING_COLUMNS, PADDING_SHARE = 1024, 0.05

_ONE_PASS = (torch.float32, torch.float64)  # types that NumPy has too


class GreenBias:
    """Adds δ (nats) to the logits of green tokens, row by row. Threads may share it.

    Args:
        key: the key to mark with.
        vocab_size: width of the model's logits.
        tokenizer: checked against the key's, when given.
        cache_bytes: bound on the cache of rows (one row at least; CPU only: on other devices nothing is cached).

    Raises:
        TokenizerMismatchError: the logits are narrower than the key's tokenizer, or wider by more than padding (1,024
            columns or 5 %); or `tokenizer` is another one.
    """

    def __init__(self, key: Key, vocab_size: int, *, tokenizer: Any = None, cache_bytes: int = CACHE_BYTES) -> None:
        if key.tokenizer is not None:
            _refuse_other_width(key.tokenizer.vocab_size, vocab_size)
        if tokenizer is not None:
            key.check_tokenizer(tokenizer)
        self.vocab_size = vocab_size
        self.context_width = key.context_width
        self._delta = key.delta
        self._green = GreenList(key)
        self._colourable = vocab_size if key.tokenizer is None else key.tokenizer.vocab_size
        self._special_set = frozenset(key.special_ids)
        self._special_ids = {"cpu": torch.tensor(sorted(key.special_ids), dtype=torch.long)}  # a copy per device
        markable = np.ones(-(-self._colourable // 32) * 32, dtype=np.bool_)
        markable[list(key.special_ids)] = False
        self._markable = np.packbits(markable, bitorder="little").view("<u4")
        self._rows = RowCache(cache_bytes, len(self._markable))

    def added(self, contexts: Tensor, scores: Tensor, *, in_place: bool = False) -> Tensor:
        """`scores` + δ on green, a new tensor unless `in_place`.

        Args:
            contexts: integer [batch, h], the last h tokens before each row.
            scores: [batch, V].
            in_place: overwrite `scores` and return them: a new tensor of a large batch costs more than the sums.
        """
        out = scores if in_place else torch.empty_like(scores)
        if scores.device.type == "cpu":
            self._add_from_cache(contexts, scores, out)
        else:
            self._add_on_device(contexts, scores, out)
        return out

    def _add_from_cache(self, contexts: Tensor, scores: Tensor, out: Tensor) -> None:
        wanted = [one if self._special_set.isdisjoint(one) else None for one in map(tuple, contexts.tolist())]
        together = scores.dtype in _ONE_PASS and scores.is_contiguous()
        add = self._added_together(scores, out) if together else partial(self._add_one_by_one, scores, out)
        at = 0
        while at < len(wanted):
            with self._rows.lock:  # until the rows are used: other threads' contexts may take their places
                end = min(at + self._rows.room, len(wanted))
                add(self._slots(wanted[at:end]), at, end)
            at = end

    def _slots(self, wanted: Sequence[Context | None]) -> list[int]:
        """The row of each context; −1 for those that get no mark. As many as there is room for."""
        found = iter(self._rows.slots([one for one in wanted if one is not None], self._fill_green))
        return [-1 if one is None else next(found) for one in wanted]

    def _added_together(self, scores: Tensor, out: Tensor) -> Callable[[list[int], int, int], None]:
        """Adds to some rows in one pass: at 1,000 tokens of vocabulary a call a row costs as much as its sums."""
        # Rows are made by compiled code then, too; not before: vLLM 0.32 on a CPU won't start after numba
        import watermark.chacha_numba  # noqa: F401
        from watermark.engines.bias_numba import add_biases

        given, written = scores.numpy(), out.numpy()
        delta, width = given.dtype.type(self._delta), self._colourable

        def add(slots: list[int], at: int, end: int) -> None:
            add_biases(given[at:end], self._rows.table, np.array(slots), width, delta, written[at:end])

        return add

    def _add_one_by_one(self, scores: Tensor, out: Tensor, slots: list[int], at: int, end: int) -> None:
        width = self._colourable
        for slot, given, row in zip(slots, scores[at:end], out[at:end], strict=True):
            if slot < 0:
                row.copy_(given)
                continue
            # bytes, because torch takes nine times as long to convert bools
            green = torch.from_numpy(colours_of(self._rows.table[slot], width).view(np.uint8))
            torch.add(given[:width], green, alpha=self._delta, out=row[:width])
            row[width:] = given[width:]

    def _fill_green(self, context: Context, row: Row) -> None:
        """Bits of green columns but special ones, into `row`, uint32 [words of the colourable]."""
        self._green.fill_bits(context, row)
        row &= self._markable

    def _add_on_device(self, contexts: Tensor, scores: Tensor, out: Tensor) -> None:
        contexts, special_ids = contexts.to(scores.device), self._special_on(scores.device)
        green = self._green.mask(contexts, self._colourable).view(torch.uint8).index_fill_(1, special_ids, 0)
        # compared one by one: torch.isin may sort, and then waits for the device
        special = (contexts[:, :, None] == special_ids).flatten(1).any(dim=1)  # [B]
        if out is not scores:
            out.copy_(scores)
        out[:, : self._colourable].add_(green.masked_fill_(special[:, None], 0), alpha=self._delta)

    def _special_on(self, device: torch.device) -> Tensor:
        """The special ids, int64 [S], copied to a device once and not in every step."""
        name = str(device)
        if name not in self._special_ids:
            self._special_ids[name] = self._special_ids["cpu"].to(device)
        return self._special_ids[name]


def _refuse_other_width(tokens: int, logits: int) -> None:
    """Raise unless `logits` are the tokenizer's tokens and padding: on other models a key's ids mean other tokens."""
    padded = tokens + max(PADDING_COLUMNS, int(tokens * PADDING_SHARE))
    if not tokens <= logits <= padded:
        raise TokenizerMismatchError(
            f"the model has {logits} logits, the key's tokenizer {tokens} tokens; "
            "make a key for this model's tokenizer (taggant keygen --tokenizer)",
            expected=str(tokens),
            found=str(logits),
        )
