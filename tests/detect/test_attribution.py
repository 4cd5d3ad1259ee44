"""Attribution against plain loops and the tests of single keys; what is withdrawn; error rates, sources or not."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from benchmarks.attribution import (
    EQUAL,
    LEVELS,
    UNEQUAL,
    VOCABULARY,
    documents_of,
    limit,
    owner_key,
    repetition,
    simulate,
    write,
)
from detect.accounts.family import DEFAULT_JUDGEMENT, Family
from detect.accounts.scores import Scores, score
from detect.attribution import (
    CAUTIONS,
    Attribution,
    Candidate,
    Group,
    Judgement,
    Observation,
    attribute,
    derived_candidates,
)
from detect.counting import tally, weigh
from detect.evidence import EXPLORATORY_NOTE, assess
from detect.exact.binomial import log10_sf_table
from detect.exact.power import pairs_needed
from detect.fed import Probe, ProbePairs
from detect.observation import ContextMass, Excess, Expectation, Reading
from tests.detect.exact.oracles import mp_log10_upper
from tests.detect.material import distinct_pairs, docstrings, is_green, make_key, no_probes, secret
from watermark.errors import InputError
from watermark.greenlist import GreenList
from watermark.keys import Key
from watermark.windows import Pairs, WindowRule

FIELDS = [
    *("schema", "test", "weighted", "n_accounts", "n_keys", "n_tokens", "n_scored", "alpha", "finding", "attributed"),
    *("n_inconclusive", "n_withdrawn", "runner_up_gap", "accounts", "groups", "status", "notes"),
]
KEY_FIELDS = [
    *("account", "epoch", "key_id", "gamma", "n_scored", "n_green", "green_fraction", "statistic", "z_score"),
    *("log10_p", "log10_p_adjusted", "theta", "finding"),
]
LIMITS_10K = {0.1: 1_113, 0.01: 139, 1e-3: 24, 1e-4: 6}  # design.md


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled kernel also for few pairs: thousands of keys are scored here."""
    monkeypatch.setattr("watermark.chacha.NUMBA_FROM", 1)


def candidates(count: int, start: int = 0, **parameters: Any) -> list[Candidate]:
    return [Candidate(f"acct-{i}", None, make_key(i, **parameters)) for i in range(start, start + count)]


def words(seed: int, length: int = 300, vocabulary: int = 60) -> list[int]:
    return np.random.default_rng(seed).integers(0, vocabulary, length).tolist()


def marked(key: Key, length: int, *, wanted: bool = True, seed: int = 0) -> list[int]:
    """Ids whose every token is green (or red) for the key, context width 1."""
    random, stream, mark = np.random.default_rng(seed), [1], GreenList(key)
    while len(stream) < length:
        row = mark.mask(np.array([[stream[-1]]]), 3000)[0]
        stream.append(int(random.choice(np.flatnonzero(row == wanted))))
    return stream


def seen_by(key: Key, documents: Sequence[Sequence[int]], *, prompts: Any = (), test: Any = "text") -> Observation:
    return Observation.of_documents(key, documents, prompts, test=test)


def of_text(
    members: list[Candidate], *documents: list[int], how: Judgement = DEFAULT_JUDGEMENT, **more: Any
) -> Attribution:
    return attribute([Group(members, seen_by(members[0].key, documents, **more))], how)


def a_reading(weights: Any = None, *, probes: ProbePairs | None = None, h: int = 1, seed: int = 5) -> Reading:
    rng = np.random.default_rng(seed)
    values = rng.standard_t(3, 400) if weights is None else np.asarray(weights, dtype=np.float64)
    contexts = np.arange(1000, 1000 + values.size * h, dtype=np.uint32).reshape(values.size, h)
    tokens = rng.integers(0, 900, values.size).astype(np.uint32)
    return Reading(
        pairs=Pairs(contexts, tokens, values.size),
        weights=values,
        n_positions=77,
        with_reference=True,
        argmax=Pairs(contexts[:4], tokens[:4], min(4, values.size)),
        mass=ContextMass(np.full((1, h), 5, np.uint32), np.ones((1, 1), np.uint32), np.ones((1, 1), np.float32)),
        probes=no_probes(h) if probes is None else probes,
    )


def an_excess(key: Key | None = None, *, fed: Sequence[Sequence[int]] = (), size: int = 400) -> Excess:
    """Weights of answers; they favour what is green for `key`."""
    plain = read_from(key, size) if key is not None else a_reading(np.random.default_rng(9).standard_normal(size))
    return Excess(
        pairs=plain.pairs,
        weights=plain.weights,
        n_positions=77,
        with_reference=True,
        probes=ProbePairs.of_prompts(WindowRule(1), fed),
        n_tokens=90,
        n_listed=0,
        distinct=plain.argmax,
    )


def read_from(key: Key, size: int = 400) -> Reading:
    """A reading that favours what is green for `key`."""
    plain = a_reading(np.ones(size))
    green = GreenList(key).is_green(plain.pairs.contexts, plain.pairs.tokens)
    rng = np.random.default_rng(8)
    return a_reading(rng.standard_normal(size) + 1.0 * green)


def plain_holm(log10_p: Sequence[float]) -> list[float]:
    """Holm's procedure as it is told: p times the number of hypotheses left, never below an earlier one, at most 1."""
    order = sorted(range(len(log10_p)), key=lambda i: log10_p[i])
    adjusted, largest = [0.0] * len(log10_p), -math.inf
    for rank, i in enumerate(order):
        largest = max(largest, min(0.0, log10_p[i] + math.log10(len(log10_p) - rank)))
        adjusted[i] = largest
    return adjusted


# --- one key at a time, the slow way ---


@pytest.mark.parametrize(("h", "special", "gamma_65536"), [(0, (), 16384), (1, (3, 7), 16384), (2, (), 40000)])
def test_counts_and_p_are_those_of_a_plain_loop(h: int, special: tuple[int, ...], gamma_65536: int) -> None:
    members = candidates(6, h=h, special=special, gamma_65536=gamma_65536)
    documents, prompts = [words(1), words(2, 90), [5]], [words(3, 40), words(1, 30)]
    found = of_text(members, *documents, prompts=prompts)
    pairs = distinct_pairs(documents, prompts, h, special)
    gamma, n = gamma_65536 / 65536, len(pairs)
    counts = [sum(is_green(member.key, pair) for pair in pairs) for member in members]
    p = [binom.logsf(k - 1, n, gamma) / math.log(10) for k in counts]
    assert len(set(counts)) > 2
    assert [one.account for one in found.accounts] == [members[i].account for i in np.argsort(p, kind="stable")]
    by_account = dict(
        zip([member.account for member in members], zip(counts, p, plain_holm(p), strict=True), strict=True)
    )
    for one in found.accounts:
        k, alone, adjusted = by_account[one.account]
        assert (one.n_green, one.n_scored, one.gamma, one.green_fraction) == (k, n, gamma, k / n)
        assert one.log10_p == pytest.approx(alone, rel=1e-9)
        assert one.log10_p_adjusted == pytest.approx(adjusted, rel=1e-9, abs=1e-12)
        assert one.z_score == pytest.approx((k - n * gamma) / math.sqrt(n * gamma * (1 - gamma)))
        assert one.statistic is one.theta is None
    assert (found.n_keys, found.n_accounts, found.n_tokens, found.n_scored) == (6, 6, 391, n)


def test_every_p_is_that_of_the_text_test() -> None:
    members = candidates(20)
    documents = [words(10, 500), words(11)]
    found = of_text(members, *documents, how=Judgement(top=20))
    by_id = {member.key.key_id: member.key for member in members}
    for one in found.accounts:
        evidence = assess(tally(by_id[one.key_id], documents))
        assert (one.log10_p, one.n_green, one.z_score) == (evidence.log10_p, evidence.n_green, evidence.z_score)
    assert len(found.accounts) == 20


def test_every_bound_of_a_reading_is_that_of_the_reading_test() -> None:
    members = [*candidates(12), *candidates(4, 50, gamma_65536=30000)]
    reading = read_from(members[3].key)
    found = attribute([Group(members, Observation.of_weighted(members[0].key, reading))], Judgement(top=16))
    by_id = {member.key.key_id: member.key for member in members}
    bounds = []
    for one in found.accounts:
        evidence = assess(weigh(by_id[one.key_id], reading))
        assert (one.log10_p, one.theta, one.z_score) == (evidence.log10_p, evidence.theta, evidence.z_score)
        assert one.statistic == weigh(by_id[one.key_id], reading).statistic
        assert one.n_green is one.green_fraction is None
        assert one.log10_p_adjusted is not None
        bounds.append(one.log10_p)
    for one, holm in zip(found.accounts, plain_holm(bounds), strict=True):
        assert one.log10_p_adjusted == pytest.approx(holm, rel=2e-5, abs=2e-5)  # from the curve of bounds
        assert one.log10_p_adjusted >= holm - 1e-12  # and never below
    assert found.attributed == ("acct-3",)
    assert (found.test, found.n_tokens, found.n_scored) == ("reading", 77, 400)
    assert found.accounts[0].log10_p < -10
    assert {one.finding for one in found.accounts[1:]} == {"inconclusive"}
    assert any("positive control" in note for note in found.notes)


def test_every_bound_of_an_excess_is_that_of_the_sampled_test_against_a_reference() -> None:
    members = candidates(12)
    observed = an_excess(members[3].key, fed=[words(40, 30)])
    found = attribute([Group(members, Observation.of_weighted(members[0].key, observed))], Judgement(top=12))
    by_id = {member.key.key_id: member.key for member in members}
    for one in found.accounts:
        alone = weigh(by_id[one.key_id], observed)
        evidence = assess(alone)
        assert (one.log10_p, one.theta, one.z_score) == (evidence.log10_p, evidence.theta, evidence.z_score)
        assert (one.statistic, one.n_green) == (alone.statistic, None)
    assert (found.test, found.weighted, found.attributed) == ("sampled", True, ("acct-3",))
    assert (found.n_tokens, found.n_scored) == (90, 400)
    assert {one.finding for one in found.accounts[1:]} == {"inconclusive"}
    assert "without a positive control weights cannot say that a mark is absent" in found.notes
    assert not any("green fraction" in note for note in found.notes)


def test_a_key_that_marked_the_prompts_of_weighed_answers_claims_nothing() -> None:
    members = candidates(6)
    seen = [an_excess(members[1].key, fed=fed) for fed in ([], [marked(members[1].key, 40, seed=6)])]
    kept, withdrawn = (attribute([Group(members, Observation.of_weighted(members[0].key, one))]) for one in seen)
    assert (kept.attributed, kept.n_withdrawn) == (("acct-1",), 0)
    assert (withdrawn.attributed, withdrawn.n_withdrawn) == ((), 1)


def test_the_far_tail_is_exact() -> None:
    members = candidates(40)
    found = of_text(members, marked(members[7].key, 4001), how=Judgement(top=3))
    first = found.accounts[0]
    assert found.attributed == ("acct-7",)
    assert first.n_green == first.n_scored == found.n_scored
    assert first.log10_p == pytest.approx(first.n_scored * math.log10(0.25), rel=1e-12)
    assert first.log10_p < -2000
    assert first.log10_p_adjusted == pytest.approx(first.log10_p + math.log10(40), rel=1e-12)
    second = found.accounts[1]
    assert second.log10_p == pytest.approx(mp_log10_upper(second.n_green, second.n_scored, 0.25), rel=1e-9)
    assert any("errors of procedure" in note for note in found.notes)


# --- what comes out ---


def test_fields_and_json() -> None:
    found = of_text(candidates(5), words(20), how=Judgement(alpha=0.01, top=2))
    values = json.loads(found.to_json())
    assert list(values) == FIELDS
    assert [list(one) for one in values["accounts"]] == [KEY_FIELDS] * 2
    assert values["schema"] == "taggant-attribution/1"
    assert (values["status"], values["alpha"], values["test"]) == ("exploratory", 0.01, "text")
    assert values == json.loads(json.dumps(found.to_dict()))
    (group,) = values["groups"]
    assert group["n_keys"] == 5
    assert (group["context_width"], group["scheme"], group["tokenizer_sha256"]) == (1, "greenlist/1", None)
    assert (group["n_tokens"], group["n_scored"]) == (300, values["n_scored"])
    assert set(CAUTIONS) < set(found.notes)
    assert found.notes[-1] == EXPLORATORY_NOTE
    assert "log10_p_adjusted: Holm over 5 keys" in found.notes
    for member in candidates(5):
        assert member.key.chacha_key.hex() not in found.to_json() + repr(found)
    assert secret(0).hex() not in found.to_json() + repr(found)


def test_several_sources_and_the_gap_to_the_next() -> None:
    members = candidates(50)
    sources = (4, 30, 17)
    documents = [marked(members[i].key, 400 - 60 * rank, seed=i) for rank, i in enumerate(sources)]
    found = of_text(members, *documents, how=Judgement(top=1))
    assert found.finding == "attributed"
    assert found.attributed == ("acct-4", "acct-30", "acct-17")  # best first
    assert [one.account for one in found.accounts] == list(found.attributed)  # all of them, whatever --top says
    assert {one.finding for one in found.accounts} == {"attributed"}
    every = of_text(members, *documents, how=Judgement(top=50))
    assert found.runner_up_gap == every.accounts[3].log10_p - every.accounts[2].log10_p > 10
    assert every.accounts[3].finding == "not attributed"


def test_the_gap_needs_both_sides() -> None:
    members = candidates(3)
    assert of_text(members, words(21)).runner_up_gap is None
    alone = of_text(members[:1], marked(members[0].key, 200))
    assert (alone.finding, alone.runner_up_gap) == ("attributed", None)
    none = of_text(members, words(21))
    assert (none.finding, none.attributed) == ("none attributed", ())


def test_a_tie_is_attributed_whole_or_not_at_all() -> None:
    """Two keys with one p: a gap of 0 would tell them apart where nothing does."""
    members = candidates(3)
    seen = seen_by(members[0].key, [words(1)])
    p = np.array([-6.0 - math.log10(2.5), -6.0 - math.log10(2.5), 0.0])
    family = Family([Group(members, seen)], [Scores(np.zeros(3), p, np.zeros(3, bool))], Judgement(1e-6))
    assert family.attributed.tolist() == [False, False, False]
    family = Family([Group(members, seen)], [Scores(np.zeros(3), p - 0.1, np.zeros(3, bool))], Judgement(1e-6))
    assert family.attributed.tolist() == [True, True, False]


def test_months_of_one_account_are_keys_of_their_own() -> None:
    owner = make_key(700)
    members = list(derived_candidates(owner, ["a", "b"], ["2026-10", "2026-11"]))
    found = of_text(members, marked(members[1].key, 300), marked(members[0].key, 300, seed=2))
    assert found.attributed == ("a",)
    assert {(one.account, one.epoch) for one in found.accounts[:2]} == {("a", "2026-10"), ("a", "2026-11")}
    assert (found.n_accounts, found.n_keys) == (2, 4)


def notes_on(members: Sequence[Candidate], which: str, **how: Any) -> list[str]:
    return [note for note in of_text(list(members), words(1), **how).notes if which in note]


def test_months_that_are_not_among_the_keys_are_told() -> None:
    owner = make_key(700)
    (none,) = notes_on(list(derived_candidates(owner, ["a", "b"])), "month")
    assert "no key is a month's" in none
    assert "--epoch" in none
    (one,) = notes_on(list(derived_candidates(owner, ["a", "b"], ["2026-11"])), "month")
    assert one == "months of the keys: 2026-11; what another month's key marked is not found under these"
    three = list(derived_candidates(owner, ["a"], ["2026-11", "2026-09", "2026-10"]))
    (several,) = notes_on([*three, *derived_candidates(owner, ["b"])], "month")
    assert several.startswith("months of the keys: 2026-09 to 2026-11, 3 months, and 1 key of no month; ")


def test_an_owners_key_among_the_accounts_is_told() -> None:
    owner = make_key(700)
    accounts = list(derived_candidates(owner, ["a", "b"]))
    assert notes_on(accounts, "derived from no other") == []
    assert notes_on(candidates(3), "derived from no other") == []  # nobody's keys were derived: nothing to tell apart
    for derived in (accounts, list(derived_candidates(owner, ["a"], ["2026-11"]))):
        (note,) = notes_on([Candidate("owner", None, owner), *derived], "derived from no other")
        assert note.startswith("1 key (first: owner) was derived from no other, unlike the rest")


def test_a_text_is_told_to_be_counted_whole_and_answers_are_not() -> None:
    (note,) = notes_on(candidates(2), "windowed scan")
    assert "detect --scan" in note
    assert notes_on(candidates(2), "windowed scan", test="sampled") == []
    seen = Observation.of_weighted(make_key(0), a_reading())
    assert not any("windowed scan" in note for note in attribute([Group(candidates(2), seen)]).notes)


def test_one_is_singular() -> None:
    found = of_text(candidates(1), [5, 6])
    assert any(note.startswith("2 tokens in 1 document, 1 counted") for note in found.notes)
    assert "log10_p_adjusted: Holm over 1 key" in found.notes


def test_too_few_pairs_are_inconclusive() -> None:
    members = candidates(30)
    needed = pairs_needed(0.5, 0.25, alpha=1e-6 / 30)
    few, enough = of_text(members, list(range(needed))), of_text(members, list(range(needed + 1)))
    assert (few.n_scored, enough.n_scored) == (needed - 1, needed)
    assert {one.finding for one in few.accounts} == {"inconclusive"}
    assert {one.finding for one in enough.accounts} == {"not attributed"}
    assert (few.n_inconclusive, enough.n_inconclusive) == (30, 0)
    assert any(f"from {needed:,} pairs" in note for note in few.notes)
    at_gamma = of_text(members, words(1), how=Judgement(effect=0.25))
    assert at_gamma.n_inconclusive == 30
    assert any("cannot be told from gamma 0.25" in note for note in at_gamma.notes)
    sampled = of_text(members, list(range(2000)), test="sampled")
    assert sampled.n_inconclusive == 30
    assert any(note.startswith("a green fraction of 0.28") for note in sampled.notes)


@given(st.permutations(range(8)))
def test_the_order_of_the_keys_does_not_matter(order: list[int]) -> None:
    members = candidates(8)
    seen = seen_by(members[0].key, [words(5, 80)])
    found = attribute([Group([members[i] for i in order], seen)])
    assert sorted(found.accounts, key=repr) == sorted(attribute([Group(members, seen)]).accounts, key=repr)


def test_progress_counts_every_key() -> None:
    members, steps = candidates(9), list[int]()
    attribute([Group(members, seen_by(members[0].key, [words(1)]))], on_key=steps.append)
    assert sum(steps) == 9


def test_notes_of_the_observation_are_shown() -> None:
    members = candidates(1)
    group = Group(members, Observation.of_documents(members[0].key, [words(1)], notes=["of the reader"]))
    assert "of the reader" in attribute([group]).notes


def test_what_is_refused() -> None:
    members = candidates(2)
    seen = seen_by(members[0].key, [words(1)])
    with pytest.raises(InputError, match="no accounts"):
        attribute([])
    with pytest.raises(InputError, match="twice"):
        attribute([Group([*members, members[0]], seen)])
    with pytest.raises(InputError, match="twice"):
        attribute([Group(members, seen), Group(members[:1], seen)])
    for alpha in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="alpha"):
            Judgement(alpha)


def test_nothing_to_count_attributes_nothing() -> None:
    found = of_text(candidates(3), [9])
    assert found.n_scored == 0
    assert found.finding == "none attributed"
    assert {(one.log10_p, one.z_score, one.green_fraction) for one in found.accounts} == {(0.0, None, None)}
    empty = attribute([Group(candidates(3), Observation.of_weighted(make_key(0), a_reading([])))])
    assert {(one.log10_p, one.z_score, one.statistic) for one in empty.accounts} == {(0.0, None, 0.0)}


# --- several groups ---


def test_keys_of_several_rules_are_one_family() -> None:
    documents = [words(30, 400), words(31, 200)]
    families = [candidates(4), candidates(5, 10, h=2), candidates(3, 20, special=(0, 1, 2, 3, 4)), candidates(4, 30)]
    families[3] = [Candidate(one.account, None, make_key(i, gamma_65536=30000)) for i, one in enumerate(families[3])]
    groups = [Group(members, seen_by(members[0].key, documents)) for members in families[:3]]
    groups[0] = Group([*families[0], *families[3]], groups[0].observation)  # gamma does not decide which pairs count
    found = attribute(groups, Judgement(top=99))
    everybody = [member for members in families for member in members]
    alone = {one.key.key_id: assess(tally(one.key, documents)) for one in everybody}
    assert len(found.accounts) == found.n_keys == 16
    p = [alone[one.key_id].log10_p for one in found.accounts]
    assert [one.log10_p for one in found.accounts] == p == sorted(p)
    assert [one.log10_p_adjusted for one in found.accounts] == pytest.approx(plain_holm(p))
    assert [one.n_scored for one in found.accounts] == [alone[one.key_id].n_scored for one in found.accounts]
    assert {one.gamma for one in found.accounts} == {0.25, 30000 / 65536}
    assert found.n_scored is None
    assert found.n_tokens == 600
    assert [group["n_keys"] for group in found.groups] == [8, 5, 3]
    assert [group["context_width"] for group in found.groups] == [1, 2, 1]


# --- claims that are not made ---


def checked(members: list[Candidate], **checks: bool) -> list[Candidate]:
    return [Candidate(one.account, one.epoch, one.key, checks.get(one.account.replace("-", "_"))) for one in members]


def test_key_checks_cost_what_they_cost_and_a_refused_key_claims_nothing() -> None:
    plain = candidates(4)
    documents = [marked(plain[1].key, 120), marked(plain[2].key, 160, seed=1)]
    members = checked(plain, acct_0=True, acct_1=True, acct_2=False)
    seen = seen_by(plain[0].key, documents)
    before = {one.account: one for one in attribute([Group(plain, seen)]).accounts}
    found = attribute([Group(members, seen)])
    after = {one.account: one for one in found.accounts}
    assert set(attribute([Group(plain, seen)]).attributed) == {"acct-1", "acct-2"}
    assert found.attributed == ("acct-1",)
    claimed = [before[f"acct-{i}"].log10_p - (math.log10(0.99) if i in (0, 1) else 0) for i in range(4)]
    claimed[2] = 0.0  # stays in the family, as p = 1
    for i, adjusted in enumerate(plain_holm([min(0.0, p) for p in claimed])):
        one = after[f"acct-{i}"]
        assert one.log10_p == before[f"acct-{i}"].log10_p
        assert one.log10_p_adjusted == (None if i == 2 else pytest.approx(adjusted))
    assert after["acct-2"].finding == "inconclusive"
    assert found.n_withdrawn == 1
    gap = min(claimed[0], claimed[3]) - claimed[1]
    assert found.runner_up_gap == pytest.approx(gap)
    assert any(note.startswith("1 key (acct-2): refused by") for note in found.notes)
    assert any(note.startswith("2 keys (first: acct-0): passed") for note in found.notes)


def test_a_key_that_marked_the_prompts_of_a_questioned_model_claims_nothing() -> None:
    members = candidates(6)
    prompts = [marked(members[2].key, 60, seed=3)]
    answers = [marked(members[2].key, 300, seed=4), marked(members[5].key, 300, seed=5)]
    text = of_text(members, *answers, prompts=prompts)
    assert set(text.attributed) == {"acct-2", "acct-5"}  # of a text, prompts only exclude their pairs
    found = of_text(members, *answers, prompts=prompts, test="sampled")
    assert found.attributed == ("acct-5",)
    by_account = {one.account: one for one in found.accounts}
    silent = by_account["acct-2"]
    assert silent.log10_p is silent.log10_p_adjusted is silent.z_score is None
    assert silent.finding == "inconclusive"
    assert silent.n_green is not None
    assert found.n_withdrawn == 1
    assert any(
        note.startswith("1 key (acct-2): what the model was fed, or the reference, carries the mark")
        for note in found.notes
    )
    # The others' adjustment is as if that key had p = 1: six hypotheses, not five
    assert by_account["acct-5"].log10_p_adjusted == pytest.approx(by_account["acct-5"].log10_p + math.log10(6))


def test_prompts_that_avoid_a_mark_withdraw_its_claim_too() -> None:
    members = candidates(6)
    prompts = [marked(members[2].key, 60, wanted=False, seed=3)]
    found = of_text(members, marked(members[2].key, 300, seed=4), prompts=prompts, test="sampled")
    assert (found.attributed, found.n_withdrawn) == ((), 1)


@pytest.mark.parametrize("where", ["prompts", "answers"])
def test_a_key_that_marked_the_probes_of_a_reading_claims_nothing(where: str) -> None:
    members = candidates(6)
    own, other = marked(members[1].key, 40, seed=6), marked(members[1].key, 1500, wanted=False, seed=7)
    probe = Probe(own, other) if where == "prompts" else Probe(other, own)
    reading = read_from(members[1].key)
    assert attribute([Group(members, Observation.of_weighted(members[0].key, reading))]).attributed == ("acct-1",)
    reading = a_reading(reading.weights, probes=ProbePairs.of(WindowRule(1), [probe]))
    found = attribute([Group(members, Observation.of_weighted(members[0].key, reading))])
    assert (found.attributed, found.n_withdrawn) == ((), 1)
    (silent,) = [one for one in found.accounts if one.account == "acct-1"]
    assert silent.log10_p is silent.log10_p_adjusted is silent.theta is silent.z_score is None


def test_a_key_that_the_reference_follows_claims_nothing() -> None:
    members = candidates(6)
    reading = read_from(members[1].key)
    assert attribute([Group(members, Observation.of_weighted(members[0].key, reading))]).attributed == ("acct-1",)
    reading = replace(reading, expectation=Expectation(reading.pairs, -reading.weights, reading.n_positions))
    found = attribute([Group(members, Observation.of_weighted(members[0].key, reading))])
    assert (found.attributed, found.n_withdrawn) == ((), 1)
    (note,) = [note for note in found.notes if "nothing is claimed" in note]
    assert note.startswith("1 key (acct-1): what the model was fed, or the reference, carries the mark, or avoids it")
    assert weigh(members[1].key, reading).reference_log10_p < -6 < weigh(members[2].key, reading).reference_log10_p


def test_the_audit_is_that_of_the_single_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a milder threshold, so that chance alone sets many keys on either side."""
    level = -0.2
    monkeypatch.setattr("detect.accounts.scores.SUSPECT", level)
    members = candidates(40)
    probes = ProbePairs.of(WindowRule(1), [Probe(words(40, 50), words(41, 200)), Probe(words(42, 20), words(43, 90))])
    reading = a_reading(probes=probes)
    withdrawn = score(Group(members, Observation.of_weighted(members[0].key, reading))).withdrawn
    expected = [weigh(member.key, reading).probes_log10_p for member in members]
    assert withdrawn.tolist() == [p is not None and p <= level for p in expected]
    assert 5 < withdrawn.sum() < 35
    documents, prompts = [words(44)], [words(45, 50), words(46, 30)]
    seen = seen_by(members[0].key, documents, prompts=prompts, test="sampled")
    withdrawn = score(Group(members, seen)).withdrawn
    counted = [tally(member.key, documents, prompts, test="sampled") for member in members]
    smallest = [min(one.probes_log10_p or 0.0, one.excluded_log10_p or 0.0) for one in counted]
    assert withdrawn.tolist() == [p <= level for p in smallest]
    assert 5 < withdrawn.sum() < 35


def test_a_reading_of_another_rule_is_refused() -> None:
    with pytest.raises(InputError, match=r"what was saved has context width 2, key .* 1; give keys of one width"):
        Observation.of_weighted(make_key(1), a_reading(h=2))
    reading = a_reading()
    special = int(reading.pairs.tokens[3])
    with pytest.raises(InputError, match=r"scores tokens that key .* never does"):
        Observation.of_weighted(make_key(1, special=(special,)), reading)
    with pytest.raises(InputError, match=r"scores tokens that key .* never does"):
        Observation.of_weighted(make_key(1, special=(1000,)), reading)  # as a context
    Observation.of_weighted(make_key(1, special=(999,)), reading)


# --- error rates ---


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("source", [False, True], ids=["no source", "a true source among them"])
def test_every_accounts_p_is_valid(source: bool) -> None:
    """One text, 10,000 accounts of one owner; with a source the others' p must hold as well."""
    members = list(derived_candidates(owner_key(np.random.default_rng(60)), [f"a{i}" for i in range(10_001)]))
    documents = write(members[0].key if source else None, 40, np.random.default_rng(61))
    scores = score(Group(members, seen_by(members[0].key, list(documents))))
    n = len(seen_by(members[0].key, list(documents)).pairs)
    assert (scores.log10_p[0] < -50) == source
    null = scores.log10_p[1:]
    table = log10_sf_table(n, 0.25)
    for alpha, most in LIMITS_10K.items():
        found = int((null <= math.log10(alpha)).sum())
        attainable = 10.0 ** table[table <= math.log10(alpha)][0]
        assert found <= most
        assert found >= 10_000 * attainable - (most - 10_000 * alpha)


@pytest.mark.usefixtures("compiled")
def test_every_accounts_bound_is_valid() -> None:
    owner = owner_key(np.random.default_rng(62))
    members = list(derived_candidates(owner, [f"a{i}" for i in range(10_000)]))
    p = score(Group(members, Observation.of_weighted(owner, read_from(owner, 300)))).log10_p
    for alpha, most in LIMITS_10K.items():
        assert (p <= math.log10(alpha)).sum() <= most
    assert (p <= -0.5).sum() > 300  # it is no constant


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("source", [False, True], ids=["no source", "one source"])
def test_family_wise_error(source: bool) -> None:
    """1,000 families of ten fresh keys at alpha = .05: at most the exact binomial limit, and not far below it."""
    rng, wrong, found = np.random.default_rng(63), 0, 0
    documents = list(docstring_ids())
    for _ in range(1000):
        owner = owner_key(rng)
        members = list(derived_candidates(owner, [f"a{i}" for i in range(10)]))
        text = [marked_quickly(members[0].key, rng), *documents] if source else documents
        result = of_text(members, *text, how=Judgement(0.05, top=1))
        found += "a0" in result.attributed
        wrong += bool(set(result.attributed) - {"a0"} if source else result.attributed)
    assert wrong <= limit(1000, 0.05) == int(binom.isf(1e-4, 1000, 0.05))
    assert wrong >= 15
    assert found == 1000 if source else found <= wrong


def docstring_ids() -> list[list[int]]:
    """Three texts as bytes: human, and repetitive."""
    return [list(text.encode()[:150]) for text in docstrings()[:3]]


def marked_quickly(key: Key, rng: np.random.Generator) -> list[int]:
    """80 pairs with contexts of their own, nine in ten green."""
    contexts = np.arange(1000, 1080)
    green = GreenList(key).mask(contexts.reshape(-1, 1), 40)
    pairs = [rng.choice(np.flatnonzero(row == (rng.random() < 0.9))) for row in green]
    return [int(token) for pair in zip(contexts, pairs, strict=True) for token in pair]


# --- the benchmark's simulation, small ---


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("shares", [*EQUAL, UNEQUAL])
def test_the_right_accounts_among_many(shares: tuple[float, ...]) -> None:
    result = simulate(200, shares, 12, seed=1)
    assert list(result["levels"]) == ["0.05", "1e-06"]
    for level, one in result["levels"].items():
        assert one["any_false_attribution"] <= one["false_attribution_limit"] == limit(12, float(level))
        large = [count for share, count in zip(shares, one["attributed_by_share"], strict=True) if share >= 0.2]
        assert large == [12] * sum(share >= 0.2 for share in shares)
        assert one["every_source_attributed"] == (min(one["attributed_by_share"]) if shares else None)
    assert (result["runner_up_gap_median"] is not None) == bool(shares)


@pytest.mark.usefixtures("compiled")
def test_a_source_of_a_tenth_is_missed_among_few_documents_and_found_among_many() -> None:
    few, many = (simulate(200, UNEQUAL, 6, size, seed=1)["levels"]["1e-06"] for size in (48, 240))
    assert few["attributed_by_share"][:2] == many["attributed_by_share"][:2] == [6, 6]
    assert few["attributed_by_share"][2] < many["attributed_by_share"][2] == 6
    assert few["any_false_attribution"] == many["any_false_attribution"] == 0


def test_documents_are_shared_out_whole() -> None:
    assert [documents_of(shares, 48) for shares in ((1.0,), EQUAL[2], UNEQUAL)] == [[48], [16, 16, 16], [33, 10, 5]]
    assert documents_of(UNEQUAL, 240) == [168, 48, 24]
    group, sources = repetition(20, UNEQUAL, 48, np.random.default_rng(4))
    greens = {one.account: one.n_green for one in attribute([group], Judgement(top=20)).accounts}
    assert sources == sorted(greens, key=lambda account: -greens[account])[:3]  # in the order of their shares


def test_the_limit_is_the_exact_binomials() -> None:
    for repetitions in (12, 200, 1000):
        for alpha in LEVELS:
            most = limit(repetitions, alpha)
            assert binom.sf(most, repetitions, alpha) <= 1e-4
            assert most == 0 or binom.sf(most - 1, repetitions, alpha) > 1e-4
    assert (limit(200, 0.05), limit(200, 1e-6)) == (23, 1)


def test_the_generator_marks_and_without_a_key_does_not() -> None:
    key = make_key(80)
    for used, low, high in ((key, 0.45, 0.75), (None, 0.2, 0.3)):
        documents = write(used, 60, np.random.default_rng(81))
        assert documents.shape == (60, 60)
        assert 0 <= documents.min() <= documents.max() < VOCABULARY
        assert low < assess(tally(key, list(documents))).green_fraction < high
    assert (write(key, 5, np.random.default_rng(1)) == write(key, 5, np.random.default_rng(1))).all()


def test_a_repetition_names_its_sources() -> None:
    group, sources = repetition(30, (0.5, 0.5), 8, np.random.default_rng(2))
    assert len(group.candidates) == 30
    assert set(sources) < {member.account for member in group.candidates}
    assert len(sources) == 2
    again, _ = repetition(30, (0.5, 0.5), 8, np.random.default_rng(3))
    assert again.candidates[0].key.key_id != group.candidates[0].key.key_id


def test_it_loads_neither_torch_nor_transformers() -> None:
    code = "import sys, detect.attribution; print(sorted({'torch', 'transformers', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
