"""How a study's numbers are said: plain words, no more than the tests can claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detect.wording import FLOOR, probability_words


def power_words(log10_p: float | None) -> str:
    """A short p for a table or a drawing: "0.31", "<10^-7", "<10^-30" at least."""
    words = probability_words(log10_p)
    if log10_p is not None and log10_p <= FLOOR - 1:
        return f"<10^{FLOOR}"
    return words.replace("about ", "").replace("below ", "<")


def number_words(value: float) -> str:
    """Two significant digits of a large number: "1,300"."""
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.2g}"


def listed(parts: Sequence[str], most: int = 8) -> str:
    """ "a", "a; b", "a; b; and 4 more"."""
    if len(parts) > most:
        return "; ".join(parts[:most]) + f"; and {len(parts) - most} more"
    return "; ".join(parts)


def spread(values: Sequence[float]) -> str:
    """ "12", "12 to 21"."""
    low, high = min(values), max(values)
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def of_runs(found: Mapping[str, Any]) -> str:
    return f"{found['detected']} of {found['runs']}"


NARROW = 1.1  # doses that are equally likely and further apart than this factor leave no single number to be told


def enough_words(one: Mapping[str, Any]) -> str:
    """ "between 12 and 27 (95% interval)"; "about 190 (95% interval 130 to 320)" where one number is likelier."""
    (smallest, *first), (largest, *last) = (f(one["shares"]) for f in (min, max))
    if one["status"] == "at or below":
        return f"at most {smallest:,.0f}, the smallest dose measured ({' of '.join(map(str, first))} runs there)"
    if one["status"] == "not reached":
        return f"not reached with {largest:,.0f}, the largest dose measured ({' of '.join(map(str, last))} runs there)"
    low, high = (None if one[end] is None else number_words(one[end]) for end in ("low", "high"))
    if one["flat"][1] > NARROW * one["flat"][0]:
        if low and high:
            return f"between {low} and {high} (95% interval)"
        if high:
            return f"at most {high} (95% interval)"
        return f"{low} or more (95% interval)" if low else f"not to be told from {smallest:,.0f} to {largest:,.0f}"
    low, high = low or f"below {smallest:,.0f}", high or f"above {largest:,.0f}"
    return f"about {number_words(one['dose'])} (95% interval {low} to {high})"
