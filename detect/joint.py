"""Several tests of the same texts as one family: the text as it came, normalised, and a scan of each.

Which tests there are is settled by the options and the texts, never by the key. `log10_p_adjusted` is Holm's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from detect.counting import CountTally
from detect.decoys import Lineup
from detect.evidence import (
    DEFAULT_EFFECT,
    EXPLORATORY_NOTE,
    KEY_CHECK_ACCEPTS,
    KEY_CHECK_NOTE,
    PLANNED_POWER,
    POWER_NOTE,
    Assessment,
    Evidence,
    Finding,
    assess,
    excluded_words,
)
from detect.exact.binomial import log10_sf
from detect.exact.multiplicity import holm
from detect.exact.scan import FAMILY
from detect.scan import Scan, Span

SOMEWHERE_NOTE = (
    "each span is significant by itself, all of them together: somewhere in it the text depends on the key; "
    "its ends are those of the scan's grid, not of the marked passage"
)
NOWHERE_NOTE = (
    "the scan as a whole reaches the level, as other tests were rejected before it; no span reaches what is left for "
    "spans, so none is named"
)


@dataclass(frozen=True)
class Reading:
    """One way to read the texts, and what was counted.

    Attributes:
        name: for the notes: "the text as it came".
        scan: None: not asked for.
    """

    name: str
    tally: CountTally
    scan: Scan | None = None
    notes: tuple[str, ...] = ()
    lineup: Lineup | None = None


@dataclass(frozen=True)
class ScanEvidence:
    """What a scan found.

    Attributes:
        log10_p: of the scan alone, corrected for its intervals and documents; None: no p is claimed.
        log10_p_adjusted: for the other tests and the key check; None: nothing is claimed under this key.
        intervals: how many were looked at.
    """

    log10_p: float | None
    log10_p_adjusted: float | None
    intervals: int
    finding: Finding
    spans: tuple[Span, ...]
    notes: tuple[str, ...]

    def to_dict(self, spans: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """JSON-ready; `spans` as the caller shows them."""
        return {
            "log10_p": self.log10_p,
            "log10_p_adjusted": self.log10_p_adjusted,
            "family": FAMILY,
            "intervals": self.intervals,
            "finding": self.finding,
            "spans": list(spans),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Judged:
    """A reading's two tests."""

    whole: Evidence
    scan: ScanEvidence | None


def judge_readings(readings: Sequence[Reading], how: Assessment) -> list[Judged]:
    """Judge all tests of all readings as one family.

    Null: as `assess` and `scan_documents`. Holm's step-down, valid whatever the dependence between the tests.
    """
    scans = [one.scan for one in readings if one.scan is not None]
    # A withdrawn claim stays in the family as p = 1: the factors of the others do not depend on the key
    whole = [0.0 if excluded_words(one.tally.excluded_log10_p) else _log10_p(one.tally) for one in readings]
    adjusted = holm([*whole, *(0.0 if _withdrawn(scan) else scan.log10_p for scan in scans)]).tolist()
    family = _Family(how, len(adjusted), _names(readings))
    wholes = [family.whole(one, holms) for one, holms in zip(readings, adjusted, strict=False)]
    remaining = sum(p > math.log10(how.level / len(adjusted)) for p in whole) + len(scans)
    judged = iter([family.scan(scan, p, remaining) for scan, p in zip(scans, adjusted[len(readings) :], strict=True)])
    return [Judged(one, None if r.scan is None else next(judged)) for one, r in zip(wholes, readings, strict=True)]


@dataclass(frozen=True)
class _Family:
    """How each of `size` tests is judged.

    Attributes:
        names: what the tests are, for people.
    """

    how: Assessment
    size: int
    names: str

    @property
    def key_check(self) -> float:
        """−log10 of the chance that a key passes its check, if it had to."""
        return -math.log10(KEY_CHECK_ACCEPTS) if self.how.key_check else 0.0

    @property
    def note(self) -> str:
        return f"log10_p_adjusted: Holm over {self.size} tests: {self.names}"

    def claimed(self, adjusted: float) -> float | None:
        """log10_p_adjusted with the key check; None where that refused the key."""
        return None if self.how.key_check is False else min(0.0, adjusted + self.key_check)

    def whole(self, reading: Reading, adjusted: float) -> Evidence:
        """A reading's whole-text test. What it could have found is asked at Holm's first step, alpha / size."""
        first_step = replace(self.how, alpha=self.how.alpha / self.size)
        evidence = assess(reading.tally, first_step, lineup=reading.lineup, notes=reading.notes)
        claimed = None if evidence.log10_p is None else self.claimed(adjusted)
        detected = claimed is not None and claimed <= math.log10(self.how.alpha)
        notes = [note for note in evidence.notes if not (detected and note.startswith(POWER_NOTE))]
        if self.size > 1 and claimed is not None and self.how.key_check is not False:
            notes.insert(notes.index(EXPLORATORY_NOTE), self.note)
        return replace(
            evidence,
            alpha=self.how.alpha,
            log10_p_adjusted=claimed,
            finding="detected" if detected else evidence.finding,
            notes=tuple(notes),
        )

    def scan(self, scan: Scan, adjusted: float, remaining: int) -> ScanEvidence:
        """A reading's scan.

        The spans' factor is the number of tests that Bonferroni over all tests leaves: the whole-text tests it rejects
        give their share of the level to the rest, as in Holm's weighted procedure.
        """
        claimed, log10_alpha = self.claimed(adjusted), math.log10(self.how.alpha)
        notes = [self.note]
        if withdrawn := _withdrawn(scan):
            return ScanEvidence(None, None, scan.intervals, "inconclusive", (), (withdrawn,))
        if claimed is None:
            notes = [KEY_CHECK_NOTE[False]]
        elif self.how.key_check:
            notes.append(KEY_CHECK_NOTE[True])
        if claimed is not None and claimed <= log10_alpha:
            spans = scan.spans(log10_alpha, math.log10(remaining) + self.key_check)
            finding: Finding = "detected"
            notes.append(SOMEWHERE_NOTE if spans else NOWHERE_NOTE)
        else:
            spans = []
            finding, note = self._what_was_missed(scan, claimed)
            notes.append(note)
        return ScanEvidence(scan.log10_p, claimed, scan.intervals, finding, tuple(spans), tuple(notes))

    def _what_was_missed(self, scan: Scan, claimed: float | None) -> tuple[Finding, str]:
        effect = self.how.effect if self.how.effect is not None else DEFAULT_EFFECT["text"]
        pairs = scan.span_found(effect, self.how.alpha / self.size * 10**-self.key_check)
        if pairs is None or claimed is None:
            return "inconclusive", f"no span with {POWER_NOTE} {effect:g} would have been found reliably"
        note = f"a span of {pairs:,} pairs or more with {POWER_NOTE} {effect:g} would have been found with probability "
        return "not detected", note + f"at least {PLANNED_POWER:g} (binomial model)"


def _log10_p(tally: CountTally) -> float:
    return log10_sf(tally.n_green, tally.n_scored, tally.green.gamma)


def _withdrawn(scan: Scan) -> str | None:
    """Why a scan claims nothing; None: it does."""
    return excluded_words(scan.excluded_log10_p)


def _names(readings: Sequence[Reading]) -> str:
    parts = [one.name for one in readings] + [f"a scan of {one.name}" for one in readings if one.scan is not None]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
