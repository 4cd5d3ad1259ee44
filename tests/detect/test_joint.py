"""Several tests as one family: Holm, the key check, what the spans pay, and words."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest

from detect.counting import tally
from detect.decoys import lineup
from detect.evidence import EXPLORATORY_NOTE, KEY_CHECK_NOTE, POWER_NOTE, Assessment, assess, assess_family
from detect.exact.multiplicity import holm
from detect.exact.scan import FAMILY
from detect.joint import SOMEWHERE_NOTE, Judged, Reading, ScanEvidence, judge_readings
from detect.scan import scan_documents
from tests.detect.material import make_key
from tests.detect.test_scan import stream
from watermark.keys import Key

KEY = make_key(1)
CLEAN = stream(KEY, 500, 11)
PARTLY = stream(KEY, 3000, 12, (1000, 1160))
MARKED = stream(KEY, 500, 13, (0, 500))


def reading(key: Key, *documents: list[int], name: str = "the text", scan: bool = True, **more: Any) -> Reading:
    return Reading(name, tally(key, documents), scan_documents(key, documents) if scan else None, **more)


def scan_of(judged: Judged) -> ScanEvidence:
    assert judged.scan is not None
    return judged.scan


class TestOneTest:
    @pytest.mark.parametrize("document", [CLEAN, PARTLY, MARKED, [7, 8, 9]])
    @pytest.mark.parametrize("key_check", [None, True, False])
    def test_alone_it_is_assess_to_the_letter(self, document: list[int], key_check: bool | None) -> None:
        counted = tally(KEY, [document])
        how, line = Assessment(key_check=key_check, effect=0.4), lineup(counted, 3)
        (judged,) = judge_readings([Reading("", counted, notes=("a note",), lineup=line)], how)
        assert judged.scan is None
        assert judged.whole.to_json() == assess(counted, how, lineup=line, notes=["a note"]).to_json()

    def test_two_readings_without_scans_are_assess_family(self) -> None:
        one, other = reading(KEY, CLEAN, scan=False), reading(KEY, MARKED, scan=False)
        judged = judge_readings([one, other], Assessment())
        expected = assess_family([one.tally, other.tally])
        for found, wanted in zip(judged, expected, strict=True):
            assert found.whole.log10_p_adjusted == wanted.log10_p_adjusted
            assert found.whole.finding == wanted.finding
            assert found.whole.alpha == wanted.alpha == 1e-6
            power = [[n for n in e.notes if n.startswith(POWER_NOTE)] for e in (found.whole, wanted)]
            assert power[0] == power[1]


class TestHolm:
    def test_whole_and_scan_are_two_tests(self) -> None:
        one = reading(KEY, PARTLY)
        (judged,) = judge_readings([one], Assessment())
        assert one.scan is not None
        expected = holm([judged.whole.log10_p or 0.0, one.scan.log10_p])
        assert [judged.whole.log10_p_adjusted, scan_of(judged).log10_p_adjusted] == expected.tolist()
        assert (judged.whole.finding, scan_of(judged).finding) == ("not detected", "detected")
        note = "log10_p_adjusted: Holm over 2 tests: the text and a scan of the text"
        assert note in judged.whole.notes
        assert note in scan_of(judged).notes
        assert judged.whole.notes[-1] == EXPLORATORY_NOTE

    def test_four_tests(self) -> None:
        readings = [reading(KEY, CLEAN, name="a"), reading(KEY, PARTLY, name="b")]
        judged = judge_readings(readings, Assessment())
        order = [judged[0].whole, judged[1].whole, scan_of(judged[0]), scan_of(judged[1])]
        alone = [one.log10_p or 0.0 for one in order]
        assert [one.log10_p_adjusted for one in order] == pytest.approx(holm(alone).tolist())
        assert "Holm over 4 tests: a, b, a scan of a and a scan of b" in "".join(scan_of(judged[0]).notes)

    def test_what_would_have_been_found_is_asked_at_a_share_of_the_level(self) -> None:
        (judged,) = judge_readings([reading(KEY, CLEAN)], Assessment(alpha=1e-6))
        stricter = assess(tally(KEY, [CLEAN]), Assessment(alpha=5e-7))
        (note,) = [note for note in judged.whole.notes if note.startswith(POWER_NOTE)]
        assert note in stricter.notes
        assert judged.whole.alpha == 1e-6

    def test_no_power_note_with_what_only_holm_detects(self) -> None:
        """A p between alpha / 2 and alpha, detected because the other test is."""
        one = reading(KEY, MARKED)
        p = assess(one.tally).log10_p
        assert p is not None
        (judged,) = judge_readings([one], Assessment(alpha=10 ** (p + 0.1)))
        scan = scan_of(judged)
        assert scan.log10_p > p  # the whole comes first here: so turn it round
        (judged,) = judge_readings([one], Assessment(alpha=10 ** (scan.log10_p + 0.1)))
        assert scan_of(judged).finding == "detected"
        assert not [note for note in judged.whole.notes if note.startswith(POWER_NOTE)]


class TestSpans:
    def test_they_pay_for_every_test_that_is_not_rejected_beforehand(self) -> None:
        (judged,) = judge_readings([reading(KEY, PARTLY)], Assessment())
        (span,) = scan_of(judged).spans
        assert span.log10_p == scan_of(judged).log10_p
        assert span.log10_p_adjusted == pytest.approx(span.log10_p + math.log10(2))
        (judged,) = judge_readings([reading(KEY, MARKED)], Assessment())
        assert judged.whole.finding == "detected"
        for span in scan_of(judged).spans:
            assert span.log10_p_adjusted == span.log10_p
        assert SOMEWHERE_NOTE in scan_of(judged).notes

    def test_each_is_significant_by_itself(self) -> None:
        document = stream(KEY, 2000, 12, (200, 500)) + stream(KEY, 2000, 14, (900, 1200))
        (judged, _) = judge_readings([reading(KEY, document), reading(KEY, CLEAN)], Assessment(alpha=1e-4))
        spans = scan_of(judged).spans
        assert len(spans) >= 2
        assert all(span.log10_p_adjusted <= -4 for span in spans)
        for one, other in itertools.pairwise(spans):
            assert one.end_token <= other.start_token
        inside = sum(span.end_token - span.start_token for span in spans)
        marked = sum(
            max(0, min(span.end_token, end) - max(span.start_token, start))
            for span in spans
            for start, end in ((200, 500), (2900, 3200))
        )
        assert marked > 0.8 * inside
        assert marked > 0.8 * 600

    def test_none_without_a_finding(self) -> None:
        (judged,) = judge_readings([reading(KEY, CLEAN)], Assessment())
        assert scan_of(judged).spans == ()
        assert scan_of(judged).finding == "not detected"
        assert "pairs or more with a green fraction of 0.5 would have been found" in scan_of(judged).notes[-1]
        (judged,) = judge_readings([reading(KEY, CLEAN[:90])], Assessment())
        assert scan_of(judged).finding == "inconclusive"

    def test_json(self) -> None:
        (judged,) = judge_readings([reading(KEY, PARTLY)], Assessment())
        values = scan_of(judged).to_dict([{"document": "x"}])
        names = ["log10_p", "log10_p_adjusted", "family", "intervals", "finding", "spans", "notes"]
        assert list(values) == names
        assert values["family"] == FAMILY
        assert values["spans"] == [{"document": "x"}]


class TestKeyCheck:
    def test_it_is_paid_by_all(self) -> None:
        one = reading(KEY, PARTLY)
        (plain,), (checked,) = (judge_readings([one], Assessment(key_check=check)) for check in (None, True))
        cost = -math.log10(0.99)
        for before, after in ((plain.whole, checked.whole), (scan_of(plain), scan_of(checked))):
            assert before.log10_p_adjusted is not None
            assert after.log10_p_adjusted == pytest.approx(before.log10_p_adjusted + cost)
        before, after = scan_of(plain).spans[0], scan_of(checked).spans[0]
        assert after.log10_p_adjusted == pytest.approx(before.log10_p_adjusted + cost)
        assert replace(after, log10_p_adjusted=0.0) == replace(before, log10_p_adjusted=0.0)
        assert KEY_CHECK_NOTE[True] in scan_of(checked).notes

    def test_a_refused_key_claims_nothing(self) -> None:
        (judged,) = judge_readings([reading(KEY, PARTLY)], Assessment(key_check=False))
        scan = scan_of(judged)
        assert judged.whole.log10_p_adjusted is scan.log10_p_adjusted is None
        assert (judged.whole.finding, scan.finding, scan.spans) == ("inconclusive", "inconclusive", ())
        assert KEY_CHECK_NOTE[False] in scan.notes
        assert not [note for note in scan.notes if "Holm" in note]
