"""What killed pulls and damage leave beside a pulled directory: swept, or moved aside."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from detect.visible import one_line

YOUNG = 5.0  # seconds in which a pull that has just begun may not have locked its directory yet


def move_aside(output: Path) -> None:
    """Make room where a damaged pull lies."""
    if output.is_symlink() or not output.is_dir() or not any(output.iterdir()):
        return
    aside = Path(tempfile.mkdtemp(prefix=f"{output.name}.damaged-", dir=output.parent))
    try:
        output.replace(aside)
    except FileNotFoundError:  # another process was faster
        aside.rmdir()
        return
    print(f"note: {one_line(output, 500)} is damaged; moved to {aside.name} beside it, which may be removed; "
          "pulling again", file=sys.stderr)  # fmt: skip


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Lock a directory in the making, so that nobody takes it for a killed pull's."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system without locks; there nothing is swept either
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def sweep(output: Path) -> None:
    """Remove the directories that killed pulls to `output` were making: hundreds of megabytes each."""
    pattern = re.compile(rf"\.{re.escape(output.name)}\.[a-z0-9_]{{8}}\.tmp")  # as `new_directory` names them
    leftovers = [path for path in output.parent.glob(".*.tmp") if pattern.fullmatch(path.name)]
    for leftover in leftovers:
        with suppress(OSError):  # no directory, gone meanwhile, locked by its pull, or a file system without locks
            descriptor = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(descriptor).st_mtime > YOUNG:
                    shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(descriptor)
