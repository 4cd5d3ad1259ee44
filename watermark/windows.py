"""Token ids → contexts → pairs: the one rule for offsets, prompt exclusion, special tokens and deduplication.

A window is a token together with the h tokens before it, all in one document. It yields the pair (context, token).
A pair counts once in a whole collection, and not at all when it occurs in any prompt or involves a special token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.dedup import Codes, contained, distinct, run_starts
from watermark.greenlist import MAX_TOKEN_ID

Document = Sequence[int] | NDArray[Any]
Table = NDArray[np.uint32]


class Reason(IntEnum):
    """Why a position counts, or doesn't."""

    COUNTED = 0
    NO_CONTEXT = 1  # fewer than h tokens before it in this document
    SPECIAL = 2  # the token or its context holds a special token
    IN_PROMPT = 3  # the pair occurs in a prompt
    REPEATED = 4  # the pair was counted earlier in the collection


@dataclass(frozen=True)
class Pairs:
    """Distinct (context, token) pairs, ordered by context, then token.

    Attributes:
        contexts: uint32 [N, h].
        tokens: uint32 [N].
        n_contexts: how many distinct contexts there are.
    """

    contexts: Table
    tokens: NDArray[np.uint32]
    n_contexts: int

    def __len__(self) -> int:
        return int(self.tokens.shape[0])


@dataclass(frozen=True)
class Extraction:
    """The pairs of a collection, and where every other token went: the counts and `len(pairs)` add up to `n_tokens`.

    Attributes:
        excluded: the distinct pairs of the documents that do not count, as they occur in a prompt.
    """

    pairs: Pairs
    excluded: Pairs
    n_documents: int
    n_tokens: int
    no_context: int
    special: int
    in_prompt: int
    repeated: int


@dataclass(frozen=True)
class Occurrences:
    """Every window of a collection without special tokens, in reading order: W of them.

    Attributes:
        pairs: the distinct ones.
        documents: intp [W], the document it lies in.
        numbers: intp [W], which of the pairs it is.
    """

    pairs: Pairs
    documents: NDArray[np.intp]
    numbers: NDArray[np.intp]


@dataclass(frozen=True)
class Windows:
    """Every window of a collection without special tokens, in reading order: W of them.

    Attributes:
        rows: uint32 [W, h + 1], the context, then the token; a column is contiguous.
        documents: intp [W], the document it lies in; ascending.
        lengths: intp [documents], tokens of each document.
        no_context: tokens with fewer than h before them; special: others that touch a special token.
    """

    rows: Table
    documents: NDArray[np.intp]
    lengths: NDArray[np.intp]
    no_context: int
    special: int


@dataclass(frozen=True)
class WindowRule:
    """How documents become pairs under one mark.

    Attributes:
        context_width: h, tokens.
        special_ids: ids that are never scored, as context or as target.
    """

    context_width: int
    special_ids: tuple[int, ...] = ()
    _special: NDArray[np.bool_] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = np.zeros(max(self.special_ids, default=-1) + 2, dtype=np.bool_)  # last entry: every larger id
        table[list(self.special_ids)] = True
        object.__setattr__(self, "_special", table)

    def is_special(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        """bool, of the shape of `ids`."""
        return self._special.take(ids, mode="clip")  # clip: larger ids read the last entry

    def extract(self, documents: Iterable[Document], exclude: Iterable[Document] = ()) -> Extraction:
        """The distinct pairs of a collection, less those that occur anywhere in `exclude` (the prompts).

        Raises:
            ValueError: a document is not a flat sequence of token ids.
        """
        text, prompts = _Flat.of(documents), _Flat.of(exclude)
        windows, no_context = self._windows(text)
        prompt_windows, _ = self._windows(prompts)
        coding = _encode([windows, prompt_windows])
        codes, prompt_codes = coding.codes
        n_windows = codes.shape[0]
        excluded = codes[:0]
        if prompt_codes.size:
            known = contained(codes, prompt_codes)
            excluded, codes = codes[known], codes[~known]
        in_prompt = n_windows - codes.shape[0]
        pairs = _as_pairs(coding.decode(distinct(codes, coding.bits)))
        return Extraction(
            pairs=pairs,
            excluded=_as_pairs(coding.decode(distinct(excluded, coding.bits))),
            n_documents=text.count,
            n_tokens=text.ids.shape[0],
            no_context=no_context,
            special=text.ids.shape[0] - no_context - n_windows,
            in_prompt=in_prompt,
            repeated=n_windows - in_prompt - len(pairs),
        )

    def windows(self, documents: Iterable[Document]) -> Windows:
        """All windows as they stand there, repeats included.

        Raises:
            ValueError: a document is not a flat sequence of token ids.
        """
        text = _Flat.of(documents)
        has_context = text.has_context(self.context_width)
        valid = self._valid(text, has_context)
        no_context = text.ids.shape[0] - int(np.count_nonzero(has_context))
        ends = np.flatnonzero(valid)  # of windows
        columns = np.empty((self.context_width + 1, ends.shape[0]), dtype=np.uint32)
        for column, back in zip(columns, range(self.context_width, -1, -1), strict=True):
            np.take(text.ids, ends - back, out=column)
        inside = np.diff(np.searchsorted(ends, np.append(text.starts, text.ids.shape[0])))  # of each document
        numbers = np.repeat(np.arange(text.count), inside)
        special = text.ids.shape[0] - no_context - ends.shape[0]
        return Windows(columns.T, numbers, text.lengths, no_context, special)

    def occurrences(self, documents: Iterable[Document]) -> Occurrences:
        """Where each pair occurs, and how often; nothing is excluded.

        Raises:
            ValueError: a document is not a flat sequence of token ids.
        """
        found = self.windows(documents)
        coding = _encode([found.rows])
        codes, numbers = np.unique(coding.codes[0], return_inverse=True)
        return Occurrences(_as_pairs(coding.decode(codes)), found.documents, numbers.reshape(-1))

    def label(self, documents: Iterable[Document], exclude: Iterable[Document] = ()) -> list[NDArray[np.int8]]:
        """Why each position of each document counts or doesn't: int8 [len(document)] of `Reason`, in reading order."""
        text, prompts = _Flat.of(documents), _Flat.of(exclude)
        reasons = np.full(text.ids.shape[0], Reason.SPECIAL, dtype=np.int8)
        has_context = text.has_context(self.context_width)
        reasons[~has_context] = Reason.NO_CONTEXT
        windows, _ = self._windows(text)
        prompt_windows, _ = self._windows(prompts)
        codes, prompt_codes = _encode([windows, prompt_windows]).codes
        first = np.zeros(codes.shape[0], dtype=np.bool_)
        order = np.argsort(codes, kind="stable")
        first[order[run_starts(codes[order])]] = True
        labels = np.where(first, np.int8(Reason.COUNTED), np.int8(Reason.REPEATED))
        labels[contained(codes, prompt_codes)] = Reason.IN_PROMPT
        reasons[self._valid(text, has_context)] = labels
        return np.split(reasons, text.starts[1:]) if text.count else []

    def contexts(self, document: Document) -> tuple[Table, NDArray[np.intp]]:
        """Every context that lies whole in `document` and holds no special token, also the one after its last token.

        Returns:
            contexts uint32 [P, h], and offsets [P]: contexts[i] are the h tokens before position offsets[i] ≤ len.
        """
        ids = _Flat.of([document]).ids
        h = self.context_width
        if ids.shape[0] < h:
            return np.zeros((0, h), dtype=np.uint32), np.zeros(0, dtype=np.intp)
        if h == 0:
            return np.zeros((ids.shape[0] + 1, 0), dtype=np.uint32), np.arange(ids.shape[0] + 1)
        table = np.lib.stride_tricks.sliding_window_view(ids, h)
        offsets = np.flatnonzero(~self.is_special(table).any(axis=1))
        return table[offsets], offsets + h

    def occurs(self, contexts: Table, tokens: NDArray[np.uint32], documents: Iterable[Document]) -> NDArray[np.bool_]:
        """Whether each pair is a window of any of `documents`: bool [N]. This is how prompts are excluded."""
        windows, _ = self._windows(_Flat.of(documents))
        codes, known = _encode([np.column_stack((contexts, tokens)).astype(np.uint32), windows]).codes
        return contained(codes, known)

    def _windows(self, text: _Flat) -> tuple[Table, int]:
        """Rows (context…, token) of all windows without special tokens, uint32 [M, h+1]; how many lack a context."""
        has_context = text.has_context(self.context_width)
        no_context = text.ids.shape[0] - int(np.count_nonzero(has_context))
        if no_context == text.ids.shape[0]:
            return np.zeros((0, self.context_width + 1), dtype=np.uint32), no_context
        table = np.lib.stride_tricks.sliding_window_view(text.ids, self.context_width + 1)
        valid = self._valid(text, has_context)[self.context_width :]
        return (table if valid.all() else table[valid]), no_context

    def _valid(self, text: _Flat, has_context: NDArray[np.bool_]) -> NDArray[np.bool_]:
        valid = has_context.copy()
        if self.special_ids:
            special = self.is_special(text.ids)
            for back in range(min(self.context_width + 1, special.shape[0])):
                valid[back:] &= ~special[: special.shape[0] - back]
        return valid


@dataclass(frozen=True)
class _Flat:
    """Documents laid end to end."""

    ids: NDArray[np.uint32]
    starts: NDArray[np.intp]  # [count], where each document begins

    @property
    def count(self) -> int:
        return int(self.starts.shape[0])

    @property
    def lengths(self) -> NDArray[np.intp]:
        """intp [count], tokens of each document."""
        return np.diff(np.append(self.starts, self.ids.shape[0]))

    @staticmethod
    def of(documents: Iterable[Document]) -> _Flat:
        parts = [_as_ids(document) for document in documents]
        lengths = np.array([part.shape[0] for part in parts], dtype=np.intp)
        ids = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, dtype=np.uint32), *parts])
        _check_range(ids)
        return _Flat(ids, np.cumsum(lengths) - lengths)

    def has_context(self, width: int) -> NDArray[np.bool_]:
        """bool [tokens]: at least `width` tokens come before it in its document."""
        result = np.ones(self.ids.shape[0], dtype=np.bool_)
        ends = np.append(self.starts[1:], self.ids.shape[0])
        for back in range(width):
            at = self.starts + back
            result[at[at < ends]] = False
        return result


def _as_ids(document: Document) -> NDArray[np.uint32]:
    """uint32 [tokens]; of an array of that type the range is not looked at here."""
    array = np.asarray(document)
    if array.ndim != 1:
        raise ValueError(f"a document is a flat sequence of token ids, not an array of shape {list(array.shape)}")
    if array.size == 0:
        return np.zeros(0, dtype=np.uint32)
    if array.dtype.kind not in "iu":
        raise ValueError(f"token ids must be integers, not {array.dtype}")
    if array.dtype != np.uint32:
        _check_range(array)
    return array.astype(np.uint32, copy=False)


def _check_range(ids: NDArray[Any]) -> None:
    if not ids.size:
        return
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > MAX_TOKEN_ID:
        raise ValueError(f"token ids lie in 0 … {MAX_TOKEN_ID}, found {low if low < 0 else high}")


@dataclass(frozen=True)
class _Coding:
    """One uint64 per row of each table, ordered as the rows are (context first), equal exactly where the rows are."""

    codes: list[Codes]
    bits: int  # every code lies below 2^bits
    decode: Callable[[Codes], Table]


def _encode(tables: list[Table]) -> _Coding:
    """Rows that fit 64 bits are packed. Wider ones get ranks, column by column: exact as well, only slower."""
    width = tables[0].shape[1]
    highest = max((int(table.max()) for table in tables if table.size), default=0)
    bits = max(highest.bit_length(), 1)
    if bits * width > 64:
        return _encode_by_rank(tables)

    def pack(table: Table) -> Codes:
        codes = table[:, 0].astype(np.uint64)
        for column in range(1, width):
            codes <<= np.uint64(bits)
            codes |= table[:, column]
        return codes

    def unpack(codes: Codes) -> Table:
        out = np.empty((width, codes.shape[0]), dtype=np.uint32)  # a column is contiguous: fast to write and to colour
        low = np.uint64((1 << bits) - 1)
        for column in range(width):
            np.bitwise_and(codes >> np.uint64(bits * (width - 1 - column)), low, out=out[column], casting="unsafe")
        return out.T

    return _Coding([pack(table) for table in tables], bits * width, unpack)


def _encode_by_rank(tables: list[Table]) -> _Coding:
    joint = np.concatenate(tables)
    codes = np.zeros(joint.shape[0], dtype=np.uint64)
    for column in range(joint.shape[1]):
        wider = (codes << np.uint64(32)) | joint[:, column]
        _, representatives, inverse = np.unique(wider, return_index=True, return_inverse=True)
        codes = inverse.astype(np.uint64)
    ends = np.cumsum([table.shape[0] for table in tables])[:-1]
    parts = [part.copy() for part in np.split(codes, ends)]
    return _Coding(parts, 64, lambda wanted: joint[representatives[wanted]])


def _as_pairs(rows: Table) -> Pairs:
    contexts, tokens = rows[:, :-1], rows[:, -1]
    if not len(rows):
        return Pairs(contexts, tokens, 0)
    changed = np.zeros(len(rows) - 1, dtype=np.bool_)
    for column in contexts.T:
        changed |= column[1:] != column[:-1]
    return Pairs(contexts, tokens, int(np.count_nonzero(changed)) + 1)
