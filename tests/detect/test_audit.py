"""The audits: valid by simulation over keys, against their definition, and with power where a test has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detect.audit import FedAudit, two_sided_bounds
from detect.exact.weighted import CumulantFunction, chernoff, statistic
from detect.fed import Probe, ProbePairs
from tests.detect.material import make_key
from tests.detect.questioned.copier import KEY, V, audited, chain, two_bounds
from watermark.greenlist import GreenList
from watermark.windows import WindowRule

RULE = WindowRule(1)
GREEN = GreenList(KEY).mask(np.arange(V).reshape(-1, 1), V)
LIMITS = {0.1: 1113, 0.01: 139, 1e-3: 24, 1e-4: 6}  # of 10,000; design.md, How validity is tested


def under(prompts: Any, answers: Any, key: Any = KEY) -> float:
    fed = ProbePairs.of(RULE, [Probe(one, ()) for one in prompts] + [Probe((), one) for one in answers])
    return FedAudit(fed).under(GreenList(key))


def texts(seed: int, count: int, green: np.ndarray | None = None) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [chain(rng, green) for _ in range(count)]


@pytest.mark.parametrize(
    ("prompts", "answers"),
    [(0, 0), (1, 0), (0, 1), (3, 0), (2, 9), (9, 2)],
)
@pytest.mark.parametrize("mark", [None, GREEN, ~GREEN], ids=["unmarked", "green", "red"])
def test_it_is_its_definition(prompts: int, answers: int, mark: Any) -> None:
    fed = texts(1, prompts, mark), texts(2, answers)
    expected = audited(*fed) if prompts + answers else 0.0
    assert under(*fed) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_nothing_fed_is_no_evidence() -> None:
    assert under([], []) == under([[]], [[5]]) == 0.0


def test_one_marked_text_among_many_is_noticed() -> None:
    """Together their pairs drown; and it is the text that shows, not its repeats."""
    rng = np.random.default_rng(3)
    loud = [t for _ in range(3) for t in chain(rng, GREEN)]
    few = [loud, *texts(4, 100)]
    together = FedAudit(ProbePairs.of(RULE, [Probe((), [t for one in few for t in one])]))
    assert together.under(GreenList(KEY)) > -3
    assert under([], few) < -10


def test_a_marked_passage_that_recurs_is_noticed_though_its_pairs_are_few() -> None:
    """Its pairs are one in ten, and nine in ten of what is read: a test that weighs repeats would follow them."""
    rng = np.random.default_rng(5)
    passage = chain(rng, GREEN)
    recurring = [one + passage[:20] * 2 for one in texts(6, 120)]
    distinct = ProbePairs.of(RULE, [Probe((), one) for one in recurring])
    once = FedAudit(ProbePairs(distinct.pairs, np.ones_like(distinct.times), *_places(distinct)))
    weighed = FedAudit(distinct)
    assert weighed.under(GreenList(KEY)) < once.under(GreenList(KEY)) - 2
    assert weighed.under(GreenList(KEY)) < -3


def _places(fed: ProbePairs) -> tuple[Any, ...]:
    return fed.in_prompts, fed.in_answers, fed.texts, fed.members


@pytest.mark.parametrize("repeats", [1, 7])
def test_null_keys(repeats: int) -> None:
    """10,000 keys on fixed texts, some of which say the same over and over."""
    fed = ProbePairs.of(RULE, [Probe(p, a * repeats) for p, a in zip(texts(7, 20), texts(8, 20), strict=True)])
    audit, rng = FedAudit(fed), np.random.default_rng(9)
    measured = np.array([audit.measure(rng.random(len(fed.pairs)) < 0.25, 0.25) for _ in range(10_000)])
    found = audit.log10_p(measured, 0.25)
    for level, most in LIMITS.items():
        assert np.count_nonzero(found <= np.log10(level)) <= most
    assert np.count_nonzero(found <= np.log10(0.5)) > 200  # it could fail


def test_many_keys_give_what_each_gives_alone() -> None:
    fed = ProbePairs.of(RULE, [Probe(p, a * 2) for p, a in zip(texts(10, 6), texts(11, 6), strict=True)])
    audit, greens = FedAudit(fed), [GreenList(make_key(seed)) for seed in range(40)]
    measured = np.array([audit.measure(g.is_green(fed.pairs.contexts, fed.pairs.tokens), 0.25) for g in greens])
    np.testing.assert_allclose(audit.log10_p(measured, 0.25), [audit.under(g) for g in greens], atol=1e-4)


def test_bounds_are_two_sided_and_those_of_a_plain_minimiser() -> None:
    rng = np.random.default_rng(12)
    weights = rng.standard_normal(60)
    pairs = [((int(c),), int(t)) for c, t in enumerate(rng.integers(0, V, 60))]
    colours = GREEN[np.arange(60), [t for _, t in pairs]]
    found = statistic(colours, weights, 0.25)
    (bound,) = two_sided_bounds(weights, [found], 0.25)
    assert bound == pytest.approx(two_bounds(dict(zip(pairs, weights, strict=True))), rel=1e-5)
    upper, lower = CumulantFunction(weights, 0.25), CumulantFunction(-weights, 0.25)
    by_hand = min(chernoff(upper, found).log10_p, chernoff(lower, -found).log10_p) + np.log10(2)
    assert bound == pytest.approx(min(0.0, by_hand), abs=1e-12)
    extreme = [upper.maximum, -lower.maximum]
    assert (two_sided_bounds(weights, extreme, 0.25) < -5).all()
