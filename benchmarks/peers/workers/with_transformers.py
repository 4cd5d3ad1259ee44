"""transformers' own processors and detectors, for both of its schemes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from serve import Call, serve
from transformers import (
    BayesianDetectorConfig,
    BayesianDetectorModel,
    LlamaConfig,
    SynthIDTextWatermarkDetector,
    SynthIDTextWatermarkingConfig,
    SynthIDTextWatermarkLogitsProcessor,
    WatermarkDetector,
    WatermarkingConfig,
    WatermarkLogitsProcessor,
)

NINE_KEYS = [654, 400, 836, 123, 340, 443, 597, 160, 57]  # as in its documentation


def processor(scheme: str) -> Any:
    def make(vocabulary: int, logits: Any) -> Call:
        mark = WatermarkLogitsProcessor(vocabulary, "cpu", greenlist_ratio=0.25, bias=2.0, seeding_scheme=scheme)
        return lambda ids: mark(ids, logits)

    return make


def _synthid() -> SynthIDTextWatermarkLogitsProcessor:
    settings = SynthIDTextWatermarkingConfig(ngram_len=5, keys=NINE_KEYS).to_dict()
    names = ("ngram_len", "keys", "sampling_table_size", "sampling_table_seed", "context_history_size")
    return SynthIDTextWatermarkLogitsProcessor(**{name: settings[name] for name in names}, device="cpu")


def synthid(vocabulary: int, logits: Any) -> Call:
    mark = _synthid()
    return lambda ids: mark(ids, logits)


def detector(scheme: str) -> Any:
    def make(vocabulary: int) -> Call:
        import torch

        settings = WatermarkingConfig(greenlist_ratio=0.25, bias=2.0, seeding_scheme=scheme)
        found = WatermarkDetector(LlamaConfig(vocab_size=vocabulary, bos_token_id=vocabulary - 1), "cpu", settings)

        def call(ids: Any) -> Any:
            found._get_ngram_score_cached.cache_clear()  # an LRU of 128 pairs: it would answer a short text again
            return found(torch.tensor([ids]), return_dict=True)

        return call

    return make


def synthid_detector(vocabulary: int) -> Call:
    """With a detector module that was not trained: it takes as long as one that was."""
    import torch

    module = BayesianDetectorModel(BayesianDetectorConfig(watermarking_depth=len(NINE_KEYS)))
    found = SynthIDTextWatermarkDetector(module, _synthid(), SimpleNamespace(eos_token_id=vocabulary - 1))
    return lambda ids: found(torch.tensor([ids]))


if __name__ == "__main__":
    serve(
        {
            "transformers, left hash": processor("lefthash"),
            "transformers, self hash": processor("selfhash"),
            "transformers, SynthID": synthid,
        },
        {
            "transformers, left hash": detector("lefthash"),
            "transformers, self hash": detector("selfhash"),
            "transformers, SynthID": synthid_detector,
        },
        ("transformers", "torch"),
    )
