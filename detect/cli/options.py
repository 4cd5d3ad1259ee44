"""Options and small habits that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from watermark.keys import Key

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
sample_seed_option = click.option(
    "--sample-seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="Seed of the sampling."
)


class HexSeed(click.ParamType):
    """32 bytes in hex."""

    name = "hex"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if isinstance(value, bytes):
            return value
        if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            self.fail("must be 64 hex digits", param, ctx)
        return bytes.fromhex(value)


def test_options(command: Command) -> Command:
    """--decoys, --seed, --alpha, --effect, --strict, --fail-on-detect: everything about judging a test."""
    for option in (
        click.option("--fail-on-detect", is_flag=True, help="Exit 1 when a test detects the mark."),
        click.option("--strict", is_flag=True, help="Exit 4 when nothing is detected and a test is inconclusive."),
        click.option("--effect", type=click.FloatRange(0, 1, min_open=True), help="Green fraction worth detecting."),
        click.option(
            "--alpha",
            default=1e-6,
            show_default=True,
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            help="Level of the finding.",
        ),
        click.option(
            "--seed", type=HexSeed(), default="0" * 64, help="Seed of the decoys, 64 hex digits; default zero."
        ),
        click.option("--decoys", type=click.IntRange(min=1), help="Add a line-up of this many other keys."),
    ):
        command = option(command)
    return command


def exit_code(findings: list[str], *, strict: bool, fail_on_detect: bool) -> int:
    """What `--strict` and `--fail-on-detect` make of the findings."""
    if "detected" in findings:
        return 1 if fail_on_detect else 0
    return 4 if strict and "inconclusive" in findings else 0


def load_key(path: Path) -> Key:
    """Load a key file (KeyFileError: exit 5)."""
    from watermark.keys import Key

    return Key.load(path)


def tokenizer_for(key: Key, given: str | None) -> PreTrainedTokenizerBase:
    """The tokenizer given on the command line, else the one the key names; checked against the key.

    Raises:
        InputError: neither is there.
        TokenizerMismatchError: it is not the key's.
    """
    from watermark.engines.models import load_tokenizer
    from watermark.errors import InputError

    name = given or (key.tokenizer.name if key.tokenizer is not None else None)
    if not name:
        raise InputError(
            "this text needs a tokenizer: the key names none; give --tokenizer DIR or ID, or rows with token_ids"
        )
    tokenizer = load_tokenizer(name)
    key.check_tokenizer(tokenizer)
    return tokenizer


@contextmanager
def progress(ctx: click.Context, name: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar with the time left on stderr; yields a function to call with the units just done."""
    from watermark.progress import counter

    with counter(name, total, unit, quiet=bool(ctx.obj and ctx.obj["quiet"])) as advance:
        yield advance


def note(ctx: click.Context, message: str) -> None:
    """A line for people, on stderr."""
    if not (ctx.obj and ctx.obj["quiet"]):
        click.echo(message, err=True)
