"""A job that was stopped, however that came about, goes on where it was and ends in the same bytes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from detect.corpora import stages, tasks
from detect.corpora.job import WORK, Job
from tests.detect.corpora.corpus import do, files, save_key, sentences, write_jsonl
from watermark.errors import InputError
from watermark.lines import OwnLines

ROWS = [{"text": text, "prompt": "Who counted the coins?"} for text in sentences(1, 200)]


@pytest.fixture
def corpus(tmp_path: Path) -> list[Path]:
    save_key(tmp_path / "a.key")
    return [write_jsonl(tmp_path / "a.jsonl", ROWS[:150]), write_jsonl(tmp_path / "b.jsonl", ROWS[150:])]


class Stopped(Exception):
    pass


class After:
    """`perform`, until so many tasks are done; and which were begun."""

    def __init__(self, tasks: float, error: BaseException | None = None) -> None:
        self.tasks, self.error = tasks, error or Stopped()
        self.begun: list[tuple[str, int]] = []
        self._perform = stages.perform

    def __call__(self, arguments: Mapping[str, Any], report: Any) -> None:
        self.begun.append((arguments["stage"], arguments["number"]))
        if len(self.begun) > self.tasks:
            raise self.error
        self._perform(arguments, report)


def test_stopped_after_every_task(corpus: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = After(1e9)
    monkeypatch.setattr("detect.corpora.local.perform", whole)
    do(tmp_path / "whole", tmp_path / "a.key", corpus, shard_bytes=4000)
    expected = files(tmp_path / "whole")
    assert len(whole.begun) > 12
    begun = []
    for done in range(0, len(whole.begun), 3):  # each time three tasks are done, and the next is begun
        part = After(3)
        monkeypatch.setattr("detect.corpora.local.perform", part)
        try:
            do(tmp_path / "job", tmp_path / "a.key", corpus, shard_bytes=4000)
        except Stopped:
            begun += part.begun[:-1]
            assert len(begun) == done + 3
    assert [*begun, *part.begun] == whole.begun  # no finished task is done twice
    assert files(tmp_path / "job") == expected
    assert not (tmp_path / "job" / WORK).exists()


def test_what_a_killed_process_left_is_swept_away(corpus: list[Path], tmp_path: Path) -> None:
    do(tmp_path / "whole", tmp_path / "a.key", corpus)
    job = tmp_path / "job"
    for leftover in (job / WORK / "scoring" / ".00001.abcdefgh.tmp", job / WORK / "survey" / ".00000.x.tmp"):
        leftover.mkdir(parents=True)
        (leftover / "counted-0.run").write_bytes(b"half")
    (job / ".lock").touch()
    (job / "job.json").write_bytes((tmp_path / "whole" / "job.json").read_bytes())
    do(job, tmp_path / "a.key", corpus)
    assert files(job) == files(tmp_path / "whole")


def test_damaged_runs_are_named(corpus: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "pool_share", None)
    with pytest.raises(TypeError):
        do(tmp_path / "job", tmp_path / "a.key", corpus)
    monkeypatch.undo()
    run = tmp_path / "job" / WORK / "scoring" / "00001" / "counted-0.run"
    run.write_bytes(run.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"counted-0.run is damaged; remove .*/00001 and run the same command again"):
        do(tmp_path / "job", tmp_path / "a.key", corpus)


# Whose directory it is


def test_foreign_directories_are_left_alone(corpus: list[Path], tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="foreign is not empty, and no corpus job's; choose another directory"):
        do(foreign, tmp_path / "a.key", corpus)
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match=r"thesis.txt is not a directory"):
        do(foreign / "thesis.txt", tmp_path / "a.key", corpus)
    with pytest.raises(InputError, match="none is not a directory; create it first"):
        do(tmp_path / "none" / "job", tmp_path / "a.key", corpus)
    (foreign / "thesis.txt").rename(foreign / "job.json")
    with pytest.raises(InputError, match=r"job.json: not JSON"):
        do(foreign, tmp_path / "a.key", corpus)


def stopped(root: Path, key: Path, corpus: list[Path]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detect.corpora.local.perform", After(5))
        with pytest.raises(Stopped):
            do(root, key, corpus)


def test_another_key_and_other_inputs_are_refused(corpus: list[Path], tmp_path: Path) -> None:
    stopped(tmp_path / "job", tmp_path / "a.key", corpus)
    save_key(tmp_path / "other.key", 2)
    with pytest.raises(InputError, match="holds a job under another key"):
        do(tmp_path / "job", tmp_path / "other.key", corpus)
    with pytest.raises(InputError, match=r"on other inputs \(.*b.jsonl stands where .*a.jsonl did\)"):
        do(tmp_path / "job", tmp_path / "a.key", corpus[1:])
    with pytest.raises(InputError, match="on other inputs; choose"):
        do(tmp_path / "job", tmp_path / "a.key", [*corpus, *corpus])
    write_jsonl(corpus[0], ROWS[:149])
    with pytest.raises(InputError, match=r"on other inputs \(.*a.jsonl changed since it began\)"):
        do(tmp_path / "job", tmp_path / "a.key", corpus)


def test_two_processes_at_one_job(corpus: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watermark.lines.WAIT_SECONDS", 0.1)
    (tmp_path / "job").mkdir()
    other = OwnLines(tmp_path / "job" / ".lock")
    with pytest.raises(InputError, match="another process is at this job"):
        do(tmp_path / "job", tmp_path / "a.key", corpus)
    other.close()
    do(tmp_path / "job", tmp_path / "a.key", corpus)


def test_a_full_disk_and_then_room(corpus: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = tasks.score_shard

    def full(arguments: Mapping[str, Any], report: Any) -> None:
        if arguments["number"] == 2:
            raise OSError(errno.ENOSPC, "No space left on device", "counted-0.run")
        write(arguments, report)

    monkeypatch.setattr(tasks, "score_shard", full)
    with pytest.raises(OSError, match="No space left"):
        do(tmp_path / "job", tmp_path / "a.key", corpus)
    monkeypatch.undo()
    assert Job(tmp_path / "job").stage("scoring", 1).exists()
    do(tmp_path / "job", tmp_path / "a.key", corpus)
    do(tmp_path / "whole", tmp_path / "a.key", corpus)
    assert files(tmp_path / "job") == files(tmp_path / "whole")


# SIGKILL

PROGRAM = """
import sys
from pathlib import Path
from tests.detect.corpora import corpus
if __name__ == "__main__":
    corpus.do(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:], shard_bytes=3000, workers=2)
"""


def done(root: Path) -> int:
    """How many results of tasks are there."""
    return sum(1 for path in root.glob(f"{WORK}/*/*") if path.name[0] != ".")


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_killed_outright_at_several_moments(corpus: list[Path], tmp_path: Path) -> None:
    """Parent and workers: none of them can clean up, and nobody is left behind at work."""
    from tests.distill_sim.processes import eventually, in_session

    root = tmp_path / "job"
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(root), str(tmp_path / "a.key"), *map(str, corpus)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    kept: dict[Path, int] = {}
    for more in (1, 8, 4):
        wanted = done(root) + more if root.exists() else 1
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        eventually(lambda wanted=wanted: done(root) >= wanted, 120, f"{wanted} tasks")  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait()
        eventually(lambda pid=process.pid: not in_session(pid), 20, "its workers end")  # type: ignore[misc]
        found = {path: path.stat().st_ino for path in root.glob(f"{WORK}/scoring/0*")}
        assert {path: found.get(path) for path in kept} == kept  # what was finished is the very same directory
        kept = found
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    do(tmp_path / "whole", tmp_path / "a.key", corpus, shard_bytes=3000)
    assert files(root) == files(tmp_path / "whole")
    assert json.loads((root / "pooled.json").read_text())["n_tokens"] > 1000


# Finished jobs


def test_documents_of_another_job_are_not_taken_for_this_ones(corpus: list[Path], tmp_path: Path) -> None:
    do(tmp_path / "job", tmp_path / "a.key", corpus)
    do(tmp_path / "other", tmp_path / "a.key", corpus[1:])
    do(tmp_path / "job", tmp_path / "a.key", corpus)
    documents = tmp_path / "job" / "documents.parquet"
    for change in (
        lambda: documents.write_bytes((tmp_path / "other" / "documents.parquet").read_bytes()),
        documents.unlink,
    ):
        change()
        with pytest.raises(InputError, match=r"documents.parquet is not what this job wrote; remove .*job and start"):
            do(tmp_path / "job", tmp_path / "a.key", corpus)
