"""Cells and controls judged: rows beside direct calls, and tails beside scipy and plain loops."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom

from detect.counting import tally, weigh
from detect.evidence import assess, assess_family
from detect.exact.binomial import log10_sf
from detect.exact.weighted import CumulantFunction, chernoff
from detect.fed import Probe
from detect.observation import Excess, Reading
from detect.questioned.excess import excess_of
from detect.questioned.reading import read_model
from distill_sim.corpus import CorpusRow
from distill_sim.stages import ANSWERS, EXCESS, READING
from distill_sim.study import costs, judging
from distill_sim.study.judging import FRESH_SEED, ROWS, counted_log10_p, weighted_log10_p
from distill_sim.survival import TESTS
from tests import tiny
from tests.detect.material import hkdf, is_green
from tests.distill_sim.study.test_making import Bench, learnt, row
from tests.watermark.engines.helpers import key_for, model
from watermark.engines.models import load_model
from watermark.errors import KeyFileError
from watermark.files import write_json
from watermark.greenlist import GreenList
from watermark.keys import Key
from watermark.windows import Pairs, WindowRule

pytestmark = pytest.mark.usefixtures("one_torch_thread")

GAMMA, FRESH = 0.25, 8
KEY, OTHER = key_for(number=50), key_for(number=51)
RULE = WindowRule(1, (0, 1, 2))


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one questioned model gave: a reading and weighed answers, in one directory each."""
    root = tmp_path_factory.mktemp("observed")
    student = load_model(tiny.build(root / "student", seed=7))
    rng = np.random.default_rng(3)
    texts = [Probe([5, 6], rng.integers(3, 384, 40).tolist()) for _ in range(8)]
    for name in ("reading", "excess"):
        (root / name).mkdir()
    read_model(student, texts, rule=RULE, vocab_size=384, reference=model(), top=64).save(root / "reading" / READING)
    answers = [Probe([5, 6], rng.integers(3, 384, 30).tolist()) for _ in range(10)]
    excess_of(model(), answers, rule=RULE, vocab_size=384, exclude=[[5, 6]]).save(root / "excess" / EXCESS)
    return root


@pytest.fixture
def bench(observed: Path, tmp_path: Path) -> Bench:
    found = Bench(tmp_path)
    found.inputs |= {"reading": observed / "reading", "excess": observed / "excess"}
    return found


def rows_of(output: Path) -> list[dict[str, Any]]:
    return list(json.loads((output / ROWS).read_text()))


# --- a cell ---


def judge(bench: Bench, corpus: Sequence[CorpusRow], keys: Mapping[str, Key], epochs: int = 2) -> list[dict[str, Any]]:
    bench.corpus("corpus", corpus)
    files = {role: bench.root / f"{role}.key" for role in keys}
    for role, key in keys.items():
        key.save(files[role])
    settings = {
        "keys": {role: key.key_id for role, key in keys.items()}, "corpus": "corpus", "epochs": epochs,
        "reading": "reading", "excess": "excess",
    }  # fmt: skip
    return rows_of(bench.run("judged", judging.judged, settings, **files))


def marked_by(key: Key, one: CorpusRow) -> CorpusRow:
    return replace(one, key_id=key.key_id, marked=True)


def test_every_test_of_a_cell_is_what_a_direct_call_says(bench: Bench) -> None:
    corpus = [marked_by(KEY, one) for one in learnt(6, 25)]
    rows = {one["test"]: one for one in judge(bench, corpus, {"account": KEY})}
    assert rows.keys() == set(TESTS)
    reading = Reading.load(bench.inputs["reading"] / READING)
    excess = Excess.load(bench.inputs["excess"] / EXCESS)
    weighed, asked = weigh(KEY, reading), weigh(KEY, excess)
    text = assess(tally(KEY, [one.token_ids for one in corpus], [one.prompt_ids for one in corpus]))
    read, sampled = assess_family([weighed, asked])
    for test, evidence in (("text", text), ("reading", read), ("sampled", sampled)):
        for name in ("n_tokens", "n_scored", "green_fraction", "z_score", "log10_p", "log10_p_adjusted", "finding"):
            assert rows[test][name] == getattr(evidence, name), (test, name)
    for test, of, tokens in (
        ("argmax", weighed, reading.n_positions),
        ("green_mass", weighed, reading.n_positions),
        ("distinct_pairs", asked, excess.n_tokens),
    ):
        assert rows[test]["log10_p"] == of.comparisons[test].log10_p
        assert rows[test]["n_tokens"] == tokens
        assert rows[test]["finding"] is None is rows[test]["log10_p_adjusted"]
    assert rows["argmax"]["n_scored"] == len(reading.argmax)
    assert rows["green_mass"]["green_fraction"] == weighed.comparisons["green_mass"].mean  # type: ignore[union-attr]


def test_counted_rows_are_scipys(bench: Bench) -> None:
    rows = {one["test"]: one for one in judge(bench, learnt(6, 25), {"account": KEY})}
    for test in ("argmax", "distinct_pairs", "text"):
        n = rows[test]["n_scored"]
        green = round(rows[test]["green_fraction"] * n)
        assert rows[test]["green_fraction"] == green / n
        assert rows[test]["log10_p"] == pytest.approx(math.log10(binom.sf(green - 1, n, GAMMA)), rel=1e-9)


def test_the_two_tests_of_a_model_are_one_family(bench: Bench) -> None:
    """Holm over two: the smaller p twice, the larger one at least as large."""
    rows = {one["test"]: one for one in judge(bench, learnt(), {"account": KEY})}
    small, large = sorted((rows["reading"], rows["sampled"]), key=lambda one: one["log10_p"])
    assert small["log10_p_adjusted"] == pytest.approx(min(0.0, small["log10_p"] + math.log10(2)))
    assert large["log10_p_adjusted"] == pytest.approx(max(small["log10_p_adjusted"], large["log10_p"]))


def test_the_dose_is_the_marked_tokens_once_and_all_tokens_in_every_epoch(bench: Bench) -> None:
    corpus = [marked_by(KEY, row(0, "nobody", 7)), marked_by(OTHER, row(1, "nobody", 9)), row(2, "nobody", 20)]
    rows = judge(bench, corpus, {"account": KEY, "licensed": OTHER}, epochs=3)
    assert {(one["looked_for"], one["key_id"], one["marked_tokens"]) for one in rows} == {
        ("account", KEY.key_id, 7), ("licensed", OTHER.key_id, 9),
    }  # fmt: skip
    assert {one["trained_tokens"] for one in rows} == {3 * 36}
    assert len(rows) == 2 * len(TESTS)


def test_a_key_file_that_was_exchanged(bench: Bench) -> None:
    bench.corpus("corpus", learnt())
    KEY.save(bench.root / "some.key")
    settings = {
        "keys": {"account": OTHER.key_id}, "corpus": "corpus", "epochs": 1, "reading": "reading", "excess": "excess",
    }  # fmt: skip
    with pytest.raises(KeyFileError, match="is not the key this study began with; restore it"):
        bench.run("judged", judging.judged, settings, account=bench.root / "some.key")


# --- controls under fresh keys ---


def fresh_green(number: int) -> GreenList:
    """Key number `number` of everybody, by RFC 5869's own lines."""
    return GreenList.from_chacha_key(hkdf(FRESH_SEED, "decoy", str(number)), 16384, 1)


def colours(green: GreenList, pairs: Pairs) -> np.ndarray:
    """From whole rows of the mask, which `is_green` and `colour` do not use."""
    contexts, row_of = np.unique(pairs.contexts, axis=0, return_inverse=True)
    mask = green.mask(contexts, 384)
    return np.array([mask[i, token] for i, token in zip(row_of.ravel().tolist(), pairs.tokens.tolist(), strict=True)])


def bound(weights: np.ndarray, found: np.ndarray) -> float:
    """log10 of min over θ of E exp(θ(T − t)), T = Σ a·colour, by scipy's minimiser."""
    total = float(weights @ found)
    if total <= GAMMA * weights.sum():
        return 0.0

    def exponent(theta: float) -> float:
        return float(np.log1p(GAMMA * np.expm1(theta * weights)).sum() - theta * total)

    top = 40 / float(np.abs(weights).max())
    best = minimize_scalar(exponent, bounds=(0, top), method="bounded", options={"xatol": 1e-10 * top})
    return min(0.0, float(best.fun)) / math.log(10)


def test_fresh_keys_give_what_each_alone_would(bench: Bench) -> None:
    settings = {"keys": FRESH, "gamma": GAMMA, "context_width": 1, "reading": "reading", "excess": "excess"}
    rows = rows_of(bench.run("fresh", judging.fresh, settings))
    found = {(one["test"], one["number"]): one["log10_p"] for one in rows}
    assert len(found) == len(rows) == 4 * FRESH
    reading = Reading.load(bench.inputs["reading"] / READING)
    excess = Excess.load(bench.inputs["excess"] / EXCESS)
    for number in range(FRESH):
        green = fresh_green(number)
        for test, of in (("reading", reading), ("sampled", excess)):
            coloured = colours(green, of.pairs)
            statistic = float(of.weights @ (coloured - GAMMA))
            direct = chernoff(CumulantFunction(of.weights, GAMMA), statistic).log10_p
            assert found[test, number] == pytest.approx(bound(of.weights, coloured), abs=2e-5)
            assert found[test, number] == pytest.approx(direct, abs=2e-5)
        for test, pairs in (("argmax", reading.argmax), ("distinct_pairs", excess.distinct)):
            count = int(colours(green, pairs).sum())
            expected = math.log10(binom.sf(count - 1, len(pairs), GAMMA))
            assert found[test, number] == pytest.approx(expected, rel=1e-9)


def test_the_fresh_keys_are_always_the_same_and_more_of_them_begin_with_the_fewer(bench: Bench) -> None:
    settings = {"keys": 3, "gamma": GAMMA, "context_width": 1, "reading": "reading", "excess": "excess"}
    few = rows_of(bench.run("few", judging.fresh, settings))
    more = rows_of(bench.run("more", judging.fresh, {**settings, "keys": 5}))
    assert [one for one in more if one["number"] < 3] == few
    assert len({one["log10_p"] for one in more if one["test"] == "sampled"}) > 2


@pytest.fixture(scope="module")
def thousand(observed: Path) -> dict[str, np.ndarray]:
    """log10 p of every test of the control under 1,000 fresh keys."""
    bench = Bench(observed / "thousand")
    bench.root.mkdir()
    bench.inputs |= {"reading": observed / "reading", "excess": observed / "excess"}
    settings = {"keys": 1000, "gamma": GAMMA, "context_width": 1, "reading": "reading", "excess": "excess"}
    rows = rows_of(bench.run("fresh", judging.fresh, settings))
    return {test: np.array([one["log10_p"] for one in rows if one["test"] == test]) for test in TESTS}


@pytest.mark.parametrize("test", ["reading", "sampled", "argmax", "distinct_pairs"])
def test_a_control_is_quiet_under_a_thousand_keys(test: str, thousand: dict[str, np.ndarray], observed: Path) -> None:
    """At most so many p at or below each level, a limit with chance below 1e-4; counts are not too large either."""
    found = thousand[test]
    assert found.shape == (1000,)
    limits = {alpha: int(binom.isf(1e-4, 1000, alpha)) for alpha in (0.1, 0.01, 1e-3)}
    for alpha, limit in limits.items():
        assert int((found <= math.log10(alpha)).sum()) <= limit
    if test in ("argmax", "distinct_pairs"):
        reading, excess = Reading.load(observed / "reading" / READING), Excess.load(observed / "excess" / EXCESS)
        n = len(reading.argmax if test == "argmax" else excess.distinct)
        for alpha, limit in limits.items():
            attainable = max((p for p in binom.sf(np.arange(n + 1) - 1, n, GAMMA) if p <= alpha), default=0.0)
            least = 1000 * attainable - (limit - 1000 * alpha)
            assert int((found <= math.log10(alpha)).sum()) >= least
    else:
        assert np.unique(found).size > 300  # a bound, one for every S above zero
        assert 0.3 < float((found == 0).mean()) < 0.7  # p is 1 where S is not above zero


def test_a_mark_among_the_fresh_keys_would_be_seen(observed: Path) -> None:
    """The positive control: weights that follow one fresh key's colours."""
    excess = Excess.load(observed / "excess" / EXCESS)
    greens = [fresh_green(number) for number in range(6)]
    weights = np.where(colours(greens[4], excess.pairs), 1.0, -0.2) * np.abs(excess.weights)
    found = weighted_log10_p(excess.pairs, weights, greens)
    assert int(found.argmin()) == 4
    assert found[4] < -10
    assert np.delete(found, 4).min() > -4
    green = excess.distinct.tokens[colours(greens[2], excess.distinct)]
    keep = np.isin(np.arange(len(excess.distinct)), np.flatnonzero(colours(greens[2], excess.distinct)))
    pairs = Pairs(excess.distinct.contexts[keep], green, excess.distinct.n_contexts)
    counts = counted_log10_p(pairs, greens)
    assert counts[2] == pytest.approx(len(pairs) * math.log10(GAMMA), rel=1e-9)
    assert int(counts.argmin()) == 2


def test_pairs_are_coloured_as_one_at_a_time(observed: Path) -> None:
    """The colours of this module's other tests, once more from OpenSSL's keystream."""
    excess = Excess.load(observed / "excess" / EXCESS)
    some = slice(0, 40)
    pairs = list(zip(excess.pairs.contexts[some].tolist(), excess.pairs.tokens[some].tolist(), strict=True))
    slow = [is_green(KEY, (tuple(context), token)) for context, token in pairs]
    few = Pairs(excess.pairs.contexts[some], excess.pairs.tokens[some], 1)
    assert colours(GreenList(KEY), few).tolist() == slow
    count = sum(slow)
    assert counted_log10_p(few, [GreenList(KEY)])[0] == pytest.approx(log10_sf(count, 40, GAMMA))


# --- what the mark cost ---


def drawn(count: int, length: int, first: int) -> list[CorpusRow]:
    """Answers of tokens from `first` on, ten different ones."""
    rng = np.random.default_rng(first)
    return [
        replace(row(i, "nobody"), token_ids=tuple(rng.integers(first, first + 10, length).tolist()))
        for i in range(count)
    ]


def cost(bench: Bench, marked: Sequence[CorpusRow], **changes: Any) -> dict[str, dict[str, Any]]:
    for name, rows in (
        ("corpus", marked),
        ("plain", [row(i, "nobody", 9) for i in range(4)]),
        ("human", drawn(8, 40, 50)),
    ):
        bench.corpus(name, rows)
    settings = {
        "corpus": "corpus", "unmarked": "plain", "unmarked_again": None, "model": "digest", "questioned": "digest",
        "started": "started", "human": "human", "wrote": "wrote", "reference_wrote": "reference wrote", **changes,
    }  # fmt: skip
    for name, length in (("wrote", 7), ("reference wrote", 5)):
        bench.inputs[name] = bench.root / name
        bench.inputs[name].mkdir()
        write_json(bench.inputs[name] / ANSWERS, {"prompts": [[5, 6]], "asked": [0] * 3, "answers": [[8] * length] * 3})
    beginning = {"model": "digest", "human": "human"}
    bench.run("started", judging.started, beginning, model=tiny.build(bench.root / "start", seed=7))
    files = {"model": tiny.shared(), "questioned": tiny.shared()}
    return {one["measure"]: one for one in rows_of(bench.run("quality", judging.quality, settings, **files))}


def test_what_the_mark_cost_stands_beside_the_unmarked_counterpart(bench: Bench) -> None:
    from distill_sim.fluency import fluency

    marked = [marked_by(KEY, row(i, "nobody", 6 + i)) for i in range(4)]
    found = cost(bench, marked)
    assert found["tokens_per_answer"]["value"] == 7.5
    assert found["tokens_per_answer"]["unmarked"] == 9.0
    expected = fluency(model(), marked, max_tokens=10_000).perplexity
    assert found["perplexity"]["value"] == pytest.approx(expected)
    assert found["perplexity"]["unmarked"] != found["perplexity"]["value"]
    assert "auc" not in found


def test_what_a_student_can_do_stands_beside_the_model_it_started_from(bench: Bench) -> None:
    from distill_sim.quality import held_out_loss

    found = cost(bench, [marked_by(KEY, row(i, "nobody", 6 + i)) for i in range(4)])["held_out_nats"]
    start = load_model(tiny.build(bench.root / "start", seed=7))
    for value, of in ((found["value"], load_model(tiny.shared())), (found["unmarked"], start)):
        assert value == pytest.approx(held_out_loss(of, drawn(8, 40, 50)[: costs.HUMAN_TEXTS]).nats_per_token)
    assert found["unmarked"] != found["value"]


def test_what_a_student_writes_stands_beside_what_the_model_it_started_from_writes(bench: Bench) -> None:
    from distill_sim.fluency import fluency

    found = cost(bench, [marked_by(KEY, row(i, "nobody", 6 + i)) for i in range(4)])
    for of, length in (("value", 7), ("unmarked", 5)):
        answer = replace(row(0, "nobody"), prompt_ids=(5, 6), token_ids=(8,) * length)
        assert found["written_tokens_per_answer"][of] == length
        assert found["written_perplexity"][of] == pytest.approx(fluency(model(), [answer]).perplexity)
        assert found["written_repetition"][of] == pytest.approx(1 - 1 / (length - 3))


def test_a_student_that_writes_next_to_nothing_has_no_repetition(bench: Bench) -> None:
    short = [replace(row(0, "nobody"), token_ids=(8, 9)), replace(row(1, "nobody"), token_ids=())]
    assert {one["measure"] for one in costs.style(model(), short)} == {"tokens_per_answer", "perplexity"}
    assert {one["measure"] for one in costs.style(model(), short[1:])} == {"tokens_per_answer"}


def test_shares_have_an_interval(bench: Bench) -> None:
    found = cost(bench, [marked_by(KEY, row(i, "nobody", 6 + i)) for i in range(4)])
    one = found["cloze_accuracy"]
    assert one["low"] <= one["value"] <= one["high"]
    assert one["low"] < one["high"]
    assert found["held_out_nats"]["low"] is None


def test_the_counterpart_itself_has_none(bench: Bench) -> None:
    found = cost(bench, [row(i, "nobody", 9) for i in range(4)], corpus="plain")
    assert all(found[name]["unmarked"] is None for name in ("perplexity", "repetition", "distinct_2"))


def test_a_classifier_without_the_key_is_asked_where_there_are_answers_enough(bench: Bench) -> None:
    pytest.importorskip("sklearn")
    marked = [marked_by(KEY, one) for one in drawn(24, 12, 200)]
    bench.corpus("as many", drawn(24, 12, 100))
    bench.corpus("again", [replace(one, token_ids=one.token_ids[::-1]) for one in drawn(24, 12, 100)])
    found = cost(bench, marked, unmarked="as many", unmarked_again="again")
    assert 0.2 < found["auc"]["unmarked"] < 0.8  # words of one distribution
    assert found["auc"]["value"] > 0.9  # other words altogether
