"""The mark in transformers' `generate`: δ is added to the green logits of every sequence in the batch.

As `logits_processor=[GreenListProcessor(key, vocab_size)]` it runs before temperature and top-k; as
`watermarking_config=MarkConfig(key)` after them, so that δ is not divided by the temperature.

`model.generate_batch` (continuous batching) takes the second only: it swallows `logits_processor` without a word, and
the text is not marked.
"""

from __future__ import annotations

import inspect
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor
from transformers.generation.configuration_utils import BaseWatermarkingConfig

from watermark.engines.bias_numba import add_biases
from watermark.errors import TokenizerMismatchError, UnsupportedError
from watermark.greenlist import GreenList
from watermark.keys import Key, TokenizerIdentity

PUBLIC_PARAMETERS = ("key_id", "scheme", "gamma_65536", "delta", "context_width")
CACHE_BYTES = 256 << 20  # rows of recurring contexts: 2,000 at 128k tokens, 5,400 at 49k
# How much wider than the tokenizer logits may be: models are padded to round numbers (phi-2 by 905, DeepSeek by 2.4 %).
PADDING_COLUMNS, PADDING_SHARE = 1024, 0.05

_log = logging.getLogger(__name__)


Context = tuple[int, ...]
_ONE_PASS = {torch.float32: np.float32, torch.float64: np.float64}  # types that NumPy has too


class GreenListProcessor(LogitsProcessor):
    """Adds δ (nats) to the logits of green tokens.

    Special tokens are never biased, and nothing is biased after a context that holds one. Columns beyond the key's
    tokenizer are left alone. A sequence shorter than h is left alone. A processor never sees the attention mask: it
    knows padding by its being a special token of the key's tokenizer. A key without tokenizer takes it for text.
    Threads may share a processor.

    Not for `model.generate_batch`: it ignores `logits_processor` in silence and writes unmarked text. Give it a
    generation config with `watermarking_config=MarkConfig(key)`.

    Args:
        key: the key to mark with.
        vocab_size: width of the model's logits (`model.config.get_text_config().vocab_size`).
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
        wanted = [one if self._special_set.isdisjoint(one) else None for one in map(tuple, contexts.tolist())]
        out = torch.empty_like(scores)
        if scores.dtype in _ONE_PASS and scores.is_contiguous() and len(wanted) <= self._rows.capacity:
            self._add_biases(wanted, scores, out)
        else:
            self._add_one_by_one(wanted, scores, out)
        return out

    def _add_biases(self, wanted: Sequence[Context | None], scores: Tensor, out: Tensor) -> None:
        """The whole batch in one pass: at 1,000 tokens of vocabulary a call a row costs as much as its sums."""
        delta = _ONE_PASS[scores.dtype](self._delta)
        with self._rows.lock:  # until all rows are used; as many as there is room for never push each other out
            slots = np.array([-1 if one is None else self._rows.slot(one, self._fill_green) for one in wanted])
            add_biases(scores.numpy(), self._rows.table.numpy(), slots, delta, out.numpy())

    def _add_one_by_one(self, wanted: Sequence[Context | None], scores: Tensor, out: Tensor) -> None:
        width = self._colourable
        for context, given, row in zip(wanted, scores[:, :width], out[:, :width], strict=True):
            if context is None:
                row.copy_(given)
                continue
            with self._rows.lock:  # until it is used: another thread's context may take its place
                row.copy_(self._rows.table[self._rows.slot(context, self._fill_green)])  # converts in place
            torch.add(given, row, alpha=self._delta, out=row)
        out[:, width:] = scores[:, width:]

    def _fill_green(self, context: Context, row: Tensor) -> None:
        """1 on green columns but special ones, 0 elsewhere: into `row`, uint8 [colourable].

        Bytes, because torch takes nine times as long to convert bools; and no bias in the dtype of the scores, which
        would take four times the memory and, on the way through it, half as much time again.
        """
        self._green.fill_row(context, row.numpy().view(np.bool_))  # in NumPy a row is one call of OpenSSL
        if self._special_set:
            row.index_fill_(0, self._special_on(row.device), 0)

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


class EachItsOwn(LogitsProcessor):
    """Marks each sequence of a batch with a key of its own: row i with `keys[i]`. For sampling, not for beams.

    Args:
        keys: one a row.
        vocab_size, tokenizer: as `GreenListProcessor`.
        cache_bytes: bound on all caches of rows together.
    """

    def __init__(
        self, keys: Sequence[Key], vocab_size: int, *, tokenizer: Any = None, cache_bytes: int = CACHE_BYTES
    ) -> None:
        share = cache_bytes // max(1, len(keys))
        identity = None if tokenizer is None else TokenizerIdentity.of(tokenizer)  # hashed once
        self._processors = [GreenListProcessor(key, vocab_size, tokenizer=identity, cache_bytes=share) for key in keys]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Returns `scores` + δ on green, a new tensor.

        Args:
            input_ids: [batch, length].
            scores: [batch, V].
        """
        if input_ids.shape[0] != len(self._processors):
            raise ValueError(f"{input_ids.shape[0]} sequences for {len(self._processors)} keys")
        rows = [one(input_ids[at : at + 1], scores[at : at + 1]) for at, one in enumerate(self._processors)]
        return torch.cat(rows)


class MarkConfig(BaseWatermarkingConfig):
    """`model.generate(..., watermarking_config=MarkConfig(key))`. Printing it shows the key id, no secret.

    The only way to mark in `model.generate_batch` (in its generation config): `logits_processor` is ignored there in
    silence. A generation config is saved without its mark, with a warning: there is no form in which it could be read
    back, since a file must not hold the key. Give the mark again after loading.
    """

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
        """The parameters of the mark. No tokenizer and no account: what is printed is seen by anyone.

        There is no way back: a config read from a file holds no key. To a generation config that writes its file this
        gives None (JSON null): transformers takes any object there for a mark of its own, and fails to load it.
        """
        if _is_saving():
            _log.warning("a generation config is saved without its mark: give MarkConfig(key) again after loading it")
            return None  # type: ignore[return-value]
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


def _is_saving() -> bool:
    """Whether a GenerationConfig that writes its file asks: it calls `to_dict` then just as it does for printing."""
    frame = inspect.currentframe()
    for _ in range(8):  # to_dict, two nested helpers, to_json_string, to_json_file
        frame = None if frame is None else frame.f_back
        if frame is None:
            return False
        if frame.f_code.co_name == "to_json_file" and isinstance(frame.f_locals.get("self"), GenerationConfig):
            return True
    return False


class _RowCache:
    """The rows used last, in memory that is taken once: allocating a row anew costs as much as half its colours.

    Args:
        limit: bytes; at least one row is kept.
        width: bytes of a row.

    Attributes:
        lock: to be held from `slot` until the row has been used.
        table: uint8 [capacity, width].
    """

    def __init__(self, limit: int, width: int) -> None:
        slots = max(1, limit // max(width, 1))
        self.lock = threading.Lock()
        self.table = torch.from_numpy(np.empty((slots, width), dtype=np.uint8))  # pages are taken when first written
        self._slots: OrderedDict[Context, int] = OrderedDict()
        self._fresh = 0  # slots from here on were never used

    @property
    def capacity(self) -> int:
        return self.table.shape[0]

    def slot(self, context: Context, fill: Callable[[Context, Tensor], None]) -> int:
        """Which row of `table` is that of `context`; filled by `fill(context, row)` where it was not there.

        A context is entered when its row is whole, not before: a Ctrl-C on the way loses a slot, never a colour.
        """
        slot = self._slots.get(context)
        if slot is not None:
            self._slots.move_to_end(context)
            return slot
        slot = self._free_slot()
        fill(context, self.table[slot])
        self._slots[context] = slot
        return slot

    def _free_slot(self) -> int:
        if self._fresh < self.capacity:
            self._fresh += 1
            return self._fresh - 1
        return self._slots.popitem(last=False)[1] if self._slots else 0  # the one not used for longest

    def __deepcopy__(self, memo: dict[int, Any]) -> _RowCache:
        return _RowCache(self.table.numel(), self.table.shape[1])  # a copy fills its own rows; locks are not copied
