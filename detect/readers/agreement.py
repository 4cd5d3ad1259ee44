"""Whether given token ids are the text that came with them, and split it as its tokenizer does.

Who counts other ids would not see what the text carries; and ids that spell a text in pieces chosen under the key carry
a mark that the text does not have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from detect.readers.encoding import Tokenizer, encode_plain
from detect.readers.remarks import OWN_WINDOWS, Agreement
from detect.readers.row import Row
from watermark.errors import InputError

FEWEST_WINDOWS = 20  # of a row, for that share to say anything


class TextCheck:
    """Compares the rows that hold both, where a tokenizer can be had.

    Args:
        load: as `detect.readers.tokenized` has it.

    Attributes:
        found: what was found so far.
    """

    def __init__(self, load: Callable[[], Tokenizer]) -> None:
        self.found = Agreement()
        self._load = load
        self._tokenizer: Tokenizer | None = None
        self._tried = False

    def look_at(self, row: Row) -> None:
        """Compare one row."""
        if row.text is None or row.token_ids is None:
            return
        tokenizer = self._at_hand()
        if tokenizer is None:
            self.found = self.found.plus(Agreement(unchecked=1))
            return
        found = _windows(tokenizer, row.token_ids.tolist(), row.text)
        windows, shared = found or (0, 0)
        odd = found is None or (windows >= FEWEST_WINDOWS and shared < OWN_WINDOWS * windows)
        self.found = self.found.plus(Agreement(int(odd), row.id if odd else "", windows, shared))

    @property
    def notes(self) -> tuple[str, ...]:
        """What people must know of it."""
        return self.found.notes

    def _at_hand(self) -> Tokenizer | None:
        if not self._tried:
            self._tried = True
            try:
                self._tokenizer = self._load()
            except InputError:
                return None
        return self._tokenizer


def _windows(tokenizer: Tokenizer, ids: list[int], text: str) -> tuple[int, int] | None:
    """How many windows of two tokens the ids have, and how many of these its tokenizer makes; None: another text."""
    words = said_by(tokenizer, ids, text)
    return None if words is None else shared_windows(words, next(encode_plain(tokenizer, [text])), 2)


def said_by(tokenizer: Any, ids: Sequence[int], text: str) -> list[int] | None:
    """The ids without special tokens at the end, if they are this text; else None.

    An end within a character is shown by some and not by others. Special tokens stand at the end, if at all: between
    others they would keep pairs from being counted, unseen.
    """
    if max(ids, default=0) >= len(tokenizer):
        return None
    special = {one for one, token in tokenizer.added_tokens_decoder.items() if token.special}
    words = list(ids)
    while words and words[-1] in special:
        words.pop()
    if special & set(words):
        return None
    decoded = str(tokenizer.decode(words))
    return words if decoded.strip().rstrip("\ufffd") == text.strip().rstrip("\ufffd") else None


def shared_windows(ids: Sequence[int], again: Sequence[int], width: int) -> tuple[int, int]:
    """How many windows of `width` tokens there are in the first, and how many of these in the second as well."""
    windows, others = (
        Counter(tuple(one[start : start + width]) for start in range(len(one) - width + 1)) for one in (ids, again)
    )
    return windows.total(), (windows & others).total()
