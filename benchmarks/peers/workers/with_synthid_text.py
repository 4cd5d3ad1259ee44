"""synthid-text, Google DeepMind's own implementation: its processor, its g values and its mean score."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from serve import Call, serve
from synthid_text.detector_mean import mean_score
from synthid_text.logits_processing import SynthIDLogitsProcessor

NINE_KEYS = [654, 400, 836, 123, 340, 443, 597, 160, 57]


def _made() -> SynthIDLogitsProcessor:
    return SynthIDLogitsProcessor(
        ngram_len=5,
        keys=NINE_KEYS,
        sampling_table_size=1 << 16,
        sampling_table_seed=0,
        context_history_size=1024,
        temperature=1.0,
        top_k=1 << 20,  # above every vocabulary, as it is not applied
        device="cpu",
        apply_top_k=False,
    )


def step(vocabulary: int, logits: Any) -> Call:
    mark = _made()
    mark.top_k = vocabulary
    return lambda ids: mark.watermarked_call(ids, logits)


def score(vocabulary: int) -> Call:
    import torch

    mark = _made()

    def call(ids: Any) -> float:
        tokens = torch.tensor([ids])
        values = mark.compute_g_values(tokens)
        mask = mark.compute_context_repetition_mask(tokens)
        return float(mean_score(jnp.asarray(values.numpy()), jnp.asarray(mask.numpy()))[0])

    return call


if __name__ == "__main__":
    serve({"synthid-text": step}, {"synthid-text": score}, ("synthid-text", "torch", "jax"))
