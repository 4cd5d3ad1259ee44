"""Tasks with dependencies over a few worker processes.

A worker is a fresh process (spawn) that ignores Ctrl-C, which is the parent's to handle, and ends by itself when the
parent is gone, however that came about. It runs one task at a time and reports through a pipe. It looks for modules
where its parent does, and nowhere else: the current directory may be full of exhibits.
"""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, TypeVar

from detect.visible import one_line
from watermark.errors import InputError, KeyFileError, ModelError, TaggantError

Update = tuple[str, str, float, str, float]
"""(task, "started" | "progress" | "finished", fraction done, what is being done, seconds)"""

Message = tuple[Any, ...]
"""What a worker tells: ("progress", fraction, what), ("finished", what the function returned: seconds, or None),
("failed", kind, message, errno, file)"""

_REPORT_SECONDS = 0.2
_FAREWELL_SECONDS = 10.0  # for an idle worker to end by itself
_MESSAGE_CHARACTERS = 4000  # of an error's message, or of a line of its traceback


class WorkerDiedError(TaggantError, RuntimeError):
    """A worker process ended without a word: killed, mostly for want of memory."""


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


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve(name: str) -> Callable[..., Any]:
    """The function "package.module:name" stands for."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)  # type: ignore[no-any-return]


def run_tasks(
    tasks: Sequence[Task], workers: int, threads: int, begin: str | None = None
) -> Generator[Update, None, None]:
    """Run all tasks, at most `workers` at a time, the first in order first; yields what happens.

    Args:
        threads: of each worker, for libraries that ask OMP_NUM_THREADS.
        begin: "package.module:name" of what a worker calls with `threads` before its first task.

    Raises:
        TaggantError, OSError: what a task raised, by kind and message.
        WorkerDiedError: a task's process ended under it.
        RuntimeError: a task raised anything else.
        ValueError: tasks that could never all run: a name given twice, a need that is missing, a cycle, no worker.
    """
    check(tasks, workers)
    pool: list[_Worker] = []
    try:
        while len(pool) < min(workers, len(tasks)):
            pool.append(_Worker(threads, begin))
        yield from schedule(tasks, pool, _with_news)
    finally:
        for worker in pool:
            worker.kill()
        for worker in pool:
            worker.bury()


class Worker(Protocol):
    """Someone who does one task at a time, wherever that may be."""

    task: Task | None  # None: idle

    def start(self, task: Task) -> None:
        """Begin a task."""

    def receive(self) -> Update:
        """What it has to tell; idle again after "finished". Raises what `run_tasks` says."""


AnyWorker = TypeVar("AnyWorker", bound=Worker)


def schedule(
    tasks: Sequence[Task], pool: Sequence[AnyWorker], with_news: Callable[[list[AnyWorker]], list[AnyWorker]]
) -> Generator[Update, None, None]:
    """Give the pool's workers all tasks: the one order of work, whatever the workers are.

    Args:
        with_news: of these busy workers, those who have something to tell; waits until there is one.
    """
    waiting = list(tasks)
    finished: set[str] = set()
    while waiting or any(worker.task for worker in pool):
        for worker in pool:
            ready = next((task for task in waiting if task.needs <= finished), None)
            if worker.task is None and ready is not None:
                waiting.remove(ready)
                worker.start(ready)
                yield (ready.name, "started", 0.0, "", 0.0)
        for worker in with_news([worker for worker in pool if worker.task is not None]):
            update = worker.receive()
            if update[1] == "finished":
                finished.add(update[0])
            yield update


def check(tasks: Sequence[Task], workers: int) -> None:
    """Refuse tasks that could never all run, as `run_tasks` says."""
    if workers < 1:
        raise ValueError(f"{workers} workers do no work")
    names = {task.name for task in tasks}
    if len(names) != len(tasks):
        raise ValueError("two tasks have the same name")
    for task in tasks:
        if not task.needs <= names:
            raise ValueError(f"task {task.name} needs {min(task.needs - names)}, which is not there")
    try:
        TopologicalSorter({task.name: task.needs for task in tasks}).prepare()
    except CycleError as error:
        raise ValueError(f"tasks need each other in a circle: {' → '.join(error.args[1])}") from None


class _Worker:
    """The parent's end of one worker process."""

    def __init__(self, threads: int, begin: str | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, child = context.Pipe()
        self.task: Task | None = None
        self._process = context.Process(target=_serve, args=(child, threads, begin), daemon=True)
        with _without_current_directory(), _interrupts_held_back():
            self._process.start()
        child.close()

    def start(self, task: Task) -> None:
        self.task = task
        try:
            self.pipe.send((task.function, dict(task.arguments)))
        except OSError:  # it died while it was idle
            raise self._death(task.name) from None

    def receive(self) -> Update:
        assert self.task is not None
        name = self.task.name
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            raise self._death(name) from None
        update = told(name, message)
        if update[1] == "finished":
            self.task = None
        return update

    def kill(self) -> None:
        """End it: at once where it works; an idle one goes by itself when its pipe closes, and tidies up."""
        if self.task is None:
            self.pipe.close()
        else:
            self._process.kill()

    def bury(self) -> None:
        self._process.join(_FAREWELL_SECONDS)
        self._process.kill()
        self._process.join()
        self._process.close()
        self.pipe.close()

    def _death(self, name: str) -> WorkerDiedError:
        self._process.join(5)
        code = self._process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        return WorkerDiedError(
            f"stage {name}: its process {how}; free some memory and run the same command again, it goes on from there"
        )


@contextmanager
def _without_current_directory() -> Iterator[None]:
    """Python processes started meanwhile do not import from the current directory, as `python -c` otherwise would.

    A worker then gets the module path of its parent.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Start processes that never see Ctrl-C, not even before their own code runs: they inherit the blocked signal.

    A Ctrl-C meanwhile reaches the parent at the end of the block, also where another of its threads took it.
    """
    resource_tracker.ensure_running()  # `start` would do it, and lift the block on its way
    held: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number)) if is_main else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if is_main:
            signal.signal(signal.SIGINT, handler)
        if held:
            signal.raise_signal(signal.SIGINT)


def _with_news(busy: list[_Worker]) -> list[_Worker]:
    pipes = {worker.pipe: worker for worker in busy}
    return [pipes[pipe] for pipe in wait(list(pipes))]  # type: ignore[index]


def told(name: str, message: Message) -> Update:
    """What a worker's message says of its task.

    Raises:
        TaggantError, OSError, RuntimeError: the task failed.
    """
    kind, *values = message
    if kind == "progress":
        return (name, "progress", values[0], values[1], 0.0)
    if kind == "finished":
        return (name, "finished", 1.0, "", values[0])
    raise rebuilt(name, *values)


def rebuilt(name: str, kind: str, message: str, number: int | None, filename: str | None) -> Exception:
    """The error a worker described; its words may be a questioned model's, so what a terminal obeys is spelled out."""
    message = one_line(message, _MESSAGE_CHARACTERS)
    filename = None if filename is None else one_line(filename, _MESSAGE_CHARACTERS)
    if kind == "OSError" and number is not None and number != errno.EPIPE:  # EPIPE would look like our reader leaving
        return OSError(number, os.strerror(number), filename or f"stage {name}")
    if kind in _ERRORS:
        return _ERRORS[kind](message)
    return RuntimeError(f"stage {name}: {kind}: {message}")


def _serve(pipe: Connection, threads: int, begin: str | None) -> None:
    """A worker's life."""
    _end_with_parent()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if begin is not None:
        resolve(begin)(threads)
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        perform(function, arguments, lambda message: _tell(pipe, message))


def perform(function: str, arguments: dict[str, Any], tell: Callable[[Message], None]) -> None:
    """In a worker: do a task, and tell of its progress (now and then) and its end."""
    last = 0.0

    def report(done: int, total: int, what: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _REPORT_SECONDS:
            last = time.monotonic()
            tell(("progress", done / total if total else 0.0, what))

    try:
        result = resolve(function)(arguments, report)
    except Exception as error:
        if os.environ.get("TAGGANT_DEBUG") == "1":
            _print_traceback(error)
        tell(("failed", *described(error)))
    else:
        tell(("finished", result))


def _print_traceback(error: Exception) -> None:
    for line in "".join(traceback.format_exception(error)).splitlines():
        print(one_line(line, _MESSAGE_CHARACTERS), file=sys.stderr)


def _tell(pipe: Connection, message: Message) -> None:
    try:
        pipe.send(message)
    except OSError:
        os._exit(1)  # the parent is gone, and with it everyone who would read a traceback


def described(error: Exception) -> tuple[str, str, int | None, str | None]:
    """Kind, message, errno and file of an error: what survives the way to another process."""
    if isinstance(error, OSError) and error.errno is not None:
        return "OSError", str(error), error.errno, None if error.filename is None else str(error.filename)
    kinds = [c.__name__ for c in type(error).__mro__ if c.__name__ in _ERRORS]
    return (kinds[0] if kinds else type(error).__name__), str(error), None, None


def _end_with_parent() -> None:
    """End this process the moment its parent is gone: the pipe that only the parent holds open then closes.

    Linux tells by SIGIO, which ends a process unless it asks for something else. A thread that waits for it, as
    elsewhere, would slow down every allocation: see `detect.arrow`.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    if sys.platform != "linux":
        threading.Thread(target=_wait_and_end, args=(parent.sentinel,), daemon=True).start()
        return
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    if wait([parent.sentinel], 0):  # it was gone before that
        os._exit(1)


def _wait_and_end(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
