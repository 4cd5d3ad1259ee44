"""A shard's rows: those of its parts, in order, under the numbers they have in their files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from detect.corpora.sources import Part
from detect.readers import Row
from detect.readers.lines import jsonl_rows, text_row

BLOCK = 1 << 20  # bytes


def part_rows(part: Part, inputs: Sequence[str], first: int = 1) -> Iterator[Row]:
    """The rows of one part.

    Args:
        first: number of the first line that begins in it, of JSONL.

    Raises:
        InputError: as `read_rows`; that a file holds no rows is told only of one that is whole here.
    """
    with part.reading(inputs) as handle:
        if part.kind == "parquet":
            from detect.readers.parquet import parquet_rows

            groups = range(part.start, part.stop or 0)
            yield from parquet_rows(handle, part.name, groups=groups, first=part.first)
        elif part.kind == "text":
            yield text_row(handle.read(), part.name)
        elif part.stop is None:
            yield from jsonl_rows(handle, part.name)
        else:
            begin = line_start(handle, part.start)
            lines = lines_until(handle, begin, part.stop)
            yield from jsonl_rows(lines, part.name, whole=False, first=first, offset=begin)


def line_start(handle: BinaryIO, start: int) -> int:
    """Go to the first line that begins at byte `start` or later; returns where that is."""
    if start == 0:
        handle.seek(0)
        return 0
    handle.seek(start - 1)
    return start - 1 + len(handle.readline())


def lines_until(handle: BinaryIO, begin: int, stop: int) -> Iterator[bytes]:
    """The lines that begin before byte `stop`.

    Args:
        begin: where the handle stands.
    """
    for block in blocks_until(handle, begin, stop):
        yield from io.BytesIO(block)


def blocks_until(handle: BinaryIO, begin: int, stop: int) -> Iterator[bytes]:
    """The same, in blocks of whole lines of about BLOCK bytes together."""
    at = begin
    while at < stop and (block := handle.read(min(BLOCK, stop - at))):
        if not block.endswith(b"\n"):
            block += handle.readline()
        yield block
        at += len(block)
