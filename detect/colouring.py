"""The same pairs coloured under many keys: decoys of a line-up, accounts of an attribution."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from watermark import chacha
from watermark.greenlist import GreenList, PreparedPairs, count_green
from watermark.windows import Pairs

Item = TypeVar("Item")
Result = TypeVar("Result")

COMPILED_FROM = 1_000_000  # pairs under all keys together; below, loading the kernel costs more than it saves
_TOGETHER = 1 << 22  # pairs under the keys of one pass: some 50 ms, so that progress shows and Ctrl-C is heard


def under_every_key(
    pairs: Pairs,
    keys: int,
    green_list: Callable[[int], GreenList],
    measure: Callable[[NDArray[np.bool_], float], float | Sequence[float]],
    on_key: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """`measure` of the colours, bool [N], and gamma of each key: float64 [keys], or [keys, …] where it gives several.

    Args:
        pairs: N distinct ones.
        keys: how many, at least 1; their green lists have one context width.
        green_list: of key i. Called in threads, as the compiled colouring releases the interpreter.
        on_key: called with 1 for each key done.
    """
    prepared = _prepared(pairs, keys, green_list(0))

    def one(index: int) -> float | Sequence[float]:
        green = green_list(index)
        return measure(green.colour(prepared), green.gamma)

    return np.array(list(_in_threads(one, range(keys), lambda _: 1, on_key)), dtype=np.float64)


def counts_under_every_key(
    pairs: Pairs,
    keys: int,
    green_list: Callable[[int], GreenList],
    on_key: Callable[[int], None] | None = None,
) -> NDArray[np.int64]:
    """How many of the pairs are green under each key, int64 [keys]; many keys in one pass over the pairs.

    Args:
        pairs, keys, green_list, on_key: as in `under_every_key`; `on_key` is called with the keys of a pass.
    """
    if keys * len(pairs) < COMPILED_FROM and not chacha.compiled(len(pairs)):
        counts = under_every_key(pairs, keys, green_list, lambda colours, _: int(np.count_nonzero(colours)), on_key)
        return counts.astype(np.int64)
    prepared = _prepared(pairs, keys, green_list(0))
    share = -(-keys // (os.cpu_count() or 1))  # no thread without work
    size = max(1, min(_TOGETHER // max(1, len(pairs)), share))
    batches = [range(start, min(start + size, keys)) for start in range(0, keys, size)]

    def counted(batch: range) -> NDArray[np.int64]:
        return count_green([green_list(index) for index in batch], prepared)

    return np.concatenate(list(_in_threads(counted, batches, len, on_key)))


def _prepared(pairs: Pairs, keys: int, any_list: GreenList) -> PreparedPairs:
    """The pairs made ready, the kernels loaded where they are worth it."""
    prepared = any_list.prepare(pairs.contexts, pairs.tokens)
    if keys * len(pairs) >= COMPILED_FROM:
        import watermark.chacha_numba  # noqa: F401  (loaded, it colours small sets, too)
    if chacha.compiled(len(pairs)):
        _ = prepared.layout  # once, before threads ask for it
    return prepared


def _in_threads(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    size: Callable[[Item], int],
    on_key: Callable[[int], None] | None,
) -> Iterator[Result]:
    """Results in order; `on_key` hears of the size of each item done."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for item, result in zip(items, pool.map(work, items), strict=True):
            yield result
            if on_key is not None:
                on_key(size(item))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for keys that have not begun
