"""The tables a study ends in: what is written is read back, in one order, and nonsense is refused."""

from __future__ import annotations

import math
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from distill_sim.condition import Condition
from distill_sim.survival import FRESH, LOOKED_FOR, QUALITY, SCHEMAS, SURVIVAL, TESTS, read_table, write_table
from tests.watermark.keys.helpers import assert_one_line
from watermark.errors import InputError


def result_row(condition: str = "base", seed: int = 0, key: int = 0, test: str = "reading", **changes: Any) -> Any:
    values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(Condition()).items()}
    return {
        "condition": condition,
        "seed": seed,
        "key": key,
        **values,
        "exposed": True,
        "licensed": False,
        "marked_tokens": 4000,
        "trained_tokens": 8000,
        "looked_for": "account",
        "key_id": "ab" * 32,
        "test": test,
        "n_tokens": 2000,
        "n_scored": 512,
        "green_fraction": None,
        "z_score": 3.25,
        "log10_p": -4.125,
        "log10_p_adjusted": -3.5,
        "finding": "not detected",
        **changes,
    }


SURVIVORS = [
    result_row(condition, seed, key, test, looked_for=role)
    for condition in ("base", "after=int8", "delta=3")
    for seed in (0, 1)
    for key in (0, 1, 2)
    for role in LOOKED_FOR[:2]
    for test in TESTS
]
NULLS = [
    {"condition": "source=human", "seed": seed, "test": test, "number": number, "log10_p": -0.5 * number}
    for seed in (0, 1)
    for test in ("reading", "sampled")
    for number in range(12)
]
COSTS = [
    {
        "condition": "base",
        "seed": 0,
        "key": key,
        "measure": measure,
        "value": 12.5,
        "low": 12.0,
        "high": None,
        "unmarked": unmarked,
    }
    for key in (0, 1)
    for measure, unmarked in (("perplexity", 12.25), ("held_out_nats", None))
]
TABLES = {SURVIVAL: SURVIVORS, FRESH: NULLS, QUALITY: COSTS}


@pytest.mark.parametrize("name", TABLES)
def test_rows_come_back_whatever_order_they_came_in_and_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    rows = TABLES[name]
    written = []
    for number in range(3):
        shuffled = random.Random(number).sample(rows, len(rows))
        (tmp_path / str(number)).mkdir()
        path = tmp_path / str(number) / name
        write_table(path, iter(shuffled))
        written.append(path.read_bytes())
        found = read_table(path)
        assert sorted(map(repr, found)) == sorted(map(repr, rows))
    assert len(set(written)) == 1


def test_rows_stand_in_the_order_of_the_design(tmp_path: Path) -> None:
    write_table(tmp_path / SURVIVAL, reversed(SURVIVORS))
    places = [
        (row["condition"], row["seed"], row["key"], row["looked_for"], row["test"])
        for row in read_table(tmp_path / SURVIVAL)
    ]
    assert places == sorted(places)
    write_table(tmp_path / FRESH, reversed(NULLS))
    numbers = [row["number"] for row in read_table(tmp_path / FRESH)]
    assert numbers[:12] == list(range(12))  # as numbers, not as words


def test_a_p_far_out_comes_back_exactly(tmp_path: Path) -> None:
    write_table(tmp_path / SURVIVAL, [result_row(log10_p=-81234.56789012345, log10_p_adjusted=None)])
    (row,) = read_table(tmp_path / SURVIVAL)
    assert row["log10_p"] == -81234.56789012345
    assert row["log10_p_adjusted"] is None
    assert row["after"] == []


def test_any_parquet_reader_sees_every_field_of_a_condition(tmp_path: Path) -> None:
    write_table(tmp_path / SURVIVAL, SURVIVORS)
    table = pq.read_table(tmp_path / SURVIVAL)
    assert table.schema.equals(SCHEMAS[SURVIVAL])
    assert set(asdict(Condition())) <= set(table.schema.names)
    assert not any(math.isnan(value) for value in table.column("log10_p").to_pylist())


def test_no_rows_are_a_table_too(tmp_path: Path) -> None:
    write_table(tmp_path / FRESH, [])
    assert read_table(tmp_path / FRESH) == []


def test_a_table_is_written_again_only_where_that_is_meant(tmp_path: Path) -> None:
    write_table(tmp_path / QUALITY, COSTS)
    write_table(tmp_path / QUALITY, COSTS[:1])
    assert read_table(tmp_path / QUALITY) == COSTS[:1]
    with pytest.raises(InputError):
        write_table(tmp_path / QUALITY, COSTS, overwrite=False)
    assert read_table(tmp_path / QUALITY) == COSTS[:1]


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {column: value for column, value in row.items() if column != name}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([without(result_row(), "finding")], "column finding is missing or unknown in a row of base"),
        ([result_row(surplus=1)], "column surplus is missing or unknown"),
        ([result_row(), result_row(seed=1), result_row(log10_p=0.0)], "two rows of base, 0, 0, account, reading"),
    ],
)
def test_rows_that_make_no_table(rows: list[Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says) as caught:
        write_table(tmp_path / SURVIVAL, rows)
    assert_one_line(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_row_without_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column seed is missing") as caught:
        write_table(tmp_path / SURVIVAL, [without(result_row(), "seed")])
    assert_one_line(caught.value)


def test_what_is_no_table(tmp_path: Path) -> None:
    (tmp_path / SURVIVAL).write_bytes(b"PAR1 or not")
    write_table(tmp_path / FRESH, NULLS)
    (tmp_path / QUALITY).write_bytes((tmp_path / FRESH).read_bytes())
    for name, says in (
        (SURVIVAL, "cannot be read"),
        (QUALITY, "has other columns than this version writes; run the study again"),
        ("other.parquet", "is none of survival.parquet, fresh.parquet, quality.parquet"),
    ):
        with pytest.raises(InputError, match=says) as caught:
            read_table(tmp_path / name)
        assert_one_line(caught.value)
    (tmp_path / QUALITY).unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / QUALITY)
