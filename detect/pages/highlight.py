"""`detect --highlight`: a self-contained page on which each token is green, red, or grey with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detect.pages.marking import GREEN, RED, UNCOUNTED, Frame, MarkedDocument, frame_spans, mark_document, states
from detect.pages.rendering import write_page
from detect.visible import one_line
from detect.wording import probability_words
from watermark.keys import Key
from watermark.windows import Reason, WindowRule

if TYPE_CHECKING:
    from detect.evidence import Evidence
    from detect.joint import ScanEvidence
    from detect.readers import Collection
    from detect.scan import Span

MAX_TOKENS = 20_000
SPAN, SPAN_AGAIN = "span", "span-as-it-looks"  # how the anchors of a reading begin

HEADLINES = {
    "detected": "The mark of this key was detected.",
    "inconclusive": "Inconclusive: too little was counted to tell.",
    "not detected": "The mark of this key was not detected.",
}
NOTHING_CLAIMED = "Inconclusive: nothing is claimed under this key."


@dataclass(frozen=True)
class LegendLine:
    """One line of the legend: a state, what it means, and how many tokens of the whole collection are in it."""

    state: str
    name: str
    meaning: str
    count: int


@dataclass(frozen=True)
class Link:
    """A line of the list of spans.

    Attributes:
        anchor: where the span stands on the page; empty: it is not shown.
        heading: id of its document, harmless to show; empty where there is one document.
    """

    title: str
    anchor: str
    heading: str


@dataclass(frozen=True)
class Look:
    """One reading of the texts, and what its tests found.

    Attributes:
        collection: the documents, as they were counted.
        evidence: the pooled result of the collection.
        scan: the scan of these documents; its spans are framed.
    """

    collection: Collection
    evidence: Evidence
    scan: ScanEvidence | None = None

    @property
    def chance(self) -> str | None:
        """As `chance` of its evidence."""
        return chance(self.evidence)

    @property
    def scan_chance(self) -> str | None:
        """The same of its scan."""
        if self.scan is None or self.scan.log10_p_adjusted is None:
            return None
        return probability_words(self.scan.log10_p_adjusted)


def highlight_page(
    key: Key,
    look: Look,
    path: str | Path,
    *,
    normalised: Look | None = None,
    tokenizer: Any | None = None,
    max_tokens: int = MAX_TOKENS,
    detected_by: Sequence[str] = (),
) -> None:
    """Write the page. It needs no network and no script, and what it quotes is inert.

    Args:
        key: the key that the evidence was made with.
        look: the texts as they came.
        path: a new file.
        normalised: the same texts, read as they look, where that gives other tokens.
        tokenizer: turns ids back into text; without one the ids are shown.
        max_tokens: how many tokens of a reading are shown at most; all are counted.
        detected_by: the other tests of these texts that detected the mark, in words.

    Raises:
        InputError: something is at `path`, or it cannot be written.
        ValueError: evidence is not about this key and collection.
    """
    shown, counts = _shown(key, look, tokenizer, max_tokens, SPAN)
    again = None if normalised is None else _shown(key, normalised, tokenizer, max_tokens, SPAN_AGAIN)[0]
    write_page(
        path,
        "highlight.html.jinja",
        {
            "look": look,
            "evidence": look.evidence,
            "scan": look.scan,
            "headline": _headline(look.evidence, detected_by),
            "legend": _legend(look.evidence, counts),
            "links": _links(look, shown, SPAN),
            "links_again": [] if normalised is None or again is None else _links(normalised, again, SPAN_AGAIN),
            "documents": shown,
            "normalised": normalised,
            "normalised_documents": again,
            "notes": [one_line(note, 600) for note in look.evidence.notes],
            "with_text": tokenizer is not None,
            "GREEN": GREEN,
            "RED": RED,
        },
    )


def _shown(
    key: Key, look: Look, tokenizer: Any | None, max_tokens: int, anchor: str
) -> tuple[list[MarkedDocument], NDArray[np.intp]]:
    """The documents of a reading, or as many as there is room for, and how many tokens of all went where."""
    rule, collection, evidence = WindowRule(key.context_width, key.special_ids), look.collection, look.evidence
    labels = rule.label(collection.documents, collection.prompts)
    counts = np.bincount(np.concatenate([np.zeros(0, dtype=np.int8), *labels]), minlength=len(Reason))
    if evidence.key_id != key.key_id or evidence.n_scored != counts[Reason.COUNTED] or evidence.n_green is None:
        raise ValueError("the evidence is not the count of this collection under this key")
    shown = list(_documents(key, rule, collection, labels, tokenizer, max_tokens))
    if look.scan is not None:
        shown = [frame_spans(document, _frames(look.scan, number, anchor)) for number, document in enumerate(shown)]
    return shown, counts


def chance(evidence: Evidence) -> str | None:
    """How likely so much green would be if text and key had nothing to do with each other; None: no p is claimed.

    Null: what was observed does not depend on the secret key. As adjusted in the evidence, one-sided.
    """
    if evidence.log10_p_adjusted is None:
        return None
    return probability_words(evidence.log10_p_adjusted)


def _documents(
    key: Key,
    rule: WindowRule,
    collection: Collection,
    labels: list[NDArray[np.int8]],
    tokenizer: Any | None,
    max_tokens: int,
) -> Iterator[MarkedDocument]:
    room = max_tokens
    for identifier, ids, label in zip(collection.ids, collection.documents, labels, strict=True):
        if room <= 0:
            return
        beginning = ids[:room]
        state = states(key, rule, ids, label[:room])
        yield mark_document(identifier, beginning, len(ids), state, tokenizer)
        room -= len(beginning)


def _headline(evidence: Evidence, detected_by: Sequence[str]) -> str:
    if evidence.log10_p_adjusted is None:
        return NOTHING_CLAIMED
    if detected_by and evidence.finding != "detected":
        return f"The mark of this key was detected by {' and '.join(detected_by)}; by the count of the whole, not."
    return HEADLINES[evidence.finding]


def _frames(scan: ScanEvidence, document: int, anchor: str) -> list[Frame]:
    """The spans of one document, numbered over all of them."""
    return [
        Frame(span.start_token, span.end_token, _title(number, span), f"{anchor}-{number}")
        for number, span in enumerate(scan.spans, start=1)
        if span.document == document
    ]


def _title(number: int, span: Span) -> str:
    return (
        f"marked span {number}: tokens {span.start_token:,} to {span.end_token:,}, {span.n_green:,} of "
        f"{span.n_scored:,} counted pairs green, probability {probability_words(span.log10_p_adjusted)}"
    )


def _links(look: Look, shown: Sequence[MarkedDocument], anchor: str) -> list[Link]:
    """To every span of a reading."""
    many = len(look.collection.documents) > 1
    return [
        Link(
            _title(number, span),
            f"{anchor}-{number}" if _begins_in(span, shown) else "",
            one_line(look.collection.ids[span.document]) if many else "",
        )
        for number, span in enumerate(look.scan.spans if look.scan is not None else (), start=1)
    ]


def _begins_in(span: Span, shown: Sequence[MarkedDocument]) -> bool:
    """Whether a span begins in what is shown."""
    return span.document < len(shown) and span.start_token < len(shown[span.document].tokens)


def _legend(evidence: Evidence, counts: NDArray[np.intp]) -> list[LegendLine]:
    green = evidence.n_green or 0
    width = "no token" if not evidence.context_width else f"the {evidence.context_width} tokens"
    context = "the token" if evidence.context_width == 1 else width
    lines = [
        LegendLine(GREEN, "green", f"on the key's green list after {context} before it", green),
        LegendLine(RED, "red", "counted, but not on the green list there", evidence.n_scored - green),
    ]
    for reason, (state, meaning) in UNCOUNTED.items():
        lines.append(LegendLine(state, "not counted", meaning, int(counts[reason])))
    return lines
