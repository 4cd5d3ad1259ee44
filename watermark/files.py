"""How every file and directory is written: under a temporary name, fsynced, then renamed. And strict JSON."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from watermark.errors import InputError


def refuse_existing(path: Path) -> None:
    """Raise InputError when something is already at `path`; called before work whose result would land there."""
    if path.exists() or path.is_symlink():
        raise InputError(f"{path} already exists; choose another name or remove it first")


@contextmanager
def new_file(path: str | Path, *, mode: int = 0o644, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """Yield a binary handle; the file appears at `path`, whole and synced, only when the block ends without error.

    Without `overwrite` the final step is exclusive: a file that appeared meanwhile is never replaced. What killed
    processes left of the same file in the making is removed first.

    Args:
        path: where the file is to appear.
        mode: less what the umask takes from group and others, as for any file.
        overwrite: replace what is there.

    Raises:
        InputError: `path` exists (without `overwrite`), or its directory does not.
        OSError: as from the operating system (full disk, no permission); nothing is left behind.
    """
    path = Path(path)
    if path.parent.is_dir():
        _sweep(path)
    if not overwrite:
        refuse_existing(path)
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a directory; create it first")
    descriptor, temporary = _temporary_file(path)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            yield handle
            handle.flush()
            os.fchmod(handle.fileno(), _permitted(mode))
            os.fsync(handle.fileno())
            if overwrite:  # while the handle is open, and with it the lock held
                Path(temporary).replace(path)
            else:
                _rename_exclusively(temporary, path)
        sync_directory(path.parent)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _temporary_file(path: Path) -> tuple[int, str]:
    """A new file beside `path`, mode 0600, locked while it is open: by this `_sweep` knows it from a leftover."""
    while True:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with suppress(OSError):  # a file system without locks: there nothing is swept, either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, temporary
        os.close(descriptor)  # another process swept it before it was locked


def _sweep(path: Path) -> None:
    """Remove what killed processes left of `path` in the making: nobody holds its lock any more."""
    mine = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.tmp")  # as tempfile names them
    with suppress(OSError), os.scandir(path.parent) as entries:
        leftovers = [entry.path for entry in entries if mine.fullmatch(entry.name)]
        for leftover in leftovers:
            _unlink_unlocked(leftover)


def _unlink_unlocked(leftover: str) -> None:
    with suppress(OSError):
        descriptor = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(leftover).unlink()
        finally:
            os.close(descriptor)


def _permitted(mode: int) -> int:
    """`mode` less what the umask takes from group and others."""
    return mode & ~(_umask() & 0o077)


def _umask() -> int:
    with suppress(OSError, StopIteration, ValueError), Path("/proc/self/status").open(encoding="ascii") as lines:
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    mask = os.umask(0o077)  # elsewhere it is read by setting it; a file made by another thread meanwhile is private
    os.umask(mask)
    return mask


@contextmanager
def new_directory(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling directory that is renamed to `path` when the block ends without error.

    Missing parents are made, and removed again when the block fails.

    Raises:
        InputError: `path` exists and is not an empty directory.
        OSError: as from the operating system, also when something was put at `path` meanwhile; nothing is left behind.
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        refuse_existing(path)
    missing = [parent for parent in path.parents if not parent.exists()]  # innermost first
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            temporary.chmod(_permitted(0o755))
            yield temporary
            for entry in [temporary, *temporary.rglob("*")]:
                if not entry.is_symlink() and (entry.is_file() or entry.is_dir()):
                    _sync(entry)
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except BaseException:
        _remove_empty(missing)
        raise
    sync_directory(path.parent)


def _remove_empty(directories: list[Path]) -> None:
    for directory in directories:
        with suppress(OSError):  # never made, or in use by someone else by now
            directory.rmdir()


NO_HARD_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)


def _rename_exclusively(temporary: str, path: Path) -> None:
    """Without a second name in between: after a kill it would be a hidden copy of a secret."""
    try:
        if not _rename_no_replace(temporary, path):
            os.link(temporary, path)
    except FileExistsError:
        refuse_existing(path)
        raise  # it has gone again
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        refuse_existing(path)  # a file system without hard links: looking once more is the best there is
        Path(temporary).replace(path)


_AT_FDCWD, _RENAME_NOREPLACE = -100, 1
_NO_SUCH_RENAME = (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)


def _rename_no_replace(temporary: str, path: Path) -> bool:
    """Linux's renameat2(RENAME_NOREPLACE); False where the system or the file system has none.

    Raises:
        FileExistsError: something is at `path`.
        OSError: as from the operating system.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    done = rename(_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(path), ctypes.c_uint(_RENAME_NOREPLACE))
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_SUCH_RENAME:
        return False
    raise OSError(number, os.strerror(number), str(path))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make a rename in `path` survive a power cut."""
    _sync(path)


def write_json(path: str | Path, value: Any, *, mode: int = 0o644, overwrite: bool = False) -> None:
    """Write `json_bytes` of `value`."""
    data = json_bytes(value)
    with new_file(path, mode=mode, overwrite=overwrite) as handle:
        handle.write(data)


def json_bytes(value: Any) -> bytes:
    """Indented JSON in UTF-8 with a final newline; NaN and infinities are refused (ValueError)."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def strict_json(text: str | bytes) -> Any:
    """Parse JSON, refusing what Python's parser lets through: duplicate members, NaN, infinities, UTF-16 and UTF-32.

    Raises:
        InputError: with the reason and position, never with the content (it may hold a secret).
    """
    try:
        decoded = text if isinstance(text, str) else str(text, "utf-8")  # json.loads itself would guess the encoding
        return json.loads(decoded) if decoded.startswith("\ufeff") else _STRICT.decode(decoded)  # that is refused
    except json.JSONDecodeError as error:  # str(error) quotes no content, but error.doc holds it all: drop the chain
        what = error.msg.removesuffix(" at")  # of a string without an end; the place follows here
        raise InputError(f"not JSON: {what} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise InputError("JSON nested too deeply") from None
    except InputError:
        raise
    except ValueError:  # what else json.loads raises: int() refuses thousands of digits
        raise InputError("JSON holds an integer with too many digits") from None


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InputError("a JSON object names a member twice")
    return members


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise InputError("JSON holds a number too large for a floating-point number")
    return value


def _no_constant(name: str) -> Any:
    raise InputError(f"JSON holds {name}, which is not a number")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique_members, parse_constant=_no_constant, parse_float=_finite)
