"""`taggant keygen` and `taggant key …`: make keys, derive, commit to and check them. Secrets stay in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from detect.cli.options import json_option, load_key, note, tokenizer_for

PROFILES = ("trace", "balanced", "discreet")
_existing = click.Path(path_type=Path)


@click.command()
@click.option("-o", "--output", required=True, type=_existing, help="The key file to create (mode 0600).")
@click.option("--profile", type=click.Choice(PROFILES), default="trace", show_default=True)
@click.option("--tokenizer", help="Directory or hub id of the tokenizer of the model to be marked.")
@click.option("--gamma", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Green fraction.")
@click.option("--delta", type=click.FloatRange(min=0), help="Logit bias, nats.")
@click.option("--context-width", type=click.IntRange(0, 8), help="h, tokens.")
@json_option
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
    """
    from watermark.files import refuse_existing
    from watermark.keys import Key

    refuse_existing(output)
    identity = None if tokenizer is None else _identity(tokenizer)
    key = Key.generate(profile, identity, gamma=gamma, delta=delta, context_width=context_width)
    key.save(output)
    if identity is None:
        note(
            ctx, "No tokenizer: special tokens are unknown to this key, and nothing checks which model it is used with."
        )
    _show(key.public(), as_json)


@click.group()
def key() -> None:
    """Look at, derive, commit to, check and replace keys."""


@key.command()
@click.argument("file", type=_existing)
@json_option
def show(file: Path, as_json: bool) -> None:
    """Print everything about a key except its secret."""
    _show(load_key(file).public(), as_json)


@key.command()
@click.argument("file", type=_existing)
@click.option("--account", help="Opaque id of an API account.")
@click.option("--epoch", help="Month, YYYY-MM.")
@click.option("-o", "--output", required=True, type=_existing, help="The derived key file to create.")
@json_option
def derive(file: Path, account: str | None, epoch: str | None, output: Path, as_json: bool) -> None:
    """Derive an account's key, a month's key, or an account's key for a month. It stands alone."""
    from watermark.files import refuse_existing

    if account is None and epoch is None:
        raise click.UsageError("give --account, --epoch, or both", click.get_current_context())
    refuse_existing(output)
    derived = load_key(file)
    derived = derived if account is None else derived.account(account)
    derived = derived if epoch is None else derived.epoch(epoch)
    derived.save(output)
    _show(derived.public(), as_json)


@key.command()
@click.argument("file", type=_existing)
@click.option("--account", "accounts", multiple=True, help="Opaque account id; may be repeated.")
@click.option("--accounts", "accounts_file", type=_existing, help="File with one account id a line.")
@click.option("--epoch", "epochs", multiple=True, help="Month, YYYY-MM; may be repeated.")
@click.option("-o", "--output", required=True, type=_existing, help="The commitment to create; publish it.")
@click.option("--leaves", type=_existing, help="List of leaves to create; keep it: marks are opened with it.")
@json_option
def commit(
    file: Path,
    accounts: tuple[str, ...],
    accounts_file: Path | None,
    epochs: tuple[str, ...],
    output: Path,
    leaves: Path | None,
    as_json: bool,
) -> None:
    """Commit to every mark of a key, before its first use: the Merkle root over accounts × months.

    Without --account and --epoch the commitment is to this key alone. Have the root timestamped by somebody else.
    """
    from watermark.files import refuse_existing, write_json
    from watermark.keys import UNTIMESTAMPED_NOTE, Commitment, Leaf

    for path in (output, leaves):
        if path is not None:
            refuse_existing(path)
    parent = load_key(file)
    names: list[str | None] = [*accounts, *_lines(accounts_file)] or [None]
    entries = []
    for account in names:
        for epoch in epochs or (None,):
            derived = parent if account is None else parent.account(account)
            derived = derived if epoch is None else derived.epoch(epoch)
            entries.append(Leaf(account, epoch, derived.key_id))
    commitment = Commitment.of(entries)
    if leaves is not None:
        write_json(leaves, [{"account": e.account, "epoch": e.epoch, "key_id": e.key_id} for e in entries], mode=0o600)
    commitment.save(output)
    _show({**commitment.to_json(), "note": UNTIMESTAMPED_NOTE}, as_json)


@key.command()
@click.argument("file", type=_existing)
@click.argument("corpus", nargs=-1, required=True, type=str)
@click.option("--tokenizer", help="Tokenizer of the corpus, where it is text; default: the one the key names.")
@json_option
@click.pass_context
def check(ctx: click.Context, file: Path, corpus: tuple[str, ...], tokenizer: str | None, as_json: bool) -> int:
    """Test a new key once on human text, before its first use.

    Accepted when the one-sided p is above 0.01; exit 5 otherwise: make another key then. The outcome is kept beside
    the key file, and later tests multiply their p by 1/.99.
    """
    from detect.keycheck import check_key
    from detect.readers import read_rows, tokenized

    checked = load_key(file)
    collection = tokenized(read_rows(corpus), checked.context_width, lambda: tokenizer_for(checked, tokenizer))
    result = check_key(checked, file, collection.documents)
    _show(result.to_dict(), as_json)
    if not result.accepted:
        note(ctx, "This key colours human text too green by chance. Do not use it; make another with taggant keygen.")
        return 5
    return 0


@key.command()
@click.argument("file", type=_existing)
@click.option("-o", "--output", required=True, type=_existing, help="The new key file to create.")
@json_option
def rotate(file: Path, output: Path, as_json: bool) -> None:
    """Make a key with a fresh secret and the same parameters, for when the old one may be known."""
    from watermark.files import refuse_existing
    from watermark.keys import Key

    refuse_existing(output)
    old = load_key(file)
    new = Key.generate(tokenizer=old.tokenizer, gamma=old.gamma, delta=old.delta, context_width=old.context_width)
    new.save(output)
    _show(new.public(), as_json)


def _identity(tokenizer: str) -> Any:
    """The tokenizer's identity under the name it can be loaded by again: a hub id, or an absolute directory."""
    from dataclasses import replace

    from watermark.engines.models import load_tokenizer
    from watermark.keys import TokenizerIdentity

    identity = TokenizerIdentity.of(load_tokenizer(tokenizer))
    return identity if Path(tokenizer).is_dir() else replace(identity, name=tokenizer)  # not the hub's cache directory


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    from watermark.errors import InputError

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _show(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(values, ensure_ascii=False))
        return
    width = max(map(len, values))
    for name, value in values.items():
        click.echo(f"{name:{width}}  {_plain(value)}")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return f"{len(value)} values" if len(value) > 12 else " ".join(map(str, value))
    return "–" if value is None else str(value)
