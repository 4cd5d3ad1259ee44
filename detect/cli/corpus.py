"""`taggant detect -o DIR`: a corpus of any size, as a job that goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from detect.cli.options import FILE, Command, TokenizerAtHand
from detect.cli.output import is_quiet, note, printable, writing

if TYPE_CHECKING:
    from detect.corpora.findings import Selection, Source
    from detect.corpora.job import Job
    from detect.corpora.results import Results
    from detect.corpora.sources import Shard
    from detect.corpora.stages import Stage
    from detect.evidence import Assessment
    from watermark.keys import Key
    from watermark.progress import Progress

EXECUTORS = ("local", "slurm", "ray")
TOP_SOURCES = 10  # shown on a terminal; sources.parquet has all
NOT_FOR_A_CORPUS = ("each", "scan", "normalise", "highlight", "decoys", "seed", "case_directory", "signer_file")
CORPUS_ALONE = ("workers", "executor", "cluster", "shard_mb")
CORPUS_OPTIONS = (
    click.option(
        "-o",
        "--output",
        type=FILE,
        metavar="DIR",
        help="Test a corpus of any size, as a job: documents.parquet, sources.parquet and pooled.json are written to "
        "this directory. Interrupted or killed, the same command goes on.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 100_000),
        help="With -o: processes, one tokenizer thread each.  [default: one for each processor of this machine; "
        "needed for Slurm]",
    ),
    click.option(
        "--executor",
        type=click.Choice(EXECUTORS),
        default="local",
        show_default=True,
        help="With -o: who runs the processes: this machine, or a cluster through datatrove.",
    ),
    click.option(
        "--cluster",
        multiple=True,
        metavar="NAME=VALUE",
        help="With --executor slurm or ray: an argument of datatrove's executor, such as partition=cpu or "
        "time=4:00:00. May be repeated.",
    ),
    click.option(
        "--shard-mb",
        type=click.IntRange(1, 100_000),
        default=64,
        show_default=True,
        help="With -o: megabytes of text in a unit of work, which is what a kill may cost.",
    ),
)


@dataclass(frozen=True)
class AskedCorpus:
    """The options of a corpus job, under the names of `detect`'s parameters."""

    output: Path
    workers: int | None
    executor: str
    cluster: tuple[str, ...]
    shard_mb: int


def corpus_options(command: Command) -> Command:
    """-o and what goes with it."""
    for option in reversed(CORPUS_OPTIONS):
        command = option(command)
    return command


def refuse_mixed(ctx: click.Context, files: tuple[str, ...], output: Path | None) -> None:
    """Raise UsageError where options of a corpus job and others are given together."""
    given = [p for p in ctx.command.params if ctx.get_parameter_source(str(p.name)) is not ParameterSource.DEFAULT]
    if output is None:
        for parameter in given:
            if parameter.name in CORPUS_ALONE:
                raise click.UsageError(f"{parameter.opts[-1]} is for a corpus job: give -o DIR", ctx)
        return
    others = [parameter.opts[-1] for parameter in given if parameter.name in NOT_FOR_A_CORPUS]
    if others:
        raise click.UsageError(
            f"a corpus job (-o) takes no {', '.join(others)}: it counts each document and all of them, no more; leave "
            "it out, or give a small input without -o", ctx,
        )  # fmt: skip
    if "-" in files:
        raise click.UsageError("a corpus job (-o) reads files that can be read again, not standard input (-)", ctx)


def run_corpus(
    ctx: click.Context,
    key: Key,
    key_file: Path,
    files: tuple[str, ...],
    tokenizer: str | None,
    how: Assessment,
    asked: AskedCorpus,
) -> Results | None:
    """Begin the job, or go on with it, and say what it found; None: it was handed to a cluster, which is at work.

    Raises:
        InputError: an input, or the directory; or what a task raised.
    """
    from importlib.metadata import version

    from detect.corpora.job import opened
    from detect.corpora.sources import plan

    cluster = _cluster(ctx, asked)
    at_hand = TokenizerAtHand(key, tokenizer)
    named, fingerprint = _tokenizer(at_hand, tokenizer)
    shards = plan(files, asked.shard_mb << 20)
    described = {
        "taggant": version("taggant"),
        "key_id": key.key_id,
        "context_width": key.context_width,
        "special_ids": key.special_ids_digest,
        "tokenizer": fingerprint,
        "shard_mb": asked.shard_mb,
    }
    arguments: dict[str, Any] = {
        "job": str(asked.output.absolute()),
        "key": str(key_file.absolute()),
        "inputs": list(files),
        "tokenizer": {**named, "verified": tokenizer is not None and key.tokenizer is not None},
    }
    _refuse_inside(asked.output, files, shards)
    with _goes_on(ctx, asked.output), writing(asked.output), opened(asked.output, described, shards) as job:
        if not job.is_counted and not _work(ctx, job, shards, arguments, asked, cluster):
            return None
        return _results(job, key, how, arguments["tokenizer"]["verified"])


def _refuse_inside(output: Path, files: tuple[str, ...], shards: list[Shard]) -> None:
    """Raise InputError where the job's directory lies in an input, or an input in it: it would become one itself."""
    from detect.readers.places import is_address
    from watermark.errors import InputError

    place = output.resolve()
    inside = any(place.is_relative_to(Path(one).resolve()) for one in files if not is_address(one))
    paths = (Path(part.path) for shard in shards for part in shard.parts if part.path is not None)
    if inside or any(path.is_relative_to(place) for path in paths):
        raise InputError(f"{output} lies in an input, or an input in it; choose a directory elsewhere")


def _work(
    ctx: click.Context,
    job: Job,
    shards: list[Shard],
    arguments: Mapping[str, Any],
    asked: AskedCorpus,
    cluster: Mapping[str, Any],
) -> bool:
    """Do what is left; False: a cluster does, and is not done."""
    from detect.corpora.cluster import slurm_job
    from detect.corpora.local import Local, needs_this_process
    from detect.corpora.stages import run, stages
    from detect.workers import processors
    from watermark.errors import InputError

    scoring = next(stage for stage in stages(shards) if stage.name == "scoring")
    left = scoring.left(job)
    if len(left) < len(shards):
        note(ctx, f"{len(shards) - len(left):,} of {len(shards):,} shards are scored already; going on")
    workers = asked.workers or processors()
    if asked.executor != "slurm" and (number := slurm_job(job)) is not None:
        raise InputError(
            f"Slurm is at work on {job.root} (job {number}); ask with --executor slurm, or cancel that job"
        )
    if asked.executor == "local":
        local = Local(1 if needs_this_process(arguments["inputs"]) else workers)
        run(job, shards, arguments, local, _progress(ctx))
        return True
    from detect.corpora.cluster import Ray, submit
    from detect.ray import connected

    if asked.executor == "slurm":
        return submit(job, shards, arguments, workers, cluster, _say)
    with connected():
        run(job, shards, arguments, Ray(workers, cluster), _progress(ctx))
    return True


def _say(line: str) -> None:
    """Also under -q: it is all there is to know until the cluster is done."""
    click.echo(printable(line), err=True)


def _results(job: Job, key: Key, how: Assessment, verified: bool) -> Results:
    from detect.corpora.results import count, judge

    results = judge(job, key, count(job, tokenizer=verified), how)
    job.clear()
    return results


def _progress(ctx: click.Context) -> Callable[[Stage], Any]:
    @contextmanager
    def shown(stage: Stage) -> Iterator[Progress]:
        from watermark.progress import bar

        total = _megabytes(sum(stage.weights.values()))
        with bar(stage.name, "MB", total=total, quiet=is_quiet(ctx) or stage.name == "prompts") as show:
            yield lambda done, _, what: show(min(_megabytes(done), total), total, what)

    return shown


def _megabytes(weight: int) -> int:
    return max(1, weight // 1_000_000)


def _tokenizer(at_hand: TokenizerAtHand, given: str | None) -> tuple[dict[str, Any], str | None]:
    """How workers have the tokenizer, or why there is none; and what tells it from others."""
    from watermark.engines.models import tokenizer_fingerprint
    from watermark.errors import InputError, KeyFileError

    try:
        name = str(at_hand.load().name_or_path)
    except (InputError, KeyFileError) as error:
        if given is not None:
            raise
        kind = "KeyFileError" if isinstance(error, KeyFileError) else "InputError"
        return {"name": None, "problem": [kind, str(error)]}, None
    return {"name": name, "problem": None}, tokenizer_fingerprint(name)


def _cluster(ctx: click.Context, asked: AskedCorpus) -> dict[str, Any]:
    """--cluster as values (UsageError: no such argument, or for no cluster)."""
    if asked.executor == "local":
        if asked.cluster:
            raise click.UsageError("--cluster is for --executor slurm or ray", ctx)
        return {}
    from detect.corpora.cluster import checked_arguments

    try:
        cluster = checked_arguments(asked.executor, asked.cluster)
    except ValueError as error:
        raise click.UsageError(str(error), ctx) from None
    if asked.executor == "slurm" and asked.workers is None:
        raise click.UsageError("--executor slurm needs --workers: how many processes may run at once", ctx)
    return cluster


@contextmanager
def _goes_on(ctx: click.Context, output: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        note(ctx, f"What is finished is kept in {output}: the same command goes on from there.")
        raise


def describe_corpus(results: Results, output: Path, *, verbose: bool = False) -> str:
    """The pooled evidence, and which sources are selected, for a terminal."""
    from detect.cli.people import describe

    lines = [describe(results.evidence, verbose=verbose)]
    if results.selection is not None:
        lines += _selection(results.selection, results.sources, results.evidence.alpha)
    return "\n".join([*lines, f"  written      {output}: documents.parquet, sources.parquet, pooled.json"])


def _selection(found: Selection, sources: list[Source], alpha: float) -> list[str]:
    lines = [
        f"Sources: each document and each file by itself, at level {alpha:g}, however they depend on each other",
        f"  documents    {found.documents_e_bh:,} of {found.documents:,} selected by e-BH, {found.documents_holm:,} by "
        "Holm",
        f"  files        {found.sources_e_bh:,} of {found.sources:,} selected by e-BH, each by the mean of its "
        "documents' e-values",
    ]
    chosen = sorted((one for one in sources if one.e_bh), key=lambda one: -(one.log10_e or 0.0))
    for one in chosen[:TOP_SOURCES]:
        name = printable(one.source)
        shown = name if len(name) <= 60 else f"…{name[-59:]}"
        lines.append(
            f"  {shown}: {one.documents_e_bh:,} of {one.documents:,} documents, e-value {_power(one.log10_e or 0.0)}"
        )
    if len(chosen) > TOP_SOURCES:
        lines.append(f"  and {len(chosen) - TOP_SOURCES:,} more: see sources.parquet")
    return lines


def _power(log10_e: float) -> str:
    from detect.wording import FLOOR

    return f"above 10^{-FLOOR}" if log10_e > -FLOOR else f"about 10^{log10_e:.1f}"
