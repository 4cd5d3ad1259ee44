"""Taggant's processor and its test of token ids."""

from __future__ import annotations

from typing import Any

from serve import Call, serve

from detect import assess, tally
from watermark import GreenListProcessor, Key, chacha, dedup

KEY = Key.generate(gamma=0.25, delta=2.0, context_width=1)


def cold(vocabulary: int, logits: Any) -> Call:
    """Contexts that were never seen; the cache is full, as in a process that has run for a while."""
    import torch

    processor = GreenListProcessor(KEY, vocabulary)
    room = (256 << 20) // vocabulary
    for start in range(0, room + 64, 64):
        contexts = torch.arange(vocabulary + start, vocabulary + start + 64)[:, None]  # ids that no call will have
        processor(contexts, torch.zeros(64, vocabulary))
    return lambda ids: processor(ids, logits)


def cold_once(vocabulary: int, logits: Any) -> Call:
    """The same with room for one row, which stays in the processor's cache."""
    processor = GreenListProcessor(KEY, vocabulary, cache_bytes=0)
    return lambda ids: processor(ids, logits)


def cached(vocabulary: int, logits: Any) -> Call:
    """The contexts of the first call, over and over."""
    processor, first = GreenListProcessor(KEY, vocabulary), []

    def call(ids: Any) -> Any:
        first.append(ids) if not first else None
        return processor(first[0], logits)

    return call


def cached_in_place(vocabulary: int, logits: Any) -> Call:
    processor, first = GreenListProcessor(KEY, vocabulary, in_place=True), []

    def call(ids: Any) -> Any:
        first.append(ids) if not first else None
        return processor(first[0], logits)

    return call


def score(vocabulary: int) -> Call:
    """Distinct pairs, counted; exact p, e-value, interval and the rest of the evidence."""
    import watermark.dedup_numba  # noqa: F401  (as in a process that has scored 200,000 tokens)

    chacha.compiled, dedup._COMPILED = (lambda count: True), "watermark.dedup_numba"
    return lambda ids: assess(tally(KEY, [ids])).log10_p


def score_small(vocabulary: int) -> Call:
    """The same in a process that has not loaded the compiled kernels."""
    chacha.compiled, dedup._COMPILED = (lambda count: False), "not loaded"
    return lambda ids: assess(tally(KEY, [ids])).log10_p


if __name__ == "__main__":
    serve(
        {
            "taggant, cold": cold,
            "taggant, cold, cache of one row": cold_once,
            "taggant, cached": cached,
            "taggant, cached, in place": cached_in_place,
        },
        {"taggant, not compiled": score_small, "taggant": score},
        ("taggant", "torch", "numpy", "numba", "cryptography"),
    )
