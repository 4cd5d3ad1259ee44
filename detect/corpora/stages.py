"""The order of work, whoever does it; and the errors of tasks, kept where every machine finds them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from detect.corpora.job import Job, numbered, read_json, write_json
from detect.corpora.sources import Shard
from detect.corpora.tasks import number_of_shares
from detect.workers import described, rebuilt, resolve
from watermark.errors import InputError
from watermark.progress import Progress

ERRORS = "errors"  # directory of them, in that of what is needed on the way


@dataclass(frozen=True)
class Stage:
    """Tasks that do not need each other; each stage needs all of the one before.

    Attributes:
        name: as people see it.
        function: "package.module:name".
        weights: of each task, by its number: bytes of text, or what stands for them.
    """

    name: str
    function: str
    weights: Mapping[int, int]

    def is_done(self, job: Job, number: int) -> bool:
        """Whether a task's result is there."""
        if self.name == "prompts":
            return job.prompts.exists()
        if self.name == "results":
            return job.is_counted
        return (job.share(number) if self.name == "pooling" else job.stage(self.name, number)).exists()

    def task(self, arguments: Mapping[str, Any], number: int) -> dict[str, Any]:
        """What `perform` takes: the arguments of every task, and which one it is."""
        return {**arguments, "stage": self.name, "function": self.function, "number": number}

    def left(self, job: Job) -> list[int]:
        """Numbers of the tasks that are not done, ascending."""
        return [number for number in self.weights if not self.is_done(job, number)]


def stages(shards: Sequence[Shard]) -> list[Stage]:
    """All of them, in order."""
    weights = {shard.number: shard.weight for shard in shards}
    surveyed = {shard.number: shard.weight for shard in shards if shard.needs_survey}
    each = max(1, sum(weights.values()) // number_of_shares(len(shards)))
    return [
        Stage("survey", "detect.corpora.tasks:survey_shard", surveyed),
        Stage("prompts", "detect.corpora.tasks:merge_prompts", {0: 1}),
        Stage("scoring", "detect.corpora.tasks:score_shard", weights),
        Stage("pooling", "detect.corpora.tasks:pool_share", dict.fromkeys(range(number_of_shares(len(shards))), each)),
    ]


def results_stage() -> Stage:
    """What comes last, where no process waits for it."""
    return Stage("results", "detect.corpora.results:bring_together", {0: 1})


class Executor(Protocol):
    """Who does the tasks of a stage."""

    def __call__(self, stage: Stage, numbers: Sequence[int], arguments: Mapping[str, Any], show: Progress) -> None:
        """Do the tasks of these numbers; what goes wrong is raised, and what was done by then stays done.

        Args:
            arguments: of every task, without its number.
            show: called with bytes done, bytes in all, and what is being done.
        """


def run(
    job: Job, shards: Sequence[Shard], arguments: Mapping[str, Any], executor: Executor,
    progress: Callable[[Stage], Any],
) -> None:  # fmt: skip
    """Do what is not done of all stages.

    Args:
        progress: gives a context whose value is a `Progress`, for a stage.

    Raises:
        InputError: the first row that is refused, in the order of the inputs, whoever met which.
        Whatever else a task raised.
    """
    job.sweep()
    forget_errors(job)
    for stage in stages(shards):
        numbers = stage.left(job)
        if numbers:
            with progress(stage) as show:
                _do(job, stage, numbers, arguments, executor, show)


def _do(
    job: Job, stage: Stage, numbers: Sequence[int], arguments: Mapping[str, Any], executor: Executor, show: Progress
) -> None:
    while numbers:
        try:
            executor(stage, numbers, arguments, show)
        except InputError:
            failed = _failed(job, stage)
            if failed is None:
                raise
            numbers = [number for number in stage.left(job) if number < failed]  # one of these may be refused, too
        else:
            break
    raise_first(job, stage)


def perform(arguments: Mapping[str, Any], report: Progress) -> None:
    """In a worker: do a task; what goes wrong is kept in the job's directory, too.

    Args:
        arguments: of the task, and `stage` and `function`.
    """
    try:
        resolve(arguments["function"])(arguments, report)
    except Exception as error:
        path = _error(Job(Path(arguments["job"])), arguments["stage"], arguments["number"])
        with suppress(OSError, InputError):  # a full disk, say
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, list(described(error)))
        raise


def _error(job: Job, stage: str, number: int) -> Path:
    return job.work / ERRORS / f"{stage}-{numbered(number)}.json"


def forget_errors(job: Job) -> None:
    """What went wrong in an earlier run was told then; its tasks are done again."""
    shutil.rmtree(job.work / ERRORS, ignore_errors=True)


def _failed(job: Job, stage: Stage) -> int | None:
    """The first task of a stage that failed; None: none did."""
    return next((number for number in stage.weights if _error(job, stage.name, number).exists()), None)


def raise_first(job: Job, stage: Stage) -> None:
    """Raise what the first task that failed raised, if one did."""
    number = _failed(job, stage)
    if number is not None:
        kind, message, code, filename = read_json(_error(job, stage.name, number))
        raise rebuilt(f"{stage.name} {number}", kind, message, code, filename)
