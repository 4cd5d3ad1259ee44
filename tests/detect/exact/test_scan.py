"""The scan's family, its correction, and its law under the null: exact on small cases, simulated on larger ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detect.exact import scan
from detect.exact.binomial import log10_sf, log10_sf_table
from detect.exact.scan import (
    Interval,
    Intervals,
    disjoint,
    family_size,
    lengths,
    significant,
    smallest,
    span_found,
    starts,
)
from tests.detect.exact.oracles import mp_log10_upper, rational_tail

SIZES = [1, 2, 31, 32, 33, 38, 39, 100, 257, 1000, 4096, 30_000]
LIMITS_20K = {0.05: 1_117, 0.01: 254, 1e-3: 39}  # design.md: each is exceeded with chance below 1e-4


def plain_family(n: int, shortest: int = 32) -> list[tuple[int, int, float]]:
    """(start, end, weight) of every interval, written down from the docstring alone."""
    sizes = []
    length = shortest
    while length < n:
        sizes.append(length)
        length = length + max(1, length // 5)
    sizes.append(n)
    family = []
    for length in sizes:
        begin = sorted({*range(0, n - length + 1, max(1, length // 8)), n - length})
        family += [(start, start + length, 1 / len(sizes) / len(begin)) for start in begin]
    return family


@pytest.fixture
def tiny_family(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Intervals from 3 pairs on, so that every outcome of a short sequence can be looked at."""
    monkeypatch.setattr(scan, "SHORTEST", 3)
    scan.log10_costs.cache_clear()
    yield 3
    scan.log10_costs.cache_clear()


class TestFamily:
    @pytest.mark.parametrize("n", SIZES)
    def test_it_is_what_the_words_say_and_weights_sum_to_one(self, n: int) -> None:
        found = [
            (int(start), int(start) + length, 10**-cost)
            for length, cost in scan.log10_costs(n)
            for start in starts(n, length)
        ]
        expected = plain_family(n)
        assert [one[:2] for one in found] == [one[:2] for one in expected]
        np.testing.assert_allclose([one[2] for one in found], [one[2] for one in expected], rtol=1e-12)
        assert math.fsum(one[2] for one in found) == pytest.approx(1, abs=1e-9)
        assert family_size(n) == len(expected) <= 2 * n
        assert len(lengths(n)) <= 6 * math.log2(n) + 1  # a tail or two each: the cost is O(n log n)

    def test_nothing_to_scan(self) -> None:
        assert (lengths(0), family_size(0)) == ([], 0)
        none = np.zeros(0, dtype=np.bool_)
        assert smallest(none, 0.25) == 0.0
        assert len(significant(none, 0.25, 0.0)) == 0
        assert disjoint(Intervals.none(), -6.0) == []

    @pytest.mark.parametrize("n", [100, 1000])
    def test_a_stretch_of_length_and_step_holds_an_interval_wherever_it_lies(self, n: int) -> None:
        for length in lengths(n):
            stretch = min(n, length + scan.step(length) - 1)
            begin = starts(n, length)
            for at in range(n - stretch + 1):
                assert ((begin >= at) & (begin + length <= at + stretch)).any()


class TestCorrectedTails:
    @pytest.mark.parametrize("n", [1, 20, 32, 33, 60, 150])
    @pytest.mark.parametrize("gamma", [0.25, 0.5])
    def test_against_a_plain_loop(self, n: int, gamma: float) -> None:
        rng = np.random.default_rng(n)
        colours = rng.random(n) < gamma
        colours[n // 3 : n // 2] |= rng.random(n // 2 - n // 3) < 0.6
        expected = {}
        for start, end, weight in plain_family(n):
            k = int(colours[start:end].sum())
            expected[start, end] = (k, min(0.0, mp_log10_upper(k, end - start, gamma) - math.log10(weight)))
        assert smallest(colours, gamma) == pytest.approx(min(p for _, p in expected.values()), abs=1e-9)
        for limit in (-0.5, -3.0):
            found = significant(colours, gamma, limit).to_list()
            assert {(one.start, one.end): one.n_green for one in found} == {
                place: k for place, (k, p) in expected.items() if p <= limit
            }
            for one in found:
                assert one.log10_p == pytest.approx(expected[one.start, one.end][1], abs=1e-9)
                assert one.n_scored == one.end - one.start

    @pytest.mark.parametrize("n", [4, 8, 10])
    def test_every_outcome_of_a_short_sequence(self, tiny_family: int, n: int) -> None:
        """P(p <= α) <= α at every α that the scan can reach, by exact sums; and not far below for the smallest."""
        gamma = 0.25
        outcomes: dict[float, float] = {}
        for bits in itertools.product((False, True), repeat=n):
            p = smallest(np.array(bits), gamma)
            chance = gamma ** sum(bits) * (1 - gamma) ** (n - sum(bits))
            outcomes[round(p, 9)] = outcomes.get(round(p, 9), 0.0) + chance
        assert math.fsum(outcomes.values()) == pytest.approx(1)
        assert len(outcomes) > 3
        total, ratios = 0.0, []
        for log10_p in sorted(outcomes):
            total += outcomes[log10_p]
            assert total <= 10**log10_p * (1 + 1e-9)
            ratios.append(total / 10**log10_p)
        assert max(ratios[:3]) > 0.02

    def test_the_tails_are_exact_fractions(self) -> None:
        colours = np.zeros(64, dtype=np.bool_)
        colours[:32] = True
        (first, *_) = [one for one in significant(colours, 0.25, -6.0).to_list() if (one.start, one.end) == (0, 32)]
        weight = next(w for start, end, w in plain_family(64) if (start, end) == (0, 32))
        assert first.log10_p == pytest.approx(math.log10(rational_tail(32, 32, 0.25)) - math.log10(weight), rel=1e-12)


class TestDisjoint:
    @given(
        st.lists(
            st.tuples(st.integers(0, 20), st.integers(1, 12), st.integers(0, 40)), min_size=0, max_size=9, unique=True
        )
    )
    @settings(max_examples=200, deadline=None)
    def test_the_best_of_all_choices(self, raw: list[tuple[int, int, int]]) -> None:
        level = -0.5
        intervals = [Interval(start, start + length, 0, level - p / 8) for start, length, p in raw]
        columns = [np.array([getattr(one, name) for one in intervals]) for name in ("start", "end", "n_green")]
        found = disjoint(
            Intervals(*(c.astype(np.int64) for c in columns), np.array([o.log10_p for o in intervals])), level
        )
        for one, other in itertools.pairwise(found):
            assert one.end <= other.start
        best = 0.0
        for chosen in itertools.product((False, True), repeat=len(intervals)):
            some = sorted((one for one, c in zip(intervals, chosen, strict=True) if c), key=lambda one: one.start)
            if all(one.end <= other.start for one, other in itertools.pairwise(some)):
                best = max(best, sum(level - one.log10_p for one in some))
        assert sum(level - one.log10_p for one in found) == pytest.approx(best, abs=1e-7)
        assert found or not intervals

    def test_two_stretches_are_told_apart_and_one_is_not_cut(self) -> None:
        rng = np.random.default_rng(3)
        colours = rng.random(4000) < 0.25
        for at, length in ((500, 400), (1500, 400), (2500, 1000)):
            colours[at : at + length] = rng.random(length) < 0.55
        found = disjoint(significant(colours, 0.25, -6.0), -6.0)
        assert len(found) == 3
        for one, (at, end) in zip(found, ((500, 900), (1500, 1900), (2500, 3500)), strict=True):
            overlap = min(one.end, end) - max(one.start, at)
            assert overlap > 0.8 * (end - at)
            assert one.n_scored < 1.3 * (end - at)


def null_scans(n: int, gamma: float, draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The scan's log10 p of many sequences at once, from tables: a second computation."""
    tables = {length: log10_sf_table(length, gamma) for length in {end - start for start, end, _ in plain_family(n)}}
    place = [(start, end) for start, end, _ in plain_family(n)]
    cost = -np.log10([weight for *_, weight in plain_family(n)])
    result = []
    for _ in range(draws // 500):
        running = np.zeros((500, n + 1), dtype=np.int32)
        np.cumsum(rng.random((500, n), dtype=np.float32) < gamma, axis=1, out=running[:, 1:])
        best = np.zeros(500)
        for length, table in tables.items():
            rows = [i for i, (start, end) in enumerate(place) if end - start == length]
            begin = np.array([place[i][0] for i in rows])
            most = (running[:, begin + length] - running[:, begin]).max(axis=1)
            best = np.minimum(best, table[most] + cost[rows[0]])
        result.append(best)
        assert smallest(np.diff(running[0]) > 0, gamma) == pytest.approx(best[0], abs=1e-9)
    return np.concatenate(result)


class TestValidity:
    @pytest.mark.parametrize(("n", "gamma"), [(60, 0.25), (500, 0.25), (1500, 0.25), (500, 0.5)])
    def test_under_the_null(self, n: int, gamma: float) -> None:
        p = null_scans(n, gamma, 20_000, np.random.default_rng([n, int(100 * gamma)]))
        assert len(p) == 20_000
        counts = {alpha: int((p <= math.log10(alpha)).sum()) for alpha in LIMITS_20K}
        assert all(counts[alpha] <= limit for alpha, limit in LIMITS_20K.items()), counts
        assert counts[0.05] > 100  # it costs a factor, and is no constant

    def test_a_marked_stretch_that_the_whole_hides(self) -> None:
        rng = np.random.default_rng(7)
        colours = rng.random(10_000) < 0.25
        colours[4000:4300] = rng.random(300) < 0.5
        assert log10_sf(int(colours.sum()), 10_000, 0.25) > -4
        assert smallest(colours, 0.25) < -8
        (span,) = disjoint(significant(colours, 0.25, -6.0), -6.0)
        assert 3900 < span.start < span.end < 4400

    @pytest.mark.parametrize(("n", "effect", "alpha"), [(1000, 0.5, 5e-7), (3000, 0.35, 5e-7)])
    def test_what_is_promised_to_be_found_is_found(self, n: int, effect: float, alpha: float) -> None:
        length = span_found(n, 0.25, effect, alpha)
        assert length is not None
        assert length < n
        rng, hits = np.random.default_rng(8), 0
        for _ in range(300):
            colours = rng.random(n) < 0.25
            at = rng.integers(0, n - length + 1)
            colours[at : at + length] = rng.random(length) < effect
            hits += smallest(colours, 0.25) <= math.log10(alpha)
        assert hits >= 300 * 0.9 - 3.8 * math.sqrt(300 * 0.09)

    def test_nothing_is_promised_where_nothing_can_be(self) -> None:
        assert span_found(50, 0.25, 0.5, 1e-6) is None
        assert span_found(10**6, 0.25, 0.25, 1e-6) is None
        assert span_found(10**4, 0.25, 0.5, 1e-199) is None
        assert span_found(300, 0.25, 0.35, 1e-6) is None
