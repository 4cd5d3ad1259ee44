"""`--frequencies`: unmarked answers of the teacher, in which contexts and tokens are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detect.plans.parts import PlannedProbes
    from detect.readers import Row
    from watermark.keys import Key
    from watermark.windows import Document


@dataclass(frozen=True)
class Frequencies:
    """The texts to count in.

    Attributes:
        documents: token ids of each.
        identity: of the rows they came as, in the form in which a plan identifies probes.
    """

    documents: Sequence[Document] = field(repr=False)
    identity: PlannedProbes

    @classmethod
    def of(cls, rows: Sequence[Row] | None, key: Key, tokenizer: Any) -> Frequencies | None:
        """None where there are no rows.

        Args:
            rows: read once, so that what was checked against a plan is what is used.
            tokenizer: the key's.

        Raises:
            InputError: they hold nothing to count, or carry the key's mark: the weights would depend on the key.
        """
        from detect.plans.parts import PlannedProbes
        from detect.readers import tokenized

        if rows is None:
            return None
        documents = tokenized(rows, key.context_width, lambda: tokenizer, vocab_size=len(tokenizer)).documents
        _refuse_marked(key, documents)
        return cls(documents, PlannedProbes.of(rows))

    @property
    def words(self) -> str:
        """For people."""
        return self.identity.words


def scaled_by(frequencies: Frequencies | None) -> str:
    """What the weights of an observation were scaled by, to be added to the words on its reference."""
    by = "what the reference expects" if frequencies is None else f"their frequency in {frequencies.words}"
    return f"; contexts scaled by {by} (ADR 0005)"


def _refuse_marked(key: Key, documents: Sequence[Document]) -> None:
    from detect.audit import SUSPECT, FedAudit
    from detect.counting import window_rule
    from detect.fed import Probe, ProbePairs
    from watermark.errors import InputError
    from watermark.greenlist import GreenList

    read = ProbePairs.of(window_rule(key), [Probe((), document) for document in documents])
    found = FedAudit(read).under(GreenList(key))
    if found <= SUSPECT:
        raise InputError(
            f"--frequencies holds text that carries the key's mark, or avoids it (log10 p {found:.1f}), so what is "
            "made of it would depend on the key; give unmarked answers of the teacher"
        )
