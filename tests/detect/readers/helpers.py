"""Writing inputs, reading their rows, and what is said when they are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detect.readers import Row, read_rows
from watermark.errors import InputError


def never() -> Any:
    raise AssertionError("no row needs a tokenizer")


def write(path: Path, *lines: Any) -> Path:
    """A JSONL file of objects, or of raw bytes."""
    path.write_bytes(b"".join((x if isinstance(x, bytes) else json.dumps(x).encode()) + b"\n" for x in lines))
    return path


def rows_of(*paths: Any, **options: Any) -> list[Row]:
    return list(read_rows(paths, **options))


def refusal(*paths: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        rows_of(*paths, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None  # causes may hold the content
    return message
