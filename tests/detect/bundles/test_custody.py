"""The custody log: what may stand where, and that nothing in it can be changed, left out or moved."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from detect.bundles.custody import Log
from detect.bundles.entries import Entry
from detect.bundles.signer import PublicKey
from tests.detect.bundles.helpers import BEGUN, CASE, DIGEST, Lines, payloads, refused

COMMITTED = ("committed", {"root": DIGEST, "size": 2}, {"commitment.json": DIGEST})
PLANNED = ("planned", {"plan": DIGEST, "key_id": DIGEST, "root": None}, {"plan.json": DIGEST})


def whole() -> Lines:
    """A log with every event."""
    lines = Lines().add("opened")
    checked = {"key_id": DIGEST, "accepted": True, "corpus_sha256": DIGEST}
    lines.add("key-checked", checked, {"key-check.json": DIGEST}).add(*COMMITTED).add(*PLANNED)
    lines.add("stamped", {"of": DIGEST, "what": "plan"}, {"stamps/ab.tsr": DIGEST})
    lines.begun(questioned={"model": DIGEST}, inputs=[{"name": "a", "sha256": DIGEST, "bytes": 3}]).finished()
    lines.begun("0002", questioned={"server": "http://a/v1", "model_name": "m"}, options={"alpha": 0.5})
    lines.add("stopped", {"run": "0002", "reason": "killed"}).add("noted", {"text": "é"})
    return lines.add("sealed", {"opened": False}).add("noted", {"text": "later"}).add("sealed", {"opened": True})


def test_a_log_is_read_as_it_was_written() -> None:
    lines = whole()
    log = lines.read()
    assert [one.event for one in log.entries] == [one["event"] for one in payloads(lines.data)]
    assert log.case == CASE
    assert log.signers == [lines.signer.keyid]
    assert (log.open_run, log.next_run) == (None, "0003")
    assert log.runs == ["0001", "0002"]
    assert {run: entry.event for run, entry in log.ends.items()} == {"0001": "finished", "0002": "stopped"}
    assert log.copy() == log
    assert log.copy().ends is not log.ends
    assert sorted(log.subjects) == [
        "commitment.json", "key-check.json", "plan.json", "runs/0001/run.json", "stamps/ab.tsr",
    ]  # fmt: skip
    assert [one.to_payload() for one in log.entries] == [
        json.dumps(one, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
        for one in payloads(lines.data)
    ]
    log.require_sealed()


def test_an_empty_log_is_one() -> None:
    log = Log.read(b"", {})
    assert (log.case, log.last, log.open_run, log.next_run) == (None, None, None, "0001")
    with refused("event"):
        log.require_sealed()


def test_a_run_is_open_until_it_ends() -> None:
    lines = Lines().add("opened").begun()
    assert lines.read().open_run == "0001"
    with refused("event"):
        lines.read().require_sealed()
    assert lines.add("noted", {"text": "meanwhile"}).read().open_run == "0001"
    assert lines.finished().read().open_run is None


@pytest.mark.parametrize("at", range(13))
def test_a_line_cannot_be_left_out_moved_or_repeated(at: int) -> None:
    lines = whole()
    keys = {lines.signer.keyid: lines.signer.public}
    one = lines.lines
    assert len(one) == 13
    variants = [[*one[:at], *one[at + 1 :]] if at < 12 else [], [*one[:at], one[at], *one[at:]]]
    if at < 12:
        variants.append([*one[:at], one[at + 1], one[at], *one[at + 2 :]])
    for variant in filter(None, variants):
        with pytest.raises(ValueError):  # noqa: PT011
            Log.read(b"".join(line + b"\n" for line in variant), keys)


def edited(change: Callable[[Any], None], at: int = -1) -> Lines:
    """The log with the entry at a place edited and signed again by the same signer; what follows is cut."""
    lines = whole()
    payload = payloads(lines.data)[at]
    lines.lines = lines.lines[: range(13)[at]]
    change(payload)
    return lines.put(json.dumps(payload, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode())


@pytest.mark.parametrize(
    ("code", "at", "change"),
    [
        ("case", 3, {"case": "f" * 32}),
        ("sequence", 3, {"sequence": 4}),
        ("sequence", 0, {"sequence": 1}),
        ("chain", 3, {"previous": DIGEST}),
        ("chain", 3, {"previous": None}),
        ("chain", 0, {"previous": DIGEST}),
        ("time", 3, {"time": "2026-11-30T01:02:01Z"}),
        ("event", 3, {"event": "else"}),
        ("entry", 3, {"time": "2026-11-30 01:02:03"}),
        ("entry", 3, {"time": "2026-11-30T1:02:03Z"}),
        ("entry", 3, {"format": "taggant-custody/2"}),
        ("entry", 3, {"sequence": True}),
        ("entry", 3, {"sequence": "3"}),
        ("entry", 3, {"case": CASE.upper()}),
        ("entry", 3, {"more": 1}),
        ("entry", 3, {"details": {}}),
        ("entry", 3, {"details": {"plan": DIGEST, "key_id": DIGEST, "root": "x"}}),
        ("entry", 3, {"subjects": []}),
        ("entry", 3, {"subjects": [{"name": "other.json", "sha256": DIGEST}]}),
        ("entry", 3, {"subjects": [{"name": "plan.json", "sha256": DIGEST.upper()}]}),
        ("entry", 3, {"subjects": [{"name": "plan.json", "sha256": DIGEST}] * 2}),
        ("entry", 5, {"subjects": [{"name": "plan.json", "sha256": DIGEST}]}),
        ("entry", 5, {"details": {"run": "0001", **BEGUN, "questioned": {"model": DIGEST, "server": "a"}}}),
        ("entry", 5, {"details": {"run": "0001", **BEGUN, "inputs": [{"name": "a", "sha256": DIGEST, "bytes": -1}]}}),
        ("entry", 6, {"subjects": [{"name": "runs/0001/other.json", "sha256": DIGEST}]}),
        ("entry", 6, {"subjects": [{"name": "plan.json", "sha256": DIGEST},
                                   {"name": "runs/0001/run.json", "sha256": DIGEST}]}),
        ("entry", 9, {"details": {"text": "x" * 4001}}),
        ("entry", 4, {"subjects": [{"name": "stamps/../a.tsr", "sha256": DIGEST}]}),
        ("event", 5, {"details": {"run": "0002", **BEGUN}}),
        ("event", 6, {"details": {"run": "0002", "tests": []},
                      "subjects": [{"name": "runs/0002/run.json", "sha256": DIGEST}]}),
        ("event", 7, {"event": "opened", "details": {}}),
        ("event", 0, {"event": "noted", "details": {"text": "x"}}),
    ],
)  # fmt: skip
def test_a_signed_entry_that_may_not_stand_there_is_refused(code: str, at: int, change: dict[str, Any]) -> None:
    lines = edited(lambda payload: payload.update(change), at)
    with refused(code) as caught:
        lines.read()
    assert str(caught.value).startswith(f"custody.jsonl, line {at + 1}")


@pytest.mark.parametrize("event", ["begun", "sealed", "opened"])
def test_nothing_of_that_kind_comes_while_a_run_is_open(event: str) -> None:
    lines = Lines().add("opened").begun()
    details = {"begun": {"run": "0002", **BEGUN}, "sealed": {"opened": False}, "opened": {}}
    with refused("event"):
        lines.add(event, details[event]).read()


def test_a_recorded_file_does_not_become_another() -> None:
    lines = Lines().add("opened").add(*PLANNED).add(*PLANNED)
    lines.read()
    lines.add("planned", PLANNED[1], {"plan.json": "cd" * 32})
    with refused("subject"):
        lines.read()


def test_a_line_by_a_signer_who_is_not_there_is_refused() -> None:
    lines = whole()
    with refused("key-id"):
        Log.read(lines.data, {})


def test_nothing_is_added_by_a_line_that_is_refused() -> None:
    lines = Lines().add("opened")
    log, keys = lines.read(), {lines.signer.keyid: lines.signer.public}
    before = (list(log.entries), list(log.digests), dict(log.subjects))
    wrong = lines.add("noted", {"text": "x"}, sequence=7).lines[-1]
    with refused("sequence"):
        log.take(wrong, keys)
    assert (log.entries, log.digests, log.subjects) == before


def test_two_signers_may_write_one_log() -> None:
    lines, other = Lines().add("opened"), Lines(1)
    other.lines = list(lines.lines)
    other.add("noted", {"text": "by another"})
    keys: dict[str, PublicKey] = {one.signer.keyid: one.signer.public for one in (lines, other)}
    assert Log.read(other.data, keys).signers == [lines.signer.keyid, other.signer.keyid]


def test_subjects_are_written_in_order() -> None:
    entry = Entry(CASE, 0, None, "2026-11-30T01:02:03Z", "finished", {"b": DIGEST, "a": DIGEST}, {}, "0")
    assert [one["name"] for one in json.loads(entry.to_payload())["subjects"]] == ["a", "b"]
