"""The audit of a reference: its weights against plain loops, and claims withdrawn where it follows the key."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from detect.counting import weigh, window_rule
from detect.evidence import assess
from detect.fed import Probe
from detect.observation import Reading
from detect.questioned import expectation as module
from detect.questioned.excess import excess_of
from detect.questioned.expectation import expectation_of
from detect.questioned.reading import read_model
from tests.detect.material import make_key
from tests.detect.questioned.copier import KEY, V, chain, two_bounds
from watermark.greenlist import GreenList
from watermark.windows import WindowRule

pytestmark = pytest.mark.usefixtures("one_torch_thread")
GREEN = GreenList(KEY).mask(np.arange(V).reshape(-1, 1), V)


class Bigram(torch.nn.Module):
    """Logits that depend on the last token alone: a table [V, V]."""

    def __init__(self, table: np.ndarray) -> None:
        super().__init__()
        text = SimpleNamespace(vocab_size=len(table))
        self.config = SimpleNamespace(get_text_config=lambda: text)
        self.device = torch.device("cpu")
        self.table = torch.from_numpy(table).float()

    def forward(self, input_ids: Any, attention_mask: Any, use_cache: bool) -> Any:
        return SimpleNamespace(logits=self.table[input_ids])


def plain(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((V, V))


def texts(seed: int, count: int = 60) -> list[Probe]:
    rng = np.random.default_rng(seed)
    return [Probe(chain(rng, None)[:5], chain(rng, None)) for _ in range(count)]


def below(rank: int) -> np.ndarray:
    """bool [V, V]: the tokens of each row that are less likely than the `rank` likeliest, under `plain`."""
    return np.argsort(np.argsort(-plain(), axis=1), axis=1) >= rank


def test_a_reference_whose_unlikely_tokens_alone_avoid_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that 16 tokens show; a reading would follow it."""
    given, reference = texts(5, 150), plain() - 2.0 * (GREEN & below(17))
    for followed, noticed in ((16, False), (module.FOLLOWED, True)):
        monkeypatch.setattr(module, "FOLLOWED", followed)
        one = weigh(KEY, read(plain(), reference, given))
        assert one.reference_log10_p is not None
        assert (one.reference_log10_p <= -3) == noticed
        assert (assess(one).finding == "detected") != noticed


@pytest.mark.parametrize("pending", [1, 300])
def test_cells_are_added_up_on_the_way(pending: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> Any:
        return read(plain(), plain(2), texts(6, 20)).expectation

    whole = found()
    monkeypatch.setattr(module, "_PENDING", pending)
    piecewise = found()
    assert piecewise.pairs.tokens.tolist() == whole.pairs.tokens.tolist()
    np.testing.assert_allclose(piecewise.weights, whole.weights, rtol=1e-9, atol=1e-12)


def read(questioned: np.ndarray, reference: np.ndarray, given: list[Probe]) -> Reading:
    return read_model(
        Bigram(questioned), given, rule=window_rule(KEY), vocab_size=V, reference=Bigram(reference), top=V
    )


@pytest.mark.parametrize("followed", [3, V])
def test_the_weights_by_hand(followed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLLOWED", followed)
    table, given, special = plain(), texts(2, 7), (4, 9)
    probabilities = np.exp(table) / np.exp(table).sum(axis=1, keepdims=True)
    sums: dict[tuple[int, int], float] = defaultdict(float)
    positions: dict[int, int] = defaultdict(int)
    for one in given:
        ids = one.answer_ids
        for context, token in pairwise(ids):
            if context in special:
                continue
            positions[context] += 1
            sums[context, token] += 1
            for likely in np.argsort(probabilities[context])[::-1][:followed]:
                sums[context, int(likely)] -= probabilities[context][likely]
    found = expectation_of(Bigram(table), given, rule=WindowRule(1, special), vocab_size=V)
    assert found is not None
    assert found.n_positions == sum(positions.values())
    pairs = zip(found.pairs.contexts[:, 0].tolist(), found.pairs.tokens.tolist(), strict=True)
    by_hand = {(c, t): a * positions[c] ** 0.25 for (c, t), a in sums.items() if t not in special}
    assert dict(zip(pairs, found.weights.tolist(), strict=True)) == pytest.approx(by_hand, rel=1e-5, abs=1e-6)
    assert found.pairs.n_contexts == len(positions)


def test_a_reading_and_the_function_by_itself_see_the_same() -> None:
    given = texts(3)
    by_itself = expectation_of(Bigram(plain(2)), given, rule=window_rule(KEY), vocab_size=V)
    found = read(plain(1), plain(2), given).expectation
    assert by_itself is not None
    assert found is not None
    np.testing.assert_array_equal(found.pairs.tokens, by_itself.pairs.tokens)
    np.testing.assert_allclose(found.weights, by_itself.weights, rtol=1e-5, atol=1e-6)
    without = read_model(Bigram(plain()), given, rule=window_rule(KEY), vocab_size=V)
    assert without.expectation is None


@pytest.mark.parametrize("tilt", [1.5, -1.5], ids=["learnt the mark", "avoids it"])
def test_a_claim_against_a_reference_that_follows_the_key_is_withdrawn(tilt: float) -> None:
    """One that avoids the mark makes an innocent model look marked; one that learnt it, a marked one innocent."""
    given = texts(4, 120)
    one = weigh(KEY, read(plain(), plain() + tilt * GREEN, given))
    found = assess(one)
    assert one.reference_log10_p is not None
    assert one.reference_log10_p < -3 < one.probes_log10_p
    assert (found.log10_p, found.log10_p_adjusted, found.theta, found.finding) == (None, None, None, "inconclusive")
    (note,) = [note for note in found.notes if "no p is claimed" in note]
    assert (
        "the reference carries the mark, or avoids it (two-sided test under this key of what it expects: log10_p "
        in note
    )
    assert f"{one.reference_log10_p:.1f}" in note
    untouched = assess(replace(one, reference_log10_p=-2.9, excluded=None))
    assert (untouched.log10_p < -6) == (tilt < 0)  # what would have been said
    assert any("published before the key's first use" in text for text in untouched.notes)


def test_its_p_is_that_of_a_plain_minimiser() -> None:
    one = read(plain(), plain() + 0.4 * GREEN, texts(5))
    expected = one.expectation
    assert expected is not None
    pairs = zip(expected.pairs.contexts[:, 0].tolist(), expected.pairs.tokens.tolist(), strict=True)
    weights = {((c,), t): float(a) for (c, t), a in zip(pairs, expected.weights, strict=True)}
    assert weigh(KEY, one).reference_log10_p == pytest.approx(two_bounds(weights), rel=1e-5)


def test_an_innocent_reference_keeps_the_claim_under_every_key() -> None:
    reading = read(plain() + 0.8 * GREEN, plain(), texts(6, 120))
    found = assess(weigh(KEY, reading))
    assert found.finding == "detected"
    assert any("p presupposes that the reference does not depend on the key" in note for note in found.notes)
    audits = [weigh(make_key(seed), reading).reference_log10_p for seed in range(500, 700)]
    assert sum(p <= -1 for p in audits if p is not None) <= 40  # 10 % at most, and chance: 200 keys, p below 1e-4
    assert min(p for p in audits if p is not None) < -0.3


def test_answers_are_not_what_the_audit_reads() -> None:
    """They may follow the key, where the model learnt it: given beside, what the reference expects of other text."""
    given = texts(7)
    audited = expectation_of(Bigram(plain()), given, rule=window_rule(KEY), vocab_size=V)
    answers = [Probe(one.prompt_ids, chain(np.random.default_rng(8), GREEN)) for one in given]
    how: dict[str, Any] = {"rule": window_rule(KEY), "vocab_size": V}
    found = excess_of(Bigram(plain()), answers, expectation=audited, **how)
    assert found.expectation is audited
    assert excess_of(Bigram(plain()), answers, **how).expectation is None
    assert "was not audited under the key" in weigh(KEY, excess_of(Bigram(plain()), answers, **how)).notes[0]
    assert assess(weigh(KEY, found)).finding == "detected"
