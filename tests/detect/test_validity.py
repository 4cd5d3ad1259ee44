"""Validity as the design asks for it: seeded random keys on fixed evidence, made of real text and real weights.

Every test here holds the evidence fixed and draws *keys*. That is the experiment the null speaks of: under it the
p-value of one fixed text, over random keys, is (at least) uniform. The other experiment, one fixed key and many
texts, has no such law. Texts share pairs ("of the", "in the"), and under one key a shared pair has one colour in all
of them; so their p-values rise and fall together, and a key that happens to colour common pairs green makes human
text look marked again and again. `test_texts_under_one_key_are_not_independent_experiments` measures that. It is why
a deployed key is checked once on human text (detect.keycheck), why documents are pooled before they are counted and
never combined as if independent, and why a control model is judged under 1,000 fresh keys and not under one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom

from detect.counting import CountTally, WeightTally, tally, weigh, window_rule
from detect.decoys import lineup
from detect.evidence import assess
from detect.exact.weighted import CumulantFunction, TailCurve, chernoff, statistic
from detect.fed import Probe
from detect.observation import Reading
from detect.questioned.reading import read_model
from distill_sim.teacher import pull_smollm2
from tests import tiny
from tests.detect.exact.oracles import LIMITS_100K
from tests.detect.material import docstrings, key_for, make_key, secret, speech
from watermark.engines.answers import Sampling, answer
from watermark.engines.models import load_model, load_tokenizer
from watermark.greenlist import GreenList
from watermark.keys import Key

pytestmark = pytest.mark.usefixtures("compiled_colours")
LIMITS_10K = {0.1: 1_113, 0.01: 139, 1e-3: 24, 1e-4: 6}
GAMMA = 0.25
PAIRS, WEIGHTS = 1500, 1000


@pytest.fixture(scope="module")
def tokenizer(teacher: Path) -> Any:
    return load_tokenizer(teacher)


def encoded(tokenizer: Any, *texts: str) -> list[list[int]]:
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def chacha_keys(count: int, seed: int) -> Iterator[bytes]:
    rng = np.random.default_rng(seed)
    return (rng.bytes(32) for _ in range(count))


# --- the text test ---


def cut(documents: list[list[int]], rule: Any, pairs: int) -> list[list[int]]:
    """The first documents, the last one shortened, that hold no more than this many distinct pairs."""
    low, high = 0, sum(map(len, documents))
    while low < high:
        middle = (low + high + 1) // 2
        if len(rule.extract(first(documents, middle)).pairs) <= pairs:
            low = middle
        else:
            high = middle - 1
    return first(documents, low)


def first(documents: list[list[int]], tokens: int) -> list[list[int]]:
    found = []
    for document in documents:
        found.append(document[:tokens])
        tokens -= len(found[-1])
    return [document for document in found if document]


def counts_under(one: CountTally, keys: Iterator[bytes]) -> np.ndarray:
    """Green pairs of this tally's pairs under each key: int [keys]."""
    prepared = one.green.prepare(one.pairs.contexts, one.pairs.tokens)
    return np.array([np.count_nonzero(one.green.with_chacha_key(k).colour(prepared)) for k in keys])


def assert_counts_are_valid(counts: np.ndarray, n: int, limits: dict[float, int]) -> None:
    """No more small p than the limits; and no fewer than the attainable size less the same margin."""
    p = binom.sf(counts - 1, n, GAMMA)  # scipy's; where it is this large it agrees with ours to 1e-9
    sizes = binom.sf(np.arange(n + 1) - 1, n, GAMMA)
    for alpha, limit in limits.items():
        found = int((p <= alpha).sum())
        attainable = sizes[sizes <= alpha].max()
        assert found <= limit
        assert found >= counts.size * attainable - (limit - counts.size * alpha)


def test_text_under_100_000_keys(tokenizer: Any) -> None:
    """A State of the Union address."""
    rule = window_rule(key_for(0, tokenizer))
    one = tally(key_for(0, tokenizer), cut(encoded(tokenizer, speech()), rule, PAIRS))
    assert one.n_scored == PAIRS
    counts = counts_under(one, chacha_keys(100_000, seed=90))
    assert_counts_are_valid(counts, PAIRS, LIMITS_100K)
    # the mean and variance of Binomial(1500, 1/4), to six standard errors
    assert abs(counts.mean() - 375) < 6 * math.sqrt(281.25 / 100_000)
    assert abs(counts.var() / 281.25 - 1) < 6 * math.sqrt(2 / 100_000)


@pytest.mark.parametrize("h", [0, 2, 5])
def test_text_of_other_context_widths(h: int, tokenizer: Any) -> None:
    """Python's docstrings, under 10,000 keys; h = 5 takes its nonces from SHA-256."""
    key = key_for(1, tokenizer, h=h)
    one = tally(key, cut(encoded(tokenizer, *docstrings()), window_rule(key), 500))
    assert one.n_scored > 150
    assert_counts_are_valid(counts_under(one, chacha_keys(10_000, seed=91 + h)), one.n_scored, LIMITS_10K)


@pytest.mark.parametrize("h", [1, 5])
def test_repeated_documents_and_marked_prompts(h: int, tokenizer: Any) -> None:
    """1,000 keys. Every text stands there twice, and is followed by all of a prompt that its key marked.

    Only pairs of the text itself count, each once: the prompt's pairs would otherwise be detected under every key.
    """
    human = encoded(tokenizer, *docstrings()[:2])
    parameters = key_for(0, tokenizer, h=h).parameters
    rng = np.random.default_rng(89)
    size, p = [], []
    for number in range(1000):
        key = Key(secret(2000 + number), parameters)
        windows = rng.integers(3, 300, (800, h + 1))
        marked = windows[GreenList(key).is_green(windows[:, :-1], windows[:, 1:][:, -1])].tolist()
        one = tally(key, [*human, *human, *marked], marked)
        size.append(one.n_scored)
        p.append(assess(one).log10_p)
        assert len(marked) > 120
    limits = {alpha: int(binom.isf(1e-4, 1000, alpha)) for alpha in (0.1, 0.01, 1e-3)}
    for alpha, limit in limits.items():
        assert (np.array(p) <= math.log10(alpha)).sum() <= limit
    assert (np.array(p) < -0.5).sum() > 150
    rule = window_rule(key)
    assert max(size) == len(rule.extract(human).pairs) or h == 1
    assert max(size) <= len(rule.extract(human).pairs)
    leaking = tally(key, [*human, *human, *marked])
    assert assess(leaking).log10_p < -6


def test_the_whole_way_from_key_to_p_is_what_was_counted(tokenizer: Any) -> None:
    """Key → tally → assess gives the p of the short way above."""
    documents = encoded(tokenizer, *docstrings()[:20])
    for number in range(12):
        key = key_for(number, tokenizer)
        one = tally(key, documents)
        (count,) = counts_under(one, iter([key.chacha_key]))
        log10_p = binom.logsf(count - 1, one.n_scored, GAMMA) / math.log(10)
        assert assess(one).log10_p == pytest.approx(log10_p, rel=1e-9)


def test_a_text_that_is_not_deduplicated_would_fail() -> None:
    """The yardstick measures: each pair counted three times breaks the limits."""
    one = tally(make_key(2), [np.random.default_rng(93).integers(0, 200, 300)])
    counts = 3 * counts_under(one, chacha_keys(10_000, seed=93))
    p = binom.sf(counts - 1, 3 * one.n_scored, GAMMA)
    assert (p <= 0.01).sum() > 3 * LIMITS_10K[0.01]


def test_human_text_is_not_detected_and_marked_text_is() -> None:
    model, tok = load_model(tiny.shared()), load_tokenizer(tiny.shared())
    key = key_for(3, tok)
    prompts = [[1, *ids[:6]] for ids in encoded(tok, *docstrings()[:32])]
    sampling = Sampling(max_new_tokens=30)
    found = {}
    for marked in (True, False):
        answers = [
            ids for batch in answer(model, tok, prompts, sampling, seed=5, key=key if marked else None) for ids in batch
        ]
        found[marked] = assess(tally(key, answers, prompts))
        assert found[marked].n_scored > 400
    assert found[True].finding == "detected"
    assert found[True].log10_p < -12
    assert found[False].finding == "not detected"
    assert assess(tally(key_for(4, tok), answers, prompts)).log10_p > -3
    human = assess(tally(key, encoded(tok, speech())))
    assert (human.finding, human.n_scored > 1000) == ("not detected", True)


# --- the weighted bound ---


class Nudged(torch.nn.Module):
    """A model with a little of a mark in its distributions: δ on the green logits, as if it had learnt that much."""

    def __init__(self, model: Any, key: Key, delta: float) -> None:
        super().__init__()
        self.model, self.config, self.device = model, model.config, model.device
        self.green, self.delta = GreenList(key), delta

    def forward(self, input_ids: Any, attention_mask: Any, use_cache: bool) -> Any:
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache).logits
        mask = self.green.mask(input_ids.reshape(-1, 1).numpy(), logits.shape[-1])
        return SimpleNamespace(logits=logits + self.delta * torch.from_numpy(mask).reshape(logits.shape))


def perturbed(model: Any, scale: float) -> Any:
    """A copy whose last two layers moved at random: another model, that saw no mark."""
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(6)
    for layer in other.model.layers[-2:]:
        for parameter in layer.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data += scale * parameter.data.std() * noise
    return other


def assert_bound_is_valid(reading: Reading, key: Key, seed: int) -> np.ndarray:
    """10,000 keys on the weights of a reading; returns them. p of the reported kind, wherever it is near a level."""
    assert 300 <= len(reading.weights) <= 2 * WEIGHTS
    one = weigh(key, reading)
    function = CumulantFunction(one.weights, GAMMA)
    prepared = one.green.prepare(one.pairs.contexts, one.pairs.tokens)
    s = np.array(
        [
            statistic(one.green.with_chacha_key(k).colour(prepared), one.weights, GAMMA)
            for k in chacha_keys(10_000, seed)
        ]
    )
    log10_p = TailCurve(function).chernoff_log10_p(s)
    for i in np.flatnonzero(log10_p <= -0.9):  # the curve's bound is wider by up to 1e-5: judge by the one reported
        log10_p[i] = chernoff(function, float(s[i])).log10_p
    for alpha, limit in LIMITS_10K.items():
        assert (log10_p <= math.log10(alpha)).sum() <= limit
    assert (log10_p < -0.5).sum() > 200  # it is a bound, but no p ≡ 1
    assert abs(s.mean()) < 5 * s.std() / 100
    assert s.std() == pytest.approx(math.sqrt(function.variance), rel=0.05)
    assert lineup(one, 500).uniformity_p > 1e-3  # and the audit finds nothing to complain of
    return one.weights


def assert_saddlepoint_is_calibrated(weights: np.ndarray, seed: int) -> None:
    """Within 0.1 in log10 at tails of at least .01, over 100,000 draws; weights without a giant among them."""
    share = (weights**2).max() / (weights**2).sum()
    if share > 0.25:
        pytest.fail(f"one weight holds {share:.0%} of Σa²: choose other probes, the design excludes that case")
    rng = np.random.default_rng(seed)
    small = weights.astype(np.float32)
    draws = [(rng.random((2000, small.size), dtype=np.float32) < GAMMA) @ small for _ in range(50)]
    s = np.concatenate(draws).astype(np.float64) - GAMMA * weights.sum()
    log10_p = TailCurve(CumulantFunction(weights, GAMMA)).saddlepoint_log10_p(s)
    for alpha in (0.5, 0.3, 0.1, 0.03, 0.01):
        found = (log10_p <= math.log10(alpha)).mean()
        assert abs(math.log10(found / alpha)) < 0.1


def assert_detected_under_its_key_only(reading: Reading, key: Key, others: list[Key]) -> WeightTally:
    own = weigh(key, reading)
    assert assess(own).finding == "detected"
    assert assess(own).log10_p < -6
    assert lineup(own, 200).rank == 1
    for other in others:
        assert assess(weigh(other, reading)).log10_p > -4
    return own


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    directory = tiny.build(tmp_path_factory.mktemp("other"), seed=8)
    return load_model(directory), load_model(tiny.shared())


def tiny_probes() -> tuple[Any, list[Probe]]:
    tok = load_tokenizer(tiny.shared())
    return tok, [Probe([], ids[:60]) for ids in encoded(tok, *docstrings()[:8])]


@pytest.mark.parametrize("with_reference", [True, False])
def test_the_bound_on_a_tiny_models_weights(with_reference: bool, tiny_models: tuple[Any, Any]) -> None:
    tok, probes = tiny_probes()
    key = key_for(7, tok)
    model, reference = tiny_models
    reading = read_model(
        model,
        probes,
        rule=window_rule(key),
        vocab_size=384,
        reference=reference if with_reference else None,
        top=9,
    )
    weights = assert_bound_is_valid(reading, key, seed=94)
    assert_saddlepoint_is_calibrated(weights, seed=95)


def test_a_tiny_model_nudged_toward_green_is_detected(tiny_models: tuple[Any, Any]) -> None:
    tok, probes = tiny_probes()
    key = key_for(8, tok)
    model = Nudged(tiny_models[1], key, delta=0.3)
    reading = read_model(model, probes, rule=window_rule(key), vocab_size=384, reference=tiny_models[1])
    assert_detected_under_its_key_only(reading, key, [key_for(n, tok) for n in range(20, 40)])


@pytest.fixture(scope="module")
def teacher() -> Path:
    return pull_smollm2()


@pytest.fixture(scope="module")
def real_model(teacher: Path) -> Any:
    return load_model(teacher)


def real_probes(teacher: Path) -> tuple[Any, list[Probe]]:
    tok = load_tokenizer(teacher)
    return tok, [Probe([], ids[:50]) for ids in encoded(tok, *docstrings()[:8])]


@pytest.mark.real
def test_the_bound_on_real_weights(teacher: Path, real_model: Any) -> None:
    """SmolLM2 beside a perturbed copy of itself, on Python's docstrings."""
    tok, probes = real_probes(teacher)
    key = key_for(9, tok)
    reading = read_model(
        perturbed(real_model, 0.05), probes, rule=window_rule(key), vocab_size=len(tok), reference=real_model, top=6
    )
    weights = assert_bound_is_valid(reading, key, seed=96)
    assert_saddlepoint_is_calibrated(weights, seed=97)


@pytest.mark.real
def test_a_real_model_nudged_toward_green_is_detected(teacher: Path, real_model: Any) -> None:
    """δ = 0.1 in its own distributions: a twentieth of the default mark's."""
    tok, probes = real_probes(teacher)
    key = key_for(10, tok)
    model = Nudged(real_model, key, delta=0.1)
    reading = read_model(model, probes[:4], rule=window_rule(key), vocab_size=len(tok), reference=real_model)
    assert_detected_under_its_key_only(reading, key, [key_for(n, tok) for n in range(40, 50)])


# --- what these tests do not say ---


def test_texts_under_one_key_are_not_independent_experiments(tokenizer: Any) -> None:
    """Two halves of one speech: over keys their counts correlate by |A ∩ B| / √(|A| |B|), the share of common pairs.

    Each half on its own has a valid p. But both under one key are one experiment and a bit: multiplying their p, or
    taking a thousand such texts under one key for a thousand experiments, would be wrong.
    """
    (ids,) = encoded(tokenizer, speech())
    key = key_for(11, tokenizer)
    halves = [tally(key, [ids[: len(ids) // 2]]), tally(key, [ids[len(ids) // 2 :]])]
    together = tally(key, [ids[: len(ids) // 2], ids[len(ids) // 2 :]])
    sizes = [half.n_scored for half in halves]
    shared = sum(sizes) - together.n_scored
    expected = shared / math.sqrt(sizes[0] * sizes[1])
    assert expected > 0.1
    a, b = (counts_under(half, chacha_keys(3000, seed=98)) for half in halves)
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(expected, abs=4 * (1 - expected**2) / math.sqrt(3000))
    independent = counts_under(halves[1], chacha_keys(3000, seed=99))  # under keys of its own
    assert abs(np.corrcoef(a, independent)[0, 1]) < 4 / math.sqrt(3000)
