"""Whether the tests of a run that carries a plan out are those that it plans, made and judged as it says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from detect.bundles.material import COUNT, E_PROCESS, WEIGHTS
from detect.bundles.refused import Refused
from detect.evidence import Assessment
from detect.plans.content import COUNTED
from detect.plans.plan import Plan

if TYPE_CHECKING:
    from detect.bundles.verify.runs import RecordedTest


def check_planned(plan: Plan, tests: Mapping[str, RecordedTest], what: str) -> None:
    """Raise Refused unless just the plan's tests were made, and judged, stopped and lined up as it says."""
    of_plan = {test.evidence["plan"]["test"]: test for test in tests.values() if "plan" in test.evidence}
    if of_plan.keys() != set(plan.tests) or any(name != test.name for name, test in of_plan.items()):
        raise Refused("run", f"{what}: not the tests that were planned")
    for name, test in of_plan.items():
        one = test.evidence
        said = {"alpha": one["alpha"], "primary": one["plan"]["primary"]}
        planned: dict[str, Any] = {"alpha": plan.alpha, "primary": name == plan.primary}
        if "sequential" in one:
            said["maximum_pairs"], planned["maximum_pairs"] = one["sequential"]["maximum_pairs"], plan.maximum_pairs
        if test.claims and "lineup" not in one:
            raise Refused("evidence", f"{test.what}: its planned line-up is not there")
        if "lineup" in one:
            said["line-up"] = (one["lineup"]["decoys"], one["lineup"]["seed"])
            planned["line-up"] = (plan.lineup.decoys, plan.lineup.seed)
        for member, value in planned.items():
            if said[member] != value:
                raise Refused("evidence", f"{test.what}: {member} is {said[member]}, the plan says {value}")


def check_stopping(plan: Plan, tests: Mapping[str, RecordedTest], checked: Mapping[str, bool]) -> None:
    """Raise Refused unless each of the plan's tests is of the kind that it plans, and its e-process ends as it says.

    A count that was not planned as an e-process has no level for looking on the way: put in the place of one, it could
    be stopped where its p is smallest.

    Args:
        checked: by the tests' names, whether their p are multiplied for the key's check.
    """
    for name in plan.tests:
        test = tests[name]
        level = Assessment(plan.alpha, key_check=checked[name] or None).level
        stops = plan.stops(level) if name == plan.primary else None
        kind = WEIGHTS if name != COUNTED else COUNT if stops is None else E_PROCESS
        if test.kind != kind:
            raise Refused("run", f"{test.what}: of the kind {test.kind}, the plan's is {kind}")
        if stops is not None and not math.isclose(test.evidence["sequential"]["alpha"], stops[0], rel_tol=1e-9):
            said = test.evidence["sequential"]["alpha"]
            raise Refused("evidence", f"{test.what}: its e-process ends early at {said}, the plan says {stops[0]}")


def check_controls(plan: Plan, tests: Mapping[str, RecordedTest]) -> None:
    """Raise Refused unless the plan's tests say of their controls what is recorded of these, at the level they must."""
    for name in plan.tests:
        test, control = tests[name], tests[name].control
        numbers = None if control is None else {part: control.evidence[part] for part in ("log10_p", "finding")}
        if test.evidence["plan"]["control"] != numbers:
            raise Refused("evidence", f"{test.what}: its control is not as it was recorded")
        alpha = plan.alpha / (1 if name == plan.primary else len(plan.tests) - 1)
        if control is not None and not (
            control.kind == WEIGHTS == test.kind and math.isclose(control.evidence["alpha"], alpha, rel_tol=1e-9)
        ):
            raise Refused("evidence", f"{control.what}: a control is weighed as its test is, and judged at {alpha}")
