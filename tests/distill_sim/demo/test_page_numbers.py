"""The demo's page: the example and the scores, computed a second way."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detect.counting import weigh
from detect.observation import Reading
from distill_sim.corpus import CorpusRow, read_corpus
from distill_sim.demo.page import EXAMPLE_TOKENS
from distill_sim.judge import LINEUPS, read_scores, scored_lineup
from distill_sim.pipeline import Finished
from tests import tiny
from tests.distill_sim.demo.pages import (
    DECOYS,
    Page,
    Run,
    distinct_pairs,
    is_green,
    with_corpus,
)
from watermark import GreenList
from watermark.errors import InputError
from watermark.keys import decoy_key


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
