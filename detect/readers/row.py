"""One row of questioned material, its members checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.visible import one_line
from watermark.errors import InputError
from watermark.greenlist import MAX_TOKEN_ID

TokenIds = NDArray[np.uint32]

CONTENT = ("text", "token_ids", "prompt", "prompt_ids")
MEMBERS = ("id", *CONTENT)  # whatever else a row holds is ignored


@dataclass(frozen=True, eq=False)
class Row:
    """One document as it came in; text and ids are the answer only, without the prompt.

    Attributes:
        id: the row's own id, else `source`. Written by others: show it through `detect.visible.one_line`.
        source: where it stands, such as "file.jsonl:17" or "letter.txt".
        text: the answer as text.
        token_ids: the answer as ids, uint32 [n]; they win over `text`.
        prompt: the prompt as text.
        prompt_ids: the prompt as ids, uint32 [m]; they win over `prompt`.
        number: of its line or row, from 1; None: the file is one text.
    """

    id: str
    source: str
    text: str | None = field(default=None, repr=False)
    token_ids: TokenIds | None = field(default=None, repr=False)
    prompt: str | None = field(default=None, repr=False)
    prompt_ids: TokenIds | None = field(default=None, repr=False)
    number: int | None = None

    @property
    def file(self) -> str:
        """Name of the file it stands in."""
        return self.source if self.number is None else self.source[: -len(f":{self.number}")]


def refuse_foreign_ids(row: Row, vocab_size: int) -> None:
    """Raise InputError where given ids cannot come from the tokenizer of the key: nothing there was ever marked."""
    for ids in (row.token_ids, row.prompt_ids):
        if ids is not None and ids.size and ids.max() >= vocab_size:
            raise InputError(
                f"{one_line(row.source)}: token id {ids.max()} is not among the {vocab_size} tokens of the key's "
                "tokenizer; tokenise the text with that"
            )


def make_row(members: Mapping[str, Any], name: str, number: int, *, prompts_only_ok: bool = False) -> Row:
    """Check the members of a JSON object or a Parquet row (None: absent) and make the row.

    Args:
        name: of the file.
        number: of the line or row.

    Raises:
        InputError: what is wrong, without the place; the caller knows how to name that.
    """
    source = f"{name}:{number}"
    row = Row(
        id=_identifier(members.get("id")) or source,
        source=source,
        text=_string(members.get("text"), "text"),
        token_ids=_token_ids(members.get("token_ids"), "token_ids"),
        prompt=_string(members.get("prompt"), "prompt"),
        prompt_ids=_token_ids(members.get("prompt_ids"), "prompt_ids"),
        number=number,
    )
    if row.text is not None or row.token_ids is not None:
        return row
    has_prompt = row.prompt is not None or row.prompt_ids is not None
    if has_prompt and prompts_only_ok:
        return row
    if has_prompt:
        raise InputError("a prompt without text or token_ids: nothing to test")
    wanted = "text, token_ids, prompt or prompt_ids" if prompts_only_ok else "text or token_ids"
    raise InputError(f"the row holds no {wanted}")


def _identifier(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return _string(value, "id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"id must be text or an integer, not {_kind(value)}")


def _string(value: object, name: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, not {_kind(value)}")
    if not value.isascii():
        _refuse_lone_surrogates(value, name)
    return value


def _refuse_lone_surrogates(value: str, name: str) -> None:
    """JSON can write half a surrogate pair; no tokenizer can read it."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        start = error.start
    else:
        return
    raise InputError(f"{name} holds half a surrogate pair at character {start}")  # outside: error.object is the text


def _token_ids(value: object, name: str) -> TokenIds | None:
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        return _in_range(value, name)
    if not isinstance(value, list):
        raise InputError(f"{name} must be a list of token ids, not {_kind(value)}")
    if not set(map(type, value)) <= {int}:  # a bool is an int to isinstance
        at, odd = next((i, item) for i, item in enumerate(value) if type(item) is not int)
        raise InputError(f"{name}[{at}] must be a whole number, not {_kind(odd)}")
    try:
        return _in_range(np.array(value, dtype=np.int64), name)
    except OverflowError:
        raise InputError(f"{name} must lie in 0 … {MAX_TOKEN_ID}") from None


def _in_range(ids: NDArray[Any], name: str) -> TokenIds:
    if ids.size:
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high > MAX_TOKEN_ID:
            raise InputError(f"{name} must lie in 0 … {MAX_TOKEN_ID}, found {low if low < 0 else high}")
    return ids.astype(np.uint32)


def _kind(value: object) -> str:
    """What a wrong value is, in JSON's words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {one_line(value, 40)}"
    names = {str: "text", list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), type(value).__name__)
