"""How usage scales a reading's weights, against plain loops."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from detect.fed import Probe
from detect.questioned.excess import excess_of
from detect.questioned.reading import read_model
from detect.questioned.usage import Exponents, Usage, context_counts
from tests import tiny
from tests.detect.material import docstrings
from tests.detect.questioned.slow import SPECIALS, V
from watermark.engines.models import load_model, load_tokenizer
from watermark.windows import WindowRule

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    return load_model(tiny.build(tmp_path_factory.mktemp("questioned"), seed=7)), load_model(tiny.shared())


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    tokenizer = load_tokenizer(tiny.shared())
    return [tokenizer(text, add_special_tokens=False)["input_ids"][:60] for text in docstrings()[:24]]


def slow_counts(corpus: list[list[int]], h: int) -> Counter[tuple[int, ...]]:
    """Windows of h tokens of each document, without special ones."""
    found: Counter[tuple[int, ...]] = Counter()
    for ids in corpus:
        for end in range(h, len(ids) + 1):
            window = tuple(ids[end - h : end])
            if not set(window) & set(SPECIALS):
                found[window] += 1
    return found


def by_pair(reading: Any) -> dict[tuple[tuple[int, ...], int], float]:
    pairs = reading.pairs
    named = zip(pairs.contexts.tolist(), pairs.tokens.tolist(), reading.weights.tolist(), strict=True)
    return {(tuple(context), token): weight for context, token, weight in named}


def positions_of(probes: list[Probe], h: int) -> Counter[tuple[int, ...]]:
    """Nothing is read before the first token: these probes have no prompt."""
    found = slow_counts([list(probe.answer_ids) for probe in probes], h)
    if h == 0:
        found[()] -= len(probes)
    return found


@pytest.mark.parametrize("h", [0, 1, 2])
def test_a_reading_with_a_corpus_is_the_plain_one_times_the_stated_factors(
    h: int, models: tuple[Any, Any], texts: list[list[int]]
) -> None:
    model, reference = models
    probes, corpus = [Probe([], ids) for ids in texts[:8]], texts[8:]
    rule = WindowRule(h, SPECIALS)
    common: dict[str, Any] = {"rule": rule, "vocab_size": V, "reference": reference, "top": V}
    plain = by_pair(read_model(model, probes, scaled=False, **common))
    scaled = by_pair(read_model(model, probes, corpus=corpus, **common))
    f, n = slow_counts(corpus, h), positions_of(probes, h)
    u = Counter(token for ids in corpus for token in ids)
    assert len(plain) > 1000 or h == 0
    for (context, token), weight in plain.items():
        factor = np.sqrt((f[context] + 0.5) / n[context]) * (u[token] + 0.5) ** 0.125
        assert scaled[context, token] == pytest.approx(weight * factor, rel=1e-4, abs=1e-5)


def test_without_a_corpus_the_references_own_mean_prediction_says_what_is_frequent(
    models: tuple[Any, Any], texts: list[list[int]]
) -> None:
    model, reference = models
    probes, rule = [Probe([], ids) for ids in texts[:8]], WindowRule(1, ())
    common: dict[str, Any] = {"rule": rule, "vocab_size": V, "reference": reference, "top": V}
    plain = by_pair(read_model(model, probes, scaled=False, **common))
    scaled = by_pair(read_model(model, probes, **common))
    with torch.inference_mode():
        each = [reference(torch.tensor([list(p.answer_ids)])).logits[0, :, :V].double().softmax(-1) for p in probes]
    mean, n = torch.cat(each).mean(dim=0).numpy(), positions_of_all(probes)
    for (context, token), weight in plain.items():
        factor = np.sqrt((mean[context[0]] + 3e-4) / n[context[0]])
        assert scaled[context, token] == pytest.approx(weight * factor, rel=1e-4, abs=1e-6)


def positions_of_all(probes: list[Probe]) -> Counter[int]:
    return Counter(token for probe in probes for token in probe.answer_ids)


@pytest.mark.parametrize("h", [0, 2, 3])
def test_wider_contexts_without_a_corpus_are_all_alike(h: int, models: tuple[Any, Any], texts: list[list[int]]) -> None:
    """Only the number of positions counts then: the reference's mean says nothing of whole contexts."""
    model, reference = models
    probes, rule = [Probe([], ids) for ids in texts[:4]], WindowRule(h, SPECIALS)
    common: dict[str, Any] = {"rule": rule, "vocab_size": V, "reference": reference, "top": V}
    plain = by_pair(read_model(model, probes, scaled=False, **common))
    scaled = by_pair(read_model(model, probes, **common))
    n = positions_of(probes, h)
    assert plain
    for (context, token), weight in plain.items():
        assert scaled[context, token] == pytest.approx(weight / np.sqrt(n[context]), rel=1e-4, abs=1e-6)


def test_without_a_reference_nothing_is_scaled(models: tuple[Any, Any], texts: list[list[int]]) -> None:
    model, _ = models
    common: dict[str, Any] = {"rule": WindowRule(1, SPECIALS), "vocab_size": V}
    probes = [Probe([], ids) for ids in texts[:4]]
    one, other = read_model(model, probes, **common), read_model(model, probes, corpus=texts[8:], **common)
    np.testing.assert_array_equal(one.weights, other.weights)


@pytest.mark.parametrize("h", [0, 1, 2, 4])
def test_contexts_are_counted_as_they_stand_in_the_corpus(h: int) -> None:
    rng = np.random.default_rng(h)
    corpus = [rng.integers(0, 6, rng.integers(0, 40)).tolist() for _ in range(30)]
    counts = slow_counts(corpus, h)
    contexts = [*counts, *([(5,) * h] if h and (5,) * h not in counts else [])]
    table = np.array(contexts, dtype=np.uint32).reshape(len(contexts), h)
    found = context_counts(corpus, table, WindowRule(h, SPECIALS))
    assert found.tolist() == [counts[context] for context in contexts]
    assert found.max() > 1


@pytest.mark.parametrize("h", [0, 1, 2, 3])
def test_counting_in_one_go_is_counting_one_by_one(h: int) -> None:
    """Ids up to the largest there can be, contexts that stand twice, that are special, that never occur; no corpus."""
    rng = np.random.default_rng(50 + h)
    ids = np.array([1, 7, 8, 2**31 - 1, 2**31 - 2])
    corpus = [rng.choice(ids, rng.integers(0, 30)) for _ in range(20)]
    table = rng.choice(np.append(ids, 9), (60, h)).astype(np.uint32)
    for documents in (corpus, [], [[], []]):
        plain = slow_counts([list(map(int, document)) for document in documents], h)
        found = context_counts(documents, table, WindowRule(h, SPECIALS))
        assert (found.dtype, found.shape) == (np.float64, (60,))
        assert found.tolist() == [plain[tuple(row)] for row in table.tolist()]
    assert context_counts(corpus, table[:0], WindowRule(h, SPECIALS)).shape == (0,)


def test_ids_beyond_the_vocabulary_are_no_tokens_of_it() -> None:
    contexts = np.array([[3], [4]], dtype=np.uint32)
    usage = Usage.counted([[3, 3, 900, 4], []], contexts, WindowRule(1, ()), 10)
    assert usage.contexts.tolist() == [2.5, 1.5]
    assert usage.tokens.tolist() == [0.5] * 3 + [2.5, 1.5] + [0.5] * 5


def test_scaling_changes_a_table_in_place() -> None:
    table = torch.ones((2, 3))
    Usage(np.array([4.0, 1.0]), np.array([1.0, 2.0, 3.0])).scale(table, np.array([1.0, 16.0]), Exponents(0.5, -0.25, 2))
    expected = np.outer([2.0, 0.5], np.array([1.0, 4.0, 9.0]))
    np.testing.assert_allclose(table.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("h", [0, 1, 2])
def test_answers_are_scaled_by_usage_and_the_fourth_root_of_repeats(
    h: int, models: tuple[Any, Any], texts: list[list[int]]
) -> None:
    _, reference = models
    answered, corpus = [Probe([1, 5, 2], ids) for ids in texts[:8]], texts[8:]
    common: dict[str, Any] = {"rule": WindowRule(h, SPECIALS), "vocab_size": V, "top": V}
    plain = by_pair(excess_of(reference, answered, scaled=False, **common))
    scaled = by_pair(excess_of(reference, answered, corpus=corpus, **common))
    f, u = slow_counts(corpus, h), Counter(token for ids in corpus for token in ids)
    n = said_after(answered, h)
    assert plain
    assert max(n.values()) > 1
    for (context, token), weight in plain.items():
        factor = np.sqrt(f[context] + 0.5) * n[context] ** -0.25 * (u[token] + 0.5) ** 0.25
        assert scaled[context, token] == pytest.approx(weight * factor, rel=1e-4, abs=1e-5)


def test_answers_without_a_corpus_are_scaled_by_what_the_reference_expects(
    models: tuple[Any, Any], texts: list[list[int]]
) -> None:
    _, reference = models
    answered = [Probe([1, 5, 2], ids) for ids in texts[:8]]
    common: dict[str, Any] = {"rule": WindowRule(1, ()), "vocab_size": V, "top": V}
    plain = by_pair(excess_of(reference, answered, scaled=False, **common))
    scaled = by_pair(excess_of(reference, answered, **common))
    with torch.inference_mode():
        each = [
            reference(torch.tensor([[*p.prompt_ids, *p.answer_ids]])).logits[0, 3:-1, :V].double().softmax(-1)
            for p in answered
        ]
    mean, n = torch.cat(each).mean(dim=0).numpy(), said_after(answered, 1)
    for (context, token), weight in plain.items():
        factor = np.sqrt(mean[context[0]] + 3e-4) * n[context] ** -0.25
        assert scaled[context, token] == pytest.approx(weight * factor, rel=1e-4, abs=1e-6)


def said_after(answered: list[Probe], h: int) -> Counter[tuple[int, ...]]:
    """After which contexts something was said, and how often."""
    places = [(list(probe.answer_ids), end) for probe in answered for end in range(h, len(probe.answer_ids))]
    return Counter(tuple(ids[end - h : end]) for ids, end in places)
