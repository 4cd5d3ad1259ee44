"""The page of a validation study: the error-rate table that reports cite, with two drawings. No network, no script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

from markupsafe import Markup

from detect.pages.charts import Axis, Point, Series, chart, power
from detect.pages.rendering import write_page
from detect.visible import one_line
from detect.wording import FLOOR

SHOWN_LEVEL = 1e-6  # of the drawing of detection rates: the level that findings are made at
DRAWN_TEST = "count"
_SPREAD = 1.16  # between populations at one level, so that their intervals stand beside each other
TITLES = {
    "count": "count",
    "e-value": "e-value",
    "scan": "scan",
    "reading": "reading (weighted)",
    "argmax": "argmax (count)",
}


def validation_page(study: Mapping[str, Any], path: Path) -> None:
    """Write the page of what `detect.validation.record.record` gave, floats rounded; replaces what is at `path`.

    Raises:
        InputError: it cannot be written.
    """
    write_page(
        path,
        "validation.html.jinja",
        {
            "study": study,
            "titles": TITLES,
            "headline": headline(study),
            "false_positives": false_positives(study),
            "detections": detections(study),
            "shown_level": SHOWN_LEVEL,
            "strengths": strengths(study),
        },
        filters={
            "line": one_line,
            "low": low_words,
            "high": high_words,
            "digits": rate_words,
            "power": level_words,
            "p": p_words,
            "count": "{:,}".format,
        },
        overwrite=True,
    )


def headline(study: Mapping[str, Any]) -> str:
    """One sentence: whether the counts of small p lie within the limits."""
    limits = study["limits"]
    if limits["within"] == limits["checked"]:
        return f"All {limits['checked']:,} counts of small p lie within the limits that were set beforehand."
    outside = limits["checked"] - limits["within"]
    return f"{outside:,} of {limits['checked']:,} counts of small p lie outside the limits that were set beforehand."


def level_words(level: float) -> str:
    """ "10^-3"; 0.1 and 0.01 as they are."""
    return f"{level:g}" if level >= 0.01 else f"10^{round(math.log10(level))}"


def rate_words(rate: float) -> str:
    """A rate with two digits."""
    return _two_digits(rate, ROUND_HALF_EVEN)


def low_words(rate: float) -> str:
    """The lower end of an interval with two digits, rounded down."""
    return _two_digits(rate, ROUND_FLOOR)


def high_words(rate: float) -> str:
    """The upper end, rounded up."""
    return _two_digits(rate, ROUND_CEILING)


def _two_digits(rate: float, rounding: str) -> str:
    """In full, without powers."""
    if rate in (0.0, 1.0):
        return f"{rate:.0f}"
    places = max(2, 1 - math.floor(math.log10(rate)))
    return f"{Decimal(repr(rate)).quantize(Decimal(1).scaleb(-places), rounding=rounding):f}"


def p_words(log10_p: float) -> str:
    """ "10^-3.4"; never less than "<10^-30"."""
    if log10_p < FLOOR:
        return f"<10^{FLOOR}"
    return f"10^{log10_p:.1f}" if log10_p < -0.05 else "1"


def strengths(study: Mapping[str, Any]) -> list[str]:
    """The names of the marked rows, in their order."""
    return list(dict.fromkeys(strength(row) for row in study["marked"]))


def strength(row: Mapping[str, Any]) -> str:
    """How a marked row is called: its δ, or the name of the given texts."""
    return str(row["population"]) if row["delta"] is None else f"δ = {row['delta']:g}"


def false_positives(study: Mapping[str, Any]) -> Markup:
    """The count's false positive rate against the level, a series a population, all its lengths together."""
    pooled = [one for one in study["pooled"] if one["test"] == DRAWN_TEST]
    series, said = [], []
    for number, one in enumerate(pooled):
        shift = _SPREAD ** (number - (len(pooled) - 1) / 2)
        points = []
        for rate in one["rates"]:
            low, high = rate["interval95"]
            points.append(Point(rate["level"] * shift, rate["rate"], low, high, hollow=not rate["count"]))
            said.append(f"{one['population']}, level {level_words(rate['level'])}: {rate['count']} of {rate['of']}")
        series.append(Series(one["population"], tuple(points)))
    levels = study["levels"]
    x = Axis(min(levels) / 4, max(levels) * 4, "level", tuple((at, _power_of(at)) for at in levels), True)
    y = Axis(1e-7, 1.0, "rate of p at or below it", tuple((10.0**-n, _power_of(10.0**-n)) for n in range(8)), True)
    return chart(x, y, series, f"False positives of the count. {'; '.join(said)}.", diagonal=True)


def detections(study: Mapping[str, Any]) -> Markup | None:
    """The count's detection rate at `SHOWN_LEVEL` against the length of the text, a series a strength."""
    if not study["marked"]:
        return None
    series, said = [], []
    for name in strengths(study):
        points = []
        for row in study["marked"]:
            if strength(row) == name:
                rate = _at(row["tests"][DRAWN_TEST]["rates"], SHOWN_LEVEL)
                points.append(Point(float(row["tokens"]), rate["rate"], *rate["interval95"]))
                said.append(f"{name}, {row['tokens']} tokens: {rate['count']} of {rate['of']}")
        series.append(Series(name, tuple(points), joined=True))
    lengths = sorted({row["tokens"] for row in study["marked"]})
    x = Axis(lengths[0] / 1.3, lengths[-1] * 1.3, "tokens of the text", tuple((n, f"{n:,}") for n in lengths), True)
    y = Axis(0.0, 1.0, f"share with p ≤ {power(-6)}", tuple((n / 4, f"{n / 4:.0%}") for n in range(5)))
    return chart(x, y, series, f"Detection rates of the count at level {SHOWN_LEVEL:g}. {'; '.join(said)}.")


def _at(rates: Sequence[Mapping[str, Any]], level: float) -> Mapping[str, Any]:
    return next(rate for rate in rates if rate["level"] == level)


def _power_of(level: float) -> str:
    exponent = round(math.log10(level))
    return power(exponent) if exponent else "1"
