"""A case: a directory in which whatever an examiner does with one mark is recorded, before and after it is done.

custody.jsonl        the log; whoever holds its lock is the only one at work in the case
mark.json            what of the mark is public
signers/<keyid>.pem  public keys of all who signed an entry
signer.pem           the private key that signs unless another is given; it never leaves
…                    the files that entries name
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from detect.bundles import canonical
from detect.bundles.container import check_name
from detect.bundles.custody import Log
from detect.bundles.entries import PAYLOAD_TYPE, Entry, answers_of, digest
from detect.bundles.envelope import seal
from detect.bundles.environment import version
from detect.bundles.held import LOG, MARK, SIGNERS, Held
from detect.bundles.mark import Mark
from detect.bundles.run import Run
from detect.bundles.signer import PublicKey, Signer
from watermark.errors import InputError
from watermark.files import new_file, sync_directory
from watermark.keys.commitment import CREATED_FORMAT
from watermark.lines import OwnLines

SIGNER = "signer.pem"
KILLED = "killed"
LONGEST_REASON = 1000  # characters
_BUSY = "another command is at work in this case; wait until it has ended"


@dataclass(frozen=True)
class DrawnUp:
    """An entry that is signed and not recorded.

    Attributes:
        line: of the log, without its line feed.
        log: as it will be.
    """

    entry: Entry
    line: bytes
    log: Log


class Case:
    """A case that this process is at work in, until it is closed.

    Args:
        directory: made when there is none.
        signer_file: of the private key; None: the case's own.

    Attributes:
        made_signer: the file of a signer that was made; None: there was one.

    Raises:
        InputError: no case and not empty, another process is at work in it, or it cannot be written.
        KeyFileError: the signer's file.
        Refused: as `Held.read`.
    """

    def __init__(self, directory: Path, signer_file: Path | None = None) -> None:
        self.directory = directory
        given = None if signer_file is None else Signer.load(signer_file)
        _make(directory)
        self._lines = OwnLines(directory / LOG, _BUSY)
        self.made_signer: Path | None = None
        try:
            self.held = self._read()
            self._signer = given or self._own_signer()
            self._keys = {**self.held.keys, self._signer.keyid: self._signer.public}
            self._publish()
            self._begin()
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> Log:
        return self.held.log

    @property
    def mark(self) -> Mark | None:
        return self.held.mark

    @property
    def keys(self) -> Mapping[str, PublicKey]:
        """Of all who signed an entry, and of who signs the next."""
        return self._keys

    @property
    def signer(self) -> Signer:
        return self._signer

    def hold(self, mark: Mark) -> None:
        """Make it a case of this mark (InputError: it is one of another)."""
        self.held.refuse_other(mark)
        if self.mark is None:
            with new_file(self.directory / MARK) as handle:
                handle.write(canonical.dumps(mark.to_json()))
            self.held = Held(self.directory, self.log, self.held.keys, mark)

    def record(self, event: str, details: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> Entry:
        """Write an entry, and first the files that it names.

        Raises:
            InputError: they cannot be written; there is no entry then.
        """
        for name, data in (files or {}).items():
            self._write(name, data)
        return self.append(event, details, {name: digest(data) for name, data in (files or {}).items()})

    def append(self, event: str, details: Mapping[str, Any], subjects: Mapping[str, str] | None = None) -> Entry:
        """Write an entry about files that are there."""
        drawn_up = self.draw_up(event, details, subjects)
        self.write(drawn_up)
        return drawn_up.entry

    def draw_up(self, event: str, details: Mapping[str, Any], subjects: Mapping[str, str] | None = None) -> DrawnUp:
        """The entry that would come next, signed; nothing is recorded."""
        log, last = self.log, self.log.entries[-1:]
        entry = Entry(
            case=log.case or secrets.token_hex(16),
            sequence=len(log.entries),
            previous=log.last,
            time=max([now(), *(one.time for one in last)]),
            event=event,
            subjects=subjects or {},
            details=details,
            taggant=version("taggant") or "unknown",
        )
        line = seal(entry.to_payload(), PAYLOAD_TYPE, self._signer)
        tried = log.copy()
        tried.take(line, self._keys)  # what no reader would take is not written
        return DrawnUp(entry, line, tried)

    def write(self, drawn_up: DrawnUp) -> None:
        """Record an entry that was drawn up.

        Raises:
            InputError: it cannot be written; there is no entry then.
            ValueError: another was recorded meanwhile.
        """
        if drawn_up.entry.previous != self.log.last:
            raise ValueError("it does not follow the last entry any more")
        self._lines.append(drawn_up.line + b"\n")
        self.held = Held(self.directory, drawn_up.log, self._keys, self.mark)

    def begin(self, details: Mapping[str, Any]) -> Run:
        """Record that a run begins.

        Args:
            details: as `begun` has them, but for the run's number.
        """
        number = self.log.next_run
        self.append("begun", {"run": number, **details})
        return Run(self, number)

    def stop(self, run: str, reason: str) -> None:
        """Record that a run ended without results, if it was recorded as begun and has not ended.

        What a server answered until then becomes the case's. Whatever broke in may have come between the log and what
        is known of it here: it is read again.
        """
        self.held = self._read()
        if self.log.open_run == run:
            self._stop(run, reason)

    def _stop(self, run: str, reason: str) -> None:
        name = answers_of(run)
        path = self.directory / name
        there = path.is_file() and not path.is_symlink()
        subjects = {name: digest(path.read_bytes())} if there else {}
        self.append("stopped", {"run": run, "reason": reason[:LONGEST_REASON]}, subjects)

    def free_name(self, stem: str, suffix: str) -> str:
        """The first of stem.suffix, stem-2.suffix, … under which nothing was recorded."""
        number, name = 1, f"{stem}{suffix}"
        while name in self.log.subjects:
            number += 1
            name = f"{stem}-{number}{suffix}"
        return name

    def bytes_of_log(self) -> bytes:
        """The log as it is now."""
        return self._lines.read()

    def last_line(self) -> bytes:
        """Of the log, without its line feed: what the next entry names, and a timestamp is over."""
        return self.bytes_of_log().splitlines()[-1]

    def close(self) -> None:
        """Let go."""
        self._lines.close()

    def __enter__(self) -> Case:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Held:
        data = self._lines.read()
        self._lines.cut(data.rfind(b"\n") + 1)  # a line that was cut short was never recorded
        return Held.read(self.directory, data)

    def _own_signer(self) -> Signer:
        path = self.directory / SIGNER
        if path.exists():
            return Signer.load(path)
        self.made_signer = path
        return Signer.create(path)

    def _publish(self) -> None:
        """Put the signer's public key beside the log, before it signs anything."""
        path = self.directory / SIGNERS / f"{self._signer.keyid}.pem"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            with new_file(path) as handle:
                handle.write(self._signer.public.pem)
            with suppress(OSError):
                sync_directory(self.directory)

    def _begin(self) -> None:
        entries = self.log.entries
        if entries and now() < entries[-1].time:
            raise InputError(
                f"this machine's clock says {now()}, and the last entry of {self.directory} was made at "
                f"{entries[-1].time}: set the clock right"
            )
        if not entries:
            self.append("opened", {})
        if self.log.open_run is not None:
            self._stop(self.log.open_run, KILLED)

    def _write(self, name: str, data: bytes) -> None:
        path = self.directory / check_name(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # What a killed command left under a name that no entry has was never recorded
            with new_file(path, overwrite=name not in self.log.subjects) as handle:
                handle.write(data)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}); free space, and try again") from None


def now() -> str:
    """UTC, by this machine's clock."""
    return datetime.now(UTC).strftime(CREATED_FORMAT)


def _make(directory: Path) -> None:
    """Make a case's directory, for its owner alone.

    Raises:
        InputError: it is there, with something else in it; or it cannot be made.
    """
    if directory.is_dir():
        ours = re.compile(rf"{re.escape(LOG)}|\..*")
        if not (directory / LOG).exists() and not all(ours.fullmatch(path.name) for path in directory.iterdir()):
            raise InputError(f"{directory} holds other things than a case; give a new or an empty directory")
        return
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        raise InputError(f"{directory} is no directory; choose another place for the case") from None
    except OSError as error:
        raise InputError(f"{directory} cannot be made ({error.strerror}); choose another place for the case") from None
