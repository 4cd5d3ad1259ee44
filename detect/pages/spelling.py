"""Token ids → what each token adds to the text, also where a character spans several tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MAX_HELD = 8  # tokens that may spell one character (4 bytes, and room for odd tokenizers)
Decode = Callable[[list[int]], str]
_BROKEN = "\ufffd"  # how a decoder writes bytes that are no whole character


@dataclass(frozen=True)
class Spelling:
    """What a token adds to the text.

    Attributes:
        text: the characters; empty for a token without any of its own.
        continues: the token only completes the character shown at an earlier token.
    """

    text: str
    continues: bool = False


def decoder(tokenizer: Any) -> Decode:
    """Ids → text with special tokens spelled out and spaces as they are."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is not None:
        return lambda ids: str(core.decode(ids, skip_special_tokens=False))
    options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    return lambda ids: str(tokenizer.decode(ids, **options))


def spell(ids: Sequence[int], decode: Decode, vocab_size: int) -> list[Spelling]:
    """What each id adds, one Spelling per id; joined they are what `decode` makes of all ids.

    Tokens are decoded together with those before them, because decoders treat the start of a text differently. While
    the text so far ends in a broken character, tokens are held back: the character is shown at the first of them.
    """
    out: list[Spelling] = []
    shown: list[int] = []  # the last tokens whose text is out
    held: list[int] = []

    def emit(groups: list[tuple[list[int], str]]) -> None:
        nonlocal shown
        for tokens, text in groups:
            out.append(Spelling(text))
            out.extend(Spelling("", continues=True) for _ in tokens[1:])
            shown = tokens

    for token in ids:
        if not 0 <= token < vocab_size:
            emit(_groups(decode, shown, held))
            out.append(Spelling(""))
            held = []
            continue
        held.append(token)
        if not _added(decode, shown, held).endswith(_BROKEN):
            emit(_groups(decode, shown, held))
            held = []
        elif len(held) == MAX_HELD:
            groups = _groups(decode, shown, held)
            emit(groups[:-1] or groups)
            held = groups[-1][0] if len(groups) > 1 else []
    emit(_groups(decode, shown, held))
    return out


def _groups(decode: Decode, before: list[int], tokens: list[int]) -> list[tuple[list[int], str]]:
    """Split tokens into the shortest runs that spell whole characters, or broken ones, of their own."""
    if not tokens:
        return []
    text = _added(decode, before, tokens)
    for at in range(len(tokens) - 1, 0, -1):
        last = _added(decode, [*before, *tokens[:at]], tokens[at:])
        if last and _added(decode, before, tokens[:at]) + last == text:
            return [*_groups(decode, before, tokens[:at]), (tokens[at:], last)]
    return [(tokens, text)]


def _added(decode: Decode, before: list[int], tokens: list[int]) -> str:
    if not before:
        return decode(tokens)
    start, whole = decode(before), decode([*before, *tokens])
    return whole[len(start) :] if whole.startswith(start) else decode(tokens)
