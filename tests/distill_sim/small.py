"""A demo's condition that a tiny model goes through in a moment, and the stages without worker processes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

from detect.workers import Task, Update, resolve
from distill_sim.demo.condition import Condition, stages
from distill_sim.recipe import Recipe
from tests import tiny
from watermark.engines.models import load_tokenizer, model_digest
from watermark.keys import Key

CONDITION = Condition(
    prompts=("What is the sea?", "Who is the keeper?", "Why does it rain?", "How deep is the harbour?"),
    samples=10,  # 40 answers: two batches of the teacher
    answer_tokens=12,
    probe_prompts=("Where does the moon go?", "When?", "Who counts the coins?"),
    recipe=Recipe(layers=1, batch_size=8, learning_rate=1e-2),
    top=64,
    sampled_tokens=100,
    fluency_tokens=100,
    decoys=19,
)
STAGES = (
    *("marked", "unmarked", "probes", "student", "control", "reading-student", "reading-control"),
    *("sampled-student", "sampled-control", "fluency", "judged"),
)


def inline(tasks: Sequence[Task], workers: int, threads: int) -> Generator[Update, None, None]:
    """What `run_tasks` does, in this process and one after the other."""
    for task in tasks:
        reports: list[Update] = []

        def report(done: int, total: int, what: str, task: Task = task, reports: list[Update] = reports) -> None:
            reports.append((task.name, "progress", done / total, what, 0.0))

        yield (task.name, "started", 0.0, "", 0.0)
        seconds = resolve(task.function)(task.arguments, report)
        yield from reports
        yield (task.name, "finished", 1.0, "", seconds)


def make_key(directory: Path) -> Path:
    """A key file for the tiny model's tokenizer."""
    path = directory / "some.key"
    Key.generate(tokenizer=load_tokenizer(tiny.shared())).save(path)
    return path


def plan(key_file: Path, condition: Condition = CONDITION):  # type: ignore[no-untyped-def]
    """The condition's stages for the tiny model."""
    key, model = Key.load(key_file), tiny.shared()
    return stages(condition, key, key_file=key_file, model=model, model_id=model_digest(model))
