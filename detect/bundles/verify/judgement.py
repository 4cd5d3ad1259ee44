"""Whether what is said to be found follows: adjusted p, finding, and by the log's order what is confirmatory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from detect.bundles.custody import Log
from detect.bundles.material import COUNT, SCAN, WEIGHTS
from detect.bundles.order import ReadFile, shortcomings
from detect.bundles.refused import Refused
from detect.bundles.verify.leftout import COUNTS, leaves_out_as_planned
from detect.bundles.verify.numbers import TOLERANCE
from detect.bundles.verify.runs import RecordedFamily, RecordedTest
from detect.evidence import (
    KEY_CHECK_ACCEPTS,
    Assessment,
    pairs_for_negative,
    sequence_for_negative,
)
from detect.exact.multiplicity import holm, key_check_adjustment


def check_family(family: RecordedFamily, log: Log) -> None:
    """Adjust a family's p again, and judge it.

    Null: as of `holm`; a test that claims nothing stays in its family with p = 1, and so do those of other keys among
    which the mark was looked for.

    Raises:
        Refused: "evidence", "adjusted" or "finding".
    """
    if not family.tests:
        return
    log10_alpha = math.log10(_alpha(family.tests))
    accepted, plan = _check_of_key(log, family.tests[0].begun), family.tests[0].plan
    checked = accepted is True or (plan is not None and plan.key_check is not None)
    adjusted = holm([test.evidence["log10_p"] or 0.0 for test in family.tests], others=family.keys - 1).tolist()
    for test, value in zip(family.tests, adjusted, strict=True):
        said = test.evidence["log10_p_adjusted"]
        if said is not None:
            if not test.claims or accepted is False or (checked and not family.key_check):
                raise Refused("adjusted", f"{test.what}: adjusted p without a claim, or against the key's check")
            right = key_check_adjustment(value, KEY_CHECK_ACCEPTS) if family.key_check else value
            if abs(said - right) > TOLERANCE * max(1.0, abs(said)):
                raise Refused("adjusted", f"{test.what}: log10_p_adjusted is {said}, and {right} follows")
        if (said is not None and said <= log10_alpha) != (test.evidence["finding"] == "detected"):
            raise Refused("finding", f"{test.what}: {test.evidence['finding']!r} does not follow from its adjusted p")
        if test.evidence["finding"] == "not detected" and not is_negative(test, family):
            raise Refused("finding", f"{test.what}: 'not detected', where too little was looked at to say so")


def is_negative(test: RecordedTest, family: RecordedFamily) -> bool:
    """Whether a test that does not detect would have, had there been what was to be found; of scans not known here.

    Its numbers were computed again already.
    """
    one = test.evidence
    if one["log10_p_adjusted"] is None:
        return False
    if test.kind == SCAN:
        return True
    if test.kind == WEIGHTS:
        return test.control is not None and "plan" in one and test.control.evidence["finding"] == "detected"
    alpha = Assessment(one["alpha"], key_check=family.key_check or None).level
    level = alpha / (len(family.tests) + family.keys - 1)
    effect = test.sought
    assert effect is not None  # a count has one
    if test.kind == COUNT:
        return bool(one["n_scored"] >= pairs_for_negative(effect, one["gamma"], level))
    said = one["sequential"]
    return sequence_for_negative(said["alpha"], said["maximum_pairs"], said["stopped"], effect, one["gamma"], level)


def check_order(tests: Sequence[RecordedTest], log: Log, read: ReadFile) -> list[RecordedTest]:
    """The tests that are confirmatory, each borne out by the log.

    Args:
        read: the case's files.

    Raises:
        Refused: "premature".
    """
    confirmatory = [test for test in tests if test.evidence.get("status") == "confirmatory"]
    for test in confirmatory:
        reasons = shortcomings(log, test.begun, read)
        if reasons:
            raise Refused("premature", f"{test.what} is called confirmatory, and {reasons[0]}")
        if "plan" not in test.evidence:
            raise Refused("premature", f"{test.what} is called confirmatory, and is none of the plan's tests")
        if test.plan is not None and test.plan.tokenizer is None:
            raise Refused("premature", f"{test.what} is called confirmatory, and the plan names no tokenizer")
        if test.kind in COUNTS and not leaves_out_as_planned(test):
            raise Refused(
                "premature", f"{test.what} is called confirmatory, and leaves out other ids than its plan says"
            )
        if test.evidence["finding"] == "detected" and not _opened(test, confirmatory):
            raise Refused(
                "premature", f"{test.what} is called confirmatory, and the primary test found nothing that is"
            )
    return confirmatory


def _opened(test: RecordedTest, confirmatory: Sequence[RecordedTest]) -> bool:
    """Whether the primary test of a test's run has a confirmatory detection: it opens the gate for the others."""
    return any(
        one.run == test.run and "plan" in one.evidence and one.evidence["plan"]["primary"]
        for one in confirmatory
        if one.evidence["finding"] == "detected"
    )


def _alpha(tests: Sequence[RecordedTest]) -> float:
    """The one level of a family; a scan has that of the tests beside it."""
    levels = {test.evidence["alpha"] for test in tests if "alpha" in test.evidence}
    if len(levels) != 1:
        raise Refused("evidence", f"{tests[0].what}: its family is not judged at one level")
    return float(levels.pop())


def _check_of_key(log: Log, before: int) -> bool | None:
    """What the key's check said that was recorded before an entry; None: none was."""
    found = [entry.details["accepted"] for number, entry in log.of("key-checked") if number < before]
    return all(found) if found else None
