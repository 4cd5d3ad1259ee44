"""What a questioned model is fed: probes and their pairs; and what is left out for it. The audits look at both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.arrays import Arrays, checked, pairs_arrays, pairs_from
from watermark.windows import Document, Pairs, WindowRule


@dataclass(frozen=True)
class Probe:
    """A text that a questioned model reads, or a prompt it is asked.

    Attributes:
        prompt_ids: token ids of the prompt, as the model sees it (chat template included); may be empty.
        answer_ids: token ids of the answer; only positions whose whole context lies in it are read.
    """

    prompt_ids: Document
    answer_ids: Document


def documents_digest(documents: Iterable[Document]) -> str:
    """SHA-256, hex, of token ids: of each document its length, then its ids, all little-endian uint32."""
    digest = hashlib.sha256()
    for ids in documents:
        digest.update(np.array([len(ids), *map(int, ids)], dtype="<u4").tobytes())
    return digest.hexdigest()


def probes_digest(probes: Sequence[Probe]) -> str:
    """`documents_digest` of what a model is fed: of each probe the prompt, then the answer."""
    return documents_digest(ids for probe in probes for ids in (probe.prompt_ids, probe.answer_ids))


@dataclass(frozen=True)
class Excluded:
    """What was observed and would have counted, but occurs in a prompt.

    Attributes:
        pairs: distinct.
        weights: float64 [len(pairs)], those they would have had, none zero; None: pairs are counted.
    """

    pairs: Pairs
    weights: NDArray[np.float64] | None = None

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Of weighted ones."""
        assert self.weights is not None
        return {**pairs_arrays(self.pairs, "excluded_"), "excluded_weights": self.weights}

    @classmethod
    def from_arrays(cls, arrays: Arrays, context_width: int) -> Excluded | None:
        """What `to_arrays` gave, or None if nothing is there; ValueError if it does not belong together."""
        if "excluded_weights" not in arrays:
            return None
        pairs = pairs_from(arrays, context_width, "excluded_")
        return cls(pairs, checked(arrays, "excluded_weights", "float64", (len(pairs),)))


@dataclass(frozen=True)
class ProbePairs:
    """Every distinct pair of the probes, none excluded, and where each occurs. A prompt and its answer are two texts.

    Attributes:
        pairs: of prompts and answers together, N of them.
        times: int64 [N], how often each occurs.
        in_prompts: bool [N], the pair occurs in a prompt.
        in_answers: bool [N], the pair occurs in an answer.
        texts: int64 [M], the number of a text, in order; M: its distinct pairs, summed over the texts.
        members: int64 [M], which of the N pairs occurs there.
    """

    pairs: Pairs
    times: NDArray[np.int64]
    in_prompts: NDArray[np.bool_]
    in_answers: NDArray[np.bool_]
    texts: NDArray[np.int64]
    members: NDArray[np.int64]

    @classmethod
    def of(cls, rule: WindowRule, probes: Sequence[Probe]) -> ProbePairs:
        found = rule.occurrences([*(probe.prompt_ids for probe in probes), *(probe.answer_ids for probe in probes)])
        in_prompt = found.documents < len(probes)
        size = len(found.pairs)
        inside = np.unique(np.column_stack((found.documents, found.numbers)).astype(np.int64), axis=0)
        return cls(
            pairs=found.pairs,
            times=np.bincount(found.numbers, minlength=size).astype(np.int64),
            in_prompts=np.bincount(found.numbers[in_prompt], minlength=size) > 0,
            in_answers=np.bincount(found.numbers[~in_prompt], minlength=size) > 0,
            texts=inside[:, 0],
            members=inside[:, 1],
        )

    @classmethod
    def of_prompts(cls, rule: WindowRule, prompts: Sequence[Document]) -> ProbePairs:
        """Where nothing but prompts was fed."""
        return cls.of(rule, [Probe(prompt, ()) for prompt in prompts])

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        own = ("times", "in_prompts", "in_answers", "texts", "members")
        return {**pairs_arrays(self.pairs, "probe_"), **{f"probe_{name}": getattr(self, name) for name in own}}

    @classmethod
    def from_arrays(cls, arrays: Arrays, context_width: int) -> ProbePairs:
        """What `to_arrays` gave; ValueError if they don't belong together."""
        pairs = pairs_from(arrays, context_width, "probe_")
        size, (inside,) = len(pairs), arrays["probe_members"].shape
        found = cls(
            pairs,
            checked(arrays, "probe_times", "int64", (size,)),
            *(checked(arrays, f"probe_in_{part}", "bool", (size,)) for part in ("prompts", "answers")),
            *(checked(arrays, f"probe_{name}", "int64", (inside,)) for name in ("texts", "members")),
        )
        if inside and not (found.members.min() >= 0 and found.members.max() < size and found.texts.min() >= 0):
            raise ValueError("probe_members")
        steps = np.diff(found.texts * (size + 1) + found.members)
        if (steps <= 0).any() or not np.isin(np.arange(size), found.members).all() or (found.times < 1).any():
            raise ValueError("probe_texts")
        return found
