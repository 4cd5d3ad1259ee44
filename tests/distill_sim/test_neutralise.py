"""Guessing a mark without its key: both estimates against plain loops, and what they do to a toy's mark.

The toy is a table of logits by the last token, and its marked form has the mark in its weights, so what the attacks
should find is known exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from detect import assess, read_model, tally, weigh, window_rule
from detect.fed import Probe
from detect.questioned.excess import excess_of
from distill_sim.bias import Bias, biased
from distill_sim.corpus import CorpusRow
from distill_sim.neutralise import context_weights, estimate_bias, imitation, neutralised, score
from tests import tiny
from tests.detect.questioned import table_model
from tests.distill_sim.test_corpus import ROW
from tests.watermark.engines.helpers import key_for
from watermark.engines.answers import Sampling, answer
from watermark.engines.models import load_model, load_tokenizer
from watermark.errors import InputError
from watermark.greenlist import GreenList
from watermark.windows import WindowRule

pytestmark = pytest.mark.usefixtures("one_torch_thread")

V, DELTA = 384, 2.0
KEY, OTHER_KEY = key_for(number=70), key_for(number=71)
RULE = window_rule(KEY)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The toy without and with the mark, and answers of both: 200 of 30 tokens, in halves."""
    directory = tmp_path_factory.mktemp("toy")
    plain = load_model(table_model.build(directory / "plain"))
    marked = load_model(table_model.build(directory / "marked", key=KEY, delta=DELTA))
    tokenizer = load_tokenizer(directory / "plain")
    result = SimpleNamespace(plain=plain, marked=marked, tokenizer=tokenizer)
    result.marked_answers = written(result, marked, 1)
    result.plain_answers = written(result, plain, 2)
    return result


def written(toy: Any, model: Any, seed: int, count: int = 200, length: int = 30) -> list[list[int]]:
    prompts = [toy.tokenizer(" the", add_special_tokens=False)["input_ids"]] * count
    sampling = Sampling(max_new_tokens=length, batch_size=100)
    return [ids for batch in answer(model, toy.tokenizer, prompts, sampling, seed=seed) for ids in batch]


def probes(answers: Sequence[Sequence[int]]) -> list[Probe]:
    return [Probe([5], ids) for ids in answers]


def rows(answers: Sequence[Sequence[int]]) -> list[CorpusRow]:
    return [replace(ROW, id=str(i), token_ids=tuple(ids)) for i, ids in enumerate(answers)]


def table(bias: Bias) -> dict[tuple[tuple[int, ...], int], float]:
    cells = {}
    for i, context in enumerate(bias.contexts.tolist()):
        for at in range(bias.starts[i], bias.starts[i + 1]):
            cells[tuple(context), int(bias.tokens[at])] = float(bias.values[at])
    return cells


def green_share(key: Any, answers: Sequence[Sequence[int]]) -> float:
    one = tally(key, answers)
    return one.n_green / one.n_scored


# --- the estimates, by hand ---


def estimated_by_hand(
    before: Any, after: Any, texts: Sequence[Probe], width: int, top: int, least: float, most: int
) -> dict[tuple[tuple[int, ...], int], float]:
    """Text by text and position by position, as the paper says it."""
    sums: dict[tuple[int, ...], list[np.ndarray]] = {}
    counts: Counter[tuple[int, ...]] = Counter()
    for text in texts:
        prompt, ids = list(text.prompt_ids), list(text.answer_ids)
        for end in range(width, len(ids) + 1):
            context = tuple(ids[end - width : end])
            if set(context) & {0, 1, 2} or not prompt + ids[:end]:
                continue
            counts[context] += 1
            with torch.inference_mode():
                given = torch.tensor([prompt + ids[:end]])
                p = [torch.softmax(one(given).logits[0, -1, :V].double(), -1).numpy() for one in (before, after)]
            for total, add in zip(sums.setdefault(context, [np.zeros(V), np.zeros(V)]), p, strict=True):
                total += add
    total = sum(counts.values())
    frequent = [context for context in sorted(counts) if counts[context] / total > least]
    frequent = sorted(frequent, key=lambda context: (-counts[context], context))[:most]
    cells = {}
    highest = max(counts[context] for context in frequent) / total
    for context in frequent:
        old, new = (one / counts[context] for one in sums[context])
        new[:3] = 0
        weight = 1.0 if highest == 1 else (np.log(highest) / np.log(counts[context] / total)) ** 0.3
        for token in np.argsort(-new)[:top].tolist():
            if new[token] > old[token]:
                cells[context, token] = 0.5 * min(2, new[token] / old[token]) * weight
    return cells


@pytest.mark.parametrize("width", [0, 1, 2])
@pytest.mark.parametrize(("top", "least", "most"), [(50, 5e-5, 4096), (7, 0.02, 4096), (7, 5e-5, 5)])
def test_the_estimate_is_the_papers(tmp_path: Path, width: int, top: int, least: float, most: int) -> None:
    before = load_model(tiny.build(tmp_path / "before", surplus=8))
    after = load_model(tiny.build(tmp_path / "after", seed=1))
    rng = np.random.default_rng(3)
    texts = [Probe(rng.integers(3, 9, size=3).tolist(), rng.integers(2, 9, size=12).tolist()) for _ in range(4)]
    expected = estimated_by_hand(before, after, texts, width, top, least, most)
    read: list[int] = []
    bias = estimate_bias(
        before, after, texts, rule=WindowRule(width, (0, 1, 2)), vocab_size=V,
        top=top, least_frequency=least, max_contexts=most, on_positions=read.append,
    )  # fmt: skip
    found = table(bias)
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-4)
    assert sum(read) > 20
    assert bias.context_width == width


@pytest.mark.parametrize(("width", "least"), [(0, 2), (1, 2), (1, 3), (2, 2)])
def test_the_imitation_is_counted(toy: Any, width: int, least: int) -> None:
    marked, plain = [ids[:12] for ids in toy.marked_answers], [ids[:12] for ids in toy.plain_answers]
    marked[0][3] = 1  # a special token is neither context nor target
    bias = imitation(rows(marked), rows(plain), rule=WindowRule(width, (0, 1, 2)), least=least)
    pairs, contexts = [], []
    for answers in (marked, plain):
        windows = [tuple(ids[i - width : i + 1]) for ids in answers for i in range(width, len(ids))]
        windows = [window for window in windows if not set(window) & {0, 1, 2}]
        pairs.append(Counter(windows))
        contexts.append(Counter(window[:-1] for window in windows))
    expected = {}
    for window, count in pairs[0].items():
        context = window[:-1]
        if count >= least and contexts[1][context]:
            ours, theirs = count / contexts[0][context], pairs[1][window] / contexts[1][context]
            if ours > theirs:
                expected[context, window[-1]] = 0.5 * min(2, ours / theirs) if theirs else 1.0
    assert len(expected) > 10
    assert table(bias) == pytest.approx(expected, rel=1e-6)


def test_scores_and_weights() -> None:
    found = score(np.array([0.2, 0.3, 0.5, 0.1, 0.0]), np.array([0.3, 0.2, 0.1, 0.0, 0.0]))
    assert found.tolist() == pytest.approx([0, 0.75, 1, 1, 0])
    weights = context_weights(np.array([0.1, 0.01, 0.001]))
    assert weights.tolist() == pytest.approx([1, 0.5**0.3, (1 / 3) ** 0.3])
    assert context_weights(np.array([1.0])).tolist() == [1]


# --- neutralisation ---


def divergence(model: Any, base: Any, answers: Sequence[Sequence[int]]) -> float:
    """Mean KL divergence of next-token distributions from those of `base`, nats."""
    ids = torch.tensor([one[:20] for one in answers if len(one) >= 20])
    with torch.inference_mode():
        theirs, ours = (torch.log_softmax(one(input_ids=ids).logits, -1) for one in (base, model))
    return float((theirs.exp() * (theirs - ours)).sum(-1).mean())


def test_neutralising_moves_a_marked_model_back_towards_its_base(toy: Any) -> None:
    fresh = written(toy, toy.plain, 3, count=40)
    bias = estimate_bias(toy.plain, toy.marked, probes(toy.marked_answers), rule=RULE, vocab_size=V)
    before = divergence(toy.marked, toy.plain, fresh)
    with neutralised(toy.marked, bias, DELTA) as model:
        after = divergence(model, toy.plain, fresh)
    with neutralised(toy.marked, bias, 4 * DELTA) as model:
        beyond = divergence(model, toy.plain, fresh)
    assert before > 0.3
    assert after < 0.2 * before
    assert beyond > before  # whoever subtracts too much has marked it again, with the opposite sign
    nothing = estimate_bias(toy.plain, toy.plain, probes(toy.marked_answers), rule=RULE, vocab_size=V)
    assert len(nothing) == 0


def test_what_is_subtracted_is_the_mark(toy: Any) -> None:
    bias = estimate_bias(toy.plain, toy.marked, probes(toy.marked_answers), rule=RULE, vocab_size=V)
    contexts = np.repeat(bias.contexts, np.diff(bias.starts), axis=0)
    assert len(bias) > 300
    assert GreenList(KEY).is_green(contexts, bias.tokens).mean() > 0.99
    assert GreenList(OTHER_KEY).is_green(contexts, bias.tokens).mean() < 0.32


def test_text_written_under_neutralisation_has_lost_the_mark(toy: Any) -> None:
    bias = estimate_bias(toy.plain, toy.marked, probes(toy.marked_answers), rule=RULE, vocab_size=V)
    with neutralised(toy.marked, bias, DELTA) as model:
        cleaned = written(toy, model, 4)
    lost = token_share(cleaned)
    marked, plain = token_share(toy.marked_answers), token_share(toy.plain_answers)
    assert marked > plain + 0.25
    assert abs(lost - plain) < 0.15 * (marked - plain)


def token_share(answers: Sequence[Sequence[int]]) -> float:
    """Green among all tokens, repeated pairs included: the toy's contexts are few."""
    windows = np.array([(a, b) for ids in answers for a, b in pairwise(ids)])
    return float(GreenList(KEY).is_green(windows[:, :1], windows[:, 1]).mean())


def test_both_tests_of_a_questioned_model_meet_it(toy: Any) -> None:
    """`read_model` and `excess_of` under neutralisation see a small part of the mark.

    The toy differs from its base by the mark alone, so its p would stay small whatever little is left: the reading's
    statistic is compared instead. Answers are drawn, and drown what is left.
    """
    bias = estimate_bias(toy.plain, toy.marked, probes(toy.marked_answers), rule=RULE, vocab_size=V)
    read = probes(written(toy, toy.plain, 5, count=20))

    def reading(model: Any) -> float:
        found = read_model(model, read, rule=RULE, vocab_size=V, reference=toy.plain, scaled=False)
        return float(weigh(KEY, found).statistic)

    def sampled(model: Any) -> float:
        answers = probes(written(toy, model, 6, count=60))
        found = excess_of(toy.plain, answers, rule=RULE, vocab_size=V, scaled=False)
        return float(assess(weigh(KEY, found)).log10_p)

    with neutralised(toy.marked, bias, DELTA) as model:
        hidden = reading(model), sampled(model)
    found = reading(toy.marked), sampled(toy.marked)
    assert 0 < hidden[0] < 0.3 * found[0]
    assert found[1] < -20
    assert hidden[1] > -2


# --- imitation ---


def test_an_imitation_finds_green_tokens_above_chance(toy: Any) -> None:
    bias = imitation(rows(toy.marked_answers), rows(toy.plain_answers), rule=RULE)
    contexts = np.repeat(bias.contexts, np.diff(bias.starts), axis=0)
    sure = bias.values == 1
    assert sure.sum() > 200
    assert GreenList(KEY).is_green(contexts[sure], bias.tokens[sure]).mean() > 0.6
    assert GreenList(OTHER_KEY).is_green(contexts[sure], bias.tokens[sure]).mean() < 0.33
    halves = toy.plain_answers[:100], toy.plain_answers[100:]
    nothing = imitation(rows(halves[0]), rows(halves[1]), rule=RULE)
    contexts = np.repeat(nothing.contexts, np.diff(nothing.starts), axis=0)
    assert GreenList(KEY).is_green(contexts, nothing.tokens).mean() < 0.35


def test_an_unmarked_teacher_can_be_made_to_imitate(toy: Any) -> None:
    bias = imitation(rows(toy.marked_answers), rows(toy.plain_answers), rule=RULE)
    with biased(toy.plain, bias, 3.0) as model:
        imitated = written(toy, model, 7)
    plain, marked = token_share(toy.plain_answers), token_share(toy.marked_answers)
    assert token_share(imitated) > plain + 0.5 * (marked - plain)
    assert assess(tally(KEY, imitated)).log10_p < -10
    assert assess(tally(OTHER_KEY, imitated)).log10_p > -3
    assert assess(tally(KEY, toy.plain_answers)).log10_p > -3


# --- refusals ---


def test_texts_without_anything_to_learn_from_are_refused(toy: Any) -> None:
    few = rows([[50, 60, 70]])
    with pytest.raises(InputError, match="no pair occurs 2 times in marked answers"):
        imitation(few, few, rule=RULE)
    with pytest.raises(InputError, match=r"no context is more frequent than 0\.9"):
        estimate_bias(
            toy.plain, toy.marked, probes(toy.marked_answers[:2]), rule=RULE, vocab_size=V, least_frequency=0.9
        )
    with pytest.raises(InputError, match="no probe has a readable position"):
        estimate_bias(toy.plain, toy.marked, [Probe([5], [])], rule=RULE, vocab_size=V)
