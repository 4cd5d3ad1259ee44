"""An append-only journal for work that takes long: killed and started again, nothing done is lost or done twice.

One JSON value a line, synced before it counts. The first line says what work this is; a journal of other work is
thrown away, and a last line that was cut short is dropped.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

from watermark.errors import InputError
from watermark.files import strict_json


class Journal:
    """The journal at `path` for the work `identity` describes.

    Args:
        path: the file; made when there is none.
        identity: JSON value that is equal exactly when the work is the same. Nothing secret.

    Attributes:
        entries: what earlier runs recorded, in order; `append` adds to it.
    """

    def __init__(self, path: Path, identity: Any) -> None:
        self.path = path
        self.entries: list[Any] = []
        lines, intact = _read(path)
        if lines and lines[0] == identity:
            self.entries = lines[1:]
            self._handle: IO[bytes] = path.open("r+b")
            self._handle.truncate(intact)
            self._handle.seek(intact)
        else:
            self._handle = path.open("wb")
            self._write(identity)

    def append(self, entry: Any) -> None:
        """Record one finished piece of work; on disk when this returns."""
        self._write(entry)
        self.entries.append(entry)

    def remove(self) -> None:
        """The work is finished and its result lies elsewhere."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, value: Any) -> None:
        self._handle.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
        self._handle.flush()
        os.fsync(self._handle.fileno())


def _read(path: Path) -> tuple[list[Any], int]:
    """The whole lines, and how many bytes they take."""
    if not path.exists():
        return [], 0
    data = path.read_bytes()
    lines: list[Any] = []
    intact = 0
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            lines.append(strict_json(line))
        except InputError:
            break
        intact += len(line)
    return lines, intact
