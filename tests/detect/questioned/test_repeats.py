"""Answers that repeat word for word."""

from __future__ import annotations

import pytest

from detect.questioned.questions import ApiSampling, Questions
from detect.questioned.repeats import Repeats, advice
from detect.questioned.responses import Response


def questions(temperature: float = 1.0) -> Questions:
    return Questions("http://127.0.0.1:9/v1", "m", "chat", ("a", "b", "c"), sampling=ApiSampling(8, temperature, 1.0))


def answers(*texts: str) -> list[Response]:
    """To prompts a, b, c, a, …"""
    return [Response(number, number % 3, text) for number, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("texts", "alike"),
    [
        (("x", "y", "z", "x", "y"), None),  # too few to tell
        (("x", "y", "z", "x", "y", "z"), 3),
        (("x", "x", "x", "x", "x", "x", "x"), 4),
        (("x", "y", "z", "x", "y", "w", "x", "y", "z"), None),  # one that differs
        (("", "", "", "", "", "", ""), None),
        (("x", "", "", "x", "", "", "x", "", "", "x"), 3),
        (("x", "y", "z"), None),  # no prompt twice
        (("x", "y", "z", "x ", "y\n", "z", "x"), 4),  # a last space is no other answer
        ((" ", "\n", " ", " ", " ", " "), None),
        (("a1", "b1", "c1", "a2", "b2", "c2", "a2", "b2", "c2"), None),
    ],
    ids=repr,
)
def test_three_repeats_and_nothing_else(texts: tuple[str, ...], alike: int | None) -> None:
    said = Repeats(answers(*texts)).words(questions())
    if alike is None:
        assert said is None
    else:
        assert said is not None
        assert said.startswith(f"answers repeat: all {alike} to prompts that were asked before are word for word")
        assert "seems not to sample" in said


def test_the_order_of_arrival_changes_nothing() -> None:
    texts = answers("x", "y", "z", "x", "y", "z", "x")
    assert Repeats(texts).words(questions()) == Repeats(texts[::-1]).words(questions())


def test_a_cold_model_is_not_suspected() -> None:
    said = Repeats(answers(*"xyzxyz")).words(questions(1e-4))
    assert said is not None
    assert "as was to be expected at temperature 0.0001" in said
    assert "seems not to sample" not in said
    assert advice(questions(1e-4)).startswith("raise --temperature")
    assert "honours temperature and seed" in advice(questions())
