"""`taggant key commit`: one hash over many marks, published before their first use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from detect.cli.casework import at_case, before_case, case_options
from detect.cli.options import FILE, habits, json_option, load_key
from detect.cli.output import refuse_output, show_members, writing
from detect.cli.stamping import stamp_for, timestamp_option
from detect.cli.types import ACCOUNT, EPOCH

if TYPE_CHECKING:
    from detect.bundles.case import Case
    from detect.bundles.held import Held
    from watermark.keys import Commitment


@click.command(short_help="Commit to every mark of a key by one hash, before its first use.")
@click.argument("file", type=FILE)
@click.option("--account", "accounts", multiple=True, type=ACCOUNT, help="Opaque account id; may be repeated.")
@click.option("--accounts", "accounts_file", type=FILE, help="File with one account id a line.")
@click.option("--epoch", "epochs", multiple=True, type=EPOCH, help="Month, YYYY-MM; may be repeated.")
@click.option("-o", "--output", required=True, type=FILE, help="The commitment to create; publish it.")
@click.option("--leaves", type=FILE, help="List of leaves to create; keep it: marks are opened with it.")
@case_options
@timestamp_option("With --case: have the commitment timestamped by this RFC 3161 authority.")
@json_option
@habits
@click.pass_context
def commit(
    ctx: click.Context,
    file: Path,
    accounts: tuple[str, ...],
    accounts_file: Path | None,
    epochs: tuple[str, ...],
    output: Path,
    leaves: Path | None,
    as_json: bool,
    case_directory: Path | None,
    signer_file: Path | None,
    timestamp: str | None,
) -> None:
    """Commit to every mark of a key, before its first use: the Merkle root over accounts × months.

    Without --account and --epoch the commitment is to this key alone. Have the root timestamped by somebody else.
    With --case, a commitment to the same marks that is in its file already is recorded as it is.

    taggant key commit owner.key --accounts ids.txt --epoch 2026-11 -o commitment.json --leaves leaves.json
    """
    from detect.bundles.events import record_commitment
    from watermark.keys import UNTIMESTAMPED_NOTE, Commitment, Leaf

    if leaves == output:
        raise click.UsageError("--output and --leaves must be two files", ctx)
    known = case_directory is not None and output.exists()  # made before; to be recorded
    refuse_output(*(path for path in (output, leaves) if path is not None and not (known and path.exists())))
    parent = load_key(file)
    names: list[str | None] = [*accounts, *account_ids(accounts_file)] or [None]
    entries = []
    for account in names:
        for epoch in epochs or (None,):
            derived = parent if account is None else parent.account(account)
            derived = derived if epoch is None else derived.epoch(epoch)
            entries.append(Leaf(account, epoch, derived.key_id))
    commitment = Commitment.of(entries)
    if known:
        commitment = _same(output, leaves, commitment)
    _refuse_unfit(before_case(ctx, case_directory, signer_file), commitment, known)
    stamp = stamp_for(ctx, timestamp, case_directory)
    response = None if stamp is None else stamp(commitment.canonical)  # first: without it nothing is written
    with at_case(ctx, case_directory, signer_file) as case:
        _refuse_unfit(case, commitment, known)  # again: another command may have been at work in it
        _save(commitment, *(None if path is None or path.exists() else path for path in (output, leaves)))
        if case is not None:
            record_commitment(case, commitment, response)
    show_members({**commitment.to_json(), "note": UNTIMESTAMPED_NOTE}, as_json)


def _refuse_unfit(case: Case | Held | None, commitment: Commitment, known: bool) -> None:
    """Raise InputError where a case cannot record this commitment; `known`: it was made before."""
    from detect.bundles.events import refuse_foreign_commitment, refuse_known_commitment

    if case is not None:
        refuse_foreign_commitment(case, commitment)
        if known:
            refuse_known_commitment(case, commitment)


def account_ids(path: Path | None) -> list[str]:
    if path is None:
        return []
    from watermark.errors import InputError, KeyFileError
    from watermark.keys.derive import normal_label

    labels = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                labels.append(normal_label("account", line.strip()))
            except KeyFileError as error:
                raise InputError(f"{path}:{number}: {error}") from None
    if not labels:
        raise InputError(f"{path} holds no account ids; write one a line")
    return labels


def _text(path: Path) -> str:
    from watermark.errors import InputError

    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from None


def _same(output: Path, leaves: Path | None, commitment: Commitment) -> Commitment:
    """The commitment in `output`, made before: this one but for its date (else InputError or CommitmentError)."""
    from dataclasses import asdict, replace

    from watermark.errors import InputError
    from watermark.files import strict_json
    from watermark.keys import Commitment

    earlier = replace(Commitment.load(output), leaves=commitment.leaves)
    if (earlier.root, earlier.size) != (commitment.root, commitment.size):
        raise InputError(f"{output} is a commitment to other marks than these; choose another name")
    if output.read_bytes() != earlier.canonical:
        raise InputError(f"{output} is not as it was written; get it again from where it was published")
    if leaves is not None and leaves.exists():
        try:
            listed = strict_json(leaves.read_bytes())
        except (InputError, OSError):
            listed = None
        if listed != [asdict(leaf) for leaf in commitment.leaves]:
            raise InputError(f"{leaves} is not the list of these marks; choose another name")
    return earlier


def _save(commitment: Commitment, output: Path | None, leaves: Path | None) -> None:
    """Both files or neither; None: it is not wanted, or there."""
    from dataclasses import asdict

    from watermark.files import write_json

    if leaves is not None:
        with writing(leaves):
            write_json(leaves, [asdict(leaf) for leaf in commitment.leaves], mode=0o600)
    if output is None:
        return
    try:
        with writing(output):
            commitment.save(output)
    except BaseException:
        if leaves is not None:
            leaves.unlink(missing_ok=True)
        raise
