"""Which weight should a context have? `python -m benchmarks.reading_weights RUN`, RUN a finished `benchmarks.ten_keys`.

D sums over the positions of a context, so a context weighs as much as the probes happen to repeat it. A student learns
most about contexts that were frequent in its training. Here every context's weights are multiplied by
f^a · n^b: f its count in an unmarked corpus of the same teacher (key-independent), n its count in the probes read.
Each student reads several disjoint sets of few probes; the medians of log10 p are over students and sets.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import save, stage_directory
from detect import Probe, read_model, window_rule
from detect.counting import statistic
from detect.exact.weighted import CumulantFunction, chernoff
from detect.observation import Reading
from distill_sim.corpus import CorpusRow, read_corpus
from distill_sim.stages import CORPUS, STUDENT
from distill_sim.teacher import pull_smollm2
from watermark import GreenList, Key
from watermark.engines.models import load_model

EXPONENTS = ((0.0, 0.0), (0.25, 0.0), (0.5, 0.0), (0.75, 0.0), (0.25, -0.5), (0.5, -0.5), (0.75, -0.5), (0.75, -1.0))
SETS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--students", type=int, default=5)
    parser.add_argument("--positions", type=int, nargs="+", default=[100, 200, 400, 800])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = read_corpus(stage_directory(arguments.run, "probes") / CORPUS)
    unmarked = read_corpus(stage_directory(arguments.run, "unmarked") / CORPUS)
    reference = load_model(pull_smollm2())
    keys = [Key.load(arguments.run / "keys" / f"{number}.key") for number in range(arguments.students)]
    assert keys[0].tokenizer is not None
    frequency = _counts([row.token_ids for row in unmarked], keys[0].tokenizer.vocab_size)
    students = [stage_directory(arguments.run, f"student-{number}") / STUDENT for number in range(arguments.students)]
    found: dict[tuple[str, int], list[list[float]]] = {}
    for who, directory, judges in (
        *(("student", path, [key]) for path, key in zip(students, keys, strict=True)),
        ("control", stage_directory(arguments.run, "control") / STUDENT, keys),
    ):
        model = load_model(directory)
        for positions in arguments.positions:
            for part in _sets(rows, positions):
                reading = _read(model, reference, part, keys[0])
                counts = _counts([probe.answer_ids for probe in part], len(frequency))
                for key in judges:
                    line = [_log10_p(reading, key, frequency**f * counts**n) for f, n in EXPONENTS]
                    found.setdefault((who, positions), []).append(line)
        print(directory.parent.name, flush=True)
    save(
        "reading_weights",
        "python -m benchmarks.reading_weights runs/ten-keys",
        {
            "students": arguments.students,
            "sets": SETS,
            "exponents": [{"f": f, "n": n} for f, n in EXPONENTS],
            "median_log10_p": {
                f"{who}, {n} positions": _rounded(np.median(v, axis=0)) for (who, n), v in found.items()
            },
            "worst_log10_p": {f"{who}, {n} positions": _rounded(_worst(who, v)) for (who, n), v in found.items()},
        },
    )


def _counts(answers: list[Any], vocab_size: int) -> np.ndarray[Any, Any]:
    """How often each token occurs, and one half: float64 [vocab_size]."""
    return np.bincount(np.concatenate([np.asarray(ids) for ids in answers]), minlength=vocab_size) + 0.5


def _sets(rows: list[CorpusRow], positions: int) -> list[list[Probe]]:
    """Disjoint sets of whole probes, the last one cut, with this many answer tokens each."""
    sets, remaining = [], list(rows)
    for _ in range(SETS):
        probes: list[Probe] = []
        missing = positions
        while missing > 0:
            row = remaining.pop(0)
            answer = list(row.token_ids)[:missing]
            probes.append(Probe(row.prompt_ids, answer))
            missing -= len(answer)
        sets.append(probes)
    return sets


def _read(model: Any, reference: Any, probes: list[Probe], key: Key) -> Reading:
    assert key.tokenizer is not None
    vocab_size = key.tokenizer.vocab_size
    return read_model(model, probes, rule=window_rule(key), vocab_size=vocab_size, reference=reference)


def _log10_p(reading: Reading, key: Key, of_context: np.ndarray[Any, Any]) -> float:
    """The bound, with every context's weights multiplied by its entry in `of_context`, float64 [V]."""
    weights = reading.weights * of_context[reading.pairs.contexts[:, 0].astype(np.int64)]
    green = GreenList(key)
    s = statistic(green.is_green(reading.pairs.contexts, reading.pairs.tokens), weights, green.gamma)
    return chernoff(CumulantFunction(weights, green.gamma), s).log10_p


def _worst(who: str, values: list[list[float]]) -> Any:
    """The largest of the students, the smallest of the control."""
    return (np.max if who == "student" else np.min)(values, axis=0)


def _name(case: tuple[str, int]) -> str:
    who, positions = case
    return f"{who}, {positions} positions"


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 2) for value in values]


if __name__ == "__main__":
    main()
