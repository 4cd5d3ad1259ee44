"""The dose–response line held against a dose it was not fitted to: does it predict what was measured there?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from distill_sim.dose import LEAST_DOSES, DoseFit, Prediction, clear_doses, fit_dose


@dataclass(frozen=True)
class HoldOut:
    """A line fitted to the lower doses, and the largest dose measured.

    Attributes:
        fit: to the lower half of the doses that stand clear of noise (three at least).
        predicted: of a run at the largest such dose, with its 95 % prediction interval, that of the same seeds and
            keys: room for others would be room in which a bend goes unseen.
        measured: median evidence there, decades.
        below, inside, above: how many of the runs there lie so to the interval.
    """

    fit: DoseFit
    predicted: Prediction
    measured: float
    below: int
    inside: int
    above: int

    @property
    def runs(self) -> int:
        return self.below + self.inside + self.above

    @property
    def failed(self) -> Literal["too much", "too little"] | None:
        """What the line promised, where fewer than half of the runs lie inside; None: it held."""
        if 2 * self.inside >= self.runs:
            return None
        return "too much" if self.below > self.above else "too little"


def hold_out(
    doses: ArrayLike, evidence: ArrayLike, seeds: ArrayLike, keys: ArrayLike, most: float | None = None
) -> HoldOut | None:
    """Fit the lower doses and predict the largest; None where fewer than four doses stand clear of noise.

    Args:
        doses, evidence, seeds, keys: as of `fit_dose`, all runs.
        most: the most evidence that the test can give, decades; None: not known.
    """
    dose, response, seed, key = (
        np.asarray(doses, float),
        np.asarray(evidence, float),
        np.asarray(seeds),
        np.asarray(keys),
    )
    clear = clear_doses(dose, response)
    if len(clear) <= LEAST_DOSES:
        return None
    lower = np.isin(dose, clear[: max(LEAST_DOSES, -(-len(clear) // 2))])
    fit = fit_dose(dose[lower], response[lower], seed[lower], key[lower])
    if fit is None:
        return None
    one, there = fit.predict(clear[-1], most=most, same=True), response[dose == clear[-1]]
    below, above = int((there < one.low).sum()), int((there > one.high).sum())
    return HoldOut(fit, one, float(np.median(there)), below, there.size - below - above, above)
