"""Looking at processes from outside (Linux), and running a Python program that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def eventually(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until `condition` holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def in_session(session: int) -> list[int]:
    """Processes of a session that are alive; zombies, which only their reaper can remove, are not."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            state, _, _, its_session = _status(int(entry.name))
            if its_session == session and state not in "ZX":
                found.append(int(entry.name))
    return found


def children(parent: int) -> list[tuple[int, str]]:
    """(pid, state) of a process's children, zombies included."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            state, its_parent, _, _ = _status(int(entry.name))
            if its_parent == parent:
                found.append((int(entry.name), state))
    return found


def _status(pid: int) -> tuple[str, int, int, int]:
    """State, parent, group, session."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0, 0, 0
    state, parent, group, session = text[text.rindex(")") + 2 :].split()[:4]
    return state, int(parent), int(group), int(session)


@contextmanager
def running(
    *arguments: str, path: tuple[Path, ...] = (REPOSITORY,), environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A Python program in its own session, so that signals to its group reach nobody else; it ends with the block."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**variables, **(environment or {})},
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
