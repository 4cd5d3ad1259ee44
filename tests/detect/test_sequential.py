"""The sequential test: against plain loops and the whole stream at once; validity; and that arrival is no matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detect.counting import CountTally, tally
from detect.decoys import lineup
from detect.exact.evalue import log10_e_process, log10_e_value
from detect.exact.power import pairs_needed, planned_maximum
from detect.sequential import STALE_RUN, Sequential, SequentialTally
from tests.detect.exact.oracles import stopping_quantiles
from tests.detect.material import Pair, as_set, distinct_pairs, docstrings, is_green, make_key, secret, windows
from watermark.errors import InputError
from watermark.greenlist import GreenList
from watermark.keys import Key

GAMMA = 0.25
Answers = Sequence[Sequence[int]]


def run(
    key: Key, answers: Answers, prompts: Answers = (), *, alpha: float = 1e-6, maximum: int = 10**6
) -> SequentialTally:
    """All answers in order."""
    test = Sequential(key, prompts, alpha, maximum)
    for index, answer in enumerate(answers):
        test.add(index, answer)
    return test.result()


def facts(result: SequentialTally) -> dict[str, Any]:
    """Everything a result holds, comparable."""
    values = {name: getattr(result, name) for name in SequentialTally.__dataclass_fields__ if name != "green"}
    pairs, excluded = values.pop("pairs"), values.pop("excluded").pairs
    return {
        **values,
        "colours": result.colours.tolist(),
        "contexts": pairs.contexts.tolist(),
        "tokens": pairs.tokens.tolist(),
        "n_contexts": pairs.n_contexts,
        "excluded": [excluded.contexts.tolist(), excluded.tokens.tolist(), excluded.n_contexts],
    }


# --- second computation: plain loops, the closed form at every pair ---


def in_a_loop(
    key: Key, answers: Answers, prompts: Answers, alpha: float, maximum: int
) -> tuple[list[Pair], list[bool], list[float], str, int]:
    """Pairs, colours, log10 E after each, how it ended, and tokens up to there."""
    h, special = key.context_width, key.special_ids
    known = {pair for prompt in prompts for pair in windows(prompt, h, special)}
    pairs: list[Pair] = []
    colours: list[bool] = []
    values: list[float] = []
    tokens = 0
    for answer in answers:
        for i, token in enumerate(answer):
            tokens += 1
            window = [int(t) for t in answer[max(0, i - h) : i]]
            pair = (tuple(window), int(token))
            if len(window) < h or {*window, int(token)} & set(special) or pair in known:
                continue
            known.add(pair)
            pairs.append(pair)
            colours.append(is_green(key, pair))
            values.append(log10_e_value(sum(colours), len(colours), key.gamma))
            if values[-1] >= -math.log10(alpha):
                return pairs, colours, values, "early", tokens
            if len(pairs) == maximum:
                return pairs, colours, values, "maximum", tokens
    return pairs, colours, values, "exhausted", tokens


ids = st.integers(0, 7)
documents = st.lists(st.lists(ids, max_size=14), max_size=8)


@given(
    number=st.integers(0, 20),
    h=st.sampled_from([0, 1, 2, 3, 5]),
    special=st.sampled_from([(), (2,), (0, 7)]),
    answers=documents,
    prompts=st.lists(st.lists(ids, max_size=8), max_size=3),
    alpha=st.sampled_from([1e-6, 0.3, 0.7]),
    maximum=st.integers(1, 30),
)
def test_against_a_plain_loop(
    number: int, h: int, special: tuple[int, ...], answers: Answers, prompts: Answers, alpha: float, maximum: int
) -> None:
    key = make_key(number, h=h, special=special)
    found = run(key, answers, prompts, alpha=alpha, maximum=maximum)
    pairs, colours, values, stopped, tokens = in_a_loop(key, answers, prompts, alpha, maximum)
    in_order = [(tuple(c), t) for c, t in zip(found.pairs.contexts.tolist(), found.pairs.tokens.tolist(), strict=True)]
    assert in_order == pairs
    assert found.colours.tolist() == colours
    assert (found.stopped, found.n_tokens, found.n_scored) == (stopped, tokens, len(pairs))
    assert found.n_green == sum(colours)
    assert found.pairs.n_contexts == len({context for context, _ in pairs})
    assert found.log10_e == pytest.approx(values[-1] if values else 0.0, rel=1e-9, abs=1e-12)
    assert found.log10_e_max == pytest.approx(max([0.0, *values]), rel=1e-9, abs=1e-12)
    assert found.log10_p == -found.log10_e_max


@given(
    h=st.sampled_from([0, 1, 2, 4]),
    special=st.sampled_from([(), (1, 5)]),
    answers=documents,
    prompts=st.lists(st.lists(ids, max_size=8), max_size=3),
)
def test_pairs_are_those_of_the_one_rule(h: int, special: tuple[int, ...], answers: Answers, prompts: Answers) -> None:
    """Without a stop the pairs, the count, and what else `tally` says are the same."""
    key = make_key(1, h=h, special=special)
    found, at_once = run(key, answers, prompts, alpha=1e-200), tally(key, answers, prompts, test="sampled")
    assert as_set(found.pairs) == as_set(at_once.pairs) == distinct_pairs(answers, prompts, h, special)
    for name in ("test", "key_id", "scheme", "n_tokens", "n_scored", "n_green", "probes_log10_p"):
        assert getattr(found, name) == getattr(at_once, name), name
    (mine, special_ids), (whole, same) = found.notes, at_once.notes
    assert special_ids == same
    assert mine.partition(" counted")[2] == whole.partition(" counted")[2]  # where the other tokens went


# --- arrival ---


@given(
    data=st.data(),
    answers=st.lists(st.lists(ids, max_size=12), min_size=1, max_size=10),
    alpha=st.sampled_from([1e-6, 0.5]),
    maximum=st.sampled_from([5, 1000]),
)
def test_the_order_of_arrival_changes_nothing(
    data: st.DataObject, answers: Answers, alpha: float, maximum: int
) -> None:
    """Any permutation, killed anywhere any number of times: a log is replayed, and what it lacks is added again."""
    key, prompts = make_key(2), [[1, 2, 3]]
    undisturbed = run(key, answers, prompts, alpha=alpha, maximum=maximum)
    order = data.draw(st.permutations(range(len(answers))))
    kills = sorted(data.draw(st.lists(st.integers(0, len(answers)), max_size=3)))
    log: list[int] = []
    for kill in [*kills, len(answers)]:
        test = Sequential(key, prompts, alpha, maximum)
        for index in log:
            test.add(index, answers[index])
        for index in order[len(log) : kill]:
            log.append(index)  # an answer is logged before it counts
            test.add(index, np.array(answers[index], dtype=np.int64))
    assert facts(test.result()) == facts(undisturbed)


def marked_answers(key: Key, count: int, green_fraction: float, seed: int = 0, length: int = 40) -> list[list[int]]:
    """Random tokens of 2,000; where a colour is wanted a second draw is allowed to bring it about."""
    rng = np.random.default_rng(seed)
    rows = GreenList(key).mask(np.arange(2000).reshape(-1, 1), 2000)
    greens, reds = [np.flatnonzero(row) for row in rows], [np.flatnonzero(~row) for row in rows]
    answers = []
    for _ in range(count):
        answer = [int(rng.integers(2000))]
        for _ in range(length):
            pool = (greens if rng.random() < green_fraction else reds)[answer[-1]]
            answer.append(int(pool[rng.integers(len(pool))]))
        answers.append(answer)
    return answers


def test_it_stops_at_once_and_only_when_the_prefix_is_there() -> None:
    key = make_key(3)
    answers = marked_answers(key, 10, 0.6)
    test = Sequential(key, [], 1e-6, 1000)
    for index in range(9, 0, -1):
        assert not test.add(index, answers[index])
        assert (test.stopped, test.n_scored, test.n_answers) == (None, 0, 0)
    assert test.add(0, answers[0])
    assert (test.stopped, test.n_answers) == ("early", test.result().n_answers)
    assert test.n_scored == test.result().n_scored < 200
    assert facts(test.result()) == facts(run(key, answers, maximum=1000))


def test_answers_after_the_stop_are_left_out() -> None:
    key = make_key(3)
    answers = marked_answers(key, 10, 0.6)
    test = Sequential(key, [], 1e-6, 1000)
    used = next(index for index, answer in enumerate(answers) if test.add(index, answer)) + 1
    before = facts(test.result())
    assert (before["n_answers"], before["stopped"]) == (used, "early")
    assert used < len(answers) - 1
    for index in range(used, len(answers)):
        assert test.add(index, answers[index])
    assert test.add(len(answers) + 5, [1, 2, 3])  # a gap is of no importance any more
    assert facts(test.result()) == before


def test_what_is_refused() -> None:
    key = make_key(4)
    test = Sequential(key, [], 0.01, 100)
    test.add(2, [1, 2, 3])
    with pytest.raises(InputError, match="the answer to request 0 is missing"):
        test.result()
    test.add(0, [4, 5])
    test.add(0, np.array([4, 5], dtype=np.uint16))  # the same answer, out of a log
    with pytest.raises(InputError, match="request 0 has two different answers"):
        test.add(0, [4, 6])
    with pytest.raises(InputError, match="request 2 has two different answers"):
        test.add(2, [])
    with pytest.raises(InputError, match="request 1 is missing"):
        test.result()
    test.add(1, [])  # never answered: said so
    assert (test.result().n_answers, test.result().n_tokens, test.result().stopped) == (3, 5, "exhausted")
    with pytest.raises(InputError, match="index must be at least 0"):
        test.add(-1, [])
    for odd in ([[1, 2]], [1.5], [-1], [True]):
        with pytest.raises(ValueError, match=r"token ids|flat sequence"):
            test.add(9, odd)
    assert test.result().n_answers == 3
    for alpha, maximum in ((0, 10), (1, 10), (math.nan, 10), (0.1, 0)):
        with pytest.raises(InputError):
            Sequential(key, [], alpha, maximum)


def test_answers_that_bring_nothing_new_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 in a row, or one for each prompt where there are more of them; empty ones are among them."""
    key, prompts = make_key(4), [[5, 6]]
    for count, expected in ((1, STALE_RUN), (STALE_RUN + 50, STALE_RUN + 50)):
        test = Sequential(key, prompts * count, 1e-6, 1000)
        answers = [[1, 2, 3], *[[], [1, 2], [5, 6], [2, 3]] * 200]
        used = next(index for index, answer in enumerate(answers) if test.add(index, answer)) + 1
        assert used == 1 + expected
        found = test.result()
        assert (found.stopped, found.n_scored, found.n_answers) == ("exhausted", 2, used)
        assert f"ended before the planned maximum of 1,000 pairs by {expected} answers in a row" in found.notes[0]
        assert found.n_tokens == sum(map(len, answers[:used]))
    test = Sequential(key, prompts, 1e-6, 1000)
    fresh = [index // 200 for index in range(3000)]  # a new pair each time, just before the run would end
    assert not any(test.add(index, [7, 100 + number]) for index, number in enumerate(fresh))


@pytest.mark.parametrize(("q", "alpha", "maximum"), [(0.5, 1e-6, 212), (0.5, 1e-6, 120), (0.35, 1e-3, 660)])
def test_power_is_a_bound_on_the_true_one(q: float, alpha: float, maximum: int) -> None:
    """Against the exact law of the count not yet stopped; and it is no wild understatement."""
    found = run(make_key(4), [], alpha=alpha, maximum=maximum)
    bound = found.power(q)
    assert maximum >= stopping_quantiles(q, GAMMA, (bound,), -math.log10(alpha))[0]
    assert maximum < stopping_quantiles(q, GAMMA, (min(0.999, bound + 0.1),), -math.log10(alpha))[0]
    counts = [k for k in range(maximum + 1) if log10_e_value(k, maximum, GAMMA) >= -math.log10(alpha)]
    assert bound == pytest.approx(stats.binom.sf(counts[0] - 1, maximum, q))


def test_there_is_no_power_where_no_count_is_enough() -> None:
    assert run(make_key(4), [], alpha=1e-6, maximum=5).power(0.9) == 0.0


def test_nothing_secret_is_shown() -> None:
    key = make_key(5)
    test = Sequential(key, [[1, 2, 3]], 0.01, 100)
    test.add(0, [5, 6, 7])
    shown = f"{test!r} {test.result()!r} {test.result().notes}"
    for hidden in (key.chacha_key, secret(5)):
        assert hidden.hex() not in shown
        assert repr(hidden) not in shown


# --- how it ends, and what p is then ---


def test_after_an_early_stop_p_is_1_over_e_and_no_fixed_n_tail() -> None:
    key = make_key(6)
    found = run(key, marked_answers(key, 40, 0.5), maximum=planned_maximum(pairs_needed(0.5, GAMMA)))
    assert found.stopped == "early"
    assert found.log10_e == found.log10_e_max >= 6
    assert found.log10_p == -found.log10_e
    before = log10_e_value(found.n_green - int(found.colours[-1]), found.n_scored - 1, GAMMA)
    assert before < 6 <= found.log10_e
    assert found.colours[-1]  # only a green pair can bring it over
    assert "stopped early, at the first pair with an e-value of 1/1e-06 or more" in found.notes[0]
    fixed = stats.binom.logsf(found.n_green - 1, found.n_scored, GAMMA) / math.log(10)
    assert fixed < found.log10_p - 0.5  # smaller, and not claimed


def test_at_the_maximum_without_crossing_p_stays_the_planned_one() -> None:
    """Even where the fixed-n tail would be below alpha."""
    key = make_key(7)
    found = run(key, marked_answers(key, 40, 0.42, seed=1), maximum=212)
    assert (found.stopped, found.n_scored) == ("maximum", 212)
    assert stats.binom.logsf(found.n_green - 1, 212, GAMMA) / math.log(10) <= -6
    assert -6 < found.log10_p < -3
    assert found.log10_p == -found.log10_e_max
    assert found.log10_e <= found.log10_e_max < 6
    assert "stopped at the planned maximum of 212 pairs" in found.notes[0]


def test_a_stop_at_the_very_last_pair_is_early() -> None:
    key = make_key(6)
    answers = marked_answers(key, 40, 0.5)
    at = run(key, answers).n_scored
    assert run(key, answers, maximum=at).stopped == "early"
    assert run(key, answers, maximum=at - 1).stopped == "maximum"


def test_p_looks_back_at_the_best_moment() -> None:
    """Green first, then none: the largest E counts, as it was looked at."""
    key = make_key(8)
    answers = [*marked_answers(key, 1, 1.0, length=8), *marked_answers(key, 5, 0.0, seed=3)]
    found = run(key, answers)
    assert found.stopped == "exhausted"
    assert found.log10_e < 0 < 2 < found.log10_e_max
    assert found.log10_p == -found.log10_e_max


def test_nothing_to_count() -> None:
    for answers in ([], [[]], [[5]]):
        found = run(make_key(9), answers)
        assert (found.n_scored, found.n_green, found.log10_e, found.log10_p) == (0, 0, 0.0, 0.0)
        assert math.copysign(1, found.log10_p) == 1  # never printed as -0.0
        assert found.pairs.n_contexts == 0


def test_it_fits_beside_a_count() -> None:
    """A line-up takes it, and counts the pairs up to the stop."""
    key = make_key(10)
    found = run(key, marked_answers(key, 40, 0.5))
    assert isinstance(found, CountTally)
    line = lineup(found, 200)
    assert line.rank == 1
    assert len(line.scores) == 200
    assert np.mean(line.scores) == pytest.approx(found.n_scored / 4, abs=5 * math.sqrt(found.n_scored * 0.19 / 200))
    assert line.uniformity_p is not None
    assert line.uniformity_p > 1e-3


# --- the process ---


# --- validity: real keys on fixed answers, looked at after every pair ---

LENGTH = 1_000
LIMITS = {0.05: 1_117, 0.01: 254, 1e-3: 39}  # of 20,000: design.md


@pytest.fixture(scope="module")
def human() -> list[list[int]]:
    """Python's docstrings, letter by letter in pairs: answers that no key had a part in, repetitive as they are."""
    rng = np.random.default_rng(41)
    picked = rng.permutation(len(docstrings()))[:40]
    return [[ord(a) % 128 * 128 + ord(b) % 128 for a, b in zip(t[::2], t[1::2], strict=False)][:120]
            for t in (docstrings()[i] for i in picked)]  # fmt: skip


def key_with(chacha_key: bytes) -> Key:
    """A key of a drawn secret."""
    return Key(chacha_key, make_key(0).parameters)


def colours_under(keys: Sequence[bytes], found: SequentialTally) -> np.ndarray:
    """bool [keys, pairs] of the pairs of this stream, under other ChaCha20 keys."""
    prepared = found.green.prepare(found.pairs.contexts, found.pairs.tokens)
    return np.array([found.green.with_chacha_key(chacha).colour(prepared) for chacha in keys])


def test_20_000_null_streams_rarely_cross(human: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 ChaCha20 keys on one stream of human text, looked at after every pair (Ville)."""
    monkeypatch.setattr("watermark.chacha.NUMBA_FROM", 1)
    stream = run(make_key(11), human, [human[0][:20]], alpha=1e-200, maximum=LENGTH)
    assert stream.n_scored == LENGTH
    rng = np.random.default_rng(42)
    crossed = dict.fromkeys(LIMITS, 0)
    greens = 0
    for _ in range(40):
        colours = colours_under([rng.bytes(32) for _ in range(500)], stream)
        highest = log10_e_process(colours, GAMMA).max(axis=-1)
        greens += int(colours.sum())
        for alpha in LIMITS:
            crossed[alpha] += int((highest >= -math.log10(alpha)).sum())
    assert abs(greens / (20_000 * LENGTH) - GAMMA) < 5 * math.sqrt(0.1875 / (20_000 * LENGTH))
    for alpha, limit in LIMITS.items():
        assert crossed[alpha] <= limit
    assert crossed[0.05] > 200  # it is no constant: a process that never moves would pass, too


def test_null_keys_through_the_class_itself(human: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """400 keys from answers to p: the stop, and p, are those of the vectorised process on the same colours."""
    monkeypatch.setattr("watermark.chacha.NUMBA_FROM", 1)
    keys = [key_with(secret(5_000 + number)) for number in range(400)]
    stream = run(keys[0], human, alpha=1e-200, maximum=LENGTH)
    process = log10_e_process(colours_under([key.chacha_key for key in keys], stream), GAMMA)
    alpha, log10_p = 0.05, []
    for key, values in zip(keys, process, strict=True):
        found = run(key, human, alpha=alpha, maximum=LENGTH)
        above = values >= -math.log10(alpha)
        assert found.n_scored == (above.argmax() + 1 if above.any() else LENGTH)
        assert found.stopped == ("early" if above.any() else "maximum")
        assert found.log10_p == pytest.approx(-max(0.0, values[: found.n_scored].max()), rel=1e-9, abs=1e-12)
        log10_p.append(found.log10_p)
    for level in (0.05, 0.1, 0.3):
        assert (np.array(log10_p) <= math.log10(level)).sum() <= stats.binom.isf(1e-4, 400, level)
    assert (np.array(log10_p) < -0.5).sum() > 20  # it is a bound, but no p ≡ 1


def test_a_stream_that_is_not_deduplicated_would_fail() -> None:
    """The yardstick measures: each pair shown three times crosses far too often."""
    colours = np.repeat(np.random.default_rng(43).random((2_000, 300)) < GAMMA, 3, axis=1)
    highest = log10_e_process(colours, GAMMA).max(axis=-1)
    assert (highest >= 2).sum() > 5 * LIMITS[0.01] / 10


def test_the_fixed_n_tail_at_an_early_stop_would_fail() -> None:
    """Why no fixed-n tail is reported after looking: the smallest of them is below .01 far more often."""
    colours = np.random.default_rng(44).random((2_000, 400)) < GAMMA
    counts = np.cumsum(colours, axis=1)
    smallest = stats.binom.sf(counts - 1, np.arange(1, 401), GAMMA).min(axis=1)
    assert (smallest <= 0.01).sum() > 5 * LIMITS[0.01] / 10


# --- how soon it stops ---


@pytest.mark.parametrize(("q", "runs", "design"), [(0.50, 120, (113, 162)), (0.35, 80, (646, 1_014))])
def test_stops_of_marked_answers(q: float, runs: int, design: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the class: median and 90 % point are the exact ones (ADR 0002), which the design's table rounds."""
    monkeypatch.setattr("watermark.chacha.NUMBA_FROM", 1)
    key, (median, late) = make_key(12), stopping_quantiles(q, GAMMA, (0.5, 0.9), 6.0)
    fixed = pairs_needed(q, GAMMA)
    rows = GreenList(key).mask(np.arange(3000).reshape(-1, 1), 3000)
    greens, rng = [np.flatnonzero(row) for row in rows], np.random.default_rng(45)
    reds = [np.flatnonzero(~row) for row in rows]
    stops = []
    for _ in range(runs):
        test = Sequential(key, [], 1e-6, 3 * fixed)
        for index in range(10**6):
            answer = [int(rng.integers(3000))]
            for colour in rng.random(60) < q:
                pool = (greens if colour else reds)[answer[-1]]
                answer.append(int(pool[rng.integers(len(pool))]))
            if test.add(index, answer):
                break
        assert test.stopped == "early"
        stops.append(test.n_scored)
    spread = (late - median) / stats.norm.ppf(0.9)
    for fraction, truth, rough in zip((0.5, 0.9), (median, late), design, strict=True):
        error = math.sqrt(fraction * (1 - fraction) / runs) * spread / stats.norm.pdf(stats.norm.ppf(fraction))
        assert np.quantile(stops, fraction) == pytest.approx(truth, abs=4 * error + 1)
        assert truth == pytest.approx(rough, rel=0.15)
    assert median < fixed < late <= planned_maximum(fixed)
    assert np.median(stops) < fixed
