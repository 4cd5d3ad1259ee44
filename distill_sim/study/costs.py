"""What the mark costs readers and students, as rows: measure, value, and the same of what it is compared with."""

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


def costs_of_text(
    teacher: Path,
    text: Sequence[CorpusRow],
    unmarked: Sequence[CorpusRow] | None,
    unmarked_again: Sequence[CorpusRow] | None,
) -> list[dict[str, Any]]:
    """Of what a student is given, beside what the unmarked teacher answered to the same prompts.

    Args:
        unmarked: None: the text is that itself.
        unmarked_again: the same drawn once more: how well a classifier tells two unmarked texts apart is what its AUC
            is compared with; None: no classifier tries.
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
    if unmarked is not None and unmarked_again is not None:
        from distill_sim.blind import blind

        aucs = {"value": blind(text, unmarked).auc, "unmarked": blind(unmarked_again, unmarked).auc}
        rows.append({"measure": "auc", **aucs})
    return rows


def costs_of_student(
    student: PreTrainedModel, human: Sequence[CorpusRow], started: Mapping[str, float]
) -> list[dict[str, Any]]:
    """`ability` of the student, beside that of the model it started from."""
    return [
        {"measure": name, "value": value, "unmarked": started[name]} for name, value in ability(student, human).items()
    ]


def ability(model: PreTrainedModel, human: Sequence[CorpusRow]) -> dict[str, float]:
    """How well a model predicts what people write, and picks how their texts go on."""
    return {
        "held_out_nats": quality.held_out_loss(model, human[:HUMAN_TEXTS]).nats_per_token,
        "cloze_accuracy": quality.cloze(model, human, items=CLOZE_ITEMS).accuracy,
    }
