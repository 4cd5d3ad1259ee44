"""What `detect --scan` and `detect --normalise` add to a result: more tests, how they are shown, and the spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from detect.cli.told import Told, more_line
from detect.visible import one_line
from detect.wording import MEANINGS, amount, probability_words

if TYPE_CHECKING:
    from detect.counting import CountTally
    from detect.decoys import Lineup
    from detect.evidence import Assessment, Evidence, Finding
    from detect.joint import Judged
    from detect.readers import Collection
    from detect.reread import Reread
    from detect.scan import Span
    from watermark.keys import Key

RAW, NORMALISED = "the text as it came", "the normalised text"
MOST_SPANS = 20  # shown on a terminal; JSON has all
KIND_WORDS = {
    "zero_width": "invisible",
    "homoglyph": "lookalike",
    "space": "spaces",
    "compatibility": "compatibility forms",
}


@dataclass(frozen=True)
class Results:
    """The tests of one run, all judged as one family.

    Attributes:
        normalised: None: not asked for. Where nothing was folded it is `raw` under another name.
    """

    collection: Collection
    raw: Judged
    normalised: Judged | None
    reread: Reread | None

    @property
    def findings(self) -> list[str]:
        judged = [one for one in (self.raw, self.normalised) if one is not None]
        return [*(one.whole.finding for one in judged), *(one.scan.finding for one in judged if one.scan is not None)]

    @property
    def named(self) -> list[tuple[str, Finding]]:
        """What each test is called on a terminal, and its finding; a text that nothing was folded in is one test."""
        found = [("the text test", self.raw.whole.finding)]
        folded = self.normalised if self.normalised is not self.raw else None
        if folded is not None:
            found.append(("the normalised text", folded.whole.finding))
        for judged, name in ((self.raw, "the scan"), (folded, "the scan of the normalised text")):
            if judged is not None and judged.scan is not None:
                found.append((name, judged.scan.finding))
        return found

    @property
    def detected_by(self) -> list[str]:
        """Tests other than the count of the text as it came that detected the mark, in words."""
        found = []
        for judged, name in ((self.raw, RAW), (self.normalised, NORMALISED)):
            if judged is None or (judged is self.raw and name == NORMALISED):
                continue
            if name == NORMALISED and judged.whole.finding == "detected":
                found.append(f"the count of {name}")
            if judged.scan is not None and judged.scan.finding == "detected":
                found.append(f"the scan of {name}")
        return found

    @property
    def looks(self) -> list[tuple[Collection, Judged]]:
        """What was read, the text as it came first; a text that nothing was folded in is read once."""
        found = [(self.collection, self.raw)]
        if self.normalised is not None and self.normalised is not self.raw and self.reread is not None:
            again = replace(self.collection, documents=self.reread.documents, prompts=self.reread.prompts)
            found.append((again, self.normalised))
        return found

    def to_dict(self) -> dict[str, Any]:
        """The pooled evidence, as without the options, then `scan` and `normalised`."""
        values = self._judged(self.raw, None)
        if self.normalised is not None and self.reread is not None:
            values["normalised"] = {**self._judged(self.normalised, self.reread), "changes": self.reread.changes}
        return values

    def apart(self) -> dict[str, tuple[dict[str, Any], Collection]]:
        """Every test by itself: its object, and what it was made on. A test under two names is there once."""
        found = {}
        for name, (read, judged) in zip(("text", "normalised"), self.looks, strict=False):
            reread = None if judged is self.raw else self.reread
            values = self._judged(judged, reread)
            scan = values.pop("scan", None)
            found[name] = values if reread is None else {**values, "changes": reread.changes}, read
            if scan is not None:
                found[f"{name}/scan"] = scan, read
        return found

    def _judged(self, judged: Judged, reread: Reread | None) -> dict[str, Any]:
        values = judged.whole.to_dict()
        if judged.scan is not None:
            values["scan"] = judged.scan.to_dict(self.spans(judged.scan.spans, reread))
        return values

    def spans(self, spans: Sequence[Span], reread: Reread | None = None) -> list[dict[str, Any]]:
        """Spans for JSON; characters are counted in the text as it came, whichever reading found the span."""
        characters = _characters(self.collection, spans, reread)
        return [
            {
                "document": self.collection.ids[span.document],
                "document_index": span.document,
                "start_token": span.start_token,
                "end_token": span.end_token,
                "start_char": None if at is None else at[0],
                "end_char": None if at is None else at[1],
                "n_scored": span.n_scored,
                "n_green": span.n_green,
                "log10_p": span.log10_p,
                "log10_p_adjusted": span.log10_p_adjusted,
            }
            for span, at in zip(spans, characters, strict=True)
        ]


def judge(
    key: Key,
    collection: Collection,
    reread: Reread | None,
    raw: CountTally,
    how: Assessment,
    *,
    scan: bool,
    lineup: Lineup | None = None,
    notes: Sequence[str] = (),
) -> Results:
    """Run the tests beside the plain one and judge all of them together.

    Args:
        reread: the normalised texts; None: not asked for.
        raw: the plain count.
        lineup: the decoys of the plain count.
    """
    from detect.joint import Reading, judge_readings
    from detect.scan import scan_documents

    of_both = (*notes, *(reread.notes if reread is not None else ()))
    scanned = scan_documents(key, collection.documents, collection.prompts) if scan else None
    readings = [Reading(RAW, raw, scanned, of_both, lineup)]
    if reread is not None and not reread.same:
        again = _recount(key, reread, range(len(reread.documents)), tokenizer_checked=True)
        scanned = scan_documents(key, reread.documents, reread.prompts) if scan else None
        readings.append(Reading(NORMALISED, again, scanned, of_both))
    judged = judge_readings(readings, how)
    return Results(collection, judged[0], judged[-1] if reread is not None else None, reread)


def each_document(
    key: Key, collection: Collection, reread: Reread | None, how: Assessment, tokenizer_checked: bool
) -> list[tuple[str, dict[str, Any]]]:
    """Every document on its own, Holm-adjusted over the documents; prompts are excluded from all of them.

    Normalised documents belong to the family, too; one that gives the same tokens counts once.
    """
    from detect.counting import tally
    from detect.evidence import assess_family

    n = len(collection.documents)
    tallies = [
        tally(key, [one], collection.prompts, tokenizer_checked=tokenizer_checked) for one in collection.documents
    ]
    again = [] if reread is None else reread.changed(collection)
    tallies += [_recount(key, reread, [i], tokenizer_checked) for i in again if reread is not None]
    judged = assess_family(tallies, how)
    result = [one.to_dict() for one in judged[:n]]
    if reread is not None:
        second = dict(zip(again, judged[n:], strict=True))
        for i, (values, text) in enumerate(zip(result, reread.texts, strict=True)):
            changes = dict.fromkeys(KIND_WORDS, 0) if text is None else text.changes
            values["normalised"] = {**second.get(i, judged[i]).to_dict(), "changes": changes}
    return list(zip(collection.ids, result, strict=True))


def _recount(key: Key, reread: Reread, which: Sequence[int], tokenizer_checked: bool) -> CountTally:
    from detect.counting import tally

    documents = [reread.documents[i] for i in which]
    return tally(key, documents, reread.prompts, tokenizer_checked=tokenizer_checked)


def describe_more(results: Results, *, verbose: bool = False) -> list[str]:
    """The tests beside the plain one, as lines for a terminal; `verbose`: with every note."""
    lines: list[str] = []
    if results.normalised is not None and results.reread is not None:
        lines += _describe_normalised(results.normalised.whole, results.reread)
    readings = [("Scan", results.raw, None), ("Scan of the normalised text", results.normalised, results.reread)]
    for title, judged, reread in readings:
        if judged is not None and judged.scan is not None and (reread is None or not reread.same):
            lines += _describe_scan(title, results, judged, reread, verbose)
    return lines


def _describe_normalised(evidence: Evidence, reread: Reread) -> list[str]:
    counts = [f"{count:,} {KIND_WORDS[kind]}" for kind, count in reread.changes.items() if count]
    lines = ["Normalised text", f"  folded       {', '.join(counts) or 'nothing'} (characters)"]
    if reread.same:
        return [*lines, "  finding      as above: the same tokens, the same test"]
    adjusted = probability_words(evidence.log10_p_adjusted)
    lines.append(f"  finding      {evidence.finding}")
    lines.append(f"  p            {probability_words(evidence.log10_p)} (exact, one-sided); adjusted: {adjusted}")
    return [*lines, f"  green        {evidence.n_green or 0:,} of {amount(evidence.n_scored, 'pair')}"]


def _describe_scan(title: str, results: Results, judged: Judged, reread: Reread | None, verbose: bool) -> list[str]:
    scan = judged.scan
    assert scan is not None
    adjusted = probability_words(scan.log10_p_adjusted)
    lines = [f"{title}: {amount(scan.intervals, 'interval')} of documents, each on its own"]
    lines.append(f"  finding      {scan.finding}{': ' + MEANINGS['detected'] if scan.finding == 'detected' else ''}")
    lines.append(f"  p            {probability_words(scan.log10_p)} (valid bound, one-sided); adjusted: {adjusted}")
    shown = results.spans(scan.spans[:MOST_SPANS], reread)
    for span in shown:
        place = f"tokens {span['start_token']:,} to {span['end_token']:,}"
        if span["start_char"] is not None:
            place += f" (characters {span['start_char']:,} to {span['end_char']:,})"
        lines.append(
            f"  span         {one_line(span['document'], 80)}, {place}: {span['n_green']:,} of "
            f"{span['n_scored']:,} green, p {probability_words(span['log10_p_adjusted'])} (adjusted)"
        )
    if len(scan.spans) > len(shown):
        lines.append(f"  span         and {len(scan.spans) - len(shown):,} more: see --json")
    told = Told.of(scan.notes, verbose=verbose)
    return [*lines, *told.lines(), *more_line(len(told.held_back))]


def _characters(collection: Collection, spans: Sequence[Span], reread: Reread | None) -> list[tuple[int, int] | None]:
    """Where each span stands in the text as it came; None: it came as ids, or its tokenizer keeps no offsets."""
    from detect.offsets import character_ranges

    places: dict[Span, tuple[int, int] | None] = dict.fromkeys(spans)
    for document in {span.document for span in spans}:
        here = [span for span in spans if span.document == document]
        ranges = [(span.start_token, span.end_token) for span in here]
        folded = None if reread is None else reread.texts[document]
        text = None if collection.texts is None else collection.texts[document]
        if text is None:
            continue
        ids = (collection if reread is None else reread).documents[document]
        found = character_ranges(collection.tokenizer, text if folded is None else folded.text, ids, ranges)
        for span, at in zip(here, found, strict=True):
            places[span] = at if at is None or folded is None else folded.original_range(*at)
    return [places[span] for span in spans]
