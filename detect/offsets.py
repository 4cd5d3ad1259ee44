"""Ranges of tokens → ranges of characters of the text they came from."""

from __future__ import annotations

from collections.abc import Sequence

from detect.readers.encoding import Tokenizer, pieces
from detect.readers.row import TokenIds

Range = tuple[int, int]


def character_ranges(tokenizer: Tokenizer, text: str, ids: TokenIds, ranges: Sequence[Range]) -> list[Range | None]:
    """Where tokens start … end − 1 stand in `text`, for each range.

    None for all where the tokenizer cannot tell: it keeps no offsets, or does not give `ids` for `text`.
    """
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None or not ranges:
        return [None] * len(ranges)
    parts = pieces(text)  # as the text was cut when it was read
    found, offsets, at = [], [], 0
    for part, encoding in zip(parts, core.encode_batch(parts, add_special_tokens=False), strict=True):
        found += encoding.ids
        offsets += [(at + start, at + end) for start, end in encoding.offsets]
        at += len(part)
    if found != ids.tolist():
        return [None] * len(ranges)
    return [(offsets[start][0], offsets[end - 1][1]) for start, end in ranges]
