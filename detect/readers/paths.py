"""Paths → rows: what is a file of what kind, and in which order."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from detect.readers.builtin import BUILTIN, builtin_rows
from detect.readers.builtin import FILE as BUILTIN_FILE
from detect.readers.lines import BOM, jsonl_rows, opens_as_object, text_row
from detect.readers.places import File, find, reading, unreadable
from detect.readers.refusals import Refusals
from detect.readers.row import Row
from watermark.errors import InputError

STDIN = "-"
STDIN_NAME = "stdin"


def read_rows(
    paths: Sequence[str | Path], *, stdin: BinaryIO | None = None, prompts_only_ok: bool = False
) -> Iterator[Row]:
    """Read questioned material, a row at a time, in the order given.

    A file is JSONL (.jsonl, .ndjson), Parquet (.parquet) or else one text in UTF-8; all but Parquet may be compressed
    (.gz, .zst). A directory stands for all regular files below it, sorted by path, hidden ones left out; a glob for
    what it names; an address such as s3://…, hf://… or https://… for a file in remote storage, or a directory or glob
    of it. "-" is standard input: JSONL when its first non-blank line is a JSON object, else one text. Where probes are
    read, "builtin" stands for the built-in ones; a file of that name is "./builtin".

    Args:
        paths: files, directories, globs, addresses, "-".
        stdin: what "-" reads; default the process's own.
        prompts_only_ok: these are probes: accept rows that hold a prompt alone, and "builtin" (a str, not a Path).

    Raises:
        InputError: while iterating, with file and line, as `Refusals`: at the first thing that is wrong rows end, and
            behind the last file all of them are named that cannot be read. Nothing is skipped.
    """
    if not paths:
        raise InputError("nothing to read: give files, directories, or - for standard input")
    if [str(path) for path in paths].count(STDIN) > 1:
        raise InputError("standard input (-) is given twice; it can be read once")
    refusals = Refusals()
    for path in paths:
        if str(path) == STDIN:
            yield from refusals.reading(_stdin_rows(stdin or sys.stdin.buffer, prompts_only_ok))
        elif path == BUILTIN and prompts_only_ok:
            yield from refusals.reading(builtin_rows())
        else:
            for file in refusals.files(path):
                if not refusals.passes_over(file):
                    yield from refusals.reading(_file_rows(file, prompts_only_ok))
    refusals.end()


def files_of(paths: Sequence[str | Path], *, prompts_only_ok: bool = False) -> list[File]:
    """The files that `read_rows` reads, in its order. Standard input is none.

    Args:
        prompts_only_ok: as there.

    Raises:
        InputError: one cannot be looked at, or a directory holds no files.
    """
    found: list[File] = []
    for path in paths:
        if path == BUILTIN and prompts_only_ok:
            found.append(File(str(BUILTIN_FILE), BUILTIN))
        elif str(path) != STDIN:
            found += find(path)
    return found


def _file_rows(file: File, prompts_only_ok: bool) -> Iterator[Row]:
    with reading(file) as handle:
        if file.kind == "parquet":
            from detect.readers.parquet import parquet_rows

            yield from parquet_rows(handle, file.name, prompts_only_ok=prompts_only_ok)
        elif file.kind == "jsonl":
            yield from jsonl_rows(handle, file.name, prompts_only_ok=prompts_only_ok)
        else:
            yield text_row(handle.read(), file.name)


def _stdin_rows(stream: BinaryIO, prompts_only_ok: bool) -> Iterator[Row]:
    try:
        head = []
        for line in stream:
            head.append(line)
            if line.strip() not in (b"", BOM):
                break
        if head and head[-1].lstrip().startswith(b"{") and not opens_as_object(head[-1]):
            raise InputError(
                f"{STDIN_NAME}:{len(head)}: begins like a row of JSON but is none; mend the line, "
                "or give the text as a file"
            )
        if head and opens_as_object(head[-1]):
            yield from jsonl_rows(itertools.chain(head, stream), STDIN_NAME, prompts_only_ok=prompts_only_ok)
        else:
            yield text_row(b"".join([*head, stream.read()]), STDIN_NAME)
    except OSError as error:
        raise unreadable(error, STDIN_NAME) from None
