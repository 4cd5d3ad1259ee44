"""Results of a plan: who is adjusted for whom, what is confirmatory, what a control is worth; and validity."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from scipy import stats

from detect.counting import CountTally, WeightTally, tally
from detect.evidence import EXPLORATORY_NOTE, Assessment, Evidence, assess
from detect.exact.power import pairs_needed
from detect.exact.weighted import CumulantFunction
from detect.examined import GATE_NOTE, NOT_BOUND_NOTE, Examined, judge, judge_planned
from detect.plans.parts import PlannedSampling, PositiveControl
from detect.plans.plan import UNCOMMITTED_NOTE, Plan
from detect.sequential import Sequential, SequentialTally
from tests.detect.material import make_key, weight_tally
from tests.detect.plans.test_plan import DIGEST, KEY, PROBES, follow, inclusion, plan
from tests.detect.test_sequential import marked_answers
from watermark.errors import InputError
from watermark.keys import Key

CONTROL = PositiveControl("cd" * 32)
FIXED: dict[str, Any] = {"stopping": "fixed", "sampling": PlannedSampling(tokens=100), "effect": 0.5}
WEIGHTS = np.random.default_rng(21).standard_t(3, 300)


def followed(**changes: Any) -> Plan:
    one = plan(**changes)
    follow(one)
    return one


def counted(fraction: float, key: Key = KEY) -> CountTally:
    return tally(key, marked_answers(key, 10, fraction), test="sampled")


def weighted(level: float) -> WeightTally:
    one = weight_tally(KEY, WEIGHTS)
    return replace(one, statistic=level * CumulantFunction(one.weights, 0.25).maximum)


def process(one: Plan, fraction: float, how: Assessment, answers: int = 30) -> SequentialTally:
    test = Sequential(KEY, [], how.level, one.maximum_pairs or 0)
    for index, ids in enumerate(marked_answers(KEY, answers, fraction)):
        test.add(index, ids)
    return test.result()


def how_of(one: Plan, **more: Any) -> Assessment:
    return Assessment(alpha=one.alpha, effect=one.effect, **more)


# --- the family ---


def test_the_primary_test_is_judged_by_itself_and_the_others_by_holm() -> None:
    three = {"reading/difference": Examined(weighted(0.3)), "sampled/distinct": Examined(counted(0.4)),
             "sampled/excess": Examined(weighted(0.22))}  # fmt: skip
    one = followed(primary="reading/difference", also=["sampled/distinct", "sampled/excess"], reference=DIGEST, **FIXED)
    found = judge_planned(one, three, how_of(one, key_check=True))
    assert list(found) == list(three)
    alone = {name: assess(test.tally).log10_p for name, test in three.items()}
    cost = -math.log10(0.99)
    assert found["reading/difference"].log10_p_adjusted == pytest.approx(alone["reading/difference"] + cost)
    smaller, larger = sorted(["sampled/distinct", "sampled/excess"], key=lambda name: alone[name])
    first = alone[smaller] + math.log10(2)
    assert found[smaller].log10_p_adjusted == pytest.approx(first + cost)
    assert found[larger].log10_p_adjusted == pytest.approx(max(first, alone[larger]) + cost)
    note = "the plan's primary test, reading/difference, is judged by itself; the 2 others are one family (Holm)"
    assert all(any(one.startswith(note) for one in evidence.notes) for evidence in found.values())
    free = judge(three, how_of(one, key_check=True))
    assert free["reading/difference"].log10_p_adjusted > found["reading/difference"].log10_p_adjusted


def test_no_plan_leaves_everything_exploratory() -> None:
    found = judge({"sampled/distinct": Examined(counted(0.6), ["said"])}, Assessment())["sampled/distinct"]
    assert (found.status, found.plan, found.notes[-1]) == ("exploratory", None, EXPLORATORY_NOTE)
    assert "said" in found.notes
    assert found == assess(counted(0.6), notes=["said"])


# --- confirmatory ---


def sequential(one: Plan, fraction: float = 0.6, **more: Any) -> Evidence:
    how = how_of(one, **{name: more.pop(name) for name in ("key_check", "probes_marked") if name in more})
    return judge_planned(one, {"sampled/distinct": Examined(process(one, fraction, how), **more)}, how)[
        "sampled/distinct"
    ]


def test_a_plan_that_was_followed_is_confirmatory() -> None:
    one = followed(effect=0.5)
    found = sequential(one, notes=["how"])
    assert (found.status, found.finding, found.sequential["stopped"]) == ("confirmatory", "detected", "early")
    assert found.plan == {"sha256": one.digest, "test": "sampled/distinct", "primary": True, "control": None}
    assert found.notes[-5:] == (*one.notes, NOT_BOUND_NOTE)
    assert "how" in found.notes
    assert EXPLORATORY_NOTE not in found.notes


@pytest.mark.parametrize(
    ("changes", "more", "reason"),
    [
        ({"inclusion": None}, {}, "no key commitment in the plan"),
        ({}, {"deviation": "half of it"}, "half of it"),
        ({}, {"probes_marked": True}, "nothing is claimed"),
        ({}, {"key_check": False}, "nothing is claimed"),
        ({"tokenizer": None}, {}, "no tokenizer in the plan"),
        ({"inclusion": None}, {"deviation": "half of it"}, "half of it; no key commitment in the plan"),
    ],
    ids=str,
)
def test_what_makes_it_exploratory_is_said(changes: dict[str, Any], more: dict[str, Any], reason: str) -> None:
    one = followed(effect=0.5, **changes)
    found = sequential(one, **more)
    assert found.status == "exploratory"
    assert found.notes[-1] == f"exploratory in spite of the plan: {reason}"
    assert (UNCOMMITTED_NOTE in found.notes) == ("inclusion" in changes)


@pytest.mark.parametrize(
    ("primary", "other", "deviation", "status"),
    [
        (0.6, 0.9, None, "confirmatory"),
        (0.25, 0.9, None, "exploratory"),  # a detection behind a primary test that found nothing
        (0.25, 0.1, None, "confirmatory"),  # no detection: it needs no gate
        (0.6, 0.9, "half of it", "exploratory"),  # nor does a primary test that was not the planned one open it
    ],
)
def test_the_primary_test_is_the_gate_of_the_others(
    primary: float, other: float, deviation: str | None, status: str
) -> None:
    """Serial gatekeeping: any confirmatory detection has a confirmatory one by the primary test before it."""
    one = followed(also=["reading/mass"], **FIXED)
    tests = {"sampled/distinct": Examined(counted(primary), deviation=deviation),
             "reading/mass": Examined(weighted(other))}  # fmt: skip
    found = judge_planned(one, tests, how_of(one))
    assert found["sampled/distinct"].finding == ("detected" if primary > 0.3 else "not detected")
    assert found["reading/mass"].finding == ("detected" if other > 0.3 else "inconclusive")
    assert found["reading/mass"].status == status
    gated = f"exploratory in spite of the plan: {GATE_NOTE}"
    assert (gated in found["reading/mass"].notes) == (status == "exploratory")


def test_what_was_not_checked_is_named() -> None:
    one = plan(effect=0.5)
    one.check_key(KEY)
    found = sequential(one)
    assert found.status == "exploratory"
    missing = "key check, access, tokenizer, probes, reference, frequencies, settings, sampling, left out"
    assert found.notes[-1].endswith(f"not checked against the plan: {missing}")


def test_other_tests_or_rules_than_the_plans_are_refused() -> None:
    one = followed(effect=0.5)
    how = how_of(one)
    right = Examined(process(one, 0.3, how))
    for tests, judged in (
        ({"sampled/distinct": right, "reading/mass": Examined(weighted(0.1))}, how),
        ({}, how),
        ({"sampled/distinct": right}, replace(how, alpha=1e-5)),
        ({"sampled/distinct": right}, replace(how, effect=None)),
        ({"sampled/distinct": right}, replace(how, key_check=True)),  # it must stop at .99 alpha then
        ({"sampled/distinct": Examined(counted(0.3))}, how),
        ({"sampled/distinct": Examined(replace(right.tally, maximum_pairs=500))}, how),
        ({"sampled/distinct": replace(right, control=weighted(0.9))}, how),
    ):
        with pytest.raises(InputError):
            judge_planned(one, tests, judged)
    fixed = followed(**FIXED)
    with pytest.raises(InputError, match="did not stop by the plan's rule"):
        judge_planned(fixed, {"sampled/distinct": right}, how_of(fixed))


# --- the positive control ---


@pytest.mark.parametrize(
    ("model", "control", "finding", "words"),
    [
        (0.1, 0.9, "not detected", "detected by the same test, log10_p"),
        (0.1, 0.1, "inconclusive", "not detected by the same test either (log10_p"),
        (0.1, None, "inconclusive", "not examined"),
        (0.9, 0.9, "detected", None),
        (0.9, 0.1, "detected", None),
    ],
)
def test_a_negative_reading_is_worth_what_its_control_is(
    model: float, control: float | None, finding: str, words: str | None
) -> None:
    one = followed(primary="reading/mass", sampling=None, positive_control=CONTROL)
    one.check_positive_control(CONTROL.digest)
    examined = Examined(weighted(model), control=None if control is None else weighted(control))
    found = judge_planned(one, {"reading/mass": examined}, how_of(one))["reading/mass"]
    assert (found.finding, found.status) == (finding, "confirmatory")
    said = [note for note in found.notes if "positive control" in note]
    assert [words in note for note in said] == ([True] if words else [])
    if control is not None:
        at_hand = assess(weighted(control))
        assert found.plan["control"] == {"log10_p": at_hand.log10_p, "finding": at_hand.finding}


def test_a_control_is_judged_as_strictly_as_its_test() -> None:
    """Detected alone, but not at Holm's first step among two: no negative then."""
    level = next(level for level in np.arange(0.05, 0.9, 0.001) if assess(weighted(level)).log10_p <= -6)
    assert assess(weighted(level)).log10_p > -6 - math.log10(2)
    for also, finding in (([], "not detected"), (["sampled/excess"], "inconclusive")):
        one = followed(primary="sampled/distinct", also=["reading/difference", *also], reference=DIGEST,
                       positive_control=CONTROL, **FIXED)  # fmt: skip
        one.check_positive_control(CONTROL.digest)
        tests = {"sampled/distinct": Examined(counted(0.25)),
                 "reading/difference": Examined(weighted(0.0), control=weighted(level)),
                 **{name: Examined(weighted(0.0)) for name in also}}  # fmt: skip
        assert judge_planned(one, tests, how_of(one))["reading/difference"].finding == finding


def test_a_plan_without_a_control_says_so() -> None:
    one = followed(primary="reading/mass", sampling=None)
    found = judge_planned(one, {"reading/mass": Examined(weighted(0.1))}, how_of(one))["reading/mass"]
    assert found.finding == "inconclusive"
    assert "the plan names no positive control: this test cannot say that a mark is absent" in found.notes


def test_no_control_mends_a_withdrawn_claim() -> None:
    one = followed(primary="reading/mass", sampling=None, positive_control=CONTROL)
    one.check_positive_control(CONTROL.digest)
    examined = {"reading/mass": Examined(weighted(0.1), control=weighted(0.9))}
    for how in (how_of(one, probes_marked=True), how_of(one, key_check=False)):
        assert judge_planned(one, examined, how)["reading/mass"].finding == "inconclusive"


# --- validity ---


def test_the_wiring_adds_nothing_to_the_error_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 keys, each with a plan of its own and checked before first use or not, on the same answers at alpha .05."""
    monkeypatch.setattr("watermark.chacha.NUMBA_FROM", 1)
    for module in ("plan", "content"):  # the same for every key
        monkeypatch.setattr(f"detect.plans.{module}.pairs_needed", lru_cache(pairs_needed))
    answers = [[int(t) for t in row] for row in np.random.default_rng(5).integers(0, 3000, (12, 40))]
    detected = early = withdrawn = 0
    for number in range(300):
        key = make_key(30_000 + number)
        one = Plan.make(key, PROBES, primary="sampled/distinct", sampling=PlannedSampling(), alpha=0.05, effect=0.5,
                        maximum_pairs=400, inclusion=inclusion(key, 1))  # fmt: skip
        one.check_key(key)
        how = how_of(one, key_check=True if number % 2 else None)
        test = Sequential(key, [answers[0][:10]], how.level, 400)
        for index, ids in enumerate(answers):
            if test.add(index, ids):
                break
        found = judge_planned(one, {one.primary: Examined(test.result(budget_spent=True))}, how)[one.primary]
        detected += found.finding == "detected"
        early += found.sequential["stopped"] == "early"
        withdrawn += found.log10_p_adjusted is None  # it hangs on what was left out, at so mild a level
        assert (found.finding == "detected") == ((found.log10_p_adjusted or 0.0) <= math.log10(0.05))
    assert detected == early - withdrawn  # what stops early is detected after the adjustment, too
    assert withdrawn < early
    assert 1 <= detected <= stats.binom.isf(1e-4, 300, 0.05)
