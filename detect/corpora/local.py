"""The tasks of a stage on this machine: in this process, or in several."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from detect.corpora.stages import Stage, perform
from detect.readers.places import is_address
from detect.workers import Task, Update, run_tasks
from watermark.progress import Progress

PERFORM = "detect.corpora.stages:perform"
_NEARLY = 0.999  # of a task that has not ended


def needs_this_process(inputs: Sequence[str]) -> bool:
    """Whether an input lies in this process's own memory."""
    return any(is_address(one) and one.startswith("memory://") for one in inputs)


@dataclass(frozen=True)
class Local:
    """Processes of this machine; one worker is this process itself."""

    workers: int

    def __call__(self, stage: Stage, numbers: Sequence[int], arguments: Mapping[str, Any], show: Progress) -> None:
        """As `detect.corpora.stages.Executor`."""
        ahead = _Ahead(stage, numbers, show)
        names = {f"{stage.name} {number}": number for number in numbers}
        tasks = [Task(name, PERFORM, stage.task(arguments, number)) for name, number in names.items()]
        workers = min(self.workers, len(tasks))
        if workers == 1:
            for number, task in zip(numbers, tasks, strict=True):
                perform(task.arguments, ahead.of(number))
                ahead.tell(number, 1.0)
            return
        updates: Generator[Update, None, None]
        with closing(run_tasks(tasks, workers, 1)) as updates:  # closed, its workers end
            for name, kind, fraction, _, _ in updates:
                ahead.tell(names[name], 1.0 if kind == "finished" else min(fraction, _NEARLY))


class _Ahead:
    """How far a stage is: the weights of its tasks, by the fraction that is done of each."""

    def __init__(self, stage: Stage, numbers: Sequence[int], show: Progress) -> None:
        self._weights, self._show = stage.weights, show
        self._total = sum(stage.weights.values())
        self._done = self._total - sum(stage.weights[number] for number in numbers)  # by earlier runs
        self._fractions: dict[int, float] = {}
        show(self._done, self._total, "")

    def tell(self, number: int, fraction: float) -> None:
        if fraction >= 1.0:
            self._done += self._weights[number]
            self._fractions.pop(number, None)
        else:
            self._fractions[number] = fraction
        ahead = sum(self._weights[one] * part for one, part in self._fractions.items())
        self._show(int(self._done + ahead), self._total, "")

    def of(self, number: int) -> Progress:
        """For a task in this process."""

        def report(done: int, total: int, what: str) -> None:
            self.tell(number, min(done / total, _NEARLY) if total else 0.0)

        return report
