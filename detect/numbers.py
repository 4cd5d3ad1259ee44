"""What each kind of tally says in numbers: the fields of evidence that depend on the kind. No judgement here."""

from __future__ import annotations

from typing import Any

from detect.counting import CountTally, Tally, WeightTally
from detect.exact.binomial import count_z_score, log10_sf
from detect.exact.evalue import log10_e_value
from detect.exact.interval import clopper_pearson
from detect.exact.weighted import CumulantFunction, chernoff, saddlepoint, z_score
from detect.sequential import SequentialTally


def numbers_of(tally: Tally) -> dict[str, Any]:
    """Fields of `detect.evidence.Evidence`, by name.

    Null of `log10_p` and of the comparisons: as of the tally.
    """
    if isinstance(tally, WeightTally):
        return _weighted(tally)
    if isinstance(tally, SequentialTally):  # it is a CountTally as well
        return _sequential(tally)
    assert isinstance(tally, CountTally)
    return _counted(tally)


def _counted(tally: CountTally) -> dict[str, Any]:
    n, k, gamma = tally.n_scored, tally.n_green, tally.green.gamma
    return {
        "n_green": k,
        "green_fraction": k / n if n else None,
        "ci95": clopper_pearson(k, n) if n else None,
        "z_score": count_z_score(k, n, gamma) if n else None,
        "log10_p": log10_sf(k, n, gamma),
        "log10_e": log10_e_value(k, n, gamma),
        "log10_p_saddlepoint": None,
        "theta": None,
    }


def _sequential(tally: SequentialTally) -> dict[str, Any]:
    """No fixed-n tail, and neither interval nor z: all three belong to a number of pairs that was fixed beforehand."""
    n, k = tally.n_scored, tally.n_green
    return {
        "n_green": k,
        "green_fraction": k / n if n else None,
        "ci95": None,
        "z_score": None,
        "log10_p": tally.log10_p,
        "log10_e": tally.log10_e,
        "log10_p_saddlepoint": None,
        "theta": None,
        "sequential": {
            "alpha": tally.alpha,
            "maximum_pairs": tally.maximum_pairs,
            "n_answers": tally.n_answers,
            "stopped": tally.stopped,
        },
    }


def _weighted(tally: WeightTally) -> dict[str, Any]:
    cumulant = CumulantFunction(tally.weights, tally.green.gamma)
    bound = chernoff(cumulant, tally.statistic)
    return {
        "n_green": None,
        "green_fraction": None,
        "ci95": None,
        "z_score": z_score(cumulant, tally.statistic) if tally.n_scored else None,
        "log10_p": bound.log10_p,
        "log10_e": None,
        "log10_p_saddlepoint": saddlepoint(cumulant, tally.statistic),
        "theta": bound.theta,
        "comparisons": {name: one.to_dict() for name, one in tally.comparisons.items()},
    }
