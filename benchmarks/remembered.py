"""A model whose hidden states on some texts are kept, so that it can be read on many subsets of them for little.

`Remembered` stands in for the model in `read_model` and `excess_of`: it knows a few texts, gives the logits of any
beginning of one of them, and refuses everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from detect.fed import Probe

_TOGETHER = 16  # texts per forward pass


class Remembered:
    """What a causal model computes on `texts`.

    Args:
        model: with `model.model` (hidden states) and `model.lm_head`, as Llama has them.
        texts: token ids behind their prompts.
    """

    def __init__(self, model: Any, texts: Sequence[Probe]) -> None:
        self.config, self.device = model.config, model.device
        self._head = model.lm_head
        self._states: list[Tensor] = []
        self._known: dict[bytes, int] = {}
        ordered = sorted(([*t.prompt_ids, *t.answer_ids] for t in texts), key=len)
        for start in range(0, len(ordered), _TOGETHER):
            self._remember(model, ordered[start : start + _TOGETHER])

    def _remember(self, model: Any, sequences: list[list[int]]) -> None:
        ids, attention = _padded(sequences)
        with torch.inference_mode():
            states = model.model(input_ids=ids, attention_mask=attention, use_cache=False).last_hidden_state
        for sequence, state in zip(sequences, states, strict=True):
            number = len(self._states)
            self._states.append(state[: len(sequence)].clone())
            for length in range(1, len(sequence) + 1):
                self._known.setdefault(_name(sequence[:length]), number)

    def __call__(
        self, input_ids: Tensor, attention_mask: Tensor, use_cache: bool, logits_to_keep: Tensor
    ) -> SimpleNamespace:
        return self.forward(input_ids, attention_mask, use_cache, logits_to_keep)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, use_cache: bool, logits_to_keep: Tensor
    ) -> SimpleNamespace:
        """Logits, float32 [B, len(logits_to_keep), V]."""
        first, last = int(logits_to_keep[0]), int(logits_to_keep[-1])
        rows = []
        for ids, length in zip(input_ids.tolist(), attention_mask.sum(dim=1).tolist(), strict=True):
            states = self._states[self._known[_name(ids[:length])]][:length]
            wanted = states[first : last + 1]
            rows.append(torch.nn.functional.pad(wanted, (0, 0, 0, last + 1 - first - len(wanted))))
        with torch.inference_mode():
            return SimpleNamespace(logits=self._head(torch.stack(rows)))


def _name(ids: Sequence[int]) -> bytes:
    return torch.tensor(list(ids), dtype=torch.int32).numpy().tobytes()


def _padded(sequences: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, int64 [B, L], padded on the right."""
    ids = torch.zeros((len(sequences), max(map(len, sequences))), dtype=torch.long)
    attention = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        attention[row, : len(sequence)] = 1
    return ids, attention
