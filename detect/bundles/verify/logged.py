"""A response log as it is handed over: read as strictly as `ResponseLog` writes it, byte by byte."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detect.bundles.members import Check, is_count, is_digest, is_text, or_null, require
from detect.bundles.refused import Refused
from detect.questioned.questions import KIND
from detect.questioned.responses import Response, UnusableAnswer
from detect.questioned.schedule import AHEAD
from watermark.errors import InputError
from watermark.files import strict_json
from watermark.journal import FORMAT, line_of

CODE = "responses"


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_size(value: Any) -> bool:
    return is_count(value) and value > 0


_FIRST: dict[str, Check] = {"format": lambda value: value == FORMAT, "work": lambda value: isinstance(value, dict)}
_WORK: dict[str, Check] = {
    "kind": lambda value: value == KIND,
    "server": is_text,
    "model": is_text,
    "endpoint": lambda value: value in ("chat", "completions"),
    "sampling": lambda value: isinstance(value, dict),
    "seed": is_count,
    "prompts": _is_size,
    "prompts_sha256": is_digest,
}
_SAMPLING: dict[str, Check] = {
    "max_new_tokens": _is_size, "temperature": _is_number, "top_p": _is_number, "logprobs": or_null(is_count),
}  # fmt: skip


@dataclass(frozen=True)
class Logged:
    """The answers of a response log.

    Attributes:
        work: what the first line says of the questions, as `Questions.identity` has it; None: there is no whole line.
        responses: by number of request, in the order in which they came.
        unbroken: so many requests, 0, 1, 2 …, are answered without a gap.
        whole: the last line is ended; else it was cut short, and is not read.
    """

    work: Mapping[str, Any] | None
    responses: Mapping[int, Response] = field(repr=False)
    unbroken: int
    whole: bool

    @classmethod
    def read(cls, data: bytes, what: str) -> Logged:
        """Read a log.

        Raises:
            Refused: "responses": `ResponseLog` writes no such line, or not there: its request was answered before, or
                is asked only when more before it are answered.
        """
        *lines, rest = data.split(b"\n")
        if not lines:
            return cls(None, {}, 0, not rest)
        work = _work(lines[0], f"{what}, line 1")
        responses: dict[int, Response] = {}
        unbroken = 0
        for number, line in enumerate(lines[1:], start=2):
            one = _response(line, work["prompts"], f"{what}, line {number}")
            if one.request in responses:
                raise Refused(CODE, f"{what}, line {number}: request {one.request} was answered before")
            if one.request >= unbroken + AHEAD:
                raise Refused(CODE, f"{what}, line {number}: request {one.request}, where {unbroken} was not answered")
            responses[one.request] = one
            while unbroken in responses:
                unbroken += 1
        return cls(work, responses, unbroken, not rest)


def _work(line: bytes, what: str) -> dict[str, Any]:
    work: dict[str, Any] = _in_order(_value(line, what), _FIRST, what)["work"]
    _in_order(work, {**_WORK, "plan": is_digest} if "plan" in work else _WORK, what)
    _in_order(work["sampling"], _SAMPLING, what)
    return work


def _response(line: bytes, prompts: int, what: str) -> Response:
    value = _value(line, what)
    try:
        response = Response.from_entry(value, prompts)
        if line_of(response.to_entry()) == line + b"\n":
            return response
        reason = "members in another order, or numbers in another spelling"
    except UnusableAnswer as error:
        reason = str(error)
    except (TypeError, KeyError):
        reason = "no such log-probabilities"
    raise Refused(CODE, f"{what}: not a recorded answer ({reason})")


def _value(line: bytes, what: str) -> Any:
    """The value of a line, if a journal writes it so."""
    try:
        value = strict_json(line)
        same = line_of(value) == line + b"\n"
    except InputError as error:
        raise Refused(CODE, f"{what}: {error}") from None
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise Refused(CODE, f"{what}: not as a response log writes it")
    return value


def _in_order(value: Any, members: Mapping[str, Check], what: str) -> dict[str, Any]:
    """The object, if it has these members in this order."""
    found = require(value, members, CODE, what)
    if list(found) != list(members):
        raise Refused(CODE, f"{what}: its members are in another order than {', '.join(members)}")
    return found
