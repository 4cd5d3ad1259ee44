"""The tiny model, its tokenizer and keys for it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests import tiny
from watermark import GreenList, Key
from watermark.keys import Parameters, TokenizerIdentity

VOCABULARY = 384
SPECIALS = (0, 1, 2)


@functools.cache
def tokenizer() -> Any:
    from watermark.engines.models import load_tokenizer

    return load_tokenizer(tiny.shared())


@functools.cache
def model() -> Any:
    from watermark.engines.models import load_model

    return load_model(tiny.shared())


@functools.cache
def identity() -> TokenizerIdentity:
    return TokenizerIdentity.of(tokenizer())


def key_for(width: int = 1, delta: float = 2.0, gamma_65536: int = 16384, number: int = 0, bare: bool = False) -> Key:
    """A key for the tiny tokenizer; a `bare` one knows no tokenizer and so no special tokens."""
    secret = hashlib.sha256(f"engine tests {number}".encode()).digest()
    return Key(secret, Parameters(gamma_65536, delta, width, None if bare else identity()))


def green_of_scored(key: Key, documents: Sequence[Sequence[int]], skip: int = 0) -> np.ndarray:
    """Colours of all tokens from position `skip` on that have a whole context and involve no special token.

    Recounted by plain loops: neither the processor nor `watermark.windows` takes part.
    """
    h, special = key.context_width, set(key.special_ids)
    contexts, tokens = [], []
    for document in documents:
        for i in range(max(skip, h), len(document)):
            if not special & set(document[i - h : i + 1]):
                contexts.append(document[i - h : i])
                tokens.append(document[i])
    return GreenList(key).is_green(np.array(contexts, dtype=np.int64).reshape(len(tokens), h), np.array(tokens))
