"""Null texts by population: what no key had a part in, cut into texts of one length."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detect.readers.builtin import builtin_rows
from detect.readers.encoding import LazyEncoder
from detect.readers.row import TokenIds

CODE = ("code", "python", "shell", "sql", "web")
LANGUAGES = ("chinese", "french", "german", "italian", "portuguese", "spanish")
REPEATS = 12  # of one sentence

_SENTENCE_END = re.compile(r"(?<=[.!?])\s")


@dataclass(frozen=True)
class Population:
    """Texts of one kind.

    Attributes:
        name: short and plain, as it stands in tables.
        what: in words.
        documents: token ids of each, uint32.
        prompts: token ids of what the documents answer: their pairs count nowhere.
    """

    name: str
    what: str
    documents: tuple[TokenIds, ...] = field(repr=False)
    prompts: tuple[TokenIds, ...] = field(default=(), repr=False)

    @property
    def n_tokens(self) -> int:
        return sum(map(len, self.documents))

    @property
    def sha256(self) -> str:
        """Hex: of each document its length and token ids, then 8 zero bytes; of the prompts the same. (LE uint32.)"""
        digest = hashlib.sha256()
        for part in (self.documents, self.prompts):
            for document in part:
                digest.update(np.array([len(document), *map(int, document)], dtype="<u4").tobytes())
            digest.update(bytes(8))
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """JSON-ready, without the texts."""
        return {
            "name": self.name,
            "what": self.what,
            "documents": len(self.documents),
            "tokens": self.n_tokens,
            "sha256": self.sha256,
        }


def cut(documents: Iterable[TokenIds], length: int) -> list[list[TokenIds]]:
    """Texts of exactly `length` tokens each, one after the other; what is left at the end is dropped.

    A text is a list of pieces: of a document that is longer than the room in it, the rest goes into the next text.
    No pair spans two pieces.
    """
    texts: list[list[TokenIds]] = []
    text: list[TokenIds] = []
    room = length
    for document in documents:
        at = 0
        while at < len(document):
            piece = document[at : at + room]
            text.append(piece)
            at += len(piece)
            room -= len(piece)
            if not room:
                texts.append(text)
                text, room = [], length
    return texts


def builtin_populations(tokenizer: Any) -> list[Population]:
    """Of the 185 built-in texts: prose (English), code, other languages; and sentences of the prose, repeated."""
    texts: dict[str, list[str]] = {"prose": [], "code": [], "languages": []}
    for row in builtin_rows():
        domain = row.id.rpartition("-")[0]
        kind = "code" if domain in CODE else "languages" if domain in LANGUAGES else "prose"
        texts[kind].append(row.text or "")
    texts["repetitive"] = [" ".join([_first_sentence(text)] * REPEATS) for text in texts["prose"]]
    what = {
        "prose": "English prose in 24 domains, from the built-in texts",
        "code": "Python, SQL, shell, web and other code, from the built-in texts",
        "languages": "Chinese, French, German, Italian, Portuguese and Spanish, from the built-in texts",
        "repetitive": f"the first sentence of each prose text, {REPEATS} times over",
    }
    encoder = LazyEncoder(lambda: tokenizer)
    return [Population(name, what[name], tuple(encoder.encode(some))) for name, some in texts.items()]


def _first_sentence(text: str) -> str:
    return _SENTENCE_END.split(text, maxsplit=1)[0]
