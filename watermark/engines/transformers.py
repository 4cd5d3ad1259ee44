"""The mark in transformers' `generate`: δ is added to the green logits of every sequence in the batch.

As `logits_processor=[GreenListProcessor(key, vocab_size)]` it runs before temperature and top-k; as
`watermarking_config=MarkConfig(key)` after them, so that δ is not divided by the temperature.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor
from transformers.generation.configuration_utils import BaseWatermarkingConfig

from watermark.errors import TokenizerMismatchError, UnsupportedError
from watermark.greenlist import GreenList
from watermark.keys import Key

PUBLIC_PARAMETERS = ("key_id", "scheme", "gamma_65536", "delta", "context_width")
CACHE_BYTES = 256 << 20  # rows of recurring contexts: 2,000 at 128k tokens, 5,400 at 49k


class GreenListProcessor(LogitsProcessor):
    """Adds δ (nats) to the logits of green tokens.

    Special tokens are never biased, and nothing is biased after a context that holds one. Columns beyond the key's
    tokenizer are left alone. A sequence shorter than h is left alone. A processor never sees the attention mask: it
    knows padding by its being a special token of the key's tokenizer. A key without tokenizer takes it for text.

    Args:
        key: the key to mark with.
        vocab_size: width of the model's logits (`model.config.get_text_config().vocab_size`).
        tokenizer: checked against the key's, when given.
        cache_bytes: bound on the cache of rows (one row at least; CPU only: on other devices nothing is cached).

    Raises:
        TokenizerMismatchError: the logits are narrower than the key's tokenizer, or `tokenizer` is another one.
    """

    def __init__(self, key: Key, vocab_size: int, *, tokenizer: Any = None, cache_bytes: int = CACHE_BYTES) -> None:
        if key.tokenizer is not None and vocab_size < key.tokenizer.vocab_size:
            raise TokenizerMismatchError(
                f"the model has {vocab_size} logits, the key's tokenizer {key.tokenizer.vocab_size} tokens; "
                "make a key for this model's tokenizer (taggant keygen --tokenizer)",
                expected=str(key.tokenizer.vocab_size),
                found=str(vocab_size),
            )
        if tokenizer is not None:
            key.check_tokenizer(tokenizer)
        self.vocab_size = vocab_size
        self.context_width = key.context_width
        self._delta = key.delta
        self._green = GreenList(key)
        self._colourable = vocab_size if key.tokenizer is None else key.tokenizer.vocab_size
        self._special_set = frozenset(key.special_ids)
        self._special_ids = {"cpu": torch.tensor(sorted(key.special_ids), dtype=torch.long)}  # a copy per device
        self._rows = _RowCache(cache_bytes, self._colourable)

    @property
    def supports_continuous_batching(self) -> bool:
        """True for h ≤ 1. Raises instead of answering False: transformers would drop the mark with a mere warning."""
        self._refuse_last_token_only()
        return True

    def _refuse_last_token_only(self) -> None:
        if self.context_width > 1:
            raise UnsupportedError(
                f"continuous batching hands a logits processor only the last token, and this key needs "
                f"{self.context_width}: use model.generate, or a key with context width 0 or 1"
            )

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Returns `scores` + δ on green, a new tensor.

        Args:
            input_ids: [batch, length]; or [batch], the last tokens, from continuous batching.
            scores: [batch, V].
        """
        if scores.dim() != 2 or scores.shape[1] != self.vocab_size or input_ids.shape[0] != scores.shape[0]:
            raise ValueError(
                f"input_ids of shape {list(input_ids.shape)} and scores of shape {list(scores.shape)}: "
                f"this processor expects [batch, length] and [batch, {self.vocab_size}]"
            )
        if input_ids.dim() == 1:
            self._refuse_last_token_only()
            input_ids = input_ids[:, None]
        if input_ids.shape[1] < self.context_width:
            return scores
        contexts = input_ids[:, input_ids.shape[1] - self.context_width :]
        if scores.device.type == "cpu":
            return self._add_cached_rows(contexts, scores)
        return self._add_on_device(contexts, scores)

    def _add_cached_rows(self, contexts: Tensor, scores: Tensor) -> Tensor:
        out = torch.empty_like(scores)
        width = self._colourable
        for context, given, row in zip(map(tuple, contexts.tolist()), scores[:, :width], out[:, :width], strict=True):
            if self._special_set.isdisjoint(context):
                row.copy_(self._green_row(context))  # torch would convert it in fresh memory
                torch.add(given, row, alpha=self._delta, out=row)
            else:
                row.copy_(given)
        if width < self.vocab_size:
            out[:, width:] = scores[:, width:]
        return out

    def _green_row(self, context: tuple[int, ...]) -> Tensor:
        """1 on green columns but special ones, 0 elsewhere: uint8 [colourable], from the cache where it is there.

        Bytes, because torch takes nine times as long to convert bools; and no bias in the dtype of the scores, which
        would take four times the memory and, on the way through it, half as much time again.
        """
        row, known = self._rows.find(context)
        if not known:
            self._green.fill_row(context, row.numpy().view(np.bool_))  # in NumPy a row is one call of OpenSSL
            if self._special_set:
                row.index_fill_(0, self._special_on(row.device), 0)
        return row

    def _add_on_device(self, contexts: Tensor, scores: Tensor) -> Tensor:
        contexts, special_ids = contexts.to(scores.device), self._special_on(scores.device)
        green = self._green.mask(contexts, self._colourable).view(torch.uint8).index_fill_(1, special_ids, 0)
        # compared one by one: torch.isin may sort, and then waits for the device
        special = (contexts[:, :, None] == special_ids).flatten(1).any(dim=1)  # [B]
        out = scores.clone()
        out[:, : self._colourable].add_(green.masked_fill_(special[:, None], 0), alpha=self._delta)
        return out

    def _special_on(self, device: torch.device) -> Tensor:
        """The special ids, int64 [S], copied to a device once and not in every step."""
        name = str(device)
        if name not in self._special_ids:
            self._special_ids[name] = self._special_ids["cpu"].to(device)
        return self._special_ids[name]


class MarkConfig(BaseWatermarkingConfig):
    """`model.generate(..., watermarking_config=MarkConfig(key))`. Printing or saving it shows the key id, no secret."""

    def __init__(self, key: Key, *, tokenizer: Any = None) -> None:
        if tokenizer is not None:
            key.check_tokenizer(tokenizer)
        self._key = key
        self._processors: dict[int, GreenListProcessor] = {}

    def validate(self) -> None:
        """Nothing to do: a `Key` is valid from the start."""

    def construct_processor(self, vocab_size: int, device: Any = None) -> GreenListProcessor:
        """Called by transformers for every `generate`; the processor, and with it the cache, is made once.

        `device` is not needed: colours are computed where the scores are.
        """
        if vocab_size not in self._processors:
            self._processors[vocab_size] = GreenListProcessor(self._key, vocab_size)
        return self._processors[vocab_size]

    def to_dict(self) -> dict[str, Any]:
        """The parameters of the mark. No tokenizer and no account: saved with a model, this is seen by anyone.

        There is no way back: a config read from a file holds no key.
        """
        return {"watermark": "taggant", **{name: getattr(self._key, name) for name in PUBLIC_PARAMETERS}}

    def to_json_string(self) -> str:
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        yield from self.to_dict().items()

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, MarkConfig) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __copy__(self) -> MarkConfig:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> MarkConfig:
        return self

    def update(self, **kwargs: Any) -> None:
        raise UnsupportedError("a MarkConfig does not change; make another from another key")


class _RowCache:
    """The rows used last, in memory that is taken once: allocating a row anew costs as much as half its colours.

    Args:
        limit: bytes; at least one row is kept.
        width: bytes of a row.
    """

    def __init__(self, limit: int, width: int) -> None:
        slots = max(1, limit // max(width, 1))
        self._table = torch.from_numpy(np.empty((slots, width), dtype=np.uint8))  # pages are taken when first written
        self._slots: OrderedDict[tuple[int, ...], int] = OrderedDict()

    def find(self, context: tuple[int, ...]) -> tuple[Tensor, bool]:
        """The row of `context`, uint8 [width], and whether it is filled; if not, the caller fills it."""
        slot = self._slots.get(context)
        if slot is not None:
            self._slots.move_to_end(context)
            return self._table[slot], True
        if len(self._slots) < self._table.shape[0]:
            slot = len(self._slots)
        else:
            _, slot = self._slots.popitem(last=False)  # the one not used for longest
        self._slots[context] = slot
        return self._table[slot], False
