"""Audits under the key of what must not depend on it: what a model was fed, what was left out, and the reference.

A model copies what it reads, so probes that carry the mark, or avoid it, implicate whoever reads them; and a reference
that learnt the mark lets a marked model look innocent, one that avoids it an innocent model look marked. Prompts that
were chosen under the key take red pairs out of the count, so that what is left looks marked. An audit may withdraw a
claim, and never makes one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from detect.exact.binomial import log10_cdf, log10_sf
from detect.exact.scan import of_all, smallest
from detect.exact.weighted import CumulantFunction, TailCurve, chernoff, statistic
from detect.fed import Excluded, ProbePairs
from watermark.greenlist import GreenList

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SUSPECT = -3.0  # log10 p at or below it withdraws a claim: one in a thousand by chance, of each audit
_LOG10_2 = math.log10(2)
_CURVE_FROM = 16  # S over the same weights, from which a curve through them is cheaper than each by itself


class FedAudit:
    """Whether what a model was fed follows a key, by every sum that a test of the model could follow.

    The parts: the distinct pairs of the prompts, of the answers, and of both; the same with each pair as often as it
    occurs, since a test weighs repeats; and every text by itself, since few marked ones drown among many.
    """

    def __init__(self, fed: ProbePairs) -> None:
        self._fed = fed
        both = np.ones(len(fed.pairs), dtype=np.bool_)
        counted = [fed.in_prompts, fed.in_answers]
        self._counted = [part for part in ([*counted, both] if all(map(np.any, counted)) else counted) if part.any()]
        self._starts = np.flatnonzero(np.diff(fed.texts, prepend=-1))  # where a text begins
        self._sizes = np.diff(np.append(self._starts, fed.texts.size))

    @cached_property
    def _repeats(self) -> Floats | None:
        """How often each pair occurs; None: each once."""
        return self._fed.times.astype(np.float64) if (self._fed.times > 1).any() else None

    def measure(self, colours: Bools, gamma: float) -> list[float]:
        """What the tails need of one key's colours of the fed pairs, bool [N]."""
        found = [float(np.count_nonzero(colours & part)) for part in self._counted]
        if self._repeats is not None:
            found.append(statistic(colours, self._repeats, gamma))
        if self._starts.size > 1:
            found.extend(np.add.reduceat(colours[self._fed.members], self._starts, dtype=np.float64).tolist())
        return found

    def log10_p(self, measured: Floats, gamma: float) -> Floats:
        """Of what `measure` gave of several keys of one gamma, float64 [A, …]: float64 [A].

        Null: what was fed does not depend on the key. Valid (Bonferroni over the parts and over the texts), two-sided.
        """
        parts, used = [np.zeros(len(measured))], 0
        for part in self._counted:
            parts.append(_counts(measured[:, used], int(part.sum()), gamma))
            used += 1
        if self._repeats is not None:
            parts.append(two_sided_bounds(self._repeats, measured[:, used], gamma))
            used += 1
        if self._starts.size > 1:
            each = zip(measured[:, used:].T, self._sizes.tolist(), strict=True)
            tails = [_counts(column, n, gamma) for column, n in each]
            parts.append(np.min(tails, axis=0) + math.log10(len(tails)))
        tested = len(parts) - 1  # the first is p = 1, for nothing fed
        smallest: Floats = np.min(parts, axis=0) + (math.log10(tested) if tested else 0.0)
        return np.minimum(0.0, smallest)

    def under(self, green: GreenList) -> float:
        """Of one key."""
        pairs = self._fed.pairs
        measured = self.measure(green.is_green(pairs.contexts, pairs.tokens), green.gamma)
        return float(self.log10_p(np.array([measured]), green.gamma)[0])


class ExcludedAudit:
    """Whether what was observed, and left out as it occurs in a prompt, is redder than chance allows.

    Nobody who chooses prompts chooses what all of the observed pairs say together: the count (or S) of what is left is
    that of all less that of what was left out. So a claim can be made by leaving out only as far as what was left out
    lies below γ, whatever else stands in the prompts and was not observed: that is what is tested. The other side is no
    danger: a marked text says green pairs rather than red ones of its prompt, too, and to leave these out costs
    evidence.
    """

    def __init__(self, excluded: Excluded) -> None:
        self.pairs, self._weights = excluded.pairs, excluded.weights

    def measure(self, colours: Bools, gamma: float) -> float:
        """What the tail needs of one key's colours of the pairs, bool [N]: how many are green, or S."""
        return float(np.count_nonzero(colours)) if self._weights is None else statistic(colours, self._weights, gamma)

    def log10_p(self, measured: Floats, gamma: float) -> Floats:
        """Of what `measure` gave of several keys of one gamma, float64 [A]: float64 [A].

        Null: neither what was observed nor the prompts depend on the key, so the colours of the pairs in both are
        i.i.d. Bernoulli(γ). Exact for counts, a valid bound for weights; one-sided (lower).
        """
        if self._weights is not None:
            return np.minimum(0.0, _bounds(CumulantFunction(self._weights, gamma).mirrored(), -measured))
        counts, which = np.unique(measured, return_inverse=True)
        return np.array([log10_cdf(int(k), len(self.pairs), gamma) for k in counts])[which]

    def under(self, green: GreenList) -> float:
        """Of one key."""
        measured = self.measure(green.is_green(self.pairs.contexts, self.pairs.tokens), green.gamma)
        return float(self.log10_p(np.array([measured]), green.gamma)[0])


def excluded_stretches_log10_p(documents: Sequence[Bools], gamma: float) -> float | None:
    """`ExcludedAudit` for a scan, which a stretch that was cleared of red pairs misleads, whatever the whole says.

    Null: as there. Valid (union bound over the scan's intervals and over the documents), one-sided (lower).

    Args:
        documents: of each the colours of its distinct pairs that occur in a prompt, in reading order, at least one;
            None where there is no document.
    """
    if not documents:
        return None
    return of_all([smallest(~colours, 1.0 - gamma) for colours in documents])


def two_sided_bounds(weights: Floats, sums: Iterable[float], gamma: float) -> Floats:
    """log10 of twice the smaller bound of either tail of S = Σ a·(green − γ), at most 0: float64 [A] of [A] sums.

    Null: colours i.i.d. Bernoulli(γ), weights fixed. Valid bound, two-sided.
    """
    sums = np.asarray(sums, dtype=np.float64)
    upper = CumulantFunction(weights, gamma)
    tails = [_bounds(upper, sums), _bounds(upper.mirrored(), -sums)]
    return np.minimum(0.0, np.minimum(*tails) + _LOG10_2)


def _bounds(cumulant: CumulantFunction, sums: Floats) -> Floats:
    if sums.size < _CURVE_FROM:
        return np.array([chernoff(cumulant, s).log10_p for s in sums])
    return TailCurve(cumulant).chernoff_log10_p(sums)


def _counts(green: Floats, n: int, gamma: float) -> Floats:
    """Of every count; thousands of keys share some hundred different counts."""
    counts, which = np.unique(green, return_inverse=True)
    return np.array([two_sided_log10_p(int(k), n, gamma) for k in counts])[which]


@lru_cache(maxsize=1 << 16)
def two_sided_log10_p(k: int, n: int, gamma: float) -> float:
    """log10 of twice the smaller tail, at most 0.

    Null: colours i.i.d. Bernoulli(gamma). Exact tails, so valid, two-sided.
    """
    return min(0.0, min(log10_sf(k, n, gamma), log10_cdf(k, n, gamma)) + _LOG10_2)
