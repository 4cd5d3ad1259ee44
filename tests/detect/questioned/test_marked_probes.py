"""A model that copies what it reads looks marked where its probes are. It never saw the key; the audit notices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detect.counting import tally, weigh, window_rule
from detect.decoys import lineup
from detect.evidence import Assessment, assess, assess_family
from detect.fed import Probe
from detect.observation import Reading
from detect.questioned.reading import read_model
from tests.detect.material import distinct_pairs, is_green, make_key
from tests.detect.questioned import copier
from tests.detect.questioned.copier import KEY, Copier, V, audited, chain, two_tails, unaudited

pytestmark = pytest.mark.usefixtures("one_torch_thread")
PROBES = 60


def probes(marked: str) -> list[Probe]:
    return copier.probes(marked, PROBES)


def read(given: list[Probe]) -> Reading:
    return read_model(Copier(3.0), given, rule=window_rule(KEY), vocab_size=V, reference=Copier(1.0), top=V)


@pytest.mark.parametrize("marked", ["prompts", "answers", "prompts and answers"])
def test_a_claim_on_marked_probes_is_withdrawn(marked: str) -> None:
    given = probes(marked)
    reading = read(given)
    assert unaudited(weigh(KEY, reading)) < -6  # what it would have said of a model that never saw the key
    one = weigh(KEY, reading)
    found = assess(one, lineup=lineup(one, 9))
    assert (found.log10_p, found.log10_p_adjusted, found.lineup, found.finding) == (None, None, None, "inconclusive")
    prompts, answers = [list(p.prompt_ids) for p in given], [list(p.answer_ids) for p in given]
    expected = audited(prompts, answers)
    assert one.probes_log10_p == pytest.approx(expected, rel=1e-5)
    assert expected < -3
    (note,) = [note for note in found.notes if "no p is claimed" in note]
    assert f"log10_p {expected:.1f}" in note
    assert "prompts or answers carry the mark, or avoid it" in note


def test_probes_that_avoid_the_mark_withdraw_a_claim_too() -> None:
    """A model that copies less than its reference would seem to follow the key."""
    red = ~np.array([[is_green(KEY, ((c,), t)) for t in range(V)] for c in range(V)])
    rng = np.random.default_rng(305)
    given = [Probe([], chain(rng, red)) for _ in range(PROBES)]
    one = weigh(KEY, read(given))
    assert one.probes_log10_p == pytest.approx(audited([], [p.answer_ids for p in given]), rel=1e-5)
    assert one.probes_log10_p < -3
    assert assess(one).log10_p is None


def test_few_marked_prompts_do_not_drown_among_many_answers() -> None:
    given = [Probe(p.prompt_ids if i < 2 else [], p.answer_ids) for i, p in enumerate(probes("prompts"))]
    one = weigh(KEY, read(given))
    both = distinct_pairs([list(ids) for p in given for ids in (p.prompt_ids, p.answer_ids)], [], 1)
    assert two_tails(both) > -3
    assert one.probes_log10_p < -3


def test_unmarked_probes_keep_their_claim() -> None:
    reading = read(probes(""))
    one = weigh(KEY, reading)
    assert one.probes_log10_p > -3
    found = assess(one)
    assert found.log10_p == unaudited(weigh(KEY, reading)) > -3
    assert found.finding == "inconclusive"


def test_probes_marked_under_another_key_keep_their_claim_too() -> None:
    reading = read(probes("prompts"))
    claims = [assess(weigh(make_key(number), reading)).log10_p for number in range(400, 440)]
    assert claims.count(None) <= 2  # each is withdrawn with a chance of at most .001
    assert min(p for p in claims if p is not None) > -4


def test_sampling_audits_its_prompts_and_only_them() -> None:
    given = probes("prompts")
    prompts, answers = [list(p.prompt_ids) for p in given], [list(p.answer_ids) for p in probes("")]
    withdrawn = tally(KEY, answers, prompts, test="sampled")
    assert withdrawn.probes_log10_p == pytest.approx(audited(prompts), rel=1e-5)
    assert assess(withdrawn).log10_p is None
    assert assess(withdrawn).log10_e is None
    assert tally(KEY, answers, prompts).probes_log10_p is None  # a text may quote what is marked: it is excluded
    unmarked = tally(KEY, [list(p.answer_ids) for p in probes("answers")], answers, test="sampled")
    assert assess(unmarked).finding == "detected"


def test_the_rest_of_the_family_keeps_its_claim_and_its_factor() -> None:
    marked = weigh(KEY, read(probes("answers")))
    other = tally(KEY, [list(p.answer_ids) for p in probes("answers")], test="sampled")
    reading, sampled = assess_family([marked, other])
    assert reading.log10_p is None
    assert sampled.log10_p_adjusted == pytest.approx(sampled.log10_p + np.log10(2))


def test_at_the_limit() -> None:
    one = weigh(KEY, read(probes("")))
    assert assess(replace(one, probes_log10_p=-3.0)).log10_p is None
    assert assess(replace(one, probes_log10_p=-2.999)).log10_p is not None
    both = assess(replace(one, probes_log10_p=-9.0), Assessment(probes_marked=True, key_check=False))
    assert len([note for note in both.notes if "no p is claimed" in note]) == 1
    assert any("refused by its own check" in note for note in both.notes)


def test_the_pairs_are_saved_with_the_reading(tmp_path: Any) -> None:
    reading = read(probes("prompts"))
    reading.save(tmp_path / "r.npz")
    assert assess(weigh(KEY, Reading.load(tmp_path / "r.npz"))) == assess(weigh(KEY, reading))
