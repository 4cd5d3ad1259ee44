"""Ten fresh keys: is the mark found in the student every time, and in the control never?

    python -m benchmarks.ten_keys [-o runs/ten-keys] [--keys 10] [--control-keys 1000]

Each key marks its own corpus and has its own student, with its own seed; the control is trained on unmarked answers
and does not depend on a key, so one control is judged under all of them, and besides under fresh keys that marked
nothing. Resumable: finished stages are kept. About 4 minutes a key on two cores.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import save
from detect.counting import weigh
from detect.evidence import assess
from detect.exact.uniformity import kolmogorov_smirnov_p
from detect.exact.validity import LEVELS, largest_expected
from detect.exact.weighted import CumulantFunction, chernoff, saddlepoint
from detect.observation import Reading
from distill_sim.demo.condition import Condition, stages
from distill_sim.demo.run import parallelism
from distill_sim.judge import RESULTS
from distill_sim.pipeline import Event, Pipeline, Stage
from distill_sim.stages import READING
from distill_sim.teacher import pull_smollm2
from watermark.engines.models import load_tokenizer, model_digest
from watermark.files import strict_json
from watermark.keys import Key

FRESH_SEED = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/ten-keys"))
    parser.add_argument("--keys", type=int, default=10)
    parser.add_argument("--control-keys", type=int, default=1000)
    arguments = parser.parse_args()
    teacher = pull_smollm2()
    keys = [_key(arguments.output / "keys" / f"{number}.key", teacher) for number in range(arguments.keys)]
    plan: dict[str, Stage] = {}  # by name: the control's stages are the same under every key
    for number, key in enumerate(keys):
        file = arguments.output / "keys" / f"{number}.key"
        plan |= {stage.name: stage for stage in _stages(number, key, file, teacher)}

    def show(event: Event) -> None:
        if event.kind == "finished":
            print(f"{event.stage} {event.seconds:.0f} s", flush=True)

    finished = Pipeline(arguments.output, list(plan.values())).run(*parallelism(), show)
    rows = [_row(key, finished[f"judged-{number}"].directory) for number, key in enumerate(keys)]
    student = [row["student_reading"] for row in rows]
    control = [row["control_reading"] for row in rows]
    save(
        "ten_keys",
        "python -m benchmarks.ten_keys",
        {
            "found_in_student": sum(row["student_finding"] == "detected" for row in rows),
            "found_in_control": sum(row["control_finding"] == "detected" for row in rows),
            "student_log10_p": {"worst": max(student), "median": float(np.median(student)), "best": min(student)},
            "control_log10_p_smallest": min(control),
            "control_under_fresh_keys": _control_under_fresh_keys(
                finished["reading-control"].directory, arguments.control_keys, teacher
            ),
            "keys": rows,
        },
    )


def _key(path: Path, teacher: Path) -> Key:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        Key.generate(tokenizer=load_tokenizer(teacher)).save(path)
    return Key.load(path)


def _stages(number: int, key: Key, key_file: Path, teacher: Path) -> list[Stage]:
    """The demo's stages under one key; corpus and student with seeds of their own, the control's with seed 0."""
    options: dict[str, Any] = {
        "key_file": key_file, "model": teacher, "model_id": model_digest(teacher), "label": f"-{number}",
    }  # fmt: skip
    shared = Condition()
    own = replace(shared, seed=number, recipe=replace(shared.recipe, seed=number))
    pairs = zip(stages(own, key, **options), stages(shared, key, **options), strict=True)
    return [mine if mine.name.endswith(f"-{number}") else common for mine, common in pairs]


def _row(key: Key, directory: Path) -> dict[str, Any]:
    """One key's results; a claim that was withdrawn (the probes look marked by chance) counts as p = 1."""
    results: Any = strict_json((directory / RESULTS).read_bytes())
    row: dict[str, Any] = {"key_id": key.key_id}
    for name in ("student", "control"):
        reading, sampled = results[name]["reading"], results[name]["sampled"]
        comparisons = reading.get("comparisons") or {}
        row |= {
            f"{name}_reading": round(reading["log10_p"] or 0.0, 2),
            f"{name}_rank_of_1001": reading["lineup"]["rank"] if "lineup" in reading else None,
            f"{name}_finding": reading["finding"],
            f"{name}_sampled": round(sampled["log10_p"] or 0.0, 2),
            **{f"{name}_{test}": round(one["log10_p"], 2) for test, one in comparisons.items()},
        }
    row["marked_text"] = round(results["teacher_marked"]["text"]["log10_p"], 1)
    row["marked_green_fraction"] = round(results["teacher_marked"]["text"]["green_fraction"], 4)
    row["unmarked_text"] = round(results["teacher_unmarked"]["text"]["log10_p"], 2)
    return row


def _control_under_fresh_keys(directory: Path, count: int, teacher: Path) -> dict[str, Any]:
    """How often the control's p falls at or below .1 … 1e-4 under keys that marked nothing: always the same keys.

    All keys count, also those under which `assess` would claim no p since the probes look marked by chance.
    """
    reading = Reading.load(directory / READING)
    parameters = Key.generate(tokenizer=load_tokenizer(teacher)).parameters
    rng = np.random.default_rng(FRESH_SEED)
    tallies = [weigh(Key(rng.bytes(32), parameters), reading) for _ in range(count)]
    cumulant = CumulantFunction(reading.weights, parameters.gamma_65536 / 65536)
    bounds = np.array([chernoff(cumulant, one.statistic).log10_p for one in tallies])
    found = {level: int((bounds <= np.log10(level)).sum()) for level in LEVELS}
    limits = {level: largest_expected(count, level) for level in LEVELS}
    saddlepoints = 10.0 ** np.array([saddlepoint(cumulant, one.statistic) for one in tallies])
    return {
        "keys": count,
        "seed": FRESH_SEED,
        "at_or_below": {str(level): number for level, number in found.items()},
        "limits": {str(level): number for level, number in limits.items()},
        "within_limits": all(found[level] <= limits[level] for level in LEVELS),
        "smallest": round(float(bounds.min()), 2),
        "saddlepoint_uniformity_p": float(f"{kolmogorov_smirnov_p(saddlepoints):.3g}"),
        "claim_withdrawn": sum(assess(one).log10_p is None for one in tallies),
    }


if __name__ == "__main__":
    main()
