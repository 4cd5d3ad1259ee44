"""n − e, and what is made of listed log-probabilities, against a slow second computation; and which is stronger."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from detect.counting import WeightTally, weigh
from detect.exact.weighted import CumulantFunction, z_score
from detect.fed import Probe, ProbePairs
from detect.observation import Excess
from detect.questioned.answer_ids import Listed
from detect.questioned.excess import excess_of, listed_weights
from tests import tiny
from tests.detect.material import as_set, distinct_pairs, make_key, windows
from tests.detect.questioned.slow import SPECIALS, LastToken, V, log_softmax, logits_of, sprinkled
from watermark.engines.models import load_model
from watermark.errors import InputError, ModelError
from watermark.greenlist import GreenList
from watermark.windows import WindowRule

pytestmark = pytest.mark.usefixtures("one_torch_thread")
TOLERANCE = 1e-5  # float32 probabilities of logits near 10, a dozen of them added


@pytest.fixture(scope="module")
def answered() -> list[Probe]:
    return sprinkled(170, 20)


def some_lists(answered: Sequence[Probe], seed: int = 3) -> list[list[Listed | None] | None]:
    """Made-up lists: none for some answers, none at some places, with and without a least, tokens of no meaning."""
    rng = np.random.default_rng(seed)
    found: list[list[Listed | None] | None] = []
    for number, probe in enumerate(answered):
        lists: list[Listed | None] = []
        for place, token in enumerate(probe.answer_ids):
            p = rng.dirichlet(np.ones(6) / 2)[:5]
            likeliest = dict(zip(map(int, rng.permutation(V)[:4]), np.log(p[:4] + 1e-12).tolist(), strict=True))
            least = min(likeliest.values()) if place % 3 else None
            one = Listed({**likeliest, int(token): float(np.log(p[4] + 1e-12)), V + 7: -1.0, 9: -9999.0}, least)
            lists.append(None if place % 5 == 0 else one)
        found.append(None if number % 4 == 0 else lists)
    return found


def unscaled(*arguments: Any, **how: Any) -> Excess:
    """n − e as it is: `test_usage` has the scaling."""
    return excess_of(*arguments, scaled=False, **how)


# --- the slow computation ---


def slow_listed(p_r: np.ndarray, listed: Listed) -> np.ndarray:
    own = {token: math.exp(min(0.0, value)) for token, value in listed.log_probabilities.items() if token < V}
    left, theirs = 1 - sum(own.values()), 1 - sum(p_r[token] for token in own)
    weights = np.zeros(V)
    for v in range(V):
        if v in own:
            weights[v] = 2 * (math.sqrt(own[v]) - math.sqrt(p_r[v]))
        elif listed.least is not None and p_r[v] * max(left, 1e-9) / max(theirs, 1e-9) > math.exp(listed.least):
            weights[v] = 2 * (math.sqrt(math.exp(listed.least)) - math.sqrt(p_r[v]))
    return weights


def slow_excess(
    reference: Any,
    answered: Sequence[Probe],
    h: int,
    *,
    lists: Sequence[Any] | None = None,
    temperature: float = 1.0,
    excluded: Sequence[Sequence[int]] = (),
) -> tuple[dict[tuple, np.ndarray], int, int]:
    """Dense tables by context, positions, and positions with a list."""
    tables: dict[tuple, np.ndarray] = defaultdict(lambda: np.zeros(V))
    n, n_listed = 0, 0
    number_of = {id(probe): number for number, probe in enumerate(answered)}
    for probe, logits in logits_of(reference, answered):
        answer = list(map(int, probe.answer_ids))
        for offset in range(h, len(answer)):
            context, at = tuple(answer[offset - h : offset]), len(probe.prompt_ids) + offset - 1
            if at < 0 or set(context) & set(SPECIALS):
                continue
            n += 1
            given = None if lists is None else lists[number_of[id(probe)]]
            listed = None if given is None else given[offset]
            if listed is not None:
                n_listed += 1
                tables[context] += slow_listed(np.exp(log_softmax(logits[at])), listed)
                continue
            tables[context] -= np.exp(log_softmax(logits[at] / temperature))
            tables[context][answer[offset]] += 1
    out = {pair for p in [*(probe.prompt_ids for probe in answered), *excluded] for pair in windows(p, h, SPECIALS)}
    for context, table in tables.items():
        table[list(SPECIALS)] = 0
        for v in range(V):
            if (context, v) in out:
                table[v] = 0
    return tables, n, n_listed


def check(found: Excess, slow: tuple[dict[tuple, np.ndarray], int, int], top: int) -> None:
    """The K largest |a| of each context, and nothing else."""
    tables, n, n_listed = slow
    kept: dict[tuple, dict[int, float]] = defaultdict(dict)
    for context, token, weight in zip(
        found.pairs.contexts.tolist(), found.pairs.tokens.tolist(), found.weights, strict=True
    ):
        kept[tuple(context)][token] = float(weight)
    assert sum(map(len, kept.values())) == len(found.weights), "a pair stands twice"
    assert set(kept) <= set(tables)
    for context, dense in tables.items():
        mine = kept[context]
        assert len(mine) <= top
        for token, weight in mine.items():
            assert weight == pytest.approx(dense[token], abs=TOLERANCE)
        left = [abs(dense[v]) for v in range(V) if v not in mine]
        least = min((abs(w) for w in mine.values()), default=0.0) if len(mine) == top else 0.0
        assert max(left, default=0.0) <= least + TOLERANCE
    assert (found.n_positions, found.n_listed) == (n, n_listed)
    assert found.pairs.n_contexts == sum(bool(mine) for mine in kept.values())


# --- weights ---


@pytest.mark.parametrize("h", [0, 1, 2])
@pytest.mark.parametrize("top", [12, 1000])
def test_n_less_e(reference: Any, answered: list[Probe], h: int, top: int) -> None:
    more = [[30, 31, 32], [9, 8]]
    found = unscaled(reference, answered, rule=WindowRule(h, SPECIALS), vocab_size=V, top=top, exclude=more)
    check(found, slow_excess(reference, answered, h, excluded=more), top)
    assert found.weights.max() > 0.9  # said once or oftener, and hardly expected
    assert found.weights.min() < -0.01
    assert found.n_tokens == sum(len(probe.answer_ids) for probe in answered)
    rows = np.column_stack((found.pairs.contexts, found.pairs.tokens)).tolist()
    assert rows == sorted(rows)


@pytest.mark.parametrize("h", [0, 1, 2])
def test_listed_log_probabilities_among_others(reference: Any, answered: list[Probe], h: int) -> None:
    lists = some_lists(answered)
    found = unscaled(reference, answered, rule=WindowRule(h, SPECIALS), vocab_size=V, listed=lists, top=20)
    check(found, slow_excess(reference, answered, h, lists=lists), 20)
    assert 0 < found.n_listed < found.n_positions


def test_the_temperature_is_the_references_too(reference: Any, answered: list[Probe]) -> None:
    lists = some_lists(answered)
    rule = WindowRule(1, SPECIALS)
    found = unscaled(reference, answered, rule=rule, vocab_size=V, listed=lists, temperature=0.6, top=V)
    check(found, slow_excess(reference, answered, 1, lists=lists, temperature=0.6), V)
    plain = unscaled(reference, answered, rule=rule, vocab_size=V, listed=lists, top=V)
    assert np.abs(plain.weights - found.weights).max() > 0.05


def test_weights_of_n_less_e_add_up_to_nothing(reference: Any) -> None:
    """Where nothing is left out, each position says one token and expects one."""
    answers = [Probe([5], [9, 30, 31, 9, 40, 41, 9, 77])]
    found = unscaled(reference, answers, rule=WindowRule(1), vocab_size=V, top=V)
    assert len(found.weights) == 5 * V - 0  # contexts 9, 30, 31, 40, 41: each with every token
    assert found.weights.sum() == pytest.approx(0, abs=1e-4)
    assert found.n_positions == 7  # the last token is the context of nothing that was said


def test_listed_weights_by_hand() -> None:
    reference = torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1])
    found = listed_weights(Listed({2: math.log(0.6), 3: math.log(0.2)}, math.log(0.05)), reference, 5)
    # 0.2 is left for 0.8 of the reference: token 0 would get 0.125 and token 1 0.05; no more than 0.05 is possible
    root = math.sqrt
    expected = [root(0.05) - root(0.5), 0, root(0.6) - root(0.1), root(0.2) - root(0.1), 0]
    np.testing.assert_allclose(found, 2 * np.array(expected), atol=1e-6)
    only = listed_weights(Listed({2: math.log(0.6)}, None), reference, 5)
    np.testing.assert_allclose(only, [0, 0, 2 * (root(0.6) - root(0.1)), 0, 0], atol=1e-6)
    for beyond in ({2: 0.5, 3: 0.1}, dict.fromkeys(range(5), 0.0), {0: -9999.0, 1: -1e300}):  # servers round, and lie
        assert np.isfinite(listed_weights(Listed(beyond, -0.1), reference, 5).numpy()).all()


def test_a_list_of_what_the_reference_says_weighs_nothing(reference: Any, answered: list[Probe]) -> None:
    lists: list[list[Listed] | None] = [None] * len(answered)
    numbers = [number for number, probe in enumerate(answered) if len(probe.answer_ids)]
    for number, (probe, logits) in zip(numbers, logits_of(reference, answered), strict=True):
        table, shift = log_softmax(logits), len(probe.prompt_ids) - 1
        lists[number] = [
            _listed(table[max(0, shift + place)], 5, token) for place, token in enumerate(probe.answer_ids)
        ]
    found = unscaled(reference, answered, rule=WindowRule(1, SPECIALS), vocab_size=V, listed=lists)
    assert found.n_listed == found.n_positions > 100
    assert not len(found.weights)  # rounding is no weight


def _listed(log_p: np.ndarray, k: int, said: int) -> Listed:
    best = np.argsort(-log_p)[:k].tolist()
    return Listed({token: float(log_p[token]) for token in {*best, int(said)}}, float(log_p[best[-1]]))


# --- what is left out, what is beside ---


def test_pairs_of_any_planned_prompt_count_nowhere(reference: Any) -> None:
    """The prompt of another answer, a prompt that was never asked, and its other form."""
    answers = [Probe([9, 30], [9, 31, 9, 30, 31]), Probe([9, 31], [30, 31, 77])]
    unasked = [[31, 77], [31, 9, 5]]
    found = unscaled(reference, answers, rule=WindowRule(1), vocab_size=V, exclude=unasked, top=V)
    out = {((9,), 30), ((9,), 31), ((31,), 77), ((31,), 9), ((9,), 5)}
    assert not as_set(found.pairs) & out
    assert len(found.weights) == 3 * V - 5
    assert as_set(found.distinct) == {((30,), 31)}
    assert as_set(found.probes.pairs) == out
    assert found.probes.in_prompts.all()
    assert not found.probes.in_answers.any()


def test_the_count_beside_is_the_sampled_tests(reference: Any, answered: list[Probe]) -> None:
    for h in (0, 1, 2):
        found = unscaled(reference, answered, rule=WindowRule(h, SPECIALS), vocab_size=V)
        prompts, answers = [p.prompt_ids for p in answered], [p.answer_ids for p in answered]
        assert as_set(found.distinct) == distinct_pairs(answers, prompts, h, SPECIALS)


def test_special_tokens_carry_no_weight(reference: Any, answered: list[Probe]) -> None:
    found = unscaled(reference, answered, rule=WindowRule(1, (*SPECIALS, 50, V + 3)), vocab_size=V, top=V)
    for table in (found.pairs.contexts, found.pairs.tokens):
        assert not np.isin(table, (*SPECIALS, 50)).any()


def test_a_model_wider_than_the_tokenizer(tmp_path_factory: pytest.TempPathFactory, answered: list[Probe]) -> None:
    wide = load_model(tiny.build(tmp_path_factory.mktemp("wide"), seed=7, surplus=40))
    found = unscaled(wide, answered, rule=WindowRule(1, SPECIALS), vocab_size=V, top=30)
    check(found, slow_excess(wide, answered, 1), 30)


@pytest.mark.parametrize("h", [0, 1, 3])
@pytest.mark.parametrize("length", [139, 140, 141, 500])
def test_answers_longer_than_the_reference(h: int, length: int) -> None:
    answer = np.random.default_rng(length).integers(3, 9, length)
    lists = [[_listed(np.log(np.full(V, 1 / V)), 3, token) if at % 2 else None for at, token in enumerate(answer)]]
    whole, pieces = LastToken(None), LastToken(142)
    a, b = (
        unscaled(m, [Probe([3, 4], answer)], rule=WindowRule(h), vocab_size=V, top=50, listed=lists)
        for m in (whole, pieces)
    )
    assert a.n_positions == b.n_positions == length - h
    assert (whole.longest, pieces.longest) == (length + 2, min(142, length + 2))
    assert a.n_listed == b.n_listed == sum(at % 2 for at in range(h, length))
    np.testing.assert_array_equal(a.pairs.contexts, b.pairs.contexts)
    np.testing.assert_array_equal(a.pairs.tokens, b.pairs.tokens)
    np.testing.assert_allclose(a.weights, b.weights, atol=1e-4)


def test_progress_and_order(reference: Any, answered: list[Probe]) -> None:
    reported: list[int] = []
    rule = WindowRule(1, SPECIALS)
    a = unscaled(reference, answered, rule=rule, vocab_size=V, top=V, on_positions=reported.append)
    b = unscaled(reference, answered[::-1], rule=rule, vocab_size=V, top=V)
    assert sum(reported) == a.n_positions
    assert as_set(a.pairs) == as_set(b.pairs)
    np.testing.assert_allclose(a.weights, b.weights, atol=TOLERANCE)


# --- refusals ---


def test_what_cannot_be_read_is_refused(reference: Any) -> None:
    rule = WindowRule(1)
    with pytest.raises(InputError, match="at least 2 answer tokens"):
        excess_of(reference, [Probe([4], [5]), Probe([4, 5], [])], rule=rule, vocab_size=V)
    with pytest.raises(InputError, match=r"probe 1 \(from 0\) holds a token id outside 0 … 383"):
        excess_of(reference, [Probe([4], [5, 6]), Probe([4], [V, 6])], rule=rule, vocab_size=V)
    with pytest.raises(InputError, match="a model has 384 logits, the key's tokenizer 400 tokens"):
        excess_of(reference, [Probe([4], [5, 6])], rule=rule, vocab_size=400)
    with pytest.raises(InputError, match="a prompt of 140 tokens leaves no room"):
        excess_of(LastToken(142), [Probe([5] * 140, [6] * 9)], rule=rule, vocab_size=V)
    with pytest.raises(ValueError, match="1 lists of log-probabilities for 2 answer tokens"):
        excess_of(reference, [Probe([4], [5, 6])], rule=rule, vocab_size=V, listed=[[None]])


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(broken: float) -> None:
    model = LastToken(None)
    model.table[9, 7] = broken
    lists = [[None, None, Listed({6: -1.0}, None)]]
    for listed in (None, lists):
        with pytest.raises(ModelError, match="logits are not finite"):
            excess_of(model, [Probe([], [5, 9, 6])], rule=WindowRule(1), vocab_size=V, listed=listed)


# --- which weights: one synthetic model ---


def test_the_weights_chosen_for_lists_are_stronger_than_one_draw() -> None:
    """A model with a weak mark and a drift of its own beside its reference, its 5 likeliest tokens listed.

    Mean z over keys, on the same answers.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    for number in range(5):
        key, rng = make_key(900 + number), np.random.default_rng(number)
        reference = LastToken(None, 2.5)
        green = GreenList(key).mask(np.arange(V)[:, None], V)
        drift = rng.normal(0, 0.2, (V, V))
        questioned = log_softmax(reference.table.numpy().astype(np.float64) + 0.25 * green + drift)
        answer = [5]
        for _ in range(500):
            answer.append(int(rng.choice(V, p=np.exp(questioned[answer[-1]]))))
        lists = [[None, *(_listed(questioned[before], 5, said) for before, said in pairwise(answer))]]
        rule = WindowRule(1)
        plain = weigh(key, excess_of(reference, [Probe([], answer)], rule=rule, vocab_size=V))
        listed = weigh(key, excess_of(reference, [Probe([], answer)], rule=rule, vocab_size=V, listed=lists))
        for name, one in (("n - e", plain), ("listed", listed)):
            scores[name].append(_z(one))
        scores["distinct"].append(_distinct_z(plain))
        alone = weigh(key, excess_of(None, [Probe([], answer)], rule=rule, vocab_size=V, listed=lists))
        scores["no reference"].append(_z(alone))
    z = {name: float(np.mean(values)) for name, values in scores.items()}
    assert z["listed"] > 1.5 * z["n - e"]
    assert z["n - e"] > z["distinct"]


def _distinct_z(tally: Any) -> float:
    one = tally.comparisons["distinct_pairs"]
    return float((one.n_green - 0.25 * one.n_scored) / math.sqrt(one.n_scored * 0.1875))


def _z(one: WeightTally) -> float:
    return float(z_score(CumulantFunction(one.weights, 0.25), one.statistic))


def test_the_fed_prompts_are_audited(reference: Any) -> None:
    """As those of the plain sampled test: prompts that carry the mark withdraw the claim."""
    rule = WindowRule(1)
    probes = [Probe([9, 30, 31], [9, 31, 5])]
    found = unscaled(reference, probes, rule=rule, vocab_size=V, exclude=[[77, 78]])
    expected = ProbePairs.of_prompts(rule, [[9, 30, 31], [77, 78]])
    assert as_set(found.probes.pairs) == as_set(expected.pairs) == {((9,), 30), ((30,), 31), ((77,), 78)}
