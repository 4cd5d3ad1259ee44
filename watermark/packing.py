"""Pairs as whole numbers that mean the same in every process: what is kept on disk of more pairs than memory holds.

A pair takes as many 64-bit words as its ids need, two pairs the same words exactly where they are the same. The first
word is scattered by a reversible mixing of the context, so that pairs lie evenly over its range whatever the language,
and those of one context lie together: a stretch of the range is a share of all contexts, with all their pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from watermark.errors import InputError
from watermark.greenlist import MAX_TOKEN_ID
from watermark.windows import Pairs

Words = NDArray[np.uint64]
BUCKETS_BITS = 12
BUCKETS = 1 << BUCKETS_BITS

_WORD = 64
_FACTORS = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)  # odd, so that multiplication is reversible


@dataclass(frozen=True)
class Packing:
    """How pairs of one mark are packed.

    Attributes:
        context_width: h.
        vocab_size: every id lies below it; None: ids are below 2^32 − 1.
        bits: of an id.
        words: that a pair takes, k.
    """

    context_width: int
    vocab_size: int | None = None
    bits: int = field(init=False)
    words: int = field(init=False)
    _each: int = field(init=False, repr=False)  # ids in a word

    def __post_init__(self) -> None:
        highest = MAX_TOKEN_ID if self.vocab_size is None else self.vocab_size - 1
        bits = max(highest.bit_length(), 1)
        each = _WORD // bits
        for name, value in (("bits", bits), ("_each", each), ("words", -(-(self.context_width + 1) // each))):
            object.__setattr__(self, name, value)

    @property
    def first_bits(self) -> int:
        """Every first word lies below 2 to this."""
        return self.bits * (self.context_width + 1) if self.words == 1 else _WORD

    def pack(self, rows: NDArray[np.uint32]) -> Words:
        """Rows (context …, token), uint32 [N, h + 1] → uint64 [k, N].

        Raises:
            InputError: an id takes more bits than there are; two pairs would become one.
        """
        if rows.size and int(rows.max()) >> self.bits:
            raise InputError(
                f"token id {int(rows.max())} is not among the {self.vocab_size} tokens of the key's tokenizer; "
                "tokenise the text with that"
            )
        packed = np.zeros((self.words, rows.shape[0]), dtype=np.uint64)
        for column in range(self.context_width + 1):
            word = packed[column // self._each]
            word <<= np.uint64(self.bits)
            word |= rows[:, column]
        self._scatter(packed, forth=True)
        return packed

    def unpack(self, packed: Words) -> NDArray[np.uint32]:
        """What `pack` took: uint64 [k, N] → uint32 [N, h + 1]."""
        packed = packed.copy()
        self._scatter(packed, forth=False)
        rows = np.empty((self.context_width + 1, packed.shape[1]), dtype=np.uint32)
        low = np.uint64((1 << self.bits) - 1)
        for column in range(self.context_width, -1, -1):
            word = packed[column // self._each]
            rows[column] = word & low
            word >>= np.uint64(self.bits)
        return rows.T

    def pairs(self, packed: Words) -> Pairs:
        """Distinct pairs that lie sorted, as `distinct_words` leaves them."""
        rows = self.unpack(packed)
        return Pairs(rows[:, :-1], rows[:, -1], self.count_contexts(packed))

    def count_contexts(self, packed: Words) -> int:
        """How many contexts there are in sorted words."""
        if packed.shape[1] == 0:
            return 0
        changed = (packed[-1, 1:] ^ packed[-1, :-1]) >> np.uint64(self.bits) != 0
        for word in packed[:-1]:
            changed |= word[1:] != word[:-1]
        return int(np.count_nonzero(changed)) + 1

    def bucket_starts(self, packed: Words) -> NDArray[np.int64]:
        """Where each of the BUCKETS equal stretches of the range begins in sorted words: int64 [BUCKETS + 1]."""
        starts = np.zeros(BUCKETS + 1, dtype=np.int64)
        starts[-1] = packed.shape[1]
        own = self.bits * self.context_width if self.words == 1 else _WORD  # bits of the context in the first word
        if own < BUCKETS_BITS:  # a few contexts: all of them in one
            starts[1:] = packed.shape[1]
            return starts
        borders = np.arange(1, BUCKETS, dtype=np.uint64) << np.uint64(self.first_bits - BUCKETS_BITS)
        starts[1:-1] = np.searchsorted(packed[0], borders)
        return starts

    def _scatter(self, packed: Words, *, forth: bool) -> None:
        """Mix the context's part of the first word, in place."""
        if self.words == 1:
            own = self.bits * self.context_width
            if own:
                tokens = packed[0] & np.uint64((1 << self.bits) - 1)
                packed[0] >>= np.uint64(self.bits)
                _mix(packed[0], own, forth=forth)
                packed[0] <<= np.uint64(self.bits)
                packed[0] |= tokens
            return
        rest = np.zeros(packed.shape[1], dtype=np.uint64)  # of the context: what stands in the other words
        for word in packed[1:-1]:
            rest ^= word
            _mix(rest, _WORD, forth=True)
        rest ^= packed[-1] >> np.uint64(self.bits)
        _mix(rest, _WORD, forth=True)
        if forth:
            packed[0] ^= rest
        _mix(packed[0], _WORD, forth=forth)
        if not forth:
            packed[0] ^= rest


def _mix(values: Words, bits: int, *, forth: bool) -> None:
    """Permute the numbers below 2^bits, in place, so that neighbours part; or undo that."""
    low, shift = np.uint64((1 << bits) - 1), np.uint64((bits + 1) // 2)
    with np.errstate(over="ignore"):
        for factor in _FACTORS if forth else [pow(factor, -1, 1 << _WORD) for factor in reversed(_FACTORS)]:
            if forth:
                values *= np.uint64(factor)
                values &= low
            values ^= values >> shift
            if not forth:
                values *= np.uint64(factor)
                values &= low
