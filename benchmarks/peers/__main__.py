"""Time Taggant and its peers in one run: `python -m benchmarks.peers [--quick] [--only NAME …] [--save NAME]`.

step   what is added to the logits of a step: vocabularies of 50k, 128k and 256k, batches of 1, 8 and 64
score  a test of token ids, to its p-value or score: 512 and 8,192 of them

One thread each, the same ids, rounds in alternating order. Writes results/peers.json, from which `python -m
benchmarks.speed_page` makes docs/speed.md. A peer that cannot be installed is left out, and the result says so.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import save
from benchmarks.peers.contest import Case, Worker, compare
from benchmarks.peers.environments import peers, python_of
from benchmarks.peers.tables import headline, table

OURS = ("taggant", "transformers", "limits")
VOCABULARIES, BATCHES, LENGTHS = (50_000, 128_000, 256_000), (1, 8, 64), (512, 8192)
CONTEXT = 8  # ids before a step: as many as any contestant looks at


def cases(quick: bool) -> list[Case]:
    """Every case, or the three that take least."""
    rng = np.random.default_rng(6)
    steps = [
        Case("step", vocabulary, rng.integers(0, vocabulary - 1, (batch, CONTEXT)).tolist())
        for vocabulary in VOCABULARIES
        for batch in BATCHES
    ]
    scores = [
        Case("score", vocabulary, rng.integers(0, vocabulary - 1, (1, length)).tolist())
        for vocabulary in VOCABULARIES
        for length in LENGTHS
    ]
    return [steps[0], steps[3], scores[0]] if quick else [*steps, *scores]


def start(names: list[str], root: Path, stack: ExitStack) -> tuple[list[Worker], dict[str, str]]:
    """A worker for each library, and why others are missing."""
    workers, missing = [], {}
    for name in names:
        try:
            python = Path(sys.executable) if name in OURS else python_of(name, root)
            worker = Worker(name, python, ours=name in ("taggant", "limits"))
        except OSError as error:
            missing[name] = str(error)
            continue
        stack.callback(worker.close)
        workers.append(worker)
    return workers, missing


def described(case: Case, results: dict[str, Any]) -> dict[str, Any]:
    of_step = case.task == "step"
    size = {"batch": len(case.ids)} if of_step else {"tokens": len(case.ids[0])}
    return {"task": case.task, "vocabulary": case.vocabulary, **size, "results": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [*OURS, *peers()]
    parser.add_argument("--quick", action="store_true", help="three small cases, nothing written")
    parser.add_argument(
        "--only", nargs="+", choices=known, default=known, metavar="NAME", help=f"{', '.join(known)}; nothing written"
    )
    parser.add_argument("--save", default="peers", metavar="NAME", help="results/NAME.json is written")
    parser.add_argument(
        "--environments", type=Path, default=Path(sys.prefix) / "peers", help="where the peers' environments are"
    )
    options = parser.parse_args()
    busy = os.getloadavg()[0]
    done: list[dict[str, Any]] = []
    with ExitStack() as stack:
        workers, missing = start(options.only, options.environments, stack)
        for case in cases(options.quick):
            print(f"{case.task}, V = {case.vocabulary:,}, {np.shape(case.ids)}", file=sys.stderr)
            done.append(described(case, compare(case, workers)))
            print(table(done[-1]), file=sys.stderr, flush=True)
        versions = {name: version for worker in workers for name, version in worker.versions.items()}
    for name, reason in missing.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    result = {
        "threads": 1,
        "load_average_at_start": round(busy, 2),
        "versions": versions,
        "left_out": missing,
        "headline": headline(done),
        "cases": done,
    }
    if not options.quick and options.only == known:
        save(options.save, f"python -m benchmarks.peers --save {options.save}", result)


if __name__ == "__main__":
    main()
