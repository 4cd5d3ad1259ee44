"""Speed as ratios, each in one run on one thread: `python -m benchmarks.speed [processor|pairs|detect|reading …]`.

processor  GreenListProcessor against transformers' left-hash processor and against softmax + multinomial, V = 128k
pairs      colouring, and colouring with deduplication, in pairs per CPU second
detect     the tokenizer's share of `taggant detect` on a large text file
reading    a reading of 10,000 positions with a line-up of 1,000 decoys, against the models' own forward passes
startup    `taggant --help` in wall seconds
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import cpu_seconds, docstrings, save

VOCABULARY = 128_000


def processor() -> dict[str, Any]:
    import torch
    from transformers import WatermarkLogitsProcessor

    from watermark import GreenListProcessor, Key

    key = Key.generate()
    left = WatermarkLogitsProcessor(VOCABULARY, "cpu", context_width=1)
    result: dict[str, Any] = {}
    for batch in (1, 8, 64):
        scores = torch.randn(batch, VOCABULARY)
        ids = torch.arange(batch * 5).reshape(batch, 5)
        cached = GreenListProcessor(key, VOCABULARY)
        cold = GreenListProcessor(key, VOCABULARY, cache_bytes=0)
        fresh = itertools.cycle([ids, ids + 1])  # a cache of one row, and never the same context twice in a row
        repeats = max(2, 64 // batch)
        seconds = {
            "transformers_left": cpu_seconds(lambda: left(ids, scores), max(2, repeats // 8)),  # noqa: B023
            "softmax_multinomial": cpu_seconds(lambda: torch.multinomial(scores.softmax(-1), 1), max(2, repeats // 8)),  # noqa: B023
            "taggant_cold": cpu_seconds(lambda: cold(next(fresh), scores), repeats),  # noqa: B023
            "taggant_cached": cpu_seconds(lambda: cached(ids, scores), repeats),  # noqa: B023
        }
        result[f"batch_{batch}"] = {
            **{name: {"cpu_ms": round(1000 * value, 4)} for name, value in seconds.items()},
            "left_over_cold": round(seconds["transformers_left"] / seconds["taggant_cold"], 1),
            "left_over_cached": round(seconds["transformers_left"] / seconds["taggant_cached"], 1),
            "sampling_over_cold": round(seconds["softmax_multinomial"] / seconds["taggant_cold"], 1),
        }
    return result


def pairs() -> dict[str, Any]:
    from watermark.greenlist import GreenList
    from watermark.windows import WindowRule

    rng = np.random.default_rng(0)
    green = GreenList.from_chacha_key(bytes(range(32)), 16384, 1)
    count = 4_000_000
    contexts, tokens = rng.integers(0, 50_000, (count, 1)), rng.integers(0, 50_000, count)
    text = np.minimum(rng.zipf(1.2, count), 49_999)  # repeats as natural text does
    rule = WindowRule(1, (0, 1, 2))

    def whole(ids: Any) -> None:
        found = rule.extract([ids]).pairs
        green.is_green(found.contexts, found.tokens)

    return {
        "colouring_million_pairs_per_cpu_second": round(
            count / cpu_seconds(lambda: green.is_green(contexts, tokens)) / 1e6, 1
        ),
        "with_dedup_all_distinct": round(count / cpu_seconds(lambda: whole(tokens)) / 1e6, 1),
        "with_dedup_zipf_text": round(count / cpu_seconds(lambda: whole(text)) / 1e6, 1),
    }


def detect() -> dict[str, Any]:
    """CPU of the tokenizer alone against reading, tokenising and counting, in this process; start-up aside."""
    import tempfile

    from detect import tally
    from detect.readers import read_rows, tokenized
    from distill_sim.teacher import pull_smollm2
    from watermark import Key
    from watermark.engines.models import load_tokenizer

    tokenizer = load_tokenizer(pull_smollm2())
    key = Key.generate(tokenizer=tokenizer)
    text = "\n\n".join(docstrings(4_000_000))
    text = text * (1 + 10_000_000 // len(text))
    inner = {"seconds": 0.0}
    backend = tokenizer.backend_tokenizer

    class Timed:
        """The tokenizer's Rust part with a clock around it."""

        def __getattr__(self, name: str) -> Any:
            attribute = getattr(backend, name)
            if not name.startswith("encode"):
                return attribute

            def clocked(*arguments: Any, **options: Any) -> Any:
                begun = time.process_time()
                try:
                    return attribute(*arguments, **options)
                finally:
                    inner["seconds"] += time.process_time() - begun

            return clocked

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "large.txt"
        path.write_text(text)
        tokenizer._tokenizer = Timed()
        tally(key, tokenized(read_rows([path]), 1, lambda: tokenizer).documents)  # numba's kernels are loaded now
        inner["seconds"] = 0.0
        begun = time.process_time()
        collection = tokenized(read_rows([path]), 1, lambda: tokenizer)
        tally(key, collection.documents, collection.prompts)
        total = time.process_time() - begun
    return {
        "megabytes": round(len(text.encode()) / 1e6, 1),
        "tokens": int(sum(map(len, collection.documents))),
        "cpu_seconds": round(total, 2),
        "tokenizer_share": round(inner["seconds"] / total, 3),
    }


def reading() -> dict[str, Any]:
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
    ids = np.concatenate([tokenizer(text, add_special_tokens=False)["input_ids"] for text in docstrings(80_000)])
    probes = [Probe([], ids[i : i + 128]) for i in range(0, 10_000, 128)]
    key = Key.generate(tokenizer=tokenizer)

    def forward() -> None:
        with torch.inference_mode():
            for model in (questioned, reference):
                for start in range(0, len(probes), 6):
                    batch = [p.answer_ids for p in probes[start : start + 6] if len(p.answer_ids) == 128]
                    model(input_ids=torch.from_numpy(np.stack(batch)), use_cache=False)

    begun = time.process_time()
    forward()
    passes = time.process_time() - begun
    begun = time.process_time()
    result = read_model(questioned, probes, rule=window_rule(key), vocab_size=len(tokenizer), reference=reference)
    read = time.process_time() - begun
    begun = time.process_time()
    lineup(weigh(key, result), 1000)
    decoys = time.process_time() - begun
    return {
        "positions": result.n_positions,
        "weights": len(result.pairs),
        "forward_cpu_seconds": round(passes, 1),
        "reading_cpu_seconds": round(read, 1),
        "bound_and_lineup_cpu_seconds": round(decoys, 1),
        "reading_and_lineup_over_forward": round((read + decoys) / passes, 2),
    }


def startup() -> dict[str, Any]:
    command = [str(Path(sys.executable).with_name("taggant")), "--help"]
    seconds = []
    for _ in range(6):
        begun = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.monotonic() - begun)
    return {"help_wall_seconds_median": round(sorted(seconds[1:])[2], 3)}


PARTS = {part.__name__: part for part in (startup, processor, pairs, detect, reading)}


def main(names: list[str]) -> None:
    import torch

    torch.set_num_threads(1)
    save("speed", "python -m benchmarks.speed", {name: PARTS[name]() for name in names or PARTS})


if __name__ == "__main__":
    main(sys.argv[1:])
