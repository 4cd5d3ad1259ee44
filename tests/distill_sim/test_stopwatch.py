"""Seconds over several tries, on a clock that the test turns."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from distill_sim import stopwatch
from distill_sim.stopwatch import KEPT_EVERY, Stopwatch, kept_seconds


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Turns the clock."""
    now = [1000.0]
    monkeypatch.setattr(stopwatch.time, "monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def test_seconds_add_up_over_tries(tmp_path: Path, turn: Callable[[float], None]) -> None:
    path = tmp_path / "s.json"
    first = Stopwatch(path)
    with suppress(KeyboardInterrupt), first.running():
        turn(7.25)
        raise KeyboardInterrupt
    assert kept_seconds(path) == 7.25
    turn(100)  # between tries nothing counts
    second = Stopwatch(path)
    assert second.seconds == 7.25
    with second.running():
        turn(2)
    assert kept_seconds(path) == 9.25


def test_a_kill_loses_only_a_little(tmp_path: Path, turn: Callable[[float], None]) -> None:
    path = tmp_path / "s.json"
    watch = Stopwatch(path)
    for _ in range(95):  # ticks every 0.2 s, 19 s in all; then a SIGKILL
        turn(0.2)
        watch.tick()
    assert 19 - KEPT_EVERY - 0.2 <= kept_seconds(path) <= 19
    assert list(tmp_path.iterdir()) == [path]


def test_ticks_do_not_write_each_time(
    tmp_path: Path, turn: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(stopwatch, "write_json", lambda *a, **k: written.append(a))
    watch = Stopwatch(tmp_path / "s.json")
    for _ in range(1000):
        turn(KEPT_EVERY / 100)
        watch.tick()
    assert 8 <= len(written) <= 10


@pytest.mark.parametrize("content", [None, b"", b"{}", b'"abc"', b"NaN", b"null", b"\xff"])
def test_what_cannot_be_read_counts_as_nothing(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "s.json").write_bytes(content)
    assert kept_seconds(tmp_path / "s.json") == 0.0


def test_no_work_fails_for_its_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stopwatch, "write_json", full)
    with Stopwatch(tmp_path / "s.json").running():
        pass
    monkeypatch.undo()
    with Stopwatch(tmp_path / "gone" / "s.json").running():  # its directory was taken away
        pass
    assert list(tmp_path.iterdir()) == []
