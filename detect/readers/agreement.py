"""Whether given token ids are the text that came with them: who counts ids would not see what the text carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from detect.readers.encoding import Tokenizer, encode_plain
from detect.readers.row import Row
from detect.visible import one_line
from detect.wording import amount
from watermark.errors import InputError

OWN_WINDOWS = 0.5  # least share of a row's windows of two tokens that the tokenizer makes, too; drawn at 1.3: .9
FEWEST_WINDOWS = 20  # of a row, for that share to say anything


class TextCheck:
    """Compares the rows that hold both, where a tokenizer can be had.

    Args:
        load: as `detect.readers.tokenized` has it.

    Attributes:
        apart: ids of the rows whose token ids are not their text, or spell it as no model draws it.
        unchecked: how many rows there was no tokenizer for.
    """

    def __init__(self, load: Callable[[], Tokenizer]) -> None:
        self.apart: list[str] = []
        self.unchecked = 0
        self._load = load
        self._tokenizer: Tokenizer | None = None
        self._tried = False

    def look_at(self, row: Row) -> None:
        """Compare one row."""
        if row.text is None or row.token_ids is None:
            return
        tokenizer = self._at_hand()
        if tokenizer is None:
            self.unchecked += 1
        elif not _is_its_text(tokenizer, row.token_ids.tolist(), row.text):
            self.apart.append(row.id)

    @property
    def notes(self) -> tuple[str, ...]:
        """What people must know of it."""
        notes = []
        if self.apart:
            notes.append(
                f"{amount(len(self.apart), 'document')} whose token_ids are not the text beside them, or spell it as "
                f"its tokenizer does not (first: {one_line(self.apart[0])}): the ids were counted, and a mark in the "
                "text would not be seen; test it without token_ids, too"
            )
        if self.unchecked:
            notes.append(
                f"{amount(self.unchecked, 'document')} with text beside token_ids, counted by the ids: whether they "
                "are the text was not looked at, as no tokenizer is at hand; give --tokenizer"
            )
        return tuple(notes)

    def _at_hand(self) -> Tokenizer | None:
        if not self._tried:
            self._tried = True
            try:
                self._tokenizer = self._load()
            except InputError:
                return None
        return self._tokenizer


def _is_its_text(tokenizer: Tokenizer, ids: list[int], text: str) -> bool:
    words = said_by(tokenizer, ids, text)
    if words is None:
        return False
    windows, shared = shared_windows(words, next(encode_plain(tokenizer, [text])), 2)
    return windows < FEWEST_WINDOWS or shared >= OWN_WINDOWS * windows


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
