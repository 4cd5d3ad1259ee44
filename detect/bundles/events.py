"""What a case records besides runs: the key's check, its commitment, plans, notes and timestamps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detect.bundles import canonical
from detect.bundles.case import Case
from detect.bundles.entries import LONGEST_NOTE, Entry, digest
from detect.bundles.held import Held
from watermark.errors import InputError

if TYPE_CHECKING:
    from detect.keycheck import KeyCheck
    from detect.plans.plan import Plan
    from watermark.keys import Commitment


def record_check(case: Case, check: KeyCheck) -> Entry:
    """The key's one check on human text, passed or not."""
    details = {name: getattr(check, name) for name in ("key_id", "accepted", "corpus_sha256")}
    return case.record("key-checked", details, {case.free_name("key-check", ".json"): canonical.dumps(check.to_dict())})


def refuse_foreign_commitment(case: Case | Held, commitment: Commitment) -> None:
    """Raise InputError where a commitment, with its leaves, does not hold the key of the case."""
    if case.mark is not None and case.mark.key_id not in {leaf.key_id for leaf in commitment.leaves}:
        raise InputError(
            f"{case.directory} is a case of key {case.mark.key_id[:16]}, which is not among the marks committed to; "
            "make another case for another mark"
        )


def refuse_known_commitment(case: Case | Held, commitment: Commitment) -> None:
    """Raise InputError where the case records this root already."""
    if any(entry.details["root"] == commitment.root for _, entry in case.log.of("committed")):
        raise InputError(f"{case.directory} records this commitment already")


def record_commitment(case: Case, commitment: Commitment, response: bytes | None = None) -> None:
    """The commitment as it is published, and an authority's timestamp of it where there is one."""
    files = {case.free_name("commitment", ".json"): commitment.canonical}
    case.record("committed", {"root": commitment.root, "size": commitment.size}, files)
    if response is not None:
        record_stamp(case, response, "commitment", digest(commitment.canonical))


def record_plan(case: Case, plan: Plan, response: bytes | None = None) -> None:
    """A plan, and an authority's timestamp of it where there is one."""
    root = None if plan.inclusion is None else plan.inclusion.commitment.root
    details = {"plan": plan.digest, "key_id": plan.key_id, "root": root}
    case.record("planned", details, {case.free_name("plan", ".json"): plan.canonical})
    if response is not None:
        record_stamp(case, response, "plan", plan.digest)


def record_stamp(case: Case, response: bytes, what: str, of: str) -> Entry:
    """An authority's timestamp.

    Args:
        response: RFC 3161, DER.
        what: "commitment", "plan" or "entry".
        of: digest of the file, or of the log's line, that it is over.
    """
    return case.record("stamped", {"of": of, "what": what}, {case.free_name(f"stamps/{of[:16]}", ".tsr"): response})


def record_note(case: Case, text: str) -> Entry:
    """What somebody wants to be in the log (InputError: nothing, or too long)."""
    if not text.strip():
        raise InputError("there is nothing to note; give some text")
    if len(text) > LONGEST_NOTE:
        raise InputError(f"a note has at most {LONGEST_NOTE:,} characters, this one {len(text):,}; shorten it")
    return case.record("noted", {"text": text})
