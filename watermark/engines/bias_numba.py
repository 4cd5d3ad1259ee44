"""One pass over a batch of logits: given + δ where a bit of the row's green list says so.

Kept in a module of its own: numba takes 0.4 s to import, and only a processor on the CPU needs it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_WORD = 32  # tokens whose colours are the bits of one word


@intrinsic
def _add_word(typing_context, given, green, delta, out):  # type: ignore[no-untyped-def]
    """Logits of 32 tokens, with δ where a bit is set: written as vectors, since a loop over bits becomes none.

    Args:
        given: address of floats[32], of the type of `delta`.
        green: uint32.
        delta: float32 or float64.
        out: address of as many, written; may be `given`.
    """
    size = 4 if delta == types.float32 else 8

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given, green, delta, out = arguments
        kind = ir.VectorType(delta.type, _WORD)
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), delta, ir.Constant(ir.IntType(32), 0))
        everywhere = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), _WORD), [0] * _WORD))
        values = builder.load(builder.inttoptr(given, kind.as_pointer()), align=size)
        colours = builder.bitcast(green, ir.VectorType(ir.IntType(1), _WORD))
        marked = builder.select(colours, builder.fadd(values, everywhere), values)
        builder.store(marked, builder.inttoptr(out, kind.as_pointer()), align=size)
        return context.get_dummy_value()

    return types.void(types.int64, types.uint32, delta, types.int64), generate


@njit(cache=True, nogil=True)
def add_biases(given, green, slots, width, delta, out):  # type: ignore[no-untyped-def]
    """Write given + delta where a row's green bit is set, given elsewhere.

    Args:
        given: float32 [B, V] or float64 [B, V].
        green: uint32 [S, W], bit t % 32 of word t // 32 is token t's.
        slots: int64 [B], which row of `green` is each one's; −1: none, the row is copied.
        width: how many tokens have a colour, at most V and 32 W: later columns are copied.
        delta: of the type of `given`.
        out: as `given`, written; may be `given` itself.
    """
    whole, size = width // _WORD, given.itemsize
    for b in range(given.shape[0]):
        start = whole * _WORD
        if slots[b] < 0:
            start = 0
        else:
            row, source, target = green[slots[b]], given[b].ctypes.data, out[b].ctypes.data
            for w in range(whole):
                offset = w * _WORD * size
                _add_word(source + offset, row[w], delta, target + offset)
            for t in range(start, width):
                coloured = (row[t // _WORD] >> (t % _WORD)) & 1
                out[b, t] = given[b, t] + delta if coloured else given[b, t]
            start = width
        if out.ctypes.data != given.ctypes.data:
            out[b, start:] = given[b, start:]
