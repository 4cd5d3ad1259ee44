"""Sections 4 to 6 and 12: propositions and alternatives, the method in plain language and in formulas, limitations."""

from __future__ import annotations

from detect.bundles.material import COUNT, E_PROCESS, SCAN, WEIGHTS
from detect.reports import words
from detect.reports.blocks import (
    Block,
    Formula,
    Paragraph,
    Points,
    Section,
    filled,
    number,
    percent,
    said,
    strong,
)
from detect.reports.given import Given
from detect.wording import amount


def propositions(given: Given) -> Section:
    """What the tests decide between, and what they cannot."""
    width = amount(given.verified.marked.context_width, "token")
    about, outputs, against, route, acts, rest = words.PROPOSITIONS
    alternatives = [filled("{} {}", strong(f"{name}."), filled(text, width=width)) for name, text in words.ALTERNATIVES]
    blocks: tuple[Block, ...] = (
        Paragraph(about),
        Points(outputs),
        Paragraph(against),
        Paragraph(route),
        Points(acts),
        Paragraph(rest),
        Points(tuple(alternatives)),
    )
    return Section("Propositions, and the alternatives that the tests cannot exclude", blocks)


def method(given: Given) -> Section:
    """The method for readers without statistics."""
    marked = given.verified.marked
    width = marked.context_width
    context = "empty (one division for all)" if width == 0 else f"the {amount(width, 'token')} before it"
    texts = [filled(text, context=context, gamma=percent(marked.gamma)) for text in words.PLAIN]
    kinds = {test.kind for test in given.tests}
    lineups = any("lineup" in test.evidence for test in given.tests)
    extra = ((WEIGHTS, words.PLAIN_WEIGHTS), (E_PROCESS, words.PLAIN_SEQUENCE), (SCAN, words.PLAIN_SCAN))
    more = [text for kind, text in extra if kind in kinds] + ([words.PLAIN_LINEUP] if lineups else [])
    return Section("The method in plain language", tuple(Paragraph(text) for text in (*texts, *more)))


def formulas(given: Given) -> Section:
    """The method as it can be computed again."""
    marked = given.verified.marked
    kinds = {test.kind for test in given.tests}
    colour = filled(words.COLOUR, threshold=number(marked.gamma_65536), gamma=f"{marked.gamma_65536}/65536")
    blocks: list[Block] = [Paragraph(words.NOTATION), Paragraph(colour)]
    if kinds & {COUNT, E_PROCESS} or not kinds:
        blocks += [Paragraph(words.COUNT_LAW), Formula(words.COUNT_FORMULA)]
        blocks += [Paragraph(words.E_LAW), Formula(words.E_FORMULA)]
    if E_PROCESS in kinds:
        blocks += [Paragraph(words.SEQUENCE_LAW), Formula(words.SEQUENCE_FORMULA)]
    if WEIGHTS in kinds:
        blocks += [Paragraph(words.WEIGHTS_LAW), Formula(words.WEIGHTS_FORMULA), Formula(words.BOUND_FORMULA)]
    blocks += [Paragraph(words.INTERVAL_LAW), Paragraph(words.ADJUSTED_LAW), Formula(words.ADJUSTED_FORMULA)]
    blocks.append(Paragraph(words.FINDING_LAW))
    if any("lineup" in test.evidence for test in given.tests):
        blocks += [Paragraph(words.RANK_LAW), Formula(words.RANK_FORMULA)]
    return Section("The method in formulas", tuple(blocks))


def limitations(given: Given) -> Section:
    """What the report cannot say, in every case and in this one."""
    blocks: list[Block] = [Paragraph("In every case:"), Points(words.LIMITS)]
    unchecked = given.unchecked
    if unchecked:
        blocks += [Paragraph("Of this bundle was not checked:"), Points(tuple(said(one, 300) for one in unchecked))]
    if given.tests:
        blocks.append(Paragraph(words.NOTES_IN_7))
    return Section("Limitations", tuple(blocks))
