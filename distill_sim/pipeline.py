"""Stages of work, content-addressed: a killed run goes on where it was, and no finished stage runs twice.

A stage's identity is a hash of its name, its settings and the identities of the stages it needs. Its result lies in
`stages/<name>-<identity>/`, which appears whole or not at all; what it needs to resume lies in `work/` meanwhile.
Stages that do not need each other run side by side, one process each.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rfc8785

from detect.workers import Task, resolve
from distill_sim.kept import let_go
from distill_sim.stopwatch import Stopwatch
from distill_sim.workers import Executor, run_tasks
from watermark.engines.models import file_sha256
from watermark.errors import InputError
from watermark.files import new_directory, strict_json, write_json
from watermark.lines import open_own
from watermark.progress import Progress

RECORD = "stage.json"
LARGE = 64 << 20  # bytes; what is larger is read again only where a stage is about to use it
VERSION = 1  # of the stages' meaning; raise it when the same settings would give another result
REVISIONS = {  # of single stages, on top of it
    "distill_sim.stages:sampled": 1,  # a batch's answers beyond the planned tokens no longer count
    "distill_sim.stages:student": 1,  # trainings of a few steps have no warm-up, which took the first of them
    "distill_sim.study.making:tuned": 1,  # the same
    "distill_sim.study.judging:started": 1,  # rows, with intervals
}


@dataclass(frozen=True)
class Stage:
    """One step of a pipeline.

    Attributes:
        name: unique within the pipeline.
        function: "package.module:name" of a function (StageContext) → None, run in a worker process.
        settings: JSON values; everything the result depends on besides the needed stages. Nothing secret.
        needs: names of the stages whose results it reads.
        private: values the function needs that are no part of the identity: paths, or where a key file lies.
    """

    name: str
    function: str
    settings: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    private: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageContext:
    """What a stage's function is given.

    Attributes:
        output: an empty directory for the result.
        work: a directory that outlives a killed process; for journals and checkpoints.
        inputs: directories of the needed stages' results, by name.
        report: progress (units done, units in all, what).
    """

    settings: Mapping[str, Any]
    private: Mapping[str, Any]
    inputs: Mapping[str, Path]
    output: Path
    work: Path
    report: Progress


@dataclass(frozen=True)
class Finished:
    """A finished stage: where its result lies, and the seconds it took, those of interrupted tries included."""

    directory: Path
    seconds: float


class Pipeline:
    """Stages over one directory.

    Args:
        root: made if need be; one process at a time works on it.
        stages: in an order in which every stage comes after those it needs.

    Raises:
        ValueError: a name given twice, or a stage before one that it needs.
    """

    def __init__(self, root: Path, stages: Sequence[Stage]) -> None:
        self.root = root
        self.stages = list(stages)
        self.identities: dict[str, str] = {}
        for stage in stages:
            if stage.name in self.identities:
                raise ValueError(f"two stages are called {stage.name}")
            self.identities[stage.name] = self._identity(stage)

    def directory(self, name: str) -> Path:
        """Where the result of a stage lies, or will lie."""
        return self.root / "stages" / f"{name}-{self.identities[name][:16]}"

    def is_finished(self) -> bool:
        """Whether nothing is left to run."""
        return len(self.finished()) == len(self.stages)

    def finished(self) -> set[str]:
        """Names of the stages whose results are there.

        Raises:
            InputError: a result was changed.
        """
        return {stage.name for stage in self.stages if self._finished(stage)}

    def run(
        self, workers: int, threads: int, on_event: Callable[[Event], None], executor: Executor | None = None
    ) -> dict[str, Finished]:
        """Run what is not finished.

        Args:
            workers: processes side by side.
            threads: torch threads of each.
            on_event: called as stages start, advance and end.
            executor: who runs them; None: processes of this machine.

        Raises:
            InputError: another process works on the same root, a result that is there or needed was changed, or a
                stage refused its input.
            Whatever else a stage raised, as far as it can be told across processes (see `workers`).
        """
        with alone(self.root):
            done = self.finished()
            self._clean(done)
            for stage in self.stages:
                if stage.name in done:
                    on_event(Event(stage.name, "kept", 1.0, "", 0.0))
            self._verify_inputs(done)
            tasks = [self._task(stage, done) for stage in self.stages if stage.name not in done]
            with closing((executor or run_tasks)(tasks, workers, threads)) as updates:  # closed, its workers end
                for name, kind, fraction, what, seconds in updates:
                    on_event(Event(name, kind, fraction, what, seconds))
            return {s.name: Finished(self.directory(s.name), self._record(s).seconds) for s in self.stages}

    def _identity(self, stage: Stage) -> str:
        missing = [need for need in stage.needs if need not in self.identities]
        if missing:
            raise ValueError(f"stage {stage.name} needs {missing[0]}, which does not come before it")
        value = {
            "stage": stage.name,
            "function": stage.function,
            "version": VERSION + REVISIONS.get(stage.function, 0),
            "settings": dict(stage.settings),
            "needs": {need: self.identities[need] for need in stage.needs},
        }
        return hashlib.sha256(rfc8785.dumps(value)).hexdigest()

    def _task(self, stage: Stage, done: set[str]) -> Task:
        return Task(
            name=stage.name,
            needs=frozenset(stage.needs) - done,
            function="distill_sim.pipeline:run_stage",
            arguments={
                "function": stage.function,
                "settings": dict(stage.settings),
                "private": dict(stage.private),
                "inputs": {need: str(self.directory(need)) for need in stage.needs},
                "output": str(self.directory(stage.name)),
                "work": str(self._work(stage)),
                "identity": self.identities[stage.name],
            },
        )

    def _work(self, stage: Stage) -> Path:
        return self.root / "work" / self.directory(stage.name).name

    def _finished(self, stage: Stage) -> bool:
        if not self.directory(stage.name).exists():
            return False
        if self._record(stage).identity != self.identities[stage.name]:
            raise _damaged(self.directory(stage.name))
        return True

    def _record(self, stage: Stage) -> _Record:
        """What a finished stage wrote down about itself.

        Raises:
            InputError: it cannot be read, or a file of the result is missing or was changed (of one beyond LARGE: in
                length).
        """
        directory = self.directory(stage.name)
        try:
            record = _Record.of(strict_json((directory / RECORD).read_bytes()))
        except (ValueError, TypeError, KeyError, AttributeError, OSError):  # InputError is a ValueError
            raise _damaged(directory) from None
        sizes = _sizes(directory)
        if record.files is not None and record.files != sizes:
            raise _damaged(directory)
        _verify(directory, {name: digest for name, digest in record.sha256.items() if sizes.get(name, 0) <= LARGE})
        return record

    def _verify_inputs(self, done: set[str]) -> None:
        """Read the large files, too, of finished results that unfinished stages will use."""
        needed = {need for stage in self.stages if stage.name not in done for need in stage.needs}
        for stage in self.stages:
            if stage.name in needed & done:
                _verify(self.directory(stage.name), self._record(stage).sha256)

    def _clean(self, done: set[str]) -> None:
        """Remove what killed runs left behind: half-written results, and the work of stages that were just finished."""
        for leftover in (self.root / "stages").glob(".*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        for stage in self.stages:
            if stage.name in done:
                shutil.rmtree(self._work(stage), ignore_errors=True)


@dataclass(frozen=True)
class _Record:
    """stage.json, as far as it is read again.

    Attributes:
        files: size in bytes of every other file; None: not written down.
        sha256: their digests in hex. They tell of accidents; whoever can change a result can change its record.
    """

    identity: str
    seconds: float
    files: dict[str, int] | None
    sha256: dict[str, str]

    @classmethod
    def of(cls, value: Any) -> _Record:
        return cls(str(value["identity"]), float(value["seconds"]), value.get("files"), dict(value.get("sha256", {})))


def _sizes(directory: Path) -> dict[str, int]:
    files = [path for path in sorted(directory.rglob("*")) if path.is_file() and path != directory / RECORD]
    return {path.relative_to(directory).as_posix(): path.stat().st_size for path in files}


def _verify(directory: Path, digests: Mapping[str, str]) -> None:
    try:
        same = all(file_sha256(directory / name) == digest for name, digest in digests.items())
    except OSError:
        same = False
    if not same:
        raise _damaged(directory)


def _damaged(directory: Path) -> InputError:
    return InputError(f"{directory} is damaged; remove that directory and run the same command again")


@dataclass(frozen=True)
class Event:
    """What happened to a stage: "kept", "started", "progress" or "finished"."""

    stage: str
    kind: str
    fraction: float
    what: str
    seconds: float


def run_stage(arguments: Mapping[str, Any], report: Progress) -> float:
    """In a worker: run one stage's function and put its result in place; returns the seconds of all tries."""
    output, work = Path(arguments["output"]), Path(arguments["work"])
    work.mkdir(parents=True, exist_ok=True)
    clock = Stopwatch(work / "seconds.json")
    with clock.running(), new_directory(output) as directory:
        context = StageContext(
            settings=arguments["settings"],
            private=arguments["private"],
            inputs={name: Path(path) for name, path in arguments["inputs"].items()},
            output=directory,
            work=work,
            report=_ticking(clock, report),
        )
        let_go(unless=arguments["function"])
        resolve(arguments["function"])(context)
        seconds = clock.seconds
        sizes = _sizes(directory)
        record = {
            "identity": arguments["identity"],
            "function": arguments["function"],
            "settings": arguments["settings"],
            "seconds": round(seconds, 2),
            "files": sizes,
            "sha256": {name: file_sha256(directory / name) for name in sizes},
        }
        write_json(directory / RECORD, record)
    shutil.rmtree(work, ignore_errors=True)
    return seconds


def _ticking(clock: Stopwatch, report: Progress) -> Progress:
    def both(done: int, total: int, what: str) -> None:
        report(done, total, what)
        clock.tick()

    return both


@contextmanager
def alone(root: Path, lock: str = ".lock") -> Iterator[None]:
    """Hold `root` (made if need be) for this process alone; the lock goes with the process, however that ends.

    Raises:
        InputError: another process holds it, or the lock is no plain file of this user's.
    """
    root.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_own(root / lock), "r+b") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another run is at work in {root}; wait for it or choose another directory") from None
        yield
