"""Pauses between attempts, under a clock of the test's own."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from detect.questioned.patience import (
    GRACE,
    LONGEST_PAUSE,
    REMEDIES,
    OutOfPatience,
    Patience,
    Transient,
    Waiting,
    retry_after,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_pauses_double_with_jitter_up_to_a_limit(clock: Clock) -> None:
    waiting = Waiting(Patience(give_up_after=1e6), clock)
    for attempt in (0, 1, 2, 5, 20, 10**6):
        full = min(LONGEST_PAUSE, 0.5 * 2 ** min(attempt, 20))
        pauses = [waiting.pause(Transient("x"), attempt) for _ in range(200)]
        assert full / 2 <= min(pauses) < 0.6 * full
        assert 0.9 * full < max(pauses) <= full


def test_it_gives_up_after_so_long_without_an_answer(clock: Clock) -> None:
    waiting = Waiting(Patience(give_up_after=10), clock)
    clock.now += 9.9
    assert waiting.pause(Transient("503"), 8) == pytest.approx(0.1)  # to the deadline and no further
    waiting.begin()  # an answer
    clock.now += 9.9
    waiting.pause(Transient("503"), 0)
    clock.now += 0.2
    with pytest.raises(OutOfPatience, match=r"no answer for 10 s \(last: 503 busy\); is the server up"):
        waiting.pause(Transient("503 busy"), 0)


def test_the_servers_own_wish_counts_for_all(clock: Clock) -> None:
    waiting = Waiting(Patience(give_up_after=100), clock)
    assert waiting.pause(Transient("429", 40.0), 0) == 40
    assert waiting.seconds_closed() == 40
    assert waiting.pause(Transient("429", 3.0), 0) == 3
    assert waiting.seconds_closed() == 40
    clock.now += 41
    assert waiting.seconds_closed() == 0
    with pytest.raises(OutOfPatience, match="the server asks to wait 60 s"):
        waiting.pause(Transient("429", 60.0), 0)


def test_requests_under_way_are_left_alone_until_the_same_moment(clock: Clock) -> None:
    waiting = Waiting(Patience(give_up_after=10), clock)
    assert waiting.seconds_left() == 10 + GRACE
    clock.now += 9
    waiting.pause(Transient("503"), 0)
    assert waiting.seconds_left() == 1 + GRACE
    waiting.begin()
    assert waiting.seconds_left() == 10 + GRACE
    clock.now += 30
    assert waiting.seconds_left() == 0
    said = f"no answer for 30 s (requests are under way, and nothing comes back); {REMEDIES}"
    assert str(waiting.give_up()) == said  # the failure before the answer is no reason
    assert Waiting(Patience(give_up_after=0), clock).seconds_left() is None


def test_one_complaint_until_an_answer_comes(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    waiting = Waiting(Patience(), clock)
    with caplog.at_level(logging.WARNING, "detect"):
        for _ in range(3):
            waiting.pause(Transient("503"), 0)
        assert [record.getMessage() for record in caplog.records] == [
            "no answer at the moment (503); trying again for up to 300 s"
        ]
        waiting.begin()
        waiting.pause(Transient("408"), 0)
    assert len(caplog.records) == 2


def test_retry_after_as_number_or_date() -> None:
    assert [retry_after(value) for value in ("7", " 0.5 ", "-3", "1e99")] == [7, 0.5, 0, 1e9]
    for wait in (30, -30):
        value = format_datetime(datetime.now(UTC) + timedelta(seconds=wait), usegmt=True)
        found = retry_after(value)
        assert found is not None
        assert max(0, wait - 2) <= found <= max(0, wait)
    for value in ("", "soon", "99 o'clock"):
        assert retry_after(value) is None
