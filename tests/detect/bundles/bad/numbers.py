"""Numbers that do not follow from the material: changed, then signed anew."""

from __future__ import annotations

import numpy as np

from detect.exact.evalue import log10_e_process, log10_e_value
from detect.sequential import Sequential
from tests.detect.bundles.bad.registry import (
    DOCUMENTS,
    READING,
    RUN,
    SAMPLED,
    TEXT,
    bad,
    case_of,
)
from tests.detect.bundles.bad.runs import reweigh
from tests.detect.bundles.draft import Draft
from tests.detect.bundles.factory import KEY, MODEL, Files, Made, asked, documents, planned_families
from tests.detect.bundles.served import FED


@bad("pairs")
def document_left_out(d: Draft) -> None:
    d.files[DOCUMENTS] = d.files[DOCUMENTS].split(b"\n", 1)[1]


@bad("pairs")
def document_counted_twice(d: Draft) -> None:
    d.files[DOCUMENTS] += d.files[DOCUMENTS].split(b"\n", 1)[0] + b"\n"


@bad("pairs")
def prompts_left_out(d: Draft) -> None:
    d.files["case/runs/0001/text.prompts.jsonl"] = b""


@bad("pairs", "text-closed")
def more_pairs_than_there_are(d: Draft) -> None:
    d.change(TEXT, n_scored=d.json(TEXT)["n_scored"] + 1)


@bad("pairs")
def more_contexts_than_there_are(d: Draft) -> None:
    d.change(TEXT, n_contexts=d.json(TEXT)["n_contexts"] + 1)


@bad("evidence", "early")
def stopped_later_than_it_should(d: Draft) -> None:
    d.change(SAMPLED, sequential__alpha=1e-9)


@bad("pairs", "early")
def stopped_by_another_answer(d: Draft) -> None:
    d.change(SAMPLED, sequential__n_answers=9)


@bad("pairs", "early")
def answers_in_another_order(d: Draft) -> None:
    name = "case/runs/0001/sampled-distinct.documents.jsonl"
    d.files[name] = b"".join(line + b"\n" for line in d.files[name].splitlines()[::-1])


@bad("pairs", "early-closed")
def more_pairs_than_answers(d: Draft) -> None:
    d.change(SAMPLED, n_scored=100_000)


@bad("pairs", "weights")
def fewer_weights(d: Draft) -> None:
    d.change(READING, n_scored=d.json(READING)["n_scored"] - 1)


@bad("pairs", "weights-none")
def weight_of_a_special_token(d: Draft) -> None:
    reweigh(d, tokens=lambda a: np.concatenate([np.array([7], dtype=np.uint32), a["tokens"][1:]]))


@bad("colours")
def more_green_than_there_is(d: Draft) -> None:
    d.change(TEXT, n_green=d.json(TEXT)["n_green"] + 1)


@bad("colours", "text-closed")
def more_green_than_pairs(d: Draft) -> None:
    d.change(TEXT, n_green=d.json(TEXT)["n_scored"] + 1)


@bad("colours", "early")
def more_green_before_the_stop(d: Draft) -> None:
    d.change(SAMPLED, n_green=d.json(SAMPLED)["n_green"] + 1)


@bad("colours", "weights")
def greater_statistic(d: Draft) -> None:
    value = d.json(RUN)
    value["tests"]["reading/difference"]["statistic"] *= 1.01
    d.put(RUN, value)


@bad("p")
def smaller_p(d: Draft) -> None:
    d.change(TEXT, log10_p=d.json(TEXT)["log10_p"] - 1)


@bad("p")
def smaller_p_in_the_eighth_digit(d: Draft) -> None:
    d.change(TEXT, log10_p=d.json(TEXT)["log10_p"] * (1 + 1e-8))


@bad("p", "text-closed")
def more_green_without_the_key(d: Draft) -> None:
    d.change(TEXT, n_green=d.json(TEXT)["n_green"] + 1)


@bad("p", "early")
def smaller_p_of_an_e_process(d: Draft) -> None:
    d.change(SAMPLED, log10_p=d.json(SAMPLED)["log10_p"] - 1)


@bad("p", "early-closed")
def smaller_p_of_an_e_process_without_the_key(d: Draft) -> None:
    d.change(SAMPLED, log10_p=d.json(SAMPLED)["log10_p"] - 1)


@bad("p", "exhausted-closed")
def p_of_an_e_process_that_was_made_up(d: Draft) -> None:
    """Of 37 green among 144 pairs, and an e-value below 1."""
    d.change(SAMPLED, log10_p=-40, log10_p_adjusted=-40, finding="detected")


def say_green(d: Draft, green: int, log10_p: float | None = None) -> None:
    """As many green pairs of an e-process, and what follows from them; log10_p: if it is not the last e-value's."""
    n = d.json(SAMPLED)["n_scored"]
    log10_e = log10_e_value(green, n, 0.25)
    log10_p = -log10_e if log10_p is None else log10_p
    said = {"log10_p": log10_p, "log10_p_adjusted": log10_p, "finding": "detected" if log10_p <= -6 else "inconclusive"}
    d.change(SAMPLED, n_green=green, green_fraction=green / n, log10_e=log10_e, **said)


@bad("p", "exhausted-closed")
def p_that_no_order_of_the_pairs_gives(d: Draft) -> None:
    say_green(d, 9, -4.6)  # with all nine first it is 4.54


@bad("p", "exhausted-closed")
def p_that_was_not_stopped_at(d: Draft) -> None:
    say_green(d, 37, -6.1)  # which ends an e-process early


@bad("p", "exhausted-closed")
def p_greater_than_that_of_the_end(d: Draft) -> None:
    say_green(d, 57, -0.5)


@bad("pairs", "exhausted-closed")
def not_stopped_beyond_the_level(d: Draft) -> None:
    say_green(d, 100)


@bad("pairs", "early-closed")
def stopped_later_than_the_counts_allow(d: Draft) -> None:
    say_green(d, d.json(SAMPLED)["n_green"] + 2)


@bad("pairs", "early-closed")
def stopped_before_the_level(d: Draft) -> None:
    say_green(d, d.json(SAMPLED)["n_green"] - 2)


@bad("p", "weights")
def smaller_bound(d: Draft) -> None:
    d.change(READING, log10_p=d.json(READING)["log10_p"] - 0.01)


@bad("p", "weights-closed")
def greater_statistic_without_the_key(d: Draft) -> None:
    value = d.json(RUN)
    value["tests"]["reading/difference"]["statistic"] *= 1.01
    d.put(RUN, value)


@bad("e")
def greater_e_value(d: Draft) -> None:
    d.change(TEXT, log10_e=d.json(TEXT)["log10_e"] + 1)


@bad("e", "weights")
def e_value_of_weights(d: Draft) -> None:
    d.change(READING, log10_e=3)


@bad("z")
def greater_z(d: Draft) -> None:
    d.change(TEXT, z_score=d.json(TEXT)["z_score"] + 1)


@bad("z", "early")
def z_of_an_e_process(d: Draft) -> None:
    d.change(SAMPLED, z_score=9)


@bad("interval")
def narrower_interval(d: Draft) -> None:
    low, high = d.json(TEXT)["ci95"]
    d.change(TEXT, ci95=[low + 0.01, high])


@bad("interval")
def greater_green_fraction(d: Draft) -> None:
    d.change(TEXT, green_fraction=0.9)


@bad("theta")
def theta_of_a_count(d: Draft) -> None:
    d.change(TEXT, theta=1)


@bad("theta", "weights")
def negative_theta(d: Draft) -> None:
    d.change(READING, theta=-1)


@bad("theta", "weights")
def no_theta(d: Draft) -> None:
    d.change(READING, theta=None)


@bad("p", "weights")
def another_theta(d: Draft) -> None:
    d.change(READING, theta=d.json(READING)["theta"] * 1.1)


@bad("lineup")
def better_rank(d: Draft) -> None:
    d.change(TEXT, lineup__rank=2)


@bad("lineup")
def smaller_p_of_rank(d: Draft) -> None:
    d.change(TEXT, lineup__p_rank=0.01)


@bad("lineup")
def weaker_best_decoy(d: Draft) -> None:
    d.change(TEXT, lineup__log10_p_best_decoy=-0.1)


@bad("lineup", "weights")
def other_rank_among_weighted_decoys(d: Draft) -> None:
    d.change(READING, lineup__rank=3, lineup__p_rank=0.15)


@bad("pairs", "nothing")
def e_process_so_near_to_its_level_that_rounding_decides(d: Draft) -> Files:
    """The level is what E has after the 63rd pair, to the last digit that one of two programs may compute."""

    def near(made: Made) -> None:
        made.commit()
        answers = documents(KEY, 0.6, 30)
        whole = Sequential(KEY, FED, 1e-200, 10_000)
        for index, ids in enumerate(answers):
            whole.add(index, ids)
        path = log10_e_process(whole.result().colours, KEY.gamma)
        at = next(n for n in range(50, len(path)) if path[n] == path[: n + 1].max())
        one = made.plan(effect=0.5, alpha=float(f"{10 ** -path[at]:.11e}"))
        tests = {"sampled/distinct": asked(KEY, one, one.alpha, 0.6, 30)}
        made.run("suspect", planned_families(made, one, tests), plan=one, questioned=MODEL)

    return case_of(near)
