"""How a study's numbers are said: plain words, no more than the tests can claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detect.wording import FLOOR, probability_words
from distill_sim.condition import AFTERWARDS, ATTACKS, SOURCES, Step

TEST_TITLES = {
    "reading": "Reading",
    "sampled": "Sampled",
    "argmax": "Argmax",
    "green_mass": "Green mass",
    "distinct_pairs": "Distinct pairs",
    "text": "Text",
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
    steps += [Step.parse(text, AFTERWARDS, "after") for text in after]
    phrases = (_PHRASES[step.name].format(step.amount if step.amount is not None else "") for step in steps)
    return ", then ".join(phrases) or "nothing"


def power_words(log10_p: float | None) -> str:
    """A short p for a table or a drawing: "0.31", "10^-7" (rounded to the larger power), "< 10^-30"."""
    words = probability_words(log10_p)
    if log10_p is not None and log10_p <= FLOOR - 1:
        return f"< 10^{FLOOR}"
    return words.replace("about ", "").replace("below ", "< ")


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
    """The first paragraph: what was found, sentence by sentence, from the numbers of the summary."""
    sentences = [_of_reference(found), *_of_dose(found), *_of_treatments(found), *_of_controls(found)]
    return [sentence for sentence in sentences if sentence]


def _of_reference(found: Mapping[str, Any]) -> str:
    one = next((c for c in found["conditions"] if c["condition"] == found["study"]["reference"]), None)
    if one is None:
        return "The study's reference condition has no rows, so only single conditions can be reported."
    tests = one["tests"]
    ways = {"reading": "reading its next-token distributions", "sampled": "asking it questions"}
    said = [
        f"{way} detected it in {of_runs(tests[test])} (median p {probability_words(tests[test]['median'])})"
        for test, way in ways.items()
        if test in tests
    ]
    answers = found["study"]["base"].get("answers")
    dose = f"{answers:,} answers" if isinstance(answers, int) else "answers"
    return f"A student was trained on {dose} of a teacher that carries the mark: {', and '.join(said)}." if said else ""


def _of_dose(found: Mapping[str, Any]) -> list[str]:
    sentences = []
    for name, one in found["dose"]["enough"].items():
        if name not in ("reading", "sampled"):
            continue
        test = f"the {name} test"
        largest = f"{max(d for d, _, _ in one['shares']):,.0f}"
        if one["status"] == "measured":
            sentences.append(f"To be detected with power .9, {test} needs an extraction of {enough_words(one)}.")
        elif one["status"] == "at or below":
            smallest = f"{min(d for d, _, _ in one['shares']):,.0f}"
            sentences.append(f"Already {smallest} answers, the smallest dose measured, give {test} power .9.")
        else:
            sentences.append(
                f"Power .9 of {test} was not reached within the doses measured (at most {largest} answers)."
            )
    return sentences


def enough_words(one: Mapping[str, Any]) -> str:
    """ "about 190 answers (95 % interval 130 to 320)"."""
    if one["status"] == "at or below":
        return f"at or below {min(d for d, _, _ in one['shares']):,.0f} answers, the smallest dose measured"
    if one["status"] == "not reached":
        return f"not reached with {max(d for d, _, _ in one['shares']):,.0f} answers, the largest dose measured"
    smallest, largest = (f(d for d, _, _ in one["shares"]) for f in (min, max))
    low = f"below {smallest:,.0f}" if one["low"] is None else number_words(one["low"])
    high = f"above {largest:,.0f}" if one["high"] is None else number_words(one["high"])
    return f"about {number_words(one['dose'])} answers (95 % interval {low} to {high})"


def _of_treatments(found: Mapping[str, Any]) -> list[str]:
    sentences = []
    for test in ("reading", "sampled"):
        told = [one for one in found["treatments"] if test in one["tests"] and one["tests"][test]["told"]]
        gone = [one["what"] for one in told if one["tests"][test]["detected"] == 0]
        weak = [one["what"] for one in told if 0 < 2 * one["tests"][test]["detected"] < one["tests"][test]["runs"]]
        if not told:
            continue
        start = f"Of {len(told)} things done to the answers or to the student"
        if not gone and not weak:
            sentences.append(f"{start}, after each the {test} test detected the mark in at least half of the runs.")
        if gone:
            sentences.append(f"{start}, {len(gone)} left the {test} test without any detection: {listed(gone)}.")
        if weak:
            sentences.append(f"The {test} test detected the mark in fewer than half of the runs after: {listed(weak)}.")
    return sentences


def _of_controls(found: Mapping[str, Any]) -> list[str]:
    deployed, fresh = found["controls"]["deployed"], found["controls"]["fresh"]
    sentences = []
    if deployed["tests"]:
        smallest = probability_words(deployed["smallest_adjusted"])
        said = f"of {deployed['tests']:,} tests of them, the smallest p, Bonferroni-adjusted, is {smallest}."
        if deployed["quiet"]:
            sentences.append(f"Students that never met the mark that was looked for stayed quiet: {said}")
        else:
            sentences.append(
                f"Not all students that never met the mark that was looked for stayed quiet: {said} "
                "Until that is explained, no detection here should be relied on."
            )
    else:
        sentences.append("There is no control, so nothing here shows that the tests stay quiet where there is no mark.")
    if fresh["models"]:
        out = len(fresh["outside"])
        sentences.append(
            f"Under fresh keys that marked nothing, {fresh['checks'] - out} of {fresh['checks']} counts of small "
            "p-values are within the limits that chance allows."
        )
    spoofed = [one for one in found["controls"]["imitated"] if one["detected"]]
    if spoofed:
        sentences.append(
            "A student of imitated answers, made without the key, was detected too: a finding does not tell the "
            "owner's answers from an imitation of them."
        )
    return sentences
