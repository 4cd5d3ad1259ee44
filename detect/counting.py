"""What was counted, apart from what it means: `tally` counts documents, `weigh` colours weights; `assess` judges.

Every test is a set of distinct (context, token) pairs with key-independent weights a and the statistic
S = Σ a·(green − γ). Counting distinct pairs is the case where every weight is 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from detect.audit import ExcludedAudit, FedAudit, two_sided_bounds
from detect.exact.binomial import log10_sf
from detect.exact.weighted import statistic
from detect.fed import Excluded, ProbePairs
from detect.observation import ContextMass, Excess, Expectation, Reading, Weighted
from detect.wording import amount
from watermark.greenlist import GreenList
from watermark.keys import SCHEME
from watermark.windows import Document, Extraction, Pairs, Reason, WindowRule

TestName = Literal["text", "sampled", "reading"]


class ScoredMark(Protocol):
    """What counting needs of a key: a `Key` has it, and so has an opened mark."""

    @property
    def key_id(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def chacha_key(self) -> bytes: ...
    @property
    def gamma_65536(self) -> int: ...
    @property
    def gamma(self) -> float: ...
    @property
    def context_width(self) -> int: ...
    @property
    def special_ids(self) -> tuple[int, ...]: ...
    def special_ids_note(self, *, verified: bool) -> str: ...


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
        probes_log10_p: of the audit of what a questioned model was fed (`detect.audit`); None: nothing was.
        reference_log10_p: of the audit of the reference it is compared with; None: it was not audited.
        excluded: what was observed but occurs in a prompt; None: it was not kept.
    """

    test: TestName
    key_id: str
    scheme: str
    green: GreenList = field(repr=False)
    n_tokens: int
    pairs: Pairs = field(repr=False)
    notes: tuple[str, ...]
    probes_log10_p: float | None = field(default=None, kw_only=True)
    reference_log10_p: float | None = field(default=None, kw_only=True)
    excluded: Excluded | None = field(default=None, kw_only=True, repr=False)

    @property
    def n_contexts(self) -> int:
        """Distinct contexts of the pairs that count."""
        return self.pairs.n_contexts

    @property
    def n_excluded(self) -> int:
        """Distinct pairs that were left out, as far as they were kept."""
        return 0 if self.excluded is None else len(self.excluded.pairs)

    @cached_property
    def excluded_log10_p(self) -> float | None:
        """Of the audit of what was left out (Null: see `ExcludedAudit`); None: nothing was, or it was not kept."""
        if self.excluded is None or not self.n_excluded:
            return None
        return ExcludedAudit(self.excluded).under(self.green)

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
        comparisons: by name, what published tests make of the same observation.
    """

    weights: NDArray[np.float64] = field(repr=False)
    statistic: float
    comparisons: Mapping[str, Comparison]


@dataclass(frozen=True)
class CountComparison:
    """Distinct pairs, counted."""

    n_scored: int
    n_green: int
    gamma: float

    @property
    def log10_p(self) -> float:
        """Null: colours do not depend on the text (i.i.d. Bernoulli(γ)). Exact, one-sided (upper)."""
        return log10_sf(self.n_green, self.n_scored, self.gamma)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"n_scored": self.n_scored, "n_green": self.n_green, "log10_p": self.log10_p}


@dataclass(frozen=True)
class MassComparison:
    """Mean probability that falls on green tokens, over distinct contexts, each by the mean of its positions.

    Probability beyond the tokens followed, of special tokens and of pairs that occur in a prompt counts as γ of itself,
    whatever the key. ADFP (Xu et al. 2026, arXiv 2602.03812) has the same bound, but one position of each context, and
    special tokens are red; that form is in `benchmarks.green_mass`, with what was checked of theirs.
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

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"n_contexts": self.n_contexts, "mean": self.mean, "log10_p": self.log10_p}


Comparison = CountComparison | MassComparison


def window_rule(key: ScoredMark) -> WindowRule:
    """The rule for pairs under `key`; holds nothing secret."""
    return WindowRule(key.context_width, key.special_ids)


def tally(
    key: ScoredMark,
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
    probes_log10_p = None
    if test == "sampled":
        probes_log10_p = FedAudit(ProbePairs.of_prompts(window_rule(key), prompts)).under(green)
    return CountTally(
        test=test,
        key_id=key.key_id,
        scheme=SCHEME,
        green=green,
        n_tokens=extraction.n_tokens,
        pairs=extraction.pairs,
        notes=(_account(extraction), key.special_ids_note(verified=tokenizer_checked)),
        n_green=_count_green(green, extraction.pairs),
        probes_log10_p=probes_log10_p,
        excluded=Excluded(extraction.excluded),
    )


def weigh(key: ScoredMark, observed: Reading | Excess, *, tokenizer_checked: bool = False) -> WeightTally:
    """Colour a model's reading, or the excess of its answers: S, and the comparison tests of the literature.

    Args:
        tokenizer_checked: as in `tally`.
    """
    green = GreenList(key)
    test, n_tokens, note, comparisons = (
        _read(green, observed) if isinstance(observed, Reading) else _answered(green, observed)
    )
    pairs, weights, expected = observed.pairs, observed.weights, observed.expectation
    return WeightTally(
        test=test,
        key_id=key.key_id,
        scheme=SCHEME,
        green=green,
        n_tokens=n_tokens,
        pairs=pairs,
        notes=(note, key.special_ids_note(verified=tokenizer_checked)),
        weights=weights,
        statistic=statistic(green.is_green(pairs.contexts, pairs.tokens), weights, green.gamma),
        comparisons=comparisons,
        probes_log10_p=FedAudit(observed.probes).under(green),
        reference_log10_p=None if expected is None else reference_log10_p(green, expected),
        excluded=observed.excluded,
    )


_Kind = tuple[TestName, int, str, dict[str, Comparison]]  # test, n_tokens, note, comparisons


def _read(green: GreenList, observed: Reading) -> _Kind:
    """The argmax reading with deduplication (Sander et al. 2024, arXiv 2402.14904), and the green mass, beside."""
    read = f"{amount(observed.n_positions, 'position')} of {amount(observed.pairs.n_contexts, 'context')} read"
    note = f"{read} {_against(observed)}"
    beside: dict[str, Comparison] = {
        "argmax": _counted(green, observed.argmax),
        "green_mass": _mass(green, observed.mass),
    }
    return "reading", observed.n_positions, note, beside


def _answered(green: GreenList, observed: Excess) -> _Kind:
    """The plain count of the answers' distinct pairs, beside."""
    note = (
        f"answers weighed {_against(observed)}, at {observed.n_positions:,} of their "
        f"{amount(observed.n_tokens, 'token')}, {amount(observed.pairs.n_contexts, 'context')}"
    )
    if observed.n_listed:
        share = observed.n_listed / observed.n_positions
        note += f"; the server gave log-probabilities at {share:.1%} of these"
    return "sampled", observed.n_tokens, note, {"distinct_pairs": _counted(green, observed.distinct)}


def _against(observed: Weighted) -> str:
    if not observed.with_reference:
        return "without a reference model (valid, but weak)"
    audited = "" if observed.expectation is not None else " that was not audited under the key"
    return f"against a reference model{audited}"


def _count_green(green: GreenList, pairs: Pairs) -> int:
    return int(np.count_nonzero(green.is_green(pairs.contexts, pairs.tokens)))


def reference_log10_p(green: GreenList, expected: Expectation) -> float:
    """Null: neither the reference nor the text it was compared with depends on the key. Valid bound, two-sided."""
    colours = green.is_green(expected.pairs.contexts, expected.pairs.tokens)
    found = statistic(colours, expected.weights, green.gamma)
    return float(two_sided_bounds(expected.weights, [found], green.gamma)[0])


def _counted(green: GreenList, pairs: Pairs) -> CountComparison:
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
    parts = [f"{amount(sum(tokens.values()), 'token')} in {of}"]
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
    return account(tokens, amount(extraction.n_documents, "document"))
