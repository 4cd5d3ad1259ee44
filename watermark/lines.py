"""A file of lines that one process at a time appends to: a line is there whole, and on disk, or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from watermark.errors import InputError

WAIT_SECONDS = 3.0  # for another process to let go: one that was killed may take a moment to end


class OwnLines:
    """The file at `path`, locked until it is closed; it is made when there is none, and never emptied by itself.

    Raises:
        InputError: it cannot be written, is no regular file of this user's, or another process holds it.
    """

    def __init__(self, path: Path, busy: str = "another process is at this work; wait until it has ended") -> None:
        self.path = path
        try:
            self._handle = os.fdopen(open_own(path), "r+b", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            self._lock(busy)
        except BaseException:
            self._handle.close()
            raise

    @property
    def closed(self) -> bool:
        return self._handle.closed

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._handle.fileno()).st_size

    def read(self) -> bytes:
        """All of it."""
        self._handle.seek(0)
        return self._handle.read()

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes; what is appended next comes behind them."""
        self._handle.truncate(size)
        self._handle.seek(size)

    def append(self, line: bytes) -> None:
        """Write a line where the last one ended; on disk when this returns.

        Raises:
            InputError: it cannot be written, such as to a full disk; nothing of it stays.
        """
        rest, start = memoryview(line), self._handle.tell()
        try:
            while rest:
                rest = rest[self._handle.write(rest) :]
            os.fsync(self._handle.fileno())
        except OSError as error:
            with suppress(OSError):
                self.cut(start)  # no half of a line stays, for whoever appends next
            raise self._unwritable(error) from None

    def close(self) -> None:
        """Let go."""
        self._handle.close()

    def _lock(self, busy: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise InputError(f"{self.path}: {busy}") from None
            except OSError:
                return  # a file system without locks
            time.sleep(0.05)

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"{self.path} cannot be written ({error.strerror}); free space or choose another place")


def open_own(path: Path) -> int:
    """A descriptor of a file of this user's for reading and writing; it is made when there is none, and never emptied.

    Raises:
        InputError: a symbolic link, no regular file, or another user's.
        OSError: as from the operating system.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InputError(f"{path} is a symbolic link, which is not followed; remove it") from None
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
        return descriptor
    os.close(descriptor)
    raise InputError(f"{path} is not a regular file of this user; remove it, or choose another place")
