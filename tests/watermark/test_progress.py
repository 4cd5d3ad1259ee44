"""Bars: on a terminal they show how far it is, elsewhere and with `quiet` they show nothing."""

from __future__ import annotations

import io
import os
from functools import partialmethod

import pytest
from tqdm import tqdm

from watermark.progress import bar, counter, ignore


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Called by a test, not a fixture: pytest exchanges stderr between the two."""
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)  # no thread
    return stream


def test_a_bar_names_the_work_counts_it_and_clears(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_a_terminal(monkeypatch)
    monkeypatch.setattr("tqdm.std.tqdm.__init__", partialmethod(tqdm.__init__, mininterval=0))
    with bar("smollm2", "step") as show:
        show(1, 4, "converting")
        show(4, 4, "")
    frames = terminal.getvalue().split("\r")
    assert frames[1].startswith("smollm2: 0step [")
    assert any(frame.startswith("smollm2: converting:  25%|") and "| 1/4 [" in frame for frame in frames)
    assert any(frame.startswith("smollm2: 100%|") and "| 4/4 [" in frame for frame in frames)
    assert max(map(len, frames)) <= 90
    assert (frames[-2].strip(), frames[-1]) == ("", "")  # cleared: nothing stays on the line


def test_a_counter_knows_its_end_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_a_terminal(monkeypatch)
    with counter("line-up", 1000, "decoy") as advance:
        first = terminal.getvalue()
        advance(1)
    assert "line-up:   0%|" in first
    assert "0/1000" in first


def test_a_pseudo_terminal_without_a_size_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_a_terminal(monkeypatch)
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("os.get_terminal_size", lambda *_: os.terminal_size((0, 0)))
    with counter("line-up", 1000, "decoy"):
        pass
    assert "0/1000" in terminal.getvalue()


def test_a_counter_adds_up_and_grows_when_there_is_more_than_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr("watermark.progress.bar", _recording(seen))
    with counter("sampling", 10, "token") as advance:
        for units in (4, 4, 4):
            advance(units)
    assert seen == [(4, 10), (8, 10), (12, 12)]


def _recording(seen: list[tuple[int, int]]):  # type: ignore[no-untyped-def]
    from contextlib import contextmanager

    @contextmanager
    def recording(*_: object, **__: object):  # type: ignore[no-untyped-def]
        yield lambda done, total, what: seen.append((done, total))

    return recording


def test_quiet_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_a_terminal(monkeypatch)
    with bar("name", "step", quiet=True) as show:
        show(1, 2, "x")
    with counter("name", 5, "token", quiet=True) as advance:
        advance(5)
    assert terminal.getvalue() == ""


def test_nothing_is_drawn_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("name", "step") as show:
        show(1, 2, "x")
    with counter("name", 5, "token") as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_a_bar_ends_when_its_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_a_terminal(monkeypatch)

    def work() -> None:
        with counter("name", 5, "token") as advance:
            advance(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    frames = terminal.getvalue().split("\r")
    assert len(frames) > 3
    assert (frames[-2].strip(), frames[-1]) == ("", "")


def test_nothing_is_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_a_terminal(monkeypatch)
    with counter("name", 5, "token") as advance:
        advance(5)
    assert "name" in terminal.getvalue()
    assert "\x1b" not in terminal.getvalue()


def test_reporting_to_nobody() -> None:
    assert ignore(1, 2, "x") is None  # type: ignore[func-returns-value]
