"""Texts and slow second computations for the tests of detect.validation."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from scipy.stats import binom

from detect.validation.nulls import NullRow, prepare
from detect.validation.populations import cut
from detect.validation.study import Design
from tests.detect.material import distinct_pairs, hkdf, is_green
from watermark.keys import Key
from watermark.keys.parameters import Parameters

SEED = bytes(range(32))
PARAMETERS = Parameters(16384, 2.0, 1)


def stream(number: int, tokens: int, vocabulary: int = 60) -> np.ndarray:
    """Token ids that no key had a part in, few enough kinds to repeat: uint32 [tokens]."""
    return np.random.default_rng(number).integers(0, vocabulary, tokens).astype(np.uint32)


def row(keys: int, *, texts: int = 8, tokens: int = 60, parameters: Parameters = PARAMETERS) -> NullRow:
    """Texts of two documents each."""
    design = Design(parameters, SEED, keys)
    documents = [stream(number, tokens // 2) for number in range(2 * texts)]
    prepared = prepare(design.rule, cut(documents, tokens))
    assert len(prepared) == texts
    return NullRow("made up", tokens, tuple(prepared), keys)


def slow_key(name: str, index: int, parameters: Parameters = PARAMETERS) -> Key:
    """Key `index` of a row, by the documented derivation and RFC 5869's own lines."""

    def lp(text: str) -> bytes:
        return len(text.encode()).to_bytes(4, "little") + text.encode()

    seed = hashlib.sha256(lp("taggant-validation/1") + SEED + lp(name)).digest()
    return Key(hkdf(seed, "decoy", str(index)), parameters)


def slow_count(key: Key, documents: list[list[int]], prompts: list[list[int]] = []) -> tuple[int, int]:  # noqa: B006
    """Green pairs and pairs, one OpenSSL row at a time."""
    pairs = distinct_pairs(documents, prompts, key.context_width, key.special_ids)
    return sum(is_green(key, pair) for pair in pairs), len(pairs)


def slow_log10_p(k: int, n: int, gamma: float = 0.25) -> float:
    return float(binom.logsf(k - 1, n, gamma)) / math.log(10)
