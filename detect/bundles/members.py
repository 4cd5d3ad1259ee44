"""What the members of JSON in a bundle must be: small checks that say what they were given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from detect.bundles.refused import Refused

Check = Callable[[Any], bool]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_RUN = re.compile(r"[0-9]{4}")


def is_digest(value: Any) -> bool:
    """SHA-256 in 64 lower-case hex digits."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def is_run(value: Any) -> bool:
    """A run's number: "0001"."""
    return isinstance(value, str) and _RUN.fullmatch(value) is not None


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def is_count(value: Any) -> bool:
    """An integer from 0 on; True is none."""
    return type(value) is int and value >= 0


def or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def has(**members: Check) -> Check:
    """An object of exactly these members."""
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == members.keys()
        and all(check(value[name]) for name, check in members.items())
    )


def require(value: Any, members: Mapping[str, Check], code: str, what: str) -> dict[str, Any]:
    """The object, if it has exactly these members and each is what it must be.

    Raises:
        Refused: with `code`.
    """
    if not isinstance(value, dict) or value.keys() != members.keys():
        raise Refused(code, f"{what}: not an object of {', '.join(members) or 'nothing'}")
    for name, check in members.items():
        if not check(value[name]):
            raise Refused(code, f"{what}: {name} is malformed")
    return value
