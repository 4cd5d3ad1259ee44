"""Parquet becomes rows; what is wrong is named and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.detect.readers.helpers import refusal, rows_of, write


class TestParquet:
    @staticmethod
    def write(path: Path, **columns: Any) -> Path:
        pq.write_table(pa.table(columns), path)
        return path

    def test_the_same_rows_as_jsonl(self, tmp_path: Path) -> None:
        objects = [
            {"id": "a", "text": "eins", "token_ids": None, "prompt": "p", "prompt_ids": [5]},
            {"id": None, "text": None, "token_ids": [1, 2, 70000], "prompt": None, "prompt_ids": None},
            {"id": "c", "text": "", "token_ids": [], "prompt": "", "prompt_ids": []},
        ] * 700  # more than a batch
        columns = {name: [item[name] for item in objects] for name in objects[0]} | {"score": [0.5] * len(objects)}
        parquet = rows_of(self.write(tmp_path / "x.parquet", **columns))
        jsonl = rows_of(write(tmp_path / "x.jsonl", *objects))
        assert len(parquet) == len(jsonl) == 2100
        for ours, theirs in zip(parquet, jsonl, strict=True):
            assert (ours.text, ours.prompt) == (theirs.text, theirs.prompt)
            assert ours.id.replace(".parquet", ".jsonl") == theirs.id
            for name in ("token_ids", "prompt_ids"):
                mine, other = getattr(ours, name), getattr(theirs, name)
                assert (mine is None) == (other is None)
                if mine is not None:
                    assert mine.dtype == np.uint32
                    assert mine.tolist() == other.tolist()

    @pytest.mark.parametrize(
        "ids",
        [
            pa.array([[1, 2], [3, 4]], pa.list_(pa.int32())),
            pa.array([[1, 2], [3, 4]], pa.large_list(pa.uint64())),
            pa.array([[1, 2], [3, 4]], pa.list_(pa.uint16(), 2)),
        ],
    )
    def test_list_types(self, tmp_path: Path, ids: pa.Array) -> None:
        rows = rows_of(self.write(tmp_path / "x.parquet", token_ids=ids))
        assert [row.token_ids.tolist() for row in rows if row.token_ids is not None] == [[1, 2], [3, 4]]

    def test_other_types_of_strings_and_ids(self, tmp_path: Path) -> None:
        text = pa.array(["a", "a"]).dictionary_encode()
        path = self.write(tmp_path / "x.parquet", text=text, id=pa.array([1, 2]), prompt=pa.nulls(2))
        assert [(row.id, row.text, row.prompt) for row in rows_of(path)] == [("1", "a", None), ("2", "a", None)]

    @pytest.mark.parametrize(
        ("columns", "expected"),
        [
            ({"answer": ["x"], "n": [1]}, "has no column text, token_ids, prompt or prompt_ids; it has: answer, n"),
            ({"id": ["x"]}, "it has: id"),
            ({"text": [1.5]}, "column text must hold strings, not double"),
            ({"text": [b"x"]}, "column text must hold strings, not binary"),
            ({"token_ids": [[1.0, 2.0]]}, "column token_ids must hold a list of integers, not list"),
            ({"token_ids": [[True]]}, "column token_ids must hold a list of integers"),
            ({"token_ids": ["1 2"]}, "column token_ids must hold a list of integers, not string"),
            ({"id": [1.5], "text": ["x"]}, "column id must hold strings, not double"),
            ({"text": pa.array([], pa.string())}, "holds no rows"),
            ({"token_ids": [[1], [2, None]]}, "x.parquet:2: token_ids holds a null; fix or remove the row"),
            ({"token_ids": [[1], [-2]]}, "x.parquet:2: token_ids must lie in 0 … 4294967294, found -2"),
            ({"text": ["a", None, "b"]}, "x.parquet:2: the row holds no text or token_ids"),
            ({"prompt": ["a"]}, "x.parquet:1: a prompt without text or token_ids"),
        ],
    )
    def test_refused(self, tmp_path: Path, columns: dict[str, Any], expected: str) -> None:
        assert expected in refusal(self.write(tmp_path / "x.parquet", **columns))

    def test_a_string_that_is_not_utf8(self, tmp_path: Path) -> None:
        broken = pa.array([b"ab\xff"], pa.binary()).view(pa.string())
        assert "x.parquet:1: text is not UTF-8 at byte 2" in refusal(self.write(tmp_path / "x.parquet", text=broken))

    def test_columns_of_one_name(self, tmp_path: Path) -> None:
        table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
        pq.write_table(table, tmp_path / "x.parquet")
        assert "names a column twice" in refusal(tmp_path / "x.parquet")

    @pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1" + b"\0" * 50 + b"PAR1"])
    def test_damaged_files(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.parquet").write_bytes(content)
        assert "x.parquet is no readable Parquet file" in refusal(tmp_path / "x.parquet")

    def test_damaged_data_below_a_sound_footer(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "x.parquet", text=[f"row {i}" for i in range(500)])
        data = bytearray(path.read_bytes())
        data[4:400] = b"\xff" * 396
        path.write_bytes(data)
        assert "x.parquet is no readable Parquet file" in refusal(path)
