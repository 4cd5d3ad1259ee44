"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from detect.cli.types import DIRECTORY_OR_ID, FRACTION, ROWS, HexSeed, Number

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from detect.readers import Row
    from watermark.keys import Key

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)  # existence is checked where the file is opened, once
INCONCLUSIVE = 4  # exit code: under --strict, and where there is no result yet

PROBES_HELP = (
    "What is fed to the questioned model, a row each: what it is asked (`prompt` or `prompt_ids`) and an answer to be "
    "read (`text` or `token_ids`), or one of the two. JSONL, Parquet, text files (answers alone), a directory; or "
    "`builtin`, 185 rows that come with Taggant. May be repeated."
)
SAMPLE_HELP = (
    "Ask the questioned model the prompts until its answers hold this many tokens, at least; these are counted. "
    "Typical need: 1,000 to 2,000 with --reference, tens of thousands without."
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
key_option = click.option("--key", "key_file", required=True, type=FILE, help="The key file.")
tokenizer_option = click.option(
    "--tokenizer", type=DIRECTORY_OR_ID, help="Tokenizer of the text; default: the one the key names."
)
sample_seed_option = click.option(
    "--sample-seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="Seed of the sampling."
)
temperature_option = click.option(
    "--temperature",
    default=1.0,
    show_default=True,
    type=Number(1e-4, 100),
    help="Of sampling; near 0: always the likeliest token.",
)


effect_option = click.option(
    "--effect",
    type=FRACTION,
    help="Green fraction worth detecting; too few pairs for it: inconclusive.  [default: .50 for texts, .28 sampled]",
)


frequencies_option = click.option(
    "--frequencies",
    "frequency_files",
    multiple=True,
    type=ROWS,
    help="Unmarked answers of the teacher, files as for --probes: contexts and tokens that are frequent there weigh "
    "more against --reference. May be repeated.  [default: the reference's own expectation, which is weaker]",
)


def alpha_option(meaning: str) -> Callable[[Command], Command]:
    """--alpha, from 1e-200 to below 1."""
    return click.option("--alpha", default=1e-6, show_default=True, type=Number(1e-200, 1, max_open=True), help=meaning)


def habits(command: Command) -> Command:
    """-q and -v, accepted before and after the command's name."""
    for flags, name, text in (
        (("-v", "--verbose"), "verbose", "More notes on stderr."),
        (("-q", "--quiet"), "quiet", "No progress and no notes on stderr."),
    ):
        command = click.option(*flags, name, is_flag=True, expose_value=False, callback=_remember, help=text)(command)
    return command


def _remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and param.name is not None:
        ctx.find_root().ensure_object(dict)[param.name] = True


def test_options(command: Command) -> Command:
    """--decoys, --seed, --alpha, --effect, --strict, --fail-on-detect: everything about judging a test."""
    for option in (
        click.option("--fail-on-detect", is_flag=True, help="Exit 1 when a test that is printed detects the mark."),
        click.option("--strict", is_flag=True, help="Exit 4 when nothing is detected and a test is inconclusive."),
        effect_option,
        alpha_option("Level of the finding."),
        click.option("--seed", type=HexSeed(), default="0" * 64,
                     help="Seed of the decoys, 64 hex digits.  [default: zeros]"),
        click.option("--decoys", type=click.IntRange(1, 1_000_000), help="Add a line-up of this many other keys."),
    ):  # fmt: skip
        command = option(command)
    return command


def exit_code(findings: list[str], *, strict: bool, fail_on_detect: bool) -> int:
    """What `--strict` and `--fail-on-detect` make of the findings."""
    if "detected" in findings:
        return 1 if fail_on_detect else 0
    return INCONCLUSIVE if strict and "inconclusive" in findings else 0


def load_key(path: Path) -> Key:
    """Load a key file (KeyFileError: exit 5)."""
    from watermark.keys import Key

    return Key.load(path)


def rows_of(paths: Sequence[str], *, prompts_only_ok: bool = False, stdin: BinaryIO | None = None) -> Iterator[Row]:
    """The rows of files, directories and - (InputError while iterating: exit 3).

    Args:
        stdin: what - reads; default the process's own.
    """
    from detect.readers import read_rows
    from watermark.errors import InputError

    if "-" in paths and stdin is None and sys.stdin is None:
        raise InputError("standard input is closed; give files, or pipe something in")
    return read_rows(paths, stdin=stdin, prompts_only_ok=prompts_only_ok)


class TokenizerAtHand:
    """The tokenizer of one run of a command: loaded once, checked against the key.

    Where the user names one and the key can tell whether it is the right one, that is done at once, needed or not.

    Attributes:
        loaded: the tokenizer, or None.
        problem: why there is none, with what to do about it.
    """

    def __init__(self, key: Key, given: str | None) -> None:
        self._key, self._given = key, given
        self.loaded: Any = None
        self.problem = "give --tokenizer to see text"
        if given is not None and key.tokenizer is not None:
            self.load()

    @property
    def checked(self) -> bool:
        return self.loaded is not None

    def load(self) -> Any:
        """The tokenizer that the key names, unless another was given (as `text_tokenizer_for`)."""
        if self.loaded is None:
            self.loaded = text_tokenizer_for(self._key, self._given)
        return self.loaded

    def try_load(self) -> None:
        """Load it where one is named and can be had; one that the user named must be."""
        from watermark.errors import InputError

        if self._key.tokenizer is None and self._given is None:
            return
        try:
            self.load()
        except InputError as error:
            if self._given is not None:
                raise
            self.problem = str(error)


def tokenizer_for(key: Key, given: str | None) -> PreTrainedTokenizerBase:
    """The tokenizer given on the command line, else the one the key names; checked against the key.

    It can do whatever transformers' can: where text alone is read, `text_tokenizer_for` starts sooner.

    Raises:
        InputError: neither is there.
        TokenizerMismatchError: it is not the key's.
    """
    from watermark.engines.models import load_tokenizer

    tokenizer: PreTrainedTokenizerBase = _checked_tokenizer(key, given, load_tokenizer)
    return tokenizer


def text_tokenizer_for(key: Key, given: str | None) -> Any:
    """As `tokenizer_for`, for text alone: without transformers where the tokenizer is a plain one."""
    from watermark.engines.text_tokenizer import load_text_tokenizer

    return _checked_tokenizer(key, given, load_text_tokenizer)


def _checked_tokenizer(key: Key, given: str | None, load: Callable[[str], Any]) -> Any:
    from watermark.errors import InputError, ModelError

    name = given or (key.tokenizer.name if key.tokenizer is not None else None)
    if not name:
        raise InputError(
            "text needs a tokenizer: the key names none; give --tokenizer DIR or ID, or rows with token_ids"
        )
    try:
        tokenizer = load(name)
    except ModelError as error:
        if given:
            raise
        raise ModelError(f"the key's tokenizer cannot be had; give --tokenizer DIR or ID ({error})") from None
    key.check_tokenizer(tokenizer)
    return tokenizer
