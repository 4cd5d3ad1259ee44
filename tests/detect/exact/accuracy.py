"""Measured accuracy and cost of the tails, for docs/adr/0002-exact-tails.md: python -m tests.detect.exact.accuracy"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from detect.exact.binomial import log10_sf
from detect.exact.evalue import log10_e_process
from detect.exact.power import pairs_needed
from detect.exact.weighted import CumulantFunction, TailCurve, chernoff, saddlepoint
from tests.detect.exact.oracles import lattice_tail, mp_log10_upper


def cpu_ms(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return 1e3 * (time.process_time() - started)


def binomial() -> None:
    worst = 0.0
    for n in (100, 10**4, 10**6, 10**8):
        for gamma in (1 / 65536, 0.25, 0.5, 65535 / 65536):
            for z in (-2.5, -1, 0.3, 1, 3, 6, 12, 40, 300):
                k = round(n * gamma + z * math.sqrt(n * gamma * (1 - gamma)))
                expected = mp_log10_upper(k, n, gamma) if 0 < k <= n else 0.0
                if abs(expected) > 1e-3:
                    worst = max(worst, abs(log10_sf(k, n, gamma) / expected - 1))
    print(f"binomial: largest relative error of log10 p, n to 10^8: {worst:.1e}")


def weighted() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 60, 260) * rng.choice([-1, 1], 260)
    function = CumulantFunction(weights.astype(float), 0.25)
    values, tail = lattice_tail(weights, 0.25)
    for low, high in ((1e-4, 1e-2), (1e-8, 1e-4), (1e-12, 1e-8), (1e-40, 1e-30)):
        some = np.flatnonzero((tail > low) & (tail < high) & (values > 0))[::7]
        truth = np.log10(tail[some])
        loss = [chernoff(function, x).log10_p for x in values[some]] - truth
        error = np.abs([saddlepoint(function, x) for x in values[some]] - truth)
        print(
            f"260 weights, p {low:.0e} … {high:.0e}: bound above the truth by {loss.min():.2f} … {loss.max():.2f} "
            f"decades, saddlepoint off by at most {error.max():.3f}"
        )


def curve() -> None:
    rng = np.random.default_rng(1)
    for name, weights in (("normal", rng.standard_normal(600_000)), ("Student t(2)", rng.standard_t(2, 600_000))):
        function = CumulantFunction(weights, 0.25)
        sd = math.sqrt(function.variance)
        function.missed(1.0 / sd)
        one = cpu_ms(lambda f=function, t=1.0 / sd: f.missed(t))
        bound = cpu_ms(lambda f=function, s=10 * sd: chernoff(f, s))
        build = cpu_ms(lambda f=function: TailCurve(f))
        traced = TailCurve(function)
        s = rng.standard_normal(1_000) * sd
        decoys = cpu_ms(lambda c=traced, s=s: (c.chernoff_log10_p(s), c.saddlepoint_log10_p(s)))
        loss = max(traced.chernoff_log10_p([z * sd])[0] - chernoff(function, z * sd).log10_p for z in range(1, 31))
        print(
            f"600,000 {name} weights, CPU ms: one K {one:.1f}, one bound {bound:.0f}, curve {build:.0f}, "
            f"bound and saddlepoint of 1,000 decoys {decoys:.1f}; curve's loss to z = 30 at most {loss:.0e} decades"
        )


def counts() -> None:
    greens = np.random.default_rng(2).random((200, 2_000)) < 0.25
    print(f"e-process: {cpu_ms(lambda: log10_e_process(greens, 0.25)) / greens.size * 1e6:.0f} ns a pair")
    for q in (0.50, 0.35, 0.28, 0.26, 0.251):
        print(f"pairs needed for {q}: {pairs_needed(q, 0.25)} in {cpu_ms(lambda q=q: pairs_needed(q, 0.25)):.0f} ms")


if __name__ == "__main__":
    binomial()
    weighted()
    curve()
    counts()
