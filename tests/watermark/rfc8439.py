"""Keystream blocks printed in RFC 8439: (key, nonce, counter, 64 bytes)."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np


class Block(NamedTuple):
    name: str
    key: bytes
    nonce: bytes
    counter: int
    keystream: bytes

    @property
    def nonce_words(self) -> np.ndarray:
        """uint32 [3]."""
        return np.array(struct.unpack("<3I", self.nonce), dtype=np.uint32)

    @property
    def values(self) -> np.ndarray:
        """The block as 32 little-endian uint16."""
        return np.frombuffer(self.keystream, dtype="<u2")

    @property
    def tokens(self) -> np.ndarray:
        """The token ids whose u(c, t) this block holds: uint32 [32]."""
        return np.arange(32, dtype=np.uint32) + np.uint32(32 * self.counter)


def _words(text: str) -> bytes:
    return b"".join(struct.pack("<I", int(word, 16)) for word in text.split())


COUNTING = bytes(range(32))
BLOCKS = [
    Block(
        "2.3.2",
        COUNTING,
        bytes.fromhex("000000090000004a00000000"),
        1,
        _words(
            "e4e7f110 15593bd1 1fdd0f50 c47120a3 c7f4d1c7 0368c033 9aaa2204 4e6cd4c3 "
            "466482d2 09aa9f07 05d7c214 a2028bd9 d19c12b5 b94e16de e883d0cb 4e3c50a2"
        ),
    ),
    Block(
        "A.1 #1",
        bytes(32),
        bytes(12),
        0,
        bytes.fromhex(
            "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
            "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
        ),
    ),
    Block(
        "A.1 #2",
        bytes(32),
        bytes(12),
        1,
        bytes.fromhex(
            "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
            "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
        ),
    ),
    Block(
        "A.1 #3",
        bytes(31) + b"\x01",
        bytes(12),
        1,
        bytes.fromhex(
            "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
            "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0"
        ),
    ),
    Block(
        "A.1 #4",
        b"\x00\xff" + bytes(30),
        bytes(12),
        2,
        bytes.fromhex(
            "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
            "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096"
        ),
    ),
    Block(
        "A.1 #5",
        bytes(32),
        bytes(11) + b"\x02",
        0,
        bytes.fromhex(
            "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"
            "8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d"
        ),
    ),
]

# 2.4.2: the plaintext XOR its ciphertext is the keystream of key 00…1f, this nonce, counter from 1.
_PLAINTEXT = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)
_CIPHERTEXT = bytes.fromhex(
    "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b"
    "f91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f0861d8"
    "07ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736"
    "5af90bbf74a35be6b40b8eedf2785e42874d"
)
STREAM_NONCE = bytes.fromhex("000000000000004a00000000")
STREAM = bytes(a ^ b for a, b in zip(_PLAINTEXT, _CIPHERTEXT, strict=True))  # 114 bytes: blocks 1 and most of 2
