"""The same keystream in torch, on whatever device the tensors are, without a round trip to the host.

Under `torch.compile` colours are one operation that the compiler does not look into: traced, the key would be written
into the generated code, which the compiler keeps on disk; and the rounds take it minutes.
"""

from __future__ import annotations

import struct
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from watermark.chacha import UNUSED_SLOT
from watermark.words import TorchWords, chacha_block, sha256_one_block

if TYPE_CHECKING:
    from watermark.greenlist import GreenList

_OPS = TorchWords()


def green_rows(key: bytes, contexts: Tensor, length: int, threshold: int) -> Tensor:
    """u(c, t) < threshold for t < length: bool [B, length]. By Triton where it runs."""
    if _has_triton(contexts.device):
        from watermark import chacha_triton

        return chacha_triton.green_rows(_key_words(key), nonces(contexts), length, threshold)
    return rows(key, contexts, length) < threshold


def green_pairs(key: bytes, contexts: Tensor, tokens: Tensor, threshold: int) -> Tensor:
    """u(c, t) < threshold of every pair: bool [N]. By Triton where it runs."""
    if _has_triton(contexts.device):
        from watermark import chacha_triton

        return chacha_triton.green_pairs(_key_words(key), nonces(contexts), tokens, threshold)
    return pairs(key, contexts, tokens) < threshold


def _has_triton(device: torch.device) -> bool:
    return device.type == "cuda" and find_spec("triton") is not None


@torch.library.custom_op("taggant::green_rows", mutates_args=())
def compiled_rows(handle: int, contexts: Tensor, length: int) -> Tensor:
    """`GreenList.mask` as one operation: of the green list with this handle in this process."""
    green = _by_handle(handle)
    if contexts.device.type == "cpu":
        return torch.from_numpy(green.mask(contexts.numpy(), length))  # thirty times as fast as torch's operations
    mask: Tensor = green.mask(contexts, length).contiguous()
    return mask


@compiled_rows.register_fake
def _(handle: int, contexts: Tensor, length: int) -> Tensor:
    return contexts.new_empty((contexts.shape[0], length), dtype=torch.bool)


@torch.library.custom_op("taggant::green_pairs", mutates_args=())
def compiled_pairs(handle: int, contexts: Tensor, tokens: Tensor) -> Tensor:
    """`GreenList.is_green` as one operation."""
    green = _by_handle(handle)
    if contexts.device.type == "cpu":
        return torch.from_numpy(np.asarray(green.is_green(contexts.numpy(), tokens.numpy())))
    colours: Tensor = green.is_green(contexts, tokens)
    return colours


@compiled_pairs.register_fake
def _(handle: int, contexts: Tensor, tokens: Tensor) -> Tensor:
    return tokens.new_empty(tokens.shape, dtype=torch.bool)


def _by_handle(handle: int) -> GreenList:
    from watermark.greenlist import by_handle

    return by_handle(handle)


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
