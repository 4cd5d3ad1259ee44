"""ChaCha20 blocks and one-block SHA-256 over arrays of 32-bit words: one definition for NumPy and for torch.

NumPy arrays are uint32. Torch has no uint32 arithmetic, so its words are int32 with wrap-around; only the right
shift differs then (arithmetic, hence the mask), and the bits are the same. Nothing here reads a value back to the
host, so on a GPU everything stays on the GPU.

Source: RFC 8439 (ChaCha20), FIPS 180-4 (SHA-256).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Words = Any  # a uint32 ndarray or an int32 tensor
Operand = Any  # Words or a Python int already in the words' range

CHACHA_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # "expand 32-byte k"


class NumpyWords:
    """Words as uint32 ndarrays."""

    @staticmethod
    def const(value: int) -> Any:
        import numpy as np

        return np.uint32(value)

    @staticmethod
    def shift_right(x: Words, n: int) -> Words:
        return x >> n

    def rotate_left(self, x: Words, n: int) -> Words:
        return (x << n) | (x >> (32 - n))


class TorchWords:
    """Words as int32 tensors; two's complement, wrapping."""

    @staticmethod
    def const(value: int) -> int:
        return value - (1 << 32) if value >= 1 << 31 else value

    @staticmethod
    def shift_right(x: Words, n: int) -> Words:
        return (x >> n) & ((1 << (32 - n)) - 1)

    def rotate_left(self, x: Words, n: int) -> Words:
        return (x << n) | self.shift_right(x, 32 - n)


def _quarter_round(ops: Any, s: list[Words], a: int, b: int, c: int, d: int) -> None:
    s[a] = s[a] + s[b]
    s[d] = ops.rotate_left(s[d] ^ s[a], 16)
    s[c] = s[c] + s[d]
    s[b] = ops.rotate_left(s[b] ^ s[c], 12)
    s[a] = s[a] + s[b]
    s[d] = ops.rotate_left(s[d] ^ s[a], 8)
    s[c] = s[c] + s[d]
    s[b] = ops.rotate_left(s[b] ^ s[c], 7)


def chacha_block(
    ops: Any, key_words: Sequence[int], counter: Words, nonce: Sequence[Operand], zero: Words
) -> list[Words]:
    """The 16 output words of one ChaCha20 block per lane.

    Args:
        ops: NumpyWords() or TorchWords().
        key_words: eight 32-bit words of the key.
        counter: block counter of every lane, any shape.
        nonce: three words, each broadcastable against `counter`.
        zero: zeros of the full lane shape (fixes shape, dtype and device).

    Returns:
        Sixteen arrays of the shape of `zero`; word i of the keystream block of each lane.
    """
    initial = [zero + ops.const(word) for word in (*CHACHA_CONSTANTS, *key_words)]
    initial += [zero + counter, *(zero + word for word in nonce)]
    state = list(initial)
    for _ in range(10):
        for column in range(4):
            _quarter_round(ops, state, column, 4 + column, 8 + column, 12 + column)
        for diagonal in range(4):
            _quarter_round(
                ops, state, diagonal, 4 + (diagonal + 1) % 4, 8 + (diagonal + 2) % 4, 12 + (diagonal + 3) % 4
            )
    return [word + start for word, start in zip(state, initial, strict=True)]


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _integer_root(value: int, degree: int) -> int:
    low, high = 0, 1 << (value.bit_length() // degree + 1)
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**degree <= value else (low, middle)
    return low


# First 32 bits of the fractional parts of square and cube roots of primes, in integers (FIPS 180-4, 4.2.2 and 5.3.3).
SHA256_START = [math.isqrt(prime << 64) & 0xFFFFFFFF for prime in _primes(8)]
SHA256_ROUND = [_integer_root(prime << 96, 3) & 0xFFFFFFFF for prime in _primes(64)]


def _byte_swap(ops: Any, x: Words) -> Words:
    even, odd = ops.const(0x00FF00FF), ops.const(0xFF00FF00)
    return (ops.rotate_left(x, 8) & even) | (ops.rotate_left(x, 24) & odd)


def sha256_one_block(ops: Any, message: Sequence[Words], zero: Words) -> list[Words]:
    """SHA-256 of up to 13 little-endian 32-bit words per lane, as eight little-endian words of the digest.

    Args:
        message: the words in order, each of the lane shape.
        zero: zeros of the lane shape.
    """
    if len(message) > 13:
        raise ValueError(f"{len(message)} words do not fit one SHA-256 block with its padding (at most 13)")
    add = ops.const
    schedule = [_byte_swap(ops, zero + word) for word in message]
    schedule.append(zero + add(0x80000000))
    schedule += [zero] * (15 - len(schedule))
    schedule.append(zero + add(32 * len(message)))
    for i in range(16, 64):
        x, y = schedule[i - 15], schedule[i - 2]
        small0 = ops.rotate_left(x, 25) ^ ops.rotate_left(x, 14) ^ ops.shift_right(x, 3)
        small1 = ops.rotate_left(y, 15) ^ ops.rotate_left(y, 13) ^ ops.shift_right(y, 10)
        schedule.append(schedule[i - 16] + small0 + schedule[i - 7] + small1)
    start = [zero + add(word) for word in SHA256_START]
    a, b, c, d, e, f, g, h = start
    for i in range(64):
        big1 = ops.rotate_left(e, 26) ^ ops.rotate_left(e, 21) ^ ops.rotate_left(e, 7)
        choose = (e & f) ^ (~e & g)
        first = h + big1 + choose + add(SHA256_ROUND[i]) + schedule[i]
        big0 = ops.rotate_left(a, 30) ^ ops.rotate_left(a, 19) ^ ops.rotate_left(a, 10)
        majority = (a & b) ^ (a & c) ^ (b & c)
        a, b, c, d, e, f, g, h = first + big0 + majority, a, b, c, d + first, e, f, g
    return [_byte_swap(ops, x + y) for x, y in zip((a, b, c, d, e, f, g, h), start, strict=True)]
