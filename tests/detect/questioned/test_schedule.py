"""The order of asking: whatever the order of arrival and the interruptions, the same requests count."""

from __future__ import annotations

import random
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect.questioned.schedule import EMPTY_RUN, Budget, Schedule

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=60)


def expected(lengths: list[int], target: int, longest: int, budget: Budget) -> tuple[int, bool]:
    """By hand, one request at a time: how many count, and whether the target is reached."""
    total = 0
    for number in range(10**6):
        if total >= target:
            return number, True
        if budget.requests is not None and number >= budget.requests:
            return number, False
        if budget.tokens is not None and total + longest > budget.tokens:
            return number, False
        total += lengths[number % len(lengths)]
    raise AssertionError


def run(lengths: list[int], schedule: Schedule, width: int, rng: random.Random, answered: dict[int, int]) -> None:
    """Ask with `width` under way, answers in any order; stop dead after a random number of answers."""
    for request, tokens in answered.items():
        schedule.answered(request, tokens)
    under_way: list[int] = []
    for _ in range(rng.choice([3, 10, 10**6])):
        while len(under_way) < width and (request := schedule.next()) is not None:
            assert request not in answered
            assert request not in under_way
            under_way.append(request)
        if not under_way:
            return
        request = under_way.pop(rng.randrange(len(under_way)))
        answered[request] = lengths[request % len(lengths)]
        schedule.answered(request, answered[request])


@given(LENGTHS, st.integers(1, 200), st.integers(1, 8), st.integers(0, 2**32), st.booleans(), st.booleans())
def test_the_same_requests_count_whatever_happens(
    lengths: list[int], target: int, width: int, seed: int, with_tokens: bool, with_requests: bool
) -> None:
    lengths = [*lengths, 5]  # something comes
    rng = random.Random(seed)
    budget = Budget(rng.randrange(9, 250) if with_tokens else None, rng.randrange(1, 40) if with_requests else None)
    answered: dict[int, int] = {}
    while True:
        before = len(answered)
        schedule = Schedule(target, 9, budget)
        run(lengths, schedule, width, rng, answered)
        if len(answered) == before:
            break
    assert (schedule.counted, schedule.complete) == expected(lengths, target, 9, budget)
    assert set(range(schedule.counted)) <= answered.keys()
    if budget.tokens is not None:
        assert sum(answered.values()) <= budget.tokens
    if budget.requests is not None:
        assert len(answered) <= budget.requests


@given(LENGTHS, st.integers(1, 200), st.integers(1, 8))
def test_answered_in_order_hardly_more_is_asked_than_counts(lengths: list[int], target: int, width: int) -> None:
    lengths = [length + 1 for length in lengths]
    schedule, under_way, asked = Schedule(target, 10), list[int](), 0
    while True:
        while len(under_way) < width and (request := schedule.next()) is not None:
            under_way.append(request)
            asked += 1
        if not under_way:
            break
        first = under_way.pop(0)
        schedule.answered(first, lengths[first % len(lengths)])
    in_order = list(accumulate(lengths[i % len(lengths)] for i in range(300)))
    assert schedule.complete
    assert schedule.counted == 1 + next(i for i, total in enumerate(in_order) if total >= target)
    assert asked < schedule.counted + width


def test_nobody_runs_too_far_ahead_of_one_that_does_not_come() -> None:
    schedule = Schedule(10**6, 10, ahead=8)
    first = schedule.next()
    asked = [schedule.next() for _ in range(20)]
    assert first == 0
    assert asked == [*range(1, 8), *[None] * 13]
    schedule.answered(0, 3)
    assert schedule.next() == 8


def test_empty_answers_are_asked_for_until_nothing_can_be_hoped_for() -> None:
    schedule = Schedule(5, 10)
    for request in range(EMPTY_RUN):
        assert not schedule.fruitless
        assert schedule.next() == request
        schedule.answered(request, 0)
    assert schedule.fruitless
    assert schedule.next() is None
    schedule.answered(EMPTY_RUN, 3)  # it was under way
    assert schedule.fruitless
    assert not schedule.complete
    assert schedule.counted == EMPTY_RUN


@pytest.mark.parametrize(("cost", "affordable"), [(None, 5), (9, 3)])
def test_the_budget_goes_by_what_the_server_counted(cost: int | None, affordable: int) -> None:
    schedule = Schedule(1000, 10, Budget(tokens=30))
    asked = 0
    while (request := schedule.next()) is not None:
        schedule.answered(request, 5, cost)
        asked += 1
    assert asked == affordable


@given(LENGTHS, st.integers(1, 200), st.integers(0, 30), st.randoms(use_true_random=False))
def test_a_rule_sees_the_requests_in_their_order(
    lengths: list[int], target: int, last: int, rng: random.Random
) -> None:
    """Answered in any order, it is asked about 0, 1, 2 … once each, until it stops or the target is reached."""
    lengths = [length + 1 for length in lengths]
    seen: list[int] = []

    def stop(request: int) -> bool:
        seen.append(request)
        return request == last

    schedule, under_way = Schedule(target, 10, stop=stop), list[int]()
    while True:
        while len(under_way) < 5 and (request := schedule.next()) is not None:
            under_way.append(request)
        if not under_way:
            break
        done = under_way.pop(rng.randrange(len(under_way)))
        schedule.answered(done, lengths[done % len(lengths)])
    in_order = list(accumulate(lengths[i % len(lengths)] for i in range(300)))
    enough = next(i for i, total in enumerate(in_order) if total >= target)
    assert schedule.complete
    assert schedule.counted == min(last, enough) + 1
    assert seen == list(range(schedule.counted))
    assert schedule.tokens == in_order[schedule.counted - 1]


def test_without_a_target_it_asks_until_the_rule_stops() -> None:
    schedule = Schedule(None, 10, stop=lambda request: request == 100)
    while (request := schedule.next()) is not None:
        schedule.answered(request, 10**6)
    assert schedule.counted == 101
    with pytest.raises(ValueError, match="would never end"):
        Schedule(None, 10)
