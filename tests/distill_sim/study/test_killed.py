"""Killed at random moments and started again, a study ends as if nothing had happened, and does nothing twice."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from distill_sim.survival import FRESH, QUALITY, SURVIVAL, read_table
from tests import tiny
from tests.distill_sim.processes import running

KILLS, SEED = 8, 20261131

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has imported torch")


def test_killed_eight_times_the_study_ends_as_the_undisturbed_one(finished: Path, owner: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    arguments = map(str, (root, tiny.shared(), owner, SEED, KILLS))
    with running("-m", "tests.distill_sim.study.driver", *arguments) as process:
        output, errors = process.communicate(timeout=400)
    assert output.split() == [*[str(-signal.SIGKILL)] * KILLS, "0"], errors

    for name in (SURVIVAL, FRESH, QUALITY):
        assert read_table(root / name) == read_table(finished / name), name
    assert (root / SURVIVAL).read_bytes() == (finished / SURVIVAL).read_bytes()
    results = {path.name for path in (root / "stages").iterdir()}
    assert results == {path.name for path in (finished / "stages").iterdir()}
    assert list((root / "work").iterdir()) == []

    events = [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]
    done: set[str] = set()
    for event in events:
        if event["event"] == "started":
            assert event["stage"] not in done, "begun again after it had finished"
        else:
            done.add(event["stage"])
    assert len(done) == len(results)
    begun = Counter(event["stage"] for event in events if event["event"] == "started")
    assert begun.keys() == done
    assert 0 < begun.total() - len(done) <= KILLS  # some kills met a stage at work; no kill cost more than one
    kept = Counter(event["stage"] for event in events if event["event"] == "kept")
    assert max(kept.values()) == KILLS  # what the first try finished was never begun again
