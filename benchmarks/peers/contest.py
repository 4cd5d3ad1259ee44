"""Rounds of all contestants in alternating order, each in its worker: medians and the smallest and largest round."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKERS = Path(__file__).parent / "workers"
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"),
    "NUMBA_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
ROUNDS, SECONDS_A_ROUND, SECONDS_A_CASE = 7, 0.1, 5.0
SLOW = 10.0  # seconds a call


class Worker:
    """A process that times one library's contestants.

    Args:
        name: workers/with_<name>.py.
        python: its interpreter.
        ours: whether it may import this project.

    Raises:
        OSError: it does not start; says what it said last.
    """

    def __init__(self, name: str, python: Path, *, ours: bool) -> None:
        environment = {**os.environ, **ONE_THREAD, "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
        environment.pop("PYTHONPATH", None)
        if ours:
            environment["PYTHONPATH"] = str(WORKERS.parents[2])
        self.name = name
        # A pipe that nobody empties would hold the worker up
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (open as long as the worker)
        self._process = subprocess.Popen(
            [python, WORKERS / f"with_{name}.py"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True, env=environment,
        )  # fmt: skip
        about = self._answer()
        self.versions: dict[str, str] = about["versions"]
        self.contestants: dict[str, list[str]] = {"step": about["steps"], "score": about["scores"]}

    def ask(self, **request: Any) -> dict[str, Any]:
        """Seconds a call: {"cpu": …, "wall": …, "calls": …}."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._said.seek(0)
            raise OSError((self._said.read().strip().splitlines() or [f"the worker of {self.name} ended"])[-1])
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True)
class Case:
    """What all contestants are given.

    Attributes:
        task: "step" or "score".
        ids: [batch, length].
    """

    task: str
    vocabulary: int
    ids: Sequence[Sequence[int]]

    def request(self, name: str, calls: int | None) -> dict[str, Any]:
        return {"name": name, "task": self.task, "vocabulary": self.vocabulary, "ids": self.ids, "calls": calls}


def compare(case: Case, workers: Iterable[Worker]) -> dict[str, dict[str, Any]]:
    """Of every contestant {"cpu_ms": {"median", "least", "most"}, "wall_ms": …, "rounds", "calls"}, times of one call.

    A contestant whose call takes seconds has fewer rounds, at least two; from SLOW on, one.
    """
    plan = []
    times: dict[str, list[dict[str, Any]]] = {}
    for worker in workers:
        for name in worker.contestants[case.task]:
            answer = worker.ask(**case.request(name, None))
            first = answer["wall"]
            times[name] = [answer] if first > SLOW else []
            calls = max(1, round(SECONDS_A_ROUND / max(first, 1e-9)))
            rounds = 0 if first > SLOW else max(2, min(ROUNDS, int(SECONDS_A_CASE / (calls * first))))
            plan.append((worker, name, calls, rounds))
            print(f"  {name}: about {1000 * first:.3g} ms a call", file=sys.stderr, flush=True)
    for number in range(ROUNDS):
        for worker, name, calls, rounds in plan[:: 1 if number % 2 == 0 else -1]:
            if number < rounds:
                times[name].append(worker.ask(**case.request(name, calls)))
    return {name: _summed_up(found) for name, found in times.items()}


def _summed_up(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {"rounds": len(rounds), "calls": rounds[0]["calls"]}
    for clock in ("cpu", "wall"):
        times = [1000 * one[clock] for one in rounds]
        middle = {"median": statistics.median(times), "least": min(times), "most": max(times)}
        summary[f"{clock}_ms"] = {name: float(f"{value:.4g}") for name, value in middle.items()}
    return summary
