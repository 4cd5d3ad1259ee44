"""The rows of green lists that were used last, in memory that is taken once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

IN_THREADS_FROM = 8  # rows to be filled at once; starting threads costs as much as two rows of 128k tokens

Context = tuple[int, ...]
Row = NDArray[np.uint32]
Fill = Callable[[Context, Row], None]


class RowCache:
    """Rows by context: allocating a row anew costs as much as half its colours.

    Args:
        limit: bytes; at least one row is kept.
        width: words of 32 bits of a row.

    Attributes:
        lock: to be held from `slots` until the rows have been used.
        table: uint32 [capacity, width].
    """

    def __init__(self, limit: int, width: int) -> None:
        slots = max(1, limit // max(4 * width, 1))
        self.lock = threading.Lock()
        self.table: Row = np.empty((slots, width), dtype=np.uint32)  # pages are taken when first written
        self._slots: OrderedDict[Context, int] = OrderedDict()
        self._fresh = 0  # slots from here on were never used
        self._free: list[int] = []  # used before, hold nothing now

    @property
    def room(self) -> int:
        """How many rows can be here at the same time: all slots, less those that an interruption lost; at least one."""
        return max(1, len(self._slots) + len(self._free) + len(self.table) - self._fresh)

    def slots(self, wanted: Sequence[Context], fill: Fill) -> list[int]:
        """Which row of `table` is that of each context; filled by `fill(context, row)` where it was not there.

        Rows are filled in as many threads as torch uses. A context is entered when its row is whole, not before: a
        Ctrl-C on the way costs time, never a colour.

        Args:
            wanted: at most `room` distinct ones.
            fill: lets other threads run while it works.
        """
        distinct = dict.fromkeys(wanted)
        for context in distinct:
            if context in self._slots:
                self._slots.move_to_end(context)
        missing = [context for context in distinct if context not in self._slots]
        if missing:
            self._enter(missing, fill)
        return [self._slots[context] for context in wanted]

    def _enter(self, missing: list[Context], fill: Fill) -> None:
        taken = [self._free_slot() for _ in missing]
        try:
            _each(lambda context, slot: fill(context, self.table[slot]), missing, taken)
        except BaseException:
            self._free += taken
            raise
        self._slots.update(zip(missing, taken, strict=True))

    def _free_slot(self) -> int:
        if self._free:
            return self._free.pop()
        if self._fresh < len(self.table):
            self._fresh += 1
            return self._fresh - 1
        return self._slots.popitem(last=False)[1] if self._slots else 0  # the one not used for longest

    def __deepcopy__(self, memo: dict[int, Any]) -> RowCache:
        return RowCache(self.table.nbytes, self.table.shape[1])  # a copy fills its own rows; locks are not copied


def _each(work: Callable[[Context, int], None], contexts: Sequence[Context], slots: Sequence[int]) -> None:
    """In threads where it pays; none is left behind, as a process that forks later would be without them."""
    threads = torch.get_num_threads()
    if threads == 1 or len(contexts) < IN_THREADS_FROM:
        for context, slot in zip(contexts, slots, strict=True):
            work(context, slot)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, contexts, slots):
            pass
