"""The same keystream in torch, on whatever device the tensors are, without a round trip to the host."""

from __future__ import annotations

import struct

import torch
from torch import Tensor

from watermark.chacha import UNUSED_SLOT
from watermark.words import TorchWords, chacha_block, sha256_one_block

_OPS = TorchWords()


def nonces(contexts: Tensor) -> list[Tensor]:
    """Three int32 words [N] per context (integer [N, h]); the same bits as `watermark.chacha.nonces`."""
    words = contexts.to(torch.int32)  # ids ≥ 2^31 wrap to the same 32 bits
    count, width = words.shape
    zero = torch.zeros(count, dtype=torch.int32, device=contexts.device)
    if width <= 3:
        unused = zero + _OPS.const(UNUSED_SLOT)
        return [unused] * (3 - width) + [words[:, i] for i in range(width)]
    return sha256_one_block(_OPS, [words[:, i] for i in range(width)], zero)[:3]


def rows(key: bytes, contexts: Tensor, length: int) -> Tensor:
    """u(c, t) for t < length, as int32 [B, length] with values 0 … 65535."""
    blocks = (length + 31) // 32
    words = [word[:, None] for word in nonces(contexts)]
    counter = torch.arange(blocks, dtype=torch.int32, device=contexts.device)[None, :]
    zero = torch.zeros((contexts.shape[0], blocks), dtype=torch.int32, device=contexts.device)
    block = torch.stack(chacha_block(_OPS, _key_words(key), counter, words, zero), dim=-1)  # [B, blocks, 16]
    halves = torch.stack((block & 0xFFFF, _OPS.shift_right(block, 16)), dim=-1)  # [B, blocks, 16, 2]
    return halves.reshape(contexts.shape[0], blocks * 32)[:, :length]


def pairs(key: bytes, contexts: Tensor, tokens: Tensor) -> Tensor:
    """u(c, t) of every pair, int32 [N] with values 0 … 65535. `contexts` integer [N, h], `tokens` integer [N]."""
    wide = tokens.to(torch.int64)
    zero = torch.zeros(wide.shape, dtype=torch.int32, device=tokens.device)
    counter = (wide >> 5).to(torch.int32)
    block = torch.stack(chacha_block(_OPS, _key_words(key), counter, nonces(contexts), zero), dim=-1)  # [N, 16]
    slot = wide & 31
    word = block.gather(-1, (slot >> 1)[:, None])[:, 0]
    return torch.where((slot & 1).bool(), _OPS.shift_right(word, 16), word & 0xFFFF)


def _key_words(key: bytes) -> list[int]:
    return [_OPS.const(word) for word in struct.unpack("<8I", key)]
