"""The stretches that a scan found."""

from __future__ import annotations

from detect.bundles.refused import Refused
from detect.bundles.verify.retally import rows_of
from detect.bundles.verify.runs import RecordedTest
from detect.reports.blocks import Table, Text, number, said
from detect.wording import bound_words

MOST_SPANS = 50


def spans_of(test: RecordedTest) -> Table:
    """What a scan found, by the ids of the documents, or by their numbers where they have none."""
    names = ("document_index", "start_token", "end_token", "n_scored", "n_green", "log10_p_adjusted")
    rows: list[tuple[Text, ...]] = []
    ids = _ids(test)
    for span in test.evidence["spans"][:MOST_SPANS]:
        values = [span.get(name) for name in names]
        document, *counts, p = (value if isinstance(value, int | float) else None for value in values)
        told = said(ids[document]) if document in ids else number(document)
        rows.append((told, *map(number, counts), bound_words(None if p is None else min(0.0, float(p)))))
    more = len(test.evidence["spans"]) - MOST_SPANS
    caption = "Stretches found" + (f" (the first {MOST_SPANS}; {more:,} more are in the bundle)" if more > 0 else "")
    return Table(("document", "from", "to", "pairs", "green", "p, adjusted"), tuple(rows), caption)


def _ids(test: RecordedTest) -> dict[float | None, object]:
    """Ids of a test's documents by their number, where they have one; without an opened key nothing has read them."""
    try:
        rows = rows_of(test, "documents")
    except Refused:
        return {}
    return {index: row["id"] for index, row in enumerate(rows) if row["id"] is not None}
