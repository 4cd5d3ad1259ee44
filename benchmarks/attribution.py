"""Attribution among many accounts: `python -m benchmarks.attribution [speed] [simulation] [--repetitions 200]`.

speed       10,000 accounts, derived from an owner's key, on 100,000 distinct pairs: wall and CPU seconds
simulation  1,000 accounts, 0, 1 and 3 true sources, fresh keys in every repetition: who is attributed, at two levels
"""

from __future__ import annotations

import argparse
import os
import secrets
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import save
from detect.attribution import Attribution, Candidate, Group, Judgement, Observation, attribute, derived_candidates
from detect.exact.power import critical_count
from watermark import GreenList, Key, chacha
from watermark.keys import Parameters

LEVELS = (0.05, 1e-6)
SOURCES = (0, 1, 3)
VOCABULARY = 512
DOCUMENTS, LENGTH, DELTA = 48, 60, 2.0  # of one repetition: 48 answers of 60 tokens


def owner_key(rng: np.random.Generator | None = None) -> Key:
    """A fresh owner's key with the default profile; from `rng` where a run is to be repeated."""
    secret = secrets.token_bytes(32) if rng is None else rng.bytes(32)
    return Key(secret, Parameters(16384, DELTA, 1))


def write(key: Key | None, documents: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Documents [documents, LENGTH], written without a model: Zipf's law, delta added on the key's green lists."""
    logits = np.tile(-1.1 * np.log(np.arange(1.0, VOCABULARY + 1)), (VOCABULARY, 1))
    if key is not None:
        logits += key.parameters.delta * GreenList(key).mask(np.arange(VOCABULARY).reshape(-1, 1), VOCABULARY)
    law = np.cumsum(np.exp(logits), axis=1)
    law /= law[:, -1:]
    tokens = np.empty((documents, LENGTH), dtype=np.int64)
    tokens[:, 0] = rng.integers(0, VOCABULARY, documents)
    for t in range(1, LENGTH):
        drawn = rng.random((documents, 1))
        tokens[:, t] = np.minimum((law[tokens[:, t - 1]] < drawn).sum(axis=1), VOCABULARY - 1)
    return tokens


def repetition(n_accounts: int, n_sources: int, rng: np.random.Generator) -> tuple[Group, set[str]]:
    """Fresh keys, and documents of `n_sources` of them mixed in equal shares (0: unmarked); and whose they are."""
    candidates = list(derived_candidates(owner_key(rng), [f"account-{i:04}" for i in range(n_accounts)]))
    sources = [candidates[i] for i in rng.choice(n_accounts, n_sources, replace=False)]
    keys: Sequence[Key | None] = [source.key for source in sources] or [None]
    documents = np.concatenate([write(key, DOCUMENTS // len(keys), rng) for key in keys])
    return Group(candidates, Observation.of_documents(candidates[0].key, documents)), {s.account for s in sources}


def simulate(n_accounts: int, n_sources: int, repetitions: int, seed: int = 0) -> dict[str, Any]:
    """How often every source, and how often anybody else, was attributed at each of LEVELS."""
    rng = np.random.default_rng([seed, n_sources])
    every, wrong = dict.fromkeys(LEVELS, 0), dict.fromkeys(LEVELS, 0)
    pairs, gaps = [], []
    for _ in range(repetitions):
        group, sources = repetition(n_accounts, n_sources, rng)
        for alpha in LEVELS:
            found = attribute([group], Judgement(alpha))
            every[alpha] += sources <= set(found.attributed)
            wrong[alpha] += bool(set(found.attributed) - sources)
        pairs.append(len(group.observation.pairs))
        gaps += [] if found.runner_up_gap is None else [found.runner_up_gap]
    return {
        "accounts": n_accounts,
        "sources": n_sources,
        "repetitions": repetitions,
        "distinct_pairs_median": int(np.median(pairs)),
        "runner_up_gap_median": round(float(np.median(gaps)), 2) if gaps else None,
        "levels": {
            f"{alpha:g}": {
                "every_source_attributed": every[alpha] if n_sources else None,
                "any_false_attribution": wrong[alpha],
                "false_attribution_limit": limit(repetitions, alpha),
            }
            for alpha in LEVELS
        },
    }


def limit(repetitions: int, alpha: float) -> int:
    """So many repetitions may hold a false attribution: more do with a chance below 1e-4.

    Null: the family-wise error is at most alpha, repetitions independent; exact (binomial).
    """
    return critical_count(repetitions, alpha, 1e-4) - 1


def speed(n_accounts: int, n_pairs: int) -> dict[str, Any]:
    """From an owner's key and account ids to the attribution, the pairs at hand; kernels compiled before."""
    rng, busy = np.random.default_rng(0), os.getloadavg()[0]
    owner, documents = owner_key(), rng.integers(0, 49_152, (1, n_pairs + n_pairs // 100))
    seen = Observation.of_documents(owner, documents)
    GreenList(owner).is_green(seen.pairs.contexts, seen.pairs.tokens)
    begun, cpu = time.perf_counter(), time.process_time()
    candidates: list[Candidate] = list(derived_candidates(owner, [f"account-{i:05}" for i in range(n_accounts)]))
    derived = time.perf_counter() - begun, time.process_time() - cpu
    found: Attribution = attribute([Group(candidates, seen)])
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {
        "accounts": n_accounts,
        "pairs": len(seen.pairs),
        "finding": found.finding,
        "threads": os.cpu_count(),
        "load_average_at_start": round(busy, 2),
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "of_which_deriving_wall_cpu": [round(value, 2) for value in derived],
        "million_pairs_per_cpu_second": round(n_accounts * len(seen.pairs) / cpu / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["speed", "simulation"], metavar="speed|simulation")
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--accounts", type=int, default=1000, help="of the simulation")
    options = parser.parse_args()
    result: dict[str, Any] = {}
    if "speed" in options.parts:
        result["speed"] = speed(10_000, 100_000)
    if "simulation" in options.parts:
        chacha.NUMBA_FROM = 1  # some hundred pairs a key, but 600,000 keys: the compiled kernel pays for itself
        begun = time.process_time()
        result["simulation"] = [simulate(options.accounts, n, options.repetitions) for n in SOURCES]
        result["simulation_cpu_seconds"] = round(time.process_time() - begun, 1)
    save("attribution", "python -m benchmarks.attribution", result)


if __name__ == "__main__":
    main()
