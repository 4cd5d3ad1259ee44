"""Progress: a bar on a terminal, plain lines now and then elsewhere, and nothing with `quiet`."""

from __future__ import annotations

import io
import os
from functools import partialmethod
from pathlib import Path

import pytest
from tqdm import tqdm

from watermark import progress
from watermark.progress import bar, counter, ignore, in_words


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


# --- where stderr is no terminal ---


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_elsewhere_a_plain_line_says_what_begins(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with counter("reading", 1500, "position") as advance:
        assert capsys.readouterr() == ("", "reading: 1,500 positions\n")  # before anything is done
        for _ in range(3):
            clock.now += 15
            advance(500)
    with counter("asking", 1, "token"), counter("nothing", 0, "token"):
        pass
    assert capsys.readouterr() == ("", "asking: 1 token\n")


def test_elsewhere_one_line_a_minute_at_most_says_how_far_it_is(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """1,000 units, one every 0.7 seconds; the first line after ten, as it takes minutes."""
    with counter("reading", 1000, "position") as advance:
        for _ in range(1000):
            clock.now += 0.7
            advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 + int((700 - 10.5) / 60.2)
    assert lines[1] == "reading: 2% done, about 11 minutes left"
    assert lines[2] == "reading: 10% done, about 10 minutes left"
    assert lines[-1] == "reading: 96% done, about 27 seconds left"


def test_the_time_left_follows_the_latest_pace_and_is_not_made_up_when_nothing_comes(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with counter("asking", 1000, "pair") as advance:
        for units in (*[50] * 6, *[10] * 6, *[0] * 7):
            clock.now += 10
            advance(units)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "asking: 5% done, about 3 minutes left",
        "asking: 31% done, about 3 minutes left",
        "asking: 36% done, about 13 minutes left",
        "asking: 36% done",
    ]


def test_a_bar_without_new_units_says_no_time_left(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_a_terminal(monkeypatch)
    with counter("asking", 100, "pair") as advance:
        for units in (1, 0, 0, 1):
            clock.now += progress.STALLED * 0.6
            advance(units)
        before = terminal.getvalue()
    stalled = [frame for frame in before.split("\r") if frame and "<" not in frame]
    assert len(stalled) == 1
    assert stalled[0].startswith("asking:   1%|")
    assert "<" in before.split("\r")[-1]


def test_what_an_earlier_run_did_tells_nothing_of_the_pace(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with counter("asking", 1000, "token") as advance:
        for _ in range(90):
            advance(10)  # out of the log, at once
        for _ in range(7):
            clock.now += 10
            advance(1)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "asking: 90% done, about 16 minutes left",  # 99 x 10 s
        "asking: 91% done, about 16 minutes left",
    ]


def test_elsewhere_steps_are_said_with_what_is_done(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with bar("smollm2", "step") as show:
        assert capsys.readouterr().err == ""
        show(0, 5, "asking the hub")
        show(1, 5, "downloading")
        clock.now += 61
        show(2, 5, "converting")
        clock.now += 60
        show(5, 5, "done")
    assert capsys.readouterr().err.splitlines() == [
        "smollm2: asking the hub", "smollm2: converting, 40% done, about 3 minutes left", "smollm2: done, 100% done",
    ]  # fmt: skip


def test_work_that_grows_beyond_what_was_said_stays_at_its_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with counter("sampling", 10, "token") as advance:
        clock.now += 90
        advance(25)
    assert capsys.readouterr().err.splitlines() == ["sampling: 10 tokens", "sampling: 100% done"]


@pytest.mark.parametrize("stream", ["full", "closed", "none"])
def test_no_work_fails_because_its_progress_cannot_be_written(
    stream: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full" if stream == "full" else os.devnull).open("w") as handle:
        if stream == "closed":
            handle.close()
        monkeypatch.setattr("sys.stderr", None if stream == "none" else handle)
        with counter("name", 5, "token") as advance:
            clock.now += 100
            advance(3)
        monkeypatch.undo()
        if stream == "full":
            with pytest.raises(OSError, match="No space"):
                handle.close()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 seconds"), (1, "1 second"), (59, "59 seconds"), (61, "1 minute"), (150, "2 minutes"),
     (3599, "60 minutes"), (3600, "1 hour"), (9000, "2.5 hours"), (7200, "2 hours"), (360000, "100 hours")],
)  # fmt: skip
def test_times_for_people(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


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
