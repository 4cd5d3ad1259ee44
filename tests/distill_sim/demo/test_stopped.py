"""Killed, interrupted or out of disk in every stage: the same command goes on, and the evidence is the same."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests import tiny
from tests.distill_sim.demo.driver import FILLER, PATIENCE
from tests.distill_sim.demo.outcome import evidence, summary
from tests.distill_sim.processes import eventually, in_session, running
from tests.distill_sim.small import STAGES

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

# --- killed in every stage, and interrupted ---

HOLDS = dict.fromkeys(STAGES, 1) | {"student": 3, "control": 3, "judged": 5}


def driver(root: Path, **environment: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return running("-m", "tests.distill_sim.demo.driver", str(root), str(tiny.shared()), environment=environment)


def wait_for(flag: Path, process: subprocess.Popen[str]) -> None:
    """Until the stage stands still; if it never does, say where it is instead."""
    try:
        eventually(lambda: flag.exists() or process.poll() is not None, PATIENCE + 20, "the stage is at work")
    except AssertionError:
        os.killpg(process.pid, signal.SIGKILL)
    assert flag.exists(), process.communicate()


def with_keys_of(finished: Path, root: Path) -> Path:
    root.mkdir()
    shutil.copytree(finished / "keys", root / "keys")
    return root


def stages(root: Path) -> set[str]:
    return {path.name for path in (root / "stages").iterdir()}


def unexpected(errors: str) -> list[str]:
    """Lines of stderr that are not the display's."""
    return [line for line in errors.splitlines() if not re.match(r"(kept|started|finished) ", line)]


def stop(process: subprocess.Popen[str], how: int) -> tuple[signal.Signals, str]:
    """SIGKILL or SIGINT, to the parent alone or to everybody, as a terminal's Ctrl-C goes."""
    number = signal.SIGINT if how % 2 else signal.SIGKILL
    if how % 4 < 2:
        os.kill(process.pid, number)
    else:
        os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    eventually(lambda: not in_session(process.pid), 2, "no worker is left behind")
    return number, errors


def complete(root: Path) -> tuple[int, str, list[str]]:
    """Run to the end: exit code, stdout, and what the display did not say."""
    with driver(root) as process:
        output, errors = process.communicate(timeout=120)
    return process.returncode, output, unexpected(errors)


@linux
def test_stopped_in_every_stage_the_same_command_goes_on(finished: Path, tmp_path: Path) -> None:
    root = with_keys_of(finished, tmp_path / "run")
    flag = tmp_path / "flag"
    for how, (stage, number) in enumerate(HOLDS.items()):
        with driver(root, HOLD=f"{stage}:{number}", HOLD_FLAG=str(flag)) as process:
            wait_for(flag, process)
            assert int(flag.read_text()) in in_session(process.pid)
            signalled, errors = stop(process, how)
        flag.unlink()
        if signalled == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL, stage
            assert unexpected(errors) == [], stage
        else:
            assert process.returncode == 130, stage
            (line,) = unexpected(errors)
            assert line.startswith("taggant: interrupted; what was finished is kept"), stage
        results = {path.name.rpartition("-")[0] for path in (root / "stages").glob("[!.]*")}
        assert results == set(STAGES[: STAGES.index(stage)]), stage  # none of this stage, all before it
        assert not (root / "summary.json").exists()
    code, output, errors = complete(root)
    assert (code, errors) == (0, [])
    assert output.splitlines()[-1] == str(root / "index.html")
    assert evidence(root) == evidence(finished)
    assert stages(root) == stages(finished)
    assert list((root / "work").iterdir()) == []
    assert summary(root)["seconds"] > summary(root)["stages"]["judged"]


@linux
def test_an_interrupt_while_workers_wake_up_is_one_line(finished: Path, tmp_path: Path) -> None:
    root = with_keys_of(finished, tmp_path / "run")
    with driver(root) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("started ")  # the worker is there, its own code not yet
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        eventually(lambda: not in_session(process.pid), 2, "no worker is left behind")
    assert process.returncode == 130
    (line,) = unexpected(errors)
    assert line.startswith("taggant: interrupted")


# --- a full disk ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """16 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(finished: Path, small_disk: Path) -> None:
    root = with_keys_of(finished, small_disk / "run")
    for stage in ("marked", "student", "reading-student", "judged"):
        with driver(root, FILL=stage) as process:
            output, errors = process.communicate(timeout=120)
        assert process.returncode == 3, (stage, errors)
        assert output == ""
        (line,) = unexpected(errors)
        assert line.startswith("taggant: ")
        assert "No space left on device" in line or "os error 28" in line
        assert stage in line
        assert (small_disk / FILLER).stat().st_size > 2**20
        assert not list((root / "stages").glob(f"{stage}-*"))
        assert not list(root.rglob(".*.tmp"))
        (small_disk / FILLER).unlink()
    code, _, errors = complete(root)
    assert (code, errors) == (0, [])
    assert evidence(root) == evidence(finished)
