"""The simulator's worker processes: those of `detect.workers`, with torch's threads set."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence

from detect import workers as processes
from detect.workers import Task, Update

Executor = Callable[[Sequence[Task], int, int], Generator[Update, None, None]]
"""`run_tasks`, or what keeps its promises on other machines: `distill_sim.ray_workers.run_tasks_on_ray`"""


def run_tasks(tasks: Sequence[Task], workers: int, threads: int) -> Generator[Update, None, None]:
    """As `detect.workers.run_tasks`, in processes in which torch uses so many threads."""
    return processes.run_tasks(tasks, workers, threads, begin="distill_sim.workers:use_threads")


def use_threads(threads: int) -> None:
    """In a fresh process: torch uses so many threads."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
