"""Reading a model against its forward passes: `python -m benchmarks.reading_speed [--positions 10000]`.

A reading of so many positions of SmolLM2 and a reference of its size, with a line-up of 1,000 decoys, on one thread,
against the two models' own forward passes; and what the weights D take of a position, logits at hand.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import numpy as np

from benchmarks.common import cpu_seconds, docstrings, save

LENGTH = 128


def weights(vocabulary: int = 49_152, contexts: int = 500) -> dict[str, Any]:
    """CPU milliseconds of a position from two models' logits to the sums of D, and the memory it goes through."""
    import torch

    from detect.questioned.positions import CHUNK
    from detect.questioned.reading import Tables

    logits = [torch.randn(CHUNK, vocabulary, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    index = torch.arange(CHUNK) % contexts
    tables = Tables(contexts, vocabulary)

    def add() -> None:
        tables.add(index, *(torch.log_softmax(one, dim=-1) for one in logits))

    one_pass = cpu_seconds(lambda: logits[0].clone(), 20) / CHUNK
    whole = cpu_seconds(add, 5) / CHUNK
    return {
        "vocabulary": vocabulary,
        "positions_at_once": CHUNK,
        "cpu_milliseconds_a_position": round(1000 * whole, 3),
        "copy_of_one_position_milliseconds": round(1000 * one_pass, 4),
        "copies_that_it_takes": round(whole / one_pass, 1),
    }


def reading(positions: int) -> dict[str, Any]:
    import torch

    from detect import Probe, lineup, read_model, weigh, window_rule
    from distill_sim.teacher import pull_smollm2
    from watermark import Key
    from watermark.engines.models import load_model, load_tokenizer

    torch.set_num_threads(1)
    directory = pull_smollm2()
    tokenizer, reference, questioned = load_tokenizer(directory), load_model(directory), load_model(directory)
    with torch.no_grad():  # another model of the same size
        questioned.model.layers[-1].mlp.down_proj.weight.mul_(1.02)
    ids: Any = np.concatenate([tokenizer(text, add_special_tokens=False)["input_ids"] for text in docstrings(80_000)])
    probes = [Probe([], ids[i : i + LENGTH]) for i in range(0, positions, LENGTH)]
    key = Key.generate(tokenizer=tokenizer)

    def forward() -> None:
        with torch.inference_mode():
            for model in (questioned, reference):
                for start in range(0, len(probes), 6):
                    batch = [p.answer_ids for p in probes[start : start + 6] if len(p.answer_ids) == LENGTH]
                    model(input_ids=torch.from_numpy(np.stack(batch)), use_cache=False)

    def passes() -> float:
        begun = time.process_time()
        forward()
        return time.process_time() - begun

    passes()
    first = passes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    result = read_model(questioned, probes, rule=window_rule(key), vocab_size=len(tokenizer), reference=reference)
    read = time.process_time() - begun
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    begun = time.process_time()
    lineup(weigh(key, result), 1000)
    decoys = time.process_time() - begun
    forward_seconds = (first + passes()) / 2  # before and after what they are compared with
    return {
        "positions": result.n_positions,
        "distinct_contexts": len(result.mass.contexts),
        "megabytes_beyond_the_forward_passes": round(grown / 1024),
        "weights": len(result.pairs),
        "forward_cpu_seconds": round(forward_seconds, 1),
        "reading_cpu_seconds": round(read, 1),
        "bound_and_lineup_cpu_seconds": round(decoys, 1),
        "reading_and_lineup_over_forward": round((read + decoys) / forward_seconds, 2),
    }


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=10_000)
    positions = parser.parse_args().positions
    torch.set_num_threads(1)
    found = {"weights": weights(), "reading": reading(positions)}
    save("reading_speed", f"python -m benchmarks.reading_speed --positions {positions}", found)


if __name__ == "__main__":
    main()
