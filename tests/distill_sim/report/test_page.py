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
from distill_sim.report.names import TEST_TITLES
from tests.detect.pages.test_highlight import FORBIDDEN
from tests.detect.test_words import BANNED
from tests.distill_sim.demo.pages import Page
from tests.distill_sim.report import synthetic
from tests.distill_sim.report.synthetic import row
from watermark.errors import InputError

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def raised(words: str) -> str:
    return re.sub(r"10\^(-?\d+)", lambda found: f"10{found[1].translate(RAISED)}", words)


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
            "How to read this page",
            "What would erase the mark",
            "What keeps it from being learnt",
            "How many answers it takes",
            "Everything else that was varied",
            "Imitation, and other explanations",
            "Controls",
            "What the mark costs",
            "What was varied, what was held",
            "All conditions",
            "What is not in this study",
            "Limits",
            "How to reproduce this",
        ]

    def test_contents_lead_to_every_section(self, page: tuple[Path, Page]) -> None:
        anchors = [a["href"] for tag, a in page[1].tags if tag == "a"]
        headings = [f"#{a['id']}" for tag, a in page[1].tags if tag == "h2"]
        assert list(dict.fromkeys(anchors[: len(headings)])) == headings

    def test_the_box_is_the_summarys(self, page: tuple[Path, Page], found: dict[str, Any]) -> None:
        words = page[1].words("")
        assert all(raised(" ".join(sentence.split())) in words for sentence in found["headline"])
        leads = [line.partition(":")[0] for line in found["headline"]]
        assert leads == ["What was done", "Reading", "Asking", "What erases it", "What keeps it from being learnt",
                         "What this can't show"]  # fmt: skip
        assert "Reading: detected the mark in 9 of 9 runs of the base condition" in words
        assert "(its weights, or a server that gives them all) and the model that the student started from" in words

    def test_every_test_has_one_name(self, page: tuple[Path, Page]) -> None:
        """What the tables call them stands once, where the tests are explained."""
        for heading in list(page[1].sections)[2:5]:
            assert not re.search(r"\b[Ss]ampled\b", page[1].words(heading))
        said = page[1].words("How to read this page")
        for test, title in TEST_TITLES.items():
            assert title in said
            assert f"{test}: " in said

    def test_what_would_erase_it(self, page: tuple[Path, Page], found: dict[str, Any]) -> None:
        words = page[1].words("What would erase the mark")
        kinds = list(dict.fromkeys(one["title"] for one in found["treatments"]))
        places = [words.index(f"{kind}. ") for kind in kinds]
        assert places == sorted(places)
        assert words.count("Key: not needed.") == len(kinds)
        assert words.count("0 of 9") >= sum(one["tests"]["reading"]["detected"] == 0 for one in found["treatments"])
        assert "Half-life under clean fine-tuning" in words  # the law halves every 4,000
        assert "Half of Reading's −log10 p is left after about" in words

    def test_where_half_was_never_lost_no_half_life_is_named(self, tmp_path: Path) -> None:
        study, rows, _ = small()
        write_report(tmp_path / "a.html", study, rows)
        words = Page((tmp_path / "a.html").read_text(encoding="utf-8")).words("What would erase the mark")
        assert "alf-life" not in words
        assert "Of Reading's −log10 p more than half is left after all of them." in words

    def test_extrapolation_is_called_that_and_says_what_it_may(self, page: tuple[Path, Page]) -> None:
        words = page[1].words("How many answers it takes")
        assert "the line must bend down somewhere" in words
        assert "extrapolation, fitted" in words
        assert "Reading: fitted to 24 to 96 answers alone, the line says a −log10 p of" in words
        assert "at the most that this test could give here, a −log10 p of 900, and is cut there" in words
        assert "From 10⁵ to 10⁹ answers the line and the weak end of its interval lie below 10⁻³⁰" in words
        assert "on the line asks for more than this test could give" in words
        assert "Reading <10⁻³⁰" not in words  # no line that says nothing
        title = "Argmax reading"
        ends = rf"{title}: the line not checked( <10⁻³⁰ \*){{5}} {title}: weak end of its interval( <10⁻\S+){{5}}"
        assert re.search(ends, words.replace("\u200a", " "))
        assert re.search(
            r"by more than the wider quartile range of the two: Reading.* would be noticed in \d\d% of", words
        )
        assert "in 93% of them where keys shift −log10 p by a factor of 10" in words

    def test_controls_say_what_they_can_show(self, page: tuple[Path, Page], found: dict[str, Any]) -> None:
        words = page[1].words("Controls")
        low, high = (
            f(r["at_or_below"]["0.1"] for r in found["controls"]["fresh"]["rows"] if r["test"] == "reading")
            for f in (min, max)
        )
        assert f"Cautious: Reading has {low} to {high} of 1,000 at p ≤ .1, where chance gives 100" in words
        assert "So many keys can't check p = 10⁻⁶" in words
        assert "is for the base condition to show: Reading detected 9 of 9 runs; Asking detected" in words
        (least,) = {r["least"]["0.1"] for r in found["controls"]["fresh"]["rows"] if r["test"] == "distinct_pairs"}
        assert f"chance 100, limit 137, at least {least}" in words
        assert "Not looked at under fresh keys: Argmax reading, Green mass, Text." in words

    def test_examples_are_shown_as_they_are(self, tmp_path: Path) -> None:
        study, rows, _ = small()
        study["examples"] = [{"prompt": "Why?", "marked": f"So {HOSTILE}", "unmarked": "Because."}]
        write_report(tmp_path / "a.html", study, rows)
        page = Page((tmp_path / "a.html").read_text(encoding="utf-8"))
        assert f"So {HOSTILE}".replace("\u202e", "⟨U+202E⟩") in page.words("How to read this page")
        assert "script" not in {tag for tag, _ in page.tags}

    def test_examples_with_their_colours(self, tmp_path: Path) -> None:
        study, rows, _ = small()
        tokens = {"marked_tokens": [["So", "start"], [HOSTILE, "green"]], "unmarked_tokens": [["Be", "red"]]}
        study["examples"] = [{"prompt": "Why?", "marked": f"So{HOSTILE}", "unmarked": "Be", **tokens}]
        write_report(tmp_path / "a.html", study, rows)
        page = Page((tmp_path / "a.html").read_text(encoding="utf-8"))
        assert f"So{HOSTILE}".replace("\u202e", "⟨U+202E⟩") in page.words("How to read this page")
        assert '<span class="t start">So</span><span class="t green">' in page.html
        assert '<span class="t red">Be</span>' in page.html
        assert "script" not in {tag for tag, _ in page.tags}

    def test_no_p_below_the_floor_is_printed(self, page: tuple[Path, Page]) -> None:
        lowered = page[1].html.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
        powers = [int(power) for power in re.findall(r"10\^?-(\d+)", lowered)]
        assert max(powers) == 30
        assert len(powers) > 100

    def test_no_word_claims_too_much(self, page: tuple[Path, Page]) -> None:
        words = page[1].words()
        assert not re.search(FORBIDDEN.replace("|certain", ""), words, re.IGNORECASE)
        assert not BANNED.search(words)
        assert "not trained on" not in words

    def test_what_is_held_and_how_to_do_it_again(self, page: tuple[Path, Page]) -> None:
        held = page[1].words("What was varied, what was held")
        assert "Green fraction γ: share of the tokens that is green 0.25 held" in held
        assert "Number of answers 192 24; 48; 96; 384; 768" in held
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
        assert not {"script", "img", "iframe", "link", "object"} & {tag for tag, _ in tags}
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
    def test_training_that_changed_nothing_is_told(self, tmp_path: Path) -> None:
        study, rows, _ = small()
        unmoved = [{**each, "n_scored": 0, "log10_p": 0.0} if each["method"] == "lora" else each for each in rows]
        for name, given in (("a", rows), ("b", unmoved)):
            write_report(tmp_path / f"{name}.html", study, given)
        said = [
            "had nothing to weigh: low-rank adapter (LoRA). Their training changed nothing."
            in Page((tmp_path / f"{name}.html").read_text(encoding="utf-8")).words("What keeps it from being learnt")
            for name in ("a", "b")
        ]
        assert said == [False, True]

    @pytest.mark.parametrize("steps", [True, False])
    def test_a_study_of_steps_alone_or_without_them_is_a_page(self, steps: bool, tmp_path: Path) -> None:
        """No dose, no asking, one key."""
        conditions = {"base": Condition()} | (
            {"a": Condition(after=("int4",)), "b": Condition(attack=("shuffle",), after=("prune:0.5", "heal:8"))}
            if steps
            else {"a": Condition(method="lora"), "b": Condition(source="human")}
        )
        rows = [
            row(name, one, seed, 0, "account", "reading", -9.0) for name, one in conditions.items() for seed in (0, 1)
        ]
        series = [
            {"name": "s", "title": "s", "vary": ["after", "attack"] if steps else ["method"], "conditions": ["a"]}
        ]
        write_report(tmp_path / "a.html", synthetic.study(series=series, seeds=2, keys=1), rows)
        page = Page((tmp_path / "a.html").read_text(encoding="utf-8"))
        assert "Asking" not in page.words("All conditions")
        assert "2 seeds × 1 key" in page.words("How to read this page")
        said = "Sentences shuffled, then pruned, then healed."
        assert (said in page.words("What would erase the mark")) == steps

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
            "The study does not vary the number of answers, so this cannot be said",
            "Not measured in this study.",
            "Not varied: strength of the mark: bias δ of green tokens, nats (held: bias δ 2).",
            "median p not claimed",
        ):
            assert said in words
