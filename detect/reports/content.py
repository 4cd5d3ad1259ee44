"""From what is given to a report: the first page, then the sections in their order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from detect.bundles.verify.runs import RecordedTest
from detect.reports import words
from detect.reports.blocks import (
    Block,
    Paragraph,
    Report,
    Table,
    Text,
    digest,
    filled,
    joined,
    kept,
    number,
    quoted,
    said,
    strong,
)
from detect.reports.casework import SHORT, items, items_of, plan, question
from detect.reports.closing import reproduce, signatures
from detect.reports.effects import NEGATIVE, cautions, meaning
from detect.reports.error_rates import likelihood, validation
from detect.reports.given import Given, is_control, is_single
from detect.reports.reasoning import formulas, limitations, method, propositions
from detect.reports.testing import controls, multiplicity, status, tests
from detect.wording import FLOOR, amount, bound_words

SECTIONS = (
    question, items, plan, propositions, method, formulas, tests, controls, validation, multiplicity, likelihood,
    limitations, reproduce, signatures,
)  # fmt: skip
MOST_ON_FIRST_PAGE, MOST_NAMES, MOST_BESIDES = 5, 2, 3
MOST_UNCHECKED = 2  # the signers and the order, which come first
SMALL = 0.01  # a p below it that is no finding is spoken of
LONGEST_QUESTION = 520  # characters of it on the first page


def report_of(given: Given) -> Report:
    """The whole report, as plain values."""
    manifest = given.verified.manifest
    return Report(
        title=words.TITLE,
        case=manifest.case,
        bundle=given.bundle,
        sealed=manifest.created,
        facts=_facts(given),
        summary=tuple(_summary(given)),
        sections=tuple(make(given) for make in SECTIONS),
    )


def _facts(given: Given) -> tuple[tuple[str, Text], ...]:
    manifest, commission = given.verified.manifest, given.commission
    facts: list[tuple[str, Text]] = [("Case", digest(manifest.case)), ("Bundle (SHA-256)", digest(given.bundle))]
    facts += [("Sealed", f"{manifest.created}, key {'opened' if manifest.opened else 'not opened'}")]
    facts += [("Key examined", digest(given.verified.marked.key_id))]
    told = (("Examiner", commission.examiner), ("Commissioned by", commission.commissioned_by),
            ("Matter", commission.reference), ("Dated", commission.dated))  # fmt: skip
    return (*facts, *((name, said(text, 120)) for name, text in told if text is not None))


def _summary(given: Given) -> list[Block]:
    """The page for a lawyer."""
    main = given.main_tests
    blocks: list[Block] = []
    if given.commission.question is not None:
        blocks += [Paragraph("The question:"), quoted(given.commission.question, LONGEST_QUESTION)]
    else:
        blocks.append(Paragraph(words.NO_QUESTION))
    blocks.append(Paragraph(_examined(given)))
    if not main:
        return [*blocks, Paragraph(words.NOTHING_TESTED), Paragraph(words.NOT_SAID), _checked(given)]
    rows = tuple(_row(given, test) for test in main[:MOST_ON_FIRST_PAGE])
    caption = words.FOUND + (f" (the first {len(rows)} of {len(main):,})" if len(rows) < len(main) else "")
    blocks.append(Table(words.FOUND_HEADINGS, rows, caption))
    blocks += [Paragraph(text) for text in _besides(given, main[:MOST_ON_FIRST_PAGE])]
    blocks += [Paragraph(text) for text in _meanings(given, main)]
    return [*blocks, Paragraph(words.NOT_SAID), _checked(given)]


def _row(given: Given, test: RecordedTest) -> tuple[Text, ...]:
    one = test.evidence
    alike = sum(other.run == test.run for other in given.main_tests)
    return (
        _questioned(given, test),
        filled("{} ({}run {})", _by(test), filled("{}, ", said(test.name)) if alike > 1 else "", test.run),
        strong(kept(one["finding"])),
        kept(bound_words(one["log10_p_adjusted"])),
        kept(status(given, test)),
    )


def _besides(given: Given, shown: Sequence[RecordedTest]) -> Iterator[Text]:
    """Of all tests without a row how many detect, and which; then of runs that gave nothing."""
    rows = {test.what for test in shown}
    rest = [test for test in given.tests if test.what not in rows and not is_control(test)]
    for word in ("confirmatory", "exploratory"):
        tests = [test for test in rest if status(given, test) == word]
        if tests:
            detected = [test for test in tests if test.evidence["finding"] == "detected"]
            whole = [test for test in detected if not is_single(test)]  # what documents are of is said by the pooled
            named = [_named(given, test) for test in whole[:MOST_BESIDES]]
            named += [f"{len(detected) - len(named):,} more"] if 0 < len(named) < len(detected) else []
            detail = filled(": {}", joined(named, "; ")) if named else ""
            yield filled(
                words.BESIDES,
                tests=amount(len(tests), f"{word} test"),
                runs=amount(len({test.run for test in tests}), "run"),
                found=filled(words.BESIDES_DETECTED, number=f"{len(detected):,}", named=detail)
                if detected
                else words.BESIDES_NONE,
                after=words.BESIDES_AFTER
                if detected and word == "exploratory" and all(map(given.is_confirmatory, shown))
                else "",
            )
    stopped = sum(1 for *_, end in given.runs() if end is not None and end.event == "stopped")
    if stopped:
        yield filled(words.BESIDES_STOPPED, runs=amount(stopped, "run"))


def _named(given: Given, test: RecordedTest) -> Text:
    """A test that has no row: what was examined, by which test, and its p."""
    p = bound_words(test.evidence["log10_p_adjusted"])
    return filled("{} ({}, run {}, probability {})", _questioned(given, test), said(test.name), test.run, kept(p))


def _by(test: RecordedTest) -> str:
    """How it was examined, in plain words; a scan's evidence names no test, and is always one of texts."""
    return words.BY.get((test.evidence.get("test", "text"), test.kind), test.kind)


def _questioned(given: Given, test: RecordedTest) -> Text:
    """What a test is about, in the examiner's words where there are any: a model, or the texts that were read."""
    entry = given.begun(test)
    found = list(items_of(entry))
    found = found[:1] if entry.details["questioned"] is not None else found
    names = [
        said(given.commission.items[sha], 120) if sha in given.commission.items else name for name, sha, _ in found
    ]
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    pooled = words.POOLED if len(names) > 1 else ""
    return filled("{}{}{}", joined(names[:MOST_NAMES], "; "), more, pooled)


def _examined(given: Given) -> Text:
    """What was done, in one sentence."""
    runs = [entry for _, entry, end in given.runs() if end is not None and end.event == "finished"]
    models = {str(entry.details["questioned"]) for entry in runs if entry.details["questioned"] is not None}
    texts = any(entry.details["questioned"] is None for entry in runs)
    what = ([amount(len(models), "questioned model")] if models else []) + (["texts"] if texts else [])
    key = given.verified.marked.key_id[:SHORT]
    return filled(
        words.EXAMINED,
        what=joined(what, " and ") if what else "nothing",
        key=key,
        runs=amount(len(list(given.runs())), "run"),
        tests=amount(len(given.tests), "test"),
    )


def _meanings(given: Given, main: list[RecordedTest]) -> list[Text]:
    found: list[Text] = []
    others = [test for test in given.tests if test.evidence["finding"] == "detected" and not is_control(test)]
    for finding in dict.fromkeys(test.evidence["finding"] for test in (*main, *others)):
        said_so = meaning(main) if finding == NEGATIVE else words.MEANS[finding]
        found.append(filled("“{}”: {}", finding.capitalize(), said_so))
        found += cautions(main) if finding == NEGATIVE else []
    claimed = [test.evidence["log10_p_adjusted"] for test in main if test.evidence["log10_p_adjusted"] is not None]
    detected = [test for test in main if test.evidence["finding"] == "detected"]
    if detected:
        largest = max(test.evidence["log10_p_adjusted"] for test in detected)
        alone = words.CHANCE if len(main) == 1 else words.CHANCE_AMONG
        sentence = alone if len(detected) == 1 else words.CHANCES
        found.append(filled(sentence, chance=bound_words(largest)))
        found += [words.FLOOR_SAID] if largest < FLOOR else []
    found += _short_of_it(given, main)
    if claimed:
        found.append(words.NOT_THE_INVERSE)
    if len(claimed) < len(main):
        found.append(words.NO_CHANCE)
    confirmed = [test for test in main if given.is_confirmatory(test)]
    found.append(words.CONFIRMATORY if len(confirmed) == len(main) else words.EXPLORATORY)
    return found


def _short_of_it(given: Given, main: list[RecordedTest]) -> list[Text]:
    """Of small p that are no findings: what they are."""
    short = [
        test
        for test in main
        if test.evidence["finding"] != "detected" and (test.evidence["log10_p_adjusted"] or 0.0) < math.log10(SMALL)
    ]
    if not short:
        return []
    planned = all(given.is_confirmatory(test) for test in short)
    levels = sorted({test.evidence["alpha"] for test in short if "alpha" in test.evidence})
    sentence = words.SHORT_OF_IT if planned else words.SHORT_UNPLANNED
    return [filled(sentence, small=number(SMALL), alpha=" or ".join(map(number, levels)) or "that of its family")]


def _checked(given: Given) -> Paragraph:
    unchecked = [said(one, 300) for one in given.unchecked]
    told, more = unchecked[:MOST_UNCHECKED], len(unchecked) - MOST_UNCHECKED
    if more > 0:
        told.append(filled(words.UNCHECKED_MORE, points=amount(more, "further point")))
    return Paragraph(filled(words.VERIFIED, unchecked=joined(told, "; ") if told else "nothing"))
