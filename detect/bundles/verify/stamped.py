"""Which timestamps a bundle has, and whether they came before what rests on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from detect.bundles.custody import Log
from detect.bundles.entries import digest
from detect.bundles.refused import Refused
from detect.bundles.seal import FILES, MANIFEST, MANIFEST_STAMP
from detect.bundles.stamps import LARGEST
from detect.bundles.verify.manifest import Files
from detect.bundles.verify.marked import Marked
from detect.bundles.verify.stamps import Stamp, read_stamp
from watermark.keys.commitment import CREATED_FORMAT

_RECORDED_BY = {"commitment": "committed", "plan": "planned"}


@dataclass(frozen=True)
class Stamped:
    """A timestamp and what it is over.

    Attributes:
        what: "manifest", "commitment", "plan" or "entry".
        of: SHA-256 of it.
    """

    what: str
    of: str
    stamp: Stamp


def read_stamps(files: Files, log: Log, marked: Marked, roots: Sequence[x509.Certificate]) -> list[Stamped]:
    """Verify every timestamp, and that the earliest of a commitment and of a plan came before the runs that rest on it.

    An entry's timestamp is also one of the commitment or plan that it records.

    Raises:
        Refused: "stamp", "stamp-untrusted", "stamp-expired" or "stamp-late".
    """
    found = []
    if MANIFEST_STAMP in files:
        _refuse_large(files[MANIFEST_STAMP], MANIFEST_STAMP)
        of = digest(files[MANIFEST])
        found.append(Stamped("manifest", of, read_stamp(files[MANIFEST_STAMP], of, roots, MANIFEST_STAMP)))
    for number, entry in log.of("stamped"):
        (name,) = entry.subjects
        _refuse_large(files[f"{FILES}/{name}"], name)
        of, what = entry.details["of"], entry.details["what"]
        if of not in _there(log, number, what):
            raise Refused("stamp", f"{name}: no {what} was recorded before that has this digest")
        found.append(Stamped(what, of, read_stamp(files[f"{FILES}/{name}"], of, roots, name)))
    _refuse_late(log, marked, _earliest(log, found))
    return found


def _refuse_large(response: bytes, name: str) -> None:
    if len(response) > LARGEST:
        raise Refused("stamp", f"{name}: more bytes than a timestamp has")


def _there(log: Log, before: int, what: str) -> Sequence[str]:
    """Digests of what could be stamped by then."""
    if what == "entry":
        return log.digests[:before]
    return [sha for number, one in log.of(_RECORDED_BY[what]) if number < before for sha in one.subjects.values()]


def _earliest(log: Log, found: Sequence[Stamped]) -> dict[str, datetime]:
    """When each file was first stamped, itself or by the entry that records it."""
    recorded = {}
    for event in _RECORDED_BY.values():
        for number, entry in log.of(event):
            (recorded[log.digests[number]],) = entry.subjects.values()
    times: dict[str, datetime] = {}
    for one in found:
        for of in {one.of, recorded.get(one.of, one.of)}:
            times[of] = min(one.stamp.time, times.get(of, one.stamp.time))
    return times


def _refuse_late(log: Log, marked: Marked, earliest: dict[str, datetime]) -> None:
    for _, run in log.of("begun"):
        plan = marked.plans.get(run.details["plan"])
        if plan is None:
            continue
        root = None if plan.inclusion is None else plan.inclusion.commitment.root
        commitments = [one for _, one in log.of("committed") if one.details["root"] == root]
        committed = [sha for one in commitments for sha in one.subjects.values()]
        begun = datetime.strptime(run.time, CREATED_FORMAT).replace(tzinfo=UTC)
        for of in (plan.digest, *committed):
            if of in earliest and earliest[of] > begun:
                late = f"{of[:16]} was stamped at {earliest[of]:%Y-%m-%dT%H:%M:%SZ}"
                raise Refused("stamp-late", f"run {run.details['run']} began at {run.time}, and {late}")
