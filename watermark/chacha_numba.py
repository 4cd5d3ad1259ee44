"""ChaCha20 blocks for pairs, compiled by numba: 32 blocks at a time in vector registers, a block once for its pairs.

A block holds the values of 32 neighbouring tokens after one context. Pairs come ordered by context and token, so those
that share a block stand side by side: `lay_out` finds them, once for any number of keys.

The rounds are written as LLVM vectors rather than as loops over lanes: a loop keeps its state in memory, and then the
stores take longer than the sums; unrolled far enough to stay in registers, it takes LLVM ten seconds to compile. Where
vectors are narrower than sixteen words, LLVM splits them.

Kept in a module of its own: importing numba costs 0.4 s, and small inputs never need it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from watermark.words import CHACHA_CONSTANTS

LANES = 128  # blocks whose words are in memory at once: 8 KiB, beside the tokens' places
_WIDTH, _TOGETHER = 16, 2  # words in a vector; vectors of each state word, so that no unit waits for a result
_WORDS = 16 * LANES
_BLOCKS = _WIDTH * _TOGETHER  # that are made at once
_CONSTANTS = np.array(CHACHA_CONSTANTS, dtype=np.uint32)
_QUARTERS = (
    *((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    *((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)
_STEPS = ((0, 1, 3, 16), (2, 3, 1, 12), (0, 1, 3, 8), (2, 3, 1, 7))  # a += b, d ^= a, d <<<= 16, …
_U32 = np.uint32


class Layout(NamedTuple):
    """Pairs by the blocks they lie in.

    Attributes:
        blocks: uint32 [T, 4, LANES], counter and nonce words of each block, T tiles of them.
        places: uint16 [N], where in the words of its tile a pair's value lies.
        ends: int64 [T + 1], the pairs of tile t are those from ends[t] to ends[t + 1] − 1.
    """

    blocks: NDArray[np.uint32]
    places: NDArray[np.uint16]
    ends: NDArray[np.int64]

    @property
    def n_blocks(self) -> int:
        """Blocks to be computed, those that fill up the last tile included."""
        return len(self.blocks) * LANES


def lay_out(nonces: NDArray[np.uint32], tokens: NDArray[np.uint32]) -> Layout:
    """Which blocks the pairs need: one for neighbours that have nonce and counter in common.

    Args:
        nonces: uint32 [3, N].
        tokens: uint32 [N].
    """
    tiles = -(-_count_blocks(nonces, tokens) // LANES)
    layout = Layout(
        np.zeros((tiles, 4, LANES), dtype=np.uint32),
        np.empty(tokens.shape[0], dtype=np.uint16),
        np.empty(tiles + 1, dtype=np.int64),
    )
    _fill_layout(nonces, tokens, *layout)
    return layout


@njit(cache=True, nogil=True)
def _count_blocks(nonces, tokens):  # type: ignore[no-untyped-def]
    found = 0
    for i in range(tokens.shape[0]):
        found += i == 0 or _starts_block(nonces, tokens, i)
    return found


@njit(inline="always")
def _starts_block(nonces, tokens, i):  # type: ignore[no-untyped-def]
    """Whether pair `i` lies in another block than the one before it."""
    return bool(
        (nonces[0, i] ^ nonces[0, i - 1])
        | (nonces[1, i] ^ nonces[1, i - 1])
        | (nonces[2, i] ^ nonces[2, i - 1])
        | ((tokens[i] ^ tokens[i - 1]) >> _U32(5))
    )


@njit(cache=True, nogil=True)
def _fill_layout(nonces, tokens, blocks, places, ends):  # type: ignore[no-untyped-def]
    tile, lane = -1, LANES - 1
    for i in range(tokens.shape[0]):
        if i == 0 or _starts_block(nonces, tokens, i):
            lane += 1
            if lane == LANES:
                lane = 0
                tile += 1
                ends[tile] = i
            blocks[tile, 0, lane] = tokens[i] >> _U32(5)
            for j in range(3):
                blocks[tile, 1 + j, lane] = nonces[j, i]
        slot = np.int64(tokens[i] & _U32(31))
        places[i] = (slot >> 1) * (2 * LANES) + 2 * lane + (slot & 1)
    ends[tile + 1] = tokens.shape[0]


class _Vectors:
    """Code for vectors of words, as LLVM's builder is told it."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.word, self.kind = ir.IntType(32), ir.VectorType(ir.IntType(32), _WIDTH)
        rotate = ir.FunctionType(self.kind, [self.kind] * 3)
        self.rotate = cgutils.get_or_insert_function(builder.module, rotate, f"llvm.fshl.v{_WIDTH}i32")

    def pointer(self, base: Any, offset: int, kind: Any) -> Any:
        """To `offset` bytes behind an address."""
        shifted = self.builder.add(base, ir.Constant(ir.IntType(64), offset))
        return self.builder.inttoptr(shifted, kind.as_pointer())

    def load(self, base: Any, offset: int, kind: Any) -> Any:
        return self.builder.load(self.pointer(base, offset, kind), align=4)

    def everywhere(self, value: Any) -> Any:
        """A vector of one word."""
        one = self.builder.insert_element(ir.Constant(self.kind, ir.Undefined), value, ir.Constant(self.word, 0))
        return self.builder.shuffle_vector(one, one, ir.Constant(self.kind, [0] * _WIDTH))

    def chacha(self, initial: list[list[Any]]) -> list[list[Any]]:
        """The keystream words of several vectors of blocks, from 16 state words each."""
        build = self.builder
        cells = [[cgutils.alloca_once_value(build, value) for value in state] for state in initial]
        with cgutils.for_range(build, ir.Constant(ir.IntType(64), 10)):
            states = [[build.load(cell) for cell in state] for state in cells]
            for quarter in _QUARTERS:
                for state in states:
                    for to, by, turned, count in _STEPS:
                        a, b, d = quarter[to], quarter[by], quarter[turned]
                        state[a] = build.add(state[a], state[b])
                        mixed = build.xor(state[d], state[a])
                        turn = ir.Constant(self.kind, [count] * _WIDTH)
                        state[d] = build.call(self.rotate, [mixed, mixed, turn])
            for kept, state in zip(cells, states, strict=True):
                for cell, value in zip(kept, state, strict=True):
                    build.store(value, cell)
        return [
            [build.add(build.load(cell), start) for cell, start in zip(kept, state, strict=True)]
            for kept, state in zip(cells, initial, strict=True)
        ]


@intrinsic
def _chacha_blocks(typing_context, head, tile, words):  # type: ignore[no-untyped-def]
    """Words of 32 blocks; all arguments are addresses.

    Args:
        head: uint32[12], constants and key.
        tile: uint32, counters and the three nonce words of 32 lanes; rows of LANES.
        words: uint32, the 16 words of 32 lanes; rows of LANES, written.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, (head, tile, words) = _Vectors(builder), arguments
        heads = [code.everywhere(code.load(head, 4 * j, code.word)) for j in range(12)]
        rows = [[4 * (j * LANES + part * _WIDTH) for j in range(16)] for part in range(_TOGETHER)]
        initial = [[*heads, *(code.load(tile, offset, code.kind) for offset in row[:4])] for row in rows]
        for row, found in zip(rows, code.chacha(initial), strict=True):
            for offset, value in zip(row, found, strict=True):
                builder.store(value, code.pointer(words, offset, code.kind), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def _green_blocks(typing_context, head, counter, threshold, out):  # type: ignore[no-untyped-def]
    """Colours of the tokens of 32 consecutive blocks, a bit each.

    Args:
        head: address of uint32[16], the state; its counter (word 12) is not looked at.
        counter: uint32, of the first block.
        threshold: uint16, values below it are green.
        out: address of uint32[32], written: bit t of a block's word is its token t.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, (head, counter, threshold, out) = _Vectors(builder), arguments
        halves, bits = ir.VectorType(ir.IntType(16), 2 * _WIDTH), ir.IntType(2 * _WIDTH)
        state = [code.everywhere(code.load(head, 4 * j, code.word)) for j in range(16)]
        initial = []
        for part in range(_TOGETHER):
            steps = ir.Constant(code.kind, [part * _WIDTH + lane for lane in range(_WIDTH)])
            counters = builder.add(code.everywhere(counter), steps)
            initial.append([*state[:12], counters, *state[13:]])
        one = builder.insert_element(ir.Constant(halves, ir.Undefined), threshold, ir.Constant(code.word, 0))
        zeros = ir.Constant(ir.VectorType(code.word, 2 * _WIDTH), [0] * 2 * _WIDTH)
        limit = builder.shuffle_vector(one, one, zeros)
        for part, found in enumerate(code.chacha(initial)):
            green = ir.Constant(code.kind, ir.Undefined)
            for j, value in enumerate(found):  # two bits of word j of each of the 16 blocks
                below = builder.icmp_unsigned("<", builder.bitcast(value, halves), limit)
                green = builder.insert_element(green, builder.bitcast(below, bits), ir.Constant(code.word, j))
            builder.store(_turned(code, green), code.pointer(out, 4 * part * _WIDTH, code.kind), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.uint32, types.uint16, types.int64), generate


def _turned(code: _Vectors, rows: Any) -> Any:
    """Sixteen words of sixteen pairs of bits, columns for rows: blocks of 8, 4, 2 and 1 pairs change places."""
    build = code.builder
    for step in (8, 4, 2, 1):
        lower = sum(0b11 << 2 * pair for pair in range(_WIDTH) if not pair & step)
        keep = [lower if not lane & step else lower << 2 * step for lane in range(_WIDTH)]
        turn = [2 * step if not lane & step else 32 - 2 * step for lane in range(_WIDTH)]
        other = build.shuffle_vector(
            rows, rows, ir.Constant(ir.VectorType(code.word, _WIDTH), [lane ^ step for lane in range(_WIDTH)])
        )
        kept, moved = (build.and_(one, ir.Constant(code.kind, keep)) for one in (rows, other))
        rows = build.or_(kept, build.call(code.rotate, [moved, moved, ir.Constant(code.kind, turn)]))
    return rows


@njit(inline="always")
def _tile_words(head, blocks, tile, words):  # type: ignore[no-untyped-def]
    """The words of one tile: uint32[16 · LANES], word j of block i at j · LANES + i."""
    start = blocks.ctypes.data + tile * (4 * 4 * LANES)
    for lane in range(0, LANES, _WIDTH * _TOGETHER):
        _chacha_blocks(head.ctypes.data, start + 4 * lane, words.ctypes.data + 4 * lane)


@njit(cache=True, nogil=True)
def values(key_words, blocks, places, ends, out):  # type: ignore[no-untyped-def]
    """u of every pair of a layout.

    Args:
        key_words: uint32[8].
        blocks, places, ends: of a `Layout`.
        out: uint16[N], written.
    """
    head, words = np.empty(12, dtype=np.uint32), np.empty(_WORDS, dtype=np.uint32)
    halves = words.view(np.uint16)
    for j in range(4):
        head[j] = _CONSTANTS[j]
    for j in range(8):
        head[4 + j] = key_words[j]
    for tile in range(blocks.shape[0]):
        _tile_words(head, blocks, tile, words)
        for i in range(ends[tile], ends[tile + 1]):
            out[i] = halves[places[i]]


@njit(cache=True, nogil=True)
def count_below(keys, thresholds, blocks, places, ends, counts):  # type: ignore[no-untyped-def]
    """How many values lie below its threshold, for every key: one pass over the pairs.

    Args:
        keys: uint32[K, 8].
        thresholds: uint16[K].
        blocks, places, ends: of a `Layout`.
        counts: int64[K], written.
    """
    head, words = np.empty(12, dtype=np.uint32), np.empty(_WORDS, dtype=np.uint32)
    halves = words.view(np.uint16)
    for j in range(4):
        head[j] = _CONSTANTS[j]
    for k in range(keys.shape[0]):
        counts[k] = 0
    for tile in range(blocks.shape[0]):
        for k in range(keys.shape[0]):
            for j in range(8):
                head[4 + j] = keys[k, j]
            _tile_words(head, blocks, tile, words)
            threshold, found = thresholds[k], 0
            for i in range(ends[tile], ends[tile + 1]):
                found += halves[places[i]] < threshold
            counts[k] += found


@njit(cache=True, nogil=True)
def green_bits(key_words, nonce, threshold, out):  # type: ignore[no-untyped-def]
    """Bit t % 32 of out[t // 32] = whether u of token t lies below the threshold.

    Args:
        key_words: uint32[8].
        nonce: uint32[3].
        threshold: uint16.
        out: uint32[W], written.
    """
    state = np.empty(16, dtype=np.uint32)
    for j in range(4):
        state[j] = _CONSTANTS[j]
    for j in range(8):
        state[4 + j] = key_words[j]
    for j in range(3):
        state[13 + j] = nonce[j]
    whole = out.shape[0] // _BLOCKS * _BLOCKS
    for start in range(0, whole, _BLOCKS):
        _green_blocks(state.ctypes.data, np.uint32(start), threshold, out.ctypes.data + 4 * start)
    if whole < out.shape[0]:
        rest = np.empty(_BLOCKS, dtype=np.uint32)
        _green_blocks(state.ctypes.data, np.uint32(whole), threshold, rest.ctypes.data)
        out[whole:] = rest[: out.shape[0] - whole]


def keystream_u16(
    key_words: NDArray[np.uint32],
    nonces: NDArray[np.uint32],
    tokens: NDArray[np.uint32],
    out: NDArray[np.uint16],
) -> None:
    """out[i] = the tokens[i]-th little-endian uint16 of the keystream of nonces[i].

    Args:
        key_words: uint32 [8].
        nonces: uint32 [3, N].
        tokens: uint32 [N].
        out: uint16 [N], written.
    """
    values(key_words, *lay_out(nonces, tokens), out)
