"""The page: the summary's numbers in plain words, the same bytes every time, and nobody's text can do anything."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distill_sim.condition import Condition
from distill_sim.report import write_report
from tests.detect.pages.test_highlight import FORBIDDEN
from tests.detect.test_words import BANNED
from tests.distill_sim.demo.pages import Page
from tests.distill_sim.report import synthetic
from tests.distill_sim.report.synthetic import row
from watermark.errors import InputError

HOSTILE = "_<script>alert(1)</script>{{7*7}}$\\frac{1}{0}$\u202e --><img src=x onerror=alert(2)>"


def small(title: str = "t", name: str = "n") -> tuple[dict[str, Any], list[Any], list[Any]]:
    """A study of four conditions with figures of most kinds, one seed and three keys."""
    conditions = {
        "base": Condition(),
        f"{name} more": Condition(answers=400),
        f"{name} wide": Condition(context_width=2, answers=400),
        f"{name} int4": Condition(after=("int4",)),
        f"{name} clean": Condition(after=("clean:100",)),
        f"{name} lora": Condition(method="lora"),
        f"{name} human": Condition(source="human"),
    }
    rows = [
        row(condition, fields, 0, key, "account", test, -8.0 - key - at)
        for at, (condition, fields) in enumerate(conditions.items())
        for key in range(3)
        for test in ("reading", "sampled")
    ]
    series = [
        {"name": name, "title": title, "vary": vary, "conditions": [f"{name} {one}" for one in ones]}
        for vary, ones in ((["answers", "context_width"], ["more", "wide"]), (["after"], ["int4", "clean"]),
                           (["method"], ["lora"]), (["source"], ["human"]))
    ]  # fmt: skip
    study = synthetic.study(
        **dict.fromkeys(("name", "title", "description", "command", "created", "scale"), title),
        series=series,
        seeds=1,
        versions={title: title},
        machine={title: title},
    )
    fresh = [
        {"condition": f"{name} human", "seed": 0, "test": "reading", "number": i, "log10_p": -i / 50} for i in range(50)
    ]
    return study, rows, fresh


class TestWords:
    def test_every_section_is_there(self, page: tuple[Path, Page]) -> None:
        assert list(page[1].sections) == [
            "",
            "The idea, and how to read this page",
            "What was varied",
            "What was held",
            "What would erase the mark",
            "Half-life: clean fine-tuning",
            "Figures along what was varied",
            "How many answers are enough",
            "Dose and response, and an extrapolation",
            "Controls",
            "Exposed to marked text, and without a licence",
            "What the mark costs",
            "All conditions",
            "What is not in this study",
            "Limits",
            "How to reproduce this",
        ]

    def test_the_first_paragraph_is_the_summarys(self, page: tuple[Path, Page], found: dict[str, Any]) -> None:
        words = page[1].words("")
        assert all(" ".join(sentence.split()) in words for sentence in found["headline"])
        assert "Reading its next-token distributions detected the mark in 9 of 9 runs" in words

    def test_what_would_erase_it(self, page: tuple[Path, Page], found: dict[str, Any]) -> None:
        words = page[1].words("What would erase the mark")
        places = [words.index(one["what"]) for one in found["treatments"]]
        assert places == sorted(places)
        assert words.count("0 of 9") >= sum(one["tests"]["reading"]["detected"] == 0 for one in found["treatments"])

    def test_extrapolation_is_called_that_and_capped(self, page: tuple[Path, Page]) -> None:
        words = page[1].words("Dose and response, and an extrapolation")
        assert (
            "extrapolation, to a number of answers of Test answers p at the largest 10^5 10^6 10^7 10^8 10^9" in words
        )
        assert "Reading 24 to 768 <10^-30 <10^-30" in words
        assert "the line must bend down somewhere" in words

    def test_no_p_below_the_floor_is_printed(self, page: tuple[Path, Page]) -> None:
        powers = [int(power) for power in re.findall(r"10\^-(\d+)", page[1].html)]
        assert max(powers) == 30
        assert len(powers) > 100

    def test_no_word_claims_too_much(self, page: tuple[Path, Page]) -> None:
        words = page[1].words()
        assert not re.search(FORBIDDEN.replace("|certain", ""), words, re.IGNORECASE)
        assert not BANNED.search(words)
        assert "not trained on" not in words

    def test_what_is_held_and_how_to_do_it_again(self, page: tuple[Path, Page]) -> None:
        held = page[1].words("What was held")
        assert "gamma 0.25 green fraction" in held
        assert "answers 192 varied dose: how many answers the student is trained on" in held
        assert page[1].blocks == ["taggant simulate nano.toml -o runs/nano"]
        assert "torch 2.13.0" in page[1].words("How to reproduce this")

    def test_every_drawing_is_described(self, page: tuple[Path, Page]) -> None:
        drawings = [attributes for tag, attributes in page[1].tags if tag == "svg"]
        assert len(drawings) >= 12
        assert all(one["role"] == "img" and one["aria-label"] for one in drawings)
        ids = [attributes["id"] for _, attributes in page[1].tags if "id" in attributes]
        assert len(ids) == len(set(ids))


class TestSafety:
    def test_the_same_study_gives_the_same_bytes(self, tmp_path: Path) -> None:
        study, rows, fresh = small()
        write_report(tmp_path / "a.html", study, rows, fresh)
        random.Random(1).shuffle(rows)
        random.Random(1).shuffle(fresh)
        write_report(tmp_path / "b.html", study, rows, fresh)
        assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()

    def test_hostile_text_stays_text(self, tmp_path: Path) -> None:
        plain, hostile = tmp_path / "a.html", tmp_path / "b.html"
        write_report(plain, *small())
        write_report(hostile, *small(HOSTILE, HOSTILE))
        pages = [Page(path.read_text(encoding="utf-8")) for path in (plain, hostile)]
        assert {tag for tag, _ in pages[0].tags} == {tag for tag, _ in pages[1].tags}
        assert pages[1].open == []
        assert not [name for _, attributes in pages[1].tags for name in attributes if name.startswith("on")]
        html = pages[1].html
        assert "<script" not in html
        assert "<img" not in html
        assert "{{7*7}}" in html  # shown, not computed
        assert {char for char in html if not char.isprintable() and char != "\n"} == set()
        assert "⟨U+202E⟩" in html

    def test_no_network_no_script(self, page: tuple[Path, Page]) -> None:
        tags = page[1].tags
        policies = [a["content"] for tag, a in tags if tag == "meta" and "http-equiv" in a]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
        assert not {"script", "img", "iframe", "a", "link", "object"} & {tag for tag, _ in tags}
        assert not re.search(r"https?:|//|@import|javascript:|src=", page[1].html)
        assert set(re.findall(r'(?:href="|url\()(.)', page[1].html)) == {"#"}

    def test_a_place_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError):
            write_report(tmp_path / "file" / "a.html", *small())


def test_neither_torch_nor_transformers_is_needed() -> None:
    program = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
import distill_sim.report, distill_sim.curves, distill_sim.dose
print("done")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr


class TestLittle:
    def test_a_study_that_claims_no_p_is_a_page(self, tmp_path: Path) -> None:
        study, rows, fresh = small()
        write_report(tmp_path / "a.html", study, [{**each, "log10_p": None} for each in rows], fresh)
        words = Page((tmp_path / "a.html").read_text(encoding="utf-8")).words("All conditions")
        assert words.count("not claimed") == 2 * 7

    def test_one_run_of_one_condition_is_a_page(self, tmp_path: Path) -> None:
        """Whatever is not there is said, and nothing fails."""
        rows = [row("base", Condition(), 0, 0, "account", "reading", None)]
        write_report(tmp_path / "a.html", synthetic.study(series=[], seeds=1, keys=1), rows)
        words = Page((tmp_path / "a.html").read_text(encoding="utf-8")).words()
        for said in (
            "nothing on this page shows that its tests stay quiet where there is no mark",
            "it says nothing about what would erase the mark",
            "The study does not vary the number of answers, so this cannot be said.",
            "Not measured in this study.",
            "Not varied: the bias delta.",
            "median p not claimed",
        ):
            assert said in words
