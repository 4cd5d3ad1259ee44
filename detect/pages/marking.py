"""Which tokens of a collection are green, red or uncounted, and what they look like in text: the rows of a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.pages.spelling import Spelling, decoder, spell
from detect.visible import escaped, one_line, segments
from watermark.greenlist import GreenList
from watermark.keys import Key
from watermark.windows import Reason, WindowRule

GREEN, RED = "green", "red"
# Reason → class on the page, what people read.
UNCOUNTED = {
    Reason.REPEATED: ("repeated", "the same pair was counted earlier"),
    Reason.IN_PROMPT: ("prompt", "the pair occurs in a prompt"),
    Reason.SPECIAL: ("special", "it, or its context, holds a special token"),
    Reason.NO_CONTEXT: ("start", "too few tokens come before it in its document"),
}


@dataclass(frozen=True)
class Part:
    """A run of text inside a token: kind "text", "escape", "newline" or "tab"; `shown` is not yet HTML."""

    kind: str
    shown: str


@dataclass(frozen=True)
class MarkedToken:
    """A token as the page shows it.

    Attributes:
        state: "green", "red" or a class from UNCOUNTED.
        title: what hovering tells.
        announce: the state in words, where it differs from the token before; for screen readers.
        parts: the text; empty when `continues`.
        continues: the token completes a character shown before it.
        opens: a span of the scan begins before it: what the frame's title says.
        closes: the span ends after it.
        anchor: name of the span that it opens, for links.
    """

    state: str
    title: str
    announce: str
    parts: tuple[Part, ...]
    continues: bool
    opens: str = ""
    closes: bool = False
    anchor: str = ""


@dataclass(frozen=True)
class Frame:
    """A span of the scan: tokens start … end − 1, what is said of it, and its name in links."""

    start: int
    end: int
    title: str
    anchor: str


@dataclass(frozen=True)
class MarkedDocument:
    """A document, or its beginning.

    Attributes:
        heading: its id, harmless to show.
        n_tokens: how many it has.
        tokens: those shown.
        spans: what is said of each span of the scan, shown or not.
    """

    heading: str
    n_tokens: int
    tokens: list[MarkedToken]
    spans: tuple[str, ...] = ()

    @property
    def cut(self) -> bool:
        return len(self.tokens) < self.n_tokens

    def count(self, state: str) -> int:
        """How many of the shown tokens are in `state`."""
        return sum(token.state == state for token in self.tokens)


def states(key: Key, rule: WindowRule, ids: NDArray[np.uint32], labels: NDArray[np.int8]) -> list[str]:
    """The state of each of the first len(labels) tokens of a document.

    Args:
        ids: uint32 [n], at least as long as `labels`.
        labels: int8 of `Reason`.
    """
    names = np.array([GREEN, *("" for _ in UNCOUNTED)], dtype=object)
    for reason, (name, _) in UNCOUNTED.items():
        names[reason] = name
    out = names[labels]
    contexts, offsets = rule.contexts(ids[: len(labels)])
    inside = offsets < len(labels)
    contexts, offsets = contexts[inside], offsets[inside]
    counted = labels[offsets] == Reason.COUNTED
    contexts, offsets = contexts[counted], offsets[counted]
    red = ~GreenList(key).is_green(contexts, ids[offsets])
    out[offsets[red]] = RED
    return list(out)


def mark_document(
    identifier: str, ids: NDArray[np.uint32], n_tokens: int, state: list[str], tokenizer: Any | None
) -> MarkedDocument:
    """Put states and text together; without a tokenizer the ids themselves are shown."""
    spellings = _spellings([int(token) for token in ids], tokenizer)
    tokens, before = [], ""
    for token, name, spelling in zip(ids, state, spellings, strict=True):
        meaning = MEANINGS[name]
        title = f"{meaning}; token id {token}"
        if spelling.continues:
            title += "; completes the character before it"
        announce = meaning if name != before else ""
        tokens.append(MarkedToken(name, title, announce, _parts(spelling, int(token)), spelling.continues))
        before = name
    return MarkedDocument(one_line(identifier), n_tokens, tokens)


def frame_spans(document: MarkedDocument, frames: Sequence[Frame]) -> MarkedDocument:
    """`document` with disjoint spans framed; what lies beyond the tokens shown is only named."""
    tokens = list(document.tokens)
    for frame in frames:
        end = min(frame.end, len(tokens))
        if frame.start >= end:
            continue
        first, said = tokens[frame.start], f"{frame.title}; {tokens[frame.start].announce}".removesuffix("; ")
        tokens[frame.start] = replace(first, opens=frame.title, announce=said, anchor=frame.anchor)
        tokens[end - 1] = replace(tokens[end - 1], closes=True)
    return replace(document, tokens=tokens, spans=tuple(frame.title for frame in frames))


MEANINGS = {GREEN: "green", RED: "red"} | {name: f"not counted: {why}" for name, why in UNCOUNTED.values()}


def _spellings(ids: list[int], tokenizer: Any | None) -> list[Spelling]:
    if tokenizer is None:
        return [Spelling(f"{token} ") for token in ids]
    return spell(ids, decoder(tokenizer), len(tokenizer))


def _parts(spelling: Spelling, token: int) -> tuple[Part, ...]:
    if spelling.continues:
        return ()
    if not spelling.text:  # a token that writes nothing must still be seen
        return (Part("escape", f"⟨id {token}⟩"),)
    draw: dict[str, Callable[[str], str]] = {"newline": lambda _: "↵", "tab": lambda _: "⇥", "escape": escaped}
    return tuple(Part(kind, draw.get(kind, str)(text)) for kind, text in segments(spelling.text))
