"""Texts that are marked: how often the tests of a text find the mark, by its strength and the text's length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detect.counting import tally
from detect.exact.evalue import log10_e_value
from detect.fed import Probe, probes_digest
from detect.scan import scan_documents
from detect.validation.nulls import TESTS
from detect.validation.rates import count_log10_p, counts_below
from watermark.keys import Key
from watermark.windows import Document


@dataclass(frozen=True)
class MarkedText:
    """A text, the key that marked it, and the prompt that it answers (its pairs count nowhere)."""

    key: Key
    ids: Document
    prompt: Document = ()


def marked_sha256(texts: Sequence[MarkedText]) -> str:
    """Of each text its prompt, then its ids: as `detect.fed.probes_digest`."""
    return probes_digest([Probe(text.prompt, text.ids) for text in texts])


def detect_at(texts: Sequence[MarkedText], length: int) -> dict[str, Any] | None:
    """What the tests say of the first `length` tokens of each text; shorter ones are left out. None: all are shorter.

    JSON-ready: counts of small p by test. The p are those that are reported: see `detect.validation.nulls.TESTS`.
    """
    long_enough = [text for text in texts if len(text.ids) >= length]
    if not long_enough:
        return None
    found = [_log10_p(text, length) for text in long_enough]
    return {
        "texts": len(found),
        "scored": sum(n for n, _, _ in found),
        "green": sum(k for _, k, _ in found),
        "counts": {test: counts_below(np.array([p[test] for _, _, p in found])) for test in TESTS},
        "median_log10_p": {test: float(np.median([p[test] for _, _, p in found])) for test in TESTS},
    }


def _log10_p(text: MarkedText, length: int) -> tuple[int, int, dict[str, float]]:
    """Pairs, green ones, and log10 p by test.

    Null: the text does not depend on the key. As `NullRow.score`.
    """
    documents, prompts = [text.ids[:length]], [text.prompt]
    counted = tally(text.key, documents, prompts)
    n, k, gamma = counted.n_scored, counted.n_green, counted.green.gamma
    scanned = scan_documents(text.key, documents, prompts).log10_p
    p = {"count": count_log10_p(k, n, gamma), "e-value": min(0.0, -log10_e_value(k, n, gamma)), "scan": scanned}
    return n, k, p
