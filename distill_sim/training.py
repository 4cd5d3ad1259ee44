"""One student's training in one process, or in several on one machine, a GPU each: torchrun starts them.

    train → this process: `student.train_student`
          → python -m torch.distributed.run … -m distill_sim.training ARGUMENTS.json → the same, in each of them

How many is a setting of its stage: gradients are summed in another order, so weights differ by rounding. Nothing else
does: `recipe.batch_size` rows make a step, shared by the processes. On several machines each training has one of them:
`distill_sim.ray_workers` spreads many trainings.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from detect.visible import one_line
from detect.workers import WorkerDiedError, described, told
from distill_sim import ranks
from distill_sim.corpus import CorpusRow, read_corpus, write_corpus
from distill_sim.metrics import Metrics
from distill_sim.recipe import Recipe
from distill_sim.student import train_student
from watermark.errors import InputError
from watermark.files import strict_json, write_json
from watermark.progress import Progress, ignore

MARK = "taggant "  # begins the lines on stdout that are the first process's messages
ARGUMENTS, ROWS, LOG = "training.json", "rows.parquet", "training.log"


def train(
    teacher_dir: str | Path,
    corpus_rows: Sequence[CorpusRow],
    recipe: Recipe,
    output: Path,
    on_progress: Progress = ignore,
    *,
    work: Path,
    processes: int = 1,
    threads: int | None = None,
    metrics: Metrics | None = None,
    checkpoint_seconds: float = 30.0,
) -> Path:
    """`student.train_student`, by so many processes of this machine.

    Args:
        work: for checkpoints, as `train_student`; several processes leave rows and their log beside it until they end
            well.
        processes: one a GPU; `recipe.batch_size` is a multiple.
        threads: of torch, each process; None: as many as this one has. For several processes.

    Raises:
        InputError: fewer than 1 process, or a batch that they cannot share.
        WorkerDiedError: a process ended without a word.
        And as `train_student`.
    """
    if processes < 1 or recipe.batch_size % processes:
        raise InputError(
            f"{processes} processes cannot share batches of {recipe.batch_size} rows; batch_size must be a multiple"
        )
    if processes == 1:
        return train_student(
            teacher_dir, corpus_rows, recipe, output, on_progress,
            work=work, checkpoint_seconds=checkpoint_seconds, metrics=metrics,
        )  # fmt: skip
    beside = Path(work).with_name(f"{Path(work).name}-processes").absolute()
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    write_corpus(beside / ROWS, [replace(row, id=str(number)) for number, row in enumerate(corpus_rows)], {})
    arguments = {
        "teacher": str(Path(teacher_dir).absolute()) if Path(teacher_dir).is_dir() else str(teacher_dir),
        "rows": str(beside / ROWS),
        "recipe": asdict(recipe),
        "output": str(Path(output).absolute()),
        "work": str(Path(work).absolute()),
        "metrics": None if metrics is None else {**asdict(metrics), "directory": str(metrics.directory)},
        "checkpoint_seconds": checkpoint_seconds,
    }
    write_json(beside / ARGUMENTS, arguments)
    with (beside / LOG).open("wb") as log, _started(beside / ARGUMENTS, processes, threads, log) as process:
        done = _follow(process, on_progress)
        code = process.wait()
    if not done:
        last = ((beside / LOG).read_text(encoding="utf-8", errors="replace").splitlines() or [""])[-1]
        raise WorkerDiedError(
            f"training by {processes} processes ended with exit code {code} ({one_line(last, 200)}); {beside / LOG} "
            "says more; run the same command again, it goes on from the last checkpoint"
        )
    shutil.rmtree(beside)
    return output


@contextmanager
def _started(arguments: Path, processes: int, threads: int | None, log: Any) -> Iterator[subprocess.Popen[bytes]]:
    """torchrun and its processes, which end when their stdin, a pipe that only this process can write to, closes."""
    import torch

    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads or torch.get_num_threads()),
        "PYTHONSAFEPATH": "1",  # modules are looked for where we do, never in the current directory
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    process = subprocess.Popen(
        [*command, "--module", "distill_sim.training", str(arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.kill()
        process.stdout.read()  # until the last of them has ended
        process.stdout.close()
        process.wait()


def _follow(process: subprocess.Popen[bytes], on_progress: Progress) -> bool:
    """Pass progress on; whether the first process told that all went well.

    Raises:
        TaggantError, OSError, RuntimeError: the training failed.
    """
    assert process.stdout is not None
    done = False
    for line in process.stdout:
        text = line.decode("utf-8", "replace")
        if not text.startswith(MARK):
            continue
        kind, *values = json.loads(text.removeprefix(MARK))
        if kind == "step":
            on_progress(*values)
        else:
            done = told("training", (kind, *values))[1] == "finished"
    return done


def main(path: str) -> int:
    """One of the processes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    arguments: Any = strict_json(Path(path).read_bytes())
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        train_student(
            arguments["teacher"],
            read_corpus(Path(arguments["rows"])),
            Recipe(**arguments["recipe"]),
            Path(arguments["output"]),
            _step if ranks.is_first() else ignore,
            work=Path(arguments["work"]),
            checkpoint_seconds=arguments["checkpoint_seconds"],
            metrics=None if arguments["metrics"] is None else Metrics(**arguments["metrics"]),
        )
    except Exception as error:
        if ranks.is_first():
            _tell("failed", *described(error))
        raise
    if ranks.is_first():
        _tell("finished", 0.0)
    torch.distributed.destroy_process_group()
    return 0


def _step(done: int, total: int, what: str) -> None:
    _tell("step", done, total, what)


def _tell(*message: Any) -> None:
    sys.stdout.write(f"{MARK}{json.dumps(message)}\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    os.read(0, 1)  # nothing ever comes. Not through sys.stdin, whose lock Python wants at its end
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
