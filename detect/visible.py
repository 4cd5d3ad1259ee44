"""Questioned text made harmless to look at: what a terminal or a browser would obey or hide is spelled out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

Kind = Literal["text", "escape", "newline", "tab"]

# Invisible though Unicode files them under letters and marks: fillers, joiners, variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_PLAIN = re.compile(r"[ -~]+")


def is_hidden(char: str) -> bool:
    """Whether `char` has no ink of its own or steers what is around it: controls, bidi, zero width, odd spaces."""
    if " " <= char <= "~":
        return False
    # C*: control, format (bidi, zero width), surrogate, private, unassigned. Z*: spaces and separators.
    return unicodedata.category(char)[0] in "CZ" or bool(_INVISIBLE.match(char))


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
