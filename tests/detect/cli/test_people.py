"""Evidence in words: what kind of p it is, what was counted, and what a finding of each kind means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from detect.cli.people import CONTROL_FOUND, CONTROL_MISSED, NO_CONTROL, describe, describe_all, summary
from detect.evidence import Assessment, Evidence, assess
from detect.wording import MEANINGS
from tests.detect.material import make_key, weight_tally
from tests.detect.test_evidence import counted, processed


def weighted(**changes: Any) -> Evidence:
    return replace(assess(weight_tally(make_key(22), [1.0, -2.0, 0.5])), **changes)


@pytest.mark.parametrize(
    ("evidence", "kind", "counts"),
    [
        (assess(counted(50, 100)), "(exact, one-sided)", "50 of 100 pairs, 50.0% (gamma 25.0%; 95 % interval"),
        (assess(processed(90, 132, maximum=212, highest=6.4, stopped="early")), "(valid bound, e-process, one-sided)",
         "90 of 132 pairs, 68.2% (gamma 25.0%; stopped early; planned: at most 212)"),
        (assess(processed(50, 212, maximum=212)), "(valid bound, e-process, one-sided)",
         "50 of 212 pairs, 23.6% (gamma 25.0%; planned: at most 212)"),
        (weighted(), "(valid bound, one-sided)", "weights      3 over 3 contexts"),
        (weighted(test="sampled"), "(valid bound, one-sided)", "weights      3 over 3 contexts"),
    ],
    ids=["count", "stopped early", "whole way", "reading", "weighted answers"],
)  # fmt: skip
def test_the_kind_of_p_and_what_was_counted(evidence: Evidence, kind: str, counts: str) -> None:
    lines = describe(evidence).splitlines()
    (p,) = [line for line in lines if line.startswith("  p   ")]
    assert kind in p
    assert any(counts in line for line in lines)


def test_titles_tell_weighted_answers_from_counted_ones() -> None:
    every = (assess(counted(50, 100)), assess(counted(50, 100, "sampled")), weighted(), weighted(test="sampled"))
    titles = {describe(one).splitlines()[0] for one in every}
    assert len(titles) == 4


@pytest.mark.parametrize(
    ("evidence", "meaning"),
    [
        (assess(counted(5000, 5000)), MEANINGS["detected"]),
        (assess(counted(25, 100)), MEANINGS["inconclusive"]),
        (assess(processed(50, 212, maximum=212), Assessment(effect=0.5)),
         "a green fraction of 0.5 would have been found with probability at least 0.9 within the planned maximum of "
         "212 pairs (binomial model), a smaller one perhaps not; this does not show that the mark was never used"),
        (assess(counted(250, 1000), Assessment(effect=0.35)),
         "a green fraction of 0.35 would have been found with probability at least 0.9 from 758 pairs (binomial "
         "model), a smaller one perhaps not; this does not show that the mark was never used"),
        (assess(counted(25, 100), Assessment(effect=0.35)), MEANINGS["inconclusive"]),  # it has that note, too
        (replace(assess(counted(250, 1000)), notes=()), MEANINGS["not detected"]),
        (weighted(finding="detected"), MEANINGS["detected"]),
        (weighted(), NO_CONTROL),
        (weighted(plan={"control": None}), NO_CONTROL),
        (weighted(plan={"control": {"log10_p": -1.0}}), CONTROL_MISSED),
        (weighted(plan={"control": {"log10_p": -9.0}}, finding="not detected"), CONTROL_FOUND),
        (weighted(log10_p=None), "no p is claimed, see the notes"),
        (weighted(log10_p_adjusted=None), "nothing is claimed under this key, see the notes"),
    ],
)  # fmt: skip
def test_a_finding_is_said_with_what_it_means(evidence: Evidence, meaning: str) -> None:
    assert describe(evidence).splitlines()[1] == f"  finding      {evidence.finding}: {meaning}"


DETECTED, NOT, UNCLEAR = "detected", "not detected", "inconclusive"


@pytest.mark.parametrize(
    ("findings", "line"),
    [
        ([], None),
        ([DETECTED], None),
        ([DETECTED, NOT], "Summary of 2 tests: detected by a (1 not detected)"),
        ([UNCLEAR, DETECTED, NOT, UNCLEAR], "Summary of 4 tests: detected by b (1 not detected, 2 inconclusive)"),
        ([DETECTED, DETECTED], "Summary of 2 tests: detected by all of them"),
        ([DETECTED, UNCLEAR, DETECTED], "Summary of 3 tests: detected by a and c (1 inconclusive)"),
        ([DETECTED, NOT, DETECTED, DETECTED], "Summary of 4 tests: detected by a, c and d (1 not detected)"),
        ([UNCLEAR, UNCLEAR, UNCLEAR], "Summary of 3 tests: detected by none of them (3 inconclusive)"),
        ([NOT, UNCLEAR], "Summary of 2 tests: detected by none of them (1 not detected, 1 inconclusive)"),
    ],
    ids=str,
)
def test_a_summary_counts_every_test_once(findings: list[Any], line: str | None) -> None:
    assert summary(list(zip("abcd", findings, strict=False))) == ([] if line is None else [line])


def test_several_tests_are_summed_up_before_they_are_shown() -> None:
    found = {"reading": weighted(finding="detected"), "sampled": weighted(test="sampled")}
    first, *blocks, _ = describe_all(found).split("\n\n")
    assert first == "Summary of 2 tests: detected by the reading test (1 inconclusive)"
    assert [block.splitlines()[:3] for block in blocks] == [describe(one).splitlines()[:3] for one in found.values()]
    assert describe_all({"reading": found["reading"]}) == describe(found["reading"])


def test_notes_that_all_tests_have_are_shown_once() -> None:
    notes = {"a": ("same", "of a", "two", "last"), "b": ("two", "same", "last"), "c": ("last", "same", "of c")}
    found = {name: weighted(notes=own) for name, own in notes.items()}
    _, *blocks, shared = describe_all(found).split("\n\n")
    said = [[line.removeprefix("  note         ") for line in block.splitlines() if "  note " in line]
            for block in (*blocks, shared)]  # fmt: skip
    assert said == [["of a", "two"], ["two"], ["of c"], ["same", "last"]]
    assert shared.splitlines()[0] == "Notes on each of these 3 tests:"
    different = {name: weighted(notes=(name,)) for name in "ab"}
    assert "Notes on each" not in describe_all(different)
    assert describe_all(different).split("\n\n")[1:] == [describe(one) for one in different.values()]


def test_a_summary_never_hides_what_a_plans_primary_test_found() -> None:
    found = {
        "sampled/distinct": weighted(test="sampled", plan={"primary": True}),
        "reading/mass": weighted(plan={"primary": False}, finding="detected"),
    }
    assert describe_all(found).splitlines()[0] == (
        "Summary of 2 tests: detected by the reading/mass test (1 inconclusive); "
        "the plan's primary test, sampled/distinct: inconclusive"
    )
