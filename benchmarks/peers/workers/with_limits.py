"""What no mark can be faster than: moving the logits, hashing every token, drawing one; and the tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from serve import Call, serve

MIX = np.uint64(0x9E3779B97F4A7C15)


def copied(vocabulary: int, logits: Any) -> Call:
    """One pass over memory: logits read, as many written."""
    return lambda ids: logits.clone()


def copied_onto(vocabulary: int, logits: Any) -> Call:
    """The same into memory that is there."""
    place = logits.clone()
    return lambda ids: place.copy_(logits)


def drawn(vocabulary: int, logits: Any) -> Call:
    import torch

    return lambda ids: torch.multinomial(logits.softmax(-1), 1)


def _mixed(words: Any) -> Any:
    words = (words ^ (words >> np.uint64(32))) * MIX
    words = (words ^ (words >> np.uint64(29))) * MIX
    return words ^ (words >> np.uint64(32))


def hashed_rows(vocabulary: int, logits: Any) -> Call:
    """A 64-bit mix of context and token in NumPy, and a comparison: no mark of a keyed hash takes less here."""
    tokens = np.arange(vocabulary, dtype=np.uint64)

    def call(ids: Any) -> Any:
        contexts = ids[:, -1].numpy().astype(np.uint64) << np.uint64(32)
        return [_mixed(tokens | context) >> np.uint64(48) < np.uint64(16384) for context in contexts]

    return call


def hashed_pairs(vocabulary: int) -> Call:
    def call(ids: Any) -> int:
        tokens = np.array(ids, dtype=np.uint64)
        mixed = _mixed((tokens[:-1] << np.uint64(32)) | tokens[1:])
        return int(np.count_nonzero(mixed >> np.uint64(48) < np.uint64(16384)))

    return call


def tokenizer(vocabulary: int) -> Call:
    """SmolLM2's tokenizer on English text that it makes as many tokens of, whatever ids it is given."""
    from benchmarks.common import docstrings
    from distill_sim.teacher import default_directory
    from watermark.engines.text_tokenizer import load_text_tokenizer

    core = load_text_tokenizer(Path(default_directory())).backend_tokenizer
    encoding = core.encode("\n\n".join(docstrings(60_000)), add_special_tokens=False)
    texts: dict[int, str] = {}

    def call(ids: Any) -> Any:
        if len(ids) not in texts:
            texts[len(ids)] = core.decode(encoding.ids[: len(ids)])
        return core.encode_batch_fast([texts[len(ids)]], add_special_tokens=False)

    return call


if __name__ == "__main__":
    serve(
        {
            "limit: a copy of the logits": copied,
            "limit: a copy into memory that is there": copied_onto,
            "limit: a 64-bit hash of each token": hashed_rows,
            "limit: softmax and one draw": drawn,
        },
        {"limit: a 64-bit hash of each pair": hashed_pairs, "limit: the tokenizer": tokenizer},
        ("torch", "numpy", "tokenizers"),
    )
