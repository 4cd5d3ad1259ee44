"""How many weights should each context keep? `python -m benchmarks.reading_top RUN`, RUN a finished demo.

Reads student and control once with K = 4,096 and truncates from there: log10 p by K, with the cost of a decoy.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import save, stage_directory
from detect import Probe, read_model, window_rule
from detect.exact.weighted import CumulantFunction, chernoff, statistic, z_score
from detect.observation import Reading
from distill_sim.corpus import read_corpus
from distill_sim.stages import CORPUS, STUDENT
from distill_sim.teacher import pull_smollm2
from watermark import GreenList, Key
from watermark.engines.models import load_model

LARGEST = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    key = Key.load(run / "keys" / "account.key")
    rows = read_corpus(stage_directory(run, "probes") / CORPUS)
    probes = [Probe(row.prompt_ids, row.token_ids) for row in rows]
    reference = load_model(pull_smollm2())
    assert key.tokenizer is not None
    result: dict[str, Any] = {}
    for name in ("student", "control"):
        reading = read_model(
            load_model(stage_directory(run, name) / STUDENT),
            probes,
            rule=window_rule(key),
            vocab_size=key.tokenizer.vocab_size,
            reference=reference,
            top=LARGEST,
        )
        result[name] = {str(top): _at(reading, key, top) for top in (16, 64, 128, 256, 512, 1024, LARGEST)}
    save("reading_top", "python -m benchmarks.reading_top runs/demo", {"by_top": result})


def _at(reading: Reading, key: Key, top: int) -> dict[str, Any]:
    keep = _largest_per_context(reading, top)
    contexts, tokens, weights = reading.pairs.contexts[keep], reading.pairs.tokens[keep], reading.weights[keep]
    green = GreenList(key)
    prepared = green.prepare(contexts, tokens)
    green.colour(prepared)  # the compiled kernel is loaded now
    begun = time.process_time()
    s = statistic(green.colour(prepared), weights, green.gamma)
    decoy = time.process_time() - begun
    cumulant = CumulantFunction(weights, green.gamma)
    return {
        "weights": len(weights),
        "log10_p": round(chernoff(cumulant, s).log10_p, 2),
        "z": round(z_score(cumulant, s), 2),
        "decoy_cpu_ms": round(1000 * decoy, 2),
    }


def _largest_per_context(reading: Reading, top: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Pairs come context by context: rank the magnitudes within each run of equal contexts."""
    contexts = reading.pairs.contexts
    changed = np.append(True, (contexts[1:] != contexts[:-1]).any(axis=1))
    group = np.cumsum(changed)
    order = np.lexsort((-np.abs(reading.weights), group))
    starts = np.flatnonzero(changed)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - starts[group[order] - 1]
    return rank < top


if __name__ == "__main__":
    main()
