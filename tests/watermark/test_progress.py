"""Bars: on a terminal they show how far it is, elsewhere and with `quiet` they show nothing."""

from __future__ import annotations

import io

import pytest

from watermark.progress import bar, counter, ignore


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)  # no thread
    return stream


def test_a_bar_names_the_work_counts_it_and_clears(terminal: Terminal) -> None:
    with bar("smollm2", "step") as show:
        show(1, 4, "converting")
        show(4, 4, "")
    drawn = terminal.getvalue()
    assert "smollm2" in drawn
    assert "4/4" in drawn or "0step" in drawn
    assert drawn.rstrip(" ").endswith("\r")  # cleared: nothing stays on the line


def test_a_counter_adds_up_and_grows_when_there_is_more_than_was_said(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_quiet_draws_nothing(terminal: Terminal) -> None:
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


def test_a_bar_ends_when_its_work_fails(terminal: Terminal) -> None:
    with pytest.raises(ZeroDivisionError), counter("name", 5, "token") as advance:
        advance(1)
        raise ZeroDivisionError
    assert terminal.getvalue().rstrip(" ").endswith("\r")


def test_nothing_is_coloured(terminal: Terminal) -> None:
    with counter("name", 5, "token") as advance:
        advance(5)
    assert "\x1b[3" not in terminal.getvalue()
    assert "\x1b[0" not in terminal.getvalue()


def test_reporting_to_nobody() -> None:
    assert ignore(1, 2, "x") is None  # type: ignore[func-returns-value]
