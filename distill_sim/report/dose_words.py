"""The dose–response fits in sentences: what a line's own check says, what bends, and where the line means nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detect.wording import FLOOR, probability_words
from distill_sim.dose import EXTRAPOLATED
from distill_sim.report.names import TEST_TITLES
from distill_sim.report.words import number_words, power_words

Response = Mapping[str, Any]  # of one test, as `doses.dose` gives it


def told(response: Response) -> bool:
    """Whether a table of extrapolated p would say anything but "below the floor"."""
    lowest = power_words(float(FLOOR - 1))
    return any(power_words(one[end]) != lowest for one in response["extrapolation"] for end in ("log10_p", "high"))


def sentences(test: str, response: Response) -> list[str]:
    """What the fit says, its own check first; nothing without one."""
    fit, title = response["fit"], TEST_TITLES[test]
    if fit is None:
        return []
    return [
        check_words(title, response["hold_out"]),
        {
            "down": f"{title}: the doses measured bend down already, so the line promises too much beyond them.",
            "up": f"{title}: the doses measured bend up, so the line describes them poorly.",
            "none": f"{title}: no bend can be made out within the doses measured.",
        }[fit["bend"]],
        f"With {fit['doses'][-1]:,.0f} answers, the largest dose, the median p is "
        f"{probability_words(-fit['at_largest'])}; if learning stopped there, it would stay so.",
        *_beyond(response),
        *_ceiling(response),
        _details(fit),
    ]


def _beyond(response: Response) -> list[str]:
    if not response["extrapolation"] or told(response):
        return []
    first, last = (f"10^{len(str(EXTRAPOLATED[at])) - 1}" for at in (0, -1))
    return [f"From {first} to {last} answers the line and the weak end of its interval lie below 10^{FLOOR}, where no "
            "number is told."]  # fmt: skip


def check_words(title: str, check: Mapping[str, Any] | None) -> str:
    """What a line fitted to the lower doses said of the largest one, against what was measured there.

    In −log10 p, the line's own scale: no chance below the floor is claimed.
    """
    if check is None:
        return (
            f"{title}: fewer than four doses stand clear of noise, so the line could not be checked on a dose that "
            "it was not fitted to."
        )
    low, middle, high, measured = (number_words(-check[end]) for end in ("high", "log10_p", "low", "measured"))
    said = (
        f"{title}: fitted to {check['fitted'][0]:,.0f} to {check['fitted'][-1]:,.0f} answers alone, the line says a "
        f"−log10 p of {middle} (95% interval {low} to {high}) for {check['answers']:,.0f} answers. Measured there: "
        f"median {measured}, {check['inside']} of {check['runs']} runs inside the interval. "
    )
    if check["promised"] is None:
        return (
            said
            + "The line has not failed this check, in which a bend can go unseen; the doses below are far beyond it."
        )
    way = {"too much": "upwards", "too little": "downwards"}[check["promised"]]
    return (
        f"{said}So this line has failed its own check {way}: it promised {check['promised']}, and what it says beyond "
        "the doses measured is no forecast."
    )


def _ceiling(response: Response) -> list[str]:
    most, cut = response["ceiling"], [one for one in response["extrapolation"] if one["at_ceiling"]]
    said = []
    if cut:
        whole = all(one["high"] <= most for one in cut)
        what = "the line and all of its interval stand" if whole else "the line or an end of its interval stands"
        said.append(f"From {cut[0]['answers']:,.0f} answers on {what} at the most that this test could give here, "
                    f"a −log10 p of {number_words(-most)}, and is cut there.")  # fmt: skip
    reached = response["passes_ceiling"]
    if reached is not None and reached <= EXTRAPOLATED[-1]:
        said.append(f"From about {number_words(reached)} answers on the line asks for more than this test could give "
                    "if all it weighed were green: there it says nothing.")  # fmt: skip
    return said


def _details(fit: Mapping[str, Any]) -> str:
    said = f"Fitted to {fit['n']} runs of {fit['doses'][0]:,.0f} to {fit['doses'][-1]:,.0f} answers"
    if fit["left_out"]:
        said += f" (too near to noise: {', '.join(f'{dose:,.0f}' for dose in fit['left_out'])})"
    said += f"; slope {fit['slope']:.2f} (95% interval {fit['slope_low']:.2f} to {fit['slope_high']:.2f}"
    for who in ("seed", "key"):
        low, high = fit[f"{who}_slopes"] or (0.0, 0.0)
        if low != high:
            said += f"; from {who} to {who} {low:.2f} to {high:.2f}"
    said += ")."
    if fit["raised"]:
        said += f" Runs with p above .5, counted as .5 because zero has no logarithm: {fit['raised']}."
    return said
