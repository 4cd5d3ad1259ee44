"""A slow second way to read a model, in float64 and one text at a time; and a model whose logits are a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from detect.fed import Probe
from tests import tiny
from tests.detect.material import docstrings
from watermark.engines.models import load_tokenizer

V = 384  # tokens of the tiny tokenizer


SPECIALS = (0, 1, 2)


def sprinkled(seed: int, shortest: int) -> list[Probe]:
    """Real docstrings of different lengths, special tokens sprinkled in; prompts of different lengths."""
    tokenizer = load_tokenizer(tiny.shared())
    rng = np.random.default_rng(seed)
    found = []
    for i, text in enumerate(docstrings()[:10]):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][: shortest + 7 * i]
        for at in rng.integers(0, len(ids), 2):
            ids[int(at)] = int(rng.integers(0, 3))
        prompt = [1, *tokenizer(docstrings()[20 + i], add_special_tokens=False)["input_ids"][: 3 * i], 2]
        found.append(Probe(prompt if i % 3 else [], ids))
    return found


def log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def logits_of(model: Any, probes: Sequence[Probe]) -> Iterator[tuple[Probe, np.ndarray]]:
    """Each probe that has an answer, and the float64 [tokens, V] logits over all of its text."""
    for probe in probes:
        if len(probe.answer_ids):
            with torch.inference_mode():
                found = model(input_ids=torch.tensor([[*probe.prompt_ids, *probe.answer_ids]]), **PLAIN).logits
            yield probe, found[0, :, :V].numpy().astype(np.float64)


PLAIN = {"attention_mask": None, "use_cache": False}


class LastToken(torch.nn.Module):
    """What it says depends on the last token only, so where a text is cut cannot matter. Notes its longest input."""

    def __init__(self, room: int | None, scale: float = 1.0) -> None:
        super().__init__()
        text = SimpleNamespace(vocab_size=V)
        if room is not None:
            text.max_position_embeddings = room
        self.config = SimpleNamespace(get_text_config=lambda: text)
        self.device = torch.device("cpu")
        self.table = scale * torch.randn(V, V, generator=torch.Generator().manual_seed(1))
        self.longest = 0

    def forward(self, input_ids: Any, attention_mask: Any, use_cache: bool) -> Any:
        self.longest = max(self.longest, input_ids.shape[1])
        return SimpleNamespace(logits=self.table[input_ids])
