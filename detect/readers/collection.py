"""Rows → a collection of token ids: what every test of texts counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from detect.normalise import looks_disguised
from detect.readers.agreement import TextCheck
from detect.readers.encoding import BATCH, LazyEncoder, Tokenizer, batches
from detect.readers.remarks import Remarks, Skipped, too_short
from detect.readers.row import Row, TokenIds, refuse_foreign_ids
from watermark.errors import InputError

LOOKED_AT = 1 << 16  # characters of each text
NO_ANSWER = "no text or token_ids"
_EMPTY: TokenIds = np.zeros(0, dtype=np.uint32)


@dataclass(frozen=True, eq=False)
class Taken:
    """A row in token ids.

    Attributes:
        document: uint32 [n], at least h + 1 long; None: the row is no document, and was remarked upon.
        prompt: uint32 [m]; empty where it has none.
        text: that was counted; None: the ids came as they are.
    """

    row: Row
    document: TokenIds | None = field(repr=False)
    prompt: TokenIds = field(repr=False)

    @property
    def text(self) -> str | None:
        return self.row.text if self.row.token_ids is None else None


class Intake:
    """Rows → token ids; ids win over text. Documents shorter than h + 1 tokens are skipped and remarked upon.

    Args:
        context_width: h.
        tokenizer_loader: called only if some row needs it, or holds text beside ids; checks that it is the key's.
        vocab_size: of the key's tokenizer: given ids beyond it are another tokenizer's. None: not known.
        batch: characters that are tokenised at once.
    """

    def __init__(
        self,
        context_width: int,
        tokenizer_loader: Callable[[], Tokenizer],
        *,
        vocab_size: int | None = None,
        batch: int = BATCH,
    ) -> None:
        self.context_width = context_width
        self._encoder = LazyEncoder(tokenizer_loader)
        self._vocab_size = vocab_size
        self._batch = batch
        self._check = TextCheck(tokenizer_loader)
        self._skipped: dict[str, Skipped] = {}
        self._longest, self._longest_id = -1, ""
        self._documents = self._html = self._disguised = 0

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer, if a text or prompt needed it."""
        return self._encoder.tokenizer

    @property
    def remarks(self) -> Remarks:
        """On all rows so far."""
        return Remarks(
            self._documents,
            dict(self._skipped),
            self._longest,
            self._longest_id,
            self._html,
            self._disguised,
            self._check.found,
        )

    def batches(self, rows: Iterable[Row]) -> Iterator[list[Taken]]:
        """Every row in its order, a batch at a time (InputError: token ids beyond the vocabulary; or as the rows)."""
        for batch in batches(rows, _weight, self._batch):
            encoded = iter(self._encoder.encode([text for row in batch for text in _needed(row)]))
            yield [self._take(row, encoded) for row in batch]

    def _take(self, row: Row, encoded: Iterator[TokenIds]) -> Taken:
        document = row.token_ids if row.text is None or row.token_ids is not None else next(encoded)
        prompt = row.prompt_ids if row.prompt is None or row.prompt_ids is not None else next(encoded)
        if self._vocab_size is not None:
            refuse_foreign_ids(row, self._vocab_size)
        self._check.look_at(row)
        if document is None or document.size <= self.context_width:
            self._skip(row, document)
            document = None
        taken = Taken(row, document, _EMPTY if prompt is None else prompt)
        if document is not None:
            self._documents += 1
            if taken.text is not None:
                html, disguised = first_look(taken.text)
                self._html += html
                self._disguised += disguised
        return taken

    def _skip(self, row: Row, document: TokenIds | None) -> None:
        reason = NO_ANSWER if document is None else too_short(self.context_width)
        known = self._skipped.get(reason)
        self._skipped[reason] = Skipped(1, row.id) if known is None else Skipped(known.count + 1, known.first)
        if document is not None and document.size > self._longest:
            self._longest, self._longest_id = document.size, row.id


@dataclass(frozen=True, eq=False)
class Collection:
    """Documents as token ids, and what was left out.

    Attributes:
        documents: uint32 [n] each, at least h + 1 tokens long.
        ids: one per document, as they came (show through `detect.visible.one_line`); duplicates are possible.
        document_prompts: one per document, empty where it has none.
        prompts: every prompt there is, those of skipped rows included: what is to be excluded.
        texts: one per document (None where ids were given), or None when they were not kept.
        tokenizer: the tokenizer, if a text or prompt needed it.
        remarks: what is to be known of the rows.
    """

    documents: list[TokenIds] = field(default_factory=list, repr=False)
    ids: list[str] = field(default_factory=list, repr=False)
    document_prompts: list[TokenIds] = field(default_factory=list, repr=False)
    prompts: list[TokenIds] = field(default_factory=list, repr=False)
    texts: list[str | None] | None = field(default=None, repr=False)
    tokenizer: Tokenizer | None = field(default=None, repr=False)
    remarks: Remarks = field(default_factory=Remarks)

    @property
    def notes(self) -> tuple[str, ...]:
        """What people must know."""
        return self.remarks.notes


def tokenized(
    rows: Iterable[Row],
    context_width: int,
    tokenizer_loader: Callable[[], Tokenizer],
    *,
    vocab_size: int | None = None,
    keep_texts: bool = False,
) -> Collection:
    """Resolve every row to token ids, as `Intake`, and keep them all.

    Args:
        rows: as from `read_rows`; an error there ends everything.
        context_width, tokenizer_loader, vocab_size: as of `Intake`.
        keep_texts: keep the documents' texts.

    Raises:
        InputError: no rows, every one too short, or token ids beyond the vocabulary.
    """
    intake = Intake(context_width, tokenizer_loader, vocab_size=vocab_size)
    documents, ids, document_prompts, prompts, texts = [], [], [], [], []
    for batch in intake.batches(rows):
        for taken in batch:
            if taken.prompt.size:
                prompts.append(taken.prompt)
            if taken.document is not None:
                documents.append(taken.document)
                ids.append(taken.row.id)
                document_prompts.append(taken.prompt)
                texts.append(taken.text if keep_texts else None)
    remarks = intake.remarks
    if not documents:
        raise InputError(remarks.nothing_left(context_width))
    kept = texts if keep_texts else None
    return Collection(documents, ids, document_prompts, prompts, kept, intake.tokenizer, remarks)


def first_look(text: str) -> tuple[bool, bool]:
    """Whether a text begins as HTML does, and whether it holds characters that hide its tokens."""
    html = text.lstrip()[:14].lower().startswith(("<!doctype html", "<html"))
    return html, looks_disguised(text[:LOOKED_AT])


def _needed(row: Row) -> list[str]:
    """The texts of a row that have to be tokenised, the answer first."""
    pairs = ((row.text, row.token_ids), (row.prompt, row.prompt_ids))
    return [text for text, ids in pairs if text is not None and ids is None]


def _weight(row: Row) -> int:
    """Characters that have to be tokenised; an id, which need not be, stands for four."""
    answer = len(row.text or "") if row.token_ids is None else 4 * row.token_ids.size
    prompt = len(row.prompt or "") if row.prompt_ids is None else 4 * row.prompt_ids.size
    return answer + prompt
