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
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor
from transformers.generation.configuration_utils import BaseWatermarkingConfig

from watermark.engines.bias import CACHE_BYTES, GreenBias
from watermark.errors import UnsupportedError
from watermark.keys import Key, TokenizerIdentity

PUBLIC_PARAMETERS = ("key_id", "scheme", "gamma_65536", "delta", "context_width")

_log = logging.getLogger(__name__)


class GreenListProcessor(LogitsProcessor):
    """Adds δ (nats) to the logits of green tokens.

    Special tokens are never biased, and nothing is biased after a context that holds one. Columns beyond the key's
    tokenizer are left alone. A sequence shorter than h is left alone. A processor never sees the attention mask: it
    knows padding by its being a special token of the key's tokenizer. A key without tokenizer takes it for text.
    Threads may share a processor. The rule itself is `watermark.engines.bias`'s.

    Not for `model.generate_batch`: it ignores `logits_processor` in silence and writes unmarked text. Give it a
    generation config with `watermarking_config=MarkConfig(key)`.

    Args:
        key: the key to mark with.
        vocab_size: width of the model's logits (`model.config.get_text_config().vocab_size`).
        tokenizer: checked against the key's, when given.
        cache_bytes: bound on the cache of rows (one row at least; CPU only: on other devices nothing is cached).
        in_place: write into the scores that are handed over, which takes half the time at large batches. Not with
            `output_logits`: transformers hands over the very tensor that it keeps for that.

    Raises:
        TokenizerMismatchError: the logits are narrower than the key's tokenizer, or wider by more than padding (1,024
            columns or 5 %); or `tokenizer` is another one.
    """

    def __init__(
        self,
        key: Key,
        vocab_size: int,
        *,
        tokenizer: Any = None,
        cache_bytes: int = CACHE_BYTES,
        in_place: bool = False,
    ) -> None:
        self._in_place = in_place
        self.bias = GreenBias(key, vocab_size, tokenizer=tokenizer, cache_bytes=cache_bytes)
        self.vocab_size = vocab_size
        self.context_width = key.context_width

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
        """Returns `scores` + δ on green: a new tensor, or `scores` where that was asked for.

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
        return self.bias.added(contexts, scores, in_place=self._in_place)


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
