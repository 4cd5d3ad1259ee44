"""Whether the numbers of a test's evidence follow from what it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from detect.bundles.material import SCAN
from detect.bundles.refused import Refused
from detect.bundles.verify.marked import Marked
from detect.bundles.verify.retally import retally, texts_of
from detect.bundles.verify.runs import RecordedFamily, RecordedTest
from detect.counting import Tally, WeightTally
from detect.decoys import lineup
from detect.evidence import KEY_CHECK_ACCEPTS, Assessment, assess, excluded_words
from detect.exact.weighted import evaluate_bound
from detect.numbers import numbers_of
from detect.scan import Scan, Span, scan_documents
from detect.sequential import SequentialTally
from detect.wording import amount
from watermark.errors import InputError

TOLERANCE = 1e-9
SHOWN_TOLERANCE = 1e-6  # of what is shown beside a p: it comes out of approximations


def check_numbers(test: RecordedTest, family: RecordedFamily, marked: Marked) -> None:
    """Compute a test again, and compare.

    Null of what is computed: as of the test.

    Args:
        family: that it is of.

    Raises:
        Refused: "material", "pairs", "colours", "p", "e", "z", "interval", "theta", "lineup" or "evidence".
    """
    if test.kind == SCAN:
        if marked.opened:
            _check_scan(test, family, marked)
        elif test.evidence["spans"] and test.evidence["finding"] != "detected":
            raise Refused("p", f"{test.what}: spans of a scan that does not detect")
        return
    tally = retally(test, marked)
    if tally.test != test.evidence["test"]:
        raise Refused("evidence", f"{test.what}: its material is of the test {tally.test}")
    found = numbers_of(tally)
    counted = {"n_tokens": tally.n_tokens, "n_scored": tally.n_scored, "n_contexts": tally.pairs.n_contexts}
    _agree(test.what, "pairs", test.evidence, counted)
    if isinstance(tally, SequentialTally):
        _agree(f"{test.what}, sequential", "pairs", test.evidence["sequential"], found["sequential"])
    _agree(test.what, "colours", test.evidence, {"n_green": found["n_green"]})
    if isinstance(tally, WeightTally):
        _agree(test.what, "colours", {"statistic": test.statistic}, {"statistic": tally.statistic})
    _check_theta(test, tally)
    claimed = {name: found[name] if test.claims else None for name in ("log10_p", "log10_e", "z_score")}
    if isinstance(tally, WeightTally) and test.claims:
        claimed["log10_p"] = _bound(test, tally)
    _check_claim(test, tally, marked)
    for name, code in (("log10_p", "p"), ("log10_e", "e"), ("z_score", "z")):
        _agree(test.what, code, test.evidence, {name: claimed[name]})
    _agree(test.what, "interval", test.evidence, {name: found[name] for name in ("green_fraction", "ci95")})
    _check_beside(test, found, marked)
    _check_lineup(test, tally)


def _check_theta(test: RecordedTest, tally: Tally) -> None:
    theta = test.evidence["theta"]
    if (theta is not None) != (isinstance(tally, WeightTally) and test.claims) or (theta is not None and theta < 0):
        raise Refused("theta", f"{test.what}: theta is {theta}")


def _bound(test: RecordedTest, tally: WeightTally) -> float:
    if tally.statistic <= 0:
        return 0.0
    try:
        return evaluate_bound(tally.weights, tally.green.gamma, tally.statistic, test.evidence["theta"])
    except InputError as error:
        raise Refused("p", f"{test.what}: {error}") from None


def _check_claim(test: RecordedTest, tally: Tally, marked: Marked) -> None:
    """A claim that the audits withdraw must not be made. To leave one out is anybody's right."""
    if not marked.opened or not test.claims:
        return
    again = assess(tally, Assessment(alpha=test.evidence["alpha"]))
    if again.log10_p is None:
        raise Refused("p", f"{test.what}: no p can be claimed: {again.notes[0]}")


def _check_beside(test: RecordedTest, found: Mapping[str, Any], marked: Marked) -> None:
    """What is shown beside the p; comparison tests only under the opened key."""
    if not test.claims:
        return
    shown = {"log10_p_saddlepoint": found["log10_p_saddlepoint"]}
    _agree(test.what, "p", test.evidence, shown, SHOWN_TOLERANCE)
    comparisons = found.get("comparisons")
    if comparisons is not None and marked.opened:
        if test.evidence["comparisons"].keys() != comparisons.keys():
            raise Refused("p", f"{test.what}: it has other comparison tests than {', '.join(comparisons)}")
        for name, one in comparisons.items():
            _agree(f"{test.what}, {name}", "p", test.evidence["comparisons"][name], one)


def _check_lineup(test: RecordedTest, tally: Tally) -> None:
    if "lineup" not in test.evidence:
        return
    said, what = test.evidence["lineup"], f"{test.what}, line-up"
    if not test.claims:
        raise Refused("lineup", f"{what}: of a test that claims nothing")
    found = lineup(tally, said["decoys"], seed=bytes.fromhex(said["seed"])).to_dict()
    _agree(what, "lineup", said, {name: found[name] for name in ("rank", "p_rank", "log10_p_best_decoy")})
    _agree(what, "lineup", said, {"uniformity_p": found["uniformity_p"]}, SHOWN_TOLERANCE)


def _check_scan(test: RecordedTest, family: RecordedFamily, marked: Marked) -> None:
    documents, prompts = texts_of(test)
    scan = scan_documents(marked, documents, prompts)
    _agree(test.what, "pairs", test.evidence, {"intervals": scan.intervals})
    if test.claims:
        if withdrawn := excluded_words(scan.excluded_log10_p):
            raise Refused("p", f"{test.what}: no p can be claimed: {withdrawn}")
        _agree(test.what, "p", test.evidence, {"log10_p": scan.log10_p})
    right = [] if test.evidence["finding"] != "detected" else _spans(scan, family)
    said = test.evidence["spans"]
    if len(said) != len(right):
        raise Refused("p", f"{test.what}: {amount(len(said), 'span')}, and {len(right)} follow from the material")
    for number, (one, span) in enumerate(zip(said, right, strict=True), start=1):
        values = asdict(span)
        _agree(f"{test.what}, span {number}", "p", one, {"document_index": values.pop("document"), **values})


def _spans(scan: Scan, family: RecordedFamily) -> list[Span]:
    """Of a scan that detects. Null: as `Scan.spans`; the factor is that of `detect.joint`."""
    alpha = next(test.evidence["alpha"] for test in family.tests if test.kind != SCAN)
    how = Assessment(alpha, key_check=family.key_check or None)
    first_step = math.log10(how.level / len(family.tests))
    remaining = sum(test.kind == SCAN or (test.evidence["log10_p"] or 0.0) > first_step for test in family.tests)
    check = -math.log10(KEY_CHECK_ACCEPTS) if family.key_check else 0.0
    return scan.spans(math.log10(alpha), math.log10(remaining) + check)


def _agree(
    what: str, code: str, said: Mapping[str, Any], computed: Mapping[str, Any], tolerance: float = TOLERANCE
) -> None:
    """Raise Refused unless what was computed is what is said: whole numbers exactly, others but for rounding."""
    for name, value in computed.items():
        if name not in said or not _same(said[name], value, tolerance):
            raise Refused(code, f"{what}: {name} is {said.get(name)}, and {value} follows from the material")


def _same(said: Any, computed: Any, tolerance: float) -> bool:
    if isinstance(computed, Sequence) and not isinstance(computed, str):
        return (
            isinstance(said, list)
            and len(said) == len(computed)
            and all(_same(one, two, tolerance) for one, two in zip(said, computed, strict=True))
        )
    if isinstance(computed, float):
        return type(said) in (int, float) and bool(abs(said - computed) <= tolerance * max(1, abs(said)))
    return type(said) is type(computed) and bool(said == computed)
