"""Whether given token ids are the text that came with them, and split it as its tokenizer does.

Who counts other ids would not see what the text carries; and ids that spell a text in pieces chosen under the key carry
a mark that the text does not have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from detect.readers.encoding import Tokenizer, encode_plain
from detect.readers.row import Row
from detect.visible import one_line
from detect.wording import amount
from watermark.errors import InputError

OWN_WINDOWS = 0.8  # least share of windows of two tokens that the tokenizer makes, too; drawn at 1.3: .9
FEWEST_WINDOWS = 20  # of a row, for that share to say anything


_EITHER = (
    "ids can hide a mark that the text carries, or make one that it does not; test it without token_ids, and go by that"
)


class TextCheck:
    """Compares the rows that hold both, where a tokenizer can be had.

    Args:
        load: as `detect.readers.tokenized` has it.

    Attributes:
        apart: ids of the rows whose token ids are not their text, or spell it as no model draws it.
        windows: of two tokens, in all rows whose ids are their text, short ones included.
        shared: how many of them the tokenizer makes, too.
        unchecked: how many rows there was no tokenizer for.
    """

    def __init__(self, load: Callable[[], Tokenizer]) -> None:
        self.apart: list[str] = []
        self.unchecked = 0
        self.windows = self.shared = 0
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
        elif (found := _windows(tokenizer, row.token_ids.tolist(), row.text)) is None:
            self.apart.append(row.id)
        else:
            windows, shared = found
            self.windows += windows
            self.shared += shared
            if windows >= FEWEST_WINDOWS and shared < OWN_WINDOWS * windows:
                self.apart.append(row.id)

    @property
    def notes(self) -> tuple[str, ...]:
        """What people must know of it."""
        notes = []
        if self.apart:
            notes.append(
                f"{amount(len(self.apart), 'document')} whose token_ids are not the text beside them, or spell it as "
                f"its tokenizer does not (first: {one_line(self.apart[0])}): the ids were counted; {_EITHER}"
            )
        if self.windows:
            share = self.shared / self.windows
            note = (
                f"token_ids beside text: {share:.1%} of their {amount(self.windows, 'window')} of two tokens are those "
                "of the text's own tokenizer"
            )
            if share < OWN_WINDOWS:
                note += f", fewer than {OWN_WINDOWS:.0%}, which models that draw tokens keep above: {_EITHER}"
            notes.append(note)
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
