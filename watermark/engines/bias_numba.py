"""One pass over a row of logits: out = given + δ·green. Torch needs two, as it first converts the bytes.

Kept in a module of its own: numba takes 0.4 s to import, and only a processor on the CPU needs it.
"""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def add_bias(given, green, delta, out):  # type: ignore[no-untyped-def]
    """Write given + delta where green is 1, given where it is 0.

    Args:
        given: float32 [V] or float64 [V].
        green: uint8 [V], 0 or 1.
        delta: of the type of `given`.
        out: as `given`, written.
    """
    for i in range(given.shape[0]):
        out[i] = given[i] + delta * green[i]
