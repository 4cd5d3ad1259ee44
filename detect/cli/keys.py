"""`taggant keygen` and `taggant key …`: make keys, derive, check and replace them. Secrets stay in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.casework import at_case, case_options
from detect.cli.commitment import commit
from detect.cli.options import FILE, TokenizerAtHand, habits, json_option, load_key, rows_of, tokenizer_option
from detect.cli.output import note, refuse_output, show_members, writing
from detect.cli.types import ACCOUNT, DIRECTORY_OR_ID, EPOCH, FRACTION, ROWS, Number

if TYPE_CHECKING:
    from detect.bundles.case import Case
    from detect.keycheck import KeyCheck

LOOKS_MARKED = -6.0  # log10 p of a key check; no chance makes a fresh key look like that
PROFILES = ("trace", "balanced", "discreet")


@click.command()
@click.option("-o", "--output", required=True, type=FILE, help="The key file to create (mode 0600).")
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default="trace",
    show_default=True,
    help="trace: strongest in a student, readers can feel it (delta 2, h 1); balanced: delta 1.5, h 1; discreet: for "
    "texts, hardly felt (delta 1, h 2). All: gamma .25.",
)
@click.option("--tokenizer", type=DIRECTORY_OR_ID, help="Tokenizer of the model to be marked: its directory or hub id.")
@click.option("--gamma", type=FRACTION, help="Green fraction, instead of the profile's.")
@click.option("--delta", type=Number(0, 50), help="Logit bias of green tokens, nats, instead of the profile's.")
@click.option(
    "--context-width", type=click.IntRange(0, 8), help="h, tokens that seed a green list, instead of the profile's."
)
@json_option
@habits
@click.pass_context
def keygen(
    ctx: click.Context,
    output: Path,
    profile: str,
    tokenizer: str | None,
    gamma: float | None,
    delta: float | None,
    context_width: int | None,
    as_json: bool,
) -> None:
    """Make a new secret key.

    With --tokenizer the key knows which ids are special tokens, and is refused with any other tokenizer.

    \b
    taggant keygen -o owner.key --tokenizer ./model
    taggant keygen -o owner.key --tokenizer HuggingFaceTB/SmolLM2-135M-Instruct --profile balanced
    """
    from watermark.errors import KeyFileError
    from watermark.keys import Key

    refuse_output(output)
    identity = None if tokenizer is None else _identity(tokenizer)
    try:
        key = Key.generate(profile, identity, gamma=gamma, delta=delta, context_width=context_width)
    except KeyFileError as error:  # a gamma that rounds to 0 or 1
        raise click.UsageError(str(error), ctx) from None
    key.save(output)
    if identity is None:
        note(ctx, "No --tokenizer: this key knows no special tokens, and nothing checks which model it is used with.")
    show_members(key.public(), as_json)


@click.group()
def key() -> None:
    """Look at, derive, commit to, check and replace keys."""


key.add_command(commit)


@key.command()
@click.argument("file", type=FILE)
@json_option
@habits
def show(file: Path, as_json: bool) -> None:
    """Print everything about a key except its secret."""
    show_members(load_key(file).public(), as_json)


@key.command(short_help="Derive the key of an account, of a month, or of an account for a month.")
@click.argument("file", type=FILE)
@click.option("--account", type=ACCOUNT, help="Opaque id of an API account; openings show it.")
@click.option("--epoch", type=EPOCH, help="Month, YYYY-MM.")
@click.option("-o", "--output", required=True, type=FILE, help="The derived key file to create.")
@json_option
@habits
def derive(file: Path, account: str | None, epoch: str | None, output: Path, as_json: bool) -> None:
    """Derive an account's key, a month's key, or an account's key for a month. It stands alone.

    taggant key derive owner.key --account acct-17 --epoch 2026-11 -o acct-17.key
    """
    if account is None and epoch is None:
        raise click.UsageError("give --account, --epoch, or both", click.get_current_context())
    refuse_output(output)
    derived = load_key(file)
    derived = derived if account is None else derived.account(account)
    derived = derived if epoch is None else derived.epoch(epoch)
    derived.save(output)
    show_members(derived.public(), as_json)


@key.command()
@click.argument("file", type=FILE)
@click.argument("corpus", nargs=-1, required=True, type=ROWS)
@tokenizer_option
@json_option
@case_options
@habits
@click.pass_context
def check(
    ctx: click.Context,
    file: Path,
    corpus: tuple[str, ...],
    tokenizer: str | None,
    as_json: bool,
    case_directory: Path | None,
    signer_file: Path | None,
) -> int:
    """Test a new key once on human text, before its first use.

    Accepted when the one-sided p is above 0.01; exit 5 otherwise: make another key then. The outcome is kept beside
    the key (FILE.check.json), and later tests multiply their p by 1/.99. CORPUS: as FILES of `taggant detect`.

    With --case, a check that was made before, on the same CORPUS, is recorded as what it is; nothing is tested again.

    taggant key check owner.key speeches/ letters.txt
    """
    from detect.bundles.events import record_check
    from detect.keycheck import check_on, check_path, keep, look
    from detect.readers import tokenized

    checked = load_key(file)
    collection = tokenized(
        rows_of(corpus),
        checked.context_width,
        TokenizerAtHand(checked, tokenizer).load,
        vocab_size=None if checked.tokenizer is None else checked.tokenizer.vocab_size,
    )
    earlier = None if case_directory is None else check_on(checked, file, collection.documents)
    result = look(checked, file, collection.documents) if earlier is None else earlier
    if earlier is None:
        refuse_output(check_path(file))  # no case is begun for what cannot be kept
    with at_case(ctx, case_directory, signer_file, checked) as case:
        if case is not None:
            _refuse_late_check(case, earlier)
        if earlier is None:
            with writing(check_path(file)):
                keep(result, file)
        if case is not None:
            record_check(case, result)
    for line in collection.notes:
        note(ctx, line)
    if earlier is not None:
        note(ctx, f"Recorded the check of {earlier.created}, which is beside the key; nothing was tested again.")
    show_members(result.to_dict(), as_json)
    if result.accepted:
        return 0
    note(ctx, "This key colours the text too green. Do not use it; make another with taggant keygen.")
    if result.log10_p <= LOOKS_MARKED:
        note(ctx, "No chance makes a fresh key look so: the text seems marked by it. If, and only if, it is not human")
        note(ctx, f"text, it was no check: remove {check_path(file)}.")
    return 5


def _refuse_late_check(case: Case, earlier: KeyCheck | None) -> None:
    from watermark.errors import InputError

    if any(case.log.of("key-checked")):
        raise InputError("the case records a check of the key: a key is checked once")
    late = [event for event in ("planned", "begun") if any(case.log.of(event))]
    if late:
        beside = "" if earlier is None else "; the record beside the key is accounted for all the same"
        raise InputError(
            f"the case records a {late[0]} examination: a key is checked before its first use, or never{beside}"
        )


@key.command(short_help="Make a key with a fresh secret and the same parameters.")
@click.argument("file", type=FILE)
@click.option("-o", "--output", required=True, type=FILE, help="The new key file to create.")
@json_option
@habits
def rotate(file: Path, output: Path, as_json: bool) -> None:
    """Make a key with a fresh secret and the same parameters, for when the old one may be known.

    Keep the old key: texts that carry its mark are found with it only.
    """
    from watermark.keys import Key

    refuse_output(output)
    old = load_key(file)
    new = Key.generate(tokenizer=old.tokenizer, gamma=old.gamma, delta=old.delta, context_width=old.context_width)
    new.save(output)
    show_members(new.public(), as_json)


def _identity(tokenizer: str) -> Any:
    """The tokenizer's identity under the name it can be loaded by again: a hub id, or an absolute directory."""
    from dataclasses import replace

    from watermark.engines.text_tokenizer import load_text_tokenizer
    from watermark.keys import TokenizerIdentity

    identity = TokenizerIdentity.of(load_text_tokenizer(tokenizer))
    return identity if Path(tokenizer).is_dir() else replace(identity, name=tokenizer)  # not the hub's cache directory
