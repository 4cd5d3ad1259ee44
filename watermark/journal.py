"""An append-only journal for work that takes long: killed and started again, nothing done is lost or done twice.

One JSON value a line, synced before it counts. The first line says what work this is; a journal of other work is
thrown away, and a last line that was cut short is dropped. A journal is one process's at a time. A file that is no
journal is left as it is, and so is whatever a symbolic link points to. A journal that is evidence is never thrown away,
not even in part: other work, or a damaged line, is refused.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from watermark.errors import InputError
from watermark.files import strict_json, sync_directory
from watermark.lines import OwnLines

FORMAT = "taggant-journal/1"
_BEGINNING = f'{{"format": "{FORMAT}", "work": '.encode()  # of the first line, and so of every journal


class Journal:
    """The journal at `path` for the work `identity` describes.

    Args:
        path: the file; made when there is none, and removed on closing when nothing was recorded.
        identity: JSON value that is equal exactly when the work is the same. Nothing secret.
        evidence: what was recorded earlier is kept whatever happens: a journal of other work and damaged lines are
            refused, only a last line that was cut short is dropped.

    Attributes:
        entries: what earlier runs recorded, in order; `append` adds to it.

    Raises:
        InputError: the file cannot be written, is no journal of this user's, or another process is at this work.
    """

    def __init__(self, path: Path, identity: Any, *, evidence: bool = False) -> None:
        self.path = path
        self._evidence = evidence
        self.entries: list[Any] = []
        self._first_line = 0  # its length in bytes, once it is there
        self._lines = OwnLines(path)
        self._copy: OwnLines | None = None
        try:
            self._resume(json.loads(line_of({"format": FORMAT, "work": identity})))  # as it will be read: no tuples
        except BaseException:
            self.close()
            raise

    def append(self, entry: Any) -> None:
        """Record one finished piece of work; on disk when this returns.

        Raises:
            InputError: it cannot be written, such as to a full disk; what was recorded before is kept.
        """
        self._write(entry)
        self.entries.append(entry)

    def copy_to(self, path: Path) -> None:
        """Keep a copy at `path`: all there is by now, and whatever is recorded from now on, before `append` returns.

        It stays whatever becomes of the journal, and is at every time the beginning of it.

        Raises:
            InputError: it cannot be written.
        """
        self._copy = OwnLines(path)
        self._copy.cut(0)
        self._copy.append(self.read())

    def read(self) -> bytes:
        """The whole journal as it is now."""
        return self._lines.read()

    def remove(self) -> None:
        """The work is finished and its result lies elsewhere."""
        self.path.unlink(missing_ok=True)
        self._let_go()

    def close(self) -> None:
        """Let go; a journal without entries is removed."""
        if self._lines.closed:
            return
        if self._lines.size <= self._first_line:
            self.path.unlink(missing_ok=True)
        self._let_go()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _resume(self, header: Any) -> None:
        data = self._lines.read()
        if data[: len(_BEGINNING)] != _BEGINNING[: len(data)]:  # a beginning that was cut short is ours, too
            raise InputError(f"{self.path} is not a journal of earlier work; move it away, or choose another place")
        first, *rest = _whole_lines(data) or [(None, b"")]
        if self._evidence:
            self._refuse_loss(data, first[0] == header, 1 + len(rest))
        if first[0] == header:
            self.entries = [value for value, _ in rest]
            self._first_line = len(first[1])
            self._lines.cut(self._first_line + sum(len(line) for _, line in rest))
        else:
            self._lines.cut(0)
            self._write(header)
            self._first_line = self._lines.size
            with suppress(OSError):
                sync_directory(self.path.parent)

    def _refuse_loss(self, data: bytes, same_work: bool, readable: int) -> None:
        """Raise InputError where going on would drop a whole line; of other work, any line after the first."""
        whole = data.count(b"\n")
        if not same_work and whole > 1:
            raise InputError(f"{self.path} holds what was recorded of other work, and is kept; choose another place")
        if same_work and whole > readable:
            raise InputError(f"{self.path}: line {readable + 1} is damaged; restore the file, or choose another place")

    def _write(self, value: Any) -> None:
        line = line_of(value)
        self._lines.append(line)
        if self._copy is not None:
            self._copy.append(line)

    def _let_go(self) -> None:
        self._lines.close()
        if self._copy is not None:
            self._copy.close()


def line_of(value: Any) -> bytes:
    """A value as a journal has it (ValueError: it holds NaN, or half a surrogate pair)."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _whole_lines(data: bytes) -> list[tuple[Any, bytes]]:
    """The whole lines from the beginning on: their values, and the lines themselves."""
    lines = []
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            lines.append((strict_json(line), line))
        except InputError:
            break
    return lines
