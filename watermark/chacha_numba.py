"""One ChaCha20 block per (nonce, token) pair, 128 pairs at a time, compiled by numba.

Kept in a module of its own: importing numba costs 0.4 s, and small inputs never need it.
Numba promotes uint32 + uint32 to uint64, hence the cast after every addition; the rotation constants are uint32 for
the same reason.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LANES = 128
_U32 = np.uint32


@njit(inline="always")
def _quarter(x, a, b, c, d, n):  # type: ignore[no-untyped-def]
    for i in range(n):
        xa = _U32(x[a, i] + x[b, i])
        xd = _U32(x[d, i] ^ xa)
        xd = _U32((xd << _U32(16)) | (xd >> _U32(16)))
        xc = _U32(x[c, i] + xd)
        xb = _U32(x[b, i] ^ xc)
        xb = _U32((xb << _U32(12)) | (xb >> _U32(20)))
        xa = _U32(xa + xb)
        xd = _U32(xd ^ xa)
        xd = _U32((xd << _U32(8)) | (xd >> _U32(24)))
        xc = _U32(xc + xd)
        xb = _U32(xb ^ xc)
        xb = _U32((xb << _U32(7)) | (xb >> _U32(25)))
        x[a, i] = xa
        x[b, i] = xb
        x[c, i] = xc
        x[d, i] = xd


@njit(cache=True, nogil=True)
def keystream_u16(key_words, nonces, tokens, out):  # type: ignore[no-untyped-def]
    """out[i] = the tokens[i]-th little-endian uint16 of the keystream of nonces[i].

    Args:
        key_words: uint32[8].
        nonces: uint32[3, N].
        tokens: uint32[N].
        out: uint16[N], written.
    """
    x = np.empty((16, LANES), dtype=np.uint32)
    total = tokens.shape[0]
    constants = (_U32(0x61707865), _U32(0x3320646E), _U32(0x79622D32), _U32(0x6B206574))
    for start in range(0, total, LANES):
        n = min(LANES, total - start)
        for i in range(LANES):  # the last block runs full width on zeros: a fixed trip count vectorises
            for j in range(4):
                x[j, i] = constants[j]
            for j in range(8):
                x[4 + j, i] = key_words[j]
        for i in range(n):
            x[12, i] = tokens[start + i] >> _U32(5)
            x[13, i] = nonces[0, start + i]
            x[14, i] = nonces[1, start + i]
            x[15, i] = nonces[2, start + i]
        for _ in range(10):
            _quarter(x, 0, 4, 8, 12, LANES)
            _quarter(x, 1, 5, 9, 13, LANES)
            _quarter(x, 2, 6, 10, 14, LANES)
            _quarter(x, 3, 7, 11, 15, LANES)
            _quarter(x, 0, 5, 10, 15, LANES)
            _quarter(x, 1, 6, 11, 12, LANES)
            _quarter(x, 2, 7, 8, 13, LANES)
            _quarter(x, 3, 4, 9, 14, LANES)
        for i in range(n):
            slot = tokens[start + i] & _U32(31)
            j = slot >> _U32(1)
            if j < 4:
                initial = constants[j]
            elif j < 12:
                initial = key_words[j - 4]
            elif j == 12:
                initial = _U32(tokens[start + i] >> _U32(5))
            else:
                initial = nonces[j - 13, start + i]
            word = _U32(x[j, i] + initial)
            out[start + i] = np.uint16((word >> _U32(16)) if slot & _U32(1) else (word & _U32(0xFFFF)))
