"""JSON as bundles have it: RFC 8785, floats of 12 significant digits, and nothing else is read."""

from __future__ import annotations

from typing import Any

import rfc8785

from detect.bundles.refused import Refused
from watermark.errors import InputError
from watermark.files import strict_json

SIGNIFICANT = 12  # digits of a float
DEEPEST = 50  # values within values
EXACT = 1 << 53  # from here on JSON's numbers are not whole ones


def dumps(value: Any) -> bytes:
    """The bytes of a value, its floats rounded, without a final line feed.

    Raises:
        ValueError: NaN, infinite, or a number that RFC 8785 does not write so that it is read again.
    """
    return rfc8785.dumps(rounded(value))  # type: ignore[no-any-return]


def loads(data: bytes, what: str) -> Any:
    """The value of canonical bytes.

    Args:
        what: they are, for the error.

    Raises:
        Refused: "json".
    """
    try:
        value = strict_json(data)
        canonical = rfc8785.dumps(value)
    except InputError as error:
        raise Refused("json", f"{what}: {error}") from None
    except RecursionError:
        raise Refused("json", f"{what}: nested too deeply") from None
    except ValueError:
        raise Refused("json", f"{what}: holds a number or text that canonical JSON has not") from None
    if not _is_shallow(value):
        raise Refused("json", f"{what}: nested too deeply")
    if canonical != data:
        raise Refused("json", f"{what}: not in canonical form (RFC 8785)")
    return value


def _is_shallow(value: Any, room: int = DEEPEST) -> bool:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return room > 0 and all(_is_shallow(one, room - 1) for one in inner)
    return True


def lines_of(data: bytes, what: str) -> list[bytes]:
    """The lines of a JSONL file, without their line feeds, in order.

    Raises:
        Refused: "json": the last line is not ended.
    """
    *lines, rest = data.split(b"\n")
    if rest:
        raise Refused("json", f"{what}: the last line is not ended by a line feed")
    return lines


def load_lines(data: bytes, what: str) -> list[Any]:
    """The values of a JSONL file (Refused: "json")."""
    return [loads(line, f"{what}, line {number}") for number, line in enumerate(lines_of(data, what), start=1)]


def rounded(value: Any) -> Any:
    """A JSON value with its floats rounded to 12 significant digits.

    Raises:
        ValueError: a float that would be written as an integer beyond what JSON holds exactly.
    """
    if isinstance(value, float):
        number = float(f"{value:.{SIGNIFICANT - 1}e}")
        if number.is_integer() and EXACT <= abs(number) < 1e21:
            raise ValueError(f"{value} would be written as an integer that is not exact")
        return number
    if isinstance(value, dict):
        return {name: rounded(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value
