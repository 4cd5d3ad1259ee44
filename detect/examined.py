"""Results of an examination: without a plan one exploratory family; with one, judged as the plan says.

Under a plan the primary test is judged by itself, and p of all others is Holm-adjusted among them. What was planned,
committed to and checked is confirmatory, but no detection past a primary test that found nothing; everything else says
why it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from detect.counting import Tally, WeightTally
from detect.decoys import Lineup
from detect.evidence import EXPLORATORY_NOTE, Assessment, Evidence, assess, assess_family
from detect.observation import Observed, Texts
from detect.plans.plan import Plan
from detect.sequential import SequentialTally
from watermark.errors import InputError

NOT_BOUND_NOTE = (
    "the plan binds neither the questioned model nor how often it is carried out; no p here allows for a second time"
)

GATE_NOTE = "a detection by another than the primary test is confirmatory only behind a confirmatory one by that"


@dataclass(frozen=True)
class Examined:
    """A test that was carried out.

    Attributes:
        notes: how.
        control: the same test of the plan's positive control.
        deviation: in what it is not the plan's, in words; None: in nothing.
        observed: what was counted or weighed, for whoever checks it; None: it was not kept.
        control_observed: the same of the control.
        answers: of a server, token ids of what was weighed, where `observed` does not hold them.
    """

    tally: Tally
    notes: Sequence[str] = ()
    lineup: Lineup | None = None
    control: WeightTally | None = None
    deviation: str | None = None
    observed: Observed | None = field(default=None, repr=False)
    control_observed: Observed | None = field(default=None, repr=False)
    answers: Texts | None = field(default=None, repr=False)

    def but_for(self, reasons: Sequence[str]) -> Examined:
        """The same, not the plan's for these reasons, too."""
        words = [*([] if self.deviation is None else [self.deviation]), *reasons]
        return replace(self, deviation="; ".join(words) or None)


def judge(tests: Mapping[str, Examined], how: Assessment) -> dict[str, Evidence]:
    """Judge tests that nobody planned, as one family. Null: as `assess_family`."""
    found = assess_family(
        [one.tally for one in tests.values()],
        how,
        lineups=[one.lineup for one in tests.values()],
        notes=[one.notes for one in tests.values()],
    )
    return dict(zip(tests, found, strict=True))


def judge_planned(plan: Plan, tests: Mapping[str, Examined], how: Assessment) -> dict[str, Evidence]:
    """Judge the tests of a plan, by their names in it.

    Null: as `assess_family`. The chance that the primary test detects under it is at most alpha, and so is the chance
    that any of the others does. A detection by one of these is confirmatory only behind one by the primary test
    (serial gatekeeping), so that the chance of any confirmatory detection is at most alpha, too.

    Raises:
        InputError: these are not the plan's tests, or not judged or stopped as it says.
    """
    _check(plan, tests, how)
    others = {name: one for name, one in tests.items() if name != plan.primary}
    found = {**judge({plan.primary: tests[plan.primary]}, how), **judge(others, how)}
    primary = _under_plan(plan, plan.primary, tests[plan.primary], found[plan.primary], how, [])
    opened = (primary.finding, primary.status) == ("detected", "confirmatory")
    gates = {name: [] if opened or found[name].finding != "detected" else [GATE_NOTE] for name in others}
    behind = {name: _under_plan(plan, name, one, found[name], how, gates[name]) for name, one in others.items()}
    judged = {plan.primary: primary, **behind}
    return {name: judged[name] for name in tests}


def _check(plan: Plan, tests: Mapping[str, Examined], how: Assessment) -> None:
    if set(tests) != set(plan.tests) or (how.alpha, how.effect) != (plan.alpha, plan.effect):
        raise InputError("other tests, or another alpha or effect, than the plan says; carry it out as it is")
    primary = tests[plan.primary].tally
    if any(one.control is not None for one in tests.values()) and not plan.has_checked_control:
        raise InputError("the positive control was not checked against the plan's digest")
    stops = (primary.alpha, primary.maximum_pairs) if isinstance(primary, SequentialTally) else None
    if stops != plan.stops(how.level):
        raise InputError("the primary test did not stop by the plan's rule; carry it out as it says")


def judge_control(plan: Plan, name: str, one: Examined, how: Assessment) -> Evidence | None:
    """The positive control of a test, at the level that the test may have to reach; None: there is none.

    Null: as `assess`.
    """
    if one.control is None:
        return None
    family = 1 if name == plan.primary else len(plan.tests) - 1
    return assess(one.control, replace(how, alpha=how.alpha / family))


def _under_plan(plan: Plan, name: str, one: Examined, evidence: Evidence, how: Assessment, gate: list[str]) -> Evidence:
    """What the plan adds to one test's evidence: its status, and what its positive control shows."""
    control = judge_control(plan, name, one, how)
    why_not = _why_exploratory(plan, one, evidence, gate)
    notes = [note for note in evidence.notes if note != EXPLORATORY_NOTE]
    finding = evidence.finding
    if isinstance(one.tally, WeightTally) and finding == "inconclusive" and evidence.log10_p_adjusted is not None:
        finding = "not detected" if control is not None and control.finding == "detected" else "inconclusive"
        notes.append(_what_the_control_says(plan, control))
    return replace(
        evidence,
        finding=finding,
        status="exploratory" if why_not else "confirmatory",
        notes=(*notes, *_family_note(plan), *plan.notes, NOT_BOUND_NOTE, *why_not),
        plan={
            "sha256": plan.digest,
            "test": name,
            "primary": name == plan.primary,
            "control": None if control is None else {"log10_p": control.log10_p, "finding": control.finding},
        },
    )


def _why_exploratory(plan: Plan, one: Examined, evidence: Evidence, gate: list[str]) -> list[str]:
    """Empty where it is confirmatory."""
    reasons = [*([] if one.deviation is None else [one.deviation]), *plan.shortcomings, *gate]
    if evidence.log10_p_adjusted is None:
        reasons.append("nothing is claimed")
    return [f"exploratory in spite of the plan: {'; '.join(reasons)}"] if reasons else []


def _what_the_control_says(plan: Plan, control: Evidence | None) -> str:
    if plan.positive_control is None:
        return "the plan names no positive control: this test cannot say that a mark is absent"
    name = f"positive control (digest {plan.positive_control.digest[:16]})"
    if control is None:
        return f"{name}: not examined, so this test cannot say that a mark is absent"
    log10_p = "not claimed" if control.log10_p is None else f"{control.log10_p:.1f}"
    if control.finding == "detected":
        return f"{name}: detected by the same test, log10_p {log10_p}"
    return f"{name}: not detected by the same test either (log10_p {log10_p}), so it is too weak to say anything"


def _family_note(plan: Plan) -> list[str]:
    others = len(plan.tests) - 1
    if not others:
        return []
    how = "the other one is, too" if others == 1 else f"the {others} others are one family (Holm)"
    return [
        f"the plan's primary test, {plan.primary}, is judged by itself; {how}, and a detection there is confirmatory "
        "only behind one by the primary test: so the chance of any that is confirmatory is at most alpha"
    ]
