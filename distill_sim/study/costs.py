"""What the mark costs readers and students, as rows: measure, value, and the same of the unmarked counterpart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_sim.corpus import CorpusRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEXT_TOKENS = 4000  # at most, for perplexity


def costs_of_text(
    teacher: Path, text: Sequence[CorpusRow], unmarked: Sequence[CorpusRow] | None
) -> list[dict[str, Any]]:
    """Of what a student is given, beside what the unmarked teacher answered to the same prompts.

    Args:
        unmarked: None: the text is that itself.
    """
    from distill_sim.fluency import fluency
    from watermark.engines.models import load_model

    model = load_model(teacher)

    def perplexity(rows: Sequence[CorpusRow]) -> float:
        return fluency(model, rows, max_tokens=TEXT_TOKENS).perplexity

    def length(rows: Sequence[CorpusRow]) -> float:
        return sum(len(row.token_ids) for row in rows) / len(rows)

    measures = {"perplexity": perplexity, "tokens_per_answer": length}
    return [
        {"measure": name, "value": measure(text), "unmarked": None if unmarked is None else measure(unmarked)}
        for name, measure in measures.items()
    ]


def costs_of_student(student: PreTrainedModel, human: Sequence[CorpusRow]) -> list[dict[str, Any]]:
    """Of the student: how well it still predicts what people write."""
    from distill_sim.fluency import fluency

    nats = fluency(student, human, max_tokens=TEXT_TOKENS).nats_per_token
    return [{"measure": "held_out_nats", "value": nats, "unmarked": None}]
