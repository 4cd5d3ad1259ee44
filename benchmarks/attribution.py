"""Attribution among many accounts.

    python -m benchmarks.attribution [speed] [simulation] [unequal] [--repetitions 200]

speed       10,000 accounts, derived from an owner's key, on 100,000 distinct pairs: wall and CPU seconds
simulation  1,000 accounts, 0, 1 and 3 true sources, fresh keys in every repetition: who is attributed, at two levels
unequal     the same with three sources that wrote 70, 20 and 10 % of the documents, and with five times as many

Parts that are not asked for stay in the results as they were.
"""

from __future__ import annotations

import argparse
import os
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import kept, save
from detect.attribution import Attribution, Candidate, Group, Judgement, Observation, attribute, derived_candidates
from detect.exact.validity import largest_expected
from watermark import GreenList, Key, chacha
from watermark.keys import Parameters

LEVELS = (0.05, 1e-6)
EQUAL: tuple[tuple[float, ...], ...] = ((), (1.0,), (1 / 3, 1 / 3, 1 / 3))  # shares of the true sources
UNEQUAL = (0.7, 0.2, 0.1)
VOCABULARY = 512
DOCUMENTS, LENGTH, DELTA = 48, 60, 2.0  # of one repetition: 48 answers of 60 tokens
MORE_DOCUMENTS = 5 * DOCUMENTS


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


def documents_of(shares: Sequence[float], documents: int) -> list[int]:
    """How many documents each source wrote: rounded, what is left over goes to the first."""
    counts = [round(share * documents) for share in shares]
    counts[0] += documents - sum(counts)
    return counts


def repetition(
    n_accounts: int, shares: Sequence[float], documents: int, rng: np.random.Generator
) -> tuple[Group, list[str]]:
    """Fresh keys, and documents of a source for each share (none: unmarked); and whose they are, in that order."""
    candidates = list(derived_candidates(owner_key(rng), [f"account-{i:04}" for i in range(n_accounts)]))
    sources = [candidates[i] for i in rng.choice(n_accounts, len(shares), replace=False)]
    keys: Sequence[Key | None] = [source.key for source in sources] or [None]
    counts = documents_of(shares or (1.0,), documents)
    written = np.concatenate([write(key, count, rng) for key, count in zip(keys, counts, strict=True)])
    return Group(candidates, Observation.of_documents(candidates[0].key, written)), [s.account for s in sources]


def simulate(
    n_accounts: int, shares: Sequence[float], repetitions: int, documents: int = DOCUMENTS, seed: int = 0
) -> dict[str, Any]:
    """How often each source, all of them, and anybody else was attributed at each of LEVELS."""
    rng = np.random.default_rng([seed, len(shares)])
    each = {alpha: [0] * len(shares) for alpha in LEVELS}
    every, wrong = dict.fromkeys(LEVELS, 0), dict.fromkeys(LEVELS, 0)
    pairs, gaps = [], []
    for _ in range(repetitions):
        group, sources = repetition(n_accounts, shares, documents, rng)
        for alpha in LEVELS:
            found = attribute([group], Judgement(alpha))
            hits = [source in found.attributed for source in sources]
            each[alpha] = [count + hit for count, hit in zip(each[alpha], hits, strict=True)]
            every[alpha] += all(hits)
            wrong[alpha] += bool(set(found.attributed) - set(sources))
        pairs.append(len(group.observation.pairs))
        gaps += [] if found.runner_up_gap is None else [found.runner_up_gap]
    return {
        "accounts": n_accounts,
        "sources": len(shares),
        "shares": [round(share, 3) for share in shares],
        "documents": documents_of(shares or (1.0,), documents),
        "repetitions": repetitions,
        "distinct_pairs_median": int(np.median(pairs)),
        "runner_up_gap_median": round(float(np.median(gaps)), 2) if gaps else None,
        "levels": {
            f"{alpha:g}": {
                "every_source_attributed": every[alpha] if shares else None,
                "attributed_by_share": each[alpha],
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
    return largest_expected(repetitions, alpha)


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
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="|".join(PARTS))
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--accounts", type=int, default=1000, help="of the simulations")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    result = kept("attribution")
    for part in (part for part in PARTS if part in options.parts):
        begun = time.process_time()
        result[part] = PARTS[part](options.accounts, options.repetitions)
        result["measured"][part] = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "cpu_seconds": round(time.process_time() - begun, 1),
        }
    save("attribution", "python -m benchmarks.attribution", result)


def equal_shares(n_accounts: int, repetitions: int) -> list[dict[str, Any]]:
    """No source, one, and three with equal shares."""
    chacha.NUMBA_FROM = 1  # some hundred pairs a key, but 600,000 keys: the compiled kernel pays for itself
    return [simulate(n_accounts, shares, repetitions) for shares in EQUAL]


def unequal_shares(n_accounts: int, repetitions: int) -> list[dict[str, Any]]:
    """Three sources with unequal shares, of few documents and of more."""
    chacha.NUMBA_FROM = 1
    sizes = (DOCUMENTS, MORE_DOCUMENTS)
    return [simulate(n_accounts, UNEQUAL, repetitions, size, seed=1) for size in sizes]


PARTS: dict[str, Callable[[int, int], Any]] = {
    "speed": lambda *_: speed(10_000, 100_000),
    "simulation": equal_shares,
    "unequal": unequal_shares,
}


if __name__ == "__main__":
    main()
