"""The corpus on disk: what is written is read back, by us and by any Parquet reader, and nonsense is refused."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_sim.corpus import SCHEMA, CorpusRow, read_corpus, read_provenance, write_corpus
from watermark.errors import InputError

ROW = CorpusRow(
    id="0",
    prompt="Why?",
    prompt_ids=(1, 2, 3),
    text="Because.",
    token_ids=(4, 5, 49151),
    marked=True,
    key_id="ab" * 32,
    seed=7,
    model="cd" * 32,
    sampling='{"temperature": 1.0, "delta": 2.0}',
    created="2026-11-24T04:00:00+00:00",
)
ROWS = [ROW, replace(ROW, id="1", marked=False, key_id=None, token_ids=(), text="")]


def test_rows_and_provenance_come_back(tmp_path: Path) -> None:
    write_corpus(tmp_path / "c.parquet", ROWS, {"teacher": "smollm2", "n": 2, "nested": {"é": [1, None]}})
    assert read_corpus(tmp_path / "c.parquet") == ROWS
    provenance = read_provenance(tmp_path / "c.parquet")
    assert provenance == {"format": "taggant-corpus/1", "teacher": "smollm2", "n": 2, "nested": {"é": [1, None]}}


def test_any_parquet_reader_sees_the_columns_and_types(tmp_path: Path) -> None:
    write_corpus(tmp_path / "c.parquet", ROWS, {})
    table = pq.read_table(tmp_path / "c.parquet")
    assert table.schema.equals(SCHEMA)
    assert table.schema.field("token_ids").type == pa.list_(pa.int32())
    assert table.column("key_id").to_pylist() == ["ab" * 32, None]
    assert table.column("token_ids").to_pylist() == [[4, 5, 49151], []]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_corpus(tmp_path / name, iter(ROWS), {"x": 1, "y": 2} if name == "a" else {"y": 2, "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ids = st.lists(st.integers(0, 2**31 - 1), max_size=6).map(tuple)


@given(text=texts, prompt=texts, prompt_ids=ids, token_ids=ids, seed=st.integers(-(2**63), 2**63 - 1))
def test_any_text_and_ids_survive(
    tmp_path_factory: pytest.TempPathFactory, text: str, prompt: str, prompt_ids: tuple[int, ...],
    token_ids: tuple[int, ...], seed: int,
) -> None:  # fmt: skip
    row = replace(ROW, text=text, prompt=prompt, prompt_ids=prompt_ids, token_ids=token_ids, seed=seed)
    path = tmp_path_factory.mktemp("corpus") / "c.parquet"
    write_corpus(path, [row], {})
    assert read_corpus(path) == [row]


def test_rows_are_frozen_and_take_lists() -> None:
    row = replace(ROW, token_ids=[9, 8])  # type: ignore[arg-type]
    assert row.token_ids == (9, 8)
    with pytest.raises(FrozenInstanceError):
        row.text = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"marked": False}, "names its key_id"),
        ({"key_id": None}, "names its key_id"),
        ({"token_ids": (-1,)}, "outside"),
        ({"prompt_ids": (2**31,)}, "outside"),
        ({"sampling": "[1]"}, "not a JSON object"),
        ({"sampling": "{"}, "not JSON"),
        ({"sampling": '{"t": NaN}'}, "NaN"),
    ],
)
def test_a_row_that_contradicts_itself(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(ROW, **change)  # type: ignore[arg-type]


def test_what_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    for rows, words in (([], "without rows"), ([ROW, ROW], "same id")):
        with pytest.raises(InputError, match=words):
            write_corpus(path, rows, {})
    with pytest.raises(ValueError, match="JSON"):
        write_corpus(path, ROWS, {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match="already exists"):
        write_corpus(path, ROWS, {})
    assert path.read_bytes() == b"precious"


def test_what_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_corpus(tmp_path / "absent")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InputError, match="not Parquet"):
        read_corpus(tmp_path / "text")
    pq.write_table(pa.table({"id": ["1"], "text": ["x"]}), tmp_path / "other")
    with pytest.raises(InputError, match="no column prompt"):
        read_corpus(tmp_path / "other")
    with pytest.raises(InputError, match="does not say"):
        read_provenance(tmp_path / "other")


def test_a_truncated_corpus_and_one_with_holes(tmp_path: Path) -> None:
    write_corpus(tmp_path / "whole", ROWS, {})
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "short").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="not Parquet"):
        read_corpus(tmp_path / "short")
    table = pq.read_table(tmp_path / "whole").to_pydict()
    table["text"][0] = None
    pq.write_table(pa.table(table), tmp_path / "holes")
    with pytest.raises(InputError, match="damaged or not a corpus"):
        read_corpus(tmp_path / "holes")


def test_a_row_that_was_tampered_with_is_refused_on_reading(tmp_path: Path) -> None:
    write_corpus(tmp_path / "whole", ROWS, {})
    table = pq.read_table(tmp_path / "whole").to_pydict()
    table["marked"] = [False, True]
    pq.write_table(pa.table(table, schema=SCHEMA), tmp_path / "swapped")
    with pytest.raises(InputError, match="names its key_id"):
        read_corpus(tmp_path / "swapped")
