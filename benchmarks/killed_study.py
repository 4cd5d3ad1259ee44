"""A study that is killed at random moments ends as the undisturbed one: SIGKILL, again and again, to the whole group.

    python -m benchmarks.killed_study [STUDY.toml] [-o runs/killed] [--kills 30] [--model TEACHER_DIR]

Runs the study twice under the same owner's key: once undisturbed, once killed at seeded random moments and started
again. Then survival.parquet must be equal in content, and by log.jsonl no stage may have been begun again after it had
finished. Default: benchmarks/studies/killed.toml, at the nano scale; some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common import save
from distill_sim.survival import SURVIVAL, read_table

STUDY = Path(__file__).parent / "studies" / "killed.toml"
SEED = 30
LEAST_SECONDS, MOST_SECONDS = 4.0, 14.0  # from a start to its kill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", type=Path, default=STUDY)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/killed"))
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    whole, killed = arguments.output / "undisturbed", arguments.output / "killed"
    arguments.output.mkdir(parents=True, exist_ok=True)
    more = [] if arguments.model is None else ["--model", str(arguments.model)]
    begun = time.monotonic()
    _finish(arguments.study, whole, more)
    seconds = time.monotonic() - begun
    more += ["--key", str(whole / "keys" / "owner.key")]
    kills = _killed(arguments.study, killed, more, arguments.kills)
    _finish(arguments.study, killed, more)
    again = begun_again(killed / "log.jsonl")
    result = {
        "study": arguments.study.name,
        "undisturbed_seconds": round(seconds),
        "kills": kills,
        "rows": len(read_table(whole / SURVIVAL)),
        "same_content": read_table(whole / SURVIVAL) == read_table(killed / SURVIVAL),
        "begun_again_after_finishing": again,
        "starts_of_stages": _starts(killed / "log.jsonl"),
        "stages": len(list((killed / "stages").iterdir())),
    }
    save("killed_study", "python -m benchmarks.killed_study", result)


def _command(study: Path, root: Path, more: list[str]) -> list[str]:
    program = "import sys; sys.argv[0] = 'taggant'; from detect.cli.entry import main; main()"
    return [sys.executable, "-c", program, "simulate", str(study), "-o", str(root), "-q", *more]


def _finish(study: Path, root: Path, more: list[str]) -> None:
    subprocess.run(_command(study, root, more), check=True, stdout=subprocess.DEVNULL)


def _killed(study: Path, root: Path, more: list[str], wanted: int) -> list[float]:
    """Kill so many runs; returns the seconds each was given. A run that ends by itself ends it."""
    draw = random.Random(SEED)
    given: list[float] = []
    while len(given) < wanted:
        seconds = draw.uniform(LEAST_SECONDS, MOST_SECONDS)
        process = subprocess.Popen(_command(study, root, more), stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            given.append(round(seconds, 1))
            continue
        if process.returncode:
            raise SystemExit(f"a run failed with exit code {process.returncode}")
        print(f"finished after {len(given)} kills: give a larger study, or shorter moments", file=sys.stderr)
        break
    return given


def begun_again(log: Path) -> list[str]:
    """Stages that were begun after their result was there, by the log."""
    finished: set[str] = set()
    again = []
    for event in _events(log):
        if event["event"] == "started" and event["stage"] in finished:
            again.append(event["stage"])
        elif event["event"] in ("finished", "kept"):
            finished.add(event["stage"])
    return again


def _starts(log: Path) -> int:
    return sum(event["event"] == "started" for event in _events(log))


def _events(log: Path) -> list[dict[str, Any]]:
    """Whole lines; a kill may have cut one short, and what follows then stands behind it."""
    found = []
    for line in log.read_text(encoding="utf-8").splitlines():
        at = line.rfind("{")
        try:
            found.append(json.loads(line[at:]))
        except ValueError:
            continue
    return found


if __name__ == "__main__":
    main()
