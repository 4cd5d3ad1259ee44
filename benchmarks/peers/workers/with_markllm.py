"""MarkLLM's KGW and Unigram, with its default settings."""

from __future__ import annotations

from typing import Any

from markllm.utils.transformers_config import TransformersConfig
from markllm.watermark.kgw import KGW
from markllm.watermark.unigram import Unigram
from serve import Call, serve


def _made(kind: Any, vocabulary: int) -> Any:
    return kind(None, TransformersConfig(model=None, tokenizer=None, vocab_size=vocabulary, device="cpu"))


def step(kind: Any) -> Any:
    def make(vocabulary: int, logits: Any) -> Call:
        mark = _made(kind, vocabulary).logits_processor
        return lambda ids: mark(ids, logits)

    return make


def score(kind: Any) -> Any:
    def make(vocabulary: int) -> Call:
        import torch

        utils = _made(kind, vocabulary).utils
        return lambda ids: utils.score_sequence(torch.tensor(ids))

    return make


if __name__ == "__main__":
    serve(
        {"MarkLLM, KGW": step(KGW), "MarkLLM, Unigram": step(Unigram)},
        {"MarkLLM, KGW": score(KGW), "MarkLLM, Unigram": score(Unigram)},
        ("markllm", "transformers", "torch"),
    )
