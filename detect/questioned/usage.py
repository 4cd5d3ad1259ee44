"""How much a context counts: as much as a student can have learnt about it.

A student has learnt most about contexts and tokens that were frequent in its training, so their weights are scaled:

    a(c, v) = √f_c · n_c^−½ · u_v^⅛ · Σ D(v)       readings: what the n positions of a context say is much the same
    a(c, v) = √f_c · n_c^−¼ · u_v^¼ · (n − e)      answers against a reference, drawn or listed

with f_c and u_v how often the context c and the token v occur in unmarked text of the teacher, plus one half. Without
such text f_c is what the reference itself would say on average over the positions read: its mean probability of the
token that the context consists of (width 1; else f = 1), and u = 1. No key comes in. Figures, and what else was tried:
ADR 0005 and 0012.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from watermark.windows import Document, Table, WindowRule


class Exponents(NamedTuple):
    """Of how often a context is used, of its positions n, and of how often a token is used."""

    contexts: float
    positions: float
    tokens: float


READINGS, ANSWERS = Exponents(0.5, -0.5, 0.125), Exponents(0.5, -0.25, 0.25)
_FLOOR = 3e-4  # added to the mean probability of a token: about once in the few thousand a small corpus holds


@dataclass(frozen=True)
class Usage:
    """How often contexts and tokens are used; only ratios matter.

    Attributes:
        contexts: float64 [C], above 0.
        tokens: float64 [V], above 0.
    """

    contexts: NDArray[np.float64]
    tokens: NDArray[np.float64]

    @classmethod
    def counted(cls, corpus: Sequence[Document], contexts: Table, rule: WindowRule, vocab_size: int) -> Usage:
        """In unmarked text.

        Args:
            corpus: token ids of each document.
            contexts: uint32 [C, h].
        """
        ids = np.concatenate([np.zeros(0, dtype=np.int64), *(np.asarray(one, dtype=np.int64) for one in corpus)])
        counts = np.bincount(ids[ids < vocab_size], minlength=vocab_size).astype(np.float64)
        return cls(context_counts(corpus, contexts, rule) + 0.5, counts + 0.5)

    @classmethod
    def expected(cls, mean_prediction: NDArray[np.float64], contexts: Table) -> Usage:
        """As the reference expects it.

        Args:
            mean_prediction: float64 [V], the mean of its predictions.
            contexts: uint32 [C, h].
        """
        of_contexts: NDArray[np.float64] = np.ones(len(contexts))
        if contexts.shape[1] == 1:
            of_contexts = np.asarray(mean_prediction[contexts[:, 0].astype(np.int64)] + _FLOOR, dtype=np.float64)
        return cls(of_contexts, np.ones_like(mean_prediction))

    @classmethod
    def of(
        cls,
        corpus: Sequence[Document] | None,
        mean_prediction: NDArray[np.float64],
        contexts: Table,
        rule: WindowRule,
    ) -> Usage:
        """Counted where there is a corpus, else as the reference expects it."""
        if corpus is None:
            return cls.expected(mean_prediction, contexts)
        return cls.counted(corpus, contexts, rule, len(mean_prediction))

    def scale(self, table: Tensor, positions: NDArray[np.float64], by: Exponents) -> None:
        """Scale sums over positions, float32 [C, V], in place; positions: float64 [C], n of each context, 1 or more."""
        table *= from_numpy(self.contexts**by.contexts * positions**by.positions).to(table)[:, None]
        table *= from_numpy(self.tokens**by.tokens).to(table)


def context_counts(corpus: Sequence[Document], contexts: Table, rule: WindowRule) -> NDArray[np.float64]:
    """How often each of the contexts, uint32 [C, h], occurs in the corpus: float64 [C]."""
    if not len(contexts):
        return np.zeros(0)
    there = np.concatenate([contexts[:0], *(rule.contexts(document)[0] for document in corpus)])
    asked, found = np.zeros(len(contexts), dtype=np.uint64), np.zeros(len(there), dtype=np.uint64)
    for column in range(contexts.shape[1]):  # both sides as ranks among what is asked; what cannot be that is dropped
        known, ranks = np.unique((asked << np.uint64(32)) | contexts[:, column], return_inverse=True)
        wider = (found << np.uint64(32)) | there[:, column]
        places = np.searchsorted(known, wider)
        here = known.take(places, mode="clip") == wider
        asked, found, there = ranks.astype(np.uint64), places[here].astype(np.uint64), there[here]
    return np.bincount(found.astype(np.intp), minlength=len(contexts))[asked.astype(np.intp)].astype(np.float64)
