"""Tallies against plain loops over windows and colours one at a time."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from detect.counting import CountComparison, CountTally, MassComparison, tally, weigh, window_rule
from detect.exact.weighted import statistic
from detect.fed import ProbePairs
from detect.observation import ContextMass, Excess, Reading
from tests.detect.material import as_set, distinct_pairs, is_green, make_key, no_probes, windows
from watermark.windows import Pairs, WindowRule

SPECIAL = (0, 5)
ids = st.lists(st.integers(0, 9), max_size=30)


def account(note: str) -> dict[str, int]:
    """The numbers of a counting note by their words."""
    head, *rest = note.split(", ")
    tokens, documents = re.fullmatch(r"([\d,]+) tokens? in (\d+) documents?", head).groups()
    parts = {words: int(number) for number, words in (part.split(" ", 1) for part in rest)}
    return {"tokens": int(tokens), "documents": int(documents), **parts}


@given(
    documents=st.lists(ids, max_size=5),
    prompts=st.lists(ids, max_size=3),
    h=st.integers(0, 4),
    special=st.sampled_from([(), SPECIAL]),
)
def test_a_tally_is_the_plain_loop(
    documents: list[list[int]], prompts: list[list[int]], h: int, special: tuple[int, ...]
) -> None:
    key = make_key(1, h=h, special=special)
    found = tally(key, documents, prompts)
    expected = distinct_pairs(documents, prompts, h, special)
    assert as_set(found.pairs) == expected
    assert found.n_scored == len(expected)
    assert found.n_green == sum(is_green(key, pair) for pair in expected)
    assert found.pairs.n_contexts == len({context for context, _ in expected})
    assert found.n_tokens == sum(map(len, documents))
    assert (found.test, found.key_id, found.scheme) == ("text", key.key_id, "greenlist/1")


@given(documents=st.lists(ids, max_size=5), prompts=st.lists(ids, max_size=3), h=st.integers(0, 3))
def test_the_note_says_where_every_token_went(documents: list[list[int]], prompts: list[list[int]], h: int) -> None:
    key = make_key(2, h=h, special=SPECIAL)
    found = tally(key, documents, prompts)
    note, special_ids = found.notes
    assert special_ids == key.special_ids_note(verified=False)
    parts = account(note)
    tokens = parts.pop("tokens")
    assert parts.pop("documents") == len(documents)
    assert tokens == found.n_tokens == sum(parts.values())
    assert parts["counted"] == found.n_scored
    assert parts.get("have no full context", 0) == sum(min(h, len(document)) for document in documents)
    all_windows = [pair for document in documents for pair in windows(document, h, SPECIAL)]
    prompt_pairs = {pair for prompt in prompts for pair in windows(prompt, h, SPECIAL)}
    in_prompt = [pair for pair in all_windows if pair in prompt_pairs]
    assert parts.get("occur in a prompt", 0) == len(in_prompt)
    assert parts.get("repeat a counted pair", 0) == len(all_windows) - len(in_prompt) - found.n_scored


def test_a_prompts_pairs_count_nowhere_not_only_in_its_own_answer() -> None:
    key = make_key(3)
    documents, prompts = [[10, 11, 12], [20, 21, 22]], [[20, 21], [11, 12]]
    assert as_set(tally(key, documents, prompts).pairs) == {((10,), 11), ((21,), 22)}
    assert as_set(tally(key, documents[:1], prompts).pairs) == {((10,), 11)}
    assert as_set(tally(key, documents[1:], prompts).pairs) == {((21,), 22)}


def test_pairs_do_not_cross_documents_or_prompts() -> None:
    assert as_set(tally(make_key(3), [[1, 2], [3, 4]], [[4], [1]]).pairs) == {((1,), 2), ((3,), 4)}


def test_order_and_repetition_change_nothing() -> None:
    rng = np.random.default_rng(4)
    key = make_key(4, h=2)
    documents = [rng.integers(0, 8, 50) for _ in range(6)]
    once = tally(key, documents)
    again = tally(key, documents[::-1] + documents)
    assert (once.n_green, once.n_scored) == (again.n_green, again.n_scored)
    np.testing.assert_array_equal(once.pairs.contexts, again.pairs.contexts)


def test_special_tokens_are_neither_context_nor_target() -> None:
    key = make_key(5, h=1, special=(0,))
    found = tally(key, [[7, 0, 8, 9]])
    assert as_set(found.pairs) == {((8,), 9)}
    assert account(found.notes[0])["touch a special token"] == 2
    assert len(as_set(tally(make_key(5, h=1), [[7, 0, 8, 9]]).pairs)) == 3


@pytest.mark.parametrize("documents", [[], [[]], [[3]], [[0, 0, 0]]])
def test_nothing_to_count(documents: list[list[int]]) -> None:
    found = tally(make_key(6, special=(0,)), documents)
    assert isinstance(found, CountTally)
    assert (found.n_scored, found.n_green, found.pairs.n_contexts) == (0, 0, 0)


def test_a_tally_of_answers_is_called_sampled() -> None:
    assert tally(make_key(6), iter([[1, 2]]), iter([[2, 1]]), test="sampled").test == "sampled"


def test_the_rule_holds_nothing_of_the_key_but_its_shape() -> None:
    rule = window_rule(make_key(7, h=2, special=SPECIAL))
    assert rule == window_rule(make_key(8, h=2, special=SPECIAL))
    assert (rule.context_width, rule.special_ids) == (2, SPECIAL)


def test_repr_shows_no_secret() -> None:
    key = make_key(9)
    found = tally(key, [[1, 2, 3]])
    for hidden in (key.chacha_key, key._secret):
        for text in (repr(found), str(found)):
            assert hidden.hex() not in text
            assert repr(hidden) not in text


# --- a reading's weights ---


def reading(*, h: int = 1) -> Reading:
    """Made-up numbers: 40 contexts, 30 weights each, 20 tokens of mass each."""
    rng = np.random.default_rng(10)
    contexts = np.arange(40 * h, dtype=np.uint32).reshape(40, h)
    tokens = np.array([rng.permutation(900)[:30] for _ in range(40)], dtype=np.uint32)
    mass_tokens = np.array([rng.permutation(900)[:20] for _ in range(40)], dtype=np.uint32)
    probabilities = rng.dirichlet(np.ones(25), 40)[:, :20].astype(np.float32)
    return Reading(
        pairs=Pairs(np.repeat(contexts, 30, axis=0), tokens.reshape(-1), 40),
        weights=rng.standard_t(3, 40 * 30),
        n_positions=77,
        with_reference=True,
        argmax=Pairs(contexts, tokens[:, 0], 40),
        mass=ContextMass(contexts, mass_tokens, probabilities),
        probes=no_probes(h),
    )


@pytest.mark.parametrize("h", [1, 2, 5])
def test_weigh_is_the_plain_loop(h: int) -> None:
    key, observed = make_key(11, h=h), reading(h=h)
    found = weigh(key, observed)
    pairs = zip(observed.pairs.contexts.tolist(), observed.pairs.tokens.tolist(), strict=True)
    colours = [is_green(key, (tuple(context), token)) for context, token in pairs]
    expected = math.fsum(a * (g - 0.25) for a, g in zip(observed.weights, colours, strict=True))
    assert found.statistic == pytest.approx(expected, rel=1e-10)
    assert 0 < sum(colours) < len(colours)
    assert (found.test, found.n_tokens, found.n_scored, found.pairs.n_contexts) == ("reading", 77, 1200, 40)
    np.testing.assert_array_equal(found.weights, observed.weights)


def test_both_comparisons_are_the_plain_loop() -> None:
    key, observed = make_key(12), reading()
    found = weigh(key, observed)
    argmax = zip(observed.argmax.contexts.tolist(), observed.argmax.tokens.tolist(), strict=True)
    green = sum(is_green(key, (tuple(context), token)) for context, token in argmax)
    assert found.comparisons["argmax"] == CountComparison(40, green, 0.25)
    masses = []
    for row, context in enumerate(observed.mass.contexts.tolist()):
        total = 0.0
        followed = 0.0
        for token, p in zip(observed.mass.tokens[row].tolist(), observed.mass.probabilities[row].tolist(), strict=True):
            total += p * is_green(key, (tuple(context), token))
            followed += p
        masses.append(total + 0.25 * (1 - followed))
    mass = found.comparisons["green_mass"]
    assert isinstance(mass, MassComparison)
    assert mass.mean == pytest.approx(sum(masses) / 40, abs=1e-7)
    assert mass.n_contexts == 40


def excess() -> Excess:
    """The same weights as those of answers."""
    made = reading()
    probes = ProbePairs.of_prompts(WindowRule(1), [list(range(400))])
    return Excess(made.pairs, made.weights, 77, True, probes, n_tokens=90, n_listed=0, distinct=made.argmax)


def test_answers_are_weighed_as_a_reading_is_and_their_pairs_counted_beside() -> None:
    key, observed = make_key(11), excess()
    found, read = weigh(key, observed, tokenizer_checked=True), weigh(key, reading())
    assert (found.test, found.n_tokens, found.n_scored, found.statistic) == ("sampled", 90, 1200, read.statistic)
    counted = [is_green(key, ((c,), t)) for c, t in zip(range(40), observed.distinct.tokens.tolist(), strict=True)]
    assert found.comparisons == {"distinct_pairs": CountComparison(40, sum(counted), 0.25)}
    assert found.probes_log10_p == tally(key, [[5]], [list(range(400))], test="sampled").probes_log10_p < 0
    note, special_ids = found.notes
    of = "at 77 of their 90 tokens, 40 contexts"
    assert note == f"answers weighed against a reference model that was not audited under the key, {of}"
    assert special_ids == key.special_ids_note(verified=True)
    listed = replace(observed, n_listed=7, with_reference=False)
    assert weigh(key, listed).notes[0] == (
        "answers weighed without a reference model (valid, but weak), at 77 of their 90 tokens, 40 contexts; the "
        "server gave log-probabilities at 9.1% of these"
    )


def test_notes_say_whether_there_was_a_reference() -> None:
    observed = reading()
    note, special_ids = weigh(make_key(12), observed).notes
    assert special_ids == make_key(12).special_ids_note(verified=False)
    assert note == "77 positions of 40 contexts read against a reference model that was not audited under the key"
    without = replace(observed, with_reference=False)
    assert "without a reference model (valid, but weak)" in weigh(make_key(12), without).notes[0]


def test_the_statistic_of_equal_weights_is_the_count() -> None:
    colours = np.array([True, False, True, True])
    assert statistic(colours, np.ones(4), 0.25) == 3 - 1.0
    assert statistic(colours, np.array([1.0, 2.0, -3.0, 0.5]), 0.5) == (1 - 3 + 0.5) - 0.25
    assert statistic(np.zeros(0, dtype=bool), np.zeros(0), 0.25) == 0.0


# --- their p-values ---


@pytest.mark.parametrize(("k", "n"), [(0, 0), (0, 9), (3, 9), (40, 100), (100, 100)])
def test_argmax_p_is_the_exact_tail(k: int, n: int) -> None:
    found = CountComparison(n, k, 0.25).log10_p
    assert found == pytest.approx(binom.logsf(k - 1, n, 0.25) / math.log(10), rel=1e-9, abs=1e-12)


def test_mass_p_is_hoeffdings() -> None:
    assert MassComparison(500, 0.35, 0.25).log10_p == pytest.approx(math.log10(math.exp(-2 * 500 * 0.1**2)))
    below = MassComparison(500, 0.2, 0.25).log10_p
    assert below == 0.0
    assert math.copysign(1, below) == 1


def test_hoeffdings_bound_holds_for_real_rows_under_many_keys() -> None:
    observed = reading()
    p = np.array([weigh(make_key(number), observed).comparisons["green_mass"].log10_p for number in range(300)])
    assert (p <= -1).sum() <= 49  # 30 expected if exact; more than 49 of 300 has chance 4e-4, and this is a bound
    assert (p < 0).any()
