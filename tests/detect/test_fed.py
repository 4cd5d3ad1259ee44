"""What a model is fed: its pairs, where they stand, and its digest."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from detect.fed import Probe, ProbePairs, probes_digest
from tests.detect.material import windows
from watermark.windows import WindowRule


def test_a_probe_is_two_sequences() -> None:
    probe = Probe([1, 2], [3])
    assert (probe.prompt_ids, probe.answer_ids) == ([1, 2], [3])


def test_the_pairs_of_probes_know_where_they_stand() -> None:
    found = ProbePairs.of(WindowRule(1, (9,)), [Probe([1, 2, 3], [2, 3, 4, 9]), Probe([], [1, 2])])
    rows = zip(found.pairs.contexts[:, 0].tolist(), found.pairs.tokens.tolist(), strict=True)
    where = dict(zip(rows, zip(found.in_prompts.tolist(), found.in_answers.tolist(), strict=True), strict=True))
    assert where == {(1, 2): (True, True), (2, 3): (True, True), (3, 4): (False, True)}


def test_the_digest_of_probes_by_hand() -> None:
    numbers = [2, 7, 8, 1, 500_000, 0, 0]
    expected = hashlib.sha256(b"".join(n.to_bytes(4, "little") for n in numbers)).hexdigest()
    assert probes_digest([Probe([7, 8], np.array([500_000])), Probe((), [])]) == expected
    assert probes_digest([Probe([7], [8, 500_000]), Probe((), [])]) != expected


@pytest.mark.parametrize("h", [0, 1, 3])
def test_every_occurrence_is_known(h: int) -> None:
    """Against plain loops over tuples."""
    rng = np.random.default_rng(60)
    probes = [Probe(rng.integers(0, 9, rng.integers(0, 30)), rng.integers(0, 9, rng.integers(0, 40))) for _ in range(8)]
    found = ProbePairs.of(WindowRule(h, (3,)), probes)
    pairs = [(tuple(c), t) for c, t in zip(found.pairs.contexts.tolist(), found.pairs.tokens.tolist(), strict=True)]
    texts = [windows(one.prompt_ids, h, (3,)) for one in probes] + [windows(one.answer_ids, h, (3,)) for one in probes]
    assert pairs == sorted({pair for text in texts for pair in text})
    assert found.times.tolist() == [sum(text.count(pair) for text in texts) for pair in pairs]
    inside = [(number, pairs.index(pair)) for number, text in enumerate(texts) for pair in sorted(set(text))]
    assert list(zip(found.texts.tolist(), found.members.tolist(), strict=True)) == inside
    assert found.in_prompts.tolist() == [any(pair in text for text in texts[:8]) for pair in pairs]
    assert found.in_answers.tolist() == [any(pair in text for text in texts[8:]) for pair in pairs]
    assert max(found.times) > 1
