"""Documents marked only in part: a scan of every document for stretches with too many green pairs.

Within a document every distinct pair counts once, where it first occurs; what is in a prompt counts nowhere. Under the
null their colours, in reading order, are i.i.d. Bernoulli(γ): the scan's law depends on their number alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detect.audit import excluded_stretches_log10_p
from detect.counting import ScoredMark, window_rule
from detect.exact import scan as exact
from watermark.greenlist import GreenList
from watermark.windows import Document, Reason, WindowRule


@dataclass(frozen=True)
class Span:
    """A stretch of a document: somewhere in it the text depends on the key. Its ends are those of the scan's grid.

    Attributes:
        document: which of the documents, from 0.
        start_token: the first token whose pair is counted in the stretch.
        end_token: one after the last.
        n_scored: pairs counted.
        log10_p: corrected for all intervals of all documents.
        log10_p_adjusted: for the other tests and the key check besides.
    """

    document: int
    start_token: int
    end_token: int
    n_scored: int
    n_green: int
    log10_p: float
    log10_p_adjusted: float


@dataclass(frozen=True)
class ScannedDocument:
    """The counted pairs of a document in reading order.

    Attributes:
        positions: int64 [n], the token of each pair.
        colours: bool [n].
    """

    positions: NDArray[np.intp] = field(repr=False)
    colours: NDArray[np.bool_] = field(repr=False)
    log10_p: float


@dataclass(frozen=True)
class Scan:
    """The scan of a collection.

    Attributes:
        documents: all, those without a pair included.
        gamma: green fraction under the null.
        n_scanned: documents with a pair; each has the same share of the level.
        intervals: how many the families of all documents have together.
        log10_p: the smallest of all intervals', corrected for all of them.
        excluded_log10_p: of the audit of what was left out, as it occurs in a prompt; None: nothing was.
    """

    documents: tuple[ScannedDocument, ...] = field(repr=False)
    gamma: float
    n_scanned: int
    intervals: int
    log10_p: float
    excluded_log10_p: float | None = None

    def spans(self, log10_alpha: float, log10_factor: float = 0.0) -> list[Span]:
        """Disjoint stretches that are each significant: all their claims hold together with chance 1 − α.

        Null: as `scan_documents`, for any set of the intervals. By the union bound, one-sided.

        Args:
            log10_alpha: level that each adjusted p reaches.
            log10_factor: what `log10_p` is multiplied by to become `log10_p_adjusted`.
        """
        shares = math.log10(self.n_scanned) if self.n_scanned else 0.0
        found = []
        for number, one in enumerate(self.documents):
            if one.log10_p + shares + log10_factor > log10_alpha:
                continue
            level = log10_alpha - log10_factor - shares
            for interval in exact.disjoint(exact.significant(one.colours, self.gamma, level), level):
                log10_p = min(0.0, float(interval.log10_p + shares))
                found.append(
                    Span(
                        document=number,
                        start_token=int(one.positions[interval.start]),
                        end_token=int(one.positions[interval.end - 1]) + 1,
                        n_scored=interval.n_scored,
                        n_green=interval.n_green,
                        log10_p=log10_p,
                        log10_p_adjusted=min(0.0, float(log10_p + log10_factor)),
                    )
                )
        return found

    def span_found(self, effect: float, alpha: float) -> int | None:
        """The shortest stretch, in pairs, with green fraction `effect` that is found with power .9 in any document."""
        longest = max((len(one.colours) for one in self.documents), default=0)
        return exact.span_found(longest, self.gamma, effect, alpha / max(1, self.n_scanned)) if longest else None


def scan_documents(key: ScoredMark, documents: Sequence[Document], exclude: Sequence[Document] = ()) -> Scan:
    """Scan each document on its own, under one correction for all of them.

    Null: the colours do not depend on the text (i.i.d. Bernoulli(γ)). Valid bound, one-sided (upper): exact tails,
    union bound over intervals and documents.

    Args:
        documents: token ids of each document.
        exclude: token ids of prompts: their pairs count nowhere.
    """
    green = GreenList(key)
    scanned, left_out = [], []
    for positions, colours, excluded in _coloured(green, window_rule(key), documents, exclude):
        left_out.append(excluded)
        scanned.append(ScannedDocument(positions, colours, exact.smallest(colours, green.gamma)))
    with_pairs = [one for one in scanned if len(one.colours)]
    return Scan(
        documents=tuple(scanned),
        gamma=green.gamma,
        n_scanned=len(with_pairs),
        intervals=sum(exact.family_size(len(one.colours)) for one in with_pairs),
        log10_p=exact.of_all([one.log10_p for one in with_pairs]),
        excluded_log10_p=excluded_stretches_log10_p([one for one in left_out if len(one)], green.gamma),
    )


def _coloured(
    green: GreenList, rule: WindowRule, documents: Sequence[Document], exclude: Sequence[Document]
) -> list[tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]]:
    """Of each document position and colour of each counted pair, and the colours of those that stand in a prompt.

    All documents are looked up in the prompts at once.
    """
    found = [_distinct(rule, np.asarray(document)) for document in documents]
    contexts = np.concatenate([np.zeros((0, rule.context_width), dtype=np.uint32), *(one[0] for one in found)])
    tokens = np.concatenate([np.zeros(0, dtype=np.uint32), *(one[1] for one in found)])
    counted = ~rule.occurs(contexts, tokens, exclude)
    colours = green.is_green(contexts, tokens)
    result, at = [], 0
    for _, _, positions in found:
        here = slice(at, at + len(positions))
        result.append((positions[counted[here]], colours[here][counted[here]], colours[here][~counted[here]]))
        at = here.stop
    return result


def _distinct(
    rule: WindowRule, ids: NDArray[np.uint32]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.intp]]:
    """The distinct pairs of a document where they first occur: contexts [n, h], tokens [n], positions [n], rising."""
    (labels,) = rule.label([ids])
    contexts, offsets = rule.contexts(ids)
    inside = offsets < len(ids)  # the last context has no token after it
    contexts, offsets = contexts[inside], offsets[inside]
    counted = labels[offsets] == Reason.COUNTED
    return contexts[counted], ids[offsets[counted]].astype(np.uint32), offsets[counted]
