"""Text → token ids, as fast as the tokenizer allows."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from detect.readers.row import TokenIds
from watermark.errors import InputError

Item = TypeVar("Item")
Tokenizer = Any  # a transformers tokenizer; naming its class would import transformers

CUT_ABOVE = 1 << 20  # characters: shorter texts are tokenised whole
LONGEST_LINE = 1 << 27
PIECE = 1 << 18  # characters: long texts are cut about here, so that all cores work and memory stays flat
BATCH = 1 << 21  # characters handed to the tokenizer at once
BATCH_ITEMS = 4096
_UINT32 = next(code for code in "IL" if array(code).itemsize == 4)
_SEARCH = 1 << 14  # how far beyond PIECE a good line end is looked for
_GOOD_CUT = re.compile(r"(?<=\S)\n(?=\S)")


class LazyEncoder:
    """Tokenises without added special tokens; loads the tokenizer when the first text comes.

    A text above CUT_ABOVE is cut after line ends and tokenised piece by piece. Where a tokenizer would have joined
    characters across such a line end (it rarely does), a handful of tokens differ from those of the uncut text; so
    cuts prefer a single line end between two visible characters. Under the null it makes no difference.
    """

    def __init__(self, load: Callable[[], Tokenizer]) -> None:
        self._load = load
        self.tokenizer: Tokenizer | None = None

    def encode(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of every text: uint32 [n] each."""
        if not texts:
            return []
        if self.tokenizer is None:
            self.tokenizer = self._load()
        cuts = [pieces(text) for text in texts]
        encoded = self._encode_pieces([piece for cut in cuts for piece in cut])
        return [_joined([next(encoded) for _ in cut]) for cut in cuts]

    def _encode_pieces(self, texts: list[str]) -> Iterator[TokenIds]:
        for batch in batches(texts, len):
            for ids in encode_plain(self.tokenizer, batch):
                yield _as_array(ids)


def encode_plain(tokenizer: Tokenizer, texts: list[str]) -> Iterator[list[int]]:
    """Token ids of each text: no added specials, no truncation, no padding."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    # a truncation or padding set in its file would act here, and only the slower call can switch it off
    if core is None or core.truncation is not None or core.padding is not None:
        options = {"add_special_tokens": False, "truncation": False, "padding": False, "verbose": False}
        yield from tokenizer(texts, **options)["input_ids"]
        return
    for encoding in core.encode_batch_fast(texts, add_special_tokens=False):
        yield encoding.ids


def pieces(text: str) -> list[str]:
    """`text` cut after line ends into pieces of about PIECE characters, if it is long; they join to `text`."""
    if len(text) <= CUT_ABOVE:
        return [text]
    cuts, start = [], 0
    while (end := _cut(text, start + PIECE)) < len(text):
        cuts.append(text[start:end])
        start = end
    return [*cuts, text[start:]]


def stream_pieces(chunks: Iterable[str], name: str) -> Iterator[str]:
    """`pieces` of a text that comes in chunks, of which little more than CUT_ABOVE is held.

    Raises:
        InputError: a line of more than LONGEST_LINE characters.
    """
    held, source, ended = "", iter(chunks), False
    while not ended and len(held) <= CUT_ABOVE:
        chunk = next(source, None)
        ended = chunk is None
        held += chunk or ""
    if ended:  # no longer than that: it is not cut
        yield held
        return
    while not ended or held:
        while not ended and len(held) <= PIECE + _SEARCH:
            chunk = next(source, None)
            ended = chunk is None
            held += chunk or ""
        end = _cut(held, PIECE)
        while end >= len(held) and not ended:  # no line ends here: there may be one behind
            if len(held) > LONGEST_LINE:
                raise InputError(f"{name} holds a line of more than {LONGEST_LINE:,} characters; break it")
            chunk = next(source, None)
            ended = chunk is None
            held += chunk or ""
            end = _cut(held, PIECE)
        if held:
            yield held[:end]
        held = held[end:]


def _cut(text: str, wanted: int) -> int:
    """Where to cut near `wanted`: behind a line end, or the end of the text."""
    good = _GOOD_CUT.search(text, wanted, wanted + _SEARCH)
    if good:
        return good.end()
    return text.find("\n", wanted) + 1 or len(text)


def batches(items: Iterable[Item], size: Callable[[Item], int], most: int = BATCH) -> Iterator[list[Item]]:
    """Items in their order, in lists of about `most` characters, at most BATCH_ITEMS long; read as they are needed."""
    batch: list[Item] = []
    held = 0
    for item in items:
        batch.append(item)
        held += size(item)
        if held >= most or len(batch) >= BATCH_ITEMS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _as_array(ids: list[int]) -> TokenIds:
    """As np.array makes it, four times as fast."""
    found = array(_UINT32)
    found.fromlist(ids)
    return np.frombuffer(found, dtype=np.uint32)


def _joined(parts: list[TokenIds]) -> TokenIds:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
