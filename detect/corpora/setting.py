"""What all shards of a job are scored with: the mark, the tokenizer, and where the inputs lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from detect.counting import ScoredMark, window_rule
from detect.readers.encoding import Tokenizer
from watermark.greenlist import GreenList
from watermark.packing import Packing
from watermark.windows import WindowRule

BATCH = 1 << 20  # characters that are tokenised, numbered and coloured at once


@dataclass(frozen=True)
class Setting:
    """One for each process.

    Attributes:
        mark: a key.
        vocab_size: of the key's tokenizer; None: not known.
        special_ids: their digest; None: the key has no tokenizer.
        inputs: as they were given.
        tokenizer: gives the tokenizer, checked against the key (InputError: there is none).
        batch: characters at once; results do not depend on it.
    """

    mark: ScoredMark = field(repr=False)
    vocab_size: int | None
    special_ids: str | None
    inputs: Sequence[str] = field(repr=False)
    tokenizer: Callable[[], Tokenizer] = field(repr=False)
    batch: int = BATCH

    @cached_property
    def green(self) -> GreenList:
        return GreenList(self.mark)

    @cached_property
    def rule(self) -> WindowRule:
        return window_rule(self.mark)

    @cached_property
    def packing(self) -> Packing:
        return Packing(self.mark.context_width, self.vocab_size)
