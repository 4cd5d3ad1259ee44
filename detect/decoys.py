"""The decoy line-up: the same scorer, the same pairs, M other keys. It audits the scorer; it is not the evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.colouring import counts_under_every_key, under_every_key
from detect.counting import CountTally, Tally, WeightTally
from detect.exact.binomial import log10_sf
from detect.exact.uniformity import kolmogorov_smirnov_p, randomised_p
from detect.exact.weighted import CumulantFunction, TailCurve, chernoff, statistic
from watermark.greenlist import GreenList
from watermark.keys import decoy_key

DEFAULT_SEED = bytes(32)
_ROUNDING = 1e-12  # of Σ|a|: sums of the same numbers in another order are ties
# Where the saddlepoint is no tail to be audited. Simulated, 1,000 and 10,000 decoys: below 200 distinct sizes, or on a
# lattice however long, or with one weight above a quarter of Σa², uniformity fails under the null.
LEAST_DISTINCT, LARGEST_SHARE = 200, 0.25


@dataclass(frozen=True)
class Lineup:
    """Where the key stands among decoys.

    Attributes:
        decoys: M.
        seed: 64 hex digits; decoy i has ChaCha20 key derive(seed, "decoy", str(i)).
        rank: 1 + the number of decoys at least as extreme as the key.
        p_rank: rank / (M + 1). Null: the key is exchangeable with the decoys. Exact when the seed was drawn for this
            case; one-sided.
        log10_p_best_decoy: the smallest decoy's log10 p, by the test's own tail.
        uniformity_p: Kolmogorov–Smirnov of the decoys' p against uniform (randomised for counts, the saddlepoint's
            for weights). Null: the PRF's colours are i.i.d. Bernoulli(γ) and the tail is right. Two-sided. None: the
            weights are too few, too coarse or too unequal for that tail, so nothing can be audited.
        scores: every decoy's statistic, in their order (counts, or S); not part of the evidence.
    """

    decoys: int
    seed: str
    rank: int
    p_rank: float
    log10_p_best_decoy: float
    uniformity_p: float | None
    scores: tuple[float, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        del values["scores"]
        return values


def lineup(
    tally: Tally, decoys: int, *, seed: bytes = DEFAULT_SEED, on_decoy: Callable[[int], None] | None = None
) -> Lineup:
    """Score `decoys` other keys on the tally's own pairs and weights.

    Args:
        tally: from `detect.counting.tally` or `weigh`.
        decoys: M ≥ 1.
        seed: 32 bytes, from the plan or the command line; known to everybody.
        on_decoy: called with how many decoys were just scored.
    """
    if decoys < 1:
        raise ValueError(f"a line-up needs at least one decoy, not {decoys}")
    if len(seed) != len(DEFAULT_SEED):
        raise ValueError(f"a line-up's seed has {len(DEFAULT_SEED)} bytes, not {len(seed)}")
    if isinstance(tally, WeightTally):
        return _weighted(tally, decoys, seed, on_decoy)
    assert isinstance(tally, CountTally)
    return _counted(tally, decoys, seed, on_decoy)


def _counted(tally: CountTally, decoys: int, seed: bytes, on_decoy: Callable[[int], None] | None) -> Lineup:
    n, gamma = tally.n_scored, tally.green.gamma
    counts = counts_under_every_key(tally.pairs, decoys, _decoy_lists(tally.green, seed), on_decoy)
    rng = np.random.default_rng(np.frombuffer(seed, dtype=np.uint32))
    p = randomised_p(counts, n, gamma, rng)
    return _result(counts, counts >= tally.n_green, seed, log10_sf(int(counts.max()), n, gamma), p)


def _weighted(tally: WeightTally, decoys: int, seed: bytes, on_decoy: Callable[[int], None] | None) -> Lineup:
    gamma, weights = tally.green.gamma, tally.weights
    scores = under_every_key(
        tally.pairs, decoys, _decoy_lists(tally.green, seed), lambda colours, _: statistic(colours, weights, gamma),
        on_decoy,
    )  # fmt: skip
    cumulant = CumulantFunction(weights, gamma)
    p = 10.0 ** TailCurve(cumulant).saddlepoint_log10_p(scores) if _can_be_audited(weights) else None
    extreme = scores >= tally.statistic - _ROUNDING * cumulant.total
    return _result(scores, extreme, seed, chernoff(cumulant, float(scores.max())).log10_p, p)


def _can_be_audited(weights: NDArray[np.float64]) -> bool:
    squares = weights**2
    if not weights.size or squares.max() > LARGEST_SHARE * squares.sum():
        return False
    return len(np.unique(np.abs(weights))) >= LEAST_DISTINCT


def _decoy_lists(green: GreenList, seed: bytes) -> Callable[[int], GreenList]:
    """The green list of each decoy."""
    return lambda index: green.with_chacha_key(decoy_key(seed, index))


def _result(
    scores: NDArray[Any],
    extreme: NDArray[np.bool_],
    seed: bytes,
    best_log10_p: float,
    p_values: NDArray[np.float64] | None,
) -> Lineup:
    """`extreme`: bool [M], which decoys are at least as extreme as the key."""
    rank = 1 + int(np.count_nonzero(extreme))
    return Lineup(
        decoys=len(extreme),
        seed=seed.hex(),
        rank=rank,
        p_rank=rank / (len(extreme) + 1),
        log10_p_best_decoy=best_log10_p,
        uniformity_p=None if p_values is None else float(kolmogorov_smirnov_p(p_values)),
        scores=tuple(map(float, scores)),
    )
