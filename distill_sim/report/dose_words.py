"""The dose–response fits in sentences: what bends, what may not be told, and where the line means nothing."""

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
    """What the fit says, the bend first; nothing without one."""
    fit, title = response["fit"], TEST_TITLES[test]
    if fit is None:
        return []
    return [
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


def _ceiling(response: Response) -> list[str]:
    reached = response["passes_ceiling"]
    if reached is None or reached > EXTRAPOLATED[-1]:
        return []
    return [f"From about {number_words(reached)} answers on the line asks for more than this test could give if all it "
            "weighed were green: there it says nothing."]  # fmt: skip


def _details(fit: Mapping[str, Any]) -> str:
    said = f"Fitted to {fit['n']} runs of {fit['doses'][0]:,.0f} to {fit['doses'][-1]:,.0f} answers"
    if fit["left_out"]:
        said += f" (too near to noise: {', '.join(f'{dose:,.0f}' for dose in fit['left_out'])})"
    said += f"; slope {fit['slope']:.2f} (95% interval {fit['slope_low']:.2f} to {fit['slope_high']:.2f}"
    if fit["seed_slopes"] and fit["seed_slopes"][0] != fit["seed_slopes"][1]:
        said += f"; from seed to seed {fit['seed_slopes'][0]:.2f} to {fit['seed_slopes'][1]:.2f}"
    said += ")."
    if fit["raised"]:
        said += f" Runs with p above .5, counted as .5 because zero has no logarithm: {fit['raised']}."
    return said
