"""The custody log: signed entries, each of which names the line before it, in an order that makes sense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, fields

from detect.bundles.canonical import lines_of
from detect.bundles.entries import PAYLOAD_TYPE, Entry, digest
from detect.bundles.envelope import unseal
from detect.bundles.refused import Refused
from detect.bundles.signer import PublicKey


@dataclass
class Log:
    """A log whose entries were verified, one after the other.

    Attributes:
        entries: in order.
        digests: of every line, without its line feed.
        signers: key ids, as they came first.
        subjects: every file that was recorded: name → SHA-256.
        runs: that were begun, in order.
        ends: of a run, the entry by which it finished or was stopped.
    """

    entries: list[Entry] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    signers: list[str] = field(default_factory=list)
    subjects: dict[str, str] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    ends: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, data: bytes, keys: Mapping[str, PublicKey]) -> Log:
        """Verify a log: every line is an envelope signed by one of `keys`, and its entry may stand where it stands.

        Raises:
            Refused: with the line's number.
        """
        log = cls()
        for line in lines_of(data, "custody.jsonl"):
            log.take(line, keys)
        return log

    def take(self, line: bytes, keys: Mapping[str, PublicKey]) -> Entry:
        """Verify the next line (without its line feed) and add it; nothing is added where it is refused.

        1. The envelope (`unseal`), and the payload's members.
        2. The same case; the next number; the digest of the line before; no earlier time.
        3. The event may come now, and no recorded file has become another.

        Raises:
            Refused: as `unseal`, or "entry", "case", "sequence", "chain", "time", "event" or "subject".
        """
        what = f"custody.jsonl, line {len(self.entries) + 1}"
        opened = unseal(line, PAYLOAD_TYPE, keys, what)
        entry = Entry.from_payload(opened.payload, what)
        if self.entries:
            self._check_link(entry, what)
        elif entry.sequence:
            raise Refused("sequence", f"{what}: the first entry's number is not 0")
        elif entry.previous is not None:
            raise Refused("chain", f"{what}: the first entry names a line before it")
        self._check_event(entry, what)
        for name, found in entry.subjects.items():
            if self.subjects.get(name, found) != found:
                raise Refused("subject", f"{what}: {name} was recorded before, with another content")
        self.entries.append(entry)
        self.digests.append(digest(line))
        self.subjects.update(entry.subjects)
        if entry.event == "begun":
            self.runs.append(entry.details["run"])
        elif entry.event in ("finished", "stopped"):
            self.ends[entry.details["run"]] = entry
        if opened.keyid not in self.signers:
            self.signers.append(opened.keyid)
        return entry

    def copy(self) -> Log:
        """One that can be added to, without this one being so."""
        return Log(**{one.name: copy(getattr(self, one.name)) for one in fields(self)})

    @property
    def case(self) -> str | None:
        """The case's id; None: the log is empty."""
        return self.entries[0].case if self.entries else None

    @property
    def last(self) -> str | None:
        """Digest of the last line; None: the log is empty."""
        return self.digests[-1] if self.digests else None

    @property
    def open_run(self) -> str | None:
        """The run that was begun and has not ended."""
        return self.runs[-1] if self.runs and self.runs[-1] not in self.ends else None

    def of(self, event: str) -> Iterator[tuple[int, Entry]]:
        """Every entry of one kind, with its number."""
        return ((number, entry) for number, entry in enumerate(self.entries) if entry.event == event)

    def require_sealed(self) -> None:
        """Raise Refused("event") unless the last entry says that the case was sealed: a bundle's log ends there."""
        if not self.entries or self.entries[-1].event != "sealed":
            raise Refused("event", "custody.jsonl: the last entry does not seal the case")

    def _check_link(self, entry: Entry, what: str) -> None:
        before = self.entries[-1]
        if entry.case != before.case:
            raise Refused("case", f"{what}: an entry of another case")
        if entry.sequence != len(self.entries):
            raise Refused("sequence", f"{what}: its number is {entry.sequence}, not {len(self.entries)}")
        if entry.previous != self.digests[-1]:
            raise Refused("chain", f"{what}: it does not name the line before it")
        if entry.time < before.time:
            raise Refused("time", f"{what}: {entry.time} is before {before.time}, when the entry before was made")

    def _check_event(self, entry: Entry, what: str) -> None:
        running, run = self.open_run, entry.details.get("run")
        if (entry.event == "opened") == bool(self.entries):
            raise Refused("event", f"{what}: a log begins with 'opened', once")
        if entry.event == "begun" and (running is not None or run != self.next_run):
            raise Refused("event", f"{what}: run {run} cannot begin here")
        if entry.event in ("finished", "stopped") and run != running:
            raise Refused("event", f"{what}: run {run} cannot end here")
        if entry.event == "sealed" and running is not None:
            raise Refused("event", f"{what}: sealed while run {running} had not ended")

    @property
    def next_run(self) -> str:
        """The number that the next run has."""
        return f"{1 + len(self.runs):04d}"
