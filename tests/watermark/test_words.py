"""One definition of ChaCha20 and SHA-256 for both kinds of words, against the standards' numbers and hashlib."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
import torch

from tests.watermark.rfc8439 import BLOCKS, COUNTING, STREAM, STREAM_NONCE, Block
from watermark.words import (
    SHA256_ROUND,
    SHA256_START,
    NumpyWords,
    TorchWords,
    chacha_block,
    sha256_one_block,
)

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def as_numpy(words: list[int]) -> np.ndarray:
    return np.array(words, dtype=np.uint32)


def as_torch(words: list[int]) -> torch.Tensor:
    return torch.from_numpy(np.array(words, dtype=np.uint32).view(np.int32).copy())


KINDS = [pytest.param(NumpyWords(), as_numpy, id="numpy"), pytest.param(TorchWords(), as_torch, id="torch")]


def unsigned(words: object) -> np.ndarray:
    return np.asarray(words).view(np.uint32)


def block(ops: object, make: object, key: bytes, nonce: bytes, counters: list[int]) -> bytes:
    zero = make([0] * len(counters))
    key_words = [ops.const(word) for word in struct.unpack("<8I", key)]
    nonce_words = [make([word] * len(counters)) for word in struct.unpack("<3I", nonce)]
    words = chacha_block(ops, key_words, make(counters), nonce_words, zero)
    assert len(words) == 16
    return np.stack([unsigned(word) for word in words], axis=-1).astype("<u4").tobytes()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("ops", "make"), KINDS)
@pytest.mark.parametrize("vector", BLOCKS, ids=lambda vector: vector.name)
def test_a_block_is_the_rfcs(ops: object, make: object, vector: Block) -> None:
    with np.errstate(over="ignore"):
        assert block(ops, make, vector.key, vector.nonce, [vector.counter]) == vector.keystream


@pytest.mark.parametrize(("ops", "make"), KINDS)
def test_lanes_are_blocks_of_one_stream(ops: object, make: object) -> None:
    with np.errstate(over="ignore"):
        assert block(ops, make, COUNTING, STREAM_NONCE, [1, 2])[: len(STREAM)] == STREAM
        assert len(STREAM) == 114


def test_the_sha256_constants_are_those_of_fips_180_4() -> None:
    assert " ".join(f"{word:08x}" for word in SHA256_START) == (
        "6a09e667 bb67ae85 3c6ef372 a54ff53a 510e527f 9b05688c 1f83d9ab 5be0cd19"
    )
    assert " ".join(f"{word:08x}" for word in SHA256_ROUND) == (
        "428a2f98 71374491 b5c0fbcf e9b5dba5 3956c25b 59f111f1 923f82a4 ab1c5ed5 "
        "d807aa98 12835b01 243185be 550c7dc3 72be5d74 80deb1fe 9bdc06a7 c19bf174 "
        "e49b69c1 efbe4786 0fc19dc6 240ca1cc 2de92c6f 4a7484aa 5cb0a9dc 76f988da "
        "983e5152 a831c66d b00327c8 bf597fc7 c6e00bf3 d5a79147 06ca6351 14292967 "
        "27b70a85 2e1b2138 4d2c6dfc 53380d13 650a7354 766a0abb 81c2c92e 92722c85 "
        "a2bfe8a1 a81a664b c24b8b70 c76c51a3 d192e819 d6990624 f40e3585 106aa070 "
        "19a4c116 1e376c08 2748774c 34b0bcb5 391c0cb3 4ed8aa4a 5b9cca4f 682e6ff3 "
        "748f82ee 78a5636f 84c87814 8cc70208 90befffa a4506ceb bef9a3f7 c67178f2"
    )


@pytest.mark.parametrize(("ops", "make"), KINDS)
@pytest.mark.parametrize("length", range(14))
def test_digests_are_hashlibs(ops: object, make: object, length: int) -> None:
    random = np.random.default_rng(length)
    messages = random.integers(0, 2**32, (20, length), dtype=np.uint32)
    messages[0], messages[1], messages[2] = 0, 0xFFFFFFFF, 0x80000000
    with np.errstate(over="ignore"):
        words = sha256_one_block(ops, [make(list(column)) for column in messages.T], make([0] * 20))
    got = np.stack([unsigned(word) for word in words], axis=-1)
    for message, digest in zip(messages, got, strict=True):
        assert digest.astype("<u4").tobytes() == hashlib.sha256(message.astype("<u4").tobytes()).digest()


def test_a_message_longer_than_a_block_is_refused() -> None:
    zero = as_numpy([0])
    with pytest.raises(ValueError, match="14 words do not fit"):
        sha256_one_block(NumpyWords(), [zero] * 14, zero)


@pytest.mark.parametrize("n", range(1, 32))
def test_rotations_of_both_kinds_are_rotations(n: int) -> None:
    words = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xDEADBEEF, 0x00FF00FF]
    expected = [((w << n) | (w >> (32 - n))) & 0xFFFFFFFF for w in words]
    shifted = [w >> n for w in words]
    for ops, make in ((NumpyWords(), as_numpy), (TorchWords(), as_torch)):
        assert unsigned(ops.rotate_left(make(words), n)).tolist() == expected
        assert unsigned(ops.shift_right(make(words), n)).tolist() == shifted
