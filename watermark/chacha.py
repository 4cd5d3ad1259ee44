"""ChaCha20 as a random-access pseudo-random function: u(c, t) for NumPy arrays.

    nonce(c) = 96 bits of the context (see `nonces`);  u(c, t) = the t-th little-endian uint16 of the keystream.

A row (all tokens after one context) is one sequential OpenSSL call. A pair is one 64-byte block, from a NumPy kernel
when there are few of them and a compiled one when there are many. Source: RFC 8439; the mapping is design.md's.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

from watermark.words import NumpyWords, chacha_block

UNUSED_SLOT = 0xFFFFFFFF  # fills nonce slots that a short context leaves empty; so never a token id
NUMBA_FROM = 20_000  # pairs; below, loading the compiled kernel (0.4 s) costs more than it saves
COMPILED = "watermark.chacha_numba"
_CHUNK = 8192  # pairs at a time, so that the working arrays stay in the cache
_COMPILED_CHUNK = 1 << 15  # the same where a pair takes 35 bytes, not a block


def nonces(contexts: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The three nonce words of every context.

    Args:
        contexts: uint32 [N, h], token ids in text order.

    Returns:
        uint32 [3, N]. h ≤ 3: the ids right-aligned, unused slots 0xFFFFFFFF. h > 3: the first 12 bytes of SHA-256
        over the ids as little-endian uint32.
    """
    count, width = contexts.shape
    if width <= 3:
        words = np.empty((3, count), dtype=np.uint32)
        words[: 3 - width] = UNUSED_SLOT
        words[3 - width :] = contexts.T
        return words
    data = np.ascontiguousarray(contexts, dtype="<u4").tobytes()
    size = 4 * width
    digests = b"".join(hashlib.sha256(data[i : i + size]).digest()[:12] for i in range(0, len(data), size))
    return np.ascontiguousarray(np.frombuffer(digests, dtype="<u4").reshape(count, 3).T.astype(np.uint32))


def nonce_of(context: Sequence[int]) -> NDArray[np.uint32]:
    """As `nonces` for one context of ids below 2^32: uint32 [3]."""
    if len(context) <= 3:
        return np.array([UNUSED_SLOT] * (3 - len(context)) + list(context), dtype=np.uint32)
    return nonces(np.array([context], dtype=np.uint32))[:, 0]


def row(key: bytes, nonce: NDArray[np.uint32], length: int) -> NDArray[np.uint16]:
    """u(c, 0) … u(c, length − 1) for one nonce (uint32 [3]); one OpenSSL call, uint16 [length]."""
    out = np.empty(length, dtype="<u2")
    _fill_row(key, nonce, out)
    return out


def scratch_row(key: bytes, nonce: NDArray[np.uint32], length: int) -> NDArray[np.uint16]:
    """`row` in memory that the thread's next call uses again: fresh pages would cost as much as the keystream."""
    if getattr(_SCRATCH, "row", _NO_ROW).shape[0] < length:
        _SCRATCH.row = np.empty(length, dtype="<u2")
    out: NDArray[np.uint16] = _SCRATCH.row[:length]
    _fill_row(key, nonce, out)
    return out


_SCRATCH = threading.local()
_NO_ROW = np.empty(0, dtype="<u2")


def _fill_row(key: bytes, nonce: NDArray[np.uint32], out: NDArray[np.uint16]) -> None:
    counter_and_nonce = bytes(4) + nonce.astype("<u4").tobytes()
    encryptor = Cipher(algorithms.ChaCha20(key, counter_and_nonce), mode=None).encryptor()
    encryptor.update_into(_zeros(out.nbytes), out.data.cast("B"))


@lru_cache(maxsize=4)
def _zeros(size: int) -> bytes:
    return bytes(size)


def pairs(key: bytes, contexts: NDArray[np.uint32], tokens: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """u(c, t) for every pair.

    Args:
        key: 32 bytes.
        contexts: uint32 [N, h].
        tokens: uint32 [N].

    Returns:
        uint16 [N].
    """
    return _pairs(key, lambda part: nonces(contexts[part]), tokens)


def pairs_from_nonces(key: bytes, nonce_words: NDArray[np.uint32], tokens: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """The same from nonces that were computed before: uint32 [3, N]."""
    return _pairs(key, lambda part: nonce_words[:, part], tokens)


def key_words(key: bytes) -> NDArray[np.uint32]:
    """The 32 bytes of a key as eight words: uint32 [8]."""
    return np.frombuffer(key, dtype="<u4").astype(np.uint32)


def compiled(count: int) -> bool:
    """Whether `count` pairs are worth the compiled kernels; loaded already, they cost nothing."""
    return count >= NUMBA_FROM or COMPILED in sys.modules


def _pairs(
    key: bytes, nonce_words: Callable[[slice], NDArray[np.uint32]], tokens: NDArray[np.uint32]
) -> NDArray[np.uint16]:
    words, out = key_words(key), np.empty(tokens.shape[0], dtype=np.uint16)
    kernel: Callable[..., None] = _pairs_numpy
    chunk = _CHUNK
    if compiled(tokens.shape[0]):
        from watermark.chacha_numba import keystream_u16

        kernel, chunk = keystream_u16, _COMPILED_CHUNK
    for start in range(0, tokens.shape[0], chunk):
        part = slice(start, start + chunk)
        kernel(words, np.ascontiguousarray(nonce_words(part)), np.ascontiguousarray(tokens[part]), out[part])
    return out


def _pairs_numpy(
    key: NDArray[np.uint32],
    nonce_words: NDArray[np.uint32],
    tokens: NDArray[np.uint32],
    out: NDArray[np.uint16],
) -> None:
    zero = np.zeros_like(tokens)
    with np.errstate(over="ignore"):
        block = np.stack(chacha_block(NumpyWords(), list(key), tokens >> 5, list(nonce_words), zero))
    slot = tokens & np.uint32(31)
    word = block[slot >> 1, np.arange(tokens.shape[0])]  # [N]
    out[:] = ((word >> ((slot & 1) * 16)) & 0xFFFF).astype(np.uint16)
