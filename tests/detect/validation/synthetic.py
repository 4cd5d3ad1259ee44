"""A small study made of figures, for the tests of what is written and shown."""

from __future__ import annotations

from typing import Any

from detect.bundles.canonical import rounded
from detect.validation.nulls import TESTS
from detect.validation.record import record
from detect.validation.study import Design
from tests.detect.validation.material import PARAMETERS, SEED, row


def study(name: str = "made up", count: int = 30) -> dict[str, Any]:
    """Two null rows, a model, and marked texts of two strengths; `count` of 1,000 p at or below 0.1."""
    design = Design(PARAMETERS, SEED, 1000, (25, 60))
    counts = {test: [count, 3, 0, 0, 0] for test in TESTS}
    one = {
        "pairs": [10, 20, 30],
        "green": 250,
        "scored": 1000,
        "counts": counts,
        "smallest_log10_p": dict.fromkeys(TESTS, -2.123456789012345),
        "sizes": [70.0, 7.0, 0.6, 0.05, 0.0],
        "uniformity_p": 1 / 3,
        "key_seed": "ab" * 32,
    }
    rows = [type(first)(name, length, first.texts, 1000) for length in (25, 60) for first in [row(1000, texts=2)]]
    read = {
        **one, "population": "model", "model": "c" * 64, "reference": None, "probes": {"rows": 2, "sha256": "d" * 64},
        "positions": 500, "weights": 2000, "pairs": 450, "counts": {"reading": [1, 0, 0, 0, 0], "argmax": [80] * 5},
        "smallest_log10_p": {"reading": -0.5, "argmax": -2.0},
    }  # fmt: skip
    found = [
        {"population": "answers", "delta": delta, "tokens": tokens, "texts": 16, "green": 60, "scored": 100,
         "counts": {test: [16, 16, 15, 9, tokens // 10] for test in TESTS},
         "median_log10_p": dict.fromkeys(TESTS, -40.0)}
        for delta in (1.0, 2.5) for tokens in (25, 60)
    ]  # fmt: skip
    found.append({**found[0], "population": f"given {name}"[:40], "delta": None})
    described = {
        "taggant": "0.0", **design.describe(), "given": [], "model": None, "key_check": None, "made_with": {},
        "populations": [{"name": name, "what": name, "documents": 2, "tokens": 60, "sha256": "e" * 64}],
    }  # fmt: skip
    found_study: dict[str, Any] = rounded(
        record(described, [(one_row, one) for one_row in rows], [read], found, [f"{name} at 400 tokens"])
    )
    return found_study
