"""Scoring a text file against its bare tokenizer: `python -m benchmarks.text [--megabytes 12] [--rounds 5]`.

English text of about so many megabytes in one file, SmolLM2's tokenizer, one thread and then all. Each run is a process
of its own, the two kinds in alternating order; start-up and a first short text are outside the clock.

bare     the file read, cut at the same line ends, and made into token ids, which are thrown away
taggant  `read_rows`, `tokenized`, `tally`, `assess`: what `taggant detect` does with the file
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import docstrings, save

KINDS = ("bare", "taggant")


def bare(path: Path, tokenizer: Any) -> int:
    """Number of tokens."""
    from detect.readers.encoding import batches, pieces

    core, count = tokenizer.backend_tokenizer, 0
    for batch in batches(pieces(path.read_text(encoding="utf-8")), len):
        for encoding in core.encode_batch_fast(batch, add_special_tokens=False):
            count += len(encoding.ids)
    return count


def taggant(path: Path, tokenizer: Any) -> int:
    """Number of tokens."""
    from detect import assess, tally
    from detect.readers import read_rows, tokenized
    from watermark import Key

    key = Key.generate(tokenizer=tokenizer)
    collection = tokenized(read_rows([path]), key.context_width, lambda: tokenizer)
    return assess(tally(key, collection.documents, collection.prompts)).n_tokens


def run_once(kind: str, path: Path) -> dict[str, Any]:
    """Wall and CPU seconds of one run in this process."""
    import watermark.chacha_numba
    import watermark.dedup_numba  # noqa: F401
    from distill_sim.teacher import pull_smollm2
    from watermark.engines.text_tokenizer import load_text_tokenizer

    tokenizer, work = load_text_tokenizer(pull_smollm2()), {"bare": bare, "taggant": taggant}[kind]
    with tempfile.TemporaryDirectory() as place:
        short = Path(place) / "short.txt"
        short.write_text("\n\n".join(docstrings(300_000)), encoding="utf-8")
        work(short, tokenizer)
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = work(path, tokenizer)
    return {"tokens": tokens, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def compare(path: Path, threads: int, rounds: int) -> dict[str, Any]:
    """Medians of both kinds, and their ratio."""
    environment = {
        **os.environ, "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
    }  # fmt: skip
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for number in range(rounds):
        for kind in KINDS[:: 1 if number % 2 == 0 else -1]:
            command = [sys.executable, "-m", "benchmarks.text", "--run", kind, str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            found[kind].append(json.loads(done.stdout.splitlines()[-1]))
    result: dict[str, Any] = {"threads": threads, "rounds": rounds, "tokens": found["bare"][0]["tokens"]}
    for kind in KINDS:
        for clock in ("wall", "cpu"):
            times = [one[clock] for one in found[kind]]
            result[f"{kind}_{clock}_seconds"] = {
                "median": round(statistics.median(times), 3), "least": round(min(times), 3),
                "most": round(max(times), 3),
            }  # fmt: skip
    for clock in ("wall", "cpu"):
        bare_time, whole = (result[f"{kind}_{clock}_seconds"]["median"] for kind in KINDS)
        result[f"share_of_the_bare_speed_{clock}"] = round(bare_time / whole, 3)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--run", nargs=2, metavar=("KIND", "FILE"), help="one run in this process")
    options = parser.parse_args()
    if options.run:
        print(json.dumps(run_once(options.run[0], Path(options.run[1]))))
        return
    text = "\n\n".join(docstrings(4_000_000))
    text *= 1 + int(options.megabytes * 1e6) // len(text)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "large.txt"
        path.write_text(text, encoding="utf-8")
        result = {
            "megabytes": round(path.stat().st_size / 1e6, 1),
            "load_average_at_start": round(os.getloadavg()[0], 2),
            "runs": [compare(path, threads, options.rounds) for threads in sorted({1, os.cpu_count() or 1})],
        }
    save("text", "python -m benchmarks.text", result)


if __name__ == "__main__":
    main()
