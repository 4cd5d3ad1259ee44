"""JSON documents that may hold secrets: read strictly (exact members and types), written privately, never quoted."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from watermark.errors import InputError, KeyFileError, TaggantError
from watermark.files import json_bytes, new_file, strict_json

T = TypeVar("T")

MAX_BYTES = 64 << 20  # far above any key file; stops model weights given by mistake
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_HEX = re.compile(r"[0-9a-f]*")


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        sign: what every file of the kind holds.
        refusal: what is said of another: "is no …; give …".
    """

    sign: re.Pattern[bytes]
    refusal: str

    def knows(self, descriptor: int) -> bool:
        """Whether the open file holds the sign; it is left as it was."""
        return self.sign.search(os.pread(descriptor, MAX_BYTES, 0)) is not None


def members(value: object, names: Iterable[str], what: str) -> dict[str, Any]:
    """Return the JSON object `value`, which must have exactly the members `names`. Unknown names are not quoted."""
    names = list(names)
    if not isinstance(value, dict):
        raise KeyFileError(f"{what} must be a JSON object")
    missing = [name for name in names if name not in value]
    if missing:
        raise KeyFileError(f"{what} lacks the member {missing[0]!r}")
    if len(value) != len(names):
        raise KeyFileError(f"{what} has {len(value) - len(names)} unknown member(s) beside {', '.join(names)}")
    return value


def integer(value: object, name: str, low: int, high: int) -> int:
    """Return `value` if it is an integer (True is none) in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise KeyFileError(f"{name!r} must be an integer from {low} to {high}")
    return value


def number(value: object, name: str, low: float, high: float) -> float:
    """Return `value` as a float if it is a finite number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise KeyFileError(f"{name!r} must be a number from {low:g} to {high:g}")
    if not math.isfinite(value):  # an infinite bound would let it through
        raise KeyFileError(f"{name!r} must be finite")
    return float(value)


def hex_digits(value: object, name: str, digits: int = 64) -> str:
    """Return `value` if it is a string of exactly `digits` lower-case hexadecimal digits."""
    if not isinstance(value, str) or len(value) != digits or not _HEX.fullmatch(value):
        raise KeyFileError(f"{name!r} must be {digits} lower-case hexadecimal digits")
    return value


def one_of(value: object, name: str, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of the strings `allowed`."""
    allowed = list(allowed)
    if not isinstance(value, str) or value not in allowed:
        raise KeyFileError(f"{name!r} must be {' or '.join(allowed)}")
    return value


def read_document(
    path: str | Path,
    parse: Callable[[Any], T],
    *,
    private: bool,
    advice: str,
    error: type[KeyFileError] = KeyFileError,
    own: Kind | None = None,
) -> T:
    """Return `parse` of the strict JSON in a file; the rest as `read_file`."""
    return read_file(path, lambda data: parse(strict_json(data)), private=private, advice=advice, error=error, own=own)


def read_file(
    path: str | Path,
    parse: Callable[[bytes], T],
    *,
    private: bool,
    advice: str,
    error: type[KeyFileError] = KeyFileError,
    own: Kind | None = None,
) -> T:
    """Return `parse` of what a regular file holds; a symbolic link is followed and its target checked.

    Args:
        path: the file.
        parse: turns the bytes into an object, raising KeyFileError with a reason that quotes no content.
        private: refuse a file that group or others can read or write.
        advice: what to do about a malformed file; ends the message.
        error: the class to raise.
        own: what any such file, a damaged one as well, is known by; another is refused as such, whatever its mode.

    Raises:
        KeyFileError: (as `error`) one line with the path. No chained exception and no frame of its
            traceback holds the content.
    """
    descriptor = _open(path, private=private, error=error, own=own)
    try:
        return parse(_content(descriptor))
    except TaggantError as caught:
        problem = str(caught)
    except OSError as caught:
        problem = f"cannot be read ({caught.strerror})"
    except ValueError:  # such as an integer of 5,000 digits
        problem = "not usable JSON"
    # Outside the except block: __context__ would keep the parser's frames, and in them the content.
    raise error(f"{path}: {problem}; {advice}")


def write_private(path: str | Path, document: Callable[[], dict[str, Any]]) -> None:
    """Write what `document` returns as JSON, as `write_private_bytes`."""
    write_private_bytes(path, lambda: json_bytes(document()))


def write_private_bytes(path: str | Path, content: Callable[[], bytes]) -> None:
    """Write what `content` returns, mode 0600, whole or not at all, never over something that exists.

    Raises:
        InputError: the path is taken, or cannot be written. No frame of its traceback holds the content.
    """
    problem = None
    try:
        with new_file(path, mode=0o600) as handle:
            handle.write(content())
    except InputError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{path} cannot be written ({error.strerror}); free space or choose another place"
    if problem:  # outside the except block, whose frames hold the content
        raise InputError(problem)


def _open(path: str | Path, *, private: bool, error: type[KeyFileError], own: Kind | None) -> int:
    """Open first and look at the open file, so that what is checked is what is read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # NONBLOCK: a FIFO would hang
        status = os.fstat(descriptor)
    except FileNotFoundError:
        raise error(f"{path} does not exist; check the path") from None
    except (OSError, ValueError) as caught:  # ValueError: a NUL in the path
        reason = getattr(caught, "strerror", None) or "not a usable path"
        raise error(f"{path} cannot be opened ({reason}); check its owner and permissions") from None
    problem = _refusal(status)
    if not problem and own is not None and not own.knows(descriptor):
        problem = own.refusal
    if not problem and private:
        problem = _exposed(status, path)
    if problem:
        os.close(descriptor)
        raise error(f"{path} {problem}")
    return descriptor


def _exposed(status: os.stat_result, path: str | Path) -> str | None:
    if not status.st_mode & _OPEN_TO_OTHERS:
        return None
    mode = stat.S_IMODE(status.st_mode)
    return f"is open to group or others (mode {mode:04o}); run chmod 600 {path}, rotate it if others had access"


def _refusal(status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file; give the path of the file itself"
    if status.st_size > MAX_BYTES:
        return f"has {status.st_size} bytes, more than any such file; check the path"
    return None


def _content(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as handle:
        return handle.read(MAX_BYTES)
