"""Distillation from distributions: the student is pulled towards what the marked teacher says at every position.

    loss = mean over the answers' tokens of KL(p_T ‖ p_S),   p_T = softmax(teacher's logits + δ on green)

What an extractor can do who gets whole distributions rather than text, the bias included. Source: Hinton et al. 2015
(arXiv 1503.02531), at temperature 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distill_sim.examples import IGNORED
from distill_sim.trainer import answer_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from watermark.keys import Key


class LogitTeacher:
    """A teacher whose distributions are learnt from.

    Args:
        model: unmarked.
        key: adds its mark; None: nothing is added.
    """

    def __init__(self, model: PreTrainedModel, key: Key | None) -> None:
        from watermark.engines.transformers import GreenListProcessor

        self._model = model.eval()
        vocab_size = model.config.get_text_config().vocab_size
        self._mark = None if key is None else GreenListProcessor(key, vocab_size)

    def loss(self, student: Any, input_ids: Tensor, labels: Tensor) -> Tensor:
        """Mean KL divergence in nats over the labelled tokens.

        Args:
            input_ids: int64 [batch, T].
            labels: int64 [batch, T], −100 where there is no loss.
        """
        wanted = self.log_probabilities(input_ids, labels)
        said, _ = answer_logits(student, input_ids, labels)
        return torch.nn.functional.kl_div(said.log_softmax(-1), wanted, log_target=True, reduction="batchmean")

    @torch.no_grad()
    def log_probabilities(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        """What the teacher says where the N labelled tokens are predicted, float32 [N, vocab]."""
        logits, _ = answer_logits(self._model, input_ids, labels)
        if self._mark is not None:
            logits = self._mark(windows(input_ids, labels, self._mark.context_width), logits)
        return logits.log_softmax(-1)


def windows(input_ids: Tensor, labels: Tensor, width: int) -> Tensor:
    """The tokens that stand before each labelled one, int64 [N, max(1, width)], row by row.

    Before the beginning stands the first token, over and over: no answer begins there, as a prompt stands before it.
    """
    width = max(1, width)
    rows, columns = torch.nonzero(labels[:, 1:] != IGNORED, as_tuple=True)  # column t predicts t + 1
    before = columns[:, None] + torch.arange(1 - width, 1)  # [N, width]
    return input_ids[rows[:, None], before.clamp(min=0)]
