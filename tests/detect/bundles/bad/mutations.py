"""Bundles that must be refused, each by its name, with the code: good ones that were changed, and signed anew."""

from __future__ import annotations

import io
import json
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from detect.bundles.entries import PAYLOAD_TYPE as ENTRY_TYPE
from detect.bundles.entries import digest
from detect.bundles.envelope import to_base64
from detect.bundles.seal import PAYLOAD_TYPE as MANIFEST_TYPE
from tests.detect.bundles.draft import KEPT, Draft, envelope, payload_of, zipped, zipped_with
from tests.detect.bundles.factory import BEGUN, GOOD, KEY, MODEL, Files, authority, signer
from tests.detect.bundles.tsa import STAMPED, Authority
from tests.detect.material import make_key
from watermark.keys import Commitment, Leaf

Changed = Callable[[Draft], Files | bytes | None]  # None: the draft as it is now
BAD: dict[str, tuple[str, str, Changed]] = {}  # name → code, the good bundle that it is made from, and how

TEXT = "case/runs/0001/text.json"
RUN = "case/runs/0001/run.json"
DOCUMENTS = "case/runs/0001/text.documents.jsonl"
SAMPLED = "case/runs/0001/sampled-distinct.json"
READING = "case/runs/0001/reading-difference.json"
WEIGHTS = "case/runs/0001/reading-difference.npz"


@lru_cache
def good(name: str) -> dict[str, bytes]:
    directory = Path(tempfile.mkdtemp())
    try:
        return GOOD[name](directory)
    finally:
        shutil.rmtree(directory)


def made(name: str) -> bytes:
    """A bad bundle, as the bytes of its zip archive."""
    _, source, change = BAD[name]
    draft = Draft.of(deepcopy(good(source)))
    found = change(draft)
    found = draft.build() if found is None else found
    return found if isinstance(found, bytes) else zipped(found)


def bad(code: str, source: str = "text") -> Callable[[Changed], Changed]:
    def named(change: Changed) -> Changed:
        BAD[change.__name__.replace("_", "-")] = (code, source, change)
        return change

    return named


# --- the container ---


@bad("zip")
def truncated(d: Draft) -> bytes:
    return zipped(d.build())[:-200]


@bad("zip")
def no_archive(d: Draft) -> bytes:
    return b"this is no bundle\n" * 9


@bad("zip")
def something_before_the_archive(d: Draft) -> bytes:
    return b"#!/bin/sh\n" + zipped(d.build())


@bad("zip")
def something_behind_the_archive(d: Draft) -> bytes:
    return zipped(d.build()) + b"and more"


@bad("name")
def path_traversal(d: Draft) -> bytes:
    return zipped_with(d.build(), ("../outside.txt", b"x"))


@bad("name")
def absolute_path(d: Draft) -> bytes:
    return zipped_with(d.build(), ("/tmp/outside.txt", b"x"))


@bad("name")
def traversal_within(d: Draft) -> bytes:
    return zipped_with(d.build(), ("case/../../outside.txt", b"x"))


@bad("name")
def backslash(d: Draft) -> bytes:
    return zipped_with(d.build(), ("case\\outside.txt", b"x"))


@bad("name")
def hidden_file(d: Draft) -> bytes:
    return zipped_with(d.build(), ("case/.hidden", b"x"))


@bad("name")
def nul_in_a_name(d: Draft) -> bytes:
    return zipped_with(d.build(), ("case/a~b", b"x")).replace(b"case/a~b", b"case/a\0b")


@bad("name")
def too_deep(d: Draft) -> bytes:
    return zipped_with(d.build(), ("/".join("abcdefghi"), b"x"))


@bad("twice")
def file_twice(d: Draft) -> bytes:
    files = d.build()
    return zipped_with(files, ("mark.json", files["mark.json"]))


@bad("link")
def symbolic_link(d: Draft) -> bytes:
    def link(info: zipfile.ZipInfo) -> None:
        info.external_attr = (stat.S_IFLNK | 0o777) << 16

    return zipped_with(d.build(), ("case/link", b"/etc/passwd"), change=link)


@bad("size")
def zip_bomb(d: Draft) -> bytes:
    return zipped_with(d.build(), ("case/bomb", bytes(5_000_000)))


@bad("size")
def too_many_files(d: Draft) -> bytes:
    return zipped_with(d.build(), *((f"case/{i}", b"") for i in range(10_000)), method=zipfile.ZIP_STORED)


@bad("zip")
def encrypted(d: Draft) -> bytes:
    data = bytearray(zipped(d.build()))
    for at in (m.start() for m in re.finditer(b"PK\1\2", data)):
        data[at + 8] |= 1
    return bytes(data)


@bad("zip")
def other_compression(d: Draft) -> bytes:
    return zipped_with(d.build(), ("case/x", b"x" * 99), method=zipfile.ZIP_BZIP2)


@bad("zip")
def wrong_checksum(d: Draft) -> bytes:
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(d.build().items()):
            archive.writestr(name, data)
    return handle.getvalue().replace(b'"format":"taggant-mark/1"', b'"format":"taggant-mark/2"', 1)


@bad("missing")
def no_mark(d: Draft) -> None:
    del d.files["mark.json"]


@bad("missing")
def no_environment(d: Draft) -> None:
    del d.files["environment.json"]


@bad("missing")
def no_manifest(d: Draft) -> Files:
    return {name: data for name, data in d.build().items() if name != "manifest.json"}


@bad("missing")
def no_log(d: Draft) -> Files:
    return {name: data for name, data in d.build().items() if name != "custody.jsonl"}


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


# --- the log ---


def logged(d: Draft, change: Callable[[list[bytes]], list[bytes]]) -> Files:
    return d.build(change(d.lines()))


def line_of(d: Draft, at: int, change: Callable[[bytes], bytes]) -> Files:
    return logged(d, lambda lines: [change(line) if i == at else line for i, line in enumerate(lines)])


@bad("json")
def line_not_canonical(d: Draft) -> Files:
    return line_of(d, 1, lambda line: line.replace(b'":"', b'": "', 1))


@bad("json")
def line_not_ended(d: Draft) -> Files:
    lines = d.lines()
    files = d.build(lines)
    return d.signed(files | {"custody.jsonl": files["custody.jsonl"][:-1]}, lines)


@bad("json")
def empty_line(d: Draft) -> Files:
    return logged(d, lambda lines: [*lines[:1], b"", *lines[1:]])


@bad("base64")
def line_in_loose_base64(d: Draft) -> Files:
    return line_of(d, 1, lambda line: line.replace(b'"payload":"', b'"payload":" ', 1))


@bad("envelope")
def line_with_two_signatures(d: Draft) -> Files:
    def twice(line: bytes) -> bytes:
        value = json.loads(line)
        return rfc8785.dumps(value | {"signatures": value["signatures"] * 2})  # type: ignore[no-any-return]

    return line_of(d, 1, twice)


@bad("payload-type")
def manifest_as_a_line(d: Draft) -> Files:
    manifest_line = d.build()["manifest.json"]
    return logged(d, lambda lines: [*lines, manifest_line])


@bad("key-id")
def missing_signer(d: Draft) -> Files:
    d.by[1] = 2
    lines = d.lines()
    files = {name: data for name, data in d.build(lines).items() if name != f"signers/{signer(2).keyid}.pem"}
    return d.signed(files, lines)


@bad("signature")
def line_changed_after_signing(d: Draft) -> Files:
    def changed(line: bytes) -> bytes:
        payload = rfc8785.dumps({**payload_of(line), "time": "2026-11-24T06:59:59Z"})
        return rfc8785.dumps(json.loads(line) | {"payload": to_base64(payload)})  # type: ignore[no-any-return]

    return line_of(d, 1, changed)


@bad("entry")
def member_in_an_entry(d: Draft) -> None:
    d.entries[1]["comment"] = "x"


@bad("entry")
def details_of_another_event(d: Draft) -> None:
    d.entries[1]["details"] = {"text": "nothing"}


@bad("entry")
def entry_of_another_format(d: Draft) -> None:
    d.entries[1]["format"] = "taggant-custody/2"


@bad("entry")
def run_without_its_files(d: Draft) -> None:
    finished = d.entry("finished")
    finished["subjects"] = [one for one in finished["subjects"] if one["name"] != "runs/0001/run.json"]


@bad("entry")
def note_with_a_file(d: Draft) -> None:
    d.insert(1, "noted", {"text": "see there"}, ["runs/0001/run.json"])


@bad("entry", "resumed")
def stopped_run_with_another_file(d: Draft) -> None:
    d.files["case/runs/0001/text.json"] = b"{}"
    d.entry("stopped")["subjects"].append({"name": "runs/0001/text.json", "sha256": ""})


@bad("entry")
def subjects_of_an_entry_out_of_order(d: Draft) -> None:
    d.entry("finished")["subjects"].reverse()


@bad("case")
def entry_of_another_case(d: Draft) -> None:
    d.entries[1]["case"] = "ab" * 16


@bad("case")
def manifest_of_another_case(d: Draft) -> None:
    d.predicate["case"] = "ab" * 16


@bad("sequence")
def reordered_custody(d: Draft) -> Files:
    return logged(d, lambda lines: [lines[0], lines[2], lines[1], *lines[3:]])


@bad("sequence")
def dropped_entry(d: Draft) -> Files:
    return logged(d, lambda lines: [*lines[:1], *lines[2:]])


@bad("sequence")
def number_that_jumps(d: Draft) -> Files:
    d.entries[2]["sequence"] = 7
    return d.build(d.lines(number=False))


@bad("sequence")
def first_number_is_not_zero(d: Draft) -> Files:
    d.entries[0]["sequence"] = 1
    return d.build(d.lines(number=False))


@bad("chain")
def broken_chain(d: Draft) -> Files:
    """An earlier entry was written anew, and the one after still names the old one."""
    lines = d.lines()
    d.entries[1]["details"]["options"] = {"alpha": 0.05}
    return d.build([*lines[:1], d.lines()[1], *lines[2:]])


@bad("chain")
def first_entry_names_one_before(d: Draft) -> Files:
    lines = d.lines()
    payload = payload_of(lines[0]) | {"previous": "ab" * 32}
    return d.build([envelope(rfc8785.dumps(payload), ENTRY_TYPE, signer(1)), *lines[1:]])


@bad("time")
def time_goes_back(d: Draft) -> None:
    d.entries[2]["time"] = "2026-11-20T00:00:00Z"


@bad("event")
def opened_twice(d: Draft) -> None:
    d.insert(1, "opened", {})


@bad("event")
def not_opened(d: Draft) -> None:
    del d.entries[0]


@bad("event")
def not_sealed(d: Draft) -> None:
    del d.entries[-1]


@bad("event")
def no_entries(d: Draft) -> None:
    d.entries.clear()


@bad("event")
def unknown_event(d: Draft) -> None:
    d.entries[1]["event"] = "forgotten"


@bad("event")
def run_begins_within_a_run(d: Draft) -> None:
    d.insert(2, "begun", d.entries[1]["details"] | {"run": "0002"})


@bad("event")
def run_that_never_began(d: Draft) -> None:
    del d.entries[1]


@bad("event")
def run_that_never_ended(d: Draft) -> None:
    d.files = {name: data for name, data in d.files.items() if not name.startswith("case/runs")}
    d.entries = [one for one in d.entries if one["event"] != "finished"]


@bad("event")
def run_left_out(d: Draft) -> None:
    """Numbers of runs have no gaps."""
    d.entries[1]["details"]["run"] = "0002"
    d.entry("finished")["details"]["run"] = "0002"
    for one in d.entry("finished")["subjects"]:
        one["name"] = one["name"].replace("0001", "0002")
    d.files = {name.replace("runs/0001", "runs/0002"): data for name, data in d.files.items()}


@bad("event")
def other_run_ends(d: Draft) -> None:
    d.insert(2, "stopped", {"run": "0002", "reason": "killed"})


@bad("head")
def manifest_counts_other_entries(d: Draft) -> None:
    d.predicate["custody"] = {"entries": 3, "last": digest(d.lines()[-1])}


@bad("head")
def manifest_names_another_end(d: Draft) -> None:
    d.predicate["custody"] = {"entries": len(d.entries), "last": "ab" * 32}


@bad("subject")
def recorded_file_is_another(d: Draft) -> None:
    d.entry("finished")["subjects"][0]["sha256"] = KEPT


@bad("subject")
def recorded_file_is_gone(d: Draft) -> None:
    del d.files[DOCUMENTS]


@bad("unrecorded")
def unrecorded_file(d: Draft) -> None:
    d.files["case/more.txt"] = b"x"


# --- the mark ---


@bad("mark")
def mark_with_another_member(d: Draft) -> None:
    d.change("mark.json", delta=2.0)


@bad("mark")
def mark_with_no_gamma(d: Draft) -> None:
    d.change("mark.json", gamma_65536=0)


@bad("mark")
def run_of_another_key(d: Draft) -> None:
    d.entries[1]["details"]["key_id"] = make_key(9).key_id


@bad("mark")
def mark_of_another_key(d: Draft) -> None:
    d.change("mark.json", key_id=make_key(9).key_id)


@bad("key-id")
def parameters_changed_under_the_same_key(d: Draft) -> None:
    d.change("mark.json", gamma_65536=20000)
    d.change("opening.json", gamma_65536=20000)


@bad("key-id")
def context_width_changed_under_the_same_key(d: Draft) -> None:
    d.change("mark.json", context_width=2)
    d.change("opening.json", context_width=2)


@bad("key-id")
def another_key_opened(d: Draft) -> None:
    d.change("opening.json", chacha_key=make_key(9).chacha_key.hex())


@bad("key-id")
def leaf_of_another_key(d: Draft) -> None:
    d.change("opening.json", leaf__key_id=make_key(9).key_id)


@bad("opening")
def opening_of_other_parameters(d: Draft) -> None:
    d.change("opening.json", gamma_65536=20000)


@bad("opening")
def opening_with_another_member(d: Draft) -> None:
    d.change("opening.json", secret="x")


@bad("opening")
def opening_that_was_taken_out(d: Draft) -> None:
    del d.files["opening.json"]


@bad("opening", "text-closed")
def opening_that_was_put_in(d: Draft) -> None:
    d.files["opening.json"] = good("text")["opening.json"]


@bad("opening")
def manifest_says_it_is_closed(d: Draft) -> None:
    d.predicate["opened"] = False


@bad("commitment")
def path_that_leads_elsewhere(d: Draft) -> None:
    d.change("opening.json", root="ab" * 32)


@bad("commitment", "early")
def path_with_another_step(d: Draft) -> None:
    path = d.json("opening.json")["path"]
    d.change("opening.json", path=[*path, "ab" * 32])


@bad("commitment", "early")
def path_cut_short(d: Draft) -> None:
    d.change("opening.json", path=d.json("opening.json")["path"][:-1])


@bad("commitment", "early")
def opening_by_another_commitment(d: Draft) -> None:
    alone = Commitment.of([Leaf(None, None, KEY.key_id)])
    d.put("opening.json", alone.open(KEY).to_json())


@bad("commitment", "early")
def commitment_to_another_root(d: Draft) -> None:
    d.change("case/commitment.json", root="ab" * 32)


@bad("commitment", "early")
def commitment_of_another_size(d: Draft) -> None:
    d.change("case/commitment.json", size=4)


@bad("commitment", "early-closed")
def plan_with_a_wrong_path(d: Draft) -> None:
    value = d.json("case/plan.json")
    value["key"]["inclusion"]["path"][0] = "ab" * 32
    replan(d, value)


def replan(d: Draft, value: Any) -> None:
    """Another plan, and everything names it by its digest."""
    old, d.files["case/plan.json"] = d.files["case/plan.json"], rfc8785.dumps(value)
    new = digest(d.files["case/plan.json"])
    d.entry("planned")["details"]["plan"] = d.entry("begun")["details"]["plan"] = new
    for name in [name for name in d.files if name.startswith("case/runs/")]:
        d.files[name] = d.files[name].replace(digest(old).encode(), new.encode())


@bad("plan", "early")
def plan_changed(d: Draft) -> None:
    d.change("case/plan.json", alpha=0.01)


@bad("plan", "early")
def plan_for_another_key(d: Draft) -> None:
    value = d.json("case/plan.json")
    value["key"]["key_id"] = make_key(9).key_id
    replan(d, value)


@bad("plan", "early")
def plan_of_another_format(d: Draft) -> None:
    replan(d, d.json("case/plan.json") | {"format": "taggant-plan/0"})


@bad("plan", "early")
def plan_with_another_root_than_the_log(d: Draft) -> None:
    d.entry("planned")["details"]["root"] = "ab" * 32


# --- timestamps: --tsa-root is the authority's of the good bundles ---


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


# --- runs and their evidence ---


@bad("run")
def run_of_another_number(d: Draft) -> None:
    d.change(RUN, run="0002")


@bad("run")
def run_of_another_command(d: Draft) -> None:
    d.change(RUN, command="suspect")


@bad("run")
def dropped_test_that_was_recorded(d: Draft) -> None:
    value = d.json(RUN)
    del value["tests"]["text/scan"]
    value["family"][0]["tests"].remove("text/scan")
    d.put(RUN, value)


@bad("run")
def test_in_no_family(d: Draft) -> None:
    value = d.json(RUN)
    value["family"][0]["tests"].remove("text/scan")
    d.put(RUN, value)


@bad("run")
def test_in_two_families(d: Draft) -> None:
    value = d.json(RUN)
    value["family"].append({"tests": ["text"], "key_check": False})
    d.put(RUN, value)


@bad("run")
def evidence_from_outside_the_run(d: Draft) -> None:
    d.change(RUN, tests__text__evidence="../../../mark.json")


@bad("run")
def test_of_an_unknown_kind(d: Draft) -> None:
    d.change(RUN, tests__text__kind="belief")


@bad("run", "weights")
def planned_test_left_out(d: Draft) -> None:
    value = d.json(RUN)
    del value["tests"]["sampled/excess"]
    for family in value["family"]:
        family["tests"] = [name for name in family["tests"] if name != "sampled/excess"]
    d.put(RUN, value)
    d.entry("finished")["details"]["tests"].remove("sampled/excess")


@bad("run")
def family_that_was_split(d: Draft) -> None:
    """Each test by itself would have to pay for none of the others."""
    value = d.json(RUN)
    value["family"] = [{"tests": [name], "key_check": False} for name in value["tests"]]
    d.put(RUN, value)
    for name in ("text", "text-scan"):
        path = f"case/runs/0001/{name}.json"
        d.change(path, log10_p_adjusted=d.json(path)["log10_p"])


@bad("run", "weights")
def primary_test_among_the_others(d: Draft) -> None:
    value = d.json(RUN)
    value["family"][0]["tests"] += value["family"].pop(1)["tests"]
    d.put(RUN, value)


@bad("evidence", "early")
def other_alpha_than_planned(d: Draft) -> None:
    d.change(SAMPLED, alpha=0.01)


@bad("evidence", "early")
def other_maximum_than_planned(d: Draft) -> None:
    d.change(SAMPLED, sequential__maximum_pairs=d.json(SAMPLED)["sequential"]["maximum_pairs"] + 1)


@bad("evidence", "early")
def other_decoys_than_planned(d: Draft) -> None:
    d.change(SAMPLED, lineup__seed="ab" * 32)


@bad("evidence", "weights")
def other_primary_test_than_planned(d: Draft) -> None:
    d.change(READING, plan__primary=False)


@bad("evidence")
def evidence_of_another_gamma(d: Draft) -> None:
    d.change(TEXT, gamma=0.2)


@bad("evidence")
def evidence_of_another_key(d: Draft) -> None:
    d.change(TEXT, key_id=make_key(9).key_id)


@bad("evidence")
def evidence_of_another_schema(d: Draft) -> None:
    d.change(TEXT, schema="taggant-evidence/0")


@bad("evidence")
def evidence_with_another_member(d: Draft) -> None:
    d.change(TEXT, probability_of_theft=0.99)


@bad("evidence")
def evidence_with_a_finding_of_its_own(d: Draft) -> None:
    d.change(TEXT, finding="certain")


@bad("evidence", "early")
def evidence_of_another_plan(d: Draft) -> None:
    d.change(SAMPLED, plan__sha256="ab" * 32)


@bad("evidence", "texts-checked")
def family_of_two_levels(d: Draft) -> None:
    d.change("case/runs/0003/each-00001.json", alpha=0.05)


@bad("json")
def evidence_that_is_indented(d: Draft) -> None:
    d.files[TEXT] = json.dumps(d.json(TEXT), indent=1).encode()


@bad("json")
def evidence_without_a_number(d: Draft) -> None:
    d.files[TEXT] = re.sub(rb'"log10_p":[-0-9.]+', b'"log10_p":-Infinity', d.files[TEXT])


@bad("json")
def evidence_in_another_spelling(d: Draft) -> None:
    d.files[TEXT] = d.files[TEXT].replace(b'"gamma":0.25', b'"gamma":2.5e-1')


@bad("material")
def rows_with_texts(d: Draft) -> None:
    d.files[DOCUMENTS] = d.files[DOCUMENTS].replace(b'"token_ids"', b'"text":"x","token_ids"', 1)


@bad("material")
def ids_that_are_none(d: Draft) -> None:
    d.files[DOCUMENTS] = d.files[DOCUMENTS].replace(b'"token_ids":[', b'"token_ids":[-1,', 1)


@bad("material")
def ids_that_are_true(d: Draft) -> None:
    d.files[DOCUMENTS] = d.files[DOCUMENTS].replace(b'"token_ids":[', b'"token_ids":[true,', 1)


@bad("material", "weights")
def weights_cut_short(d: Draft) -> None:
    d.files[WEIGHTS] = d.files[WEIGHTS][:-50]


def reweigh(d: Draft, **changes: Any) -> None:
    with np.load(io.BytesIO(d.files[WEIGHTS])) as file:
        arrays = {name: file[name] for name in file.files}
    handle = io.BytesIO()
    np.savez(handle, **(arrays | {name: change(arrays) for name, change in changes.items()}))
    d.files[WEIGHTS] = handle.getvalue()


@bad("material", "weights")
def pickled_weights(d: Draft) -> None:
    reweigh(d, weights=lambda arrays: arrays["weights"].astype(object))


@bad("material", "weights")
def pair_twice_in_weights(d: Draft) -> None:
    reweigh(d, tokens=lambda a: np.concatenate([a["tokens"][:1], a["tokens"][:1], a["tokens"][2:]]))


@bad("material", "weights")
def weight_that_is_no_number(d: Draft) -> None:
    reweigh(d, weights=lambda a: np.concatenate([[np.nan], a["weights"][1:]]))


@bad("material", "weights")
def weights_in_a_bomb(d: Draft) -> None:
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.npy", bytes(2_000_000))
    d.files[WEIGHTS] = handle.getvalue()


# --- numbers: changed, then signed anew ---


@bad("pairs")
def document_left_out(d: Draft) -> None:
    d.files[DOCUMENTS] = d.files[DOCUMENTS].split(b"\n", 1)[1]


@bad("pairs")
def document_counted_twice(d: Draft) -> None:
    d.files[DOCUMENTS] += d.files[DOCUMENTS].split(b"\n", 1)[0] + b"\n"


@bad("pairs")
def prompts_left_out(d: Draft) -> None:
    d.files["case/runs/0001/text.prompts.jsonl"] = b""


@bad("pairs", "text-closed")
def more_pairs_than_there_are(d: Draft) -> None:
    d.change(TEXT, n_scored=d.json(TEXT)["n_scored"] + 1)


@bad("pairs")
def more_contexts_than_there_are(d: Draft) -> None:
    d.change(TEXT, n_contexts=d.json(TEXT)["n_contexts"] + 1)


@bad("pairs", "early")
def stopped_later_than_it_should(d: Draft) -> None:
    d.change(SAMPLED, sequential__alpha=1e-9)


@bad("pairs", "early")
def stopped_by_another_answer(d: Draft) -> None:
    d.change(SAMPLED, sequential__n_answers=9)


@bad("pairs", "early")
def answers_in_another_order(d: Draft) -> None:
    name = "case/runs/0001/sampled-distinct.documents.jsonl"
    d.files[name] = b"".join(line + b"\n" for line in d.files[name].splitlines()[::-1])


@bad("pairs", "early-closed")
def more_pairs_than_answers(d: Draft) -> None:
    d.change(SAMPLED, n_scored=100_000)


@bad("pairs", "weights")
def fewer_weights(d: Draft) -> None:
    d.change(READING, n_scored=d.json(READING)["n_scored"] - 1)


@bad("pairs", "weights-none")
def weight_of_a_special_token(d: Draft) -> None:
    reweigh(d, tokens=lambda a: np.concatenate([np.array([7], dtype=np.uint32), a["tokens"][1:]]))


@bad("colours")
def more_green_than_there_is(d: Draft) -> None:
    d.change(TEXT, n_green=d.json(TEXT)["n_green"] + 1)


@bad("colours", "text-closed")
def more_green_than_pairs(d: Draft) -> None:
    d.change(TEXT, n_green=d.json(TEXT)["n_scored"] + 1)


@bad("colours", "early")
def more_green_before_the_stop(d: Draft) -> None:
    d.change(SAMPLED, n_green=d.json(SAMPLED)["n_green"] + 1)


@bad("colours", "weights")
def greater_statistic(d: Draft) -> None:
    value = d.json(RUN)
    value["tests"]["reading/difference"]["statistic"] *= 1.01
    d.put(RUN, value)


@bad("p")
def smaller_p(d: Draft) -> None:
    d.change(TEXT, log10_p=d.json(TEXT)["log10_p"] - 1)


@bad("p")
def smaller_p_in_the_eighth_digit(d: Draft) -> None:
    d.change(TEXT, log10_p=d.json(TEXT)["log10_p"] * (1 + 1e-8))


@bad("p", "text-closed")
def more_green_without_the_key(d: Draft) -> None:
    d.change(TEXT, n_green=d.json(TEXT)["n_green"] + 1)


@bad("p", "early")
def smaller_p_of_an_e_process(d: Draft) -> None:
    d.change(SAMPLED, log10_p=d.json(SAMPLED)["log10_p"] - 1)


@bad("p", "early-closed")
def smaller_p_of_an_e_process_without_the_key(d: Draft) -> None:
    d.change(SAMPLED, log10_p=d.json(SAMPLED)["log10_p"] - 1)


@bad("p", "weights")
def smaller_bound(d: Draft) -> None:
    d.change(READING, log10_p=d.json(READING)["log10_p"] - 0.01)


@bad("p", "weights-closed")
def greater_statistic_without_the_key(d: Draft) -> None:
    value = d.json(RUN)
    value["tests"]["reading/difference"]["statistic"] *= 1.01
    d.put(RUN, value)


@bad("e")
def greater_e_value(d: Draft) -> None:
    d.change(TEXT, log10_e=d.json(TEXT)["log10_e"] + 1)


@bad("e", "weights")
def e_value_of_weights(d: Draft) -> None:
    d.change(READING, log10_e=3)


@bad("z")
def greater_z(d: Draft) -> None:
    d.change(TEXT, z_score=d.json(TEXT)["z_score"] + 1)


@bad("z", "early")
def z_of_an_e_process(d: Draft) -> None:
    d.change(SAMPLED, z_score=9)


@bad("interval")
def narrower_interval(d: Draft) -> None:
    low, high = d.json(TEXT)["ci95"]
    d.change(TEXT, ci95=[low + 0.01, high])


@bad("interval")
def greater_green_fraction(d: Draft) -> None:
    d.change(TEXT, green_fraction=0.9)


@bad("theta")
def theta_of_a_count(d: Draft) -> None:
    d.change(TEXT, theta=1)


@bad("theta", "weights")
def negative_theta(d: Draft) -> None:
    d.change(READING, theta=-1)


@bad("theta", "weights")
def no_theta(d: Draft) -> None:
    d.change(READING, theta=None)


@bad("p", "weights")
def another_theta(d: Draft) -> None:
    d.change(READING, theta=d.json(READING)["theta"] * 1.1)


@bad("lineup")
def better_rank(d: Draft) -> None:
    d.change(TEXT, lineup__rank=2)


@bad("lineup")
def smaller_p_of_rank(d: Draft) -> None:
    d.change(TEXT, lineup__p_rank=0.01)


@bad("lineup")
def weaker_best_decoy(d: Draft) -> None:
    d.change(TEXT, lineup__log10_p_best_decoy=-0.1)


@bad("lineup", "weights")
def other_rank_among_weighted_decoys(d: Draft) -> None:
    d.change(READING, lineup__rank=3, lineup__p_rank=0.15)


# --- adjusted, and found ---


@bad("adjusted")
def not_adjusted_for_the_family(d: Draft) -> None:
    value = d.json(TEXT)
    d.change(TEXT, log10_p_adjusted=value["log10_p"])


@bad("adjusted", "texts-checked")
def not_adjusted_for_the_key_check(d: Draft) -> None:
    name = "case/runs/0003/text.json"
    d.change(name, log10_p_adjusted=d.json(name)["log10_p_adjusted"] + float(np.log10(0.99)))


@bad("adjusted", "texts-checked")
def key_check_denied(d: Draft) -> None:
    """The log knows of the check, the family of none; its p are right by themselves."""
    value = d.json("case/runs/0003/run.json")
    for family in value["family"]:
        family["key_check"] = False
        for name in family["tests"]:
            path = f"case/runs/0003/{value['tests'][name]['evidence']}"
            adjusted = d.json(path)["log10_p_adjusted"]
            ps = [d.json(f"case/runs/0003/{value['tests'][n]['evidence']}")["log10_p"] for n in family["tests"]]
            d.change(path, log10_p_adjusted=holm_of(ps, family["tests"].index(name)) if adjusted is not None else None)
    d.put("case/runs/0003/run.json", value)


def holm_of(log10_p: list[float], which: int) -> float:
    largest = -np.inf
    for left, i in enumerate(sorted(range(len(log10_p)), key=lambda i: log10_p[i])):
        largest = max(largest, min(0.0, log10_p[i] + float(np.log10(len(log10_p) - left))))
        if i == which:
            return float(largest)
    raise IndexError(which)


@bad("adjusted", "texts-checked")
def claim_under_a_refused_key(d: Draft) -> None:
    d.change("case/key-check.json", accepted=False)
    d.entry("key-checked")["details"]["accepted"] = False


@bad("adjusted")
def adjusted_without_a_claim(d: Draft) -> None:
    d.change(TEXT, log10_p=None, log10_e=None, z_score=None)
    value = d.json(TEXT)
    del value["lineup"]
    d.put(TEXT, value)


@bad("finding", "texts-checked")
def finding_that_does_not_follow(d: Draft) -> None:
    d.change("case/runs/0003/text.json", finding="detected")


@bad("finding")
def finding_that_is_kept_back(d: Draft) -> None:
    d.change(TEXT, finding="not detected")


# --- the order of events ---


@bad("premature")
def confirmatory_without_a_plan(d: Draft) -> None:
    d.change(TEXT, status="confirmatory")


def without_commitment(d: Draft) -> dict[str, Any]:
    at = next(i for i, one in enumerate(d.entries) if one["event"] == "committed")
    return d.entries.pop(at)


@bad("premature", "early-closed")
def confirmatory_without_a_commitment(d: Draft) -> None:
    without_commitment(d)
    del d.files["case/commitment.json"]


@bad("premature", "early")
def later_commitment(d: Draft) -> None:
    entry = without_commitment(d)
    at = next(i for i, one in enumerate(d.entries) if one["event"] == "planned") + 1
    d.entries.insert(at, entry | {"time": d.entries[at - 1]["time"]})


@bad("premature", "early")
def later_plan(d: Draft) -> None:
    at = next(i for i, one in enumerate(d.entries) if one["event"] == "planned")
    entry = d.entries.pop(at)
    at = next(i for i, one in enumerate(d.entries) if one["event"] == "finished")
    d.entries.insert(at, entry | {"time": d.entries[at - 1]["time"]})


@bad("premature", "early")
def plan_used_twice(d: Draft) -> None:
    at = next(i for i, one in enumerate(d.entries) if one["event"] == "begun")
    begun = deepcopy(d.entries[at])
    renumber(d)
    d.insert(at, "begun", begun["details"])
    d.insert(at + 1, "stopped", {"run": "0001", "reason": "the answers did not look good"})


def answers_of(d: Draft, run: str, answers: bytes | None) -> None:
    """What was logged when a run ended; None: nothing was."""
    name = f"runs/{run}/responses.log"
    if answers is not None:
        d.files[f"case/{name}"] = answers
        return
    del d.files[f"case/{name}"]
    for one in d.entries:
        one["subjects"] = [subject for subject in one["subjects"] if subject["name"] != name]


@bad("premature", "resumed")
def answers_that_were_thrown_away(d: Draft) -> None:
    """The second run was stopped, its log deleted, and the third, which is said to go on, asked anew."""
    answers_of(d, "0002", d.files["case/runs/0002/responses.log"].replace(b'"request": 0', b'"request": 7'))


@bad("premature", "resumed")
def stopped_without_its_answers(d: Draft) -> None:
    answers_of(d, "0001", None)


@bad("premature", "early")
def questioned_before_it_was_planned(d: Draft) -> None:
    begun = deepcopy(d.entry("begun"))
    renumber(d)
    d.insert(1, "begun", begun["details"] | {"plan": None, "questioned": MODEL})
    d.insert(2, "stopped", {"run": "0001", "reason": "a first look"})


@bad("premature", "early")
def key_checked_after_the_plan(d: Draft) -> None:
    checked = Draft.of(good("texts-checked"))
    d.files["case/key-check.json"] = checked.files["case/key-check.json"]
    at = next(i for i, one in enumerate(d.entries) if one["event"] == "finished") + 1
    d.insert(at, "key-checked", checked.entry("key-checked")["details"], ["key-check.json"])


def renumber(d: Draft) -> None:
    """The first run becomes the second."""
    for one in d.entries:
        if "run" in one["details"]:
            one["details"]["run"] = "0002"
        for subject in one["subjects"]:
            subject["name"] = subject["name"].replace("runs/0001", "runs/0002")
    d.files = {name.replace("runs/0001", "runs/0002"): data for name, data in d.files.items()}
    d.change("case/runs/0002/run.json", run="0002")


@bad("premature", "weights")
def confirmatory_behind_a_primary_test_that_is_not(d: Draft) -> None:
    d.change(READING, status="exploratory")
