"""Sections 9 and 11: error rates of a validation study, and a likelihood ratio where there are controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detect.bundles.material import COUNT, E_PROCESS, SCAN, WEIGHTS
from detect.bundles.verify.runs import RecordedTest
from detect.reports import words
from detect.reports.blocks import (
    Block,
    Paragraph,
    Points,
    Section,
    Table,
    Text,
    digest,
    filled,
    kept,
    number,
    quoted,
    rows_of,
    said,
)
from detect.reports.controls import Controls
from detect.reports.given import Given, test_words
from detect.reports.ratio import LEAST, enough
from detect.reports.validation import Validation
from detect.wording import amount

STUDIED = {
    COUNT: "count",
    E_PROCESS: "e-value",
    WEIGHTS: "reading",
    SCAN: "scan",
}  # kind of a test → its name in a study
MOST_ROWS = 300
INCONCLUSIVE = "inconclusive"
RATE_DIGITS = 2  # of an interval's ends


def validation(given: Given) -> Section:
    """How often the tests err, by population."""
    title = "Validation study and error rates"
    study = given.validation
    if study is None:
        return Section(title, (Paragraph(words.NO_VALIDATION),))
    content = study.content
    what = "texts and models" if content["models"] else "texts"
    blocks: list[Block] = [Paragraph(filled(words.VALIDATION, digest=digest(study.sha256), what=what))]
    blocks.append(_whose_mark(given, study))
    blocks.append(_which_tests(given, content))
    limits = {name: content["limits"][name] for name in ("checked", "within")}
    blocks += [Paragraph(filled(words.WITHIN, **limits)), Paragraph(words.POPULATION)]
    blocks += _table(
        words.POPULATIONS, ("population", "what it is", "documents", "tokens", "SHA-256"), _populations(content)
    )
    pooled = [(one["population"], one["test"], one["rates"]) for one in content["pooled"]]
    models = [
        (one["population"], test, rates["rates"]) for one in content["models"] for test, rates in one["tests"].items()
    ]
    marked = [
        (_marked_words(one), test, rates["rates"]) for one in content["marked"] for test, rates in one["tests"].items()
    ]
    for caption, rows in ((words.RATES, pooled), (words.MODEL_RATES, models), (words.MARKED_RATES, marked)):
        blocks += _rates(caption, rows)
    blocks += [
        Paragraph("What the study says of itself:"),
        Points(tuple(said(note, 1200) for note in content["notes"][:20])),
    ]
    return Section(title, tuple(blocks))


def _populations(content: Mapping[str, Any]) -> list[tuple[Text, ...]]:
    return [
        (
            said(one["name"]),
            said(one["what"], 400),
            number(one["documents"]),
            number(one["tokens"]),
            digest(one["sha256"]),
        )
        for one in content["populations"]
    ]


def _whose_mark(given: Given, study: Validation) -> Paragraph:
    mark = given.verified.marked.mark
    differences = study.differences(mark)
    if differences:
        return Paragraph(filled(words.OTHER_MARK, what=said("; ".join(differences), 400)))
    both = study.content["mark"]["tokenizer_sha256"] is not None and mark.tokenizer_sha256 is not None
    return Paragraph(
        filled(words.SAME_MARK, tokenizer=", tokenizer" if both else "; whether with its tokenizer is not known")
    )


def _which_tests(given: Given, content: Mapping[str, Any]) -> Paragraph:
    rated = {one["test"] for one in content["pooled"]} | {test for one in content["models"] for test in one["tests"]}
    used = list(dict.fromkeys(STUDIED[test.kind] for test in given.tests))
    names = ", ".join(name for name in used if name in rated) or "none"
    return Paragraph(
        filled(words.TESTED_HERE, names=names, without=", ".join(name for name in used if name not in rated) or "none")
    )


def _marked_words(one: Mapping[str, Any]) -> str:
    strength = "strength not stated" if one["delta"] is None else f"δ = {number(one['delta'])}"
    return f"{one['population']}, {strength}, {one['tokens']:,} tokens"


def _rates(caption: str, rows: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]]) -> list[Block]:
    """A table of counts and intervals, a column a level.

    Args:
        rows: population, test, and its rates.
    """
    levels = sorted({one["level"] for _, _, rates in rows for one in rates}, reverse=True)
    trials = [", ".join(dict.fromkeys(number(one["of"]) for one in rates)) for _, _, rates in rows]
    alike = len(set(trials)) == 1
    found: list[tuple[Text, ...]] = []
    for (population, test, rates), often in zip(rows, trials, strict=True):
        cells = {one["level"]: _cell(one) for one in rates}
        own = () if alike else (often,)
        found.append((said(population), said(test), *own, *(cells.get(level, "–") for level in levels)))
    headings = ("population", "test", *(() if alike else ("trials",)), *(f"p ≤ {number(level)}" for level in levels))
    return _table(f"{caption}; {trials[0]} trials in each row" if alike else caption, headings, found)


def _cell(one: Mapping[str, Any]) -> Text:
    low, high = (number(float(end), RATE_DIGITS) for end in one["interval95"])
    return filled("{} {} to {}", kept(number(one["count"])), kept(f"({low}"), kept(f"{high})"))


def _table(caption: str, headings: tuple[str, ...], rows: list[tuple[Text, ...]]) -> list[Block]:
    if not rows:
        return []
    cut = "" if len(rows) <= MOST_ROWS else f" The first {MOST_ROWS} of {len(rows):,} rows."
    return [Table(headings, tuple(rows[:MOST_ROWS]), caption + cut)]


def likelihood(given: Given) -> Section:
    """The weight of the outcome, where controls were given."""
    blocks: list[Block] = []
    fitted: set[str] = set()
    undecided: list[Block] = []
    for test in given.main_tests:
        fitting = [one for one in given.controls if one.fits(test)]
        fitted |= {one.sha256 for one in fitting}
        able = [one for one in fitting if enough(len(one.positives), len(one.negatives))]
        if able and test.evidence["finding"] == INCONCLUSIVE:
            undecided.append(Paragraph(filled(words.UNDECIDED, test=said(test_words(test)))))
            continue
        for controls in able:
            blocks += _ratio(test, controls)
    used = [one for one in given.controls if one.sha256 in fitted]
    rest = [*undecided, *(_too_few(one) for one in used if not enough(len(one.positives), len(one.negatives)))]
    rest += [Paragraph(words.UNFIT_CONTROLS)] if len(used) < len(given.controls) else []
    title = "Likelihood ratio"
    if not blocks:
        return Section(title, (Paragraph(words.NO_RATIO), *rest))
    return Section(title, (*blocks, Paragraph(words.RATIO_LAW), Paragraph(words.RATIO_SCOPE), *rest))


def _too_few(controls: Controls) -> Paragraph:
    found, wrong = controls.counts(True)
    return Paragraph(
        filled(
            words.FEW_CONTROLS,
            digest=digest(controls.sha256),
            positives=amount(len(controls.positives), "positive control"),
            negatives=amount(len(controls.negatives), "negative control"),
            hits=number(found),
            false=number(wrong),
            least=number(LEAST),
        )
    )


def _ratio(test: RecordedTest, controls: Controls) -> list[Block]:
    detected = test.evidence["finding"] == "detected"
    ratio, (hits, false) = controls.ratio(detected), controls.counts(detected)
    how, support = ratio.words
    sentence = filled(
        words.RATIO if detected else words.RATIO_NOT,
        test=said(test_words(test)),
        words=how,
        positives=amount(len(controls.positives), "positive control"),
        negatives=amount(len(controls.negatives), "negative control"),
        hits=number(hits),
        false=number(false),
    )
    values: dict[str, Text | None] = {
        "likelihood ratio": number(ratio.value),
        "interval": f"{number(ratio.low)} to {number(ratio.high)}",
        "limits by the number of controls": f"{number(ratio.least)} to {number(ratio.most)}",
        "on the verbal scale": support if detected else filled("{}; H1: {}", support, words.AS_STRONG),
        "file of the controls": digest(controls.sha256),
    }
    made: list[Block] = [
        Paragraph("How the controls were made, in the words of whoever made them:"),
        quoted(controls.what),
    ]
    return [Paragraph(sentence), Table(("", ""), rows_of(values), "Likelihood ratio"), *made]
