"""Parquet files as rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from detect.arrow import batches, opened, pa
from detect.readers.row import MEMBERS, Row, make_row
from detect.visible import one_line
from watermark.errors import InputError

BATCH_ROWS = 64  # held at once, however long they are


def parquet_rows(
    handle: BinaryIO,
    name: str,
    *,
    prompts_only_ok: bool = False,
    groups: Sequence[int] | None = None,
    first: int = 1,
) -> Iterator[Row]:
    """Rows of a Parquet file, a batch at a time.

    Args:
        groups: the row groups to read; None: all.
        first: number of the first row that is read.

    Raises:
        InputError: not Parquet, damaged, without the columns or with columns of another type, or a bad row (numbered).
    """
    number = first - 1
    for batch in _batches(handle, name, groups):
        for index in range(batch.num_rows):
            number += 1
            yield _row(batch, index, name, number, prompts_only_ok)
    if groups is None and not number:
        raise InputError(f"{name} holds no rows; leave it out")


def _row(batch: Any, index: int, name: str, number: int, prompts_only_ok: bool) -> Row:
    try:
        members = {column: _value(batch.column(column)[index], column) for column in batch.schema.names}
        return make_row(members, name, number, prompts_only_ok=prompts_only_ok)
    except InputError as error:
        problem = str(error)
    raise InputError(f"{name}:{number}: {problem}; fix or remove the row")


def _value(scalar: Any, name: str) -> Any:
    """A string, an integer, an array of ids, or None."""
    if not name.endswith("_ids"):
        try:
            return scalar.as_py()
        except UnicodeDecodeError as error:
            start = error.start
        raise InputError(f"{name} is not UTF-8 at byte {start}")
    values = scalar.values if scalar.is_valid else None
    if values is None:
        return None
    if values.null_count:
        raise InputError(f"{name} holds a null")
    return values.to_numpy(zero_copy_only=False)


@dataclass(frozen=True)
class RowGroup:
    """A part of a Parquet file that can be read by itself.

    Attributes:
        rows: how many.
        size: bytes of the columns we know, unpacked.
    """

    rows: int
    size: int


def row_groups(handle: BinaryIO, name: str) -> tuple[list[RowGroup], bool]:
    """The row groups of a file, and whether its rows may hold prompts (InputError as `parquet_rows`)."""
    with _readable(name):
        file = opened(handle)
        columns = set(_columns(file.schema_arrow, name))
        groups = []
        for index in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(index)
            chunks = [group.column(i) for i in range(group.num_columns)]
            known = [chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns]
            groups.append(RowGroup(group.num_rows, sum(known)))
    return groups, bool(columns & {"prompt", "prompt_ids"})


def _batches(handle: BinaryIO, name: str, groups: Sequence[int] | None) -> Iterator[Any]:
    """Record batches of the columns we know."""
    with _readable(name):
        file = opened(handle)
        columns = _columns(file.schema_arrow, name)
        yield from batches(file, BATCH_ROWS, columns, groups)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        problem = one_line(str(error).strip().split("\n", 1)[0].rstrip("."))
        raise InputError(f"{name} is no readable Parquet file ({problem}); write it again or leave it out") from None


def _columns(schema: Any, name: str) -> list[str]:
    """The known columns, in the file's order, their types checked."""
    columns = [column for column in schema.names if column in MEMBERS]
    if not set(columns) - {"id"}:
        held = ", ".join(one_line(column, 40) for column in schema.names[:8]) or "none"
        raise InputError(f"{name} has no column text, token_ids, prompt or prompt_ids; it has: {held}")
    if len(set(columns)) < len(columns):
        raise InputError(f"{name} names a column twice; write it again with distinct names")
    for column in columns:
        found = schema.field(column).type
        if not _fits(found, column):
            wanted = "a list of integers" if column.endswith("_ids") else "strings"
            raise InputError(f"{name}: column {column} must hold {wanted}, not {one_line(found, 60)}; convert it")
    return columns


def _fits(found: Any, column: str) -> bool:
    kind = pa.types
    if kind.is_null(found):
        return True
    if column.endswith("_ids"):
        is_list = kind.is_list(found) or kind.is_large_list(found) or kind.is_fixed_size_list(found)
        return bool(is_list and (kind.is_integer(found.value_type) or kind.is_null(found.value_type)))
    if kind.is_dictionary(found):
        found = found.value_type
    is_string = kind.is_string(found) or kind.is_large_string(found)
    return bool(is_string or (column == "id" and kind.is_integer(found)))
