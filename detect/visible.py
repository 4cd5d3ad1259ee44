"""Questioned text made harmless to look at: what a terminal or a browser would obey or hide is spelled out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

Kind = Literal["text", "escape", "newline", "tab"]

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties), those without a character yet included: nothing is
# drawn for them, whether they are filed under formats, marks or letters, or not at all.
_IGNORABLE = re.compile(
    "[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
BLANK = "\u2800"  # Braille without dots
EMPTY = frozenset("\ufffc\U0001d159\U00013441\U00013442")  # nothing is drawn for these, though Unicode says otherwise
_PLAIN = re.compile(r"[ -~]+")


def is_hidden(char: str) -> bool:
    """Whether `char` has no ink of its own or steers what is around it: controls, bidi, zero width, odd spaces."""
    if " " <= char <= "~":
        return False
    # C*: control, format (bidi, zero width), surrogate, private, unassigned. Z*: spaces and separators.
    return unicodedata.category(char)[0] in "CZ" or char == BLANK or char in EMPTY or is_ignorable(char)


def is_ignorable(char: str) -> bool:
    """Whether `char` is one that Unicode has nothing drawn for, assigned or not."""
    return bool(_IGNORABLE.match(char))


def escaped(char: str) -> str:
    """The name a hidden character is shown by: ⟨U+202E⟩."""
    return f"⟨U+{ord(char):04X}⟩"


def segments(text: str) -> Iterator[tuple[Kind, str]]:
    """Split `text` into runs to show as they are and single characters to spell out; the parts join to `text`."""
    start = 0
    for at, char in enumerate(text):
        if is_hidden(char):
            if start < at:
                yield "text", text[start:at]
            yield "newline" if char == "\n" else "tab" if char == "\t" else "escape", char
            start = at + 1
    if start < len(text):
        yield "text", text[start:]


def one_line(text: object, limit: int = 160) -> str:
    """`text` for a message: one line, hidden characters spelled out, the middle dropped beyond `limit` characters."""
    string = str(text)
    if len(string) > limit:
        string = f"{string[: limit // 2]}…{string[-(limit // 2) :]}"
    if _PLAIN.fullmatch(string):
        return string
    return "".join(escaped(char) if is_hidden(char) else char for char in string)
