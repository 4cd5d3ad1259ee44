"""The same inputs give the same bytes with one worker and with four; under other Pythons: benchmarks/same_bytes.py."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.common import kept
from benchmarks.same_bytes import compare

TOLD = {"detect.ndjson", "attribute.json", "page.html", "bundle.zip", "bundle/manifest.json", "report.html",
        "verify.json", "validate.json", "validation/validation.json", "validation/index.html"}  # fmt: skip


def test_one_worker_and_four() -> None:
    found = compare([Path(sys.executable)])
    assert [one["workers"] for one in found["runs"]] == [1, 4]
    assert found["differ"] == []
    assert set(found["files"]) > TOLD
    assert len({digest for digests in found["files"].values() for digest in digests}) > 30


def test_what_was_seen_under_several_pythons() -> None:
    seen = kept("same_bytes")
    pythons = {(one["python"].rpartition(".")[0], one["workers"]) for one in seen["runs"]}
    assert pythons == {(version, workers) for version in ("3.11", "3.12", "3.13") for workers in (1, 4)}
    assert seen["differ"] == []
    assert set(seen["files"]) > TOLD
    assert all(len(digests) == 1 for digests in seen["files"].values())
