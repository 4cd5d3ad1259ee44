"""The mixture e-value against its integral, its mean under the null, and the design's stopping figures."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from detect.exact.evalue import EProcess, log10_e_each, log10_e_process, log10_e_value
from detect.exact.power import pairs_needed, planned_maximum
from tests.detect.exact.oracles import stopping_quantiles
from watermark.errors import InputError


def integral(k: int, n: int, gamma: float) -> float:
    """log10 of the mixture, by quadrature of its definition."""
    with mp.workdps(40):
        g = mp.mpf(gamma)
        peak = min(max(mp.mpf(k) / n, g), mp.mpf(1)) if n else g
        width = mp.sqrt(mp.mpf(1) / (4 * n + 4))
        cuts = sorted({g, mp.mpf(1), *(min(max(peak + i * width, g), mp.mpf(1)) for i in (-8, -3, -1, 0, 1, 3, 8))})
        value = mp.quad(lambda q: (q / g) ** k * ((1 - q) / (1 - g)) ** (n - k), cuts)
        return float(mp.log10(value / (1 - g)))


@pytest.mark.parametrize("gamma", [0.01, 0.25, 0.5, 0.9])
@pytest.mark.parametrize(
    ("k", "n"), [(0, 0), (0, 1), (1, 1), (3, 10), (10, 10), (0, 60), (25, 100), (90, 300), (300, 400)]
)
def test_closed_form_against_quadrature(k: int, n: int, gamma: float) -> None:
    assert log10_e_value(k, n, gamma) == pytest.approx(integral(k, n, gamma), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("gamma", [1 / 65536, 0.25, 0.7])
@pytest.mark.parametrize("n", [1, 2, 17, 60])
def test_mean_under_the_null_is_one(n: int, gamma: float) -> None:
    e = 10.0 ** np.array([log10_e_value(k, n, gamma) for k in range(n + 1)])
    assert e @ stats.binom.pmf(np.arange(n + 1), n, gamma) == pytest.approx(1, rel=1e-10)


@pytest.mark.parametrize("n", [1, 5, 50, 300])
def test_the_process_is_a_martingale(n: int) -> None:
    """γ E(k + 1, n + 1) + (1 - γ) E(k, n + 1) = E(k, n), for every k."""
    gamma = 0.25
    for k in range(n + 1):
        after = gamma * 10 ** log10_e_value(k + 1, n + 1, gamma) + (1 - gamma) * 10 ** log10_e_value(k, n + 1, gamma)
        assert math.log10(after) == pytest.approx(log10_e_value(k, n, gamma), rel=1e-9, abs=1e-10)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=200), st.sampled_from([1 / 65536, 0.1, 0.25, 0.5, 0.95]))
def test_process_is_the_value_after_each_pair(stream: list[bool], gamma: float) -> None:
    greens = np.array(stream)
    expected = [log10_e_value(int(k), n, gamma) for n, k in enumerate(np.cumsum(greens), 1)]
    np.testing.assert_allclose(log10_e_process(greens, gamma), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("green_fraction", [0.0, 0.2, 0.24, 0.25, 0.3, 0.8, 1.0])
def test_long_streams_lose_no_digits(green_fraction: float) -> None:
    greens = np.random.default_rng(4).random(100_000) < green_fraction
    process = log10_e_process(greens, 0.25)
    counts = np.cumsum(greens)
    for n in (1, 10, 999, 10_000, 54_321, 100_000):
        assert process[n - 1] == pytest.approx(log10_e_value(int(counts[n - 1]), n, 0.25), rel=1e-9, abs=1e-9)


def test_many_streams_at_once_are_the_same_streams() -> None:
    greens = np.random.default_rng(5).random((3, 2, 40)) < 0.4
    together = log10_e_process(greens, 0.25)
    assert together.shape == greens.shape
    np.testing.assert_allclose(together[2, 1], log10_e_process(greens[2, 1], 0.25), rtol=1e-12, atol=1e-12)
    assert log10_e_process(np.zeros(0, dtype=bool), 0.25).shape == (0,)


def test_null_streams_rarely_cross() -> None:
    """20,000 streams, looked at after every pair (Ville): each limit is exceeded with chance below 1e-4."""
    rng = np.random.default_rng(20261)
    crossed = dict.fromkeys((0.05, 0.01, 1e-3), 0)
    for _ in range(80):
        highest = log10_e_process(rng.random((250, 1_200)) < 0.25, 0.25).max(axis=-1)
        for alpha in crossed:
            crossed[alpha] += int((highest >= -math.log10(alpha)).sum())
    assert crossed[0.05] <= 1_117
    assert crossed[0.01] <= 254
    assert crossed[1e-3] <= 39
    assert crossed[0.05] > 200  # it is no constant: a process that never moves would pass, too


@pytest.mark.parametrize(
    ("q", "length", "streams", "planned"), [(0.50, 400, 2_000, (113, 162)), (0.35, 2_200, 1_000, (646, 1_014))]
)
def test_pairs_until_one_in_a_million(q: float, length: int, streams: int, planned: tuple[int, int]) -> None:
    """Median and 90 % point. A sample quantile has standard error sqrt(p (1 - p) / streams) / density; the stopping
    time is close to normal between the two, which gives the density. The design's own figures were simulated more
    coarsely: 15 % is allowed."""
    greens = np.random.default_rng(77).random((streams, length)) < q
    above = log10_e_process(greens, 0.25) >= 6
    stopped = np.where(above.any(axis=-1), above.argmax(axis=-1) + 1, length + 1)
    exact = stopping_quantiles(q, 0.25, (0.5, 0.9), 6.0)
    spread = (exact[1] - exact[0]) / stats.norm.ppf(0.9)
    for fraction, truth, rough in zip((0.5, 0.9), exact, planned, strict=True):
        error = math.sqrt(fraction * (1 - fraction) / streams) * spread / stats.norm.pdf(stats.norm.ppf(fraction))
        assert np.quantile(stopped, fraction) == pytest.approx(truth, abs=4 * error + 1)
        assert truth == pytest.approx(rough, rel=0.15)
    assert exact[1] <= planned_maximum(pairs_needed(q, 0.25))


@pytest.mark.parametrize("greens", [np.array([0, 1, 1]), np.array(True), [0.5]])
def test_only_booleans_are_colours(greens: object) -> None:
    with pytest.raises(InputError, match="boolean"):
        log10_e_process(greens, 0.25)  # type: ignore[arg-type]


@given(
    stream=st.lists(st.booleans(), max_size=150),
    cuts=st.lists(st.integers(0, 150), max_size=6),
    gamma=st.sampled_from([1 / 65536, 0.1, 0.25, 0.5, 0.999]),
)
@example(stream=[False] * 120, cuts=[60], gamma=0.5)
@example(stream=[True, False] * 10, cuts=[1, 2], gamma=65535 / 65536)
def test_pieces_give_the_whole_streams_process(stream: list[bool], cuts: list[int], gamma: float) -> None:
    colours, process = np.array(stream, dtype=bool), EProcess(gamma)
    found = np.concatenate([process.advance(piece) for piece in np.split(colours, sorted(cuts))])
    whole = log10_e_process(colours, gamma)
    np.testing.assert_allclose(found, whole, rtol=1e-10, atol=1e-10)
    assert (process.n, process.k) == (len(stream), sum(stream))


@pytest.mark.parametrize("q", [0.22, 0.25, 0.26, 0.6])
def test_a_long_stream_in_pieces(q: float) -> None:
    """100,000 pairs: bit for bit the whole stream's where no tail is small, which is wherever a crossing can be."""
    colours, process = np.random.default_rng(40).random(100_000) < q, EProcess(0.25)
    found = np.concatenate([process.advance(piece) for piece in np.split(colours, 2500)])
    whole = log10_e_process(colours, 0.25)
    np.testing.assert_allclose(found, whole, rtol=1e-9, atol=1e-9)
    if q >= 0.25:
        assert (found == whole).all()
    counts = np.cumsum(colours)
    for n in (1, 77, 5_000, 100_000):
        assert found[n - 1] == pytest.approx(log10_e_value(int(counts[n - 1]), n, 0.25), rel=1e-9, abs=1e-9)


def test_pieces_of_streams_side_by_side() -> None:
    greens, process = np.random.default_rng(41).random((3, 2, 90)) < 0.4, EProcess(0.25)
    found = np.concatenate([process.advance(piece) for piece in np.split(greens, [20, 21], axis=-1)], axis=-1)
    assert (found == log10_e_process(greens, 0.25)).all()
    assert (process.n, process.k.tolist()) == (90, greens.sum(axis=-1).tolist())


@given(st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 1)), max_size=30), st.sampled_from([1 / 65536, 0.25, 0.9]))
def test_many_counts_are_each_alone_to_the_last_bit(cases: list[tuple[int, float]], gamma: float) -> None:
    n = np.array([size for size, _ in cases], dtype=np.int64)
    k = np.array([round(size * fraction) for size, fraction in cases], dtype=np.int64)
    expected = [log10_e_value(int(a), int(b), gamma) for a, b in zip(k, n, strict=True)]
    assert log10_e_each(k, n, gamma).tolist() == expected
