"""Logs that were cut, reordered, forged, or are of other files."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import rfc8785

from detect.bundles.entries import PAYLOAD_TYPE as ENTRY_TYPE
from detect.bundles.entries import digest
from detect.bundles.envelope import to_base64
from tests.detect.bundles.bad.registry import (
    DOCUMENTS,
    bad,
)
from tests.detect.bundles.draft import KEPT, Draft, envelope, payload_of
from tests.detect.bundles.factory import Files, signer


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


@bad("entry", "early")
def questioned_with_another_member(d: Draft) -> None:
    """Another spelling of a model would be another model, which no other run had looked at."""
    d.entry("begun")["details"]["questioned"]["again"] = 1


@bad("entry", "early")
def plan_of_a_run_in_upper_case(d: Draft) -> None:
    d.entry("begun")["details"]["plan"] = d.entry("begun")["details"]["plan"].upper()


@bad("entry")
def time_without_its_zeros(d: Draft) -> None:
    for entry in d.entries:
        entry["time"] = entry["time"].replace("T0", "T")


@bad("json")
def options_within_options(d: Draft) -> None:
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    d.entry("begun")["details"]["options"]["deep"] = deep
