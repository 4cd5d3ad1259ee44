"""How every file and directory is written: under a temporary name, fsynced, then renamed. And strict JSON."""

from __future__ import annotations

import errno
import json
import os
import shutil
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

    Without `overwrite` the final step is exclusive: a file that appeared meanwhile is never replaced.

    Raises:
        InputError: `path` exists (without `overwrite`), or its directory does not.
        OSError: as from the operating system (full disk, no permission); nothing is left behind.
    """
    path = Path(path)
    if not overwrite:
        refuse_existing(path)
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a directory; create it first")
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            yield handle
            handle.flush()
            os.fchmod(handle.fileno(), mode)
            os.fsync(handle.fileno())
        if overwrite:
            Path(temporary).replace(path)
        else:
            _rename_exclusively(temporary, path)
        sync_directory(path.parent)
    finally:
        Path(temporary).unlink(missing_ok=True)


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
            temporary.chmod(0o755)
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
    try:
        os.link(temporary, path)
    except FileExistsError:
        refuse_existing(path)
        raise  # it has gone again
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        refuse_existing(path)  # a file system without hard links: looking once more is the best there is
        Path(temporary).replace(path)


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
    """Write `value` as indented JSON with a final newline; NaN and infinities are refused (ValueError)."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with new_file(path, mode=mode, overwrite=overwrite) as handle:
        handle.write(text.encode("utf-8"))


def strict_json(text: str | bytes) -> Any:
    """Parse JSON, refusing what Python's parser lets through: duplicate members, NaN, infinities, UTF-16 and UTF-32.

    Raises:
        InputError: with the reason and position, never with the content (it may hold a secret).
    """
    try:
        decoded = text if isinstance(text, str) else str(text, "utf-8")  # json.loads itself would guess the encoding
        return json.loads(decoded, object_pairs_hook=_unique_members, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:  # str(error) quotes no content, but error.doc holds it all: drop the chain
        raise InputError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
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
