"""The demo's page tells the story in the right words, and is written whole or not at all."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest

from detect.exact.interval import clopper_pearson
from distill_sim.corpus import read_corpus
from distill_sim.demo import page as pages
from distill_sim.demo.page import headline
from tests import tiny
from tests.detect.pages.test_highlight import FORBIDDEN
from tests.distill_sim.demo.pages import (
    Page,
    Run,
    changed,
    distinct_pairs,
    is_green,
    label,
)
from watermark.errors import InputError


class TestStory:
    def test_every_section_is_there(self, whole: Page) -> None:
        assert list(whole.sections) == [
            "",
            "The idea",
            "What a mark looks like",
            "The text test",
            "The price",
            "The student and the control",
            "The line-up",
            "How p is computed",
            "What this shows, and what it does not",
            "The commitment",
            "Settings and times",
            "Repeat it by hand",
        ]
        assert sum(tag == "svg" for tag, _ in whole.tags) == 5
        assert all(
            attributes["role"] == "img" and attributes["aria-label"] for tag, attributes in whole.tags if tag == "svg"
        )

    def test_the_numbers_of_the_text_test_counted_again(self, done: Run, whole: Page) -> None:
        words = whole.words("The text test")
        for name in ("marked", "unmarked"):
            rows = read_corpus(done.finished[name].directory / "corpus.parquet")
            pairs = distinct_pairs(done.key, [row.token_ids for row in rows], [row.prompt_ids for row in rows])
            green = sum(is_green(done.key, *pair) for pair in pairs)
            assert f"{name} answers' {len(pairs):,} pairs {green / len(pairs):.1%}" in words
            low, high = clopper_pearson(green, len(pairs))
            assert f"{name} {green / len(pairs):.1%} (interval {low:.1%} to {high:.1%})" in label(whole, "green pairs")

    def test_the_price(self, done: Run, whole: Page) -> None:
        for name in ("marked", "unmarked"):
            fluency = json.loads((done.finished["fluency"].directory / "fluency.json").read_text())[name]
            assert f"{name} {np.exp(fluency['nats_per_token']):.1f}" in label(whole, "Perplexity")
            assert f"{fluency['n_tokens']} {name}" in whole.words("The price")

    def test_students(self, done: Run, tmp_path: Path) -> None:
        summary = changed(
            done.summary,
            student__reading__log10_p=-722.5,
            student__reading__finding="detected",
            student__sampled__log10_p=-3.2,
            control__reading__log10_p=-0.3,
            control__reading__finding="inconclusive",
            control__sampled__log10_p=-0.1,
            control__sampled__finding="not detected",
        )
        page = done.page(tmp_path / "p.html", summary=summary)
        words = page.words("The student and the control")
        assert "Student below 10^-30: detected below 10^-3: inconclusive" in words
        assert "Control about 0.5: inconclusive about 0.79: not detected" in words
        assert "Not detected: the green fraction named in the notes" in words
        assert "not adjusted" in words
        assert "p adjusted for both tests of a model" in words
        assert "722" not in page.words()
        assert "-722" not in page.html
        said = label(page, "p of each test")
        assert "Reading: student below 10^-30, control about 0.5" in said
        argmax = summary["student"]["reading"]["comparisons"]["argmax"]["log10_p"]
        assert f"Argmax: student {pages.probability_words(argmax)}" in said

    @pytest.mark.parametrize(
        ("student", "control", "expected"),
        [
            ("detected", "inconclusive", "detected in the student; the test of the control is inconclusive."),
            ("detected", "not detected", "detected in the student; the mark was not detected in the control."),
            ("detected", "detected", "detected in the student, but also in the control, which should not happen"),
            (
                "inconclusive",
                "detected",
                "This time the test of the student is inconclusive, and the mark was detected in the control, which",
            ),
            (
                "not detected",
                "inconclusive",
                "This time the mark was not detected in the student, and the test of the control is inconclusive.",
            ),
            ("inconclusive", "inconclusive", "This time the tests of student and control are both inconclusive."),
        ],
    )
    def test_headline(self, done: Run, student: str, control: str, expected: str) -> None:
        summary = changed(done.summary, student__reading__finding=student, control__reading__finding=control)
        assert expected in headline(summary)

    @pytest.mark.parametrize(
        ("width", "expected"),
        [(0, "once and for all:"), (1, "anew after every token:"), (3, "anew after every run of 3 tokens:")],
    )
    def test_context_width_in_words(self, done: Run, tmp_path: Path, width: int, expected: str) -> None:
        page = done.page(tmp_path / "p.html", summary=changed(done.summary, key__context_width=width))
        assert expected in page.words("The idea")

    def test_settings_times_and_commitment(self, done: Run, whole: Page) -> None:
        words = whole.words("Settings and times")
        assert done.key.key_id in words
        assert "3 questions, 2 answers to each" in words
        assert f"gamma {done.key.gamma}, delta {done.key.delta} nats, context width {done.key.context_width}" in words
        for number, name in enumerate(done.finished):
            assert f"{pages.TITLES[name]} {10 + number}" in words
        assert "level 10^-6" in words
        committed = json.loads((done.root / "keys" / "commitment.json").read_text())
        assert committed["root"] in whole.words("The commitment")
        assert "Without a timestamp from outside" in whole.words("The commitment")


class TestWords:
    def test_no_secret_and_no_directory(self, done: Run, whole: Page) -> None:
        for name in ("owner", "account"):
            content = json.loads((done.root / "keys" / f"{name}.key").read_text())
            assert content["secret"] not in whole.html
        assert done.key.chacha_key.hex() not in whole.html
        for place in (str(tiny.shared()), tiny.shared().name, str(done.root)):
            assert place not in whole.html

    @pytest.mark.parametrize("finding", ["detected", "inconclusive", "not detected"])
    def test_no_word_says_too_much(self, done: Run, tmp_path: Path, finding: str) -> None:
        findings = {f"{m}__{t}__finding": finding for m in ("student", "control") for t in ("reading", "sampled")}
        page = done.page(tmp_path / "p.html", summary=changed(done.summary, **findings, command="taggant demo"))
        labels = " ".join(attributes.get("aria-label") or "" for _, attributes in page.tags)
        assert re.findall(FORBIDDEN, page.words() + labels, re.IGNORECASE) == []

    def test_limits_are_stated(self, whole: Page) -> None:
        words = whole.words("What this shows, and what it does not")
        for said in ("depends on the key", "by whose act, is a separate question", "Inconclusive is an answer",
                     "may still have been trained on marked text", "one machine, one small model"):  # fmt: skip
            assert said in words

    def test_what_differs_and_what_is_a_bound(self, done: Run, whole: Page) -> None:
        words = whole.words()
        assert "everything else" not in words
        assert "holds always" not in words
        learned = [done.summary[f"teacher_{name}"]["text"]["n_tokens"] for name in ("marked", "unmarked")]
        said = f"the drawn answers: the student learned from {learned[0]:,} tokens, the control from {learned[1]:,}."
        assert said in words
        assert "whenever what was observed does not depend on the key" in words
        assert "ChaCha20" in whole.words("How p is computed")

    def test_what_would_have_been_found_is_said(self, done: Run, tmp_path: Path) -> None:
        note = (
            "a green fraction of 0.28 would have been found with probability at least 0.9 from 9 pairs (binomial model)"
        )
        summary = changed(done.summary, control__sampled__notes=["x", note], control__sampled__n_scored=4321)
        words = done.page(tmp_path / "p.html", summary=summary).words("The student and the control")
        assert f"Control, sampled: {note}; 4,321 were counted." in words

    def test_claims_that_were_withdrawn(self, done: Run, tmp_path: Path) -> None:
        summary = changed(done.summary, student__reading__log10_p=None, student__reading__finding="inconclusive",
                          control__sampled__log10_p=None, control__reading__lineup__uniformity_p=None)  # fmt: skip
        for name in ("lineup", "comparisons"):
            del summary["student"]["reading"][name]
        page = done.page(tmp_path / "p.html", summary=summary)
        words = page.words("The student and the control")
        assert "Student not claimed: inconclusive" in words
        assert "themselves looked marked under this key" in words
        line = page.words("The line-up")
        assert "For the control the key ranks" in line
        assert "student" not in line
        assert "for the control it cannot be made" in line
        for name in ("lineup", "comparisons"):
            del summary["control"]["reading"][name]
        summary["control"]["reading"]["log10_p"] = None
        page = done.page(tmp_path / "q.html", summary=summary)
        assert "Here none was made." in page.words("The line-up")
        assert "--decoys" not in "".join(page.blocks)


class TestWriting:
    def test_an_earlier_page_is_replaced(self, done: Run, tmp_path: Path) -> None:
        (tmp_path / "p.html").write_text("old")
        assert "The idea" in done.page(tmp_path / "p.html").sections

    def test_a_full_disk(self, done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        (tmp_path / "p.html").write_text("old")
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(InputError, match=r"p\.html cannot be written \(No space left on device\)"):
            done.page(tmp_path / "p.html")
        assert [path.name for path in tmp_path.iterdir()] == ["p.html"]
        assert (tmp_path / "p.html").read_text() == "old"
