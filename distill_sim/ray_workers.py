"""Tasks over the machines of a Ray cluster: what `workers.run_tasks` promises, kept elsewhere.

    this process: order of work, errors, progress → an actor a worker: one task at a time, its messages streamed back

Stages read and write directories: every machine must see the same file system, at the same paths, with working locks,
and have Taggant installed in the same version. Nothing is retried behind our back: a task runs once, and the pipeline's
own resuming starts it again.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from detect.ray import connected, load_ray
from detect.workers import Message, Task, Update, WorkerDiedError, check, perform, schedule, told
from distill_sim.workers import use_threads
from watermark.engines.models import first_line
from watermark.errors import InputError

SHARE = 0.8  # of the cluster's processors that all workers together may reserve: Ray itself needs some


def run_tasks_on_ray(
    tasks: Sequence[Task],
    workers: int,
    threads: int,
    *,
    address: str | None = None,
    gpus: float = 0.0,
    patience: float = 120.0,
) -> Generator[Update, None, None]:
    """As `distill_sim.workers.run_tasks`, each worker an actor on a Ray cluster.

    A Ray that this process is connected to already is used and left as it is; else one is connected to, or started on
    this machine, and left at the end. Each worker reserves `threads` processors, or less where the cluster has too few
    for all of them.

    Args:
        address: of the cluster; None: what RAY_ADDRESS says, else a Ray of our own on this machine.
        gpus: that each worker reserves.
        patience: seconds until the workers must be there; the work goes on with those that are.

    Raises:
        InputError: Ray is not installed, the cluster cannot be reached, or it has no room for a single worker.
        And as `run_tasks`.
    """
    check(tasks, workers)
    if not tasks:
        return
    with connected(address):
        pool: list[_RayWorker] = []
        try:
            pool += _start(min(workers, len(tasks)), threads, gpus)
            yield from schedule(tasks, _arrived(pool, patience), _with_news)
        finally:
            for worker in pool:
                worker.kill()
            for worker in pool:
                worker.bury()


def _start(workers: int, threads: int, gpus: float) -> list[_RayWorker]:
    ray = load_ray()
    processors = float(ray.cluster_resources().get("CPU", 0.0))
    reserved = min(float(threads), SHARE * processors / workers)
    actor = ray.remote(_Actor).options(num_cpus=reserved, num_gpus=gpus, max_restarts=0, max_task_retries=0)
    modules = [path for path in sys.path if path]
    debug = os.environ.get("TAGGANT_DEBUG") == "1"
    return [_RayWorker(actor.remote(threads, str(Path.cwd()), modules, debug)) for _ in range(workers)]


def _arrived(pool: list[_RayWorker], patience: float) -> list[_RayWorker]:
    """Those of the pool that are there by now.

    Raises:
        InputError: nobody is, or they cannot work where they are.
    """
    ray = load_ray()
    calls = {worker.actor.ready.remote(): worker for worker in pool}
    there, _ = ray.wait(list(calls), num_returns=len(calls), timeout=patience)
    if not there:
        room = {name: ray.available_resources().get(name, 0) for name in ("CPU", "GPU")}
        raise InputError(
            f"no Ray worker started within {patience:g} s; free are {room['CPU']:g} processors and {room['GPU']:g} "
            "GPUs: ask for fewer workers, threads or GPUs"
        )
    for call in there:
        try:
            problem = ray.get(call)
        except ray.exceptions.RayError as error:
            raise InputError(f"a Ray worker cannot start: {first_line(error)}") from None
        if problem:
            raise InputError(f"a Ray worker cannot start: {problem}; all machines must share one file system")
    return [calls[call] for call in there]


def _with_news(busy: list[_RayWorker]) -> list[_RayWorker]:
    streams = {worker.stream: worker for worker in busy}
    there, _ = load_ray().wait(list(streams), num_returns=1, fetch_local=False)
    return [streams[stream] for stream in there]


class _RayWorker:
    """This process's end of one actor."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.task: Task | None = None
        self.stream: Any = None

    def start(self, task: Task) -> None:
        self.task = task
        self.stream = self.actor.run.remote(task.function, dict(task.arguments))

    def receive(self) -> Update:
        assert self.task is not None
        ray, name = load_ray(), self.task.name
        try:
            message: Message = ray.get(next(self.stream))
        except (ray.exceptions.RayError, StopIteration) as error:
            raise WorkerDiedError(
                f"stage {name}: its Ray worker ended ({type(error).__name__}); free some memory and run the same "
                "command again, it goes on from there"
            ) from None
        update = told(name, message)
        if update[1] == "finished":
            self.task = self.stream = None
        return update

    def kill(self) -> None:
        with suppress(Exception):  # it, or the cluster, is gone
            load_ray().kill(self.actor, no_restart=True)

    def bury(self) -> None:
        """Wait, not for long, until the cluster knows that it is dead."""
        ray = load_ray()
        with suppress(Exception):
            ray.get(self.actor.ready.remote(), timeout=10)


class _Actor:
    """A worker's life, on some machine of the cluster.

    Args:
        directory: current directory, for relative paths.
        modules: where this process's parent looks for modules; the machine's own places come after them.
    """

    def __init__(self, threads: int, directory: str, modules: list[str], debug: bool) -> None:
        sys.path[:] = [*modules, *(path for path in sys.path if path not in modules)]
        os.environ["TAGGANT_DEBUG"] = "1" if debug else "0"
        self._problem = ""
        try:
            os.chdir(directory)
        except OSError as error:
            self._problem = f"{directory} is not there: {error.strerror}"
        use_threads(threads)

    def ready(self) -> str:
        """Empty, or why no task could work here."""
        return self._problem

    def run(self, function: str, arguments: dict[str, Any]) -> Iterator[Message]:
        """Do a task in a thread of its own, and stream what it tells."""
        messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=_perform, args=(function, arguments, messages), daemon=True).start()
        kind = ""
        while kind not in ("finished", "failed"):
            message = messages.get()
            kind = message[0]
            yield message


def _perform(function: str, arguments: dict[str, Any], messages: queue.SimpleQueue[Message]) -> None:
    try:
        perform(function, arguments, messages.put)
    except BaseException:  # SystemExit and its like, which would end a process
        os._exit(1)
