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
from detect.wording import amount

if TYPE_CHECKING:
    from detect.bundles.case import Case
    from watermark.keys import Opening

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
        opening = None if key_file is None else _opening(case, key_file, leaves_file)
        sealed = seal_case(case, opening, authority(timestamp))
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


def _opening(case: Case, key_file: Path, leaves_file: Path | None) -> Opening:
    from detect.bundles.opening import opening_of
    from detect.cli.planning import load_leaves

    return opening_of(case.held, load_key(key_file), () if leaves_file is None else load_leaves(leaves_file))
