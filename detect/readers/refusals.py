"""Inputs that cannot be read: nothing is dropped, and one line names how many there are and the first of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from detect.readers.places import File, find
from detect.readers.row import Row
from watermark.errors import InputError

SHOWN = 5


class Refusals:
    """Behind the first input that cannot be read no row comes any more; the others are looked at, to be named, too."""

    def __init__(self) -> None:
        self._reasons: list[str] = []
        self._looked_at = self._left = 0

    def files(self, path: str | Path) -> Sequence[File]:
        """As `find`; none where that refuses."""
        try:
            return find(path)
        except InputError as error:
            self._refuse(error)
        return []

    def passes_over(self, file: File) -> bool:
        """Whether a file is not looked at: nothing is fetched from elsewhere only to be named."""
        left = bool(self._reasons) and file.system is not None
        self._left += left
        return left

    def reading(self, rows: Iterator[Row]) -> Iterator[Row]:
        """The rows of one file, as long as nothing was refused."""
        try:
            for row in rows:
                if not self._reasons:
                    yield row
        except InputError as error:
            self._refuse(error)
        else:
            self._looked_at += 1

    def end(self) -> None:
        """Raise InputError if anything was refused."""
        if not self._reasons:
            return
        found = len(self._reasons)
        if self._looked_at == 1 and not self._left:
            raise InputError(self._reasons[0])
        files = f"{found:,} of {self._looked_at:,} files" if self._looked_at > 1 else "1 file"
        left = f" ({self._left:,} more in remote storage were not looked at)" if self._left else ""
        shown = [f"({number}) {reason}" for number, reason in enumerate(self._reasons[:SHOWN], start=1)]
        more = [f"and {found - SHOWN:,} more"] if found > SHOWN else []
        raise InputError(f"{files} cannot be read{left}, so nothing was done: {', '.join([*shown, *more])}")

    def _refuse(self, error: InputError) -> None:
        self._reasons.append(str(error))
        self._looked_at += 1
