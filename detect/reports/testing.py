"""Sections 7, 8 and 10: every test that was run, the controls, and how many tests there were."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from detect.bundles.material import COUNT, SCAN, WEIGHTS
from detect.bundles.verify.retally import retally
from detect.bundles.verify.retally import rows_of as rows_of_material
from detect.bundles.verify.runs import RecordedTest
from detect.counting import WeightTally
from detect.decoys import lineup
from detect.reports import words
from detect.reports.blocks import (
    Block,
    Heading,
    Paragraph,
    Picture,
    Points,
    Section,
    Table,
    Text,
    digest,
    filled,
    floored,
    joined,
    kept,
    number,
    percent,
    rows_of,
    said,
)
from detect.reports.effects import cautions, is_negative
from detect.reports.given import CONTROL, Given, is_control, is_single, test_words
from detect.reports.pictures import lineup_picture
from detect.reports.stretches import spans_of
from detect.wording import FLOOR, amount, bound_words, probability_words

MOST_SINGLE = 100
ENDS = {
    "early": "early, as the evidence had reached its level",
    "maximum": "at the maximum of pairs",
    "exhausted": "as the answers brought no new pairs, or were all there are",
}
UNEVEN = 1e-3  # of the decoys' p: below it the line-up is called uneven


def tests(given: Given) -> Section:
    """Every test: first all in one table, then each with its numbers and notes."""
    stopped = sum(1 for *_, end in given.runs() if end is not None and end.event == "stopped")
    opening = filled(words.ALL_TESTS, amount=amount(len(given.tests), "test"), stopped=amount(stopped, "run"))
    if not given.tests:
        return Section("Every test that was run", (Paragraph(words.NOTHING_TESTED), Paragraph(opening)))
    whole = [test for test in given.tests if not is_single(test)]
    blocks: list[Block] = [Paragraph(opening)]
    if whole:
        rows = tuple(_short(given, test) for test in whole)
        blocks.append(Table(("test", "p", "adjusted", "level α", "finding", "status"), rows, "All tests"))
    blocks += _singles([test for test in given.tests if is_single(test)])
    told: dict[str, Text] = {}  # a note → the first test that it stands with
    for test in whole:
        blocks += _in_full(given, test, told)
    return Section("Every test that was run", tuple(blocks))


def _short(given: Given, test: RecordedTest) -> tuple[Text, ...]:
    return (
        said(test_words(test)),
        kept(own_p_words(test)),
        kept(bound_words(test.evidence["log10_p_adjusted"])),
        number(test.evidence["alpha"]) if "alpha" in test.evidence else "as its family",
        test.evidence["finding"],
        status(given, test),
    )


def own_p_words(test: RecordedTest) -> str:
    """A test's own p, in words: exact of a count, a bound of all others."""
    return (probability_words if test.kind == COUNT else bound_words)(test.evidence["log10_p"])


def status(given: Given, test: RecordedTest) -> str:
    """Confirmatory, exploratory, or a control."""
    if is_control(test):
        return words.CONTROL_MARK
    return "confirmatory" if given.is_confirmatory(test) else "exploratory"


def _singles(tests: Sequence[RecordedTest]) -> list[Block]:
    if not tests:
        return []
    rows = []
    for test in tests[:MOST_SINGLE]:
        one = test.evidence
        p = [own_p_words(test), bound_words(one["log10_p_adjusted"])]
        rows.append((_document(test), number(one.get("n_scored")), number(one.get("n_green")), *p, one["finding"]))
    headings = ("document", "pairs", "green", "p", "adjusted", "finding")
    blocks: list[Block] = [Paragraph(words.EACH), Table(headings, tuple(rows), "Single documents")]
    if len(tests) > MOST_SINGLE:
        found = sum(test.evidence["finding"] == "detected" for test in tests)
        blocks.append(Paragraph(filled(words.EACH_MORE, shown=MOST_SINGLE, all=len(tests), found=f"{found:,}")))
    return blocks


def _document(test: RecordedTest) -> Text:
    """Which document a test by itself is of: as the input calls it, else by its number."""
    (row, *_) = rows_of_material(test, "documents") or [{"id": None}]
    if row["id"] is None:
        return said(test_words(test))
    return filled("{} ({}, run {})", said(str(row["id"]), 120), test.name, test.run)


def _in_full(given: Given, test: RecordedTest, told: dict[str, Text]) -> list[Block]:
    one = test.evidence
    values = _scanned(test) if test.kind == SCAN else _counted(given, test)
    blocks: list[Block] = [Heading(said(test_words(test))), Table(("", ""), rows_of(values), "What was computed")]
    blocks += [Paragraph(text) for text in cautions([test])]
    if one.get("comparisons"):
        blocks.append(_comparisons(test))
    if one.get("spans"):
        blocks += [Paragraph(words.SPANS), spans_of(test)]
    notes = _notes(given, test)
    if notes:
        heading = words.CONTROL_NOTES if is_control(test) else words.RECORDED_NOTES
        blocks += [Paragraph(heading), Points(tuple(_once(notes, told)))]
    told.update({note: said(test_words(test)) for note in notes if note not in told})
    return blocks


def _once(notes: Sequence[str], told: Mapping[str, Text]) -> Iterator[Text]:
    """Notes that stand with no test before, then how many stand with which."""
    yield from (said(floored(note), 1200) for note in notes if note not in told)
    before = [told[note] for note in notes if note in told]
    for test in dict.fromkeys(before):
        yield filled(words.SAME_NOTES, notes=amount(before.count(test), "note"), test=test)


def _notes(given: Given, test: RecordedTest) -> list[str]:
    """What was recorded with a test; of a control only what its test does not say, as it makes no claim of its own."""
    notes: list[str] = test.evidence["notes"]
    if not is_control(test):
        return notes
    known = {
        note
        for one in given.tests
        if (one.run, f"{one.name}{CONTROL}") == (test.run, test.name)
        for note in one.evidence["notes"]
    }
    return [note for note in notes if note not in known and not note.startswith("exploratory")]


def _counted(given: Given, test: RecordedTest) -> dict[str, Text | None]:
    one = test.evidence
    weighted = test.kind == WEIGHTS
    ci, sequential, planned = one["ci95"], one.get("sequential"), one.get("plan")
    values: dict[str, Text | None] = {
        "finding": f"{one['finding']}, {status(given, test)}",
        "would most likely have been found": f"a green fraction of {number(test.sought)}"
        if is_negative(test) and test.sought is not None
        else None,
        "positions read" if weighted else "tokens": number(one["n_tokens"]),
        "weights" if weighted else "distinct pairs counted (n)": number(one["n_scored"]),
        "distinct contexts": number(one["n_contexts"]),
        "green pairs (k)": None if weighted else number(one["n_green"]),
        "green fraction": None
        if one["green_fraction"] is None
        else f"{percent(one['green_fraction'])} (chance: {percent(one['gamma'])})",
        "95 % interval under a binomial model": None if ci is None else f"{percent(ci[0])} to {percent(ci[1])}",
        "S": None if test.statistic is None else number(test.statistic),
        "θ of the bound": None if one["theta"] is None else number(one["theta"]),
        "p, this test alone": own_p_words(test),
        "p, adjusted": bound_words(one["log10_p_adjusted"]),
        "level α": number(one["alpha"]),
        "e-value, this test alone": None if one["log10_e"] is None else e_words(one["log10_e"]),
        "saddlepoint p, for display": None
        if one["log10_p_saddlepoint"] is None
        else probability_words(one["log10_p_saddlepoint"]),
        "z, for display": None if one["z_score"] is None else number(one["z_score"]),
    }
    whole = given.verified.wholes.get(test.what)
    if whole is not None:
        value = e_words(whole.log10_e or 0.0) if whole.log10_p is None else probability_words(whole.log10_p)
        values[words.WITH_LEFT_OUT] = filled(
            words.WHOLE, left_out=amount(whole.left_out, "pair"), green=f"{whole.n_green:,}", all=f"{whole.n_scored:,}",
            value=filled("{} {}", "e-value" if whole.log10_p is None else "p", value),
        )  # fmt: skip
    if sequential is not None:
        after = amount(sequential["n_answers"], "answer")
        values["ended"] = f"{ENDS[sequential['stopped']]}, after {after}"
        values["maximum of pairs"] = number(sequential["maximum_pairs"])
        values["level of the early stop"] = number(sequential["alpha"])
    if planned is not None:
        part = "primary test" if planned["primary"] else "further test"
        values["plan"] = filled("{} of {}", part, digest(planned["sha256"]))
    return values


def _scanned(test: RecordedTest) -> dict[str, Text | None]:
    one = test.evidence
    return {
        "finding": one["finding"],
        "stretches looked at": number(one["intervals"]),
        "p, for all stretches": own_p_words(test),
        "p, adjusted": bound_words(one["log10_p_adjusted"]),
        "judged with": said(one["family"], 300),
    }


def _comparisons(test: RecordedTest) -> Table:
    rows = []
    for name, one in test.evidence["comparisons"].items():
        values = one if isinstance(one, dict) else {}
        p = values.get("log10_p")
        p_words = probability_words(min(0.0, float(p))) if isinstance(p, int | float) else "not claimed"
        rest = {key: value for key, value in values.items() if key != "log10_p"}
        shown = ", ".join(f"{key} {number(value)}" for key, value in rest.items() if isinstance(value, int | float))
        rows.append((said(name), p_words, said(shown, 300)))
    return Table(
        ("test", "p", "values"), tuple(rows), "Tests of the literature, for comparison; no finding is made on them"
    )


def e_words(log10_e: float) -> str:
    """An e-value; large ones by their power of ten, never above the floor's inverse."""
    if log10_e <= 4:
        return number(10**log10_e)
    return f"above 10^{min(-FLOOR, math.ceil(log10_e) - 1)}"


# --- controls ---


def controls(given: Given) -> Section:
    """Positive and negative controls, and the line-up as a picture."""
    positive = [test for test in given.tests if is_control(test)]
    blocks: list[Block] = [Heading("Positive"), Paragraph(words.POSITIVE)]
    if positive:
        rows = tuple(
            (
                said(test_words(test)),
                _control_model(given, test),
                kept(own_p_words(test)),
                number(test.evidence["alpha"]),
                kept(test.evidence["finding"]),
            )
            for test in positive
        )
        blocks.append(Table(("control", "model", "p", "judged at", "finding"), rows, "Positive controls"))
    else:
        blocks.append(Paragraph(words.NO_POSITIVE))
    blocks += [Heading("Negative"), Paragraph(words.NEGATIVE), Heading("Line-up of decoys")]
    shown = [test for test in given.tests if "lineup" in test.evidence]
    for test in shown:
        blocks += _lineup(given, test)
    return Section("Controls", tuple(blocks if shown else [*blocks, Paragraph(words.NO_LINEUP)]))


def _control_model(given: Given, test: RecordedTest) -> Text:
    """What the run's plan says of its positive control."""
    planned = given.verified.marked.plans.get(given.begun(test).details["plan"])
    control = None if planned is None else planned.positive_control
    return "–" if control is None else filled("{} {}", digest(control.digest), said(control.note, 200))


def _lineup(given: Given, test: RecordedTest) -> list[Block]:
    said_of = test.evidence["lineup"]
    decoys, rank, least = said_of["decoys"], said_of["rank"], 1 / (said_of["decoys"] + 1)
    name = said(test_words(test))
    ranks = filled(
        words.LINEUP, test=name, rank=rank, decoys=decoys, p_rank=number(said_of["p_rank"]), least=number(least)
    )
    blocks: list[Block] = [Paragraph(ranks)]
    if said_of["uniformity_p"] is not None:
        remark = words.UNEVEN if said_of["uniformity_p"] < UNEVEN else ""
        blocks.append(Paragraph(filled(words.LINEUP_UNIFORM, p=number(said_of["uniformity_p"]), remark=remark)))
    tally = retally(test, given.verified.marked)
    scores = lineup(tally, decoys, seed=bytes.fromhex(said_of["seed"])).scores
    if isinstance(tally, WeightTally):
        own, unit = tally.statistic, "S"
    else:
        own, unit = float(test.evidence["n_green"]), "green pairs"
    described = (
        f"Histogram of the scores ({unit}) of {decoys:,} decoys, from {number(min(scores))} to {number(max(scores))}; "
        f"the key's is {number(own)}."
    )
    caption = filled(words.LINEUP_CAPTION, test=name, decoys=decoys)
    return [*blocks, Picture(lineup_picture(scores, own, unit), caption, described)]


# --- multiplicity ---


def multiplicity(given: Given) -> Section:
    """How many tests there were, and which were judged together."""
    rows: list[tuple[Text, ...]] = []
    for family in given.families:
        names = [said(test.name) for test in family.tests[:8]]
        more = f" and {len(family.tests) - 8:,} more" if len(family.tests) > 8 else ""
        method = "Holm" if len(family.tests) > 1 else "one test"
        if family.keys > 1:
            method = f"Holm with the tests of {family.keys - 1:,} other keys, each as p = 1"
        check = ", then / .99 for the key's check" if family.key_check else ""
        rows.append(
            (
                kept(f"run {family.tests[0].run}"),
                filled("{}{}", joined(names), more),
                number(len(family.tests)),
                method + check,
            )
        )
    blocks: list[Block] = [Paragraph(words.MULTIPLICITY)]
    if rows:
        blocks.append(Table(("run", "tests", "number", "adjusted by"), tuple(rows), words.FAMILIES))
    own = [family for family in given.families if not is_control(family.tests[0])]
    adjusted = [test.evidence["log10_p_adjusted"] for family in own for test in family.tests]
    claimed = [value for value in adjusted if value is not None]
    if claimed:
        whole = min(0.0, min(claimed) + math.log10(len(own)))
        families = f"{len(own):,} {'family' if len(own) == 1 else 'families'}"
        sentence = filled(
            words.ACROSS, tests=amount(len(claimed), "test"), families=families, chance=bound_words(whole)
        )
        blocks.append(Paragraph(sentence))
    return Section("Multiplicity", tuple(blocks))
