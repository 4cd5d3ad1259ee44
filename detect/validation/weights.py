"""A model that saw no mark, read once and scored under fresh keys: the weighted test, and the argmax beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.colouring import under_every_key
from detect.exact.weighted import CumulantFunction, TailCurve, chernoff, statistic
from detect.observation import Reading
from detect.validation.keys import fresh_key, row_seed
from detect.validation.rates import LEVELS, attainable_size, count_log10_p, counts_below
from watermark.greenlist import GreenList
from watermark.keys.parameters import Parameters
from watermark.windows import Pairs

TESTS = ("reading", "argmax")
_NEAR = -0.9  # log10 p from which on the curve's bound, wider by up to 1e-5, is replaced by the reported one


def score_reading(
    reading: Reading,
    name: str,
    parameters: Parameters,
    seed: bytes,
    keys: int,
    on_key: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """What the tests of a reading say under fresh keys, JSON-ready: counts of small p by test.

    Null of every p counted here: the model does not depend on the key. `reading` is a valid bound, `argmax` exact, both
    one-sided (upper).

    Args:
        name: of the row.
        seed: of the study.
        on_key: called with 1 for each key done.
    """
    own, gamma = row_seed(seed, name), parameters.gamma_65536 / 65536
    joined = Pairs(
        np.concatenate((reading.pairs.contexts, reading.argmax.contexts)),
        np.concatenate((reading.pairs.tokens, reading.argmax.tokens)),
        0,
    )
    weighted = len(reading.pairs)

    def measure(colours: NDArray[np.bool_], _: float) -> list[float]:
        s = statistic(colours[:weighted], reading.weights, gamma)
        return [s, float(np.count_nonzero(colours[weighted:]))]

    measured = under_every_key(joined, keys, lambda i: GreenList(fresh_key(own, i, parameters)), measure, on_key)
    n = len(reading.argmax)
    log10_p = {
        "reading": bounds(reading.weights, measured[:, 0], gamma),
        "argmax": np.array([count_log10_p(int(k), n, gamma) for k in measured[:, 1]]),
    }
    return {
        "positions": reading.n_positions,
        "weights": weighted,
        "pairs": n,
        "counts": {test: counts_below(log10_p[test]) for test in TESTS},
        "smallest_log10_p": {test: float(log10_p[test].min()) for test in TESTS},
        "sizes": [keys * attainable_size(n, gamma, level) for level in LEVELS],
        "key_seed": own.hex(),
    }


def bounds(weights: NDArray[np.float64], sums: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """log10 of the bound that is reported, for each S: float64 [T].

    Null: colours i.i.d. Bernoulli(γ), weights fixed. Valid bound, one-sided (upper).
    """
    cumulant = CumulantFunction(weights, gamma)
    log10_p = TailCurve(cumulant).chernoff_log10_p(sums)
    for at in np.flatnonzero(log10_p <= _NEAR):
        log10_p[at] = chernoff(cumulant, float(sums[at])).log10_p
    return log10_p
