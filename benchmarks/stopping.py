"""When does the e-process stop? Real answers, in many orders, against the number of pairs fixed beforehand.

    python -m benchmarks.stopping KEY ANSWERS [KEY ANSWERS …] [--orders 200] [--alpha 1e-6]

ANSWERS: JSONL rows {prompt_ids?, token_ids}, or the answers.json of a `sampled` stage. The answers of one model are
put into `--orders` random orders and each is run through the sequential test, as if they came in like that; a
permutation keeps the answers whole. Beside it the exact stopping points of independent pairs, by dynamic programming.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import save
from detect.counting import tally
from detect.exact.evalue import log10_e_value
from detect.exact.power import pairs_needed, planned_maximum
from detect.readers import read_rows
from detect.sequential import Sequential
from watermark import Key
from watermark.errors import InputError, UnsupportedError
from watermark.files import strict_json

EFFECT = 0.28  # the design's: from this green fraction on the median stop must come before the fixed n
TABLE = (0.50, 0.35, 0.28)  # and .26 with --slow
FRACTIONS = (0.5, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", type=Path, metavar="KEY ANSWERS")
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--alpha", type=float, default=1e-6)
    parser.add_argument("--slow", action="store_true", help="the table's last line, too: half a minute")
    asked = parser.parse_args()
    if len(asked.pairs) % 2:
        parser.error("give a key before every file of answers")
    models = [
        stops_of(Key.load(key), *read_answers(answers), orders=asked.orders, alpha=asked.alpha)
        | {"answers": answers.parent.name if answers.name == "answers.json" else answers.name}
        for key, answers in zip(asked.pairs[::2], asked.pairs[1::2], strict=True)
    ]
    table = [exact_line(q, asked.alpha) for q in (*TABLE, *([0.26] if asked.slow else []))]
    result = {"alpha": asked.alpha, "orders": asked.orders, "independent_pairs_exactly": table, "models": models}
    save("stopping", "python -m benchmarks.stopping KEY ANSWERS …", result)


def read_answers(path: Path) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of every answer, and of every prompt: the pairs of all planned prompts count nowhere."""
    if path.name == "answers.json":
        content: Any = strict_json(path.read_bytes())
        return content["answers"], content["prompts"]
    answers, prompts = [], []
    for row in read_rows([str(path)]):
        if row.token_ids is None or (row.prompt is not None and row.prompt_ids is None):
            raise InputError(f"{row.source}: rows {{prompt_ids?, token_ids}} are needed, not text")
        answers.append(row.token_ids.tolist())
        prompts += [] if row.prompt_ids is None else [row.prompt_ids.tolist()]
    return answers, prompts


def stops_of(
    key: Key, answers: Sequence[list[int]], prompts: Sequence[list[int]], *, orders: int, alpha: float
) -> dict[str, Any]:
    """One model: what its answers hold, and after how many pairs each order of them stops."""
    whole = tally(key, answers, prompts, test="sampled")
    fraction = whole.n_green / whole.n_scored
    stops = [_stop(key, answers, prompts, np.random.default_rng(seed), alpha) for seed in range(orders)]
    at = np.array([math.inf if stop is None else stop for stop in stops])
    fixed, fixed_28 = _needed(fraction, key.gamma, alpha), _needed(EFFECT, key.gamma, alpha)
    median, late = (_finite(np.quantile(at, f, method="higher")) for f in FRACTIONS)
    return {
        "tokens": whole.n_tokens,
        "pairs": whole.n_scored,
        "green_fraction": round(fraction, 4),
        "stopped_early": int(np.isfinite(at).sum()),
        "median_stop": median,
        "late_stop_90": late,
        "fixed_n_at_its_own_green_fraction": fixed,
        "fixed_n_at_28": fixed_28,
        "median_below_both": None if median is None or fixed is None else median < min(fixed, fixed_28 or math.inf),
    }


def _stop(
    key: Key, answers: Sequence[list[int]], prompts: Sequence[list[int]], rng: np.random.Generator, alpha: float
) -> int | None:
    test = Sequential(key, prompts, alpha, 2**40)
    for index, which in enumerate(rng.permutation(len(answers))):
        if test.add(index, answers[which]):
            return test.n_scored
    return None


def _needed(q: float, gamma: float, alpha: float) -> int | None:
    try:
        return pairs_needed(q, gamma, alpha=alpha)
    except (InputError, UnsupportedError):  # no greener than gamma
        return None


def _finite(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None


def exact_line(q: float, alpha: float, gamma: float = 0.25) -> dict[str, Any]:
    """Stopping points of independent pairs, green with probability q, beside the fixed n and a plan's maximum."""
    fixed = pairs_needed(q, gamma, alpha=alpha)
    points = exact_stops(q, gamma, alpha, FRACTIONS, 4 * fixed)
    names = ("median_stop", "late_stop_90")
    return {"green_fraction": q, **dict(zip(names, points, strict=True)), "fixed_n": fixed,
            "planned_maximum": planned_maximum(fixed)}  # fmt: skip


def exact_stops(q: float, gamma: float, alpha: float, fractions: Sequence[float], longest: int) -> list[int]:
    """After how many pairs these shares of all streams have crossed 1/alpha, by the law of the count not yet stopped.

    Counts whose probability is below 1e-18 are dropped.
    """
    law = np.zeros(longest + 2)
    law[0], low, high, boundary, crossed = 1.0, 0, 0, 0, 0.0
    found: list[int] = []
    for n in range(1, longest + 1):
        step = law[low : high + 2] * (1 - q)
        step[1:] += law[low : high + 1] * q
        law[low : high + 2], high = step, high + 1
        while boundary <= n and log10_e_value(boundary, n, gamma) < -math.log10(alpha):
            boundary += 1
        if high >= boundary:
            crossed += float(law[boundary : high + 1].sum())
            law[boundary : high + 1], high = 0.0, boundary - 1
        while low < high and law[low] < 1e-18:
            law[low], low = 0.0, low + 1
        found += [n for fraction in fractions[len(found) :] if crossed >= fraction]
        if len(found) == len(fractions):
            return found
    raise InputError(f"at green fraction {q} fewer than {fractions[len(found)]:.0%} of streams stop by {longest} pairs")


if __name__ == "__main__":
    main()
