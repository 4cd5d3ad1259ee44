"""A reading's weights against a slow second computation: float64, one plain forward pass a probe, dense tables."""

from __future__ import annotations

import ast
import inspect
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from detect.fed import Probe
from detect.observation import Reading
from detect.questioned import positions as where
from detect.questioned import reading as module
from detect.questioned import usage
from detect.questioned.reading import read_model
from tests import tiny
from tests.detect.material import Pair, as_set, windows
from tests.detect.questioned.slow import SPECIALS, LastToken, V, log_softmax, logits_of, sprinkled
from watermark.engines.models import load_model
from watermark.errors import InputError, ModelError
from watermark.windows import WindowRule

pytestmark = pytest.mark.usefixtures("one_torch_thread")
# Both sides start from float32 logits. A batch sums them in another order than a single pass does: some 1e-6 of a
# logit near 10, so 1e-5 in ℓ, times √m ≤ 1, over the dozen positions of a frequent context.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def questioned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """40 logits wider than the tokenizer, as real models are."""
    return load_model(tiny.build(tmp_path_factory.mktemp("questioned"), seed=7, surplus=40))


@pytest.fixture(scope="module")
def probes() -> list[Probe]:
    return sprinkled(70, 30)


# --- the slow computation ---


def positions(model: Any, probes: Sequence[Probe], h: int, special: Sequence[int]) -> list[tuple[tuple, np.ndarray]]:
    """(context, ℓ float64 [V]) of every position whose whole context lies in the answer."""
    found = []
    for probe, logits in logits_of(model, probes):
        answer, table = list(probe.answer_ids), log_softmax(logits)
        for offset in range(h, len(answer) + 1):  # the token to come has this place in the answer
            context = tuple(answer[offset - h : offset])
            at = len(probe.prompt_ids) + offset - 1
            if at >= 0 and not set(context) & set(special):
                found.append((context, table[at]))
    return found


def slow_difference(s: np.ndarray, r: np.ndarray) -> np.ndarray:
    """D(v) = √m_v [ℓ_s(v) − ℓ_r(v) − E_m(ℓ_s − ℓ_r)], m = (p_s + p_r)/2."""
    m = (np.exp(s) + np.exp(r)) / 2
    mean = sum(m[v] * (s[v] - r[v]) for v in range(V))
    return np.array([np.sqrt(m[v]) * (s[v] - r[v] - mean) for v in range(V)])


class Slow:
    """Everything a reading holds, computed slowly."""

    def __init__(
        self, model: Any, reference: Any, probes: Sequence[Probe], h: int, special: Sequence[int] = SPECIALS
    ) -> None:
        own = positions(model, probes, h, special)
        other = [None] * len(own) if reference is None else positions(reference, probes, h, special)
        excluded = {pair for probe in probes for pair in windows(list(probe.prompt_ids), h, special)}
        self.n_positions = len(own)
        self.weights: dict[tuple, np.ndarray] = defaultdict(lambda: np.zeros(V))
        self.mass: dict[tuple, np.ndarray] = defaultdict(lambda: np.zeros(V))
        counts: dict[tuple, int] = defaultdict(int)
        self.argmax: set[Pair] = set()
        for (context, s), there in zip(own, other, strict=True):
            self.mass[context] += np.exp(s)
            self.weights[context] += np.exp(s) if there is None else slow_difference(s, there[1])
            counts[context] += 1
            best = (context, int(s.argmax()))
            if best[1] not in special and best not in excluded:
                self.argmax.add(best)
        for context in self.mass:
            self.mass[context] /= counts[context]
            for table in (self.weights, self.mass):
                table[context][list(special)] = 0
                for v in range(V):
                    if (context, v) in excluded:
                        table[context][v] = 0
        self.repeated = max(counts.values())
        self.excluded = excluded


def check(found: Reading, slow: Slow, top: int) -> None:
    """The K largest |a| of each context, and nothing else."""
    kept: dict[tuple, dict[int, float]] = defaultdict(dict)
    pairs = zip(found.pairs.contexts.tolist(), found.pairs.tokens.tolist(), found.weights.tolist(), strict=True)
    for context, token, weight in pairs:
        kept[tuple(context)][token] = weight
    assert sum(map(len, kept.values())) == len(found.weights), "a pair stands twice"
    assert set(kept) == set(slow.weights)
    for context, dense in slow.weights.items():
        mine = kept[context]
        assert len(mine) == min(top, np.count_nonzero(dense))
        for token, weight in mine.items():
            assert weight == pytest.approx(dense[token], abs=TOLERANCE)
        left = [abs(dense[v]) for v in range(V) if v not in mine]
        assert max(left, default=0.0) <= min(abs(w) for w in mine.values()) + TOLERANCE
    assert found.n_positions == slow.n_positions
    assert found.pairs.n_contexts == len(slow.weights)


# --- weights ---


@pytest.mark.parametrize("h", [0, 1, 2])
@pytest.mark.parametrize("top", [12, 1000])
def test_weights_against_a_reference(questioned: Any, reference: Any, probes: list[Probe], h: int, top: int) -> None:
    rule = WindowRule(h, SPECIALS)
    found = read_model(questioned, probes, rule=rule, vocab_size=V, reference=reference, scaled=False, top=top)
    slow = Slow(questioned, reference, probes, h)
    check(found, slow, top)
    assert slow.repeated >= 3
    assert found.with_reference
    assert np.abs(found.weights).max() > 1  # far above the tolerance
    assert (found.weights < 0).any()


@pytest.mark.parametrize("h", [0, 1, 2])
def test_weights_without_a_reference_are_sums_of_probabilities(questioned: Any, probes: list[Probe], h: int) -> None:
    found = read_model(questioned, probes, rule=WindowRule(h, SPECIALS), vocab_size=V, top=20)
    check(found, Slow(questioned, None, probes, h), 20)
    assert not found.with_reference
    assert (found.weights > 0).all()


def test_averaging_over_a_repeated_context(questioned: Any, reference: Any) -> None:
    """One context at three positions: its weights are the sum of the three D."""
    probe = Probe([], [9, 30, 31, 9, 40, 41, 9])
    rule = WindowRule(1)
    found = read_model(questioned, [probe], rule=rule, vocab_size=V, reference=reference, scaled=False, top=V)
    own, other = (positions(model, [probe], 1, ()) for model in (questioned, reference))
    expected = sum(slow_difference(s, r) for (c, s), (_, r) in zip(own, other, strict=True) if c == (9,))
    at = found.pairs.contexts[:, 0] == 9
    assert [c for c, _ in own].count((9,)) == 3
    np.testing.assert_array_equal(found.pairs.tokens[at], np.arange(V))
    np.testing.assert_allclose(found.weights[at], expected, atol=TOLERANCE)


def test_pairs_are_in_order(questioned: Any, reference: Any, probes: list[Probe]) -> None:
    """By context, then token: what `Pairs` promises."""
    found = read_model(questioned, probes, rule=WindowRule(1, SPECIALS), vocab_size=V, reference=reference, top=9)
    rows = np.column_stack((found.pairs.contexts, found.pairs.tokens)).tolist()
    assert rows == sorted(rows)
    assert found.weights.dtype == np.float64


def test_a_model_against_itself_says_nothing(reference: Any, probes: list[Probe]) -> None:
    found = read_model(reference, probes, rule=WindowRule(1), vocab_size=V, reference=reference)
    assert len(found.weights) == 0
    assert found.n_positions > 100


# --- which positions ---


def test_positions_read_include_the_one_after_the_last_token(questioned: Any) -> None:
    one = read_model(questioned, [Probe([5, 6, 7], [9])], rule=WindowRule(1), vocab_size=V)
    assert (one.n_positions, one.pairs.contexts[:, 0].tolist()) == (1, [9] * len(one.weights))
    check(one, Slow(questioned, None, [Probe([5, 6, 7], [9])], 1, ()), 256)


@pytest.mark.parametrize(("h", "prompt", "answer", "count"), [(0, 2, 3, 4), (0, 0, 3, 3), (1, 2, 3, 3), (2, 2, 3, 2)])
def test_how_many_positions(questioned: Any, h: int, prompt: int, answer: int, count: int) -> None:
    """A context of h lies in an answer of n in n − h + 1 places; the first of a text with no prompt has no logits."""
    probe = Probe(list(range(10, 10 + prompt)), list(range(20, 20 + answer)))
    assert read_model(questioned, [probe], rule=WindowRule(h), vocab_size=V).n_positions == count


@pytest.mark.parametrize(
    ("h", "answers"), [(1, [[]]), (0, [[]]), (2, [[7], []]), (1, [[0]]), (1, []), (2, [[5, 0, 5]])]
)
def test_no_readable_position_is_refused(questioned: Any, h: int, answers: list[list[int]]) -> None:
    with pytest.raises(InputError, match=f"at least {max(h, 1)} answer tokens"):
        read_model(questioned, [Probe([4, 5], a) for a in answers], rule=WindowRule(h, (0,)), vocab_size=V)


def test_a_probe_without_answer_is_not_read_beside_others(questioned: Any) -> None:
    for h in (0, 1):
        pair = [Probe([4, 5], [8, 9]), Probe([5], [])]
        both, one = (read_model(questioned, p, rule=WindowRule(h), vocab_size=V) for p in (pair, pair[:1]))
        assert both.n_positions == one.n_positions
        np.testing.assert_array_equal(both.weights, one.weights)


# --- what is left out ---


def test_special_tokens_carry_no_weight(questioned: Any, reference: Any, probes: list[Probe]) -> None:
    special = (0, 1, 2, 50, 51, V + 3)  # the last lies beyond the tokenizer
    found = read_model(questioned, probes, rule=WindowRule(1, special), vocab_size=V, reference=reference, top=V)
    free = read_model(questioned, probes, rule=WindowRule(1), vocab_size=V, reference=reference, top=V)
    for pairs in (found.pairs, found.argmax):
        assert not np.isin(pairs.tokens, special).any()
        assert not np.isin(pairs.contexts, special).any()
    assert np.isin(free.pairs.tokens, special).any()
    assert np.isin(free.pairs.contexts, special).any()
    assert found.n_positions < free.n_positions


def test_what_a_prompt_holds_counts_nowhere(questioned: Any, reference: Any) -> None:
    """Also in another probe's prompt, and in documents that are excluded besides."""
    probes = [Probe([9, 30], [9, 30, 31]), Probe([31, 77], [30, 9])]
    exclude = [[30, 99, 9, 98], [5] * 3]
    found = read_model(
        questioned, probes, rule=WindowRule(1), vocab_size=V, reference=reference, exclude=exclude, top=V
    )
    expected = {((c,), t) for c in (9, 30, 31) for t in range(V)}
    expected -= {((9,), 30), ((31,), 77), ((30,), 99), ((9,), 98)}
    assert as_set(found.pairs) == expected
    for row, context in enumerate(found.mass.contexts[:, 0].tolist()):
        p = dict(zip(found.mass.tokens[row].tolist(), found.mass.probabilities[row].tolist(), strict=True))
        for out in [(9, 30), (31, 77), (30, 99), (9, 98)]:
            assert context != out[0] or p.get(out[1], 0.0) == 0.0
        assert sum(value > 0 for value in p.values()) >= V - 2


def test_an_excluded_pair_takes_no_place_among_the_largest(questioned: Any) -> None:
    probe = Probe([], [9])
    first = read_model(questioned, [probe], rule=WindowRule(1), vocab_size=V, top=1)
    best = int(first.pairs.tokens[0])
    then = read_model(questioned, [probe], rule=WindowRule(1), vocab_size=V, top=1, exclude=[[9, best]])
    assert len(then.weights) == 1
    assert then.pairs.tokens[0] != best
    assert first.argmax.tokens.tolist() == [best]
    assert len(then.argmax) == 0


def test_logits_beyond_the_tokenizer_are_ignored(questioned: Any, probes: list[Probe]) -> None:
    """Whatever they are: a softmax over all columns would see them."""
    raised = Raised(questioned)
    plain, wide = (read_model(m, probes, rule=WindowRule(1), vocab_size=V) for m in (questioned, raised))
    np.testing.assert_allclose(plain.weights, wide.weights, atol=1e-6)
    assert int(wide.pairs.tokens.max()) < V


# --- the comparison tests ---


@pytest.mark.parametrize("h", [0, 1, 2])
def test_argmax_and_mass(questioned: Any, reference: Any, probes: list[Probe], h: int) -> None:
    for other in (reference, None):
        found = read_model(questioned, probes, rule=WindowRule(h, SPECIALS), vocab_size=V, reference=other)
        slow = Slow(questioned, other, probes, h)
        assert as_set(found.argmax) == slow.argmax
        assert found.argmax.n_contexts == len({context for context, _ in slow.argmax})
        assert len(found.mass.contexts) == len(slow.mass)
        for context, tokens, p in zip(
            found.mass.contexts.tolist(), found.mass.tokens, found.mass.probabilities, strict=True
        ):
            assert len(set(tokens.tolist())) == V  # a vocabulary smaller than MASS_TOP is followed whole
            np.testing.assert_allclose(p, slow.mass[tuple(context)][tokens], atol=1e-5)


def test_mass_follows_the_likeliest_only(questioned: Any, probes: list[Probe], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MASS_TOP", 5)
    found = read_model(questioned, probes, rule=WindowRule(1, SPECIALS), vocab_size=V)
    slow = Slow(questioned, None, probes, 1)
    for context, p in zip(found.mass.contexts.tolist(), found.mass.probabilities, strict=True):
        np.testing.assert_allclose(sorted(p), sorted(slow.mass[tuple(context)])[-5:], atol=1e-5)


# --- batches, pieces, models of all kinds ---


class Wrapped(torch.nn.Module):
    """A model seen through another: what `read_model` asks of one is a config, a device and logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config, self.device = model, model.config, model.device


class Raised(Wrapped):
    def forward(self, input_ids: Any, attention_mask: Any, use_cache: bool, logits_to_keep: Any = 0) -> Any:
        logits = self.model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache, logits_to_keep=logits_to_keep
        ).logits.clone()
        logits[..., V:] += 50
        return SimpleNamespace(logits=logits)


class AllLogits(Wrapped):
    """An architecture whose forward knows no `logits_to_keep`."""

    def forward(self, input_ids: Any, attention_mask: Any, use_cache: bool) -> Any:
        return self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)


def test_models_that_return_all_logits(questioned: Any, reference: Any, probes: list[Probe]) -> None:
    rule = WindowRule(1, SPECIALS)
    a = read_model(questioned, probes, rule=rule, vocab_size=V, reference=reference)
    b = read_model(AllLogits(questioned), probes, rule=rule, vocab_size=V, reference=AllLogits(reference))
    np.testing.assert_array_equal(a.pairs.tokens, b.pairs.tokens)
    np.testing.assert_allclose(a.weights, b.weights, atol=TOLERANCE)


@pytest.mark.parametrize("tokens", [1, 100, 100_000])
def test_how_probes_are_batched_changes_nothing(
    questioned: Any, reference: Any, probes: list[Probe], tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One probe at a time, or all in one pass with much padding."""
    monkeypatch.setattr(where, "BATCH_TOKENS", tokens)
    rule = WindowRule(1, SPECIALS)
    reported: list[int] = []
    common: dict[str, Any] = {"rule": rule, "vocab_size": V, "reference": reference, "scaled": False, "top": 16}
    found = read_model(questioned, probes, on_positions=reported.append, **common)
    check(found, Slow(questioned, reference, probes, 1), 16)
    assert sum(reported) == found.n_positions
    assert len(reported) == {1: 10, 100_000: 1}.get(tokens, len(reported))


def test_the_order_of_probes_changes_nothing(questioned: Any, reference: Any, probes: list[Probe]) -> None:
    rule = WindowRule(1, SPECIALS)
    a, b = (
        read_model(questioned, p, rule=rule, vocab_size=V, reference=reference, top=V) for p in (probes, probes[::-1])
    )
    assert as_set(a.pairs) == as_set(b.pairs)
    np.testing.assert_allclose(a.weights, b.weights, atol=TOLERANCE)


@pytest.mark.parametrize("h", [0, 1, 3])
@pytest.mark.parametrize("length", [139, 140, 141, 500, 512])
def test_long_answers_are_read_in_pieces_each_position_once(h: int, length: int) -> None:
    probe = Probe([3, 4], np.random.default_rng(length).integers(3, 9, length))
    whole, pieces = LastToken(None), LastToken(142)
    a, b = (read_model(m, [probe], rule=WindowRule(h), vocab_size=V, top=50) for m in (whole, pieces))
    assert a.n_positions == b.n_positions == length - h + 1
    assert (whole.longest, pieces.longest) == (length + 2, min(142, length + 2))
    np.testing.assert_array_equal(a.pairs.contexts, b.pairs.contexts)
    np.testing.assert_array_equal(a.pairs.tokens, b.pairs.tokens)
    np.testing.assert_allclose(a.weights, b.weights, rtol=1e-4)
    np.testing.assert_allclose(a.mass.probabilities, b.mass.probabilities, rtol=1e-4)


def test_a_piece_holds_a_thousand_tokens_at_most() -> None:
    model = LastToken(None)
    read_model(model, [Probe([], [7] * 5000)], rule=WindowRule(1), vocab_size=V)
    assert model.longest == 1024


def test_pieces_begin_with_text_that_is_not_read_again(questioned: Any) -> None:
    """Every position of a later piece has at least 64 tokens of the answer before it."""
    probe = Probe([], np.random.default_rng(71).integers(3, V, 700))
    batches = list(where.plan_positions([probe], WindowRule(1), [questioned], V).batches())
    read = np.concatenate([batch.columns.numpy() for batch in batches])
    assert sorted(int(batch.columns.min()) for batch in batches) == [0, 64]
    assert len(read) == 700
    assert read_model(questioned, [probe], rule=WindowRule(1), vocab_size=V).n_positions == 700


def test_a_prompt_that_fills_the_model_is_refused() -> None:
    with pytest.raises(InputError, match="a prompt of 140 tokens leaves no room for its answer in a model of 142"):
        read_model(LastToken(142), [Probe([5] * 140, [6] * 9)], rule=WindowRule(1), vocab_size=V)
    assert read_model(LastToken(142), [Probe([5] * 140, [6] * 2)], rule=WindowRule(1), vocab_size=V).n_positions == 2


# --- refusals ---


def test_a_vocabulary_smaller_than_the_tokenizers_is_refused(questioned: Any, reference: Any) -> None:
    probes = [Probe([], [5, 6])]
    with pytest.raises(InputError, match="a model has 384 logits, the key's tokenizer 400 tokens"):
        read_model(questioned, probes, rule=WindowRule(1), vocab_size=400, reference=reference)
    with pytest.raises(InputError, match="a model has 424 logits, the key's tokenizer 425 tokens"):
        read_model(questioned, probes, rule=WindowRule(1), vocab_size=425)


@pytest.mark.parametrize("ids", [[V], [-1], [3, 10**6]])
def test_token_ids_the_tokenizer_does_not_have_are_refused(questioned: Any, ids: list[int]) -> None:
    for probe in (Probe(ids, [5]), Probe([5], ids)):
        with pytest.raises(InputError, match=r"probe 1 \(from 0\) holds a token id outside 0 … 383"):
            read_model(questioned, [Probe([], [4]), probe], rule=WindowRule(1), vocab_size=V)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(broken: float, reference: Any) -> None:
    model = LastToken(None)
    model.table[9, 7] = broken
    probes = [Probe([], [5, 9, 6])]
    for arguments in ((model, reference), (reference, model), (model, None)):
        with pytest.raises(ModelError, match="logits are not finite"):
            read_model(arguments[0], probes, rule=WindowRule(1), vocab_size=V, reference=arguments[1])


# --- no key anywhere ---


def test_a_reading_cannot_depend_on_a_key() -> None:
    assert "key" not in inspect.signature(read_model).parameters
    allowed = {
        *(
            "detect.fed",
            "detect.observation",
            "detect.questioned.expectation",
            "detect.questioned.positions",
            "detect.questioned.usage",
        ),
        *("watermark.errors", "watermark.windows"),
    }
    for one in (module, where, usage):
        tree = ast.parse(Path(one.__file__).read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module} | {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        ours = {name for name in imported if name.split(".")[0] in ("watermark", "detect")}
        assert {"watermark.windows"} <= ours <= allowed
    rule = {field for field in WindowRule.__dataclass_fields__ if not field.startswith("_")}
    assert rule == {"context_width", "special_ids"}


def test_the_same_reading_twice(questioned: Any, reference: Any, probes: list[Probe], tmp_path: Path) -> None:
    rule = WindowRule(1, SPECIALS)
    a, b = (read_model(questioned, probes, rule=rule, vocab_size=V, reference=reference) for _ in range(2))
    np.testing.assert_array_equal(a.weights, b.weights)
    a.save(tmp_path / "a.npz")
    np.testing.assert_array_equal(Reading.load(tmp_path / "a.npz").weights, b.weights)
