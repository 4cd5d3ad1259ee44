"""The order of events: what the log must hold before a run for its findings to be confirmatory."""

from __future__ import annotations

from typing import Any

import pytest

from detect.bundles.order import shortcomings
from tests.detect.bundles.helpers import DIGEST, Lines

ROOT, OTHER = "1" * 64, "2" * 64
MODEL = {"model": DIGEST}
DATED = b'{"created":"2026-11-30T01:02:00Z"}'  # the first moment of `Lines`
FILES = {"plan.json": DATED, "commitment.json": DATED}  # of the case; and what each run was answered


def committed(lines: Lines, root: str = ROOT, name: str = "commitment.json") -> Lines:
    return lines.add("committed", {"root": root, "size": 1}, {name: DIGEST})


def planned(lines: Lines, root: str | None = ROOT) -> Lines:
    return lines.add("planned", {"plan": DIGEST, "key_id": DIGEST, "root": root}, {"plan.json": DIGEST})


def another(lines: Lines) -> Lines:
    """A second plan."""
    return lines.add("planned", {"plan": OTHER, "key_id": DIGEST, "root": ROOT}, {"plan-2.json": DIGEST})


def checked(lines: Lines) -> Lines:
    details = {"key_id": DIGEST, "accepted": True, "corpus_sha256": DIGEST}
    return lines.add("key-checked", details, {"key-check.json": DIGEST})


def run(lines: Lines, number: int = 1, plan: str | None = DIGEST, questioned: Any = MODEL) -> Lines:
    name = f"{number:04d}"
    return lines.begun(name, plan=plan, questioned=questioned, command="suspect").finished(name)


def stopped(lines: Lines, plan: str | None) -> Lines:
    """The first run, of this model, which ended without a result."""
    lines.begun("0001", plan=plan, questioned=MODEL, command="suspect")
    return lines.add("stopped", {"run": "0001", "reason": "no connection"})


def found(lines: Lines, number: int = 1) -> list[str]:
    log = lines.read()
    return shortcomings(log, [at for at, _ in log.of("begun")][number - 1], FILES.__getitem__)


def start() -> Lines:
    return Lines().add("opened")


@pytest.mark.parametrize("questioned", [MODEL, {"server": "http://a/v1", "model_name": "m"}])
def test_committed_then_planned_then_run(questioned: Any) -> None:
    lines = run(planned(committed(checked(start()))), questioned=questioned)
    assert found(lines) == []
    assert found(run(planned(committed(run(start(), plan=None, questioned={"model": OTHER}))), 2), 2) == []
    assert found(run(planned(committed(run(start(), plan=None, questioned=None))), 2), 2) == []
    assert found(run(run(planned(committed(start())), plan=None), 2), 2) == []  # all was settled when it was looked at
    assert found(run(another(run(planned(committed(start())), plan=None)), 2), 2) == []
    assert found(run(another(planned(committed(start())))), 1) == []


def test_this_machine_has_several_names() -> None:
    own = [f"http://{one}:8000/v1" for one in ("localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]")]
    for name in own:
        lines = run(start(), plan=None, questioned={"server": name, "model_name": "m"})
        lines = run(planned(committed(lines)), 2, questioned={"server": own[0], "model_name": "m"})
        assert any("examined before" in one for one in found(lines, 2)), name
    for name in ("http://localhost:8001/v1", "http://localhost.example:8000/v1", "http://a/localhost:8000/v1"):
        lines = run(start(), plan=None, questioned={"server": name, "model_name": "m"})
        lines = run(planned(committed(lines)), 2, questioned={"server": own[0], "model_name": "m"})
        assert found(lines, 2) == [], name


@pytest.mark.parametrize(
    ("words", "lines", "number"),
    [
        ("carries no plan", run(planned(committed(start())), plan=None), 1),
        ("record the plan", run(committed(start())), 1),
        ("record the plan", planned(run(committed(start()))), 1),
        ("record the plan", run(planned(committed(start())), plan=OTHER), 1),
        ("commitment", run(planned(start())), 1),
        ("commitment", run(planned(committed(start()), None)), 1),
        ("commitment", run(planned(committed(start(), OTHER))), 1),
        ("commitment", run(committed(planned(start()))), 1),
        ("examined before", run(planned(run(committed(start()), plan=None)), 2), 2),
        ("earlier run", run(run(planned(committed(start()))), 2), 2),
        ("earlier run", run(run(planned(committed(start())), questioned=None), 2), 2),
        ("another plan", run(run(planned(committed(start())), plan=OTHER), 2), 2),
        ("another plan", run(run(planned(committed(start())), plan=OTHER, questioned=None), 2), 2),
        ("another plan", run(stopped(planned(committed(start())), OTHER), 2), 2),
        ("was stopped", run(stopped(planned(committed(start())), None), 2), 2),
        ("choose from", run(run(another(planned(committed(start()))), plan=None), 2), 2),
        ("does not name", run(planned(committed(start())), questioned=None), 1),
        ("check of the key", run(checked(planned(committed(start())))), 1),
        ("check of the key", checked(run(planned(committed(start())))), 1),
    ],
)
def test_anything_else_is_said(words: str, lines: Lines, number: int) -> None:
    reasons = found(lines, number)
    assert any(words in reason for reason in reasons), reasons


@pytest.mark.parametrize(("name", "words"), [("plan.json", "the plan is dated"), ("commitment.json", "the key's comm")])
def test_what_is_dated_after_its_entry(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, name, b'{"created":"2026-11-30T01:02:59Z"}')
    (reason,) = found(run(planned(committed(start()))))
    assert reason.startswith(words)


def test_a_stopped_run_was_one() -> None:
    lines = planned(committed(start())).begun("0001", plan=DIGEST, questioned=MODEL)
    lines.add("stopped", {"run": "0001", "reason": "interrupted"})
    assert found(run(lines, 2), 2) == [EARLIER + ANEW]


EARLIER = "the case records an earlier run of the same plan"
ANEW = ", which was stopped; this one does not go on from all that was answered then"


def asked(lines: Lines, number: int, answers: bytes | None, event: str = "stopped", **changes: Any) -> Lines:
    """A run of the plan, and what it had been answered when it ended."""
    name = f"{number:04d}"
    subjects = {} if event == "stopped" else {f"runs/{name}/run.json": DIGEST}
    if answers is not None:
        FILES[f"runs/{name}/responses.log"] = answers
        subjects[f"runs/{name}/responses.log"] = DIGEST
    details = {"reason": "killed"} if event == "stopped" else {"tests": []}
    lines.begun(name, plan=DIGEST, questioned=MODEL, command="suspect", **changes)
    return lines.add(event, {"run": name, **details}, subjects)


def test_a_run_that_goes_on_from_stopped_ones_is_the_first() -> None:
    lines = asked(asked(planned(committed(start())), 1, b"abc\n"), 2, b"abc\ndef\ng")
    assert found(asked(lines, 3, b"abc\ndef\nghi\n", "finished"), 3) == []
    lines = asked(asked(planned(committed(start())), 1, b"abc\n"), 2, b"")  # nothing came any more
    assert found(asked(lines, 3, b"abc\n", "finished"), 3) == []


@pytest.mark.parametrize(
    ("first", "answers"),
    [
        (b"abc\n", b"ABC\ndef\n"),  # altered
        (b"abc\ndef\n", b"def\nghi\n"),  # its beginning cut off
        (b"abc\ndef\n", b"abc\n"),  # its end
        (b"abc\n", b""),
        (b"abc\n", None),
        (None, b"abc\n"),  # nobody knows what was answered then
    ],
)
def test_a_run_that_begins_anew_is_not(first: bytes | None, answers: bytes | None) -> None:
    lines = asked(asked(planned(committed(start())), 1, first), 2, answers, "finished")
    assert found(lines, 2) == [EARLIER + ANEW]


def test_what_a_run_may_not_go_on_from() -> None:
    """One that gave results, one of another model, and the first when a second began anew."""
    lines = asked(asked(planned(committed(start())), 1, b"abc\n", "finished"), 2, b"abc\n", "finished")
    assert found(lines, 2) == [EARLIER]
    lines = planned(committed(start())).begun("0001", plan=DIGEST, questioned={"model": OTHER}, command="suspect")
    lines.add("stopped", {"run": "0001", "reason": "killed"}, {"runs/0001/responses.log": DIGEST})
    FILES["runs/0001/responses.log"] = b"abc\n"
    assert found(asked(lines, 2, b"abc\n", "finished"), 2) == [EARLIER + ANEW]
    lines = asked(asked(planned(committed(start())), 1, b"abc\n"), 2, b"xyz\n")
    assert found(asked(lines, 3, b"abc\ndef\n", "finished"), 3) == [EARLIER + ANEW]
