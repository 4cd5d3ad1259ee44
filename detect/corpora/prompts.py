"""What counts nowhere: the pairs of all prompts of a corpus, sorted on disk and looked up there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detect.corpora.runs import Run, all_merged
from watermark.errors import InputError
from watermark.packing import Packing, Words

Bools = NDArray[np.bool_]


def write_prompts(runs: Sequence[Run], packing: Packing, directory: Path) -> int:
    """Merge the runs of all prompts into a file of each word, in `directory`; returns how many pairs there are."""
    files = [_path(directory, word).open("wb") for word in range(packing.words)]
    total = 0
    try:
        for words in all_merged(runs, packing):
            total += words.shape[1]
            for word, handle in zip(words, files, strict=True):
                np.ascontiguousarray(word, dtype="<u8").tofile(handle)
    finally:
        for handle in files:
            handle.close()
    return total


class PromptPairs:
    """The pairs of all prompts; pages of the files are in memory only while they are looked at.

    Args:
        directory: that `write_prompts` wrote to.
        count: what it returned.

    Raises:
        InputError: the files are not whole.
    """

    def __init__(self, packing: Packing, directory: Path, count: int) -> None:
        self.count = count
        self._words: list[NDArray[np.uint64]] = []
        for word in range(packing.words if count else 0):
            path = _path(directory, word)
            if path.stat().st_size != 8 * count:
                raise InputError(f"{path} is damaged; remove {directory} and run the same command again")
            self._words.append(np.memmap(path, dtype="<u8", mode="r", shape=(count,)))

    def contain(self, words: Words) -> Bools:
        """Whether each pair is among them: uint64 [k, N] → bool [N]."""
        found = np.zeros(words.shape[1], dtype=np.bool_)
        if not self.count or not words.shape[1]:
            return found
        order = np.argsort(words[0])  # neighbours are looked up on the same pages
        wanted = words[:, order]
        at = np.minimum(self._first_not_below(wanted), self.count - 1)
        found[order] = np.all([mine[at] == word for mine, word in zip(self._words, wanted, strict=True)], axis=0)
        return found

    def _first_not_below(self, wanted: Words) -> NDArray[np.intp]:
        """For each pair the first of ours that is not smaller, by all words: intp [N]."""
        low: NDArray[np.intp] = np.searchsorted(self._words[0], wanted[0])
        if len(self._words) == 1:
            return low
        high = np.searchsorted(self._words[0], wanted[0], side="right")
        while (open_ := np.flatnonzero(low < high)).size:
            middle = (low[open_] + high[open_]) // 2
            smaller = np.zeros(open_.size, dtype=np.bool_)
            undecided = np.ones(open_.size, dtype=np.bool_)
            for mine, word in zip(self._words[1:], wanted[1:], strict=True):
                smaller |= undecided & (mine[middle] < word[open_])
                undecided &= mine[middle] == word[open_]
            low[open_[smaller]] = middle[smaller] + 1
            high[open_[~smaller]] = middle[~smaller]
        return low


def _path(directory: Path, word: int) -> Path:
    return directory / f"prompts-{word}.u64"
