"""`taggant plan -o`: write the plan of an examination down."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from detect.cli import choosing
from detect.cli.options import FILE, PROBES_HELP, frequencies_option, load_key, rows_of
from detect.cli.output import emit, emit_json, note, refuse_output, writing
from detect.cli.types import DIRECTORY_OR_ID, PROBES, HexSeed, Number

if TYPE_CHECKING:
    from detect.plans.parts import Inclusion, PlannedSampling, PositiveControl
    from watermark.keys import Commitment, Key, Leaf

Command = TypeVar("Command", bound=Callable[..., Any])

TESTS = ("sampled/distinct", "sampled/excess", "reading/difference", "reading/mass")
_AT_LEAST_1 = click.IntRange(1, 2**53)
_OPTIONS = (
    click.option("--commitment", "commitment_file", type=FILE, help="The published commitment that holds the key."),
    click.option("--leaves", "leaves_file", type=FILE, help="The commitment's list of leaves, from `key commit`."),
    click.option("--probes", "probe_files", multiple=True, type=PROBES,
                 help=PROBES_HELP),
    *choosing.OPTIONS,
    click.option("--reference", "reference_name", type=DIRECTORY_OR_ID,
                 help="A model published before the key's first use, to compare with."),
    frequencies_option,
    click.option("--positive-control", "control_name", type=DIRECTORY_OR_ID,
                 help="A model known to carry the mark at the strength to be detected."),
    click.option("--positive-control-note", "control_note", help="What that model is, in words."),
    click.option("--primary", type=click.Choice(["sampled", "reading"]), help="The primary test.  [default: sampled]"),
    click.option("--weights", type=click.Choice(["distinct", "excess", "difference", "mass"]),
                 help="Of the primary test.  [default: distinct for sampled; difference with --reference, mass without "
                 "it for reading]"),
    click.option("--also", multiple=True, type=click.Choice(TESTS), help="Another test that will be run; its p is "
                 "adjusted for the number of these, and a detection by it is confirmatory only behind one by the "
                 "primary test: make the strongest the primary one. May be repeated."),
    click.option("--stopping", type=click.Choice(["e-process", "fixed"]),
                 help="Stop as soon as it may, or at a fixed number.  [default: e-process for distinct pairs]"),
    click.option("--max-pairs", type=_AT_LEAST_1,
                 help="Most pairs before the e-process ends, at least 1.6 x the fixed number.  [default: just that]"),
    click.option("--sample", "sample_tokens", type=_AT_LEAST_1,
                 help="Answer tokens, at least; without the e-process needed, with it where answers end."),
    click.option("--max-new-tokens", type=_AT_LEAST_1, help="Longest sampled answer, tokens.  [default: 64]"),
    click.option("--temperature", type=Number(1e-4, 100), help="Of sampling.  [default: 1]"),
    click.option("--top-p", type=Number(1e-6, 1), help="Of sampling; 1: off.  [default: 1]"),
    click.option("--sample-seed", type=click.IntRange(0, 2**31 - 1), help="Seed of the sampling.  [default: 0]"),
    click.option("--access", type=click.Choice(["weights", "chat", "completions"]),
                 help="How the questioned model will be reached: its weights (suspect --model), or that endpoint of a "
                 "server (suspect --api).  [default: weights where it is read, else chat]"),
    click.option("--tokenizer", type=DIRECTORY_OR_ID,
                 help="Makes ids of text, by its chat template, too; settled by its digest.  [default: the key's]"),
    click.option("--logprobs", type=click.IntRange(1, 20),
                 help="With sampled/excess behind a server: ask it for the log-probabilities of so many tokens, which "
                 "go into the weights."),
    click.option("--top", type=_AT_LEAST_1, help="Weights kept per context in weighted tests.  [default: 256]"),
    click.option("--decoys", type=click.IntRange(1, 1_000_000), help="Other keys in the line-up.  [default: 1000]"),
    click.option("--seed", type=HexSeed(), help="Seed of the decoys, 64 hex digits.  [default: drawn now]"),
)  # fmt: skip


class Judging(NamedTuple):
    """Level, power, and the green fraction to be detected."""

    alpha: float
    power: float
    effect: float


def plan_options(command: Command) -> Command:
    """Everything that is settled in a plan's file, beyond what the table of pairs needs."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


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
    from detect.cli.following import fingerprint, model_digest_of
    from detect.cli.planned_words import notes_on, summary
    from detect.observation import DEFAULT_TOP
    from detect.plans.plan import DEFAULT_DECOYS, Plan

    if not asked["probe_files"]:
        raise click.UsageError("a plan needs --probes: what will be fed in is settled beforehand", ctx)
    refuse_output(output)
    choosing.refuse_incomplete(ctx, output, asked)
    key = load_key(key_file)
    primary, also = _primary(ctx, asked), tuple(asked["also"])
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
    rows = list(rows_of(asked["probe_files"], prompts_only_ok=True))
    plan, notes = settled(rows), []  # what does not fit together is refused before a model is loaded
    if asked["choose_tokens"] is None:
        with writing(output):
            plan.save(output)
    else:
        rows, how = choosing.choose_rows(ctx, key, rows, plan.reference or "", asked)
        plan, notes = settled(rows), [how]
        choosing.save_both(plan, output, rows, asked["chosen_file"])
    notes += notes_on(plan)
    if as_json:
        emit_json({"plan": plan.to_json(), "sha256": plan.digest, "fixed_pairs": plan.fixed_pairs,
                   "maximum_pairs": plan.maximum_pairs, "notes": notes})  # fmt: skip
    else:
        emit(summary(plan, output, notes))
        note(ctx, "Publish the digest, or have the file timestamped, before the questioned model is touched.")


def _primary(ctx: click.Context, asked: dict[str, Any]) -> str:
    test, reference = asked["primary"] or "sampled", asked["reference_name"] is not None
    primary = f"{test}/{asked['weights'] or _default_weights(test, reference)}"
    if primary not in TESTS:
        raise click.UsageError(f"--weights {asked['weights']} is no weighting of the {test} test", ctx)
    return primary


def _default_weights(test: str, reference: bool) -> str:
    if test == "sampled":
        return "distinct"
    return "difference" if reference else "mass"


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


def _checked(key: Key, key_file: Path) -> bool:
    """Whether the key passed a check on human text."""
    from detect.keycheck import accepted
    from watermark.errors import KeyFileError

    outcome = accepted(key, key_file)
    if outcome is False:
        raise KeyFileError(
            f"{key_file} was refused by its own check on human text, so nothing could be claimed under it; plan for a "
            "key that passed"
        )
    return bool(outcome)


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
    commitment: Commitment = Commitment.load(commitment_file, _leaves(leaves_file))
    return Inclusion.of(key_id, commitment)


def _leaves(path: Path) -> tuple[Leaf, ...]:
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
