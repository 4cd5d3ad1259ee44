"""`taggant suspect`: does a questioned model depend on this key?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from detect.cli.asking import API_ONLY, api_options
from detect.cli.options import (
    FILE,
    exit_code,
    habits,
    json_option,
    key_option,
    load_key,
    rows_of,
    sample_seed_option,
    temperature_option,
    test_options,
)
from detect.cli.output import emit, emit_json, note, progress, refuse_output
from detect.cli.types import DIRECTORY_OR_ID, ROWS

if TYPE_CHECKING:
    from detect.counting import Tally
    from detect.decoys import Lineup
    from detect.evidence import Evidence
    from watermark.keys import Key

    Tallies = dict[str, tuple[Tally, list[str]]]  # by test: what was counted, and notes on how

MODEL_ONLY = ("reference_name", "top", "save_reading")  # options that need the weights
MAX_NEW_TOKENS = 64


@click.command(short_help="Test a questioned model: its weights, or a server that runs it.")
@key_option
@click.option("--model", "model_name", type=DIRECTORY_OR_ID, help="Directory or hub id of the questioned model.")
@api_options
@click.option(
    "--reference",
    "reference_name",
    type=DIRECTORY_OR_ID,
    help="A model published before the key's first use, best its base model: makes `reading` strong.",
)
@click.option(
    "--probes",
    "probe_files",
    required=True,
    multiple=True,
    type=ROWS,
    help="JSONL, Parquet, text files or a directory: rows {prompt?, text? or token_ids?}; may be repeated.",
)
@click.option(
    "--probes-marked",
    is_flag=True,
    help="Prompts or answers of the probes carry the mark: no p is claimed. Noticed without it where it shows.",
)
@click.option(
    "--sample",
    "sample_tokens",
    type=click.IntRange(min=1),
    help="Add the sampled test with this many tokens, at least.  [with --api the only test; default there: 20000]",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    help=f"Longest sampled answer, tokens.  [default: {MAX_NEW_TOKENS}; with --api 256]",
)
@temperature_option
@click.option(
    "--top", default=None, type=click.IntRange(min=1), help="Weights kept per context in `reading`.  [default: 256]"
)
@click.option(
    "--save-reading",
    type=FILE,
    help="Write what `reading` read as .npz: weights of pairs, to be scored again by others.",
)
@click.option(
    "--tokenizer", type=DIRECTORY_OR_ID, help="Default: the one the key names; the questioned model's only without it."
)
@sample_seed_option
@json_option
@test_options
@habits
@click.pass_context
def suspect(
    ctx: click.Context,
    /,
    key_file: Path,
    model_name: str | None,
    probe_files: tuple[str, ...],
    probes_marked: bool,
    as_json: bool,
    decoys: int | None,
    seed: bytes,
    alpha: float,
    effect: float | None,
    strict: bool,
    fail_on_detect: bool,
    **how_asked: Any,
) -> int:
    """Test a questioned model whose weights are at hand (--model), or one behind an OpenAI-compatible server (--api).

    --model: reads its next-token distributions on the answers in --probes (`reading`); with --sample it is also asked
    their prompts (`sampled`). --api: it is asked the prompts. Probes must not depend on the key, neither prompts nor
    answers: use natural text, or unmarked answers of the teacher. They are tested for the mark, whatever else the rows
    say; if they carry it, no p is claimed.

    Every answer of a server is kept in a response log (--log) before it counts; killed and started again, the same
    command asks nothing twice. An API key is taken from TAGGANT_API_KEY or OPENAI_API_KEY, and written nowhere.

    \b
    taggant generate --model TEACHER --no-mark --prompts prompts.jsonl -o probes.jsonl
    taggant suspect --key owner.key --model QUESTIONED --reference BASE --probes probes.jsonl --decoys 1000
    taggant suspect --key owner.key --api http://localhost:8000/v1 --model-name NAME --probes prompts.jsonl
    """
    from detect.evidence import Assessment
    from detect.keycheck import accepted

    _refuse_mixed(ctx, model_name, how_asked)
    refuse_output(how_asked["save_reading"])
    key = load_key(key_file)
    how = Assessment(
        alpha=alpha,
        effect=effect,
        key_check=accepted(key, key_file),
        probes_marked=probes_marked,
    )
    rows = list(rows_of(probe_files, prompts_only_ok=True))
    found = (
        _behind_api(ctx, key, rows, how_asked)
        if model_name is None
        else _at_hand(ctx, key, model_name, rows, how_asked)
    )
    lineups = [_lineup(ctx, name, tally, None if probes_marked else decoys, seed) for name, (tally, _) in found.items()]
    family = _judged(found, how, lineups)
    if as_json:
        emit_json({name: one.to_dict() for name, one in family.items()})
    else:
        from detect.cli.people import describe

        emit("\n\n".join(describe(one) for one in family.values()))
    return exit_code([one.finding for one in family.values()], strict=strict, fail_on_detect=fail_on_detect)


def _refuse_mixed(ctx: click.Context, model_name: str | None, how_asked: dict[str, Any]) -> None:
    """Raise UsageError unless exactly one kind of access is asked for, and nothing that belongs to the other."""
    server = how_asked["api_server"]
    if (model_name is None) == (server is None):
        raise click.UsageError("give --model where the weights are at hand, or --api and --model-name; not both", ctx)
    if server is not None and how_asked["api_model"] is None:
        raise click.UsageError("--api needs --model-name, the name the server knows the questioned model by", ctx)
    kind, foreign = ("--api", MODEL_ONLY) if model_name is None else ("--model", API_ONLY)
    flags = {param.name: param.opts[0] for param in ctx.command.params}
    for name in foreign:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{flags[name]} has no meaning with {kind}; leave it out", ctx)


def _behind_api(ctx: click.Context, key: Key, rows: list[Any], how_asked: dict[str, Any]) -> Tallies:
    from detect.cli.asking import ApiExamination

    return {"sampled": ApiExamination.begin(ctx, key, rows, how_asked).sampled()}


def _at_hand(ctx: click.Context, key: Key, model_name: str, rows: list[Any], how_asked: dict[str, Any]) -> Tallies:
    from detect.cli.examination import Examination
    from watermark.engines.answers import Sampling
    from watermark.errors import InputError

    n_tokens, save = how_asked["sample_tokens"], how_asked["save_reading"]
    _refuse_unusable(rows, n_tokens, save)
    examination = Examination.begin(ctx, key, model_name, how_asked["tokenizer"], rows)
    found: Tallies = {}
    if any(len(probe.answer_ids) for probe in examination.probes):
        found["reading"] = examination.reading(how_asked["reference_name"], how_asked["top"], save)
    elif n_tokens is not None:
        note(ctx, "The probes hold no answers: only the sampled test is run.")
    else:
        raise InputError("the probes' answers are all empty; give probes with text or token_ids")
    if n_tokens is not None:
        longest = how_asked["max_new_tokens"] or MAX_NEW_TOKENS
        sampling = Sampling(max_new_tokens=longest, temperature=how_asked["temperature"])
        found["sampled"] = examination.sampled(n_tokens, sampling, how_asked["sample_seed"])
    return found


def _refuse_unusable(rows: list[Any], sample_tokens: int | None, save_reading: Path | None) -> None:
    """Say it before a model is loaded."""
    from watermark.errors import InputError

    if save_reading is not None and all(row.text is None and row.token_ids is None for row in rows):
        raise InputError("the probes hold prompts only, so there is nothing to read: leave out --save-reading")
    if sample_tokens is None and all(row.text is None and row.token_ids is None for row in rows):
        raise InputError("the probes hold prompts only: `reading` needs answers (text or token_ids); or add --sample")
    if sample_tokens is not None and all(row.prompt is None and row.prompt_ids is None for row in rows):
        raise InputError("the probes hold no prompts, which --sample needs: give rows with `prompt` or `prompt_ids`")


def _judged(found: Tallies, how: Any, lineups: list[Lineup | None]) -> dict[str, Evidence]:
    from detect.evidence import assess_family

    tallies, notes = [tally for tally, _ in found.values()], [notes for _, notes in found.values()]
    return dict(zip(found, assess_family(tallies, how, lineups=lineups, notes=notes), strict=True))


def _lineup(ctx: click.Context, name: str, tally: Tally, decoys: int | None, seed: bytes) -> Lineup | None:
    from detect.decoys import lineup

    if decoys is None:
        return None
    with progress(ctx, f"line-up, {name}", decoys, "decoy") as advance:
        return lineup(tally, decoys, seed=seed, on_decoy=advance)
