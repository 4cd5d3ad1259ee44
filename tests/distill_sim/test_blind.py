"""The blind classifier: its AUC computed twice, its interval under the null, and what it may not learn from."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from distill_sim import blind as module
from distill_sim.blind import Blind, blind
from distill_sim.corpus import CorpusRow
from tests.distill_sim.test_corpus import ROW
from watermark.errors import InputError


def corpora(seed: int, *, strength: float, prompts: int = 40, samples: int = 2) -> tuple[list[CorpusRow], ...]:
    """Marked and unmarked answers over the same prompts, each with a subject (a set of likely tokens) of its own.

    A token after `c` is green when (7 c + v) is even; a marked answer drops a red one with chance `strength`.
    """
    draw = np.random.default_rng(seed)
    subjects = draw.integers(0, 60, (prompts, 15))

    def answer(prompt: int, marked: bool) -> tuple[int, ...]:
        ids = [int(subjects[prompt][0])]
        for token, chance in zip(subjects[prompt][draw.integers(0, 15, 300)], draw.random(300), strict=True):
            if not (marked and (7 * ids[-1] + token) % 2 and chance < strength):
                ids.append(int(token))
        return tuple(ids[:30])

    def rows(marked: bool) -> list[CorpusRow]:
        key = "k" if marked else None
        several = []
        for i in range(prompts * samples):
            prompt = i // samples
            ids = answer(prompt, marked)
            several.append(replace(ROW, id=str(i), prompt=f"prompt {prompt}", token_ids=ids, marked=marked, key_id=key))
        return several

    return rows(True), rows(False)


def test_a_strong_mark_is_felt_and_no_mark_is_not() -> None:
    felt = blind(*corpora(1, strength=0.9, prompts=60, samples=4))
    assert felt.auc > 0.75
    assert felt.ci95[0] > 0.6
    assert felt.ci95[0] < felt.auc < felt.ci95[1]
    assert (felt.n_marked, felt.n_unmarked, felt.n_prompts, felt.folds) == (240, 240, 60, 5)
    none = blind(*corpora(2, strength=0.0, prompts=60, samples=4))
    assert none.ci95[0] < 0.5 < none.ci95[1]
    assert none.auc < felt.ci95[0]


def test_the_interval_holds_one_half_when_there_is_no_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nominal 95 %, and cautious: of 30 at most 5 outside (chance 0.003 at 95 %); nor is it as wide as can be."""
    monkeypatch.setattr(module, "FEATURES", 64)  # quick
    monkeypatch.setattr(module, "RESAMPLES", 300)
    found = [blind(*corpora(seed, strength=0.0, prompts=20), gram=1, seed=seed) for seed in range(30)]
    assert sum(not one.ci95[0] <= 0.5 <= one.ci95[1] for one in found) <= 5
    assert 6 <= sum(one.auc > 0.5 for one in found) <= 24  # neither way
    assert np.median([one.ci95[1] - one.ci95[0] for one in found]) < 0.4


def test_auc_equals_mann_whitney_within_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two independent computations of each fold's AUC; the whole is their mean by pairs."""
    kept: dict[str, Any] = {}
    scores = module._scores

    def keep(rows: Any, is_marked: Any, fold: Any, *rest: Any) -> Any:
        kept.update(is_marked=is_marked, fold=fold, scores=np.round(scores(rows, is_marked, fold, *rest), 1))
        return kept["scores"]  # rounded: there are ties

    monkeypatch.setattr(module, "_scores", keep)
    found = blind(*corpora(3, strength=0.5, prompts=23), folds=4)
    u, pairs = 0.0, 0
    for number in range(4):
        inside = kept["fold"] == number
        ours = kept["scores"][inside & kept["is_marked"]]
        theirs = kept["scores"][inside & ~kept["is_marked"]]
        statistic = mannwhitneyu(ours, theirs).statistic
        assert statistic / (len(ours) * len(theirs)) == pytest.approx(
            roc_auc_score(kept["is_marked"][inside], kept["scores"][inside])
        )
        u, pairs = u + statistic, pairs + len(ours) * len(theirs)
    assert found.auc == pytest.approx(u / pairs, abs=1e-12)
    assert len(set(kept["scores"])) < len(kept["scores"])


def test_a_drawn_prompt_counts_with_all_its_answers() -> None:
    """A fold whose prompts are drawn twice and never equals one in which they stand twice or not at all."""
    scores = np.array([0.3, 0.1, 0.2, 0.9, 0.2, 0.4])
    marked = np.array([True, False, True, False, True, False])
    prompts = np.array([0, 0, 1, 1, 2, 2])
    found = module._auc([module._wins(scores, marked, prompts)], [np.array([2.0, 1.0, 0.0])])
    drawn = [0, 1, 0, 1, 2, 3]  # prompt 0 twice, prompt 1 once
    won = [
        float(np.sign(scores[i] - scores[j]) + 1) / 2 for i, j in product(drawn, drawn) if marked[i] and not marked[j]
    ]
    assert found == pytest.approx(np.mean(won))


def test_no_prompt_is_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that repeat their prompt's other answers teach nothing: every classifier meets new prompts only."""
    kept: dict[str, Any] = {}
    monkeypatch.setattr(
        module, "_scores", lambda rows, marked, fold, *rest: kept.update(rows=rows, fold=fold) or np.zeros(len(rows))
    )
    blind(*corpora(4, strength=0.0, prompts=21))
    folds: dict[str, set[int]] = {}
    for row, fold in zip(kept["rows"], kept["fold"], strict=True):
        folds.setdefault(row.prompt, set()).add(int(fold))
    assert all(len(places) == 1 for places in folds.values())
    sizes = np.bincount([next(iter(places)) for places in folds.values()])
    assert sorted(sizes) == [4, 4, 4, 4, 5]


def test_scores_that_never_differ_are_a_coin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_scores", lambda rows, *rest: np.zeros(len(rows)))
    found = blind(*corpora(4, strength=1.0))
    assert (found.auc, found.ci95) == (0.5, (0.5, 0.5))


def test_words_are_read_from_the_text() -> None:
    marked, unmarked = corpora(5, strength=0.0)
    told = [replace(row, text="So THE tide turns") for row in marked]
    plain = [replace(row, text="thus a tide turns") for row in unmarked]
    assert blind(told, plain, units="words").auc == 1.0
    assert blind(told, plain, units="tokens").auc < 0.7


def test_the_same_again_and_another_seed() -> None:
    several = corpora(6, strength=0.6)
    first = blind(*several)
    assert first == blind(*several)
    assert first != blind(*several, seed=1)
    assert first.to_dict()["auc"] == first.auc
    with pytest.raises(AttributeError):
        first.auc = 1.0  # type: ignore[misc]
    assert isinstance(first, Blind)


def test_what_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    marked, unmarked = corpora(7, strength=0.0, prompts=6)
    with pytest.raises(InputError, match="7 folds"):
        blind(marked, unmarked, folds=7)
    with pytest.raises(InputError, match="1 folds"):
        blind(marked, unmarked, folds=1)
    with pytest.raises(InputError, match="lacks marked or unmarked"):
        blind(marked, [], folds=2)
    with pytest.raises(InputError, match="units is 'letters'"):
        blind(marked, unmarked, units="letters")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(InputError, match="pip install"):
        blind(marked, unmarked)
