"""Timestamps over something else, by others, or too late. --tsa-root is the authority's of the good bundles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from cryptography.x509.oid import ExtendedKeyUsageOID

from detect.bundles.entries import digest
from tests.detect.bundles.bad.registry import (
    bad,
    good,
)
from tests.detect.bundles.draft import Draft
from tests.detect.bundles.factory import BEGUN, Files, authority
from tests.detect.bundles.tsa import STAMPED, Authority


def restamped(d: Draft, what: str, response: Callable[[bytes], bytes]) -> None:
    """Another response for the commitment or the plan."""
    entry = next(one for one in d.entries if one["event"] == "stamped" and one["details"]["what"] == what)
    d.files[f"case/{entry['subjects'][0]['name']}"] = response(d.files[f"case/{what}.json"])


@bad("stamp", "stamped")
def timestamp_of_something_else(d: Draft) -> None:
    restamped(d, "plan", lambda data: authority().stamp(data + b" ", STAMPED))


@bad("stamp", "stamped")
def timestamp_of_what_is_not_there(d: Draft) -> None:
    d.entry("stamped")["details"]["of"] = "ab" * 32


@bad("stamp", "stamped")
def timestamp_of_a_later_entry(d: Draft) -> None:
    d.entry("stamped")["details"] = {"of": digest(d.lines()[-1]), "what": "entry"}


@bad("stamp", "stamped")
def malformed_timestamp(d: Draft) -> None:
    restamped(d, "plan", lambda data: b"\x30\x03\x02\x01\x00")


@bad("stamp", "stamped")
def timestamp_that_was_not_granted(d: Draft) -> None:
    restamped(d, "plan", lambda data: authority().stamp(data, BEGUN, status=2))


@bad("stamp", "stamped")
def timestamp_with_a_forged_signature(d: Draft) -> None:
    restamped(d, "plan", lambda data: authority().stamp(data, BEGUN, signed=b"something else"))


@bad("stamp-untrusted", "stamped")
def foreign_timestamp(d: Draft) -> None:
    restamped(d, "plan", lambda data: authority("stranger").stamp(data, BEGUN))


@bad("stamp-untrusted", "stamped")
def timestamp_by_a_web_server(d: Draft) -> None:
    server = issued_by_the_authority(purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    restamped(d, "plan", lambda data: server.stamp(data, BEGUN))


@bad("stamp-expired", "stamped")
def expired_timestamp(d: Draft) -> None:
    old = issued_by_the_authority(begins=BEGUN - timedelta(days=400), days=365)
    restamped(d, "plan", lambda data: old.stamp(data, BEGUN))


@bad("stamp-expired", "stamped")
def timestamp_before_its_certificate(d: Draft) -> None:
    young = issued_by_the_authority(begins=BEGUN + timedelta(days=1), days=365)
    restamped(d, "plan", lambda data: young.stamp(data, BEGUN))


@bad("stamp-late", "stamped")
def plan_stamped_after_the_run(d: Draft) -> None:
    restamped(d, "plan", lambda data: authority().stamp(data, BEGUN + timedelta(days=1)))


@bad("stamp-late", "stamped")
def commitment_stamped_after_the_run(d: Draft) -> None:
    restamped(d, "commitment", lambda data: authority().stamp(data, BEGUN + timedelta(days=1)))


@bad("stamp", "stamped")
def manifest_stamp_of_another_manifest(d: Draft) -> Files:
    d.predicate["taggant"] = "0.0.0"
    return d.build() | {"manifest.tsr": good("stamped")["manifest.tsr"]}


def issued_by_the_authority(**how: Any) -> Authority:
    return authority().issue(**how)


@bad("stamp-late", "stamped")
def plan_stamped_half_a_second_after_the_run(d: Draft) -> None:
    begun = datetime.fromisoformat(d.entry("begun")["time"])
    d.entries = [one for one in d.entries if one["details"].get("what") != "entry"]
    restamped(d, "plan", lambda data: authority().stamp(data, begun, fraction=".5"))


@bad("stamp", "stamped")
def timestamp_with_an_empty_fraction(d: Draft) -> None:
    restamped(d, "plan", lambda data: authority().stamp(data, STAMPED, fraction="."))


@bad("stamp", "text")
def timestamp_of_more_bytes_than_any_has(d: Draft) -> Files:
    """Nobody need sign it, and to read it element by element would take long."""
    files = d.build()
    files["manifest.tsr"] = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(4200))
    return files
