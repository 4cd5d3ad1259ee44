"""The same colours on a GPU by Triton: every block in registers, nothing between the keystream and the mask in memory.

Where Triton is not installed, or a device is none of its own, `watermark.chacha_torch` computes the same bits by torch
operations, which write every step of the rounds to memory and read it back.

The key comes as numbers that the compiler is told not to specialise on: it stands in no generated code.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCKS = 64  # blocks of one program; 16 state words of each live in registers
_WARPS = 2  # of 32 lanes each
_KEY = [f"k{i}" for i in range(8)]


@triton.jit
def _quarter(a, b, c, d):  # type: ignore[no-untyped-def]
    a = a + b
    d = d ^ a
    d = (d << 16) | (d >> 16)
    c = c + d
    b = b ^ c
    b = (b << 12) | (b >> 20)
    a = a + b
    d = d ^ a
    d = (d << 8) | (d >> 24)
    c = c + d
    b = b ^ c
    b = (b << 7) | (b >> 25)
    return a, b, c, d


@triton.jit
def _block(zero, k0, k1, k2, k3, k4, k5, k6, k7, counter, n0, n1, n2):  # type: ignore[no-untyped-def]
    """Sixteen keystream words of each lane, uint32; `zero` has the shape of the lanes."""
    s0, s1, s2, s3 = zero + 0x61707865, zero + 0x3320646E, zero + 0x79622D32, zero + 0x6B206574
    s4, s5, s6, s7 = _word(zero, k0), _word(zero, k1), _word(zero, k2), _word(zero, k3)
    s8, s9, s10, s11 = _word(zero, k4), _word(zero, k5), _word(zero, k6), _word(zero, k7)
    s12, s13, s14, s15 = zero + counter, zero + n0, zero + n1, zero + n2
    a0, a1, a2, a3, a4, a5, a6, a7 = s0, s1, s2, s3, s4, s5, s6, s7
    a8, a9, a10, a11, a12, a13, a14, a15 = s8, s9, s10, s11, s12, s13, s14, s15
    for _ in range(10):
        a0, a4, a8, a12 = _quarter(a0, a4, a8, a12)
        a1, a5, a9, a13 = _quarter(a1, a5, a9, a13)
        a2, a6, a10, a14 = _quarter(a2, a6, a10, a14)
        a3, a7, a11, a15 = _quarter(a3, a7, a11, a15)
        a0, a5, a10, a15 = _quarter(a0, a5, a10, a15)
        a1, a6, a11, a12 = _quarter(a1, a6, a11, a12)
        a2, a7, a8, a13 = _quarter(a2, a7, a8, a13)
        a3, a4, a9, a14 = _quarter(a3, a4, a9, a14)
    return (
        a0 + s0, a1 + s1, a2 + s2, a3 + s3, a4 + s4, a5 + s5, a6 + s6, a7 + s7,
        a8 + s8, a9 + s9, a10 + s10, a11 + s11, a12 + s12, a13 + s13, a14 + s14, a15 + s15,
    )  # fmt: skip


@triton.jit
def _word(zero, key):  # type: ignore[no-untyped-def]
    return zero + key.to(tl.uint32, bitcast=True)


@triton.jit
def _four(low, high, threshold):  # type: ignore[no-untyped-def]
    """A byte for each of the four values in two words, in their order: int64 below 2^32."""
    a = ((low & 0xFFFF) < threshold).to(tl.int64)
    b = ((low >> 16) < threshold).to(tl.int64)
    c = ((high & 0xFFFF) < threshold).to(tl.int64)
    d = ((high >> 16) < threshold).to(tl.int64)
    return a | (b << 8) | (c << 16) | (d << 24)


@triton.jit(do_not_specialize=_KEY)
def _rows_kernel(nonces, out, batch, blocks, threshold, k0, k1, k2, k3, k4, k5, k6, k7, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0)
    lane = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    n0 = tl.load(nonces + row).to(tl.uint32, bitcast=True)
    n1 = tl.load(nonces + batch + row).to(tl.uint32, bitcast=True)
    n2 = tl.load(nonces + 2 * batch + row).to(tl.uint32, bitcast=True)
    counter = lane.to(tl.uint32)
    words = _block(counter ^ counter, k0, k1, k2, k3, k4, k5, k6, k7, counter, n0, n1, n2)
    limit = (counter ^ counter) + threshold
    place = out + (row.to(tl.int64) * blocks + lane) * 4
    for part in tl.static_range(4):
        eight = _four(words[4 * part], words[4 * part + 1], limit)
        eight = eight | (_four(words[4 * part + 2], words[4 * part + 3], limit) << 32)
        tl.store(place + part, eight, mask=lane < blocks)


@triton.jit(do_not_specialize=_KEY)
def _pairs_kernel(nonces, tokens, out, count, threshold, k0, k1, k2, k3, k4, k5, k6, k7, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = lane < count
    token = tl.load(tokens + lane, mask=there, other=0).to(tl.uint32, bitcast=True)
    n0 = tl.load(nonces + lane, mask=there, other=0).to(tl.uint32, bitcast=True)
    n1 = tl.load(nonces + count + lane, mask=there, other=0).to(tl.uint32, bitcast=True)
    n2 = tl.load(nonces + 2 * count + lane, mask=there, other=0).to(tl.uint32, bitcast=True)
    words = _block(token ^ token, k0, k1, k2, k3, k4, k5, k6, k7, token >> 5, n0, n1, n2)
    wanted = (token >> 1) & 15
    word = words[0]
    for j in tl.static_range(1, 16):
        word = tl.where(wanted == j, words[j], word)
    value = tl.where((token & 1) == 1, word >> 16, word & 0xFFFF)
    tl.store(out + lane, value < (token ^ token) + threshold, mask=there)


def green_rows(key_words: list[int], nonces: list[Tensor], length: int, threshold: int) -> Tensor:
    """Which of the first `length` tokens are green after each context: bool [B, length].

    Args:
        key_words: eight, as signed 32-bit numbers.
        nonces: three int32 [B], as `watermark.chacha_torch.nonces` makes them.
        threshold: gamma_65536; values below it are green.
    """
    words = torch.stack(nonces)
    batch, blocks = words.shape[1], (length + 31) // 32
    out = torch.empty((batch, blocks * 4), dtype=torch.int64, device=words.device)
    if out.numel():
        grid = (batch, triton.cdiv(blocks, _BLOCKS))
        _launch(_rows_kernel, grid, words, out, batch, blocks, threshold, *key_words)
    return out.view(torch.uint8)[:, :length].view(torch.bool)


def green_pairs(key_words: list[int], nonces: list[Tensor], tokens: Tensor, threshold: int) -> Tensor:
    """Which pairs are green: bool [N]. Arguments as `green_rows`; nonces of every pair, tokens integer [N]."""
    words, ids = torch.stack(nonces), tokens.to(torch.int32)  # ids ≥ 2^31 wrap to the same 32 bits
    out = torch.empty(ids.shape, dtype=torch.bool, device=ids.device)
    if out.numel():
        grid = (triton.cdiv(out.numel(), _BLOCKS),)
        _launch(_pairs_kernel, grid, words, ids, out, out.numel(), threshold, *key_words)
    return out


def _launch(kernel: Any, grid: tuple[int, ...], *arguments: Any) -> None:
    kernel[grid](*arguments, BLOCK=_BLOCKS, num_warps=_WARPS)
