"""The same pairs coloured under many keys: decoys of a line-up, accounts of an attribution."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from watermark.greenlist import GreenList
from watermark.windows import Pairs

COMPILED_FROM = 1_000_000  # pairs under all keys together; below, loading the kernel costs more than it saves


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
    if keys * len(pairs) >= COMPILED_FROM:
        import watermark.chacha_numba  # noqa: F401  (loaded, it colours small sets, too)
    prepared = green_list(0).prepare(pairs.contexts, pairs.tokens)

    def one(index: int) -> float | Sequence[float]:
        green = green_list(index)
        return measure(green.colour(prepared), green.gamma)

    rows = []
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for row in pool.map(one, range(keys)):
            rows.append(row)
            if on_key is not None:
                on_key(1)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for keys that have not begun
    return np.array(rows, dtype=np.float64)
