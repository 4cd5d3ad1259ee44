"""The page of a validation study: the record's figures, the same bytes every time, and nobody's text does anything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from detect.pages.validation import headline, high_words, level_words, low_words, p_words, validation_page
from tests.detect.pages.test_highlight import FORBIDDEN
from tests.detect.test_words import BANNED
from tests.detect.validation.synthetic import study
from tests.distill_sim.demo.pages import Page

HOSTILE = "<script>alert(1)</script>{{7*7}}\u202e"


def page_of(found: dict[str, Any], path: Path) -> Page:
    validation_page(found, path)
    return Page(path.read_text(encoding="utf-8"))


def test_every_section_and_figure_is_there(tmp_path: Path) -> None:
    found = study()
    page = page_of(found, tmp_path / "a.html")
    words = page.words()
    for heading in ("False positives", "Detections", "What the table says, and what not", "How to repeat it"):
        assert heading in page.sections
    assert headline(found) in words
    assert "Clopper–Pearson" in words
    assert "made up count 2,000 60 0.022–0.039 (0.070) 6" in words  # pooled
    assert all(note in words for note in (" ".join(one.split()) for one in found["notes"]))
    assert "Left out: made up at 400 tokens." in words
    assert "<10^-30" in words  # the median of the marked texts
    assert found["seed"] in words


def test_what_lies_outside_is_said(tmp_path: Path) -> None:
    words = page_of(study(), tmp_path / "a.html").words()
    assert "lie outside the limits" in words
    assert "Outside the limits made up, 25 tokens, count, p ≤ 0.1: 30 of 1,000; at most 137, at least 42." in words
    fine = study(count=75)
    assert "argmax (count), p ≤ 0.01: 80" in page_of(fine, tmp_path / "b.html").words()
    limits = {"checked": 7, "within": 7, "outside": []}
    assert headline({"limits": limits}) == "All 7 counts of small p lie within the limits that were set beforehand."


def test_without_marked_texts_it_says_so(tmp_path: Path) -> None:
    words = page_of({**study(), "marked": [], "models": []}, tmp_path / "a.html").words()
    assert "does not say how often a mark is found" in words
    assert "Models that saw no mark" not in words


def test_a_keys_check_is_told_with_its_rule(tmp_path: Path) -> None:
    check = {"key_id": "f" * 64, "accepted": True, "corpus_sha256": "0" * 64, "rule": "the rule"}
    words = page_of({**study(), "key_check": check}, tmp_path / "a.html").words()
    assert "was accepted by its check" in words
    assert "The rule: the rule." in words


def test_the_same_study_is_the_same_page(tmp_path: Path) -> None:
    page_of(study(), tmp_path / "a.html")
    page_of(study(), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_it_is_self_contained_and_inert(tmp_path: Path) -> None:
    page = page_of(study(name=HOSTILE), tmp_path / "a.html")
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "img", "object", "form"} & set(names)
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not re.search(r"https?://|url\(|@import|{{|{%", page.html.replace("{{7*7}}", ""))
    assert "\u202e" not in page.html
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    drawings = [a for tag, a in page.tags if tag == "svg"]
    assert len(drawings) == 2
    assert all(a["role"] == "img" and "level" in str(a["aria-label"]) for a in drawings)


def test_no_word_claims_too_much(tmp_path: Path) -> None:
    words = page_of(study(), tmp_path / "a.html").words()
    assert not re.search(FORBIDDEN.replace("|certain", ""), words.replace("copied or passed on", ""), re.IGNORECASE)
    assert not BANNED.search(words)


@pytest.mark.parametrize(
    ("rate", "low", "high"),
    [(0.0, "0", "0"), (1.0, "1", "1"), (0.0123456, "0.012", "0.013"), (0.05, "0.050", "0.050"),
     (0.999, "0.99", "1.00"), (0.000369, "0.00036", "0.00037")],
)  # fmt: skip
def test_intervals_are_rounded_outwards(rate: float, low: str, high: str) -> None:
    assert (low_words(rate), high_words(rate)) == (low, high)


def test_levels_and_p() -> None:
    assert [level_words(one) for one in (0.1, 0.01, 1e-3, 1e-6)] == ["0.1", "0.01", "10^-3", "10^-6"]
    assert [p_words(one) for one in (0.0, -0.5, -30.4)] == ["1", "10^-0.5", "<10^-30"]
