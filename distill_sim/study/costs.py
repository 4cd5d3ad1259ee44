"""What the mark costs readers and students, as rows: measure, value, and the same of the unmarked counterpart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_sim import quality
from distill_sim.corpus import CorpusRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEXT_TOKENS = 2000  # at most, for perplexity and repetition
HUMAN_TEXTS, CLOZE_ITEMS = 24, 40
CHANCE_AUC = 0.5


def costs_of_text(
    teacher: Path, text: Sequence[CorpusRow], unmarked: Sequence[CorpusRow] | None, *, blind: bool
) -> list[dict[str, Any]]:
    """Of what a student is given, beside what the unmarked teacher answered to the same prompts.

    Args:
        unmarked: None: the text is that itself.
        blind: whether a classifier without the key tries to tell the two apart.
    """
    from distill_sim.fluency import fluency
    from watermark.engines.models import load_model

    model = load_model(teacher)
    measures: Mapping[str, Callable[[Sequence[CorpusRow]], float]] = {
        "perplexity": lambda rows: fluency(model, rows, max_tokens=TEXT_TOKENS).perplexity,
        "repetition": lambda rows: quality.repetition(rows, max_tokens=TEXT_TOKENS).seq_rep_4,
        "distinct_2": lambda rows: quality.repetition(rows, max_tokens=TEXT_TOKENS).distinct_2,
        "tokens_per_answer": lambda rows: quality.length(rows).mean,
    }
    rows = [
        {"measure": name, "value": measure(text), "unmarked": None if unmarked is None else measure(unmarked)}
        for name, measure in measures.items()
    ]
    if unmarked is not None and blind:
        from distill_sim.blind import blind as told_apart

        rows.append({"measure": "auc", "value": told_apart(text, unmarked).auc, "unmarked": CHANCE_AUC})
    return rows


def costs_of_student(student: PreTrainedModel, human: Sequence[CorpusRow]) -> list[dict[str, Any]]:
    """Of the student: how well it still predicts what people write, and picks how their texts go on."""
    nats = quality.held_out_loss(student, human[:HUMAN_TEXTS]).nats_per_token
    accuracy = quality.cloze(student, human, items=CLOZE_ITEMS).accuracy
    return [
        {"measure": "held_out_nats", "value": nats, "unmarked": None},
        {"measure": "cloze_accuracy", "value": accuracy, "unmarked": None},
    ]
