"""Taggant's processor and its test of token ids."""

from __future__ import annotations

import itertools
from typing import Any

from serve import Call, serve

from detect import assess, tally
from detect.exact.binomial import log10_sf
from watermark import GreenListProcessor, Key, chacha, dedup
from watermark.engines.bias import CACHE_BYTES

KEY = Key.generate(gamma=0.25, delta=2.0, context_width=1)


def cold(vocabulary: int, logits: Any) -> Call:
    """Contexts that were never seen; the cache is full, as in a process that has run for a while."""
    import torch

    processor = GreenListProcessor(KEY, vocabulary)
    for start in range(0, _rows(vocabulary) + 64, 64):
        contexts = torch.arange(vocabulary + start, vocabulary + start + 64)[:, None]  # ids that no call will have
        processor(contexts, torch.zeros(64, vocabulary))
    made = 0

    def call(ids: Any) -> Any:
        nonlocal made
        made += len(ids)
        assert made < vocabulary, "contexts would come again"
        return processor(ids, logits)

    return call


def _rows(vocabulary: int) -> int:
    """That the cache holds."""
    return CACHE_BYTES // (vocabulary // 8)


def cold_once(vocabulary: int, logits: Any) -> Call:
    """The same with room for one row, which stays in the processor's cache."""
    processor = GreenListProcessor(KEY, vocabulary, cache_bytes=0)
    return lambda ids: processor(ids, logits)


def cached(in_place: bool) -> Any:
    """Contexts that were seen before, as many as the cache holds in turn: rows lie where the cache put them."""

    def make(vocabulary: int, logits: Any) -> Call:
        import torch

        processor, batch = GreenListProcessor(KEY, vocabulary, in_place=in_place), len(logits)
        contexts = torch.arange(_rows(vocabulary) // batch * batch).reshape(-1, batch, 1)
        for one in contexts:
            processor(one, logits)
        turns = itertools.cycle(contexts)
        return lambda ids: processor(next(turns), logits)

    return make


def _kernels(compiled: bool) -> None:
    """As in a process that has scored 200,000 tokens; or as in one that has not loaded the compiled kernels."""
    import watermark.dedup_numba  # noqa: F401

    chacha.compiled = lambda count: compiled
    dedup._COMPILED = "watermark.dedup_numba" if compiled else "not loaded"


def score(compiled: bool) -> Any:
    """Distinct pairs, counted, and their exact p."""

    def make(vocabulary: int) -> Call:
        def call(ids: Any) -> float:
            _kernels(compiled)
            counted = tally(KEY, [ids])
            return log10_sf(counted.n_green, counted.n_scored, KEY.gamma)

        return call

    return make


def all_evidence(vocabulary: int) -> Call:
    """The same with e-value, interval, z and what a reader has to know."""

    def call(ids: Any) -> float:
        _kernels(True)
        return assess(tally(KEY, [ids])).log10_p

    return call


if __name__ == "__main__":
    serve(
        {
            "taggant, cold": cold,
            "taggant, cold, cache of one row": cold_once,
            "taggant, cached": cached(in_place=False),
            "taggant, cached, in place": cached(in_place=True),
        },
        {"taggant": score(True), "taggant, not compiled": score(False), "taggant, all evidence": all_evidence},
        ("taggant", "torch", "numpy", "numba", "cryptography"),
    )
