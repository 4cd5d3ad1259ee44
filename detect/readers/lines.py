"""Bytes that are text: a text file is one row, JSONL is a row a line."""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from detect.readers.formats import advice, refuse_formats
from detect.readers.row import CONTENT, Row, make_row
from watermark.errors import InputError
from watermark.files import strict_json

BOM = b"\xef\xbb\xbf"
_UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_LOOKED_AT = 1 << 20  # characters; of a text that is read whole anyway
_CHUNK = 1 << 21  # bytes of one that is not


def text_row(data: bytes, name: str) -> Row:
    """A whole file as one document. Line ends stay as they are; a byte order mark goes.

    Raises:
        InputError: not UTF-8, with the byte offset; a PDF and the like, or an archive; or rows of JSON, whose prompts
            would be taken for text.
    """
    refuse_formats(data, name)
    text = _decoded(data, name, 0)
    _refuse_own_files(text, name)
    _refuse_rows(text, name)
    return Row(id=name, source=name, text=text)


def long_text(handle: BinaryIO, name: str) -> Iterator[str]:
    """What `text_row` makes a text of, in chunks, of a file that is too long to be held.

    Raises:
        InputError: as `text_row`, as far as it shows in the beginning; a file named .json that begins as JSON is
            refused as rows.
    """
    decoder = getincrementaldecoder("utf-8")()
    offset, first = 0, True
    while True:
        block = handle.read(_CHUNK)
        held = decoder.getstate()[0]
        start = offset - len(held)
        if first:
            refuse_formats(block, name)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise _not_utf8(name, held + block, start, start + error.start) from None
        if first:
            text = text.removeprefix("\ufeff")
            _refuse_beginning(text, name)
        first = False
        offset += len(block)
        if not block:
            return
        yield text


def _refuse_beginning(text: str, name: str) -> None:
    _refuse_rows(text, name)
    if name.lower().endswith(".json") and text.lstrip()[:1] in ("{", "["):
        raise InputError(f"{name} holds JSON; write one row a line, and name the file .jsonl")


def _refuse_own_files(text: str, name: str) -> None:
    """Raise InputError for keys, commitments and the like, which lie beside texts.

    Counted as text they would dilute it, and a highlighted page would show the secret.
    """
    first = _first_object(text)
    if str(first.get("format")).startswith("taggant-") or set(first) == {"account", "epoch", "key_id"}:
        raise InputError(f"{name} is a file of Taggant's own (a key, a commitment …), not a text; leave it out")


def _refuse_rows(text: str, name: str) -> None:
    """Raise InputError where one of the first two lines, or the whole of a .json file, is JSON that holds a row."""
    lines = [line for line in text.lstrip()[:_LOOKED_AT].splitlines() if line.strip()][:2]
    for number, line in enumerate(lines, start=1):
        if _holds_content(_first_object(line)):
            other = "" if number == 1 else ", though its first is none"
            raise InputError(f"{name}: line {number} is a row of JSON{other}; mend it, and name the file .jsonl")
    if name.lower().endswith(".json") and _holds_content(_first_object(text)):
        raise InputError(f"{name} holds rows as one JSON value; write one row a line, and name the file .jsonl")


def _holds_content(members: dict[str, Any]) -> bool:
    return any(name in members for name in CONTENT)


def _first_object(text: str) -> dict[str, Any]:
    """The members of the JSON object that `text` is, or of the first in the list that it is; none of anything else."""
    value = _json(text) if text.lstrip()[:1] in ("{", "[") else None
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, dict) else {}


def _json(text: str | bytes) -> Any:
    """The value of JSON; None of anything else: no UTF-8, no JSON, too deep, or a number of absurd length."""
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def jsonl_rows(
    lines: Iterable[bytes],
    name: str,
    *,
    prompts_only_ok: bool = False,
    whole: bool = True,
    first: int = 1,
    offset: int = 0,
) -> Iterator[Row]:
    """Rows of a JSONL file, one line at a time; blank lines are passed over.

    Args:
        whole: these are all lines of the file.
        first: number of the first of them.
        offset: of its first byte in the file.

    Raises:
        InputError: the first bad line, numbered; or no row at all in a whole file.
    """
    empty = whole
    for number, line in enumerate(lines, start=first):
        text = _decoded(line, f"{name}:{number}", offset).strip()
        offset += len(line)
        if text:
            empty = False
            yield _row(text, name, number, prompts_only_ok)
    if empty:
        raise InputError(f"{name} holds no rows; leave it out")


def opens_as_object(line: bytes) -> bool:
    """Whether a stream that begins with `line` is to be read as JSONL: the line is one JSON object."""
    return isinstance(_json(line), dict)


def _row(text: str, name: str, number: int, prompts_only_ok: bool) -> Row:
    try:
        return make_row(_object(text), name, number, prompts_only_ok=prompts_only_ok)
    except InputError as error:
        problem = str(error).replace(" at line 1, column ", " at column ")  # the line's own number is said anyway
    raise InputError(f"{name}:{number}: {problem}; fix or remove the line")


def _object(text: str) -> dict[str, Any]:
    value = strict_json(text)
    if not isinstance(value, dict):
        raise InputError("not a JSON object")
    return value


def _decoded(data: bytes, where: str, offset: int) -> str:
    """Decode UTF-8; `offset` is where `data` begins in its file."""
    skip = len(BOM) if offset == 0 and data.startswith(BOM) else 0
    try:
        return str(memoryview(data)[skip:], "utf-8")
    except UnicodeDecodeError as error:
        at = offset + skip + error.start
    raise _not_utf8(where, data, offset, at)


def _not_utf8(where: str, data: bytes, offset: int, at: int) -> InputError:
    looks = "; it looks like UTF-16" if offset == 0 and data[:2] in _UTF_16_BOMS else ""
    return InputError(f"{where}: not UTF-8 at byte {at}{looks}; {advice(where)}")
