"""The loop of a worker: one library's contestants, timed when asked. It imports nothing of this project.

A request is a line of JSON on stdin, its answer a line on stdout:

    {"name": …, "task": "step" | "score", "vocabulary": V, "ids": [[…], …], "calls": n | null}
    {"cpu": seconds a call, "wall": seconds a call, "calls": n}

"step": ids are [batch, length], and the contestant adds its mark to logits [batch, V]. In the k-th call row i ends with
id start + k · batch + i, mod V, so that no context comes twice in V / batch calls, and holds ids + k before it.
"score": ids are [1, length], what a detector is given. calls null: one.

The first request for a contestant makes it and calls it once, uncounted; with another vocabulary, task or ids all are
made anew, so that one case's memory is not the next one's.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

Call = Callable[[Any], Any]
Step = Callable[[int, Any], Call]  # vocabulary, logits → the call on ids
Score = Callable[[int], Call]  # vocabulary → the call on ids


def serve(steps: dict[str, Step], scores: dict[str, Score], packages: Sequence[str]) -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")  # whatever a library prints must not stand between answers
    os.dup2(2, 1)
    import torch

    torch.set_num_threads(1)
    versions = {name: metadata.version(name) for name in packages}
    print(json.dumps({"versions": versions, "steps": list(steps), "scores": list(scores)}), file=answers, flush=True)
    case: Any = None
    runs: dict[str, Callable[[int], None]] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        name, wanted = asked["name"], [asked[part] for part in ("task", "vocabulary", "ids")]
        if wanted != case:
            runs, case = {}, wanted
        with torch.inference_mode():
            if name not in runs:
                step = asked["task"] == "step"
                runs[name] = _step(steps[name], asked) if step else _score(scores[name], asked)
                runs[name](1)
            answer = _timed(runs[name], asked["calls"] or 1)
        print(json.dumps(answer), file=answers, flush=True)


def _timed(run: Callable[[int], None], calls: int) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    run(calls)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu": cpu / calls, "wall": wall / calls, "calls": calls}


def _step(make: Step, asked: dict[str, Any]) -> Callable[[int], None]:
    import torch

    vocabulary, ids = asked["vocabulary"], torch.tensor(asked["ids"])
    batch = len(ids)
    last = ids[0, -1] + torch.arange(batch)
    logits = torch.randn(batch, vocabulary, generator=torch.Generator().manual_seed(0))
    call, number = make(vocabulary, logits), 0

    def run(calls: int) -> None:
        nonlocal number
        for _ in range(calls):
            given = (ids + number) % vocabulary
            given[:, -1] = (last + number * batch) % vocabulary
            call(given)
            number += 1

    return run


def _score(make: Score, asked: dict[str, Any]) -> Callable[[int], None]:
    call, ids = make(asked["vocabulary"]), asked["ids"][0]

    def run(calls: int) -> None:
        for _ in range(calls):
            call(ids)

    return run
