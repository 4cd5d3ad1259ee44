"""The line-up against plain loops: which keys, which rank, and an audit that fails when it should."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, kstest

from detect.cli.people import describe
from detect.counting import tally
from detect.decoys import DEFAULT_SEED, lineup
from detect.evidence import assess
from detect.exact.weighted import CumulantFunction, chernoff
from tests.detect.material import hkdf, is_green, make_key, secret, weight_tally
from watermark.greenlist import GreenList


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled kernel also for few pairs: thousands of decoys are scored here."""
    monkeypatch.setattr("watermark.chacha.NUMBA_FROM", 1)


class Named:
    """A decoy's key as the slow loop sees it."""

    def __init__(self, chacha_key: bytes, gamma_65536: int = 16384, context_width: int = 1) -> None:
        self.chacha_key, self.gamma_65536, self.context_width = chacha_key, gamma_65536, context_width


def slow_scores(one: Any, count: int, seed: bytes, weights: np.ndarray) -> list[float]:
    """Σ a·green − γ Σ a of every decoy, one colour at a time."""
    pairs = list(zip(one.pairs.contexts.tolist(), one.pairs.tokens.tolist(), strict=True))
    scores = []
    for i in range(count):
        decoy = Named(hkdf(seed, "decoy", str(i)), one.green.gamma_65536, one.green.context_width)
        colours = [is_green(decoy, (tuple(context), token)) for context, token in pairs]
        scores.append(math.fsum(a * (g - one.green.gamma) for a, g in zip(weights, colours, strict=True)))
    return scores


def count_tally(number: int = 30, *, h: int = 1, size: int = 120) -> Any:
    rng = np.random.default_rng(number)
    return tally(make_key(number, h=h), [rng.integers(0, 40, size)])


@pytest.mark.parametrize("seed", [DEFAULT_SEED, secret(99)])
@pytest.mark.parametrize("h", [0, 1, 4])
def test_rank_and_best_of_counts(h: int, seed: bytes) -> None:
    one = count_tally(h=h)
    found = lineup(one, 20, seed=seed)
    n = one.n_scored
    counts = [round(s + n / 4) for s in slow_scores(one, 20, seed, np.ones(n))]
    assert found.rank == 1 + sum(count >= one.n_green for count in counts)
    assert list(found.scores) == counts
    assert found.p_rank == found.rank / 21
    assert found.log10_p_best_decoy == pytest.approx(binom.logsf(max(counts) - 1, n, 0.25) / math.log(10), rel=1e-9)
    assert (found.decoys, found.seed) == (20, seed.hex())
    assert 0 < found.uniformity_p <= 1


@pytest.mark.parametrize("seed", [DEFAULT_SEED, secret(98)])
def test_rank_and_best_of_weights(seed: bytes) -> None:
    one = weight_tally(make_key(31), np.random.default_rng(31).standard_t(3, 150))
    found = lineup(one, 20, seed=seed)
    scores = slow_scores(one, 20, seed, one.weights)
    assert found.rank == 1 + sum(s >= one.statistic for s in scores)
    assert found.scores == pytest.approx(scores)
    assert 1 < found.rank < 21
    assert found.log10_p_best_decoy == pytest.approx(
        chernoff(CumulantFunction(one.weights, 0.25), max(scores)).log10_p, rel=1e-9
    )


def test_the_first_decoy_is_the_designs() -> None:
    """derive(seed, "decoy", "0"): scored on one's own, with the seed the design takes by default."""
    assert bytes(32) == DEFAULT_SEED
    one = count_tally(32)
    first = GreenList.from_chacha_key(hkdf(bytes(32), "decoy", "0"), 16384, 1)
    green = int(first.is_green(one.pairs.contexts, one.pairs.tokens).sum())
    found = lineup(one, 1)
    assert found.log10_p_best_decoy == pytest.approx(binom.logsf(green - 1, one.n_scored, 0.25) / math.log(10))


def test_ties_are_as_extreme_as_the_key() -> None:
    one = count_tally(33)
    itself = replace(one, green=Stuck(one.green))
    assert lineup(itself, 7).rank == 8
    assert lineup(itself, 7).p_rank == 1.0
    weighted = weight_tally(make_key(33), [0.1, 0.2, 0.3, -0.7], green=Stuck(GreenList(make_key(33))))
    assert lineup(weighted, 7).rank == 8


def test_ties_count_also_where_sums_round_differently() -> None:
    """0.1 + 0.2 is larger than 0.3 in floating point; as evidence they are the same."""
    weights = np.array([0.1, 0.2, 0.3])
    one = replace(weight_tally(make_key(34), weights), statistic=0.1 + 0.2 - 0.25 * float(weights.sum()))
    scores = np.array(slow_scores(one, 200, DEFAULT_SEED, weights))
    exact = np.round(scores + 0.15, 9)
    assert (exact == 0.3).sum() > 20
    assert lineup(one, 200).rank == 1 + (exact >= 0.3).sum()


class Stuck(GreenList):
    """Broken: every decoy is the key itself."""

    def __init__(self, own: GreenList) -> None:
        super().__init__(Named(own._chacha_key, own.gamma_65536, own.context_width))

    def with_chacha_key(self, chacha_key: bytes) -> GreenList:
        return self


class WrongGamma(GreenList):
    """Broken: decoys are coloured with another gamma than the tail assumes."""

    def with_chacha_key(self, chacha_key: bytes) -> GreenList:
        return GreenList.from_chacha_key(chacha_key, self.gamma_65536 + 1500, self.context_width)


class Repeating(GreenList):
    """Broken: only four different decoys."""

    def with_chacha_key(self, chacha_key: bytes) -> GreenList:
        return GreenList.from_chacha_key(bytes([chacha_key[0] % 4]) * 32, self.gamma_65536, self.context_width)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("broken", [WrongGamma, Repeating])
@pytest.mark.parametrize("kind", ["counts", "weights"])
def test_the_audit_finds_a_broken_scorer(kind: str, broken: type[GreenList]) -> None:
    key = make_key(35)
    if kind == "counts":
        one: Any = count_tally(35, size=4000)
    else:
        one = weight_tally(key, np.random.default_rng(35).exponential(size=1500))
    assert lineup(one, 1000).uniformity_p > 0.01
    assert lineup(replace(one, green=broken(key)), 1000).uniformity_p < 1e-6


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("kind", ["counts", "weights"])
def test_the_audit_is_uniform_under_the_null(kind: str) -> None:
    """Over 100 seeds; the number at or below .1 has mean 10, and the whole looks uniform."""
    if kind == "counts":
        one: Any = count_tally(36, size=60)
    else:
        one = weight_tally(make_key(36), np.random.default_rng(36).standard_normal(260))
    audits = np.array([lineup(one, 50, seed=secret(seed)).uniformity_p for seed in range(100)])
    assert len(np.unique(audits)) > 50
    assert 1 <= (audits <= 0.1).sum() <= 22  # each side has chance 1e-4
    assert kstest(audits, "uniform").pvalue > 1e-3


@pytest.mark.usefixtures("compiled")
def test_the_rank_of_a_fresh_key_is_uniform() -> None:
    """Keys are exchangeable with decoys: ranks among 9 decoys, over 400 keys, fall evenly on 1 … 10."""
    weights = np.random.default_rng(37).standard_normal(40)
    ranks = np.array([lineup(weight_tally(make_key(n), weights), 9, seed=secret(n)).rank for n in range(400)])
    counts = np.bincount(ranks, minlength=11)[1:]
    assert ((counts - 40) ** 2 / 40).sum() < 33.7  # chi² with 9 degrees of freedom, 1e-4


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tallies = [count_tally(38), weight_tally(make_key(38), np.random.default_rng(38).standard_t(2, 400))]
    found = []
    for threads in (1, 2, 7):
        monkeypatch.setattr(os, "cpu_count", lambda threads=threads: threads)
        found.append([lineup(one, 64) for one in tallies])
    assert found[0] == found[1] == found[2]
    assert found[0] == [lineup(one, 64) for one in tallies]


def test_the_compiled_colouring_gives_the_same_lineup(monkeypatch: pytest.MonkeyPatch) -> None:
    one = count_tally(39, size=400)
    before = lineup(one, 16)
    monkeypatch.setattr("watermark.chacha.NUMBA_FROM", 1)
    assert lineup(one, 16) == before


def test_progress_adds_up_to_the_decoys() -> None:
    reported: list[int] = []
    lineup(count_tally(40), 12, on_decoy=reported.append)
    assert sum(reported) == 12


def test_another_seed_means_other_decoys() -> None:
    one = weight_tally(make_key(41), np.random.default_rng(41).standard_normal(50))
    assert lineup(one, 5).log10_p_best_decoy != lineup(one, 5, seed=secret(1)).log10_p_best_decoy


def test_a_lineup_without_pairs_alarms_nobody() -> None:
    """A model read against itself has no weights: every score is 0, and nothing can be audited."""
    empty = lineup(weight_tally(make_key(42), []), 50)
    assert (empty.rank, empty.p_rank, empty.log10_p_best_decoy, empty.uniformity_p) == (51, 1.0, 0.0, None)
    none = lineup(tally(make_key(42), [[1]]), 50)
    assert (none.rank, none.p_rank, none.log10_p_best_decoy) == (51, 1.0, 0.0)
    assert none.uniformity_p > 1e-3


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("weights", "audited"),
    [
        (np.ones(10), False),  # had uniformity_p 3e-21 under the null
        (np.ones(3000), False),
        (np.random.default_rng(44).integers(1, 4, 1000), False),
        (np.random.default_rng(44).standard_normal(199), False),
        ([*np.linspace(0.01, 0.02, 500), 0.3], False),
        (np.random.default_rng(44).standard_normal(200), True),
        (np.random.default_rng(44).exponential(size=400), True),
    ],
    ids=["10 equal", "3000 equal", "three values", "199", "one giant", "200", "400 exponential"],
)
def test_weights_whose_tail_cannot_be_audited_raise_no_alarm(weights: Any, audited: bool) -> None:
    one = weight_tally(make_key(44), weights)
    found = lineup(one, 1000)
    assert (found.uniformity_p is not None) == audited
    if audited:
        assert found.uniformity_p > 1e-3
    noted = [note for note in assess(one, lineup=found).notes if "to test the decoys' p for uniformity" in note]
    assert len(noted) == (not audited)
    assert assess(one, lineup=found).to_dict()["lineup"]["uniformity_p"] == found.uniformity_p
    assert f"uniformity p {'none, see the notes' if not audited else ''}" in describe(assess(one, lineup=found))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="at least one decoy"):
        lineup(count_tally(), 0)
    with pytest.raises(ValueError, match="seed has 32 bytes, not 31"):
        lineup(count_tally(), 3, seed=bytes(31))


def test_to_dict_is_the_fields_of_the_evidence() -> None:
    found = lineup(count_tally(), 3)
    names = ["decoys", "seed", "rank", "p_rank", "log10_p_best_decoy", "uniformity_p"]
    assert list(found.to_dict().items()) == [(name, getattr(found, name)) for name in names]
