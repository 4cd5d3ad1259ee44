"""How a study's numbers are said: plain words, no more than the tests can claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detect.wording import FLOOR, amount, probability_words
from distill_sim.condition import AFTERWARDS, ATTACKS, SOURCES, Step, joined

TEST_TITLES = {
    "reading": "Reading",
    "sampled": "Sampled",
    "argmax": "Argmax",
    "green_mass": "Green mass",
    "distinct_pairs": "Distinct pairs",
    "text": "Text",
}
TEST_MEANINGS = {
    "reading": "the student reads texts that do not depend on the key; where its predictions differ from those of the "
    "model it was made from, do they favour green?",
    "argmax": "for comparison: the colour of the likeliest token after each context",
    "green_mass": "for comparison: how much of the predicted probability falls on green",
    "sampled": "the student is asked questions; what it says more often than the model it was made from would, is it "
    "green?",
    "distinct_pairs": "for comparison: how many of the pairs in the student's answers are green",
    "text": "of what the student was trained on, not of the student: how many of its pairs are green",
}
SOURCE_TITLES = {
    "account": "marked answers",
    "licensed": "marked answers, licensed",
    "unmarked": "unmarked answers",
    "human": "human text",
    "another-owner": "another owner's mark",
    "imitated": "an imitated mark",
}
assert set(SOURCE_TITLES) == set(SOURCES)
_PHRASES = {
    "synonyms": "{:.0%} of the words replaced by synonyms",
    "delete": "{:.0%} of the words deleted",
    "shuffle": "sentences shuffled",
    "resample": "{:.0%} of the tokens drawn anew by the unmarked teacher",
    "paraphrase": "answers paraphrased by a model",
    "int8": "weights rounded to 8 bits",
    "int4": "weights rounded to 4 bits",
    "prune": "{:.0%} of the weights pruned",
    "heal": "healed on {:,.0f} unmarked answers",
    "clean": "fine-tuned on {:,.0f} tokens of human text",
    "merge": "merged with the base model ({:.0%} of it)",
    "distil": "second generation, a student of {:,.0f} of its answers",
    "neutralise": "neutralised at inference, strength {:g}",
}
assert set(_PHRASES) == {*ATTACKS, *AFTERWARDS}


def treatment(attack: Sequence[str], after: Sequence[str]) -> str:
    """What was done to answers and student, in the order in which it was done."""
    steps = [Step.parse(text, ATTACKS, "attack") for text in attack]
    steps += joined([Step.parse(text, AFTERWARDS, "after") for text in after])
    phrases = (_PHRASES[step.name].format(step.amount if step.amount is not None else "") for step in steps)
    return ", then ".join(phrases) or "nothing"


def power_words(log10_p: float | None) -> str:
    """A short p for a table or a drawing: "0.31", "<10^-7", "<10^-30" at least."""
    words = probability_words(log10_p)
    if log10_p is not None and log10_p <= FLOOR - 1:
        return f"<10^{FLOOR}"
    return words.replace("about ", "").replace("below ", "<")


def number_words(value: float) -> str:
    """Two significant digits of a large number: "1,300"."""
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.2g}"


def listed(parts: Sequence[str], most: int = 6) -> str:
    """ "a", "a and b", "a; b; c and 4 more"."""
    if len(parts) > most:
        return "; ".join(parts[:most]) + f"; and {len(parts) - most} more"
    return "; ".join(parts)


def of_runs(found: Mapping[str, Any]) -> str:
    return f"{found['detected']} of {found['runs']} runs"


def headline(found: Mapping[str, Any]) -> list[str]:
    """What was found, in plain words from the numbers of the summary: a paragraph, then one point each."""
    paragraph = " ".join([*_of_reference(found), *_of_dose(found), *_of_controls(found)])
    return [paragraph, *_of_treatments(found), *_of_fresh(found), *_of_imitated(found), _of_series(found)]


WAYS = {"reading": "Reading its next-token distributions", "sampled": "Asking it questions"}


def _of_reference(found: Mapping[str, Any]) -> list[str]:
    one = next((c for c in found["conditions"] if c["condition"] == found["study"]["reference"]), None)
    tests = {} if one is None else {test: one["tests"][test] for test in WAYS if test in one["tests"]}
    if not tests:
        return ["The study's reference condition has no results, so only single conditions can be reported."]
    base = found["study"]["base"]
    dose = f"{base['answers']:,} answers" if "answers" in base else "answers"
    start = f"A student was trained on {dose} of a teacher that carries the mark."
    said = [
        f"{WAYS[test]} detected the mark in {of_runs(one)} (median p {probability_words(one['median'])})."
        for test, one in tests.items()
    ]
    return [start, *said]


def _of_dose(found: Mapping[str, Any]) -> list[str]:
    said = [
        f"{name}, {enough_words(found['dose']['enough'][test])}"
        for test, name in (("reading", "reading"), ("sampled", "asking"))
        if test in found["dose"]["enough"]
    ]
    return (
        [f"Answers that an extraction must have to be detected in nine runs of ten: {'; '.join(said)}."] if said else []
    )


def enough_words(one: Mapping[str, Any]) -> str:
    """ "about 190 (95 % interval 130 to 320)"."""
    smallest, largest = (f(dose for dose, _, _ in one["shares"]) for f in (min, max))
    if one["status"] == "at or below":
        return f"at most {smallest:,.0f}, the smallest dose measured"
    if one["status"] == "not reached":
        return f"not reached with {largest:,.0f}, the largest dose measured"
    low = f"below {smallest:,.0f}" if one["low"] is None else number_words(one["low"])
    high = f"above {largest:,.0f}" if one["high"] is None else number_words(one["high"])
    return f"about {number_words(one['dose'])} (95 % interval {low} to {high})"


def _of_treatments(found: Mapping[str, Any]) -> list[str]:
    """Of each test: what left it nothing, and what left it little."""
    sentences = []
    for test, name in (("reading", "Reading"), ("sampled", "Asking questions")):
        tried = [one for one in found["treatments"] if test in one["tests"]]
        told = [one for one in tried if one["tests"][test]["told"]]
        gone = [one["what"] for one in told if one["tests"][test]["detected"] == 0]
        weak = [one["what"] for one in told if 0 < 2 * one["tests"][test]["detected"] < one["tests"][test]["runs"]]
        if tried and not told:
            sentences.append(f"{name} hardly detected the untreated student, so it cannot say what erases the mark.")
        elif told:
            parts = [f"{name}, after {amount(len(told), 'thing')} done to the answers or to the student."]
            if gone:
                parts.append(f"The mark was not detected in any run: {listed(gone)}.")
            if weak:
                parts.append(f"In fewer than half of the runs: {listed(weak)}.")
            if len(gone) + len(weak) < len(told):
                rest = "all others" if gone or weak else "each"
                parts.append(f"The mark was detected in at least half of the runs after {rest}.")
            sentences.append(" ".join(parts))
    return sentences


def _of_controls(found: Mapping[str, Any]) -> list[str]:
    deployed = found["controls"]["deployed"]
    if not deployed["tests"]:
        return ["There is no control, so nothing here shows that the tests stay quiet where there is no mark."]
    smallest = probability_words(deployed["smallest_adjusted"])
    said = f"of {deployed['tests']:,} tests of them the smallest p, adjusted for their number, is {smallest}."
    if deployed["quiet"]:
        return [f"Students that never met the mark that was looked for stayed quiet: {said}"]
    return [
        f"Not all students that never met the mark that was looked for stayed quiet: {said}",
        "Until that is explained, no detection here should be relied on.",
    ]


def _of_fresh(found: Mapping[str, Any]) -> list[str]:
    fresh = found["controls"]["fresh"]
    if not fresh["models"]:
        return []
    inside = fresh["checks"] - len(fresh["outside"])
    return [
        f"Controls under fresh keys that marked nothing: {inside:,} of {fresh['checks']:,} counts of small p-values "
        "are within the limits that chance allows."
    ]


def _of_imitated(found: Mapping[str, Any]) -> list[str]:
    if not any(one["detected"] for one in found["controls"]["imitated"] if one["test"] != "text"):
        return []
    return [
        "A student of imitated answers, made without the key, was detected too: a finding does not tell the owner's "
        "answers from an imitation of them."
    ]


def _of_series(found: Mapping[str, Any]) -> str:
    study = found["study"]
    titles = "; ".join(one["title"] for one in found["series"])
    runs = f"{amount(study['seeds'], 'seed')} and {amount(study['keys'], 'key')}"
    compared = f"{amount(len(found['conditions']), 'condition')}, the base condition with {runs}"
    return f"Compared: {compared}. Varied: {titles or 'nothing'}. Everything else was held as in the base condition."
