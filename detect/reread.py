"""A collection read a second time, its texts normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from detect.normalise import KINDS, Normalised, normalise
from detect.readers import Collection, Row
from detect.readers.encoding import LazyEncoder
from detect.readers.row import TokenIds


@dataclass(frozen=True, eq=False)
class Reread:
    """The same documents, in the same order.

    Attributes:
        documents: uint32 [n] each; where a document came as ids, or nothing was folded, as it was.
        prompts: what is to be excluded: as they came, and normalised besides.
        texts: one per document; None where it came as ids.
        same: no document and no prompt gives other tokens.
    """

    documents: list[TokenIds] = field(repr=False)
    prompts: list[TokenIds] = field(repr=False)
    texts: list[Normalised | None] = field(repr=False)
    same: bool

    def changed(self, collection: Collection) -> list[int]:
        """The documents whose test is another one than that of `collection`."""
        if len(self.prompts) > len(collection.prompts):
            return list(range(len(self.documents)))
        pairs = zip(self.documents, collection.documents, strict=True)
        return [i for i, (new, old) in enumerate(pairs) if not np.array_equal(new, old)]

    @property
    def changes(self) -> dict[str, int]:
        """How many characters of each kind were folded in all documents."""
        texts = [text for text in self.texts if text is not None]
        return {kind: sum(text.changes[kind] for text in texts) for kind in KINDS}

    @property
    def notes(self) -> tuple[str, ...]:
        """What people must know about the second reading."""
        as_ids = sum(text is None for text in self.texts)
        notes = []
        if as_ids:
            notes.append(
                f"normalised: {as_ids} of {len(self.texts)} documents came as token ids, with no text to normalise"
            )
        if self.same:
            one = "normalisation changes no token: both readings are one and the same test, counted once"
            notes.append(one)
        return tuple(notes)


def reread(collection: Collection, rows: Sequence[Row]) -> Reread:
    """Normalise and tokenise the texts of `collection`, which was made of `rows` with `keep_texts`."""
    if collection.texts is None:
        raise ValueError("the collection kept no texts; make it with keep_texts=True")
    encoder = LazyEncoder(lambda: collection.tokenizer)
    texts = [None if text is None else normalise(text) for text in collection.texts]
    changed = [i for i, text in enumerate(texts) if text is not None and text.text != collection.texts[i]]
    documents = list(collection.documents)
    for i, ids in zip(changed, encoder.encode([_text(texts[i]) for i in changed]), strict=True):
        documents[i] = ids
    prompts = [row.prompt for row in rows if row.prompt is not None and row.prompt_ids is None]
    folded = [new for old, new in ((prompt, normalise(prompt).text) for prompt in prompts) if old != new]
    more = encoder.encode(folded)
    same = not more and all(map(np.array_equal, documents, collection.documents))
    return Reread(documents, [*collection.prompts, *more], texts, same)


def _text(one: Normalised | None) -> str:
    assert one is not None
    return one.text
