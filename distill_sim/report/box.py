"""The box at the top of a study's page: a few lines, put together from the numbers of the summary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from detect.wording import amount, probability_words
from distill_sim.report.names import TEST_TITLES, amounts
from distill_sim.report.words import enough_words, listed, of_runs

Found = Mapping[str, Any]
START = "the model that the student started from"
NEEDS = {
    "reading": f"the student's next-token probabilities (its weights, or a server that gives them all) and {START}",
    "sampled": f"answers alone, and {START}",
}


def headline(found: Found) -> list[str]:
    """What was done, what each test finds, what erased the mark, what kept it from being learnt, what is not shown."""
    lines = [
        *_loud_controls(found),
        _done(found),
        *_of_tests(found),
        *_erased(found),
        *_hardly_learnt(found),
        _not_shown(found),
    ]
    return [line for line in lines if line]


def _base(found: Found) -> Found | None:
    return next((c for c in found["conditions"] if c["condition"] == found["study"]["reference"]), None)


def _done(found: Found) -> str:
    study, counts = found["study"], found["counts"]
    base = study["base"]
    dose = f"{base['answers']:,} answers" if "answers" in base else "answers"
    start = {
        "teacher": ", each starting as a copy of that teacher without the mark",
        "smaller": ", each starting from a smaller model",
        "other-tokenizer": ", each starting from a model with another tokenizer",
    }.get(base.get("base", ""), "")
    start = ", each starting from random weights" if base.get("method") == "fresh" else start
    repeats = f"{amount(study['seeds'], 'seed')} × {amount(study['keys'], 'key')}"
    return (
        f"What was done: students were trained on {dose} of a teacher that carries the mark (the base condition, "
        f"{repeats}){start}, and tested for it with the key. Compared: {amount(counts['conditions'], 'condition')}, "
        f"{amount(counts['students'], 'different student')}."
    )


def _of_tests(found: Found) -> list[str]:
    base = _base(found)
    tests = {} if base is None else {t: base["tests"][t] for t in ("reading", "sampled") if t in base["tests"]}
    if not tests:
        return ["What was found: the study's reference condition has no results; only single conditions are reported."]
    lines = []
    for test, one in tests.items():
        said = [
            f"{TEST_TITLES[test]}: detected the mark in {of_runs(one)} runs of the base condition (median p "
            f"{probability_words(one['median'])}{_too_large(found, one)}). It needs {NEEDS[test]}."
        ]
        if test in found["dose"]["enough"]:
            enough = enough_words(found["dose"]["enough"][test])
            said.append(f"Answers until nine students in ten are detected: {enough}.")
        if test == "sampled" and found["learning"]["stronger"]:
            said.append(
                f"It detected at least half of the runs under: {listed(grouped(found['learning']['stronger'], test))}."
            )
        lines.append(" ".join(filter(None, said)))
    return lines


def _too_large(found: Found, one: Found) -> str:
    """So that a p that is small, and too large, does not read as a finding."""
    median = one["median"]
    return f", where 10^{found['log10_alpha']:g} is asked for" if median and found["log10_alpha"] < median <= -2 else ""


def _erased(found: Found) -> list[str]:
    """Of the test that can tell most."""
    tried = found["treatments"]
    if not tried:
        return []
    test = next((t for t in ("reading", "sampled") if any(o["tests"].get(t, {}).get("told") for o in tried)), None)
    if test is None:
        return ["What erases it: no test detected the untreated students, so none can say what erases the mark."]
    told = [one for one in tried if one["tests"].get(test, {}).get("told")]
    gone = [one for one in told if one["tests"][test]["detected"] == 0]
    weak = [one for one in told if 0 < 2 * one["tests"][test]["detected"] < one["tests"][test]["runs"]]
    title, done = TEST_TITLES[test], amount(len(told), "treatment")
    if not gone and not weak:
        each = "each of " if len(told) > 1 else ""
        kept = _kept(told, test)
        where = f"after {each}{done} of answers or students"
        return [f"What erases it: none of what was tried. {title} detected {kept} {where}."]
    said = [f"What erases it: after {done} of answers or students, {title} detected "]
    if gone:
        said.append(f"no run after: {listed([_with_cost(one) for one in gone])}.")
    if weak:
        start = "In fewer than half of the runs" if gone else "fewer than half of the runs"
        said.append(f"{' ' if gone else ''}{start} after: {listed([_with_cost(one) for one in weak])}.")
    rest = [one for one in told if one not in gone and one not in weak]
    if rest:
        said.append(f" After the other {len(rest)}: {_kept(rest, test)}.")
    if any(loss_words(one["held_out_loss"]) for one in [*gone, *weak]):
        said.append(
            " In brackets, untreated → treated, lower is better: the student's loss on human text, nats a token"
            + ("; and the perplexity of what it writes." if any(_writes(one) for one in [*gone, *weak]) else ".")
        )
    return ["".join(said)]


def _kept(treatments: Sequence[Found], test: str) -> str:
    """In how many of its runs the test detected the mark after that one of the treatments which hurt it most."""
    least = min((one["tests"][test] for one in treatments), key=lambda one: one["detected"] / one["runs"])
    return "every run" if least["detected"] == least["runs"] else f"{of_runs(least)} runs or more"


def _with_cost(one: Found) -> str:
    costs = [cost for cost in (loss_words(one["held_out_loss"]), _writes(one)) if cost]
    return f"{one['what']} ({'; '.join(costs)})" if costs else str(one["what"])


def _writes(one: Found) -> str:
    before, after = one["written_perplexity"]
    return "" if before is None or after is None else f"{before:.0f} → {after:.0f}"


def loss_words(pair: Sequence[float | None]) -> str:
    """ "4.73 → 4.71"; "" where one of them is not known."""
    before, after = pair
    return "" if before is None or after is None else f"{before:.2f} → {after:.2f}"


def _hardly_learnt(found: Found) -> list[str]:
    weaker = found["learning"]["weaker"]
    if not weaker:
        return []
    reading, under = TEST_TITLES["reading"], listed(grouped(weaker, "reading"))
    return [
        f"What keeps it from being learnt: without any treatment, {reading} detected at most half as many runs under: "
        f"{under}."
    ]


def grouped(conditions: Sequence[Found], test: str) -> list[str]:
    """Conditions that differ in one and the same number in one phrase: "context width 2 or 3 (0 to 1 of 9)"."""
    groups: dict[Any, list[Found]] = defaultdict(list)
    for one in conditions:
        fields = tuple(one["differs"])
        (value,) = one["differs"].values() if len(fields) == 1 else (None,)
        number = isinstance(value, int | float)
        groups[(fields[0], one["tests"][test]["runs"]) if number else one["condition"]].append(one)
    said = []
    for members in groups.values():
        found = [one["tests"][test] for one in members]
        least, most = (f(one["detected"] for one in found) for f in (min, max))
        of = f"{least}" if least == most else f"{least} to {most}"
        if len(members) == 1:
            what = members[0]["what"]
        else:
            field = next(iter(members[0]["differs"]))
            what = amounts(field, sorted(one["differs"][field] for one in members))
        said.append(f"{what} ({of} of {found[0]['runs']})")
    return said


def _loud_controls(found: Found) -> list[str]:
    deployed = found["controls"]["deployed"]
    if not deployed["tests"]:
        return ["Warning: there is no control, so nothing here shows that the tests stay quiet where there is no mark."]
    if deployed["quiet"]:
        return []
    smallest = probability_words(deployed["smallest_adjusted"])
    return [
        "Warning: not all students that never met the mark that was looked for stayed quiet: of "
        f"{deployed['tests']:,} tests of them the smallest p, adjusted for their number, is {smallest}. "
        "Until that is explained, no detection here should be relied on."
    ]


def _not_shown(found: Found) -> str:
    said = ["What this can't show: a finding says that a student depends on the key, not by whose act"]
    if any(one["detected"] for one in found["controls"]["imitated"] if one["test"] != "text"):
        said.append(": a student of answers that imitate the mark, made without the key, was detected too")
    said.append(". Other models and other treatments can give more or less.")
    deployed = found["controls"]["deployed"]
    if deployed["tests"] and deployed["quiet"]:
        said.append(f" Students that never met the mark stayed quiet in all {deployed['tests']:,} tests.")
    return "".join(said)
