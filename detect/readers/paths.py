"""Paths → rows: what is a file of what kind, and in which order."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from detect.readers.builtin import BUILTIN, builtin_rows
from detect.readers.builtin import FILE as BUILTIN_FILE
from detect.readers.lines import BOM, jsonl_rows, opens_as_object, text_row
from detect.readers.row import Row
from detect.visible import one_line
from watermark.errors import InputError

STDIN = "-"
STDIN_NAME = "stdin"
JSONL_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_SUFFIX = ".parquet"


def read_rows(
    paths: Sequence[str | Path], *, stdin: BinaryIO | None = None, prompts_only_ok: bool = False
) -> Iterator[Row]:
    """Read questioned material, a row at a time, in the order given.

    A file is JSONL (.jsonl, .ndjson), Parquet (.parquet) or else one text in UTF-8. A directory stands for all
    regular files below it, sorted by path, hidden ones left out. "-" is standard input: JSONL when its first
    non-blank line is a JSON object, else one text. Where probes are read, "builtin" stands for the built-in ones;
    a file of that name is "./builtin".

    Args:
        paths: files, directories, "-".
        stdin: what "-" reads; default the process's own.
        prompts_only_ok: these are probes: accept rows that hold a prompt alone, and "builtin" (a str, not a Path).

    Raises:
        InputError: while iterating, at the first thing that is wrong, with file and line; nothing is skipped.
    """
    if not paths:
        raise InputError("nothing to read: give files, directories, or - for standard input")
    if [str(path) for path in paths].count(STDIN) > 1:
        raise InputError("standard input (-) is given twice; it can be read once")
    for path in paths:
        if str(path) == STDIN:
            yield from _stdin_rows(stdin or sys.stdin.buffer, prompts_only_ok)
        elif path == BUILTIN and prompts_only_ok:
            yield from builtin_rows()
        else:
            for file in _files(Path(path)):
                yield from _file_rows(file, prompts_only_ok)


def files_of(paths: Sequence[str | Path], *, prompts_only_ok: bool = False) -> list[tuple[str, Path]]:
    """The files that `read_rows` reads, in its order: last part of the name, and place. Standard input is none.

    Args:
        prompts_only_ok: as there.

    Raises:
        InputError: a directory cannot be read, or holds no files.
    """
    found = []
    for path in paths:
        if path == BUILTIN and prompts_only_ok:
            found.append((BUILTIN, BUILTIN_FILE))
        elif str(path) != STDIN:
            found += [(_name(file.name), file) for file in _files(Path(path))]
    return found


def _files(path: Path) -> list[Path]:
    """The path itself, or every regular file below it, sorted by path."""
    try:
        if not path.is_dir():
            return [path]
        found = []
        for folder, folders, names in os.walk(path, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [Path(folder, name) for name in names if not name.startswith(".")]
        files = sorted((file for file in found if file.is_file()), key=lambda file: file.parts)
    except OSError as error:
        raise _unreadable(error, _name(error.filename or path)) from None
    if not files:
        raise InputError(f"{_name(path)} holds no files to read (hidden ones are left out); give another directory")
    return files


def _file_rows(path: Path, prompts_only_ok: bool) -> Iterator[Row]:
    name, suffix = _name(path), path.suffix.lower()
    try:
        if suffix == PARQUET_SUFFIX:
            from detect.readers.parquet import parquet_rows

            with path.open("rb") as handle:
                yield from parquet_rows(handle, name, prompts_only_ok=prompts_only_ok)
        elif suffix in JSONL_SUFFIXES:
            with path.open("rb") as handle:
                yield from jsonl_rows(handle, name, prompts_only_ok=prompts_only_ok)
        else:
            yield text_row(path.read_bytes(), name)
    except OSError as error:
        raise _unreadable(error, name) from None


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
        raise _unreadable(error, STDIN_NAME) from None


def _name(path: str | Path) -> str:
    """A path as messages and default ids show it: whole, but hidden characters and undecodable bytes spelled out."""
    return one_line(path, limit=1 << 16)


def _unreadable(error: OSError, name: str) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"{name} does not exist; check the path")
    return InputError(f"{name} cannot be read ({error.strerror or error}); check the path and its permissions")


def _raise(error: OSError) -> None:
    raise error
