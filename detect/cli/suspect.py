"""`taggant suspect`: does a questioned model depend on this key?"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.asked import Asked, refuse_against_plan, refuse_mixed
from detect.cli.casework import Inputs, at_case, at_run, case_options, refuse_lost_check, warn_exploratory
from detect.cli.examination import MAX_NEW_TOKENS
from detect.cli.options import (
    FILE,
    PROBES_HELP,
    SAMPLE_HELP,
    exit_code,
    frequencies_option,
    habits,
    json_option,
    key_option,
    load_key,
    sample_seed_option,
    temperature_option,
    test_options,
)
from detect.cli.output import emit, emit_json, is_verbose, note, progress, refuse_output
from detect.cli.server_options import api_options
from detect.cli.types import DIRECTORY_OR_ID, PROBES

if TYPE_CHECKING:
    from detect.bundles.case import Case
    from detect.cli.asking import ApiExamination
    from detect.cli.examination import Examination
    from detect.evidence import Assessment, Evidence
    from detect.examined import Examined
    from detect.plans.plan import Plan
    from detect.readers import Row
    from watermark.keys import Key


@click.command(short_help="Test a questioned model: its weights, or a server that runs it.")
@key_option
@click.option("--model", "model_name", type=DIRECTORY_OR_ID, help="Directory or hub id of the questioned model.")
@api_options
@click.option(
    "--reference",
    "reference_name",
    type=DIRECTORY_OR_ID,
    help="A model published before the key's first use, best its base model: makes both tests strong.",
)
@frequencies_option
@click.option(
    "--probes",
    "probe_files",
    required=True,
    multiple=True,
    type=PROBES,
    help=PROBES_HELP,
)
@click.option(
    "--plan",
    "plan_file",
    type=FILE,
    help="A plan's file, from `taggant plan -o`: carried out as it is; options that contradict it are refused.",
)
@click.option(
    "--positive-control",
    "control_name",
    type=DIRECTORY_OR_ID,
    help="With --plan: the model that it names as one, to be read as well. A reading that does not find the mark there "
    "says nothing by not finding it in the questioned model.",
)
@click.option(
    "--no-positive-control",
    "without_control",
    is_flag=True,
    help="With --plan: go without the control that it names (it may be lost): a negative will be inconclusive.",
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
    help=f"{SAMPLE_HELP}  [with --api the only test; default there: 20000]",
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
    "--save-excess",
    type=FILE,
    help="With --reference: write the weights of the sampled answers as .npz, as for --save-reading.",
)
@click.option(
    "--tokenizer", type=DIRECTORY_OR_ID, help="Default: the one the key names; the questioned model's only without it."
)
@sample_seed_option
@json_option
@test_options
@case_options
@habits
@click.pass_context
def suspect(
    ctx: click.Context,
    /,
    as_json: bool,
    strict: bool,
    fail_on_detect: bool,
    case_directory: Path | None,
    signer_file: Path | None,
    **options: Any,
) -> int:
    """Test a questioned model whose weights are at hand (--model), or one behind an OpenAI-compatible server (--api).

    --model: reads its next-token distributions on the answers in --probes (`reading`); with --sample it is also asked
    their prompts (`sampled`). --api: it is asked the prompts. Probes must not depend on the key, neither prompts nor
    answers: use natural text, or unmarked answers of the teacher. What is fed is tested for the mark, whatever else the
    rows say; if it carries the mark, no p is claimed. A reference is tested for the key, too: it reads 62 built-in
    texts, some 9,000 tokens, first.

    Every answer of a server is kept in a response log (--log) before it counts; killed and started again, the same
    command asks nothing twice. An API key is taken from TAGGANT_API_KEY or OPENAI_API_KEY, and written nowhere.

    --plan: tests, level, sampling, decoys and the rule for stopping come from the plan, and key, probes and models are
    checked against it before the questioned model is touched. Only so can a result be confirmatory. --log,
    --concurrency, budgets and the like are free.

    --reference: sampled answers are weighed by what it would have said, which needs far fewer of them than counting;
    with --logprobs fewer still. The count of distinct pairs stands beside.

    --case: what is done is recorded before the questioned model is touched. A result is then confirmatory only where
    the case also records the key's commitment and the plan, both before, and no earlier run of that plan.

    \b
    taggant generate --model TEACHER --no-mark --prompts prompts.jsonl -o probes.jsonl
    taggant suspect --key owner.key --model QUESTIONED --reference BASE --probes probes.jsonl --decoys 1000
    taggant suspect --key owner.key --api http://localhost:8000/v1 --model-name NAME --probes prompts.jsonl
    taggant suspect --key owner.key --plan plan.json --model QUESTIONED --probes prompts.jsonl
    """
    from detect.evidence import Assessment
    from detect.examined import judge, judge_planned
    from detect.keycheck import on_record
    from detect.plans.plan import Plan

    asked = Asked(**options)
    refuse_mixed(ctx, asked)
    refuse_output(asked.save_reading, asked.save_excess)
    plan = None if asked.plan_file is None else Plan.load(asked.plan_file)
    if plan is not None:
        refuse_against_plan(ctx, plan, asked)
    key = load_key(asked.key_file)
    with at_case(ctx, case_directory, signer_file, key) as case:
        inputs = Inputs.of(case, asked.frequency_files).and_those_of(case, asked.probe_files, prompts_only_ok=True)
        rows = list(inputs.rows(asked.probe_files, prompts_only_ok=True))
        if asked.frequency_files:
            asked = replace(asked, frequency_rows=list(inputs.rows(asked.frequency_files)))
        asked = replace(asked, **on_record(key, asked.key_file))
        refuse_lost_check(case, asked.key_check)
        if plan is not None:
            from detect.cli.following import follow

            asked = follow(ctx, plan, asked, key, rows)
        how = Assessment(asked.alpha, asked.effect, asked.key_check, asked.probes_marked, asked.check_corpus)
        questioned = None if case is None else asked.questioned()
        with _questions(ctx, key, rows, asked) as behind_api:
            why_not = []
            if case is not None and plan is not None:
                answers = None if behind_api is None else behind_api.log.read()
                why_not = warn_exploratory(ctx, case, plan.digest, questioned, answers)
            settled, digest = asked.recorded(), asked.plan_digest
            with at_run(case, "suspect", key, inputs, settled, plan=digest, questioned=questioned) as run:
                if case is not None and plan is not None:
                    _record_foreign(case, plan)
                if behind_api is None:
                    examined = _at_hand(ctx, key, rows, asked, how)
                else:
                    if run is not None:
                        behind_api.log.copy_to(run.answers)
                    examined = behind_api.sampled(how.level)
                tests = {name: _with_lineup(ctx, asked, name, one).but_for(why_not) for name, one in examined.items()}
                judged = judge(tests, how) if plan is None else judge_planned(plan, tests, how)
                if run is not None:
                    from detect.cli.recorded import record_examined

                    record_examined(run, tests, judged, plan, how)
    found = {_shown_as(name, judged): evidence for name, evidence in judged.items()}
    _show(ctx, found, as_json)
    return exit_code([one.finding for one in found.values()], strict=strict, fail_on_detect=fail_on_detect)


def _shown_as(name: str, among: Collection[str]) -> str:
    """`reading` or `sampled`; the whole name where a plan has two of a kind."""
    kind = name.partition("/")[0]
    return name if sum(one.startswith(f"{kind}/") for one in among) > 1 else kind


def _show(ctx: click.Context, found: dict[str, Evidence], as_json: bool) -> None:
    if as_json:
        emit_json({name: one.to_dict() for name, one in found.items()})
        return
    from detect.cli.people import describe_all

    emit(describe_all(found, verbose=is_verbose(ctx)))


def _record_foreign(case: Case, plan: Plan) -> None:
    """A plan that was made elsewhere becomes the case's, behind the run that it came with: too late to count."""
    from detect.bundles.events import record_plan

    if all(entry.details["plan"] != plan.digest for _, entry in case.log.of("planned")):
        record_plan(case, plan)


@contextmanager
def _questions(ctx: click.Context, key: Key, rows: list[Row], asked: Asked) -> Iterator[ApiExamination | None]:
    """What a server will be asked, with the log of its answers at hand; None where the weights are."""
    if asked.api_server is None:
        yield None
        return
    from detect.cli.asking import ApiExamination

    with closing(ApiExamination.begin(ctx, key, rows, asked)) as behind_api:
        yield behind_api


def _at_hand(ctx: click.Context, key: Key, rows: list[Row], asked: Asked, how: Assessment) -> dict[str, Examined]:
    from detect.cli.examination import Examination

    if asked.tests is None:
        _refuse_unusable(rows, asked)
    examination = Examination.begin(ctx, key, rows, asked)
    tests = asked.tests or _suggested(ctx, examination, asked)
    found: dict[str, Examined] = {}
    for test in tests:
        if test.startswith("reading/"):
            found[test] = examination.reading(against_reference=test == "reading/difference")
    if asked.sampled_tests:
        found |= examination.sampled(how.level)
    return found


def _suggested(ctx: click.Context, examination: Examination, asked: Asked) -> list[str]:
    """The tests that options and probes suggest."""
    from watermark.errors import InputError

    sampled = list(asked.sampled_tests)
    if any(len(probe.answer_ids) for probe in examination.probes):
        return ["reading/mass" if asked.reference_name is None else "reading/difference", *sampled]
    if not sampled:
        raise InputError("the probes' answers are all empty; give probes with text or token_ids")
    note(ctx, "The probes hold no answers: only the sampled test is run.")
    return sampled


def _refuse_unusable(rows: list[Row], asked: Asked) -> None:
    """Say it before a model is loaded."""
    from watermark.errors import InputError

    no_answers = all(row.text is None and row.token_ids is None for row in rows)
    if asked.save_reading is not None and no_answers:
        raise InputError("the probes hold prompts only, so there is nothing to read: leave out --save-reading")
    if asked.sample_tokens is None and no_answers:
        raise InputError("the probes hold prompts only: `reading` needs answers (text or token_ids); or add --sample")
    if asked.sample_tokens is not None and all(row.prompt is None and row.prompt_ids is None for row in rows):
        raise InputError("the probes hold no prompts, which --sample needs: give rows with `prompt` or `prompt_ids`")


def _with_lineup(ctx: click.Context, asked: Asked, name: str, one: Examined) -> Examined:
    from detect.decoys import lineup

    if asked.decoys is None or asked.probes_marked:
        return one
    with progress(ctx, f"line-up, {name.partition('/')[0]}", asked.decoys, "decoy") as advance:
        return replace(one, lineup=lineup(one.tally, asked.decoys, seed=asked.seed, on_decoy=advance))
