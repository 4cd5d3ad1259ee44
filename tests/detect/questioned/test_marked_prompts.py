"""Answers to marked prompts, weighed by n − e: an innocent model copies them. What leaving their pairs out mends.

Excluded are the pairs that occur in a prompt. Under a marked prompt those are green, so the exclusion depends on the
key, and what is left of their contexts is redder than chance. A model that copies says what is left less often than
its reference expects, and a negative weight on red counts as green does. So leaving out is no cure; the audit is, and
no p is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from detect.counting import WeightTally, tally, weigh, window_rule
from detect.decoys import lineup
from detect.evidence import assess, assess_family
from detect.exact.binomial import log10_sf
from detect.fed import Probe
from detect.observation import Excess
from detect.questioned.answer_ids import Listed
from detect.questioned.excess import excess_of
from tests.detect.material import as_set, distinct_pairs, is_green, make_key
from tests.detect.questioned import copier
from tests.detect.questioned.copier import KEY, LENGTH, Copier, V, audited, unaudited
from watermark.greenlist import GreenList

pytestmark = pytest.mark.usefixtures("one_torch_thread")
PROMPTS = 60


@cache
def prompts(marked: bool, count: int = PROMPTS) -> tuple[list[int], ...]:
    return tuple(list(one.prompt_ids) for one in copier.probes("prompts" if marked else "", count))


@cache
def answered(pull: float, marked: bool = True) -> tuple[Probe, ...]:
    """What a copier answers to every prompt."""
    rng = np.random.default_rng(302)
    return tuple(Probe(one, Copier(pull).answer(one, LENGTH, rng)) for one in prompts(marked))


def spliced(count: int) -> list[Probe]:
    """Answers pieced together from fragments of their prompts, two to four tokens each."""
    rng, found = np.random.default_rng(303), []
    for prompt in prompts(True, count):
        ids: list[int] = []
        while len(ids) < LENGTH:
            at = int(rng.integers(0, LENGTH - 3))
            ids += prompt[at : at + int(rng.integers(2, 5))]
        found.append(Probe(prompt, ids[:LENGTH]))
    return found


def listed_by(pull: float, answers: Sequence[Probe]) -> list[list[Listed]]:
    """The five likeliest tokens at each place, as a server lists them, and what was said."""
    found = []
    for one in answers:
        logits = Copier(pull)(torch.tensor([[*one.prompt_ids, *one.answer_ids]]), None, False).logits[0].double()
        rows = torch.log_softmax(logits, dim=-1)[len(one.prompt_ids) - 1 : -1]
        lists = []
        for row, said in zip(rows, one.answer_ids, strict=True):
            best = row.topk(5).indices.tolist()
            lists.append(Listed({token: float(row[token]) for token in {*best, said}}, float(row[best[-1]])))
        found.append(lists)
    return found


def excess(answers: Sequence[Probe], reference: float, **how: Any) -> Excess:
    return excess_of(Copier(reference), answers, rule=window_rule(KEY), vocab_size=V, top=V, **how)


def of_model(pull: float, reference: float, *, lists: bool = False, marked: bool = True) -> WeightTally:
    """An innocent model that copies with `pull`, against a reference that copies with another."""
    answers = answered(pull, marked)
    return weigh(KEY, excess(answers, reference, listed=listed_by(pull, answers) if lists else None))


def no_claim(one: WeightTally, given: Sequence[Sequence[int]]) -> None:
    """Nothing is claimed, and the note names the audit's own p, computed a second way."""
    found = assess(one, lineup=lineup(one, 9))
    for field in ("log10_p", "log10_p_adjusted", "log10_p_saddlepoint", "z_score", "theta", "comparisons", "lineup"):
        assert getattr(found, field) is None, field
    assert found.finding == "inconclusive"
    audit = audited(given)
    assert audit < -3
    assert one.probes_log10_p == pytest.approx(audit, rel=1e-5)
    (note,) = [note for note in found.notes if "no p is claimed" in note]
    assert f"log10_p {audit:.1f}" in note


# --- what would be said without either guard ---


def hidden(answers: Sequence[Probe]) -> WeightTally:
    """As if the prompts were not known: nothing is left out, and the reference reads the bare answers."""
    return weigh(KEY, excess([Probe((), one.answer_ids) for one in answers], 1.0))


@pytest.mark.parametrize("how", ["copied", "spliced"])
def test_copying_from_marked_prompts_would_implicate_an_innocent_model(how: str) -> None:
    one = hidden(answered(3.0) if how == "copied" else spliced(6))
    assert unaudited(one) < -6
    assert one.probes_log10_p == 0  # nobody can audit prompts that nobody knows of


# --- what leaving the prompts' pairs out mends ---


def test_no_pair_of_a_prompt_carries_weight_and_a_weak_copier_is_no_longer_implicated() -> None:
    found = excess(answered(3.0), 1.0)
    assert not as_set(found.pairs) & distinct_pairs(prompts(True), [], 1)
    assert unaudited(weigh(KEY, found)) > -6 > unaudited(hidden(answered(3.0)))


def test_pairs_pieced_together_from_copied_fragments_are_redder_so_counting_them_errs_on_the_safe_side() -> None:
    """Where two fragments meet, a new pair: never a copied one, and what is green there was excluded oftener."""
    for count in (6, 20):
        answers = spliced(count)
        junctions = distinct_pairs([one.answer_ids for one in answers], prompts(True, count), 1)
        green = sum(is_green(KEY, pair) for pair in junctions)
        counted = tally(KEY, [one.answer_ids for one in answers], prompts(True, count), test="sampled")
        assert (counted.n_green, counted.n_scored) == (green, len(junctions))
        assert green / len(junctions) < 0.2
        assert log10_sf(green, len(junctions), KEY.gamma) > -0.1
        assert assess(counted).log10_p is assess(counted).log10_e is None


# --- what it does not ---


@pytest.mark.parametrize(
    ("pull", "lists"), [(5.0, False), (3.0, True)], ids=["n - e, copied nearly always", "listed log-probabilities"]
)
def test_what_is_left_is_red_and_said_less_often_than_the_reference_expects(pull: float, lists: bool) -> None:
    one = of_model(pull, 0.0, lists=lists)
    in_prompts = distinct_pairs(prompts(True), [], 1)
    kept = np.isin(one.pairs.contexts[:, 0], [context for (context,), _ in in_prompts])
    green = GreenList(KEY).is_green(one.pairs.contexts[kept], one.pairs.tokens[kept])
    assert kept.sum() > 1000
    assert green.mean() < 0.1  # instead of gamma
    assert one.weights[kept].mean() < 0
    assert unaudited(one) < -6
    no_claim(one, prompts(True))


def test_fragments_implicate_too_where_the_reference_does_not_copy() -> None:
    one = weigh(KEY, excess(spliced(20), 0.0))
    assert unaudited(one) < -6
    no_claim(one, prompts(True, 20))


@pytest.mark.parametrize("lists", [False, True])
def test_it_takes_a_reference_that_copies_less(lists: bool) -> None:
    """What is left is as red for any reference, but no weight leans on it where both copy alike."""
    less, alike, more = (unaudited(of_model(3.0, reference, lists=lists)) for reference in (0.0, 3.0, 5.0))
    assert less < (-6 if lists else -1)
    assert alike > -1  # with lists the weights are what rounding leaves
    assert more == 0


# --- what is claimed all the same ---


@pytest.mark.parametrize("lists", [False, True])
def test_unmarked_prompts_keep_their_claim(lists: bool) -> None:
    one = of_model(5.0, 0.0, lists=lists, marked=False)
    found = assess(one)
    assert found.log10_p == unaudited(one) > -3
    assert one.probes_log10_p > -3


@pytest.mark.parametrize("lists", [False, True])
def test_prompts_marked_under_another_key_keep_it_too(lists: bool) -> None:
    answers = answered(5.0)
    observed = excess(answers, 0.0, listed=listed_by(5.0, answers) if lists else None)
    claims = [assess(weigh(make_key(number), observed)).log10_p for number in range(400, 440)]
    assert claims.count(None) <= 2  # each is withdrawn with a chance of at most .003
    assert min(p for p in claims if p is not None) > -4


@pytest.mark.parametrize("number", range(500, 506))
def test_a_mark_too_short_for_the_audit_is_too_short_to_mislead(number: int) -> None:
    """One prompt of five green pairs, copied in sixty answers: not noticed, and worth nothing once left out."""
    key, rng = make_key(number), np.random.default_rng(number)
    prompt = copier.chain(rng, GreenList(key).mask(np.arange(V).reshape(-1, 1), V))[:6]
    answers = [Probe(prompt, Copier(5.0).answer(prompt, LENGTH, rng)) for _ in range(60)]
    for lists in (None, listed_by(5.0, answers)):
        one = weigh(key, excess(answers, 0.0, listed=lists))
        assert -3 < one.probes_log10_p < -2
        assert unaudited(one) > -3


def test_the_other_tests_of_the_family_keep_their_claim_and_factor() -> None:
    withdrawn = of_model(5.0, 0.0)
    text = tally(KEY, [list(one.answer_ids) for one in copier.probes("answers", 4)])
    first, second = assess_family([withdrawn, text])
    assert first.log10_p is None
    assert second.log10_p_adjusted == pytest.approx(second.log10_p + np.log10(2))


def test_what_is_saved_is_audited_when_it_is_scored_again(tmp_path: Any) -> None:
    observed = excess(answered(5.0), 0.0)
    observed.save(tmp_path / "e.npz")
    again = weigh(KEY, Excess.load(tmp_path / "e.npz"))
    assert assess(again) == assess(weigh(KEY, observed))
    no_claim(again, prompts(True))
    told = replace(again, probes_log10_p=-2.9)
    assert assess(told).log10_p == unaudited(again) < -6  # it is the audit that withdraws
