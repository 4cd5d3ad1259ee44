"""Cost against size: `python -m benchmarks.scaling [tokens|documents|keys|vocabulary|workers …]`.

tokens      one document of so many ids, to its evidence
documents   a million ids in so many documents, to its evidence
keys        10,000 pairs under the keys of so many accounts
vocabulary  a step of generation, batch 8: contexts never seen
workers     a line-up of 1,000 decoys over 100,000 pairs, in so many threads on as many processors

Every size in a process of its own: CPU and wall seconds, the least of a few calls after one that is not counted, and
the peak memory beyond that of a process that has imported the same. Writes results/scaling.json and docs/scaling.svg:
log–log, with the exponent that least squares fit to the larger half of the sizes.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import kept, save

FIGURE = Path(__file__).parents[1] / "docs" / "scaling.svg"
SIZES: dict[str, list[int]] = {
    "tokens": [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 30_000_000],
    "documents": [1, 10, 100, 1_000, 10_000, 100_000],
    "keys": [10, 100, 1_000, 10_000, 30_000],
    "vocabulary": [8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 1_024_000],
    "workers": [1, 2],
}
VOCABULARY = 50_000
PROCESSORS = sorted(os.sched_getaffinity(0))
Work = Callable[[], Any]


def tokens(size: int) -> Work:
    from detect import assess, tally

    ids, key = _ids(size), _key()
    return lambda: assess(tally(key, [ids]))


def documents(size: int) -> Work:
    from detect import assess, tally

    texts, key = np.array_split(_ids(1_000_000), size), _key()
    return lambda: assess(tally(key, texts))


def keys(size: int) -> Work:
    from detect.attribution import Group, Observation, attribute, derived_candidates

    owner = _key()
    candidates = list(derived_candidates(owner, [f"account-{i}" for i in range(size)]))
    seen = Observation.of_documents(owner, [_ids(10_001)])
    return lambda: attribute([Group(candidates, seen)])


def vocabulary(size: int) -> Work:
    import itertools

    import torch

    from watermark import GreenListProcessor

    torch.set_num_threads(1)
    processor, logits = GreenListProcessor(_key(), size, cache_bytes=64 << 20), torch.randn(8, size)
    contexts = itertools.count(size, 8)
    return lambda: processor(next(contexts) + torch.arange(8)[:, None], logits)


def workers(size: int) -> Work:
    from detect import lineup, tally

    os.sched_setaffinity(0, PROCESSORS[:size])
    os.cpu_count = lambda: size  # type: ignore[assignment]
    counted = tally(_key(), [_ids(100_001)])
    return lambda: lineup(counted, 1000)


WORK: dict[str, Callable[[int], Work]] = {
    "tokens": tokens, "documents": documents, "keys": keys, "vocabulary": vocabulary, "workers": workers,
}  # fmt: skip


def _key() -> Any:
    from watermark import Key

    return Key.generate(gamma=0.25, delta=2.0, context_width=1)


def _ids(size: int) -> Any:
    return np.random.default_rng(0).integers(0, VOCABULARY, size, dtype=np.uint32)


def point(name: str, size: int) -> dict[str, Any]:
    """One size in this process."""
    import scipy.special  # noqa: F401

    import detect
    import watermark.chacha_numba
    import watermark.dedup_numba  # noqa: F401

    detect.assess(detect.tally(_key(), [_ids(300_000)]))
    WORK[name](SIZES[name][0])()  # everything is imported and compiled
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work = WORK[name](size)
    work()
    walls, cpus = [], []
    begun = time.perf_counter()
    while len(walls) < 3 or (len(walls) < 50 and time.perf_counter() - begun < 1):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"size": size, "wall": min(walls), "cpu": min(cpus), "megabytes": peak / 1024}


def exponent(points: list[dict[str, Any]], measure: str) -> float | None:
    """b of cost = a · size^b, by least squares in logs over the larger half; None: too few, or nothing grew."""
    larger = points[len(points) // 2 :] if len(points) > 3 else points
    upper = [one for one in larger if one[measure] > 0]
    if len(upper) < 2:
        return None
    slope = np.polyfit(np.log([one["size"] for one in upper]), np.log([one[measure] for one in upper]), 1)[0]
    return round(float(slope), 2)


def measured(name: str) -> dict[str, Any]:
    """All sizes of one quantity, and the exponents."""
    points = []
    for size in SIZES[name]:
        command = [sys.executable, "-m", "benchmarks.scaling", "--point", name, str(size)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        one = json.loads(done.stdout.splitlines()[-1])
        rounded = {measure: float(f"{one[measure]:.4g}") for measure in ("wall", "cpu", "megabytes")}
        points.append({"size": size, **rounded})
        print(name, points[-1], file=sys.stderr, flush=True)
    fitted = {measure: exponent(points, measure) for measure in ("wall", "cpu", "megabytes")}
    return {"points": points, "exponents": fitted}


def clock_of(name: str) -> str:
    """Which time is shown: what is spent, but for workers when they are done."""
    return "wall" if name == "workers" else "cpu"


def draw(result: dict[str, Any], path: Path) -> None:
    """Time and memory of every quantity, log–log."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams.update({"svg.hashsalt": "taggant", "font.size": 9})
    names = [name for name in SIZES if name in result]
    figure, axes = plt.subplots(2, len(names), figsize=(3 * len(names), 5.4), squeeze=False)
    for column, name in enumerate(names):
        points = result[name]["points"]
        sizes = [one["size"] for one in points]
        for row, (measure, label) in enumerate(((clock_of(name), "seconds"), ("megabytes", "MB beyond the imports"))):
            shown = axes[row][column]
            grown = [(size, one[measure]) for size, one in zip(sizes, points, strict=True) if one[measure] > 0]
            if not grown:
                shown.text(0.5, 0.5, "nothing that grows", ha="center", transform=shown.transAxes)
                shown.set_axis_off()
                continue
            shown.loglog(*zip(*grown, strict=True), "o-", color="#2b5c8a" if row == 0 else "#8a5c2b")
            shown.set_xlim(0.7 * sizes[0], 1.4 * sizes[-1])
            label = f"{measure} {label}" if row == 0 else label
            power = result[name]["exponents"][measure]
            shown.set_title(f"{label}, ∝ {name}^{power:g}" if power is not None else label, fontsize=9)
            shown.grid(True, which="major", alpha=0.3)
            if row:
                shown.set_xlabel(name)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main(names: list[str]) -> None:
    if names and names[0] == "--point":
        print(json.dumps(point(names[1], int(names[2]))))
        return
    result = kept("scaling")
    for name in names or SIZES:
        result[name] = measured(name)
    result["measured"] = {**result["measured"], "load_average_at_end": round(os.getloadavg()[0], 2)}
    save("scaling", "python -m benchmarks.scaling", result)
    draw(result, FIGURE)


if __name__ == "__main__":
    main(sys.argv[1:])
