"""One run of a case: from the entry by which it begins to the one by which it ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detect.bundles.container import check_name
from detect.bundles.entries import RESPONSES, digest
from watermark.errors import InputError

if TYPE_CHECKING:
    from detect.bundles.case import Case


@dataclass(frozen=True)
class Run:
    """A run that has begun; it ends with `finish` or `stop`."""

    case: Case
    number: str

    @property
    def name(self) -> str:
        """Of its directory, as entries have it."""
        return f"runs/{self.number}"

    @property
    def directory(self) -> Path:
        """Where its files are; made when it is asked for."""
        path = self.case.directory / self.name
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def answers(self) -> Path:
        """Where a copy of a server's answers is kept while they come."""
        return self.directory / RESPONSES

    def finish(self, tests: list[str]) -> None:
        """Record that it gave results: all files in its directory become the case's.

        Raises:
            InputError: a file is no regular one, or has a name that no bundle takes.
        """
        found = sorted(path for path in self.directory.rglob("*") if not path.is_dir())
        subjects = {}
        for path in found:
            if path.is_symlink() or not path.is_file():
                raise InputError(f"{path} is no regular file; remove it")
            subjects[check_name(path.relative_to(self.case.directory).as_posix())] = digest(path.read_bytes())
        self.case.append("finished", {"run": self.number, "tests": tests}, subjects)

    def stop(self, reason: str) -> None:
        """Record that it ended without results."""
        self.case.stop(self.number, reason)
