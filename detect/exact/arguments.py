"""Checks of the numbers that come in. Every refusal shows the value."""

from __future__ import annotations

import operator
from typing import SupportsIndex

from watermark.errors import InputError


def require_count(name: str, value: SupportsIndex, *, low: int = 0, high: int | None = None) -> int:
    """Return `value` as an int in [low, high] (NumPy integers are welcome, floats and booleans are not)."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} must be an integer, got {value!r}") from None
    if number < low or (high is not None and number > high):
        limit = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name} must be {limit}, got {number}")
    return number


def require_probability(name: str, value: float) -> float:
    """Return `value` as a float strictly between 0 and 1."""
    number = float(value)
    if not 0.0 < number < 1.0:  # also refuses NaN
        raise InputError(f"{name} must lie strictly between 0 and 1, got {value!r}")
    return number
