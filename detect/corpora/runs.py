"""Pairs on disk: runs of distinct ones in the order of their hash, and many runs made one, a stretch at a time.

A run is a file of little-endian 64-bit words: where each of BUCKETS stretches of the hash begins (BUCKETS + 1 numbers),
then the first words of all its pairs, then their second words … So what is kept holds no colour, and no key is needed
to merge it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from watermark.dedup import distinct_words
from watermark.errors import InputError
from watermark.packing import BUCKETS, Packing, Words

MOST_WORDS = 4 << 20  # held at once while pairs are gathered or merged: 32 MB, and as much to sort them
_SMALLEST = 1 << 16
_HEADER = 8 * (BUCKETS + 1)


class Gathering:
    """Pairs as they come by → runs in a directory.

    Args:
        directory: where the runs `<name>-0.run`, `<name>-1.run` … are written.
    """

    def __init__(self, packing: Packing, directory: Path, name: str) -> None:
        self._packing, self._directory, self._name = packing, directory, name
        self._most = max(1, MOST_WORDS // packing.words)  # pairs
        self._held: Words = np.empty((packing.words, 0), dtype=np.uint64)
        self._used = 0
        self.runs: list[Path] = []

    def add(self, words: Words) -> None:
        """Take pairs, uint64 [k, N]."""
        start = 0
        while start < words.shape[1]:
            if self._used == self._most:
                self._make_room()
            part = words[:, start : start + self._most - self._used]
            self._reserve(self._used + part.shape[1])
            self._held[:, self._used : self._used + part.shape[1]] = part
            self._used += part.shape[1]
            start += part.shape[1]

    def finish(self) -> list[Path]:
        """Write what is held; returns all runs."""
        self._squeeze()
        if self._used:
            self._write()
        self._held = self._held[:, :0].copy()
        return self.runs

    def _reserve(self, pairs: int) -> None:
        if pairs > self._held.shape[1]:
            room = min(self._most, max(pairs, 2 * self._held.shape[1], _SMALLEST))
            larger = np.empty((self._packing.words, room), dtype=np.uint64)
            larger[:, : self._used] = self._held[:, : self._used]
            self._held = larger

    def _make_room(self) -> None:
        """Repeats go; where few were among them, the rest becomes a run."""
        self._squeeze()
        if 2 * self._used > self._most:
            self._write()

    def _squeeze(self) -> None:
        kept = distinct_words(self._held[:, : self._used], self._packing.first_bits)
        self._used = kept.shape[1]
        self._held[:, : self._used] = kept

    def _write(self) -> None:
        path = self._directory / f"{self._name}-{len(self.runs)}.run"
        write_run(path, self._held[:, : self._used], self._packing)
        self.runs.append(path)
        self._used = 0


def write_run(path: Path, words: Words, packing: Packing) -> None:
    """Write sorted distinct pairs, uint64 [k, N]."""
    with path.open("wb") as handle:
        packing.bucket_starts(words).astype("<i8").tofile(handle)
        for word in words:
            np.ascontiguousarray(word, dtype="<u8").tofile(handle)


@dataclass(frozen=True)
class Run:
    """A run on disk; nothing of it is held in memory."""

    path: Path
    packing: Packing

    def sizes(self) -> NDArray[np.int64]:
        """Pairs in each bucket: int64 [BUCKETS] (InputError: the file is no whole run)."""
        starts = np.fromfile(self.path, dtype="<i8", count=BUCKETS + 1).astype(np.int64)
        sizes = np.diff(starts)
        whole = starts.shape[0] == BUCKETS + 1 and starts[0] == 0 and (sizes >= 0).all()
        if not whole or self.path.stat().st_size != _HEADER + 8 * self.packing.words * int(starts[-1]):
            directory = self.path.parent
            raise InputError(f"{self.path} is damaged; remove {directory} and run the same command again")
        return sizes

    def read(self, first: int, last: int) -> Words:
        """The pairs of buckets first … last − 1: uint64 [k, N]."""
        with self.path.open("rb") as handle:
            start, stop, total = (_number(handle, at) for at in (first, last, BUCKETS))
            words = np.empty((self.packing.words, stop - start), dtype=np.uint64)
            for row, word in enumerate(words):
                handle.seek(_HEADER + 8 * (row * total + start))
                word[:] = np.fromfile(handle, dtype="<u8", count=stop - start)
        return words


def _number(handle: BinaryIO, at: int) -> int:
    handle.seek(8 * at)
    return int.from_bytes(handle.read(8), "little")


def stretches(runs: Iterable[Run], packing: Packing) -> list[tuple[int, int]]:
    """Cut the buckets so that all runs together hold about MOST_WORDS between two cuts: (first, last + 1) of each.

    One bucket may hold more; `merged` copes with that.
    """
    sizes = np.zeros(BUCKETS, dtype=np.int64)
    for run in runs:
        sizes += run.sizes()
    found, first, held = [], 0, 0
    for bucket, size in enumerate((packing.words * sizes).tolist()):
        if held and held + size > MOST_WORDS:
            found.append((first, bucket))
            first, held = bucket, 0
        held += size
    found.append((first, BUCKETS))
    return found


def merged(runs: Sequence[Run], packing: Packing, first: int, last: int) -> Words:
    """The distinct pairs of all runs in buckets first … last − 1, sorted: uint64 [k, N].

    Memory: MOST_WORDS, or twice the distinct pairs where these are more, and as much to sort them.
    """
    kept: Words = np.empty((packing.words, 0), dtype=np.uint64)
    waiting: list[Words] = []
    held = 0
    for run in runs:
        words = run.read(first, last)
        waiting.append(words)
        held += words.size
        if held >= max(MOST_WORDS, kept.size):
            kept = distinct_words(np.concatenate([kept, *waiting], axis=1), packing.first_bits)
            waiting, held = [], 0
    if waiting:
        kept = distinct_words(np.concatenate([kept, *waiting], axis=1), packing.first_bits)
    return kept


def all_merged(runs: Sequence[Run], packing: Packing) -> Iterator[Words]:
    """`merged`, stretch after stretch."""
    for first, last in stretches(runs, packing):
        yield merged(runs, packing, first, last)
