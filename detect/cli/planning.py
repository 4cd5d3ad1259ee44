"""`taggant plan -o`: write the plan of an examination down."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from detect.cli import choosing
from detect.cli.casework import at_case, before_case
from detect.cli.options import load_key, rows_of, tokenizer_for
from detect.cli.output import emit, emit_json, is_verbose, note, refuse_output, writing
from detect.cli.plan_options import TESTS
from detect.cli.stamping import stamp_for

if TYPE_CHECKING:
    from detect.plans.parts import Inclusion, PlannedSampling, PositiveControl
    from detect.plans.plan import Plan
    from detect.readers import Row
    from watermark.keys import Commitment, Key, Leaf


class Judging(NamedTuple):
    """Level, power, and the green fraction to be detected."""

    alpha: float
    power: float
    effect: float


def refuse_without_output(ctx: click.Context, asked: dict[str, Any]) -> None:
    """Options of a plan's file need that file (UsageError)."""
    for parameter in ctx.command.params:
        if parameter.name in asked and asked[parameter.name] not in (None, ()):
            raise click.UsageError(f"{parameter.opts[0]} belongs into a plan's file: give -o PLAN.json", ctx)


def write_plan(
    ctx: click.Context, output: Path, key_file: Path, asked: dict[str, Any], judging: Judging, as_json: bool
) -> None:
    """Settle everything, write the plan, and say what is to be published.

    Args:
        asked: the options above.
        judging: what the table of pairs needs as well.
    """
    from detect.bundles.events import record_plan
    from detect.cli.following import fingerprint, model_digest_of
    from detect.cli.planned_words import examining, not_recorded, notes_on, summary, too_hopeful
    from detect.observation import DEFAULT_TOP
    from detect.plans.plan import DEFAULT_DECOYS, Plan

    if not asked["probe_files"]:
        raise click.UsageError("a plan needs --probes: what will be fed in is settled beforehand", ctx)
    refuse_output(output)
    choosing.refuse_incomplete(ctx, output, asked)
    primary, also = _primary(ctx, asked), tuple(asked["also"])
    _refuse_idle_control(ctx, {primary, *also}, asked)
    key = load_key(key_file)
    settled = partial(
        Plan.make,
        key,
        primary=primary,
        also=also,
        inclusion=_inclusion(ctx, key.key_id, asked),
        key_check=_checked(key, key_file),
        access=asked["access"],
        tokenizer=fingerprint(key, asked["tokenizer"]),
        reference=model_digest_of(asked["reference_name"]),
        frequencies=_frequencies(asked, {primary, *also}),
        positive_control=_control(ctx, asked),
        sampling=_sampling(ctx, {primary, *also}, asked),
        stopping=asked["stopping"],
        maximum_pairs=asked["max_pairs"],
        top=asked["top"] or DEFAULT_TOP,
        decoys=asked["decoys"] or DEFAULT_DECOYS,
        seed=asked["seed"],
        alpha=judging.alpha,
        power=judging.power,
        effect=judging.effect,
    )
    in_case = (asked["case_directory"], asked["signer_file"], key)
    before_case(ctx, *in_case)
    stamp = stamp_for(ctx, asked["timestamp"], asked["case_directory"])
    rows = list(rows_of(asked["probe_files"], prompts_only_ok=True))
    plan, notes = settled(rows), []  # what does not fit together is refused before tokenizer or model is loaded
    if asked["choose_tokens"] is not None:
        rows, how = choosing.choose_rows(ctx, key, rows, plan.reference or "", asked)
        plan, notes = settled(rows), [how]
    plan = _with_left_out(plan, rows, key, asked["tokenizer"])
    response = None if stamp is None else stamp(plan.canonical)  # first: without it nothing is written
    with at_case(ctx, *in_case) as case:
        if asked["choose_tokens"] is None:
            with writing(output):
                plan.save(output)
        else:
            choosing.save_both(plan, output, rows, asked["chosen_file"])
        if case is not None:
            record_plan(case, plan, response)
            notes += not_recorded(case, plan)
    notes += notes_on(plan)
    then = examining(plan, output, key_file, asked)
    for warning in too_hopeful(plan):
        note(ctx, f"Warning: {warning}")
    if as_json:
        emit_json({"plan": plan.to_json(), "sha256": plan.digest, "fixed_pairs": plan.fixed_pairs,
                   "maximum_pairs": plan.maximum_pairs, "notes": notes, "then": then})  # fmt: skip
    else:
        emit(summary(plan, output, asked["chosen_file"], notes, then, verbose=is_verbose(ctx)))
        note(ctx, "Publish the digest, or have the file timestamped, before the questioned model is touched.")


def _with_left_out(plan: Plan, rows: list[Row], key: Key, tokenizer: str | None) -> Plan:
    """The plan, with the ids in which a count leaves its prompts out, where it has a count and a tokenizer."""
    from detect.plans.content import COUNTED

    if COUNTED not in plan.tests or plan.tokenizer is None:
        return plan
    from detect.plans.parts import PlannedExclusion
    from detect.questioned.prompts import Prompts

    prompts = Prompts.of(rows, tokenizer_for(key, tokenizer), plan.access)
    return replace(plan, left_out=PlannedExclusion.of(prompts.left_out))


def _primary(ctx: click.Context, asked: dict[str, Any]) -> str:
    test = asked["primary"] or "sampled"
    if test == "reading" and asked["weights"] is None and asked["reference_name"] is None:
        raise click.UsageError(
            "--primary reading compares with --reference, best the base model: give it. Without one only the weak test "
            "is left, and must be asked for: --weights mass",
            ctx,
        )
    primary = f"{test}/{asked['weights'] or ('distinct' if test == 'sampled' else 'difference')}"
    if primary not in TESTS:
        raise click.UsageError(f"--weights {asked['weights']} is no weighting of the {test} test", ctx)
    return primary


def _refuse_idle_control(ctx: click.Context, tests: set[str], asked: dict[str, Any]) -> None:
    """Raise UsageError where a positive control is named that `suspect --plan` could not examine."""
    if asked["control_name"] is None:
        return
    if tests == {"sampled/distinct"}:
        raise click.UsageError(
            "--positive-control: no weighted test is planned that needs one; leave it out, or plan --primary reading "
            "or --weights excess",
            ctx,
        )
    read = any(test.startswith("reading/") for test in tests)
    access = asked["access"] or ("weights" if read else "chat")
    if access != "weights":
        raise click.UsageError(
            f"--positive-control: the plan's access is a server's {access} endpoint, and a control is examined only "
            "where the questioned model's weights are at hand. Give --access weights, or leave it out: a negative of a "
            "weighted test will then be inconclusive",
            ctx,
        )


def _sampling(ctx: click.Context, tests: set[str], asked: dict[str, Any]) -> PlannedSampling | None:
    from detect.plans.parts import PlannedSampling

    names = {
        "sample_tokens": "tokens",
        "max_new_tokens": "max_new_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "sample_seed": "seed",
        "logprobs": "logprobs",
    }
    given = {names[option]: asked[option] for option in names if asked[option] is not None}
    if any(test.startswith("sampled/") for test in tests):
        return PlannedSampling(**given)
    if given:
        raise click.UsageError("no sampled test is planned: add --also sampled/distinct, or leave its options out", ctx)
    return None


def _frequencies(asked: dict[str, Any], tests: set[str]) -> str | None:
    """Of the text that a planned test counts contexts in; with --choose it may serve the choice alone."""
    from detect.plans.parts import NEED_REFERENCE, PlannedProbes

    files, choosing_alone = (
        asked["frequency_files"],
        asked["choose_tokens"] is not None and not tests & {*NEED_REFERENCE},
    )
    return PlannedProbes.of(rows_of(files)).sha256 if files and not choosing_alone else None


def _checked(key: Key, key_file: Path) -> str | None:
    """Digest of the human text on which the key passed its check; None: there was none."""
    from detect.keycheck import load_check
    from watermark.errors import KeyFileError

    record = load_check(key, key_file)
    if record is not None and not record.accepted:
        raise KeyFileError(
            f"{key_file} was refused by its own check on human text, so nothing could be claimed under it; plan for a "
            "key that passed"
        )
    return None if record is None else record.corpus_sha256


def _control(ctx: click.Context, asked: dict[str, Any]) -> PositiveControl | None:
    from detect.cli.following import model_digest_of
    from detect.plans.parts import PositiveControl

    digest = model_digest_of(asked["control_name"])
    if digest is None:
        if asked["control_note"] is not None:
            raise click.UsageError("--positive-control-note describes --positive-control: give both", ctx)
        return None
    return PositiveControl(digest, asked["control_note"] or "")


def _inclusion(ctx: click.Context, key_id: str, asked: dict[str, Any]) -> Inclusion | None:
    from detect.plans.parts import Inclusion
    from watermark.keys import Commitment

    commitment_file, leaves_file = asked["commitment_file"], asked["leaves_file"]
    if (commitment_file is None) != (leaves_file is None):
        raise click.UsageError("--commitment and --leaves are needed together: they show the key's place in it", ctx)
    if commitment_file is None:
        return None
    commitment: Commitment = Commitment.load(commitment_file, load_leaves(leaves_file))
    return Inclusion.of(key_id, commitment)


def load_leaves(path: Path) -> tuple[Leaf, ...]:
    """What `key commit --leaves` wrote (CommitmentError: exit 5)."""
    from watermark.errors import CommitmentError, KeyFileError
    from watermark.keys import Leaf
    from watermark.keys.members import members, read_document

    def parse(value: object) -> tuple[Leaf, ...]:
        if not isinstance(value, list) or not value:
            raise KeyFileError("the leaves must be a list of at least one")
        return tuple(Leaf(**members(one, ("account", "epoch", "key_id"), "a leaf")) for one in value)

    advice = "give the file that `taggant key commit --leaves` wrote"
    return read_document(path, parse, private=False, advice=advice, error=CommitmentError)
