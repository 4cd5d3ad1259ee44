"""Tasks with dependencies over a few worker processes.

A worker is a fresh process (spawn) that ignores Ctrl-C, which is the parent's to handle, and ends by itself when the
parent is gone, however that came about. It runs one task at a time and reports through a pipe.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection, wait
from typing import Any

from watermark.errors import InputError, KeyFileError, ModelError, TaggantError

Update = tuple[str, str, float, str, float]
"""(task, "started" | "progress" | "finished", fraction done, what is being done, seconds)"""

_REPORT_SECONDS = 0.2
_ERRORS: dict[str, type[TaggantError]] = {c.__name__: c for c in (TaggantError, InputError, ModelError, KeyFileError)}


@dataclass(frozen=True)
class Task:
    """One call of `function` ("package.module:name", taking (arguments, report)) in a worker.

    Attributes:
        needs: names of tasks that must have finished.
        arguments: JSON-like values.
    """

    name: str
    function: str
    arguments: Mapping[str, Any]
    needs: frozenset[str] = field(default_factory=frozenset)


def resolve(name: str) -> Callable[..., Any]:
    """The function "package.module:name" stands for."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)  # type: ignore[no-any-return]


def run_tasks(tasks: Sequence[Task], workers: int, threads: int) -> Iterator[Update]:
    """Run all tasks, at most `workers` at a time, the first in order first; yields what happens.

    Raises:
        TaggantError, OSError: what a task raised, by kind and message.
        RuntimeError: a task raised anything else, or its process died.
    """
    waiting = list(tasks)
    finished: set[str] = set()
    pool = [_Worker(threads) for _ in range(min(workers, len(waiting)))]
    try:
        while waiting or any(worker.task for worker in pool):
            for worker in pool:
                ready = next((task for task in waiting if task.needs <= finished), None)
                if worker.task is None and ready is not None:
                    waiting.remove(ready)
                    worker.start(ready)
                    yield (ready.name, "started", 0.0, "", 0.0)
            busy = {worker.pipe: worker for worker in pool if worker.task is not None}
            if not busy:
                raise ValueError(f"task {waiting[0].name} waits for {sorted(waiting[0].needs - finished)}")
            for pipe in wait(list(busy), timeout=1.0):
                worker = busy[pipe]  # type: ignore[index]
                update = worker.receive()
                if update[1] == "finished":
                    finished.add(update[0])
                yield update
    finally:
        for worker in pool:
            worker.stop()


class _Worker:
    """The parent's end of one worker process."""

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, child = context.Pipe()
        self.task: Task | None = None
        self._process = context.Process(target=_serve, args=(child, os.getpid(), threads), daemon=True)
        self._process.start()
        child.close()

    def start(self, task: Task) -> None:
        self.task = task
        self.pipe.send((task.function, dict(task.arguments)))

    def receive(self) -> Update:
        assert self.task is not None
        name = self.task.name
        try:
            kind, *values = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(5)
            raise RuntimeError(f"stage {name}: its process ended (exit code {self._process.exitcode})") from None
        if kind == "progress":
            return (name, "progress", values[0], values[1], 0.0)
        if kind == "finished":
            self.task = None
            return (name, "finished", 1.0, "", values[0])
        raise _rebuilt(name, *values)

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _rebuilt(name: str, kind: str, message: str, number: int | None, filename: str | None) -> Exception:
    if kind == "OSError" and number is not None:
        return OSError(number, os.strerror(number), filename or name)
    if kind in _ERRORS:
        return _ERRORS[kind](message)
    return RuntimeError(f"stage {name}: {kind}: {message}")


def _serve(pipe: Connection, parent: int, threads: int) -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        _run(pipe, function, arguments)


def _run(pipe: Connection, function: str, arguments: dict[str, Any]) -> None:
    last = 0.0

    def report(done: int, total: int, what: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _REPORT_SECONDS:
            last = time.monotonic()
            pipe.send(("progress", done / total if total else 0.0, what))

    try:
        result = resolve(function)(arguments, report)
    except Exception as error:
        if os.environ.get("TAGGANT_DEBUG") == "1":
            traceback.print_exc()
        pipe.send(("failed", *_described(error)))
    else:
        pipe.send(("finished", result))


def _described(error: Exception) -> tuple[str, str, int | None, str | None]:
    """Kind, message, errno and file of an error: what survives the way to another process."""
    if isinstance(error, OSError) and error.errno is not None:
        return "OSError", str(error), error.errno, None if error.filename is None else str(error.filename)
    kinds = [c.__name__ for c in type(error).__mro__ if c.__name__ in _ERRORS]
    return (kinds[0] if kinds else type(error).__name__), str(error), None, None


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
