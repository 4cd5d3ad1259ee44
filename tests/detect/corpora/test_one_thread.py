"""A worker that scores stays a process of one thread, from its first import to its last file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from detect.corpora.job import opened
from detect.corpora.local import PERFORM
from detect.corpora.sources import plan
from detect.corpora.stages import results_stage, stages
from detect.workers import Task, run_tasks
from tests.detect.corpora import corpus

MODULE = "tests.detect.corpora.threads"


def tasks(root: Path) -> list[Task]:
    """A whole job, after which its threads are counted, and once more beside another."""
    inputs = [root / "a.jsonl", root / "b.parquet"]
    shards = plan(list(map(str, inputs)), 2000)
    arguments = corpus.arguments(root / "job", root / "a.key", inputs)
    with opened(root / "job", corpus.of_key(corpus.save_key(root / "a.key")), shards):
        work = [
            Task(f"{stage.name} {number}", PERFORM, stage.task(arguments, number))
            for stage in [*stages(shards), results_stage()]
            for number in stage.weights
        ]
    asked = [("before", "count"), ("thread", "start_one"), ("after", "count")]
    return work + [Task(name, f"{MODULE}:{function}", {"file": str(root / name)}) for name, function in asked]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at threads through /proc")
def test_threads_of_a_worker(tmp_path: Path) -> None:
    rows = [{"text": text, "prompt": "Tell me."} for text in corpus.sentences(1, 60)]
    corpus.write_jsonl(tmp_path / "a.jsonl", rows)
    corpus.write_parquet(tmp_path / "b.parquet", rows)
    for _ in run_tasks(tasks(tmp_path), 1, 1):
        pass
    assert (tmp_path / "job" / "totals.json").exists()
    assert [(tmp_path / name).read_text() for name in ("before", "after")] == ["1", "2"]
