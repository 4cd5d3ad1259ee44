"""What is left out for the prompts: nobody makes a claim by choosing them under the key; honest ones cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from detect.attribution import Candidate, Group, Observation, attribute
from detect.audit import ExcludedAudit, excluded_stretches_log10_p
from detect.counting import Tally, tally, weigh
from detect.evidence import Assessment, assess
from detect.exact.weighted import CumulantFunction, chernoff, statistic
from detect.fed import Excluded, Probe
from detect.joint import Reading as Read
from detect.joint import judge_readings
from detect.observation import Reading
from detect.questioned.excess import excess_of
from detect.questioned.reading import read_model
from detect.scan import scan_documents
from detect.sequential import Sequential
from tests.detect.material import make_key, speech
from tests.detect.questioned.copier import KEY, V, chain
from tests.detect.questioned.test_expectation import Bigram, plain
from tests.detect.test_audit import LIMITS
from tests.watermark.engines.helpers import tokenizer
from watermark.greenlist import GreenList
from watermark.keys import Key
from watermark.windows import Pairs, WindowRule

RULE, GAMMA, SIZE = WindowRule(1), 0.25, 3000
GREEN = GreenList(KEY).mask(np.arange(V).reshape(-1, 1), V)


def text(seed: int, length: int, size: int = SIZE) -> list[int]:
    return np.random.default_rng(seed).integers(0, size, length).tolist()


def apart(pairs: np.ndarray, size: int) -> list[list[int]]:
    """Prompts that hold these pairs and no other."""
    return [[int(one), int(next_one)] for one, next_one in pairs if one < size]


def chosen(key: Key, document: list[int], *, size: int = SIZE, seed: int = 0) -> list[list[int]]:
    """All red pairs of a text, and a third as many green ones that are not in it: together they look like chance."""
    pairs = np.unique(np.column_stack((document[:-1], document[1:])), axis=0)
    green = GreenList(key).is_green(pairs[:, :1], pairs[:, 1])
    junk = np.random.default_rng(seed).integers(0, size, (40 * len(pairs), 2))
    junk = junk[GreenList(key).is_green(junk[:, :1], junk[:, 1])][: int((~green).sum()) // 3]
    return apart(np.concatenate((pairs[~green], junk)), size)


def sequential(key: Key, answers: list[list[int]], prompts: list[list[int]]) -> Tally:
    test = Sequential(key, prompts, 1e-6, 500)
    for number, answer in enumerate(answers):
        test.add(number, answer)
    return test.result()


def sampled(key: Key, answers: list[list[int]], prompts: list[list[int]]) -> Tally:
    return tally(key, answers, prompts, test="sampled")


COUNTED: list[Callable[..., Tally]] = [tally, sampled, sequential]


@pytest.mark.parametrize("count", COUNTED)
def test_prompts_chosen_under_the_key_claim_nothing(count: Any) -> None:
    key, document = make_key(700), text(700, 2000)
    counted = count(key, [document], chosen(key, document))
    assert counted.n_green > 0.9 * counted.n_scored > 9  # what would have been claimed
    assert counted.excluded_log10_p < (-3 if count is sequential else -100)
    found = assess(counted)
    assert (found.log10_p, found.log10_p_adjusted, found.log10_e, found.finding) == (None, None, None, "inconclusive")
    if count is not sampled:  # whose other audit notices them too: so few prompts, all of them of one pair
        (note,) = [note for note in found.notes if "no p is claimed" in note]
        audit = f"one-sided test of it under this key: log10_p {counted.excluded_log10_p:.1f}"
        assert f"is redder than chance allows ({audit})" in note


@pytest.mark.parametrize("count", COUNTED)
def test_a_marked_text_is_found_though_it_says_green_pairs_of_its_prompt_too(count: Any) -> None:
    """A two-sided audit would withdraw this claim."""
    rng, key = np.random.default_rng(701), make_key(701)
    table = GreenList(key).mask(np.arange(V).reshape(-1, 1), V)
    answers = [chain(rng, table) for _ in range(20)]
    prompts = [text(702 + number, 40, V) for number in range(20)]
    counted = count(key, answers, prompts)
    colours = GreenList(key).is_green(counted.excluded.pairs.contexts, counted.excluded.pairs.tokens)
    assert colours.all()
    assert len(colours) > (0 if count is sequential else 60)
    assert counted.excluded_log10_p == 0
    found = assess(counted)
    assert found.finding == "detected"
    assert any("what was observed but occurs in a prompt is left out" in note for note in found.notes)


def test_an_early_stop_that_hangs_on_what_was_left_out_claims_nothing() -> None:
    """A dozen green pairs end the process, before so few red ones that one audit in five passes."""
    withdrawn, passed = [], 0
    for number in range(100):
        key, document = make_key(1000 + number), text(1000 + number, 400)
        counted = sequential(key, [document], chosen(key, document))
        assert counted.stopped == "early"
        passed += counted.excluded_log10_p > -3
        withdrawn.append(assess(counted).log10_p is None)
        if counted.excluded_log10_p > -3:
            assert any("it stopped early only because pairs" in note for note in assess(counted).notes)
    assert passed > 5
    assert all(withdrawn)


def test_what_is_left_out_is_what_was_observed_and_stands_in_a_prompt() -> None:
    key = make_key(703)
    document, prompts = text(703, 400, 20), [text(704, 90, 20), text(705, 30, 25)]
    seen = set(pairwise(document))
    fed = {pair for one in prompts for pair in pairwise(one)}
    for count in COUNTED:
        pairs = count(key, [document], prompts).excluded.pairs
        assert set(zip(pairs.contexts[:, 0].tolist(), pairs.tokens.tolist(), strict=True)) == seen & fed
        assert len(pairs) == len(seen & fed)
        assert count(key, [document], []).excluded_log10_p is None


def test_the_process_looks_no_further_than_its_stop() -> None:
    key, document = make_key(706), text(706, 60)
    prompts = [document[20:40], document[50:60]]
    test = Sequential(key, prompts, 1e-6, 20)
    test.add(0, document)
    assert (test.stopped, test.n_scored) == ("maximum", 20)
    assert len(test.result().excluded.pairs) == 0
    test = Sequential(key, prompts, 1e-6, 21)
    test.add(0, document)
    assert len(test.result().excluded.pairs) == 19


@pytest.mark.parametrize("weighted", [False, True])
def test_null_keys(weighted: bool) -> None:
    """10,000 keys on what was left out."""
    rng = np.random.default_rng(707)
    pairs = Pairs(np.arange(300, dtype=np.uint32).reshape(-1, 1), np.arange(300, dtype=np.uint32), 300)
    weights = rng.standard_normal(300) * rng.exponential(size=300) if weighted else None
    audit = ExcludedAudit(Excluded(pairs, weights))
    measured = np.array([audit.measure(rng.random(300) < GAMMA, GAMMA) for _ in range(10_000)])
    found = audit.log10_p(measured, GAMMA)
    for level, most in LIMITS.items():
        assert (found <= np.log10(level)).sum() <= most
    assert (found <= -1).sum() > (100 if weighted else 700)  # it is no p = 1


def test_honest_prompts_under_a_thousand_keys() -> None:
    """The size of the audit where it matters: human text behind human prompts; limits of 1,000 as in ADR 8."""
    ids = tokenizer()(speech()[:16_000], add_special_tokens=False)["input_ids"]
    document, prompts = ids[:4000], [ids[start : start + 100] for start in range(4000, 8000, 100)]
    extraction = RULE.extract([document], prompts)
    assert len(extraction.excluded) > 100
    audit = ExcludedAudit(Excluded(extraction.excluded))
    found = np.array([audit.under(GreenList(make_key(number))) for number in range(1000)])
    assert [(found <= -level).sum() <= most for level, most in ((1, 137), (2, 24), (3, 6))] == [True] * 3
    assert (found <= -1).sum() > 50


def test_the_bound_of_weights_is_that_of_the_mirrored_sum() -> None:
    rng, key = np.random.default_rng(708), make_key(708)
    pairs = Pairs(np.arange(90, dtype=np.uint32).reshape(-1, 1), np.arange(90, dtype=np.uint32), 90)
    weights = rng.standard_normal(90)
    colours = GreenList(key).is_green(pairs.contexts, pairs.tokens)
    mirrored = chernoff(CumulantFunction(-weights, GAMMA), statistic(colours, -weights, GAMMA)).log10_p
    assert ExcludedAudit(Excluded(pairs, weights)).under(GreenList(key)) == pytest.approx(mirrored, rel=1e-9)


def red_prompts(contexts: set[int]) -> list[list[int]]:
    return [[c, v] for c in sorted(contexts) for v in range(V) if not GREEN[c, v]]


def observed(kind: str, prompts: list[list[int]]) -> Any:
    rng = np.random.default_rng(709)
    texts = [Probe([], chain(rng, None)) for _ in range(20)]
    if kind == "excess":
        return excess_of(Bigram(plain(2)), texts, rule=RULE, vocab_size=V, exclude=prompts, top=V)
    reference = Bigram(plain(2)) if kind == "difference" else None
    return read_model(Bigram(plain(1)), texts, rule=RULE, vocab_size=V, reference=reference, exclude=prompts, top=V)


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("kind", ["mass", "excess"])
def test_cells_chosen_under_the_key_claim_nothing(kind: str) -> None:
    rng = np.random.default_rng(709)
    if kind == "mass":
        prompts = red_prompts(set(range(V)))
    else:  # what was said of red tokens, as an examiner who knows the answers would choose it
        said = [pair for _ in range(20) for pair in pairwise(chain(rng, None))]
        prompts = [[c, v] for c, v in sorted(set(said)) if not GREEN[c, v]]
    one = weigh(KEY, observed(kind, prompts))
    unaudited = chernoff(CumulantFunction(one.weights, GAMMA), one.statistic).log10_p
    assert unaudited < -6  # what would have been claimed
    assert one.excluded_log10_p is not None
    assert one.excluded_log10_p < -6
    found = assess(one)
    assert (found.log10_p, found.comparisons, found.finding) == (None, None, "inconclusive")


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("kind", ["mass", "difference", "excess"])
def test_what_weights_left_out_is_the_rest_of_the_sum(kind: str, tmp_path: Any) -> None:
    """Kept and left out are together what was weighed without prompts."""
    prompts = [text(710, 300, V)]
    whole, part = observed(kind, []), observed(kind, prompts)
    assert len(whole.excluded.pairs) == 0
    left_out = part.excluded
    assert 0 < len(left_out.pairs) < len(whole.pairs)
    assert RULE.occurs(left_out.pairs.contexts, left_out.pairs.tokens, prompts).all()
    assert np.sum(part.weights) + np.sum(left_out.weights) == pytest.approx(np.sum(whole.weights), abs=1e-3)
    part.save(tmp_path / "part.npz")
    again = type(part).load(tmp_path / "part.npz").excluded
    assert again.pairs.tokens.tolist() == left_out.pairs.tokens.tolist()
    assert again.pairs.contexts.tolist() == left_out.pairs.contexts.tolist()
    assert again.pairs.n_contexts == left_out.pairs.n_contexts
    assert again.weights.tolist() == left_out.weights.tolist()


def test_no_account_is_attributed_by_prompts_that_were_chosen_under_its_key() -> None:
    members = [Candidate(f"acct-{number}", None, make_key(720 + number)) for number in range(5)]
    document = text(720, 2000)
    for prompts, withdrawn in ((chosen(members[1].key, document), 1), (chosen(make_key(1), document), 0)):
        seen = Observation.of_documents(members[0].key, [document], prompts)
        found = attribute([Group(members, seen)])
        assert (found.attributed, found.n_withdrawn) == ((), withdrawn)
    note = "what occurs in a prompt and was left out is redder than chance allows"
    seen = Observation.of_documents(members[0].key, [document], chosen(members[1].key, document))
    assert any(note in one for one in attribute([Group(members, seen)]).notes)


class TestScan:
    def cleared(self) -> tuple[Key, list[int], list[list[int]]]:
        """A document whose first half was cleared of red pairs, its second half of green ones: together, nothing."""
        key, document = make_key(730), text(730, 1200)
        pairs = np.column_stack((document[:-1], document[1:]))
        green = GreenList(key).is_green(pairs[:, :1], pairs[:, 1])
        first, second = np.flatnonzero(~green[:300]), 600 + np.flatnonzero(green[600:])
        return key, document, apart(pairs[[*first, *second[: len(first) // 3]]], SIZE)

    def test_a_stretch_that_was_cleared_claims_nothing(self) -> None:
        key, document, prompts = self.cleared()
        counted, scan = tally(key, [document], prompts), scan_documents(key, [document], prompts)
        assert counted.excluded_log10_p is not None
        assert counted.excluded_log10_p > -3  # the whole hides it
        assert scan.log10_p < -20
        assert scan.excluded_log10_p is not None
        assert scan.excluded_log10_p < -20
        (judged,) = judge_readings([Read("the text", counted, scan)], Assessment())
        assert judged.scan is not None
        assert (judged.scan.log10_p, judged.scan.log10_p_adjusted, judged.scan.spans) == (None, None, ())
        assert judged.scan.finding == "inconclusive"
        assert "redder than chance allows" in judged.scan.notes[0]
        assert judged.whole.log10_p is not None

    def test_nothing_left_out_is_not_audited(self) -> None:
        key, document, _ = self.cleared()
        assert scan_documents(key, [document]).excluded_log10_p is None
        assert excluded_stretches_log10_p([], GAMMA) is None

    def test_null_keys(self) -> None:
        rng = np.random.default_rng(731)
        found = np.array(
            [excluded_stretches_log10_p([rng.random(n) < GAMMA for n in (90, 200)], GAMMA) for _ in range(1000)]
        )
        assert [(found <= -level).sum() <= most for level, most in ((1, 137), (2, 24), (3, 6))] == [True] * 3

    def test_a_whole_text_that_is_withdrawn_stays_in_the_family(self) -> None:
        key, document = make_key(732), text(732, 2000)
        prompts = chosen(key, document)
        readings = [Read("the text", tally(key, [document], prompts)), Read("another", tally(key, [text(733, 900)]))]
        withdrawn, other = judge_readings(readings, Assessment())
        assert (withdrawn.whole.log10_p, withdrawn.whole.log10_p_adjusted) == (None, None)
        assert withdrawn.whole.finding == "inconclusive"
        assert other.whole.log10_p is not None
        assert other.whole.log10_p_adjusted == pytest.approx(min(0.0, other.whole.log10_p + np.log10(2)))


def test_a_reading_that_kept_nothing_is_not_audited() -> None:
    one = observed("mass", [text(710, 300, V)])
    bare = Reading(one.pairs, one.weights, one.n_positions, False, one.probes, argmax=one.argmax, mass=one.mass)
    assert weigh(KEY, bare).excluded_log10_p is None
