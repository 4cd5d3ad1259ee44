"""Everything for S = Σ a (green - γ) with any fixed weights a, in one place.

Null: the colours of distinct pairs are i.i.d. Bernoulli(γ) and the weights fixed numbers, chosen without the key.
The reported p is `chernoff` (a valid bound); `saddlepoint` and `z_score` are shown beside it; `evaluate_bound` is
a verifier's one evaluation; `TailCurve` gives the tails of many S over one set of weights (a line-up of decoys).
"""

from detect.exact.cumulant import CumulantFunction
from detect.exact.curve import TailCurve
from detect.exact.tails import Bound, chernoff, evaluate_bound, saddlepoint, statistic, z_score

__all__ = [
    "Bound",
    "CumulantFunction",
    "TailCurve",
    "chernoff",
    "evaluate_bound",
    "saddlepoint",
    "statistic",
    "z_score",
]
