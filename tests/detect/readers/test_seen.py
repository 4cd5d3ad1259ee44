"""What was read is told: how many files of which kinds, and each by name."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from detect.readers import FilesSeen, read_rows
from tests.detect.readers.helpers import write


def test_files_are_counted_by_kind_and_named_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("one")
    (tmp_path / "c.md").write_text("two")
    rows = write(tmp_path / "a.jsonl", {"text": "x"}, {"text": "y"})
    pq.write_table(pa.table({"text": ["z"]}), tmp_path / "d.parquet")
    seen = FilesSeen()
    read = list(seen.watch(read_rows([tmp_path, rows, "-"], stdin=io.BytesIO(b'{"text": "w"}\n'))))
    assert [row.text for row in read] == ["x", "y", "one", "two", "z", "x", "y", "w"]
    assert len(seen) == 5
    assert seen.summary == "5 files: 2 texts, 2 JSONL files, 1 Parquet file"
    assert seen.names == [
        f"read {tmp_path}/a.jsonl (JSONL file, 4 rows)",
        f"read {tmp_path}/b.txt",
        f"read {tmp_path}/c.md",
        f"read {tmp_path}/d.parquet (Parquet file, 1 row)",
        "read stdin (JSONL file, 1 row)",
    ]
