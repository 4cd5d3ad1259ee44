"""Tasks over processes: their order, their errors, their deaths, and that nobody is left behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from detect.workers import (
    Task,
    Update,
    WorkerDiedError,
    _without_current_directory,
    _Worker,
    described,
    rebuilt,
    resolve,
)
from distill_sim.workers import run_tasks
from tests.distill_sim import jobs
from tests.distill_sim.conftest import STUB
from tests.distill_sim.processes import REPOSITORY, children, eventually, in_session, running
from watermark.errors import InputError, KeyFileError, ModelError, TaggantError

JOBS = "tests.distill_sim.jobs"
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


def task(name: str, function: str = "log", needs: tuple[str, ...] = (), **arguments: Any) -> Task:
    return Task(name, f"{JOBS}:{function}", {"name": name, **arguments}, frozenset(needs))


def run(tasks: list[Task], workers: int = 1, threads: int = 1) -> list[Update]:
    """Run to the end and see that no worker outlives it."""
    before = children(os.getpid())
    try:
        return list(run_tasks(tasks, workers, threads))
    finally:
        assert {pid for pid, _ in children(os.getpid())} - {pid for pid, _ in before} <= resource_tracker()


def resource_tracker() -> set[int]:
    """The one process that multiprocessing itself keeps."""
    from multiprocessing.resource_tracker import _resource_tracker

    return {_resource_tracker._pid}  # type: ignore[attr-defined]


def logged(path: Path) -> list[list[Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- order ---


@pytest.mark.usefixtures("fast_workers")
def test_tasks_run_in_order_after_those_they_need(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    tasks = [
        task("d", needs=("c", "a"), log=log),
        task("a", log=log),
        task("b", log=log, result=2.5),
        task("c", needs=("b",), log=log),
    ]
    updates = run(tasks)
    assert [entry[1] for entry in logged(tmp_path / "log")] == [*"aabbccdd"]
    assert [update for update in updates if update[0] == "b"] == [
        ("b", "started", 0.0, "", 0.0),
        ("b", "progress", 0.25, "a quarter", 0.0),
        ("b", "finished", 1.0, "", 2.5),
    ]
    assert len({entry[3] for entry in logged(tmp_path / "log")}) == 1  # one worker served all
    assert logged(tmp_path / "log")[0][3] != os.getpid()


@pytest.mark.usefixtures("fast_workers")
def test_two_workers_work_side_by_side_and_dependents_wait(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    first, second = (task(name, log=log, sleep=0.5) for name in "ab")
    updates = run([first, second, task("c", needs=("a", "b"), log=log)], workers=2)
    at = {(entry[0], entry[1]): entry[2] for entry in logged(tmp_path / "log")}
    processes = {entry[1]: entry[3] for entry in logged(tmp_path / "log")}
    assert processes["a"] != processes["b"]
    assert max(at["begin", "a"], at["begin", "b"]) < min(at["end", "a"], at["end", "b"])
    assert at["begin", "c"] >= max(at["end", "a"], at["end", "b"])
    assert [update[:2] for update in updates][-1] == ("c", "finished")


@pytest.mark.usefixtures("fast_workers")
def test_workers_get_their_threads_and_reports_are_thinned_out() -> None:
    updates = run([task("t", "threads"), task("many", "chatter")], threads=3)
    finished = {update[0]: update[4] for update in updates if update[1] == "finished"}
    assert finished["t"] == 3.0
    progress = [update for update in updates if update[1] == "progress"]
    assert finished["many"] > 100
    assert 2 <= len(progress) <= 5  # in 0.7 seconds


def test_nothing_to_do_starts_nobody() -> None:
    assert run([]) == []


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([task("a", needs=("b",)), task("b", needs=("c",)), task("c", needs=("a",))], "circle"),
        ([task("a", needs=("a",))], "circle"),
        ([task("a"), task("b", needs=("absent",))], "needs absent"),
        ([task("a"), task("a")], "same name"),
    ],
)
def test_tasks_that_could_never_run_are_refused_before_any_does(
    tasks: list[Task], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detect.workers._Worker", None)  # starting one would fail otherwise
    with pytest.raises(ValueError, match=words):
        run(tasks)


def test_no_worker_is_refused() -> None:
    with pytest.raises(ValueError, match="0 workers"):
        run([task("a")], workers=0)


def test_functions_are_named_by_module_and_attribute() -> None:
    assert resolve("tests.distill_sim.jobs:log") is jobs.log
    with pytest.raises(AttributeError):
        resolve("tests.distill_sim.jobs:absent")


# --- errors ---

EXPECTED: dict[str, tuple[type[Exception], str]] = {
    "input": (InputError, "the corpus is empty"),
    "model": (ModelError, "no model there"),
    "key": (KeyFileError, "no key there"),
    "tokenizer": (KeyFileError, "another tokenizer"),
    "unsupported": (TaggantError, "not like this"),
    "full": (OSError, "No space left on device: 'stage s'"),
    "denied": (PermissionError, "Permission denied: '/some/file'"),
    "pipe": (RuntimeError, "stage s: OSError: .*Broken pipe"),
    "vague": (RuntimeError, "stage s: OSError: something with a disk"),
    "other": (RuntimeError, "stage s: ZeroDivisionError: by zero"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_becomes_of_an_error_on_its_way_between_processes(name: str) -> None:
    kind, words = EXPECTED[name]
    error = jobs.ERRORS[name]()
    assert isinstance(error, Exception)
    description = json.loads(json.dumps(described(error)))  # plain values only: no traceback travels, no object
    again = rebuilt("s", *description)
    assert type(again) is kind
    with pytest.raises(kind, match=words):
        raise again
    if isinstance(error, OSError) and kind is not RuntimeError:
        assert isinstance(again, OSError)
        assert again.errno == error.errno
        assert again.filename == (error.filename or "stage s")


@pytest.mark.parametrize(
    ("kind", "filename"), [("InputError", None), ("ZeroDivisionError", None), ("OSError", "a\x1b[2J\u202eb")]
)
def test_what_a_terminal_obeys_is_spelled_out(kind: str, filename: str | None) -> None:
    number = None if filename is None else errno.EACCES
    text = str(rebuilt("s", kind, "a\x1b[2J\u202e\nb", number, filename))
    assert "a⟨U+001B⟩[2J⟨U+202E⟩" in text
    assert text.isprintable()


def test_our_own_broken_pipe_error_never_reaches_the_command_line() -> None:
    """There it would mean that the reader of stdout left, which is no failure."""
    again = rebuilt("s", *described(BrokenPipeError(errno.EPIPE, "Broken pipe")))
    assert not isinstance(again, OSError)


@pytest.mark.usefixtures("fast_workers")
@pytest.mark.parametrize("name", ["input", "full", "other"])
def test_an_error_ends_the_run(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kind, words = EXPECTED[name]
    tasks = [task("s", "fail", error=name), task("later", log=str(tmp_path / "log"))]
    with pytest.raises(kind, match=words) as caught:
        run(tasks)
    assert type(caught.value) is kind
    assert not (tmp_path / "log").exists()
    assert capfd.readouterr() == ("", "")  # workers print nothing


@pytest.mark.usefixtures("fast_workers")
def test_an_error_ends_the_others_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(InputError, match="empty"):
        run([task("slow", "hang"), task("s", "fail", error="input")], workers=2)
    assert time.monotonic() - begun < 30  # hang would take 600


@pytest.mark.usefixtures("fast_workers")
def test_tracebacks_are_for_those_who_ask(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TAGGANT_DEBUG", "1")
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run([task("s", "fail", error="other")])
    assert "jobs.py" in capfd.readouterr().err


@pytest.mark.usefixtures("fast_workers")
def test_tracebacks_are_harmless_to_look_at(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TAGGANT_DEBUG", "1")
    with pytest.raises(InputError, match=r"⟨U\+001B⟩"):
        run([task("s", "fail", error="hostile")])
    printed = capfd.readouterr().err
    assert "layer ⟨U+001B⟩]0;owned⟨U+0007⟩ of the model" in printed
    assert all(line.isprintable() for line in printed.splitlines())


# --- modules ---

EXHIBIT = "import os, pathlib\npathlib.Path({mark!r}).write_text('run')\nraise SystemExit('run')\n"


@linux
@pytest.mark.parametrize("started", ["script", "module"])
def test_nothing_is_imported_from_the_current_directory(started: str, tmp_path: Path) -> None:
    """Exhibits lie there; a worker and multiprocessing's tracker find modules where the parent found its own."""
    exhibits, program = tmp_path / "exhibits", tmp_path / "program"
    for directory in (exhibits, program):
        directory.mkdir()
    mark = tmp_path / "mark"
    for name in ("struct", "signal", "torch", "pip", "selectors", "watermark", "tests"):
        (exhibits / f"{name}.py").write_text(EXHIBIT.format(mark=str(mark)))
    code = MODULES.format(exhibits=str(exhibits))
    (program / "program.py").write_text(code)
    path = (STUB, REPOSITORY, *([program] if started == "module" else []))
    arguments = ["-m", "program"] if started == "module" else [str(program / "program.py")]
    with running(*arguments, path=path) as parent:
        output, errors = parent.communicate(timeout=60)
    assert (output.splitlines()[-1:], errors) == (["('s', 'finished', 1.0, '', 1.0)"], "")
    assert not mark.exists()


MODULES = """
import os
os.chdir({exhibits!r})
from detect.workers import Task
from distill_sim.workers import run_tasks
if __name__ == "__main__":
    for update in run_tasks([Task("s", "tests.distill_sim.jobs:elsewhere", {{}})], 1, 1):
        print(update, flush=True)
    assert "PYTHONSAFEPATH" not in os.environ
"""


@pytest.mark.parametrize("before", [None, "yes"])
def test_the_environment_is_as_before(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    with suppress(KeyboardInterrupt), _without_current_directory():
        assert os.environ["PYTHONSAFEPATH"] == "1"
        raise KeyboardInterrupt
    assert os.environ.get("PYTHONSAFEPATH") == before


# --- deaths ---


@pytest.mark.usefixtures("fast_workers")
@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        ("die", {"how": "kill"}, "stage s: its process was killed by signal 9"),
        ("die", {"how": "exit"}, "stage s: its process ended with exit code 7"),
        ("fail", {"error": "leave"}, "stage s: its process ended with exit code 3"),
    ],
)
def test_a_worker_that_dies(function: str, arguments: dict[str, str], words: str) -> None:
    with pytest.raises(WorkerDiedError, match=words) as caught:
        run([task("s", function, **arguments)])
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, TaggantError)  # so that the command line shows the line


@pytest.mark.usefixtures("fast_workers")
def test_a_worker_that_died_while_it_was_idle() -> None:
    worker = _Worker(1)
    try:
        os.kill(worker._process.pid or 0, signal.SIGKILL)
        worker._process.join(10)
        with pytest.raises(WorkerDiedError, match=r"stage s: .* signal 9"):
            worker.start(task("s"))
    finally:
        worker.kill()
        worker.bury()


@pytest.mark.usefixtures("fast_workers")
def test_leaving_early_ends_the_workers(tmp_path: Path) -> None:
    for leave in (lambda updates: updates.close(), lambda updates: updates.throw(KeyboardInterrupt)):
        before = {pid for pid, _ in children(os.getpid())}
        updates = run_tasks([task("s", "hang"), task("t", "hang")], 2, 1)
        assert next(updates) == ("s", "started", 0.0, "", 0.0)
        assert len({pid for pid, _ in children(os.getpid())} - before) >= 2
        with suppress(KeyboardInterrupt):
            leave(updates)
        assert {pid for pid, _ in children(os.getpid())} - before <= resource_tracker()


@pytest.mark.usefixtures("fast_workers")
def test_an_interrupt_while_workers_are_started_reaches_the_parent_alone() -> None:
    """Held back until the worker runs: it inherits the blocked signal, the parent gets it afterwards."""
    from detect.workers import _interrupts_held_back

    reached = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 (that it comes after the block is the point)
        with _interrupts_held_back():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("the end of the block")
        reached.append("what follows")
    assert reached == ["the end of the block"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.usefixtures("fast_workers")
def test_no_interrupt_ever_reaches_a_worker() -> None:
    assert run([task("s", "interruptible")])[-1] == ("s", "finished", 1.0, "", 0.0)


PROGRAM = """
import sys
from detect.workers import Task
from distill_sim.workers import run_tasks
if __name__ == "__main__":
    tasks = [Task(name, "tests.distill_sim.jobs:hang", {"log": sys.argv[1]}) for name in "ab"]
    for update in run_tasks(tasks, 2, 1):
        print(update, flush=True)
"""


@linux
@pytest.mark.parametrize("to", ["parent", "group"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_their_parent(to: str, number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    log = tmp_path / "pids"
    with running(str(tmp_path / "program.py"), str(log), path=(STUB, REPOSITORY)) as parent:
        eventually(lambda: log.exists() and len(log.read_text().splitlines()) == 2, 60, "both workers at work")
        workers = set(map(int, log.read_text().split()))
        assert workers < set(in_session(parent.pid))
        (os.kill if to == "parent" else os.killpg)(parent.pid, number)
        _, errors = parent.communicate(timeout=30)  # returns when all who hold stderr have ended
        eventually(lambda: not in_session(parent.pid), 2, "no orphan")
    assert parent.returncode == -number
    assert errors.count("Traceback") == (1 if number == signal.SIGINT else 0), errors  # the parent's own
    if number == signal.SIGINT:
        assert errors.rstrip().endswith("KeyboardInterrupt")
