"""What the tests of detect/ share: keys by number, human text, and slow second computations of the counting."""

from __future__ import annotations

import functools
import hashlib
import hmac
import importlib
import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detect.counting import CountComparison, MassComparison, WeightTally
from detect.fed import ProbePairs
from watermark.greenlist import GreenList
from watermark.keys import SCHEME, Key, TokenizerIdentity
from watermark.keys.parameters import Parameters
from watermark.windows import Pairs, WindowRule

DATA = Path(__file__).parent.parent / "data"
MODULES = ("statistics", "argparse", "logging", "subprocess", "collections", "datetime", "pathlib", "random", "shutil")


def make_key(number: int = 0, *, gamma_65536: int = 16384, h: int = 1, special: tuple[int, ...] = ()) -> Key:
    """The same key for the same arguments; its secret is a hash of `number`."""
    identity = TokenizerIdentity("made up", "0" * 64, 500_000, special) if special else None
    return Key(secret(number), Parameters(gamma_65536, 2.0, h, identity))


def key_for(number: int, tokenizer: Any, *, h: int = 1) -> Key:
    return Key(secret(number), Parameters(16384, 2.0, h, TokenizerIdentity.of(tokenizer)))


def secret(number: int) -> bytes:
    return hashlib.sha256(f"tests/detect {number}".encode()).digest()


def hkdf(secret_bytes: bytes, kind: str, label: str) -> bytes:
    """derive() of the design, by RFC 5869's own lines: 32 bytes are one block of the expansion."""
    info = b"".join(len(x).to_bytes(4, "little") + x for x in (kind.encode(), label.encode()))
    extracted = hmac.new(b"taggant/1", secret_bytes, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


@functools.cache
def docstrings() -> tuple[str, ...]:
    """Docstrings of Python's standard library: prose that people wrote, at hand wherever Python is."""
    texts: dict[str, None] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        owners = [module, *(value for _, value in sorted(vars(module).items()) if inspect.isclass(value))]
        for owner in owners:
            for value in (owner, *(member for _, member in sorted(vars(owner).items()))):
                text = getattr(value, "__doc__", None)
                if isinstance(text, str) and len(text) > 200:
                    texts[text] = None
    assert len(texts) > 50
    return tuple(texts)


def speech() -> str:
    """A State of the Union address (tests/data/README.md)."""
    return (DATA / "state-of-the-union-1963.txt").read_text(encoding="utf-8")


# --- slow and plain ---

Pair = tuple[tuple[int, ...], int]


def windows(document: Sequence[int], h: int, special: Iterable[int] = ()) -> list[Pair]:
    """(context, token) of every position that has a whole context and touches no special token, in a plain loop."""
    found = []
    for i in range(h, len(document)):
        window = [int(t) for t in document[i - h : i + 1]]
        if not set(window) & set(special):
            found.append((tuple(window[:-1]), window[-1]))
    return found


def distinct_pairs(
    documents: Iterable[Sequence[int]], exclude: Iterable[Sequence[int]], h: int, special: Iterable[int] = ()
) -> set[Pair]:
    excluded = {pair for prompt in exclude for pair in windows(prompt, h, special)}
    return {pair for document in documents for pair in windows(document, h, special)} - excluded


def is_green(key: Key, pair: Pair) -> bool:
    """One colour, from a whole row of OpenSSL's keystream (`is_green` of GreenList takes another way)."""
    context, token = pair
    row = GreenList(key).mask(np.array([context], dtype=np.int64).reshape(1, len(context)), token + 1)
    return bool(row[0, token])


def as_set(pairs: Pairs) -> set[Pair]:
    found = {(tuple(c), t) for c, t in zip(pairs.contexts.tolist(), pairs.tokens.tolist(), strict=True)}
    assert len(found) == len(pairs), "pairs are not distinct"
    return found


def no_probes(h: int = 1) -> ProbePairs:
    """For readings that are made up."""
    return ProbePairs.of(WindowRule(h), [])


def weight_tally(key: Key, weights: Sequence[float], *, green: GreenList | None = None) -> WeightTally:
    """A tally of these weights on made-up pairs of one context each, coloured by `key`."""
    values = np.asarray(weights, dtype=np.float64)
    h = key.context_width
    contexts = np.arange(1000, 1000 + values.size * h, dtype=np.uint32).reshape(values.size, h)
    pairs = Pairs(contexts, np.arange(values.size, dtype=np.uint32), values.size)
    colours = GreenList(key).is_green(contexts, pairs.tokens)
    return WeightTally(
        test="reading",
        key_id=key.key_id,
        scheme=SCHEME,
        green=green or GreenList(key),
        n_tokens=values.size,
        pairs=pairs,
        notes=(),
        weights=values,
        statistic=float(sum(a * (g - key.gamma) for a, g in zip(values, colours, strict=True))),
        comparisons={"argmax": CountComparison(4, 2, key.gamma), "green_mass": MassComparison(4, 0.3, key.gamma)},
    )
