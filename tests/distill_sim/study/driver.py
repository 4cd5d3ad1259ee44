"""The tiny study as a process that is killed, again and again, at moments that a seed draws.

    python -m tests.distill_sim.study.driver ROOT MODEL OWNER_KEY SEED KILLS

Every try is a process of its own, forked from this one, which has imported everything and begun nothing; its stages run
inside it. Some stages after the try has begun one, and a moment later, it gets SIGKILL. The last try is left alone.
Prints how the tries ended, one exit code a line.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import time
from pathlib import Path

PATIENCE = 120  # seconds
LONGEST = 0.15  # seconds between the beginning of a stage and the kill


def begun(log: Path) -> int:
    return log.read_bytes().count(b'"started"') if log.exists() else 0


def attempt(root: Path, model: Path, owner: Path) -> int:
    """Fork a process that carries the study out; its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        from tests.distill_sim.study.small import runner

        runner(root, owner, model=model).run(quiet=True)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def killed(pid: int, log: Path, stages: int, moment: float) -> int:
    """Kill a try a moment after it began so many stages; how it ended, negative for a signal."""
    enough, end = begun(log) + stages, time.monotonic() + PATIENCE
    while begun(log) < enough and time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    time.sleep(moment)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    root, model, owner = map(Path, sys.argv[1:4])
    draw, kills = random.Random(int(sys.argv[4])), int(sys.argv[5])
    import pytest
    import torch

    import distill_sim.blind
    import distill_sim.report
    import distill_sim.student
    import distill_sim.study.judging
    import distill_sim.study.making
    import distill_sim.trainer  # noqa: F401
    from distill_sim import pipeline
    from tests.distill_sim.small import inline
    from tests.distill_sim.study.small import shrink

    torch.set_num_threads(1)
    pipeline.run_tasks = inline
    shrink(pytest.MonkeyPatch())
    gc.freeze()
    for _ in range(kills):
        stages, moment = draw.randint(4, 13), draw.uniform(0, LONGEST)
        print(killed(attempt(root, model, owner), root / "log.jsonl", stages, moment), flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(attempt(root, model, owner), 0)[1]), flush=True)


if __name__ == "__main__":
    main()
