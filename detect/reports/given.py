"""What a report is made from: a verified bundle, and beside it what the examiner gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from detect.bundles.entries import Entry, digest
from detect.bundles.seal import MANIFEST
from detect.bundles.verify.check import Verified
from detect.bundles.verify.runs import RecordedFamily, RecordedTest
from detect.reports.commission import Commission
from detect.reports.controls import Controls
from detect.reports.validation import Validation

_OPTION = re.compile(r" \(--[a-z-]+[^)]*\)")  # of a command, which means nothing to a lawyer
CONTROL = "/control"
EACH = "each/"


@dataclass(frozen=True)
class Given:
    """What a report is made from.

    Attributes:
        rooted: the timestamps were checked against roots of authorities.
        trusted: the signers were checked against trusted keys.
    """

    verified: Verified
    commission: Commission = field(default_factory=Commission)
    validation: Validation | None = None
    controls: tuple[Controls, ...] = ()
    rooted: bool = False
    trusted: bool = False

    @property
    def bundle(self) -> str:
        """SHA-256 of the manifest, which names every other file."""
        return digest(self.verified.files[MANIFEST])

    @property
    def families(self) -> tuple[RecordedFamily, ...]:
        return tuple(family for family in self.verified.families if family.tests)

    @property
    def tests(self) -> list[RecordedTest]:
        return self.verified.tests

    @property
    def main_tests(self) -> list[RecordedTest]:
        """What the first page is about: the confirmatory primary tests; without one, all but controls and documents."""
        whole = [test for test in self.tests if not is_control(test) and not is_single(test)]
        primary = [test for test in whole if self.is_confirmatory(test) and test.evidence["plan"]["primary"]]
        return primary or whole or self.tests

    def is_confirmatory(self, test: RecordedTest) -> bool:
        return test in self.verified.confirmatory

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What could not be checked, without the options that would have."""
        return tuple(_OPTION.sub("", one) for one in self.verified.unchecked)

    def runs(self) -> Iterator[tuple[int, Entry, Entry | None]]:
        """Every run: number of the entry by which it began, that entry, and the one by which it ended."""
        log = self.verified.log
        ends = {one.details["run"]: one for one in log.entries if one.event in ("finished", "stopped")}
        for number, entry in log.of("begun"):
            yield number, entry, ends.get(entry.details["run"])

    def begun(self, test: RecordedTest) -> Entry:
        """The entry by which a test's run began."""
        return self.verified.log.entries[test.begun]


def is_control(test: RecordedTest) -> bool:
    """Whether it is a test of a plan's positive control."""
    return test.name.endswith(CONTROL)


def is_single(test: RecordedTest) -> bool:
    """Whether it is of one document among those that were pooled."""
    return test.name.startswith(EACH)


def test_words(test: RecordedTest) -> str:
    """A test's name for people: its run, and what it is."""
    kinds = {"count": "count", "e-process": "e-process", "weights": "weights", "scan": "scan"}
    return f"{test.name} (run {test.run}, {kinds[test.kind]})"
