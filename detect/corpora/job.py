"""A job's directory: what is done stays done, whoever did it and however that ended.

    job.json                          what work this is
    work/plan/00000.json              the shards
    work/survey|scoring/00000/        what was found in each: a directory that appears whole or not at all
    work/prompts/, work/pooling/      pairs of all prompts; counts of each share of all pairs
    documents.parquet, totals.json    what was counted; `work` goes when they are there
    sources.parquet, pooled.json      what it means

No file holds a key, or an address's password. Counts of green pairs are the key's holder's to keep: see ADR 18.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detect.corpora.sources import Shard
from watermark.errors import InputError
from watermark.files import new_directory, new_file, strict_json
from watermark.lines import OwnLines

FORMAT = "taggant-corpus/1"
JOB, LOCK, WORK = "job.json", ".lock", "work"
DOCUMENTS, TOTALS, SOURCES, POOLED = "documents.parquet", "totals.json", "sources.parquet", "pooled.json"
FOUND = "found.json"  # in the directory of a shard's stage
_BUSY = "another process is at this job; wait until it has ended, or choose another directory"


@dataclass(frozen=True)
class Job:
    """Where everything of a job lies."""

    root: Path

    @property
    def work(self) -> Path:
        return self.root / WORK

    @property
    def prompts(self) -> Path:
        """Directory of the pairs of all prompts."""
        return self.work / "prompts"

    def stage(self, stage: str, number: int) -> Path:
        """Directory of what a stage found in a shard."""
        return self.work / stage / numbered(number)

    def share(self, number: int) -> Path:
        """What was counted in one share of all pairs."""
        return self.work / "pooling" / f"{numbered(number)}.json"

    def shard(self, number: int) -> Shard:
        """A shard of the plan (InputError: it is not there)."""
        return Shard.from_json(read_json(self.work / "plan" / f"{numbered(number)}.json"))

    @property
    def is_counted(self) -> bool:
        """Whether only what the counts mean is left to be said."""
        return (self.root / TOTALS).exists()

    def sweep(self) -> None:
        """Remove what killed processes left half-written; only where no other process can be at work on it."""
        for leftover in [*self.work.glob(".*.tmp"), *self.work.glob("*/.*.tmp")]:
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what was needed on the way."""
        shutil.rmtree(self.work, ignore_errors=True)


def numbered(number: int) -> str:
    """Name of what belongs to a task or shard."""
    return f"{number:05d}"


@contextmanager
def opened(root: Path, described: Mapping[str, Any], shards: Sequence[Shard]) -> Iterator[Job]:
    """The job at `root`, begun or gone on with, held for this process while the block runs.

    Args:
        described: equal exactly where the work is the same; the plan's digest is added.

    Raises:
        InputError: the directory is none, or not empty and no job's; it is another job's; or another process's now.
    """
    described = {"format": FORMAT, **described, "shards": len(shards), "plan": plan_digest(shards)}
    _refuse_foreign(root)
    root.mkdir(exist_ok=True)
    lock = OwnLines(root / LOCK, busy=_BUSY)
    try:
        job = Job(root)
        if (root / JOB).exists():
            _refuse_other(job, described, shards)
        else:
            write_json(root / JOB, described)
        if not job.is_counted:
            _write_plan(job.work / "plan", shards)
        yield job
        if job.is_counted:  # before that another process, which has it open already, would hold a lock of its own
            (root / LOCK).unlink(missing_ok=True)
    finally:
        lock.close()


def plan_digest(shards: Sequence[Shard]) -> str:
    """SHA-256, hex, over the shards and what they hold, sizes and times of change included."""
    digest = hashlib.sha256()
    for shard in shards:
        digest.update(json.dumps(shard.to_json(), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _refuse_foreign(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is not a directory; choose another name")
    if not root.exists() and not root.parent.is_dir():
        raise InputError(f"{root.parent} is not a directory; create it first")
    if root.is_dir() and not (root / JOB).exists():
        others = [path.name for path in root.iterdir() if path.name != LOCK and not path.name.startswith(f".{JOB}.")]
        if others:
            raise InputError(f"{root} is not empty, and no corpus job's; choose another directory")


def _refuse_other(job: Job, described: Mapping[str, Any], shards: Sequence[Shard]) -> None:
    found = read_json(job.root / JOB)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(f"{job.root / JOB} is not a corpus job's; choose another directory")
    for name, what in (("taggant", "of another version"), ("key_id", "under another key"),
                       ("special_ids", "under a key with other special ids"),
                       ("tokenizer", "with another tokenizer")):  # fmt: skip
        if found.get(name) != described.get(name):
            raise InputError(f"{job.root} holds a job {what}; choose another directory, or remove it")
    if found.get("shard_mb") != described.get("shard_mb"):
        size = found.get("shard_mb")
        raise InputError(f"{job.root} holds a job with --shard-mb {size}; give that, or choose another directory")
    if found != described:
        where = _first_change(job, shards)
        raise InputError(f"{job.root} holds a job on other inputs{where}; choose another directory, or remove it")


def _first_change(job: Job, shards: Sequence[Shard]) -> str:
    """Which file changed since the job began, where that can be told."""
    for shard in shards:
        try:
            before = job.shard(shard.number)
        except InputError:
            return ""
        for old, new in zip(before.parts, shard.parts, strict=False):
            if old != new:
                changed = old.name == new.name
                return f" ({new.name} {'changed since it began' if changed else 'stands where ' + old.name + ' did'})"
    return ""


def _write_plan(directory: Path, shards: Sequence[Shard]) -> None:
    if directory.exists():
        return
    with new_directory(directory) as plan:
        for shard in shards:
            (plan / f"{numbered(shard.number)}.json").write_bytes(json_line(shard.to_json()))


def write_json(path: Path, value: Any) -> None:
    """Write JSON; the file is there whole, and replaces what was."""
    with new_file(path, overwrite=True) as handle:
        handle.write(json_line(value))


def json_line(value: Any) -> bytes:
    """A line of JSON in ASCII: names of files may be no text."""
    return json.dumps(value, allow_nan=False).encode("ascii") + b"\n"


def read_json(path: Path) -> Any:
    """What `write_json` wrote (InputError: it is not there, or damaged)."""
    try:
        return strict_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} is missing; run the same command again") from None
    except InputError as error:
        raise InputError(f"{path}: {error}; remove it and run the same command again") from None
