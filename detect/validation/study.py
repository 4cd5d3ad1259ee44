"""What a validation study is, before anything is scored: the mark's parameters, the keys, the lengths, the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detect.validation.nulls import NullRow, prepare
from detect.validation.populations import Population, cut
from watermark.keys.parameters import Parameters
from watermark.windows import WindowRule

KEYS = 10_000
LENGTHS = (25, 50, 100, 200, 400, 1600)  # tokens


@dataclass(frozen=True)
class Design:
    """What all rows of a study share.

    Attributes:
        parameters: of the mark; δ has no part in a null.
        seed: 32 bytes, public: all keys are derived from it.
        keys: fresh keys for each row.
        lengths: of the texts, tokens, rising.
    """

    parameters: Parameters
    seed: bytes
    keys: int = KEYS
    lengths: tuple[int, ...] = LENGTHS

    @property
    def rule(self) -> WindowRule:
        """How texts become pairs."""
        tokenizer = self.parameters.tokenizer
        return WindowRule(self.parameters.context_width, tokenizer.special_ids if tokenizer else ())

    @property
    def gamma(self) -> float:
        return self.parameters.gamma_65536 / 65536

    def describe(self) -> dict[str, Any]:
        """JSON-ready."""
        tokenizer = self.parameters.tokenizer
        return {
            "seed": self.seed.hex(),
            "keys": self.keys,
            "lengths": list(self.lengths),
            "mark": {
                "scheme": self.parameters.scheme,
                "gamma_65536": self.parameters.gamma_65536,
                "context_width": self.parameters.context_width,
                "tokenizer_sha256": tokenizer.sha256 if tokenizer else None,
                "special_ids_digest": tokenizer.special_ids_digest if tokenizer else None,
            },
        }


def null_rows(design: Design, populations: Sequence[Population]) -> tuple[list[NullRow], list[str]]:
    """A row for each population and length, and what is left out, as there is too little text for it.

    Where there are more texts than keys, the first are taken.
    """
    rows, left_out = [], []
    for population in populations:
        for length in design.lengths:
            texts = cut(population.documents, length)[: design.keys]
            if texts:
                prepared = prepare(design.rule, texts, population.prompts)
                rows.append(NullRow(population.name, length, tuple(prepared), design.keys))
            else:
                left_out.append(f"{population.name} at {length:,} tokens: {population.n_tokens:,} in all are too few")
    return rows, left_out
