"""pyarrow as it is used here: without threads of its own.

glibc leaves out its locks in a process that has one thread, and a tokenizer does little else than allocate: scoring a
corpus takes longer beside a thread that sleeps (ADR 18). So the allocator inside pyarrow gets none to tidy up with, and
files are read by whoever asks, column by column: then memory does not grow with the size of a row group either.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")  # read when the library is loaded

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["batches", "opened", "pa", "pq"]

_BUFFER = 1 << 20  # bytes read of a column at a time


def opened(source: Path | BinaryIO) -> Any:
    """A `pyarrow.parquet.ParquetFile`, to be closed (pa.ArrowException, OSError: it is none)."""
    return pq.ParquetFile(source, buffer_size=_BUFFER, pre_buffer=False)


def batches(
    file: Any, rows: int, columns: Sequence[str] | None = None, groups: Sequence[int] | None = None
) -> Iterator[Any]:
    """The record batches of what `opened` gave.

    Args:
        rows: of a batch, at most.
        columns, groups: which; None: all.
    """
    yield from file.iter_batches(batch_size=rows, columns=columns, row_groups=groups, use_threads=False)
