"""`taggant suspect`: does a questioned model depend on this key?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.options import exit_code, json_option, load_key, note, progress, sample_seed_option, test_options

if TYPE_CHECKING:
    from detect.counting import Tally
    from detect.decoys import Lineup
    from detect.observation import Probe
    from watermark.keys import Key


@click.command()
@click.option("--key", "key_file", required=True, type=click.Path(path_type=Path), help="The key file.")
@click.option("--model", "model_name", required=True, help="Directory or hub id of the questioned model.")
@click.option(
    "--reference", "reference_name", help="A model published before the key's first use; best its base model."
)
@click.option(
    "--probes",
    "probe_files",
    required=True,
    multiple=True,
    help="Rows {prompt?, text? or token_ids?}; may be repeated.",
)
@click.option("--probes-marked", is_flag=True, help="The probe text carries the mark: exploratory, no p is claimed.")
@click.option(
    "--sample", "sample_tokens", type=click.IntRange(min=1), help="Add the sampled test with this many tokens."
)
@click.option(
    "--max-new-tokens", default=64, show_default=True, type=click.IntRange(min=1), help="Length of sampled answers."
)
@click.option("--temperature", default=1.0, show_default=True, type=click.FloatRange(min=0, min_open=True))
@click.option("--top", default=None, type=click.IntRange(min=1), help="Weights kept per context (reading).")
@click.option("--tokenizer", help="Tokenizer, if it is not in the model's directory.")
@sample_seed_option
@json_option
@test_options
@click.pass_context
def suspect(
    ctx: click.Context,
    key_file: Path,
    model_name: str,
    reference_name: str | None,
    probe_files: tuple[str, ...],
    probes_marked: bool,
    sample_tokens: int | None,
    max_new_tokens: int,
    temperature: float,
    top: int | None,
    tokenizer: str | None,
    sample_seed: int,
    as_json: bool,
    decoys: int | None,
    seed: bytes,
    alpha: float,
    effect: float | None,
    strict: bool,
    fail_on_detect: bool,
) -> int:
    """Test a questioned model whose weights are at hand.

    Reads its next-token distributions on the answers in --probes (`reading`); with --sample it is also asked their
    prompts (`sampled`). Probes must not depend on the key: use natural text, or unmarked answers.
    """
    from detect.evidence import Assessment, assess_family
    from detect.keycheck import load_check
    from detect.questioned.probes import make_probes, plain_prompts
    from detect.readers import read_rows
    from watermark.engines.models import load_model, load_tokenizer
    from watermark.errors import InputError

    key = load_key(key_file)
    record = load_check(key, key_file)
    how = Assessment(
        alpha=alpha,
        effect=effect,
        key_check=None if record is None else record.accepted,
        probes_marked=probes_marked,
    )
    rows = list(read_rows(probe_files, prompts_only_ok=True))
    loaded = load_tokenizer(tokenizer or model_name)
    key.check_tokenizer(loaded)
    probes = make_probes(rows, loaded)
    plain = plain_prompts(rows, loaded)
    model = load_model(model_name)
    tallies: dict[str, Tally] = {}
    if any(len(probe.answer_ids) for probe in probes):
        tallies["reading"] = _reading(ctx, key, model, reference_name, probes, plain, top, loaded)
    elif sample_tokens is None:
        raise InputError("the probes hold prompts only: reading needs answers (text or token_ids); or add --sample")
    else:
        note(ctx, "The probes hold no answers: only the sampled test is run.")
    if sample_tokens is not None:
        tallies["sampled"] = _sampled(
            ctx, key, model, loaded, probes, plain, sample_tokens, max_new_tokens, temperature, sample_seed
        )
    lineups = [_lineup(ctx, name, tally, decoys, seed) for name, tally in tallies.items()]
    family = dict(zip(tallies, assess_family(list(tallies.values()), how, lineups=lineups), strict=True))
    if as_json:
        click.echo(
            json.dumps({name: one.to_dict() for name, one in family.items()}, ensure_ascii=False, allow_nan=False)
        )
    else:
        from detect.cli.people import describe

        click.echo("\n\n".join(describe(one) for one in family.values()))
    findings: list[str] = [one.finding for one in family.values()]
    return exit_code(findings, strict=strict, fail_on_detect=fail_on_detect)


def _reading(
    ctx: click.Context,
    key: Key,
    model: Any,
    reference_name: str | None,
    probes: list[Probe],
    plain_prompts: list[list[int]],
    top: int | None,
    tokenizer: Any,
) -> Tally:
    from detect.counting import weigh, window_rule
    from detect.questioned.reading import DEFAULT_TOP, read_model
    from watermark.engines.models import load_model

    reference = None if reference_name is None else load_model(reference_name)
    positions = sum(max(0, len(probe.answer_ids) - key.context_width + 1) for probe in probes)
    with progress(ctx, "reading", positions, "position") as advance:
        reading = read_model(
            model,
            probes,
            rule=window_rule(key),
            vocab_size=len(tokenizer),
            reference=reference,
            exclude=plain_prompts,
            top=top or DEFAULT_TOP,
            on_positions=advance,
        )
    return weigh(key, reading)


def _sampled(
    ctx: click.Context,
    key: Key,
    model: Any,
    tokenizer: Any,
    probes: list[Probe],
    plain_prompts: list[list[int]],
    n_tokens: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> Tally:
    from detect.counting import tally
    from detect.questioned.sampled import sample_model
    from watermark.engines.answers import Sampling

    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature)
    with progress(ctx, "sampling", n_tokens, "token") as advance:
        answers = sample_model(
            model,
            tokenizer,
            [list(probe.prompt_ids) for probe in probes],
            n_tokens,
            sampling=sampling,
            seed=seed,
            on_tokens=advance,
        )
    return tally(key, answers.answers, [*answers.prompts, *plain_prompts], test="sampled")


def _lineup(ctx: click.Context, name: str, tally: Tally, decoys: int | None, seed: bytes) -> Lineup | None:
    from detect.decoys import lineup

    if decoys is None:
        return None
    with progress(ctx, f"line-up, {name}", decoys, "decoy") as advance:
        return lineup(tally, decoys, seed=seed, on_decoy=advance)
