"""Documents scanned for marked spans: which pairs, which positions, one correction for all; valid over keys."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from detect.counting import tally
from detect.exact import scan as exact
from detect.scan import Scan, scan_documents
from tests.detect.material import docstrings, is_green, make_key, speech, windows
from watermark.greenlist import GreenList
from watermark.keys import Key


def stream(key: Key, length: int, seed: int, marked: tuple[int, int] = (0, 0), vocabulary: int = 3000) -> list[int]:
    """Random ids; those at positions in `marked` (start, end) are green with chance .55."""
    rng, ids = np.random.default_rng(seed), [5]
    mark = GreenList(key)
    while len(ids) < length:
        at = len(ids)
        if marked[0] <= at < marked[1] and rng.random() < 0.4:
            row = mark.mask(np.array([ids[at - key.context_width : at]], dtype=np.int64), vocabulary)[0]
            row[:3] = False
            ids.append(int(rng.choice(np.flatnonzero(row))))
        else:
            ids.append(int(rng.integers(3, vocabulary)))
    return ids


def plain_pairs(key: Key, document: list[int], prompts: list[list[int]], special: tuple[int, ...] = ()) -> list[Any]:
    """(position, green) of each distinct pair in reading order, by the rule in slow motion."""
    h = key.context_width
    excluded = {pair for prompt in prompts for pair in windows(prompt, h, special)}
    seen, found = set(excluded), []
    for at in range(h, len(document)):
        pair = (tuple(document[at - h : at]), document[at])
        if set(document[at - h : at + 1]) & set(special) or pair in seen:
            continue
        seen.add(pair)
        found.append((at, is_green(key, pair)))
    return found


class TestPairs:
    @pytest.mark.parametrize("h", [0, 1, 2, 4])
    def test_every_distinct_pair_of_a_document_where_it_first_occurs(self, h: int) -> None:
        special = (0, 1, 2)
        key = make_key(h, h=h, special=special)
        rng = np.random.default_rng(h)
        documents = [rng.integers(0, 12, n).tolist() for n in (80, 1, 200)] + [[], [7] * 40]
        documents.append(documents[0])  # repeats count in each document anew
        prompts = [documents[2][50:60], [3, 4]]
        found = scan_documents(key, documents, prompts)
        assert len(found.documents) == len(documents)
        assert any(len(one.colours) for one in found.documents)
        for one, document in zip(found.documents, documents, strict=True):
            expected = plain_pairs(key, document, prompts, special)
            assert list(zip(one.positions.tolist(), one.colours.tolist(), strict=True)) == expected
            assert one.log10_p == exact.smallest(one.colours, key.gamma)

    def test_one_document_counts_what_the_whole_text_test_counts(self) -> None:
        key = make_key(3)
        document = stream(key, 800, 1)
        (one,) = scan_documents(key, [document], [document[100:200]]).documents
        counted = tally(key, [document], [document[100:200]])
        assert (len(one.colours), int(one.colours.sum())) == (counted.n_scored, counted.n_green)


class TestCorrection:
    def test_documents_share_the_level(self) -> None:
        key = make_key(1)
        documents = [stream(key, 400, seed, (100, 300) if seed == 2 else (0, 0)) for seed in range(4)]
        found = scan_documents(key, [*documents, [7], []])
        assert found.n_scanned == 4
        assert found.intervals == sum(exact.family_size(len(one.colours)) for one in found.documents)
        best = min(one.log10_p for one in found.documents)
        assert found.log10_p == pytest.approx(best + math.log10(4))
        assert best < -6
        (span,) = found.spans(-6.0, math.log10(2))
        assert span.document == 2
        assert span.log10_p == pytest.approx(found.log10_p)
        assert span.log10_p_adjusted == pytest.approx(span.log10_p + math.log10(2))
        positions = found.documents[2].positions
        inside = (positions >= span.start_token) & (positions < span.end_token)
        assert (span.n_scored, span.n_green) == (inside.sum(), found.documents[2].colours[inside].sum())
        assert positions[inside][0] == span.start_token
        assert positions[inside][-1] + 1 == span.end_token

    def test_spans_only_at_the_level_asked_for(self) -> None:
        key = make_key(1)
        found = scan_documents(key, [stream(key, 400, 2, (100, 300))])
        assert found.spans(found.log10_p - 0.01) == []
        assert found.spans(found.log10_p + 0.01, 0.02) == []
        assert len(found.spans(found.log10_p + 0.01)) == 1

    def test_nothing_at_all(self) -> None:
        key = make_key(0)
        for documents in ([], [[]], [[7]], [[7, 8], [7, 8]]):
            found = scan_documents(key, documents, [[7, 8]])
            assert (found.log10_p, found.intervals, found.n_scanned) == (0.0, 0, 0)
            assert found.spans(-0.1) == []
            assert found.span_found(0.5, 1e-6) is None

    def test_what_would_have_been_found_counts_all_documents(self) -> None:
        key = make_key(0)
        one = scan_documents(key, [stream(key, 1000, 0)])
        many = scan_documents(key, [stream(key, 1000, 0)] * 400)
        first, second = one.span_found(0.5, 1e-6), many.span_found(0.5, 1e-6)
        assert first is not None
        assert second is not None
        assert first < second < 1000

    def test_repr_holds_no_colours(self) -> None:
        assert "colours" not in repr(scan_documents(make_key(0), [stream(make_key(0), 60, 0)]))


def scans_under_keys(documents: list[list[int]], keys: int) -> list[Scan]:
    return [scan_documents(make_key(10_000 + number), documents) for number in range(keys)]


@pytest.mark.parametrize("kind", ["prose", "code", "repetitive"])
def test_valid_over_keys_on_fixed_human_text(kind: str) -> None:
    """1,000 seeded keys; the design's limits for that many draws, each exceeded with chance below 1e-4."""
    text = {
        "prose": [speech()[:4000]],
        "code": ["def f(x):\n    return [x for x in range(10)]\n" * 20, *(one[:800] for one in docstrings()[:3])],
        "repetitive": ["the same words and again the same words " * 60 + speech()[:800]],
    }[kind]
    documents = [[3 + ord(letter) % 300 for letter in one] for one in text]
    p = np.array([one.log10_p for one in scans_under_keys(documents, 1000)])
    for alpha in (0.1, 0.01, 1e-3):
        assert (p <= math.log10(alpha)).sum() <= binom.isf(1e-4, 1000, alpha) + 1
    assert (p < 0).any()
