"""How results are said: every power of ten true, none below the floor."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect.wording import FLOOR, MEANINGS, amount, probability_words


@pytest.mark.parametrize(
    ("log10_p", "words"),
    [
        (0.0, "about 1"),
        (-0.5, "about 0.32"),
        (-1.999, "about 0.01"),
        (-2.0, "below 10^-1"),
        (-2.5, "below 10^-2"),
        (-6.0, "below 10^-5"),
        (-6.01, "below 10^-6"),
        (-30.0, "below 10^-29"),
        (-30.5, "below 10^-30"),
        (-4000.0, "below 10^-30"),
    ],
)
def test_words(log10_p: float, words: str) -> None:
    assert probability_words(log10_p) == words


@given(st.floats(-1000, 0))
def test_what_is_said_is_true(log10_p: float) -> None:
    words = probability_words(log10_p)
    if below := re.fullmatch(r"below 10\^(-\d+)", words):
        power = int(below.group(1))
        assert log10_p < power
        assert power >= FLOOR
        assert power == FLOOR or power - log10_p <= 1
    else:
        value = float(words.removeprefix("about "))
        assert value == pytest.approx(10**log10_p, rel=0.051)


def test_every_finding_has_a_meaning() -> None:
    assert set(MEANINGS) == {"detected", "inconclusive", "not detected"}
    assert "depends on the secret key" in MEANINGS["detected"]
    assert "not a sign of absence" in MEANINGS["inconclusive"]
    assert "does not show that the mark was never used" in MEANINGS["not detected"]
    assert not re.search("planned|usual|very likely", MEANINGS["not detected"])
    assert "named in the notes" in MEANINGS["not detected"]


def test_what_is_not_claimed() -> None:
    assert probability_words(None) == "not claimed"


@pytest.mark.parametrize(("number", "words"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1500, "1,500 rows")])
def test_amounts(number: int, words: str) -> None:
    assert amount(number, "row") == words
