"""What the mark costs readers and students, as rows: measure, value with its interval, and what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distill_sim import quality
from distill_sim.corpus import CorpusRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEXT_TOKENS = 2000  # at most, for perplexity and repetition
HUMAN_TEXTS, CLOZE_ITEMS = 24, 40
WRITTEN = "written_"  # begins the measures of what a student wrote

Row = dict[str, Any]


def costs_of_text(
    teacher: PreTrainedModel,
    text: Sequence[CorpusRow],
    unmarked: Sequence[CorpusRow] | None,
    unmarked_again: Sequence[CorpusRow] | None,
) -> list[Row]:
    """Of what a student is given, beside what the unmarked teacher answered to the same prompts.

    Args:
        unmarked: None: the text is that itself.
        unmarked_again: the same drawn once more: how well a classifier tells two unmarked texts apart is what its AUC
            is compared with; None: no classifier tries.
    """
    rows = _compared(style(teacher, text), None if unmarked is None else style(teacher, unmarked))
    if unmarked is not None and unmarked_again is not None:
        from distill_sim.blind import blind

        found, other = blind(text, unmarked), blind(unmarked_again, unmarked)
        rows += _compared([_row("auc", found.auc, found.ci95)], [_row("auc", other.auc)])
    return rows


def costs_of_writing(teacher: PreTrainedModel, wrote: Sequence[CorpusRow], started: Sequence[CorpusRow]) -> list[Row]:
    """Of what a student wrote, as it is after all that was done to it, beside what the reference of its reading did."""
    rows = _compared(style(teacher, wrote), style(teacher, started))
    return [{**row, "measure": WRITTEN + row["measure"]} for row in rows]


def costs_of_student(student: PreTrainedModel, human: Sequence[CorpusRow], started: Sequence[Row]) -> list[Row]:
    """`ability` of the student, beside that of the model it started from."""
    return _compared(ability(student, human), started)


def ability(model: PreTrainedModel, human: Sequence[CorpusRow]) -> list[Row]:
    """How well a model predicts what people write, and picks how their texts go on."""
    picked = quality.cloze(model, human, items=CLOZE_ITEMS)
    return [
        _row("held_out_nats", quality.held_out_loss(model, human[:HUMAN_TEXTS]).nats_per_token),
        _row("cloze_accuracy", picked.accuracy, picked.ci95),
    ]


def style(teacher: PreTrainedModel, text: Sequence[CorpusRow]) -> list[Row]:
    """How a text reads: to the unmarked teacher, and in itself. A measure that needs longer answers is left out."""
    from distill_sim.fluency import fluency

    rows = [_row("tokens_per_answer", quality.length(text).mean)]
    longest = max(len(row.token_ids) for row in text)
    if longest > 0:
        rows.append(_row("perplexity", fluency(teacher, text, max_tokens=TEXT_TOKENS).perplexity))
    if longest >= quality.REPEATED_GRAM:
        found = quality.repetition(text, max_tokens=TEXT_TOKENS)
        rows += [_row("repetition", found.seq_rep_4), _row("distinct_2", found.distinct_2)]
    return rows


def _row(measure: str, value: float, ci95: tuple[float, float] | None = None) -> Row:
    low, high = (None, None) if ci95 is None else ci95
    return {"measure": measure, "value": value, "low": low, "high": high}


def _compared(rows: Sequence[Row], others: Sequence[Row] | None) -> list[Row]:
    """Each row with the value of the same measure elsewhere as `unmarked`."""
    values = {} if others is None else {row["measure"]: row["value"] for row in others}
    return [{**row, "unmarked": values.get(row["measure"])} for row in rows]
