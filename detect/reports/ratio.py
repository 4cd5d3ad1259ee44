"""A likelihood ratio for a test's outcome, from controls whose sources have nothing in common. It is never 1/p.

The outcome is one of two: detected at the level, or not. Of n₁ positive controls k₁ had the outcome of the case, of n₀
negative ones k₀:

    LR = ((k₁ + ½)/(n₁ + 1)) / ((k₀ + ½)/(n₀ + 1)),    held between 1/(n₁ + 1) and n₀ + 1
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from detect.exact.interval import clopper_pearson

LEVEL = 0.95
LEAST = 7  # controls of each kind: with six of each no outcome could tell anything, however they came out
# Above which ratio, the support, and how much more probable: a scale of the kind that ENFSI's guideline (2015) gives.
# Below the last it is none: such a ratio is as good as 1.
SCALE = (
    (1e6, "extremely strong support", "exceedingly"),
    (1e4, "very strong support", "far"),
    (1e3, "strong support", "much"),
    (1e2, "moderately strong support", "appreciably"),
    (1e1, "moderate support", ""),
    (2e0, "weak support", "slightly"),
)


@dataclass(frozen=True)
class LikelihoodRatio:
    """A ratio with its interval and its limits.

    Attributes:
        value: of P(outcome | H1) to P(outcome | H0).
        low, high: of an interval that covers it, or the limit beyond which it lies, with at least 95 %, controls of
            each kind being independent draws.
        least, most: between which so many controls can place a ratio; all of the above lie there.
    """

    value: float
    low: float
    high: float
    least: float
    most: float

    @property
    def nearest(self) -> float:
        """The end of the interval that is nearer to 1; 1 where it lies within."""
        return self.low if self.low > 1 else self.high if self.high < 1 else 1.0

    @property
    def words(self) -> tuple[str, str]:
        """(how probable, what support): "much more probable", "strong support for H1", by the end nearest to 1."""
        more, strength = self.nearest > 1, max(self.nearest, 1 / self.nearest)
        if strength <= SCALE[-1][0]:
            return "as probable, as far as so many controls can tell,", "no support for either proposition"
        support, how = next((support, how) for above, support, how in SCALE if strength > above)
        return f"{how} {'more' if more else 'less'} probable".strip(), f"{support} for {'H1' if more else 'H0'}"


def enough(positives: int, negatives: int) -> bool:
    """Whether there are `LEAST` of each kind: many of one are no substitute for the other."""
    return min(positives, negatives) >= LEAST


def likelihood_ratio(hits: int, positives: int, false: int, negatives: int) -> LikelihoodRatio:
    """The ratio for an outcome that came about in `hits` of `positives` and in `false` of `negatives`.

    Raises:
        ValueError: no controls of a kind, or more outcomes than controls.
    """
    for count, of in ((hits, positives), (false, negatives)):
        if of < 1 or not 0 <= count <= of:
            raise ValueError(f"{count} of {of} controls")
    each = 1 - (1 - LEVEL) / 2  # of both intervals at once
    low, high = clopper_pearson(hits, positives, each)
    false_low, false_high = clopper_pearson(false, negatives, each)
    least, most = 1 / (positives + 1), float(negatives + 1)

    def held(value: float) -> float:
        return min(most, max(least, value))

    value = (hits + 0.5) / (positives + 1) / ((false + 0.5) / (negatives + 1))
    above = high / false_low if false_low > 0 else math.inf
    return LikelihoodRatio(held(value), held(low / false_high), held(above), least, most)
