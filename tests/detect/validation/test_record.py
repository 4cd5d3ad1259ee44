"""What is written: canonical JSON, a table in which nothing is a formula, and sums that add up."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import pytest

from detect.exact.interval import clopper_pearson
from detect.validation.record import COLUMNS, inert, table
from tests.detect.validation.synthetic import study


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return study()


def test_pooled_rows_are_the_sum_of_their_lengths(found: dict[str, Any]) -> None:
    assert [(one["population"], one["test"]) for one in found["pooled"]] == [
        ("made up", test) for test in ("count", "e-value", "scan")
    ]
    rate = found["pooled"][0]["rates"][0]
    assert (rate["count"], rate["of"], rate["rate"]) == (60, 2000, 0.03)
    assert rate["interval95"] == pytest.approx(clopper_pearson(60, 2000), rel=1e-11)


def test_limits_tell_what_lies_outside(found: dict[str, Any]) -> None:
    """30 of 1,000 at .1 are too few for a count that should have 70; as a bound they are fine."""
    limits = found["limits"]
    assert limits["checked"] == 5 * (2 * 3 + 3 + 2)
    outside = {(one["population"], one["tokens"], one["test"], one["level"]) for one in limits["outside"]}
    assert ("made up", 25, "count", 0.1) in outside
    assert ("made up", None, "count", 0.1) in outside
    assert not [one for one in outside if one[2] in ("e-value", "scan", "reading")]
    assert {one[3] for one in outside if one[2] == "argmax"} == {0.01, 1e-3, 1e-4, 1e-6}
    assert limits["within"] == limits["checked"] - len(outside)
    assert study(count=75)["limits"]["within"] == limits["checked"] - 4


def test_the_table_holds_every_rate(found: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(table(found).decode())))
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == 5 * (2 * 3 + 2 + 5 * 3)
    first = rows[0]
    assert (first["kind"], first["population"], first["tokens"], first["test"]) == ("null", "made up", "25", "count")
    assert (first["count"], first["trials"], first["within"]) == ("30", "1000", "False")
    assert float(first["interval95_high"]) == pytest.approx(clopper_pearson(30, 1000)[1], rel=1e-11)
    assert {row["delta"] for row in rows if row["kind"] == "marked"} == {"1.0", "2.5", ""}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert inert(text)[0] == "'"
    cells = next(csv.reader(io.StringIO(table(study(name=text)).decode().splitlines()[1])))
    assert cells[1][0] == "'"


def test_numbers_stay_numbers() -> None:
    assert [inert(one) for one in (-1, 0.5, None, True, "a=b")] == ["-1", "0.5", "", "True", "a=b"]
    assert not math.isnan(float(inert(1e-12)))
