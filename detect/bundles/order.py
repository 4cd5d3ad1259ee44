"""The order of events: whether a case's log bears out that what a run found had been settled before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detect.bundles.custody import Log


def shortcomings(log: Log, run: int) -> list[str]:
    """Why nothing that a run found is confirmatory by the log; empty: it may be.

    1. The plan that it names was recorded as planned, with a commitment's root that was recorded before.
    2. Both were recorded before any run examined the same questioned model; for texts, before the run.
    3. No earlier run carried this plan out.
    4. The key was not checked after it was planned for.

    Args:
        run: number of the entry by which it began.
    """
    details = log.entries[run].details
    return why_not(log, run, details["plan"], details["questioned"])


def why_not(log: Log, at: int, plan: str | None, questioned: Mapping[str, Any] | None) -> list[str]:
    """The same of a run that begins as entry `at`, which need not be there yet.

    Args:
        plan: digest of the plan that it carries out; None: it carries none out.
        questioned: as its entry names the model.
    """
    if plan is None:
        return ["it carries no plan out"]
    planned = [(number, one) for number, one in log.of("planned") if number < at and one.details["plan"] == plan]
    if not planned:
        return ["the case does not record the plan before the run"]
    place, entry = planned[0]
    reasons = []
    root = entry.details["root"]
    if not any(number < place and one.details["root"] == root for number, one in log.of("committed")):
        reasons.append("the case does not record the key's commitment before the plan")
    begun = [(number, one.details) for number, one in log.of("begun") if number < at]
    if questioned is not None and any(number < place and one["questioned"] == questioned for number, one in begun):
        reasons.append("the case records that the questioned model was examined before the plan")
    if any(one["plan"] == plan for _, one in begun):
        reasons.append("the case records an earlier run of the same plan")
    if any(number > place for number, _ in log.of("key-checked")):
        reasons.append("the case records a check of the key after the plan")
    return reasons
