"""How results are said to people: the same words on the terminal and on pages."""

from __future__ import annotations

import math

FLOOR = -30  # people are told "below 10^-30": errors of procedure dominate there. JSON is never clipped

NO_MORE = "a smaller one perhaps not; this does not show that the mark was never used"
MEANINGS = {
    "detected": "what was observed depends on the secret key; how that came about is a separate question",
    "inconclusive": "too little was observed to tell; this is not a sign of absence",
    "not detected": "the green fraction named in the notes would have been found with probability at least .9 "
    f"(binomial model), {NO_MORE}",
}


def amount(number: int, noun: str) -> str:
    """ "1 row", "1,500 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_WHOLE = -2  # log10 of a probability, above which it is told in digits


def bound_words(log10_p: float | None) -> str:
    """As `probability_words` of what a probability is at most: "at most 0.32", rounded upwards."""
    if log10_p is None or log10_p <= _WHOLE:
        return probability_words(log10_p)
    steps = math.ceil(round(1000 * 10**log10_p, 6))
    return f"at most {steps / 1000 if steps < 100 else math.ceil(steps / 10) / 100:g}"


def probability_words(log10_p: float | None) -> str:
    """ "about 0.31", "below 10^-7"; never less than 10^-30. "not claimed" for None."""
    if log10_p is None:
        return "not claimed"
    if log10_p > _WHOLE:
        return f"about {10**log10_p:.2g}"
    return f"below 10^{max(FLOOR, math.floor(log10_p) + 1)}"
