"""Runs and evidence that are not what the log and the plan say."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np

from detect.bundles.material import Family
from detect.counting import tally
from detect.decoys import lineup
from detect.examined import Examined
from detect.observation import Excess, Reading, Texts
from detect.plans.parts import PlannedSampling
from tests.detect.bundles.bad.registry import (
    DOCUMENTS,
    READING,
    RUN,
    SAMPLED,
    TEXT,
    WEIGHTS,
    bad,
    case_of,
)
from tests.detect.bundles.draft import Draft
from tests.detect.bundles.factory import (
    DIGEST,
    MODEL,
    SEED,
    Files,
    Made,
    asked,
    documents,
    excess,
    planned_families,
    reading,
    text_families,
    weighed,
)
from tests.detect.material import make_key
from watermark.keys import Key


@bad("run")
def run_of_another_number(d: Draft) -> None:
    d.change(RUN, run="0002")


@bad("run")
def run_of_another_command(d: Draft) -> None:
    d.change(RUN, command="suspect")


@bad("run")
def dropped_test_that_was_recorded(d: Draft) -> None:
    value = d.json(RUN)
    del value["tests"]["text/scan"]
    value["family"][0]["tests"].remove("text/scan")
    d.put(RUN, value)


@bad("run")
def test_in_no_family(d: Draft) -> None:
    value = d.json(RUN)
    value["family"][0]["tests"].remove("text/scan")
    d.put(RUN, value)


@bad("run")
def test_in_two_families(d: Draft) -> None:
    value = d.json(RUN)
    value["family"].append({"tests": ["text"], "key_check": False})
    d.put(RUN, value)


@bad("run")
def evidence_from_outside_the_run(d: Draft) -> None:
    d.change(RUN, tests__text__evidence="../../../mark.json")


@bad("run")
def test_of_an_unknown_kind(d: Draft) -> None:
    d.change(RUN, tests__text__kind="belief")


@bad("run", "weights")
def planned_test_left_out(d: Draft) -> None:
    value = d.json(RUN)
    del value["tests"]["sampled/excess"]
    for family in value["family"]:
        family["tests"] = [name for name in family["tests"] if name != "sampled/excess"]
    d.put(RUN, value)
    d.entry("finished")["details"]["tests"].remove("sampled/excess")


@bad("run")
def family_that_was_split(d: Draft) -> None:
    """Each test by itself would have to pay for none of the others."""
    value = d.json(RUN)
    value["family"] = [{"tests": [name], "key_check": False} for name in value["tests"]]
    d.put(RUN, value)
    for name in ("text", "text-scan"):
        path = f"case/runs/0001/{name}.json"
        d.change(path, log10_p_adjusted=d.json(path)["log10_p"])


@bad("run", "weights")
def primary_test_among_the_others(d: Draft) -> None:
    value = d.json(RUN)
    value["family"][0]["tests"] += value["family"].pop(1)["tests"]
    d.put(RUN, value)


@bad("evidence", "early")
def other_alpha_than_planned(d: Draft) -> None:
    d.change(SAMPLED, alpha=0.01)


@bad("evidence", "early")
def other_maximum_than_planned(d: Draft) -> None:
    d.change(SAMPLED, sequential__maximum_pairs=d.json(SAMPLED)["sequential"]["maximum_pairs"] + 1)


@bad("evidence", "early")
def other_decoys_than_planned(d: Draft) -> None:
    d.change(SAMPLED, lineup__seed="ab" * 32)


@bad("evidence", "weights")
def other_primary_test_than_planned(d: Draft) -> None:
    d.change(READING, plan__primary=False)


@bad("evidence")
def evidence_of_another_gamma(d: Draft) -> None:
    d.change(TEXT, gamma=0.2)


@bad("evidence")
def evidence_of_another_key(d: Draft) -> None:
    d.change(TEXT, key_id=make_key(9).key_id)


@bad("evidence")
def evidence_of_another_schema(d: Draft) -> None:
    d.change(TEXT, schema="taggant-evidence/0")


@bad("evidence")
def evidence_with_another_member(d: Draft) -> None:
    d.change(TEXT, probability_of_theft=0.99)


@bad("evidence")
def evidence_with_a_finding_of_its_own(d: Draft) -> None:
    d.change(TEXT, finding="certain")


@bad("evidence", "early")
def evidence_of_another_plan(d: Draft) -> None:
    d.change(SAMPLED, plan__sha256="ab" * 32)


@bad("evidence", "texts-checked")
def family_of_two_levels(d: Draft) -> None:
    d.change("case/runs/0003/each-00001.json", alpha=0.05)


@bad("run")
def kind_that_is_no_text(d: Draft) -> None:
    d.change(RUN, tests__text__kind=[])


@bad("json")
def evidence_that_is_indented(d: Draft) -> None:
    d.files[TEXT] = json.dumps(d.json(TEXT), indent=1).encode()


@bad("json")
def evidence_without_a_number(d: Draft) -> None:
    d.files[TEXT] = re.sub(rb'"log10_p":[-0-9.]+', b'"log10_p":-Infinity', d.files[TEXT])


@bad("json")
def evidence_in_another_spelling(d: Draft) -> None:
    d.files[TEXT] = d.files[TEXT].replace(b'"gamma":0.25', b'"gamma":2.5e-1')


@bad("material")
def rows_with_texts(d: Draft) -> None:
    d.files[DOCUMENTS] = d.files[DOCUMENTS].replace(b'"token_ids"', b'"text":"x","token_ids"', 1)


@bad("material")
def ids_that_are_none(d: Draft) -> None:
    d.files[DOCUMENTS] = d.files[DOCUMENTS].replace(b'"token_ids":[', b'"token_ids":[-1,', 1)


@bad("material")
def ids_that_are_true(d: Draft) -> None:
    d.files[DOCUMENTS] = d.files[DOCUMENTS].replace(b'"token_ids":[', b'"token_ids":[true,', 1)


@bad("material", "weights")
def weights_cut_short(d: Draft) -> None:
    d.files[WEIGHTS] = d.files[WEIGHTS][:-50]


def reweigh(d: Draft, **changes: Any) -> None:
    with np.load(io.BytesIO(d.files[WEIGHTS])) as file:
        arrays = {name: file[name] for name in file.files}
    handle = io.BytesIO()
    np.savez(handle, **(arrays | {name: change(arrays) for name, change in changes.items()}))
    d.files[WEIGHTS] = handle.getvalue()


@bad("material", "weights")
def pickled_weights(d: Draft) -> None:
    reweigh(d, weights=lambda arrays: arrays["weights"].astype(object))


@bad("material", "weights")
def pair_twice_in_weights(d: Draft) -> None:
    reweigh(d, tokens=lambda a: np.concatenate([a["tokens"][:1], a["tokens"][:1], a["tokens"][2:]]))


@bad("material", "weights")
def weight_that_is_no_number(d: Draft) -> None:
    reweigh(d, weights=lambda a: np.concatenate([[np.nan], a["weights"][1:]]))


@bad("material", "weights")
def weights_in_a_bomb(d: Draft) -> None:
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.npy", bytes(2_000_000))
    d.files[WEIGHTS] = handle.getvalue()


# --- kinds of tests that are not the plan's ---


@bad("run", "nothing")
def count_in_place_of_the_planned_e_process(d: Draft) -> Files:
    """Who looks after every answer, and stops where p is smallest, has planned an e-process and reports a count."""

    def examined(made: Made) -> None:
        made.commit()
        one = made.plan(effect=0.5)
        answers, prompts = documents(made.key, 0.42, 12), [[3, 4, 5], [6, 7]]
        counted = tally(made.key, answers, prompts, test="sampled")
        test = Examined(counted, [], lineup(counted, 19, seed=SEED), observed=Texts(answers, prompts))
        with patch("detect.examined._check"):
            families = planned_families(made, one, {"sampled/distinct": test})
        made.run("suspect", families, plan=one, questioned=MODEL)

    return case_of(examined)


@bad("evidence", "nothing")
def e_process_of_another_level_than_planned(d: Draft) -> Files:
    def examined(made: Made) -> None:
        made.commit()
        one = made.plan(effect=0.5)
        test = asked(made.key, one, 0.01, 0.6, 12, prompts=[[3, 4, 5], [6, 7]])
        with patch("detect.examined._check"):
            families = planned_families(made, one, {"sampled/distinct": test})
        made.run("suspect", families, plan=one, questioned=MODEL)

    return case_of(examined)


@bad("run", "nothing")
def families_split_by_the_name_of_a_control(d: Draft) -> Files:
    """Each would be judged alone, and pay for none of the others."""

    def examined(made: Made) -> None:
        each = text_families(made.key, scanned=False)[1]
        made.run("detect", [Family({f"{name}/control": one}, False) for name, one in each.tests.items()])

    return case_of(examined)


@bad("run", "nothing")
def control_beside_the_tests_of_the_plan(d: Draft) -> Files:
    def examined(made: Made) -> None:
        made.commit()
        one = made.plan(effect=0.5)
        test = asked(made.key, one, one.alpha, 0.25, 10, prompts=[[3, 4, 5], [6, 7]])
        more = text_families(made.key)[0].tests["text"]
        families = planned_families(made, one, {"sampled/distinct": test})
        made.run("suspect", [*families, Family({"anything/control": more}, False)], plan=one, questioned=MODEL)

    return case_of(examined)


@bad("run", "nothing")
def plan_that_was_not_recorded(d: Draft) -> Files:
    def examined(made: Made) -> None:
        made.commit()
        with patch("tests.detect.bundles.factory.record_plan"):
            one = made.plan(effect=0.5)
        test = asked(made.key, one, one.alpha, 0.6, 12, prompts=[[3, 4, 5], [6, 7]]).but_for(["not recorded"])
        made.run("suspect", planned_families(made, one, {"sampled/distinct": test}), plan=one, questioned=MODEL)

    return case_of(examined)


@bad("evidence")
def status_that_is_none(d: Draft) -> None:
    d.change(TEXT, status=None)


@bad("entry", "early")
def plan_of_number_0(d: Draft) -> None:
    d.files["case/plan-0.json"] = d.files.pop("case/plan.json")
    d.entry("planned")["subjects"][0]["name"] = "plan-0.json"


@bad("entry")
def file_of_another_run(d: Draft) -> None:
    d.files["case/runs/0002/x"] = b"x"
    d.entry("finished")["subjects"].append({"name": "runs/0002/x", "sha256": ""})


# --- numbers that would fill the machine, or that nothing can be computed of ---


@bad("evidence")
def more_decoys_than_there_may_be(d: Draft) -> None:
    d.change(TEXT, lineup__decoys=10**6 + 1)


@bad("run", "attributed")
def more_keys_than_there_may_be(d: Draft) -> None:
    value = d.json(RUN)
    value["family"][0]["keys"] = 10**9 + 1
    d.put(RUN, value)


@bad("evidence", "text-closed")
def scan_whose_p_is_above_1(d: Draft) -> None:
    d.change("case/runs/0001/text-scan.json", log10_p=1, log10_p_adjusted=0, finding="inconclusive")


# --- an .npz in another form than the one, of which two readers could make two things ---


@bad("material", "weights")
def position_count_of_another_type(d: Draft) -> None:
    reweigh(d, n_positions=lambda a: a["n_positions"].astype(np.int32))


@bad("material", "weights")
def position_count_in_a_row(d: Draft) -> None:
    reweigh(d, n_positions=lambda a: a["n_positions"].reshape(1))


@bad("material", "weights")
def array_beside_the_weights(d: Draft) -> None:
    reweigh(d, spare=lambda a: np.zeros(3))


@bad("material", "weights")
def something_behind_the_weights(d: Draft) -> None:
    d.files[WEIGHTS] += bytes(7)


@bad("material", "weights")
def array_with_something_behind_its_numbers(d: Draft) -> None:
    with zipfile.ZipFile(io.BytesIO(d.files[WEIGHTS])) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w") as archive:
        for name, data in held.items():
            archive.writestr(name, data + bytes(8 if name == "weights.npy" else 0))
    d.files[WEIGHTS] = handle.getvalue()


@bad("material", "weights-closed")
def weight_beyond_what_can_be_computed(d: Draft) -> None:
    reweigh(d, weights=lambda a: np.concatenate([[1e300], a["weights"][1:]]))


@bad("pairs", "weights")
def contexts_that_nobody_counted(d: Draft) -> None:
    reweigh(d, n_contexts=lambda a: a["n_contexts"] + 1)


@bad("evidence", "nothing")
def planned_count_as_another_test(d: Draft) -> Files:
    """Of the test `text` nothing that was fed is audited."""

    def examined(made: Made) -> None:
        made.commit()
        one = made.plan(effect=0.5, stopping="fixed", sampling=PlannedSampling(tokens=1000))
        answers, prompts = documents(made.key, 0.6, 30), documents(made.key, 0.9, 4, seed=9)
        counted = tally(made.key, answers, prompts, test="text")
        test = Examined(counted, [], lineup(counted, 19, seed=SEED), observed=Texts(answers, prompts))
        made.run("suspect", planned_families(made, one, {"sampled/distinct": test}), plan=one, questioned=MODEL)

    return case_of(examined)


def weighed_otherwise(change: Callable[[Key], Reading | Excess], **planned: Any) -> Files:
    """A plan to read against a reference, and what was weighed in its place."""

    def examined(made: Made) -> None:
        made.commit()
        values = {"primary": "reading/difference", "reference": DIGEST, "stopping": "fixed", "sampling": None}
        one = made.plan(**(values | planned))
        tests = {one.primary: weighed(made.key, change(made.key))}
        made.run("suspect", planned_families(made, one, tests), plan=one, questioned=MODEL)

    return case_of(examined)


@bad("evidence", "nothing")
def answers_in_place_of_the_planned_reading(d: Draft) -> Files:
    return weighed_otherwise(lambda key: excess(key, 2.5))


@bad("evidence", "nothing")
def answers_called_a_reading(d: Draft) -> Files:
    again = Draft.of(weighed_otherwise(lambda key: excess(key, 2.5)))
    again.change(READING, test="reading")
    return again.build()


@bad("material", "nothing")
def reading_without_the_planned_reference(d: Draft) -> Files:
    return weighed_otherwise(lambda key: replace(reading(key, 2.5), with_reference=False))


@bad("material", "nothing")
def reading_against_a_reference_that_was_not_planned(d: Draft) -> Files:
    return weighed_otherwise(lambda key: reading(key, 2.5), primary="reading/mass", reference=None)


@bad("material", "nothing")
def reference_that_cannot_be_audited(d: Draft) -> Files:
    return weighed_otherwise(lambda key: replace(reading(key, 2.5), expectation=None))


@bad("material", "nothing")
def weights_whose_left_out_pairs_are_not_there(d: Draft) -> Files:
    return weighed_otherwise(lambda key: replace(reading(key, 2.5), excluded=None))


@bad("material", "nothing")
def more_weights_a_context_than_planned(d: Draft) -> Files:
    return weighed_otherwise(lambda key: reading(key, 2.5), top=3)


@bad("run")
def family_of_scans_alone(d: Draft) -> None:
    """What is judged at no level."""
    value = d.json(RUN)
    del value["tests"]["text"]
    value["family"][0]["tests"] = d.entry("finished")["details"]["tests"] = ["text/scan"]
    d.put(RUN, value)


@bad("evidence", "early")
def planned_line_up_left_out(d: Draft) -> None:
    value = d.json(SAMPLED)
    del value["lineup"]
    d.put(SAMPLED, value)


def rename(d: Draft, old: str, new: str) -> None:
    """A test of a run, wherever it is named."""
    value = d.json(RUN)
    value["tests"][new] = value["tests"].pop(old)
    for family in value["family"]:
        family["tests"] = [new if name == old else name for name in family["tests"]]
    names = d.entry("finished")["details"]["tests"]
    d.entry("finished")["details"]["tests"] = [new if name == old else name for name in names]
    d.put(RUN, value)


@bad("run")
def test_whose_name_forges_a_line(d: Draft) -> None:
    rename(d, "text", "text\nPASSED: every check; not checked: nothing\x1b[8m")


@bad("run", "attributed")
def attribution_under_another_name(d: Draft) -> None:
    """Among how many keys the mark was looked for would not be said."""
    rename(d, "attribution", "text")


@bad("run", "texts")
def tests_that_share_their_evidence(d: Draft) -> None:
    value = d.json(RUN)
    value["tests"]["each/00002"]["evidence"] = value["tests"]["each/00001"]["evidence"]
    d.put(RUN, value)


@bad("evidence")
def level_below_any_that_is_asked_for(d: Draft) -> None:
    d.change(TEXT, alpha=5e-324)


@bad("evidence")
def level_above_1(d: Draft) -> None:
    d.change(TEXT, alpha=1.5)


@bad("evidence")
def count_with_tests_of_comparison(d: Draft) -> None:
    d.change(TEXT, comparisons={"argmax": {"log10_p": -300.0}})


@bad("evidence", "early")
def seed_in_upper_case(d: Draft) -> None:
    d.change(SAMPLED, lineup__seed=d.json(SAMPLED)["lineup"]["seed"].upper())


@bad("run", "nothing")
def nine_tests_of_one_text(d: Draft) -> Files:
    """A small bundle would take as long as one likes to verify."""

    def many(made: Made) -> None:
        (tested,) = [one for name, one in text_families(made.key)[0].tests.items() if name == "text"]
        made.run("detect", [Family({f"text/{number}": tested for number in range(9)}, key_check=False)])

    return case_of(many)
