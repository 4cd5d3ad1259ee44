"""`taggant demo` on a tiny model with one worker, as a program that a test can stop at an exact place.

    python -m tests.distill_sim.demo.driver ROOT MODEL

HOLD=stage:n  the stage stands still in its n-th report, after writing its process id to HOLD_FLAG
FILL=stage    the disk that ROOT is on is full from the stage's first report on
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FILLER = "filler"
PATIENCE = 100  # seconds after which every process of the driver says on stderr where it stands


def run_held_stage(arguments: Mapping[str, Any], report: Callable[[int, int, str], None]) -> float:
    """`run_stage`, whose reports do what the environment asks for."""
    from distill_sim.pipeline import run_stage

    faulthandler.dump_traceback_later(PATIENCE)
    name = Path(arguments["output"]).name.rpartition("-")[0]
    held, _, number = os.environ.get("HOLD", "").partition(":")
    reports = 0

    def stop(done: int, total: int, what: str) -> None:
        nonlocal reports
        reports += 1
        report(done, total, what)
        if name == held and reports == int(number):
            flag = Path(os.environ["HOLD_FLAG"])
            flag.with_suffix(".new").write_text(str(os.getpid()))
            flag.with_suffix(".new").rename(flag)
            time.sleep(600)
        if name == os.environ.get("FILL") and reports == 1:
            fill(Path(arguments["output"]).parents[2])

    return run_stage(arguments, stop)


def fill(directory: Path) -> None:
    """Leave no room on a (small!) disk."""
    descriptor = os.open(directory / FILLER, os.O_WRONLY | os.O_CREAT)
    for size in (1 << 16, 1 << 12, 1):
        try:
            while os.write(descriptor, bytes(size)):
                pass
        except OSError:
            continue
    os.close(descriptor)


def main() -> None:
    from dataclasses import replace

    faulthandler.dump_traceback_later(PATIENCE)
    from detect.cli.main import main as taggant
    from distill_sim.demo import condition, run
    from distill_sim.pipeline import Pipeline
    from tests.distill_sim.small import CONDITION

    original = Pipeline._task
    Pipeline._task = lambda self, stage, done: replace(  # type: ignore[method-assign]
        original(self, stage, done), function="tests.distill_sim.demo.driver:run_held_stage"
    )
    condition.Condition = lambda seed: CONDITION  # type: ignore[assignment, misc]
    run.parallelism = lambda: (1, 1)
    sys.argv = ["taggant", "demo", "-o", sys.argv[1], "--model", sys.argv[2]]
    taggant()


if __name__ == "__main__":
    main()
