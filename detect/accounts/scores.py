"""One observation, coloured under the keys of thousands of accounts: statistics and p-values, nothing judged yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.accounts.candidates import Candidate
from detect.audit import SUSPECT, ExcludedAudit, FedAudit, two_sided_bounds
from detect.colouring import counts_under_every_key, under_every_key
from detect.counting import TestName, tally, weigh, window_rule
from detect.exact.binomial import log10_sf
from detect.exact.weighted import CumulantFunction, TailCurve, statistic
from detect.fed import Excluded, ProbePairs
from detect.observation import Excess, Expectation, Reading, Weighted
from watermark.errors import InputError
from watermark.greenlist import GreenList
from watermark.keys import Key
from watermark.windows import Document, Pairs

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Observation:
    """What was observed, before any account's key comes in; a group of candidates is scored on it.

    Attributes:
        n_tokens: tokens looked at; for `reading` the positions.
        pairs: the distinct pairs that count.
        weights: float64 [len(pairs)] for a reading or an excess, None where pairs are counted.
        fed: what a questioned model was fed: nothing is claimed under a key that marked it. None: nothing was fed.
        expectation: of the reference a model was compared with: nor under a key that it depends on.
        excluded: what was observed but occurs in a prompt: nor where that is redder than chance allows. None: nothing
            was, or it was not kept.
        notes: what people must know about the counting.
    """

    test: TestName
    n_tokens: int
    pairs: Pairs = field(repr=False)
    weights: Floats | None = field(repr=False)
    fed: ProbePairs | None = field(repr=False)
    expectation: Expectation | None = field(repr=False)
    notes: tuple[str, ...]
    excluded: Excluded | None = field(default=None, repr=False)

    @classmethod
    def of_documents(
        cls,
        key: Key,
        documents: Iterable[Document],
        prompts: Iterable[Document] = (),
        *,
        test: TestName = "text",
        tokenizer_checked: bool = False,
        notes: Sequence[str] = (),
    ) -> Observation:
        """Distinct pairs by the rule of `key`; test "sampled" when the documents are a questioned model's answers."""
        prompts = list(prompts)
        counted = tally(key, documents, prompts, tokenizer_checked=tokenizer_checked)
        fed = ProbePairs.of_prompts(window_rule(key), prompts) if test == "sampled" else None
        told = (*counted.notes, *notes)
        return cls(test, counted.n_tokens, counted.pairs, None, fed, None, told, counted.excluded)

    @classmethod
    def of_weighted(cls, key: Key, observed: Reading | Excess, notes: Sequence[str] = ()) -> Observation:
        """A saved reading, or the saved excess of answers, for keys with the rule of `key`.

        Raises:
            InputError: it was made by another rule.
        """
        _refuse_other_rule(key, observed)
        found = weigh(key, observed)
        told = (*found.notes, *notes)
        fed, expectation = observed.probes, observed.expectation
        return cls(found.test, found.n_tokens, found.pairs, found.weights, fed, expectation, told, observed.excluded)


@dataclass(frozen=True)
class Group:
    """Candidates with one rule for pairs, and what was observed by it."""

    candidates: Sequence[Candidate]
    observation: Observation


@dataclass(frozen=True)
class Scores:
    """Of every candidate of a group, in their order.

    Attributes:
        statistic: green pairs, or S: float64 [A].
        log10_p: this key alone: float64 [A].
        withdrawn: what the model was fed, or the reference, carries the key's mark, or avoids it; or what was left out
            does: bool [A].
    """

    statistic: Floats
    log10_p: Floats
    withdrawn: Bools


def score(group: Group, on_key: Callable[[int], None] | None = None) -> Scores:
    """Colour the group's pairs under every key.

    Null of each p: what was observed does not depend on that key. Exact for counts, a valid bound for weights (within
    1e-5 of the best one); one-sided (upper).

    Args:
        group: at least one candidate.
        on_key: called with how many keys were just scored.
    """
    seen, keys = group.observation, [candidate.key for candidate in group.candidates]
    gammas = np.array([key.gamma for key in keys])

    def under(pairs: Pairs, measure: Callable[[Bools, float], Any], on_key: Callable[[int], None] | None) -> Floats:
        return under_every_key(pairs, len(keys), lambda index: GreenList(keys[index]), measure, on_key)

    values = _statistics(seen, keys, on_key)
    marked = np.zeros(values.size, dtype=np.bool_)
    if seen.fed is not None:
        audit = FedAudit(seen.fed)
        measured = under(seen.fed.pairs, audit.measure, None).reshape(values.size, -1)
        marked |= _by_gamma(measured, gammas, audit.log10_p) <= SUSPECT
    if seen.expectation is not None:
        weights = seen.expectation.weights
        sums = under(seen.expectation.pairs, lambda colours, gamma: statistic(colours, weights, gamma), None)
        marked |= _by_gamma(sums, gammas, lambda some, gamma: two_sided_bounds(weights, some, gamma)) <= SUSPECT
    if seen.excluded is not None and len(seen.excluded.pairs):
        left_out = ExcludedAudit(seen.excluded)
        marked |= _by_gamma(under(left_out.pairs, left_out.measure, None), gammas, left_out.log10_p) <= SUSPECT
    return Scores(values, _tails(values, gammas, seen), marked)


def _statistics(seen: Observation, keys: Sequence[Key], on_key: Callable[[int], None] | None) -> Floats:
    """How many pairs are green, or S, under each key: float64 [A]."""
    weights = seen.weights

    def green_list(index: int) -> GreenList:
        return GreenList(keys[index])

    if weights is None:
        return counts_under_every_key(seen.pairs, len(keys), green_list, on_key).astype(np.float64)
    return under_every_key(
        seen.pairs, len(keys), green_list, lambda colours, gamma: statistic(colours, weights, gamma), on_key
    )


def _by_gamma(measured: Floats, gammas: Floats, tail: Callable[[Floats, float], Floats]) -> Floats:
    """`tail` of the rows of keys with the same gamma: float64 [A, …] → float64 [A]."""
    log10_p = np.empty(gammas.size)
    for gamma in np.unique(gammas):
        here = gammas == gamma
        log10_p[here] = tail(measured[here], float(gamma))
    return log10_p


def _tails(values: Floats, gammas: Floats, seen: Observation) -> Floats:
    if seen.weights is None:
        n = len(seen.pairs)
        return _by_gamma(values, gammas, lambda some, gamma: _count_tails(some, n, gamma))
    weights = seen.weights
    return _by_gamma(
        values, gammas, lambda some, gamma: TailCurve(CumulantFunction(weights, gamma)).chernoff_log10_p(some)
    )


def _count_tails(green: Floats, n: int, gamma: float) -> Floats:
    """Upper tail of every count; thousands of accounts share some hundred different counts."""
    counts, which = np.unique(green, return_inverse=True)
    return np.array([log10_sf(int(k), n, gamma) for k in counts])[which]


def _refuse_other_rule(key: Key, observed: Weighted) -> None:
    """What was saved does not name its rule, but what it holds must be possible under the key's."""
    width = observed.pairs.contexts.shape[1]
    if width != key.context_width:
        raise InputError(
            f"what was saved has context width {width}, key {key.short_id} {key.context_width}; give keys of one width"
        )
    ids = np.concatenate([observed.pairs.contexts.reshape(-1), observed.pairs.tokens])
    if not ids.size or key.tokenizer is None:
        return
    if window_rule(key).is_special(ids).any() or int(ids.max()) >= key.tokenizer.vocab_size:
        raise InputError(f"what was saved scores tokens that key {key.short_id} never does; it is of another tokenizer")
