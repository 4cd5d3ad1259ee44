"""The order of events: what the log must hold before a run for its findings to be confirmatory."""

from __future__ import annotations

from typing import Any

import pytest

from detect.bundles.order import shortcomings
from tests.detect.bundles.helpers import DIGEST, Lines

ROOT, OTHER = "1" * 64, "2" * 64
MODEL = {"model": DIGEST}


def committed(lines: Lines, root: str = ROOT, name: str = "commitment.json") -> Lines:
    return lines.add("committed", {"root": root, "size": 1}, {name: DIGEST})


def planned(lines: Lines, root: str | None = ROOT) -> Lines:
    return lines.add("planned", {"plan": DIGEST, "key_id": DIGEST, "root": root}, {"plan.json": DIGEST})


def checked(lines: Lines) -> Lines:
    details = {"key_id": DIGEST, "accepted": True, "corpus_sha256": DIGEST}
    return lines.add("key-checked", details, {"key-check.json": DIGEST})


def run(lines: Lines, number: int = 1, plan: str | None = DIGEST, questioned: Any = MODEL) -> Lines:
    name = f"{number:04d}"
    return lines.begun(name, plan=plan, questioned=questioned, command="suspect").finished(name)


def found(lines: Lines, number: int = 1) -> list[str]:
    log = lines.read()
    return shortcomings(log, [at for at, _ in log.of("begun")][number - 1])


def start() -> Lines:
    return Lines().add("opened")


@pytest.mark.parametrize("questioned", [MODEL, None, {"server": "http://a/v1", "model_name": "m"}])
def test_committed_then_planned_then_run(questioned: Any) -> None:
    lines = run(planned(committed(checked(start()))), questioned=questioned)
    assert found(lines) == []
    assert found(run(planned(committed(run(start(), plan=None, questioned={"model": OTHER}))), 2), 2) == []
    assert found(run(planned(committed(run(start(), plan=None, questioned=None))), 2, questioned=None), 2) == []


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
        ("check of the key", run(checked(planned(committed(start())))), 1),
        ("check of the key", checked(run(planned(committed(start())))), 1),
    ],
)
def test_anything_else_is_said(words: str, lines: Lines, number: int) -> None:
    reasons = found(lines, number)
    assert any(words in reason for reason in reasons), reasons


def test_a_stopped_run_was_one() -> None:
    lines = planned(committed(start())).begun("0001", plan=DIGEST, questioned=MODEL)
    lines.add("stopped", {"run": "0001", "reason": "interrupted"})
    assert found(run(lines, 2), 2) == ["the case records an earlier run of the same plan"]
