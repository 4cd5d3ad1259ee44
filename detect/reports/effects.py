"""What a negative is a negative of: the dependence that a test would most likely have found, in words."""

from __future__ import annotations

from collections.abc import Iterable

from detect.bundles.material import WEIGHTS
from detect.bundles.verify.runs import RecordedTest
from detect.plans.content import COUNTED, GREENEST, MEASURED, is_hopeful
from detect.plans.plan import Plan
from detect.reports import words
from detect.reports.blocks import Text, filled, joined, number, percent

NEGATIVE = "not detected"


def is_negative(test: RecordedTest) -> bool:
    return bool(test.evidence["finding"] == NEGATIVE)


def meaning(tests: Iterable[RecordedTest]) -> Text:
    """What "not detected" says of these tests; those with other findings are left out."""
    strengths = dict.fromkeys(_strength(test) for test in tests if is_negative(test))
    return filled(words.MEANS[NEGATIVE], strength=joined(strengths, ", or "))


def _strength(test: RecordedTest) -> str:
    if test.sought is not None:
        return f"a green fraction of {number(test.sought)}"
    return words.AS_THE_CONTROL if test.kind == WEIGHTS else words.AS_THE_SPANS


def cautions(tests: Iterable[RecordedTest]) -> list[Text]:
    """Of negatives of a model's answers: that hardly any student has the green fraction that was to be found."""
    found = {
        (test.sought, test.evidence["gamma"]): None
        for test in tests
        if is_negative(test) and test.sought is not None and test.evidence["test"] == "sampled"
    }
    return [_caution(words.HOPEFUL, effect, gamma) for effect, gamma in found if is_hopeful(effect, gamma)]


def planned_cautions(plan: Plan) -> list[Text]:
    """The same of a plan, whatever was found."""
    if COUNTED not in plan.tests or not is_hopeful(plan.effect, plan.gamma):
        return []
    return [_caution(words.HOPEFUL_PLAN, plan.effect, plan.gamma)]


def _caution(sentence: str, effect: float, gamma: float) -> Text:
    return filled(sentence, effect=number(effect), most=percent(gamma + GREENEST), measured=MEASURED)
