"""A real student behind a real server: is the mark found through the API, and in the control not?

    python -m benchmarks.served_student RUN [--sample 2400]     RUN: a finished `benchmarks.strong_students`

`transformers serve` runs the student of the first key, then the control; `taggant suspect --api` asks each the same new
prompts, with the base model as the reference. Needs the extra `dev` (fastapi, uvicorn). Ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import save, stage_directory
from benchmarks.strong_students import NEW_PROMPTS
from distill_sim.corpus import read_corpus
from distill_sim.stages import CORPUS, STUDENT
from distill_sim.teacher import pull_smollm2
from tests.detect.questioned.test_api_server import serving

KEPT = ("n_tokens", "n_scored", "log10_p", "z_score", "theta", "finding", "comparisons", "lineup", "notes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--sample", type=int, default=2400)
    arguments = parser.parse_args()
    key = arguments.run / "keys" / "0.key"
    rows = read_corpus(stage_directory(arguments.run, "unmarked") / CORPUS)
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        prompts, usual = place / "prompts.jsonl", place / "usual.jsonl"
        prompts.write_text("".join(json.dumps({"prompt": one}) + "\n" for one in NEW_PROMPTS))
        usual.write_text("".join(json.dumps({"token_ids": list(row.token_ids)}) + "\n" for row in rows))
        for who in ("student-0", "control"):
            model = (stage_directory(arguments.run, who) / STUDENT).resolve()
            with serving(model, place / f"{who}.log") as server:
                results[who] = {
                    name: _suspect(server.url, model, key, prompts, place, who, arguments.sample, more)
                    for name, more in {
                        "with a reference": ["--reference", pull_smollm2(), "--frequencies", usual, "--decoys", 1000],
                        "counted": [],
                    }.items()
                }
            print(who, {name: one["log10_p"] for name, one in results[who].items()}, flush=True)
    save("served_student", "python -m benchmarks.served_student runs/strong", results)


def _suspect(
    url: str, model: Path, key: Path, prompts: Path, place: Path, who: str, sample: int, more: list[Any]
) -> dict[str, Any]:
    """The evidence of one examination; the second one finds the answers of the first in the log."""
    taggant = Path(sys.executable).with_name("taggant")
    command = [taggant, "suspect", "--key", key, "--api", url, "--model-name", model]
    command += ["--probes", prompts, "--sample", sample, "--max-new-tokens", 64, "--log", place / f"{who}.jsonl"]
    done = subprocess.run([*map(str, [*command, "--json", "-q", *more])], stdout=subprocess.PIPE, check=True)
    evidence = json.loads(done.stdout)["sampled"]
    notes = [note for note in evidence["notes"] if "http://" not in note]
    return {name: evidence[name] for name in KEPT if name in evidence} | {"notes": notes}


if __name__ == "__main__":
    main()
