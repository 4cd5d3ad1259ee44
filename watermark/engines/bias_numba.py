"""One pass over a batch of logits: given + δ·green. Torch needs two, as it first converts the bytes.

Kept in a module of its own: numba takes 0.4 s to import, and only a processor on the CPU needs it.
"""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def add_biases(given, green, slots, delta, out):  # type: ignore[no-untyped-def]
    """Write given + delta where a row's green is 1, given elsewhere.

    Args:
        given: float32 [B, V] or float64 [B, V].
        green: uint8 [S, W], 0 or 1; W ≤ V: later columns are copied.
        slots: int64 [B], which row of `green` is each one's; −1: none, the row is copied.
        delta: of the type of `given`.
        out: as `given`, written.
    """
    width = green.shape[1]
    for b in range(given.shape[0]):
        if slots[b] < 0:
            out[b] = given[b]
        else:
            _add_row(given[b, :width], green[slots[b]], delta, out[b, :width])
            out[b, width:] = given[b, width:]


@njit(cache=True, nogil=True)
def add_biases_in_place(scores, green, slots, delta):  # type: ignore[no-untyped-def]
    """The same, `scores` being what is given and what is written. In `add_biases` they would overlap, and no vectors be
    used."""
    width = green.shape[1]
    for b in range(scores.shape[0]):
        if slots[b] >= 0:
            _add_to_row(scores[b, :width], green[slots[b]], delta)


@njit(cache=True, nogil=True)
def _add_to_row(scores, green, delta):  # type: ignore[no-untyped-def]
    for i in range(scores.shape[0]):
        scores[i] += delta * green[i]


@njit(cache=True, nogil=True)
def _add_row(given, green, delta, out):  # type: ignore[no-untyped-def]
    """A function of its own: only so does LLVM see rows without gaps, and use vectors."""
    for i in range(given.shape[0]):
        out[i] = given[i] + delta * green[i]
