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
from detect.observation import Reading
from distill_sim.demo.run import parallelism
from distill_sim.judge import RESULTS
from distill_sim.pipeline import Event, Pipeline
from distill_sim.stages import READING
from distill_sim.study import Condition, stages
from distill_sim.teacher import pull_smollm2
from watermark.engines.models import load_tokenizer, model_digest
from watermark.files import strict_json
from watermark.keys import Key


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/ten-keys"))
    parser.add_argument("--keys", type=int, default=10)
    parser.add_argument("--control-keys", type=int, default=1000)
    arguments = parser.parse_args()
    teacher = pull_smollm2()
    rows = [_one_key(arguments.output, number, teacher) for number in range(arguments.keys)]
    fresh = _control_under_fresh_keys(rows[0]["control_directory"], arguments.control_keys, teacher)
    for row in rows:
        del row["control_directory"]
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
            "control_under_fresh_keys": fresh,
            "keys": rows,
        },
    )


def _one_key(root: Path, number: int, teacher: Path) -> dict[str, Any]:
    (root / "keys").mkdir(parents=True, exist_ok=True)
    key_file = root / "keys" / f"{number}.key"
    if not key_file.exists():
        Key.generate(tokenizer=load_tokenizer(teacher)).save(key_file)
    key = Key.load(key_file)
    condition = Condition()
    marked = replace(condition, seed=number, recipe=replace(condition.recipe, seed=number))
    plan = stages(condition, key, key_file=key_file, model=teacher, model_id=model_digest(teacher))
    own = {
        stage.name: stage
        for stage in stages(marked, key, key_file=key_file, model=teacher, model_id=model_digest(teacher))
    }
    changed = (
        "marked",
        "student",
        "sampled-student",
        "fluency",
    )  # everything else is the control's, shared by all keys
    pipeline = Pipeline(root, [own[stage.name] if stage.name in changed else stage for stage in plan])

    def show(event: Event) -> None:
        if event.kind == "finished":
            print(f"key {number}: {event.stage} {event.seconds:.0f} s", flush=True)

    finished = pipeline.run(*parallelism(), show)
    results: Any = strict_json((finished["judged"].directory / RESULTS).read_bytes())
    row = {"key_id": key.key_id, "control_directory": finished["reading-control"].directory}
    for name in ("student", "control"):
        evidence = results[name]
        row |= {
            f"{name}_reading": round(evidence["reading"]["log10_p"], 2),
            f"{name}_rank_of_1001": evidence["reading"]["lineup"]["rank"],
            f"{name}_finding": evidence["reading"]["finding"],
            f"{name}_sampled": round(evidence["sampled"]["log10_p"], 2),
        }
    row["marked_text"] = round(results["teacher_marked"]["text"]["log10_p"], 1)
    row["marked_green_fraction"] = round(results["teacher_marked"]["text"]["green_fraction"], 4)
    row["unmarked_text"] = round(results["teacher_unmarked"]["text"]["log10_p"], 2)
    return row


def _control_under_fresh_keys(directory: Path, count: int, teacher: Path) -> dict[str, Any]:
    """How often the control's p falls at or below .1 … 1e-4 under keys that marked nothing."""
    reading = Reading.load(directory / READING)
    tokenizer = load_tokenizer(teacher)
    log10_p = [assess(weigh(Key.generate(tokenizer=tokenizer), reading)).log10_p for _ in range(count)]
    return {
        "keys": count,
        "at_or_below": {
            str(level): sum(p is not None and p <= np.log10(level) for p in log10_p)
            for level in (0.1, 0.01, 1e-3, 1e-4)
        },
        "smallest": round(min(p for p in log10_p if p is not None), 2),
    }


if __name__ == "__main__":
    main()
