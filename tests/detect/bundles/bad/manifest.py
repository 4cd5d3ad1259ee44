"""Manifests, files and signers that do not belong together."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from detect.bundles.entries import PAYLOAD_TYPE as ENTRY_TYPE
from detect.bundles.entries import digest
from detect.bundles.envelope import to_base64
from detect.bundles.seal import PAYLOAD_TYPE as MANIFEST_TYPE
from tests.detect.bundles.bad.registry import (
    DOCUMENTS,
    TEXT,
    bad,
    good,
)
from tests.detect.bundles.draft import Draft, envelope, payload_of
from tests.detect.bundles.factory import Files, signer


# --- the manifest ---
def manifest(d: Draft, change: Callable[[bytes], bytes]) -> Files:
    files = d.build()
    files["manifest.json"] = change(files["manifest.json"])
    return files


def remade(d: Draft, kind: str = MANIFEST_TYPE, by: int = 1, **changes: Any) -> Files:
    """The manifest in another envelope."""
    files = d.build()
    files["manifest.json"] = envelope(rfc8785.dumps(payload_of(files["manifest.json"])), kind, signer(by), **changes)
    return files


def stated(d: Draft, **changes: Any) -> Files:
    lines = d.lines()
    files = d.build(lines)
    return d.signed(files, lines, **changes)


@bad("json")
def duplicate_key(d: Draft) -> Files:
    return manifest(d, lambda data: data.replace(b'{"payload":', b'{"payload":"","payload":', 1))


@bad("json")
def not_a_number(d: Draft) -> Files:
    return manifest(d, lambda data: data.replace(b'"signatures":[', b'"signatures":[NaN,', 1))


@bad("json")
def white_space(d: Draft) -> Files:
    return manifest(d, lambda data: data.replace(b'","', b'", "', 1))


@bad("json")
def line_feed_behind(d: Draft) -> Files:
    return manifest(d, lambda data: data + b"\n")


@bad("json")
def byte_order_mark(d: Draft) -> Files:
    return manifest(d, lambda data: b"\xef\xbb\xbf" + data)


@bad("json")
def utf_16(d: Draft) -> Files:
    return manifest(d, lambda data: data.decode().encode("utf-16"))


@bad("json")
def nested_too_deeply(d: Draft) -> Files:
    return manifest(d, lambda data: b"[" * 100_000 + b"]" * 100_000)


@bad("json")
def duplicate_key_that_is_signed(d: Draft) -> Files:
    files = d.build()
    payload = rfc8785.dumps(payload_of(files["manifest.json"])).replace(b'{"_type"', b'{"_type":"x","_type"', 1)
    files["manifest.json"] = envelope(payload, MANIFEST_TYPE, signer(1))
    return files


@bad("json")
def keys_out_of_order_that_are_signed(d: Draft) -> Files:
    files = d.build()
    payload = json.dumps(dict(reversed(payload_of(files["manifest.json"]).items())), separators=(",", ":")).encode()
    files["manifest.json"] = envelope(payload, MANIFEST_TYPE, signer(1))
    return files


@bad("base64")
def loose_base64(d: Draft) -> Files:
    """The last digit before the padding carries bits that nobody reads."""
    text = to_base64(signer(1).sign(b"") + b"")  # 64 bytes: two digits of padding
    assert text.endswith("==")
    files = d.build()
    value = json.loads(files["manifest.json"])
    signature = value["signatures"][0]["sig"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    value["signatures"][0]["sig"] = signature[:-3] + alphabet[alphabet.index(signature[-3]) + 1] + "=="
    files["manifest.json"] = rfc8785.dumps(value)
    return files


@bad("base64")
def base64_with_a_line_feed(d: Draft) -> Files:
    return manifest(d, lambda data: data.replace(b'{"payload":"', b'{"payload":"\\n', 1))


@bad("base64")
def base64_without_padding(d: Draft) -> Files:
    return manifest(d, lambda data: data.replace(b'=="}]', b'"}]', 1))


@bad("base64")
def base64_for_urls(d: Draft) -> Files:
    return manifest(d, lambda data: re.sub(rb'"sig":"..', rb'"sig":"-_', data))


@bad("envelope")
def two_signatures(d: Draft) -> Files:
    value = json.loads(d.build()["manifest.json"])
    return remade(d, signatures=value["signatures"] * 2)


@bad("envelope")
def no_signature(d: Draft) -> Files:
    return remade(d, signatures=[])


@bad("envelope")
def member_in_the_envelope(d: Draft) -> Files:
    return remade(d, comment="trust me")


@bad("payload-type")
def other_payload_type(d: Draft) -> Files:
    return remade(d, "application/json")


@bad("payload-type")
def payload_type_changed_after_signing(d: Draft) -> Files:
    return remade(d, payloadType="application/vnd.in-toto+jso")


@bad("key-id")
def wrong_key_id(d: Draft) -> Files:
    files = d.build()
    value = json.loads(files["manifest.json"])
    value["signatures"][0]["keyid"] = "ab" * 32
    return {**files, "manifest.json": rfc8785.dumps(value)}


@bad("key-id")
def manifest_by_somebody_else(d: Draft) -> Files:
    return remade(d, by=2)


@bad("signature")
def key_id_of_another_signer(d: Draft) -> Files:
    d.by[1] = 2
    files = d.build()
    value = json.loads(files["manifest.json"])
    value["signatures"][0]["keyid"] = signer(2).keyid
    return {**files, "manifest.json": rfc8785.dumps(value)}


@bad("signature")
def signature_over_the_payload_alone(d: Draft) -> Files:
    payload = rfc8785.dumps(payload_of(d.build()["manifest.json"]))
    return remade(d, signatures=[{"keyid": signer(1).keyid, "sig": to_base64(signer(1).sign(payload))}])


@bad("signature")
def signature_of_another_type(d: Draft) -> Files:
    files = remade(d, ENTRY_TYPE)
    value = json.loads(files["manifest.json"]) | {"payloadType": MANIFEST_TYPE}
    return {**files, "manifest.json": rfc8785.dumps(value)}


@bad("signature")
def case_changed_after_signing(d: Draft) -> Files:
    files = d.build()
    payload = payload_of(files["manifest.json"])
    payload["predicate"]["created"] = "2026-01-01T00:00:00Z"
    value = json.loads(files["manifest.json"]) | {"payload": to_base64(rfc8785.dumps(payload))}
    return {**files, "manifest.json": rfc8785.dumps(value)}


@bad("statement")
def other_predicate_type(d: Draft) -> Files:
    return stated(d, predicateType="urn:taggant:bundle:2")


@bad("statement")
def member_in_the_statement(d: Draft) -> Files:
    return stated(d, note="x")


@bad("statement")
def other_format(d: Draft) -> None:
    d.predicate["format"] = "taggant-bundle/0"


@bad("statement")
def no_case_in_the_manifest(d: Draft) -> Files:
    lines = d.lines()
    files = d.build(lines)
    predicate = d.statement(files, lines)["predicate"]
    del predicate["case"]
    return d.signed(files, lines, predicate=predicate)


# --- the files ---
@bad("extra")
def extra_file(d: Draft) -> Files:
    return d.build() | {"case/more.txt": b"x"}


@bad("extra")
def swapped_bundle(d: Draft) -> Files:
    """The manifest of another bundle over these files."""
    return d.build() | {"manifest.json": good("early")["manifest.json"]}


@bad("absent")
def absent_file(d: Draft) -> Files:
    return {name: data for name, data in d.build().items() if name != DOCUMENTS}


@bad("absent")
def manifest_that_names_itself(d: Draft) -> Files:
    lines = d.lines()
    files = d.build(lines)
    subjects = d.statement(files, lines)["subject"]
    at = next(i for i, one in enumerate(subjects) if one["name"] > "manifest.json")
    subjects.insert(at, {"name": "manifest.json", "digest": {"sha256": digest(files["manifest.json"])}})
    return d.signed(files, lines, subject=subjects)


@bad("digest")
def evidence_changed_after_signing(d: Draft) -> Files:
    files = d.build()
    return files | {TEXT: files[TEXT].replace(b'"detected"', b'"inconclusive"')}


@bad("digest")
def replayed_log(d: Draft) -> Files:
    """The log of another case under this manifest."""
    return d.build() | {"custody.jsonl": good("text-closed")["custody.jsonl"]}


@bad("order")
def subjects_out_of_order(d: Draft) -> Files:
    lines = d.lines()
    files = d.build(lines)
    return d.signed(files, lines, subject=d.statement(files, lines)["subject"][::-1])


@bad("order")
def subject_twice(d: Draft) -> Files:
    lines = d.lines()
    files = d.build(lines)
    subjects = d.statement(files, lines)["subject"]
    return d.signed(files, lines, subject=[subjects[0], *subjects])


# --- the signers ---
def with_file(d: Draft, name: str, data: bytes) -> Files:
    lines = d.lines()
    return d.signed(d.build(lines) | {name: data}, lines)


@bad("signer")
def unreadable_signer(d: Draft) -> Files:
    return with_file(d, f"signers/{'ab' * 32}.pem", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")


@bad("signer")
def signer_of_another_kind(d: Draft) -> Files:
    key = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    keyid = digest(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return with_file(d, f"signers/{keyid}.pem", key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@bad("signer")
def signer_under_another_name(d: Draft) -> Files:
    return with_file(d, f"signers/{'ab' * 32}.pem", signer(2).public.pem)


@bad("signer")
def unused_signer(d: Draft) -> None:
    d.others = (2,)
