"""Expected information: against its definition under random keys; and the greedy choice against the best one."""

from __future__ import annotations

import inspect
import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from detect.fed import Probe
from detect.questioned import information as module
from detect.questioned.information import Information, choose, expected_information
from tests import tiny
from tests.detect.material import docstrings
from tests.detect.questioned.slow import SPECIALS, V
from watermark.engines.models import load_model, load_tokenizer
from watermark.errors import InputError, ModelError
from watermark.windows import WindowRule

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def probes() -> list[Probe]:
    tokenizer = load_tokenizer(tiny.shared())
    answers = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in docstrings()[:6]]
    return [Probe([1, 5, 6, 2][: i % 5], answer[: 20 + 9 * i]) for i, answer in enumerate(answers)]


def predictions(model: Any, probe: Probe, h: int) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """(context, p float64 [V]) of every position, by one plain forward pass."""
    prompt, answer = list(probe.prompt_ids), list(probe.answer_ids)
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + answer])).logits[0, :, :V].double()
    table = torch.softmax(logits, -1).numpy()
    found = []
    for offset in range(max(h, 1 - len(prompt)), len(answer) + 1):
        context = tuple(int(token) for token in answer[offset - h : offset])
        if not set(context) & set(SPECIALS):
            found.append((context, table[len(prompt) + offset - 1]))
    return found


@pytest.mark.parametrize("h", [0, 1, 2])
def test_it_is_the_fisher_information_averaged_over_colours(h: int, reference: Any, probes: list[Probe]) -> None:
    """Var_p(green), the second derivative of log Σ p·e^{δ·green} at δ = 0, over 4,000 random colourings."""
    rng, gamma = np.random.default_rng(5), 0.3
    green = rng.random((4000, V)) < gamma
    found = expected_information(reference, probes, rule=WindowRule(h, SPECIALS), vocab_size=V, gamma=gamma)
    assert found.tokens.tolist() == [len(probe.answer_ids) for probe in probes]
    for number, probe in enumerate(probes):
        expected = predictions(reference, probe, h)
        assert len(found.values[number]) == len(expected) > 0
        for value, (_, p) in list(zip(found.values[number], expected, strict=True))[::7]:
            mean = green @ p
            spread = mean - mean**2  # green² = green
            assert value == pytest.approx(spread.mean(), abs=5 * spread.std() / 4000**0.5 + 1e-6)


def test_equal_contexts_have_equal_numbers(reference: Any, probes: list[Probe]) -> None:
    found = expected_information(reference, probes, rule=WindowRule(1, SPECIALS), vocab_size=V)
    ours = [int(c) for numbers in found.contexts for c in numbers]
    theirs = [context for probe in probes for context, _ in predictions(reference, probe, 1)]
    assert len(set(ours)) == len(set(theirs)) == len(found.weights) == len(set(zip(ours, theirs, strict=True))) > 20


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("h", [0, 1, 2])
def test_frequent_contexts_weigh_by_the_root_of_their_count(
    h: int, given: bool, reference: Any, probes: list[Probe]
) -> None:
    """Their count in a corpus, or else in the candidates."""
    corpus = [[*probe.answer_ids, *probe.answer_ids[:5]] for probe in probes[:3]] if given else None
    found = expected_information(reference, probes, rule=WindowRule(h, SPECIALS), vocab_size=V, corpus=corpus)
    theirs = [context for probe in probes for context, _ in predictions(reference, probe, h)]
    counts = Counter(theirs)
    if corpus is not None:
        counts = Counter(tuple(one[i : i + h]) for one in corpus for i in range(len(one) - h + 1))
    ours = [int(c) for numbers in found.contexts for c in numbers]
    f = np.array([counts[context] for context in theirs])
    np.testing.assert_allclose(found.weights[ours], np.sqrt(f + 0.5))
    assert h == 0 or {0 if given else 3, 1, 2} <= set(f.tolist())


def test_f_counts_alike_positions_like_their_root() -> None:
    values = [np.full(9, 2.0), np.array([1.0, 4.0])]
    one = Information(np.array([9, 9]), [np.array([0] * 9), np.array([0, 1])], values, np.array([1.0, 3.0]))
    assert one.total([]) == 0
    assert one.total([0]) == pytest.approx(2 * 9**0.5)
    assert one.total([1]) == pytest.approx(1 + 3 * 4)
    assert one.total([0, 1]) == one.total([1, 0]) == pytest.approx(37**0.5 + 3 * 4)


def random_case(rng: np.random.Generator, n: int) -> Information:
    tokens = rng.integers(3, 12, n)
    contexts = [rng.integers(0, 15, size) for size in tokens]
    return Information(tokens, contexts, [rng.random(size) ** 2 for size in tokens], rng.random(15) + 0.5)


@pytest.mark.parametrize("seed", range(20))
def test_the_choice_is_greedy(seed: int) -> None:
    """The lazy heap against trying every probe in every step."""
    case, budget = random_case(np.random.default_rng(seed), 12), 40
    expected: list[int] = []
    left = budget
    while True:
        fitting = [i for i in range(12) if i not in expected and case.tokens[i] <= left]
        if not fitting:
            break
        now = case.total(expected)
        best = max(fitting, key=lambda i: (case.total([*expected, i]) - now) / case.tokens[i])
        expected.append(best)
        left -= case.tokens[best]
    assert choose(case, budget) == expected
    assert choose(case, budget) == expected


def test_it_is_near_the_best_choice_and_far_above_chance() -> None:
    """Never below (1 − 1/e)/2 of the best (a bound for greedy on such an F is near it), on average close to it."""
    shares, chance = [], []
    for seed in range(30):
        rng = np.random.default_rng(1000 + seed)
        case = random_case(rng, 9)
        subsets = [s for size in range(1, 9) for s in itertools.combinations(range(9), size)]
        allowed = [s for s in subsets if case.tokens[list(s)].sum() <= 30]
        best = max(map(case.total, allowed))
        chosen = choose(case, 30)
        assert case.tokens[chosen].sum() <= 30
        shares.append(case.total(chosen) / best)
        full = [s for s in allowed if case.tokens[list(s)].sum() > 30 - case.tokens.min()]
        chance.append(np.mean([case.total(s) for s in full]) / best)
    assert min(shares) > 0.8
    assert np.mean(shares) > 0.95 > np.mean(chance) + 0.05


def test_settled_positions_and_repeats_are_not_chosen() -> None:
    """Probe 0 says little; 1 and 2 are one text; 3 speaks of other contexts."""
    same = np.array([0, 1, 2])
    case = Information(
        np.array([3, 3, 3, 3, 0]),
        [same + 6, same, same, same + 3, same[:0]],
        [np.full(3, 0.1), np.full(3, 1.0), np.full(3, 1.0), np.full(3, 0.9), np.zeros(0)],
        np.ones(9),
    )
    assert choose(case, 6) == [1, 3]
    assert choose(case, 9) == [1, 3, 2]
    assert choose(case, 11) == [1, 3, 2]
    assert choose(case, 100) == [1, 3, 2, 0]
    with pytest.raises(InputError, match="no probe fits into 2 tokens: the shortest has 3; choose more"):
        choose(case, 2)


def test_probes_that_say_nothing_are_never_chosen() -> None:
    contexts, values = [np.array([0, 1]), np.array([1, 2])], [np.zeros(2), np.array([0.0, 1.0])]
    case = Information(np.array([2, 2]), contexts, values, np.ones(3))
    assert choose(case, 10) == [1]


def test_prompts_alone_say_nothing(reference: Any, probes: list[Probe]) -> None:
    rule = WindowRule(1, SPECIALS)
    found = expected_information(reference, [Probe([5, 6], []), probes[0]], rule=rule, vocab_size=V)
    assert [len(values) for values in found.values] == [0, len(probes[0].answer_ids)]
    assert choose(found, 1000) == [1]
    with pytest.raises(InputError, match="no probe has a readable position"):
        expected_information(reference, [Probe([5, 6], [])], rule=rule, vocab_size=V)


def test_of_two_that_say_as_much_the_frequent_one_is_taken() -> None:
    case = Information(np.array([1, 1]), [np.array([0]), np.array([1])], [np.ones(1), np.ones(1)], np.array([0.7, 3.0]))
    assert choose(case, 1) == [1]


def test_progress_and_damaged_references(reference: Any, probes: list[Probe], tmp_path: Any) -> None:
    rule = WindowRule(1, SPECIALS)
    steps: list[int] = []
    found = expected_information(reference, probes, rule=rule, vocab_size=V, on_positions=steps.append)
    assert sum(steps) == sum(len(values) for values in found.values)
    broken = load_model(tiny.build(tmp_path / "broken", seed=3))
    with torch.no_grad():
        broken.get_input_embeddings().weight[7] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        expected_information(broken, [Probe([], [7, 8, 9])], rule=rule, vocab_size=V)


def test_no_key_and_no_questioned_model_come_in() -> None:
    names = set(inspect.signature(expected_information).parameters) | set(inspect.signature(choose).parameters)
    assert not names & {"key", "mark", "model", "questioned"}
    assert "watermark.keys" not in inspect.getsource(module)
