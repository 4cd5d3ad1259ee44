"""Rows → a collection of token ids: what every test of texts counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from detect.normalise import normalise
from detect.readers.agreement import TextCheck
from detect.readers.encoding import LazyEncoder, Tokenizer, batches
from detect.readers.row import Row, TokenIds, refuse_foreign_ids
from detect.visible import one_line
from watermark.errors import InputError

LOOKED_AT = 1 << 16  # characters of each text
NO_ANSWER = "no text or token_ids"
_EMPTY: TokenIds = np.zeros(0, dtype=np.uint32)


@dataclass(frozen=True, eq=False)
class Collection:
    """Documents as token ids, and what was left out.

    Attributes:
        documents: uint32 [n] each, at least h + 1 tokens long.
        ids: one per document, as they came (show through `detect.visible.one_line`); duplicates are possible.
        document_prompts: one per document, empty where it has none.
        prompts: every prompt there is, those of skipped rows included: what is to be excluded.
        skipped: (id, reason) of each row that is no document.
        texts: one per document (None where ids were given), or None when they were not kept.
        tokenizer: the tokenizer, if a text or prompt needed it.
        html: how many texts begin as HTML does.
        disguised: how many texts hold characters that hide their tokens, in what is looked at of each.
        beside: what is to be known of texts beside token ids.
    """

    documents: list[TokenIds] = field(default_factory=list, repr=False)
    ids: list[str] = field(default_factory=list, repr=False)
    document_prompts: list[TokenIds] = field(default_factory=list, repr=False)
    prompts: list[TokenIds] = field(default_factory=list, repr=False)
    skipped: list[tuple[str, str]] = field(default_factory=list, repr=False)
    texts: list[str | None] | None = field(default=None, repr=False)
    tokenizer: Tokenizer | None = field(default=None, repr=False)
    html: int = 0
    disguised: int = 0
    beside: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What people must know: how many rows were skipped, a line for each reason; and markup among text."""
        firsts: dict[str, list[str]] = {}
        for identifier, reason in self.skipped:
            firsts.setdefault(reason, []).append(identifier)
        skips = [
            f"{_count(len(skipped), 'document')} skipped: {reason} (first: {one_line(skipped[0])})"
            for reason, skipped in firsts.items()
        ]
        markup = (
            f"{_count(self.html, 'text')} in HTML: the markup was counted, too, and can hide a mark; give text alone"
        )
        hiding = (
            f"{_count(self.disguised, 'text')} with invisible or lookalike characters or odd spaces, which can hide a "
            "mark from the count of the text as it came: --normalise reads it as it looks, too"
        )
        told = [note for count, note in ((self.html, markup), (self.disguised, hiding)) if count]
        return (*skips, *told, *self.beside)


def tokenized(
    rows: Iterable[Row],
    context_width: int,
    tokenizer_loader: Callable[[], Tokenizer],
    *,
    vocab_size: int | None = None,
    keep_texts: bool = False,
) -> Collection:
    """Resolve every row to token ids; ids win over text. Documents shorter than h + 1 tokens are skipped and named.

    Args:
        rows: as from `read_rows`; an error there ends everything.
        context_width: h.
        tokenizer_loader: called only if some row needs it, or holds text beside ids; checks that it is the key's.
        vocab_size: of the key's tokenizer: given ids beyond it are another tokenizer's. None: not known.
        keep_texts: keep the documents' texts.

    Raises:
        InputError: no rows, every one too short, or token ids beyond the vocabulary.
    """
    encoder = LazyEncoder(tokenizer_loader)
    needed = context_width + 1
    documents, ids, document_prompts, prompts, skipped, texts = [], [], [], [], [], []
    longest, longest_id, html, disguised = -1, "", 0, 0
    check = TextCheck(tokenizer_loader)
    for row, document, prompt in _resolved(rows, encoder):
        if vocab_size is not None:
            refuse_foreign_ids(row, vocab_size)
        check.look_at(row)
        if prompt.size:
            prompts.append(prompt)
        if document is None or document.size < needed:
            skipped.append((row.id, NO_ANSWER if document is None else f"shorter than {_count(needed, 'token')}"))
            if document is not None and document.size > longest:
                longest, longest_id = document.size, row.id
            continue
        documents.append(document)
        ids.append(row.id)
        document_prompts.append(prompt)
        texts.append(row.text if row.token_ids is None else None)
        html += texts[-1] is not None and texts[-1].lstrip()[:14].lower().startswith(("<!doctype html", "<html"))
        disguised += texts[-1] is not None and normalise(texts[-1][:LOOKED_AT]).is_disguise
    if not documents:
        raise InputError(_nothing_left(len(skipped), longest, longest_id, context_width))
    kept = texts if keep_texts else None
    return Collection(
        documents, ids, document_prompts, prompts, skipped, kept, encoder.tokenizer, html, disguised, check.notes
    )


def _resolved(rows: Iterable[Row], encoder: LazyEncoder) -> Iterator[tuple[Row, TokenIds | None, TokenIds]]:
    """Each row with the ids of its answer (None: it has none) and of its prompt."""
    for batch in batches(rows, _characters):
        encoded = iter(encoder.encode([text for row in batch for text in _needed(row)]))
        for row in batch:
            document = row.token_ids if row.text is None or row.token_ids is not None else next(encoded)
            prompt = row.prompt_ids if row.prompt is None or row.prompt_ids is not None else next(encoded)
            yield row, document, _EMPTY if prompt is None else prompt


def _needed(row: Row) -> list[str]:
    """The texts of a row that have to be tokenised, the answer first."""
    pairs = ((row.text, row.token_ids), (row.prompt, row.prompt_ids))
    return [text for text, ids in pairs if text is not None and ids is None]


def _characters(row: Row) -> int:
    return sum(len(text) for text in _needed(row))


def _nothing_left(skipped: int, longest: int, identifier: str, context_width: int) -> str:
    least = f"at least {context_width + 1} are needed (the {_count(context_width, 'token')} of context, and one more)"
    if not context_width:
        least = "at least 1 is needed"
    if not skipped:
        return "there are no documents to read; give files with text"
    if longest < 0:
        return f"none of {_count(skipped, 'row')} holds text or token_ids; give rows that do"
    if skipped == 1:
        return f"{one_line(identifier)} has {_count(longest, 'token')}; {least}"
    longest_one = f"the longest, {one_line(identifier)}, has {_count(longest, 'token')}"
    return f"all {skipped} documents are too short: {longest_one}; {least}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
