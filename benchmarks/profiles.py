"""Where the time goes: `python -m benchmarks.profiles [detect|lineup|step|score …]`, by py-spy (the extra `bench`).

detect   a text file of 12 MB, SmolLM2's tokenizer: read, tokenise, count, assess
lineup   1,000 decoys over 100,000 pairs
step     steps of generation, V = 128,000, batch 8, contexts never seen
score    8,192 token ids, over and over

Each in a process that py-spy watches for some seconds, start-up left out. Writes results/profiles/<name>.txt: the
functions that most samples ended in, those that most samples went through, and every stack with its samples.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, docstrings, machine

PROFILES = RESULTS / "profiles"
SECONDS, RATE = 8, 200
Work = Callable[[], Any]
READY = "ready"


def detect_text() -> Work:
    import benchmarks.text as text
    from distill_sim.teacher import pull_smollm2
    from watermark.engines.text_tokenizer import load_text_tokenizer

    tokenizer = load_text_tokenizer(pull_smollm2())
    path = Path(tempfile.mkdtemp()) / "large.txt"
    whole = "\n\n".join(docstrings(4_000_000))
    path.write_text(whole * (1 + 12_000_000 // len(whole)), encoding="utf-8")
    return lambda: text.taggant(path, tokenizer)


def line_up() -> Work:
    from benchmarks.scaling import _ids, _key
    from detect import lineup, tally

    counted = tally(_key(), [_ids(100_001)])
    return lambda: lineup(counted, 1000)


def step() -> Work:
    from benchmarks.scaling import vocabulary

    return vocabulary(128_000)


def score() -> Work:
    import watermark.chacha_numba
    import watermark.dedup_numba  # noqa: F401
    from benchmarks.scaling import tokens

    return tokens(8192)


SCENARIOS: dict[str, Callable[[], Work]] = {"detect": detect_text, "lineup": line_up, "step": step, "score": score}


def work(name: str) -> None:
    """Set up, say so, and go on until stopped."""
    once = SCENARIOS[name]()
    once()
    print(READY, flush=True)
    while True:
        once()


def stacks_of(name: str) -> Counter[str]:
    """Samples by stack, outermost function first, of one scenario on one thread."""
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "benchmarks.profiles", "--work", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != READY:
                raise SystemExit(f"{name} did not start")
            time.sleep(0.5)
            with tempfile.TemporaryDirectory() as place:
                raw = Path(place) / "raw.txt"
                subprocess.run(
                    ["py-spy", "record", "--pid", str(process.pid), "--duration", str(SECONDS), "--rate", str(RATE),
                     "--format", "raw", "--output", raw],
                    check=True, capture_output=True,
                )  # fmt: skip
                lines = raw.read_text().splitlines()
        finally:
            process.send_signal(signal.SIGKILL)
    counts: Counter[str] = Counter()
    for line in lines:
        stack, _, samples = line.rpartition(" ")
        counts[stack] += int(samples)
    return counts


def written(name: str, stacks: Counter[str]) -> str:
    """The profile as text."""
    total = stacks.total()
    own: Counter[str] = Counter()
    through: Counter[str] = Counter()
    for stack, samples in stacks.items():
        frames = stack.split(";")
        own[frames[-1]] += samples
        for frame in set(frames):
            through[frame] += samples
    about = ", ".join(f"{key} {value}" for key, value in machine().items() if key in ("processor", "python", "numba"))
    lines = [f"{name}: {total} samples, {RATE} a second, one thread; {about}", ""]
    for title, counted in (("in the function itself (what it calls compiled included)", own), ("through it", through)):
        lines += [f"Share of samples {title}", ""]
        lines += [f"{samples / total:7.1%}  {frame}" for frame, samples in counted.most_common(15)] + [""]
    lines += ["Every stack, outermost first, with its samples", ""]
    lines += [f"{samples:5}  {stack}" for stack, samples in stacks.most_common(60)]
    return "\n".join(lines).replace(str(RESULTS.parents[1]) + "/", "") + "\n"


def main(names: list[str]) -> None:
    if names and names[0] == "--work":
        work(names[1])
    PROFILES.mkdir(exist_ok=True)
    for name in names or SCENARIOS:
        (PROFILES / f"{name}.txt").write_text(written(name, stacks_of(name)))
        print(f"{PROFILES / name}.txt", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
