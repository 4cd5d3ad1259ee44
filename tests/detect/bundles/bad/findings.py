"""Findings that do not follow, and orders of events that do not bear them out."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np

from detect.exact.binomial import log10_sf
from tests.detect.bundles.bad.mark import replan
from tests.detect.bundles.bad.registry import (
    READING,
    SAMPLED,
    TEXT,
    bad,
    case_of,
    good,
)
from tests.detect.bundles.draft import Draft
from tests.detect.bundles.factory import CHECKED, MODEL, Files, Made, asked, planned_families, served, text_families
from tests.detect.bundles.served import SERVER

PLAN = "case/plan.json"


# --- adjusted, and found ---
@bad("adjusted")
def not_adjusted_for_the_family(d: Draft) -> None:
    value = d.json(TEXT)
    d.change(TEXT, log10_p_adjusted=value["log10_p"])


@bad("adjusted", "texts-checked")
def not_adjusted_for_the_key_check(d: Draft) -> None:
    name = "case/runs/0003/text.json"
    d.change(name, log10_p_adjusted=d.json(name)["log10_p_adjusted"] + float(np.log10(0.99)))


@bad("adjusted", "texts-checked")
def key_check_denied(d: Draft) -> None:
    """The log knows of the check, the family of none; its p are right by themselves."""
    value = d.json("case/runs/0003/run.json")
    for family in value["family"]:
        family["key_check"] = False
        for name in family["tests"]:
            path = f"case/runs/0003/{value['tests'][name]['evidence']}"
            adjusted = d.json(path)["log10_p_adjusted"]
            ps = [d.json(f"case/runs/0003/{value['tests'][n]['evidence']}")["log10_p"] for n in family["tests"]]
            d.change(path, log10_p_adjusted=holm_of(ps, family["tests"].index(name)) if adjusted is not None else None)
    d.put("case/runs/0003/run.json", value)


def holm_of(log10_p: list[float], which: int) -> float:
    largest = -np.inf
    for left, i in enumerate(sorted(range(len(log10_p)), key=lambda i: log10_p[i])):
        largest = max(largest, min(0.0, log10_p[i] + float(np.log10(len(log10_p) - left))))
        if i == which:
            return float(largest)
    raise IndexError(which)


@bad("adjusted", "texts-checked")
def claim_under_a_refused_key(d: Draft) -> None:
    d.change("case/key-check.json", accepted=False, n_green=180, log10_p=log10_sf(180, 400, 0.25))
    d.entry("key-checked")["details"]["accepted"] = False


@bad("adjusted", "texts-checked")
def adjusted_without_a_claim(d: Draft) -> None:
    name = "case/runs/0002/text.json"
    d.change(name, log10_p=None, log10_e=None, z_score=None)
    value = d.json(name)
    del value["lineup"]
    d.put(name, value)


@bad("finding", "texts-checked")
def finding_that_does_not_follow(d: Draft) -> None:
    d.change("case/runs/0003/text.json", finding="detected")


@bad("finding")
def finding_that_is_kept_back(d: Draft) -> None:
    d.change(TEXT, finding="not detected")


# --- the order of events ---
@bad("premature")
def confirmatory_without_a_plan(d: Draft) -> None:
    d.change(TEXT, status="confirmatory")


def without_commitment(d: Draft) -> dict[str, Any]:
    at = next(i for i, one in enumerate(d.entries) if one["event"] == "committed")
    return d.entries.pop(at)


@bad("premature", "early-closed")
def confirmatory_without_a_commitment(d: Draft) -> None:
    without_commitment(d)
    del d.files["case/commitment.json"]


@bad("premature", "early")
def later_commitment(d: Draft) -> None:
    entry = without_commitment(d)
    at = next(i for i, one in enumerate(d.entries) if one["event"] == "planned") + 1
    d.entries.insert(at, entry | {"time": d.entries[at - 1]["time"]})


@bad("premature", "early")
def later_plan(d: Draft) -> None:
    at = next(i for i, one in enumerate(d.entries) if one["event"] == "planned")
    entry = d.entries.pop(at)
    at = next(i for i, one in enumerate(d.entries) if one["event"] == "finished")
    d.entries.insert(at, entry | {"time": d.entries[at - 1]["time"]})


@bad("premature", "early")
def plan_used_twice(d: Draft) -> None:
    at = next(i for i, one in enumerate(d.entries) if one["event"] == "begun")
    begun = deepcopy(d.entries[at])
    renumber(d)
    d.insert(at, "begun", begun["details"])
    d.insert(at + 1, "stopped", {"run": "0001", "reason": "the answers did not look good"})


def answers_of(d: Draft, run: str, answers: bytes | None) -> None:
    """What was logged when a run ended; None: nothing was."""
    name = f"runs/{run}/responses.log"
    if answers is not None:
        d.files[f"case/{name}"] = answers
        return
    del d.files[f"case/{name}"]
    for one in d.entries:
        one["subjects"] = [subject for subject in one["subjects"] if subject["name"] != name]


@bad("premature", "resumed")
def answers_that_were_thrown_away(d: Draft) -> None:
    """The second run was stopped, its log deleted, and the third, which is said to go on, asked anew."""
    answers_of(d, "0002", d.files["case/runs/0002/responses.log"].replace(b'"text": "w', b'"text": "v', 1))


@bad("premature", "resumed")
def stopped_without_its_answers(d: Draft) -> None:
    answers_of(d, "0001", None)


@bad("premature", "early")
def questioned_before_it_was_planned(d: Draft) -> None:
    begun = deepcopy(d.entry("begun"))
    renumber(d)
    d.insert(1, "begun", begun["details"] | {"plan": None, "questioned": MODEL})
    d.insert(2, "stopped", {"run": "0001", "reason": "a first look"})


@bad("premature", "early")
def key_checked_after_the_plan(d: Draft) -> None:
    checked = Draft.of(good("texts-checked"))
    d.files["case/key-check.json"] = checked.files["case/key-check.json"]
    at = next(i for i, one in enumerate(d.entries) if one["event"] == "finished") + 1
    d.insert(at, "key-checked", checked.entry("key-checked")["details"], ["key-check.json"])


def renumber(d: Draft) -> None:
    """The first run becomes the second."""
    for one in d.entries:
        if "run" in one["details"]:
            one["details"]["run"] = "0002"
        for subject in one["subjects"]:
            subject["name"] = subject["name"].replace("runs/0001", "runs/0002")
    d.files = {name.replace("runs/0001", "runs/0002"): data for name, data in d.files.items()}
    d.change("case/runs/0002/run.json", run="0002")


@bad("premature", "weights")
def confirmatory_behind_a_primary_test_that_is_not(d: Draft) -> None:
    d.change(READING, status="exploratory")


# --- a model that was looked at more often than once ---


def looked_at(plans: int, *, first: bool = True, named: bool = True) -> Files:
    """Recorded plans, all but the last carried out and stopped; the last is confirmatory, it says."""

    def examined(made: Made) -> None:
        made.commit()
        several = [made.plan(effect=0.5, maximum_pairs=400 + n) for n in range(plans)]
        for one in several[:-1]:
            begun = made.begin("suspect", plan=one if first else None, questioned=MODEL)
            begun.stop("no connection")
        last = several[-1]
        test = asked(made.key, last, last.alpha, 0.6, 12, prompts=[[3, 4, 5], [6, 7]])
        families = planned_families(made, last, {"sampled/distinct": test})
        made.run("suspect", families, plan=last, questioned=MODEL if named else None)

    return case_of(examined)


@bad("premature", "nothing")
def several_plans_of_which_the_last_is_shown(d: Draft) -> Files:
    return looked_at(4)


@bad("premature", "nothing")
def looked_at_under_no_plan_and_stopped(d: Draft) -> Files:
    return looked_at(2, first=False)


@bad("premature", "nothing")
def planned_run_that_names_no_model(d: Draft) -> Files:
    return looked_at(1, named=False)


@bad("premature", "nothing")
def looked_at_before_a_plan_was_chosen(d: Draft) -> Files:
    """Two plans are recorded, runs without one look at the model, and then the better plan is carried out."""

    def examined(made: Made) -> None:
        made.commit()
        _, one = (made.plan(effect=0.5, maximum_pairs=400 + n) for n in range(2))
        made.run("suspect", text_families(made.key)[:1], questioned=MODEL)
        test = asked(made.key, one, one.alpha, 0.6, 12, prompts=[[3, 4, 5], [6, 7]])
        made.run("suspect", planned_families(made, one, {"sampled/distinct": test}), plan=one, questioned=MODEL)

    return case_of(examined)


def by_another_name(first: str) -> Files:
    """A run on this machine's server that was stopped, under another of its names, and then the plan's."""

    def examined(made: Made) -> None:
        made.begin("suspect", questioned={**SERVER, "server": first}).stop("no connection")
        served(made)

    return case_of(examined)


@bad("premature", "nothing")
def same_server_by_another_name(d: Draft) -> Files:
    return by_another_name("http://LocalHost:8000/v1")


@bad("premature", "nothing")
def same_server_by_its_longer_name(d: Draft) -> Files:
    return by_another_name("http://[::1]:8000/v1")


@bad("premature", "nothing")
def two_plans_carried_out(d: Draft) -> Files:
    """Each with a finding of its own, so that the chance of one by chance is twice alpha."""

    def examined(made: Made) -> None:
        made.commit()
        for one in [made.plan(effect=0.5, maximum_pairs=400 + n) for n in range(2)]:
            test = asked(made.key, one, one.alpha, 0.6, 12, prompts=[[3, 4, 5], [6, 7]])
            made.run("suspect", planned_families(made, one, {"sampled/distinct": test}), plan=one, questioned=MODEL)

    return case_of(examined)


# --- negatives of tests that could have found nothing ---


@bad("finding", "texts")
def not_detected_among_a_few_pairs(d: Draft) -> None:
    d.change("case/runs/0001/each-00003.json", finding="not detected")  # of an empty document


@bad("finding", "exhausted")
def not_detected_before_the_maximum(d: Draft) -> None:
    d.change(SAMPLED, finding="not detected")


@bad("evidence", "weights-none")
def control_that_is_said_to_be_detected(d: Draft) -> None:
    said = {"log10_p": -40.0, "finding": "detected"}
    d.change(READING.replace("reading-difference", "sampled-excess"), finding="not detected", plan__control=said)


@bad("finding", "weights-none")
def not_detected_without_a_control_that_is(d: Draft) -> None:
    d.change(READING.replace("reading-difference", "sampled-excess"), finding="not detected")


# --- what the plan itself says ---


@bad("run", "weights")
def control_that_was_not_planned(d: Draft) -> None:
    replan(d, d.json(PLAN) | {"positive_control": None})


@bad("premature", "early")
def confirmatory_without_a_planned_tokenizer(d: Draft) -> None:
    replan(d, d.json(PLAN) | {"tokenizer": None, "left_out": None})


@bad("premature", "early")
def confirmatory_by_a_plan_that_does_not_say_what_is_left_out(d: Draft) -> None:
    replan(d, d.json(PLAN) | {"left_out": None})


@bad("premature", "early")
def more_left_out_than_was_planned(d: Draft) -> None:
    """A pair that nobody said, so that every number stays; red ones that were said would be left out as easily."""
    name = "case/runs/0001/sampled-distinct.prompts.jsonl"
    d.files[name] += b'{"id":null,"token_ids":[400000,400001]}\n'


@bad("premature", "server")
def prompts_left_out_in_another_order_than_planned(d: Draft) -> None:
    name = "case/runs/0001/sampled-distinct.prompts.jsonl"
    d.files[name] = b"".join(reversed(d.files[name].splitlines(keepends=True)))


@bad("premature", "early")
def plan_dated_after_its_entry(d: Draft) -> None:
    replan(d, d.json(PLAN) | {"created": "2027-06-12T00:00:00Z"})


@bad("premature", "early")
def commitment_dated_after_its_entry(d: Draft) -> None:
    d.change("case/commitment.json", created="2027-06-12T00:00:00Z")


@bad("adjusted", "early")
def key_check_that_only_the_plan_knows_of(d: Draft) -> None:
    """Its record was lost, and p is not multiplied for it."""
    value = d.json(PLAN)
    value["key"]["check"] = {"outcome": "accepted", "corpus_sha256": CHECKED}
    replan(d, value)
