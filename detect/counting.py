"""What was counted, apart from what it means: `tally` counts documents, `weigh` a model's reading; `assess` judges.

Every test is a set of distinct (context, token) pairs with key-independent weights a and the statistic
S = Σ a·(green − γ). Counting distinct pairs is the case where every weight is 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detect.exact.binomial import log10_cdf, log10_sf
from detect.observation import ContextMass, ProbePairs, Reading
from watermark.greenlist import GreenList
from watermark.keys import SCHEME, Key
from watermark.windows import Document, Extraction, Pairs, Reason, WindowRule

TestName = Literal["text", "sampled", "reading"]


@dataclass(frozen=True)
class Tally:
    """What was counted under one mark; the fields every test has in common.

    Attributes:
        test: which test the observation was made for.
        key_id: 64 hex digits.
        green: the mark's colours (repr shows no key).
        n_tokens: tokens looked at; for `reading` the positions.
        pairs: the distinct pairs that count.
        notes: what people must know about the counting.
        probes_log10_p: the two-sided text test of what a questioned model was fed, nothing excluded; the smallest where
            prompts and answers are tested apart. None: nothing was fed. It may withdraw a claim, and never makes one.
    """

    test: TestName
    key_id: str
    scheme: str
    green: GreenList = field(repr=False)
    n_tokens: int
    pairs: Pairs = field(repr=False)
    notes: tuple[str, ...]
    probes_log10_p: float | None = field(default=None, kw_only=True)

    @property
    def n_scored(self) -> int:
        return len(self.pairs)


@dataclass(frozen=True)
class CountTally(Tally):
    """Distinct pairs, and how many of them are green."""

    n_green: int


@dataclass(frozen=True)
class WeightTally(Tally):
    """Weighted pairs.

    Attributes:
        weights: float64 [n_scored], none zero.
        statistic: S = Σ a·(green − γ).
        argmax: the argmax reading with deduplication, for comparison.
        mass: the green mass of the distinct contexts, for comparison.
    """

    weights: NDArray[np.float64] = field(repr=False)
    statistic: float
    argmax: CountComparison
    mass: MassComparison


@dataclass(frozen=True)
class CountComparison:
    """Argmax reading with deduplication: distinct (context, likeliest token) pairs, counted.

    Source: Sander et al. 2024 (arXiv 2402.14904).
    """

    n_scored: int
    n_green: int
    gamma: float

    @property
    def log10_p(self) -> float:
        """Null: colours do not depend on the text (i.i.d. Bernoulli(γ)). Exact, one-sided (upper)."""
        return log10_sf(self.n_green, self.n_scored, self.gamma)


@dataclass(frozen=True)
class MassComparison:
    """Mean probability that falls on green tokens, over distinct contexts.

    Probability beyond the tokens followed counts as γ of itself, whatever the key.
    """

    n_contexts: int
    mean: float
    gamma: float

    @property
    def log10_p(self) -> float:
        """Hoeffding's bound exp(−2 C (mean − γ)²).

        Null: colours do not depend on the model; the rows of distinct contexts are independent. Valid bound,
        one-sided (upper).
        """
        excess = max(0.0, self.mean - self.gamma)
        return -2 * self.n_contexts * excess**2 / float(np.log(10)) + 0.0


def window_rule(key: Key) -> WindowRule:
    """The rule for pairs under `key`; holds nothing secret."""
    return WindowRule(key.context_width, key.special_ids)


def tally(
    key: Key,
    documents: Iterable[Document],
    exclude: Iterable[Document] = (),
    *,
    test: TestName = "text",
    tokenizer_checked: bool = False,
) -> CountTally:
    """Count the distinct pairs of a collection of documents, and the green among them.

    Args:
        documents: token ids of each document.
        exclude: token ids of prompts: their pairs count nowhere.
        test: "text", or "sampled" when the documents are a questioned model's answers to these prompts.
        tokenizer_checked: whether the tokenizer was at hand and `key.check_tokenizer` accepted it; goes into the notes.
    """
    prompts = list(exclude)
    extraction = window_rule(key).extract(documents, prompts)
    green = GreenList(key)
    fed = window_rule(key).extract(prompts).pairs if test == "sampled" else None
    return CountTally(
        test=test,
        key_id=key.key_id,
        scheme=SCHEME,
        green=green,
        n_tokens=extraction.n_tokens,
        pairs=extraction.pairs,
        notes=(_account(extraction), key.special_ids_note(verified=tokenizer_checked)),
        n_green=_count_green(green, extraction.pairs),
        probes_log10_p=None if fed is None else fed_log10_p(green, fed),
    )


def weigh(key: Key, reading: Reading, *, tokenizer_checked: bool = False) -> WeightTally:
    """Colour a model's reading: S, and the two comparison tests of the literature.

    Args:
        tokenizer_checked: as in `tally`.
    """
    green = GreenList(key)
    kind = "against a reference model" if reading.with_reference else "without a reference model (valid, but weak)"
    return WeightTally(
        test="reading",
        key_id=key.key_id,
        scheme=SCHEME,
        green=green,
        n_tokens=reading.n_positions,
        pairs=reading.pairs,
        notes=(
            f"{reading.n_positions} positions of {reading.pairs.n_contexts} contexts read {kind}",
            key.special_ids_note(verified=tokenizer_checked),
        ),
        weights=reading.weights,
        statistic=statistic(green.is_green(reading.pairs.contexts, reading.pairs.tokens), reading.weights, green.gamma),
        argmax=_argmax(green, reading.argmax),
        mass=_mass(green, reading.mass),
        probes_log10_p=_probes_log10_p(green, reading.probes),
    )


def statistic(colours: NDArray[np.bool_], weights: NDArray[np.float64], gamma: float) -> float:
    """S = Σ a·(green − γ); colours bool [N], weights float64 [N]."""
    return float(weights[colours].sum() - gamma * weights.sum())


def _count_green(green: GreenList, pairs: Pairs) -> int:
    return int(np.count_nonzero(green.is_green(pairs.contexts, pairs.tokens)))


def _probes_log10_p(green: GreenList, probes: ProbePairs) -> float:
    """The smallest log10 p of the probes' parts."""
    colours = green.is_green(probes.pairs.contexts, probes.pairs.tokens)
    return min(two_sided_log10_p(int(colours[part].sum()), int(part.sum()), green.gamma) for part in probes.parts)


def fed_log10_p(green: GreenList, fed: Pairs) -> float:
    """Of the prompts alone, where nothing else was fed; see `two_sided_log10_p`."""
    return two_sided_log10_p(_count_green(green, fed), len(fed), green.gamma)


def two_sided_log10_p(k: int, n: int, gamma: float) -> float:
    """log10 of twice the smaller tail, at most 0: probes that avoid the mark mislead a reading as those that carry it.

    Null: the probes' colours are i.i.d. Bernoulli(gamma). Exact tails, so valid, two-sided.
    """
    return min(0.0, min(log10_sf(k, n, gamma), log10_cdf(k, n, gamma)) + float(np.log10(2)))


def _argmax(green: GreenList, pairs: Pairs) -> CountComparison:
    return CountComparison(len(pairs), _count_green(green, pairs), green.gamma)


def _mass(green: GreenList, mass: ContextMass) -> MassComparison:
    count, followed = mass.tokens.shape
    contexts = np.repeat(mass.contexts, followed, axis=0)
    colours = green.is_green(contexts, mass.tokens.reshape(-1)).reshape(count, followed)
    probabilities = mass.probabilities.astype(np.float64)
    rest = np.maximum(0.0, 1.0 - probabilities.sum(axis=1))
    per_context = (probabilities * colours).sum(axis=1) + green.gamma * rest
    return MassComparison(count, float(per_context.mean()), green.gamma)


ACCOUNT_WORDS = (
    (Reason.COUNTED, "counted"),
    (Reason.REPEATED, "repeat a counted pair"),
    (Reason.IN_PROMPT, "occur in a prompt"),
    (Reason.SPECIAL, "touch a special token"),
    (Reason.NO_CONTEXT, "have no full context"),
)


def account(tokens: Mapping[Reason, int], of: str) -> str:
    """Where the tokens went, in one line that adds up.

    Args:
        tokens: how many met which reason.
        of: what they stand in, such as "3 documents".
    """
    parts = [f"{sum(tokens.values())} tokens in {of}"]
    for reason, words in ACCOUNT_WORDS:
        if tokens[reason] or reason == Reason.COUNTED:
            parts.append(f"{tokens[reason]} {words}")
    return ", ".join(parts)


def _account(extraction: Extraction) -> str:
    tokens = {
        Reason.COUNTED: len(extraction.pairs),
        Reason.REPEATED: extraction.repeated,
        Reason.IN_PROMPT: extraction.in_prompt,
        Reason.SPECIAL: extraction.special,
        Reason.NO_CONTEXT: extraction.no_context,
    }
    return account(tokens, f"{extraction.n_documents} documents")
