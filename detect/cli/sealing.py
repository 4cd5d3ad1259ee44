"""`taggant seal`: a case becomes a bundle that others can check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detect.cli.casework import at_case, signer_option
from detect.cli.options import FILE, habits, json_option, load_key
from detect.cli.output import note, refuse_output, show_members, writing
from detect.cli.stamping import authority, timestamp_option
from detect.cli.types import DIRECTORY_OR_ID
from detect.wording import amount

if TYPE_CHECKING:
    from detect.bundles.case import Case
    from watermark.keys import Key, Opening

FEW_PAIRS = 20  # below it a count tells much of the colour of each pair


@click.command(short_help="Hand a case over as a bundle that others can check.")
@click.argument("case_directory", metavar="CASE", type=FILE)
@click.option("-o", "--output", required=True, type=FILE, help="The bundle: a directory, or a zip if it ends in .zip.")
@click.option(
    "--open-key",
    is_flag=True,
    help="Open the case's one key in the bundle: whoever has it can compute every colour, and forge or remove this "
    "one mark. No other key is opened.",
)
@click.option("--key", "key_file", type=FILE, help="With --open-key: the case's key file.")
@click.option(
    "--leaves",
    "leaves_file",
    type=FILE,
    help="With --open-key: the list of leaves of the commitment that the case recorded, from `key commit`.",
)
@click.option(
    "--tokenizer",
    "tokenizer_name",
    type=DIRECTORY_OR_ID,
    help="The mark's tokenizer: its tokens go in, which show the other side that the special ids are its own.  "
    "[default: with --open-key, the one that the key names]",
)
@timestamp_option("Have the bundle's manifest timestamped by this RFC 3161 authority.")
@signer_option
@json_option
@habits
@click.pass_context
def seal(
    ctx: click.Context,
    case_directory: Path,
    output: Path,
    open_key: bool,
    key_file: Path | None,
    leaves_file: Path | None,
    tokenizer_name: str | None,
    timestamp: str | None,
    signer_file: Path | None,
    as_json: bool,
) -> None:
    """Hand a case over: its log, its files, the public keys and a signed manifest of it all, in one bundle.

    Everything that was recorded goes in, also what failed or found nothing. No secret does, unless the key is opened.
    A case can go on after it was sealed, and be sealed again: the log says so.

    \b
    taggant seal cases/17 -o bundle.zip
    taggant seal cases/17 -o opened.zip --open-key --key account.key --leaves leaves.json
    """
    from detect.bundles.held import Held
    from detect.bundles.seal import MANIFEST, seal_case, write_bundle

    if open_key != (key_file is not None):
        raise click.UsageError("--open-key and --key are needed together", ctx)
    if leaves_file is not None and not open_key:
        raise click.UsageError("--leaves shows the place of an opened key: give --open-key and --key", ctx)
    refuse_output(output)
    Held.read(case_directory)  # no case is begun by sealing one
    with at_case(ctx, case_directory, signer_file) as case:
        assert case is not None
        key = None if key_file is None else load_key(key_file)
        opening = None if key is None else _opening(case, key, leaves_file)
        vocabulary = _vocabulary(ctx, case, key, tokenizer_name)
        sealed = seal_case(case, opening, authority(timestamp), vocabulary)
        with writing(output):
            write_bundle(sealed.files, output, lambda: case.write(sealed.entry))
    from detect.bundles.entries import digest

    if opening is not None:
        note(ctx, "The bundle opens the key: whoever has it can forge and remove this one mark.")
    elif few := _few_pairs(sealed.files):
        note(
            ctx,
            f"Warning: {amount(few, 'recorded test')} counted fewer than {FEW_PAIRS} pairs. From counts of so few, "
            "colours can be read off although the key is closed: of one pair, its count is its colour. Hand this "
            "bundle to those alone who may learn these colours, or record the texts in a new case without --each.",
        )
    values = {
        "bundle": str(output),
        "manifest_sha256": digest(sealed.files[MANIFEST]),
        "case": case.log.case,
        "signer": case.signer.keyid,
        "entries": len(case.log.entries),
        "files": len(sealed.files),
        "opened": opening is not None,
    }
    show_members(values, as_json)


def _few_pairs(files: Mapping[str, bytes]) -> int:
    """How many tests counted so few pairs that their count tells much of each colour."""
    from detect.bundles.material import COUNT, E_PROCESS, RUN

    few = 0
    for name, content in files.items():
        directory, _, last = name.rpartition("/")
        if last != RUN:
            continue
        for one in json.loads(content)["tests"].values():
            if one["kind"] in (COUNT, E_PROCESS):
                scored = json.loads(files[f"{directory}/{one['evidence']}"])["n_scored"]
                few += 0 < scored < FEW_PAIRS
    return few


def _opening(case: Case, key: Key, leaves_file: Path | None) -> Opening:
    from detect.bundles.opening import opening_of
    from detect.cli.planning import load_leaves

    return opening_of(case.held, key, () if leaves_file is None else load_leaves(leaves_file))


def _vocabulary(ctx: click.Context, case: Case, key: Key | None, given: str | None) -> bytes | None:
    """Of the mark's tokenizer: of the one that was given, or the key names; None: there is none that could go in.

    Raises:
        InputError, ModelError, TokenizerMismatchError: the one that was given cannot be had, or is not the mark's.
    """
    from watermark.engines.text_tokenizer import load_text_tokenizer
    from watermark.errors import TaggantError, TokenizerMismatchError
    from watermark.keys import TokenizerIdentity
    from watermark.keys.tokenizers import vocabulary_of

    mark = case.mark
    name = given or (key.tokenizer.name if key is not None and key.tokenizer is not None else None)
    if mark is None or not name:
        return None
    try:
        tokenizer = load_text_tokenizer(name)
        found, expected = TokenizerIdentity.of(tokenizer).sha256, mark.tokenizer_sha256 or "none"
        if found != expected:
            what = f"{name} is not the tokenizer of the case's mark; give the one its key names"
            raise TokenizerMismatchError(what, expected=expected, found=found)
        return vocabulary_of(tokenizer)
    except TaggantError as error:
        if given is not None:
            raise
        note(ctx, f"Warning: the tokens of the key's tokenizer are not in the bundle ({error}), so the other side "
                  "cannot check which ids are special. Give --tokenizer.")  # fmt: skip
        return None
