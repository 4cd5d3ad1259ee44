"""Wall seconds of work over all its tries, killed ones included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from watermark.errors import InputError
from watermark.files import strict_json, write_json

KEPT_EVERY = 5.0  # seconds; a kill loses no more than that


class Stopwatch:
    """Starts with the seconds kept at `path`, where it keeps them again now and then, and when its block ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = kept_seconds(path)
        self._begun = self._kept = time.monotonic()

    @property
    def seconds(self) -> float:
        """Of this try and all before it."""
        return self._before + time.monotonic() - self._begun

    def tick(self) -> None:
        """Keep the seconds if that was not done lately; to be called often."""
        if time.monotonic() - self._kept >= KEPT_EVERY:
            self.keep()

    def keep(self) -> None:
        """Write the seconds down, if that is possible: no work fails for its clock."""
        self._kept = time.monotonic()
        with suppress(OSError, InputError):
            write_json(self._path, round(self.seconds, 2), overwrite=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep the seconds when the block ends, whether well or not."""
        try:
            yield
        finally:
            self.keep()


def kept_seconds(path: Path) -> float:
    """What lies at `path`; 0 where nothing, or nothing usable, does."""
    try:
        return float(strict_json(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return 0.0
