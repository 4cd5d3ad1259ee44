"""Attacks on a corpus: what each does to its rows, that nothing else changes, and that a row's fate is its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom, chisquare

from distill_sim import attacks
from distill_sim.attacks import Paraphrased, from_paraphrases, paraphrase, paraphrase_requests, row_random
from distill_sim.condition import ATTACKS
from distill_sim.corpus import CorpusRow
from distill_sim.synonyms import Thesaurus
from tests import tiny
from tests.distill_sim import wordnet
from tests.distill_sim.test_corpus import ROW
from watermark.engines.answers import Sampling
from watermark.engines.models import load_model, load_tokenizer
from watermark.errors import InputError

pytestmark = pytest.mark.usefixtures("one_torch_thread")

TEXT = "The big dog saw the house. It rained! The keeper counted coins,\nthen slept. Was it 3 o'clock?"
Attack = Callable[[Sequence[CorpusRow], int], list[CorpusRow]]


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(tiny.shared())


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(tiny.shared())


@pytest.fixture(scope="module")
def thesaurus(tmp_path_factory: pytest.TempPathFactory) -> Thesaurus:
    return Thesaurus(wordnet.write(tmp_path_factory.mktemp("wordnet")))


@pytest.fixture(scope="module")
def known(model: Any, tokenizer: Any, thesaurus: Thesaurus) -> dict[str, Attack]:
    """Every attack of a condition but paraphrasing, at one strength."""
    return {
        "synonyms": lambda rows, seed: attacks.synonyms(
            rows, 0.15, tokenizer=tokenizer, thesaurus=thesaurus, seed=seed
        ),
        "delete": lambda rows, seed: attacks.delete(rows, 0.4, tokenizer=tokenizer, seed=seed),
        "shuffle": lambda rows, seed: attacks.shuffle(rows, tokenizer=tokenizer, seed=seed),
        "resample": lambda rows, seed: attacks.resample(rows, 0.4, model=model, tokenizer=tokenizer, seed=seed),
    }


def corpus(tokenizer: Any, count: int = 9) -> list[CorpusRow]:
    """Answers of many lengths behind prompts of many lengths."""
    rows = []
    for i in range(count):
        text = TEXT[: 40 + 11 * i]
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        prompt = tuple(range(10, 12 + i % 5))
        rows.append(replace(ROW, id=f"row {i}", text=text, token_ids=tuple(ids), prompt_ids=prompt))
    return rows


# --- what holds for all ---


def test_every_attack_of_a_condition_has_a_function() -> None:
    assert all(callable(getattr(attacks, name)) for name in ATTACKS)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "paraphrase"])
def test_a_rows_fate_is_its_own(known: dict[str, Attack], tokenizer: Any, name: str) -> None:
    rows = corpus(tokenizer)
    done = known[name](rows, 5)
    assert known[name](rows, 5) == done
    assert known[name](rows[::-1], 5) == done[::-1]
    assert [known[name]([row], 5)[0] for row in rows] == done
    assert known[name](rows, 6) != done
    twins = known[name]([replace(rows[-1], id=str(i)) for i in range(20)], 5)
    assert len({row.text for row in twins}) > 2  # not one stream of random numbers for all


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "paraphrase"])
def test_only_text_and_ids_change_and_they_agree(known: dict[str, Attack], tokenizer: Any, name: str) -> None:
    rows = corpus(tokenizer)
    done = known[name](rows, 5)
    assert any(after.text != before.text for before, after in zip(rows, done, strict=True))
    for before, after in zip(rows, done, strict=True):
        assert replace(after, text=before.text, token_ids=before.token_ids) == before
        assert tokenizer.decode(after.token_ids) == after.text
        if name != "resample":
            assert list(after.token_ids) == tokenizer(after.text, add_special_tokens=False)["input_ids"]


def test_shares_are_checked(model: Any, tokenizer: Any, thesaurus: Thesaurus) -> None:
    for share in (0, 1, -1):
        for refused in (
            lambda share: attacks.delete([], share, tokenizer=tokenizer, seed=0),
            lambda share: attacks.synonyms([], share, tokenizer=tokenizer, thesaurus=thesaurus, seed=0),
            lambda share: attacks.resample([], share, model=model, tokenizer=tokenizer, seed=0),
        ):
            with pytest.raises(InputError, match="share lies between 0 and 1"):
                refused(share)


# --- text ---


def test_the_share_of_words_that_is_deleted(tokenizer: Any) -> None:
    words = " ".join(f"w{i}" for i in range(200))
    rows = [replace(ROW, id=str(i), text=words) for i in range(20)]
    left = [row.text.split() for row in attacks.delete(rows, 0.3, tokenizer=tokenizer, seed=1)]
    total = sum(map(len, left))
    assert binom.ppf(1e-6, 4000, 0.7) <= total <= binom.ppf(1 - 1e-6, 4000, 0.7)
    order = {word: i for i, word in enumerate(words.split())}
    assert all([order[w] for w in one] == sorted(order[w] for w in one) for one in left)


def test_an_answer_may_become_empty(tokenizer: Any) -> None:
    rows = [replace(ROW, id=str(i), text="word") for i in range(40)]
    done = attacks.delete(rows, 0.5, tokenizer=tokenizer, seed=1)
    assert {(row.text, row.token_ids == ()) for row in done} == {("", True), ("word", False)}


def test_shuffled_sentences_are_the_same_sentences(tokenizer: Any) -> None:
    rows = [replace(ROW, id=str(i), text=TEXT) for i in range(30)]
    done = attacks.shuffle(rows, tokenizer=tokenizer, seed=1)
    sentences = Counter(re.split(r"(?<=[.!?])\s+|\n+", TEXT))
    first = set()
    for row in done:
        parts = [sentence for sentence in sentences if sentence in row.text]
        assert len(parts) == len(sentences) == 5
        assert len(row.text) == len(TEXT)
        first.add(row.text[:6])
    assert len(first) == 5  # each came first in some row


def test_synonyms_replace_the_share_that_was_asked(tokenizer: Any, thesaurus: Thesaurus) -> None:
    row = replace(ROW, text="The big dogs saw a house and a dog", token_ids=())
    (done,) = attacks.synonyms([row], 0.4, tokenizer=tokenizer, thesaurus=thesaurus, seed=0)
    changed = [(a, b) for a, b in zip(row.text.split(), done.text.split(), strict=True) if a != b]
    assert len(changed) == round(0.4 * 9)
    known = {"big": {"large"}, "dogs": {"hounds"}, "house": {"home"}, "dog": {"hound"}, "saw": {"viewed"}}
    assert all(b in known[a] for a, b in changed)


# --- drawn anew ---


def by_hand(model: Any, row: CorpusRow, share: float, seed: int) -> list[int]:
    """One row, the whole prefix read anew for every token that is drawn, no cache and no padding."""
    rng = row_random("resample", seed, row.id)
    ids = [*row.prompt_ids, *row.token_ids]
    first = max(1, len(row.prompt_ids))
    places = sorted(rng.sample(range(first, len(ids)), round(share * (len(ids) - first))))
    for place, number in zip(places, [rng.random() for _ in places], strict=True):
        with torch.inference_mode():
            p = torch.softmax(model(input_ids=torch.tensor([ids[:place]])).logits[0, -1].double(), -1).numpy().copy()
        p[:3] = 0  # the tiny tokenizer's special tokens
        ids[place] = int(np.searchsorted(np.cumsum(p) / p.sum(), number, side="right"))
    return ids[len(row.prompt_ids) :]


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_tokens_are_drawn_given_what_stands_before_them_by_then(model: Any, tokenizer: Any, share: float) -> None:
    rows = [*corpus(tokenizer), replace(ROW, id="no prompt", prompt_ids=(), token_ids=tuple(range(50, 70)))]
    done = attacks.resample(rows, share, model=model, tokenizer=tokenizer, seed=3, batch_size=4)
    for before, after in zip(rows, done, strict=True):
        assert list(after.token_ids) == by_hand(model, before, share, 3)
        assert not set(after.token_ids) & {0, 1, 2}
        kept = sum(a == b for a, b in zip(before.token_ids, after.token_ids, strict=True))
        assert kept >= len(before.token_ids) - round(share * len(before.token_ids))


def test_draws_follow_the_models_distribution(model: Any, tokenizer: Any) -> None:
    rows = [replace(ROW, id=str(i), prompt_ids=(40, 41, 42), token_ids=(50,)) for i in range(3000)]
    done = attacks.resample(rows, 0.99, model=model, tokenizer=tokenizer, seed=4, temperature=0.7, batch_size=500)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[40, 41, 42]])).logits[0, -1].double()
        logits[:3] = -torch.inf
        p = torch.softmax(logits / 0.7, -1).numpy()
    often = p * 3000 > 10
    counts = np.bincount([row.token_ids[0] for row in done], minlength=384)
    seen = np.append(counts[often], counts[~often].sum())
    assert len(seen) > 10
    assert chisquare(seen, 3000 * np.append(p[often], p[~often].sum())).pvalue > 1e-4
    assert chisquare(seen, np.full(len(seen), 3000 / len(seen))).pvalue < 1e-9  # and could fail


def test_surplus_logits_and_empty_answers(tmp_path: Path, tokenizer: Any) -> None:
    wide = load_model(tiny.build(tmp_path / "wide", surplus=300))
    rows = [replace(ROW, id=str(i), token_ids=tuple(range(50, 90))) for i in range(5)]
    rows += [replace(ROW, id="empty", token_ids=()), replace(ROW, id="nothing", prompt_ids=(), token_ids=())]
    done = attacks.resample(rows, 0.9, model=wide, tokenizer=tokenizer, seed=1)
    assert max(max(row.token_ids, default=0) for row in done) < 384
    assert [row.token_ids for row in done[5:]] == [(), ()]
    assert attacks.resample(rows[5:], 0.9, model=wide, tokenizer=tokenizer, seed=1)[0].token_ids == ()


# --- in other words ---


def test_paraphrases_are_asked_for_and_read_by_the_students_tokenizer(model: Any, tokenizer: Any) -> None:
    rows = corpus(tokenizer, 3)
    requests = paraphrase_requests(rows, tokenizer)
    for row, request in zip(rows, requests, strict=True):
        asked = tokenizer.decode(request)
        assert asked.startswith("<|im_start|>user\n")
        assert asked.endswith(f"{row.text}<|im_end|>\n<|im_start|>assistant\n")
    counted: list[int] = []
    sampling = Sampling(max_new_tokens=6, batch_size=2)
    arguments: dict[str, Any] = {"model": model, "model_tokenizer": tokenizer, "tokenizer": tokenizer}
    done = paraphrase(rows, **arguments, sampling=sampling, seed=2, on_tokens=counted.append)
    assert done == paraphrase(rows, **arguments, sampling=sampling, seed=2)
    assert sum(counted) > 0
    assert len(done.rows) == 3
    for before, after in zip(rows, done.rows, strict=True):
        assert after.text != before.text
        assert list(after.token_ids) == tokenizer(after.text, add_special_tokens=False)["input_ids"]
        assert replace(after, text=before.text, token_ids=before.token_ids) == before


def test_answers_without_words_are_dropped_and_counted(tokenizer: Any) -> None:
    rows = corpus(tokenizer, 4)
    answers = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("new words", " \n ", "", " more ")]
    done = from_paraphrases(rows, answers, tokenizer, tokenizer)
    assert [(row.id, row.text) for row in done.rows] == [("row 0", "new words"), ("row 3", "more")]
    assert done.asked == 4
    assert done.dropped_share == 0.5
    assert Paraphrased([], 0).dropped_share == 0
    with pytest.raises(ValueError, match="zip"):
        from_paraphrases(rows, answers[:3], tokenizer, tokenizer)
