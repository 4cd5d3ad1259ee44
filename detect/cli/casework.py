"""`--case`: what a command does is recorded in a case, before it is done and after."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from detect.cli.failures import Stopped, judge
from detect.cli.options import FILE, Command, rows_of
from detect.cli.output import note, printable

if TYPE_CHECKING:
    from detect.bundles.case import Case
    from detect.bundles.held import Held
    from detect.bundles.run import Run
    from detect.readers import Row
    from detect.readers.places import File
    from watermark.keys import Key

_SIGNS = "the private key that signs the case's entries.  [default: signer.pem in the case, made on first use]"
signer_option = click.option("--signer", "signer_file", type=FILE, help=_SIGNS)
CASE_OPTIONS = (
    click.option(
        "--case",
        "case_directory",
        type=FILE,
        metavar="DIR",
        help="Record this in a case, a directory that is made when there is none: what was done, what it rests on, "
        "and also what failed or found nothing. One mark a case.",
    ),
    click.option("--signer", "signer_file", type=FILE, help=f"With --case: {_SIGNS}"),
)


def case_options(command: Command) -> Command:
    """--case and --signer; they arrive as `case_directory` and `signer_file`."""
    for option in reversed(CASE_OPTIONS):
        command = option(command)
    return command


@contextmanager
def at_case(
    ctx: click.Context, directory: Path | None, signer_file: Path | None, key: Key | None = None
) -> Iterator[Case | None]:
    """The case of --case, held while the block runs; None: no case was asked for.

    Args:
        key: the case must be one of its mark, and becomes one when it is new; None: this says nothing of the mark.

    Raises:
        UsageError: --signer alone.
        InputError: a case of another mark, or no case; another command is at work in it.
        KeyFileError: the signer's file.
        Refused: what is in the case is not what it says.
    """
    if directory is None:
        _refuse_idle_signer(ctx, signer_file)
        yield None
        return
    from detect.bundles.case import Case
    from detect.bundles.held import SIGNERS
    from detect.bundles.mark import Mark

    with Case(directory, signer_file) as case:
        if case.made_signer is not None:
            note(ctx, f"Made {case.made_signer}, which signs this case's entries (key id {case.signer.keyid[:16]}): "
                      f"keep it secret. Its public key is {directory / SIGNERS / case.signer.keyid}.pem: give that to "
                      "whoever verifies (--trust), or tell them its name.")  # fmt: skip
        if key is not None:
            case.hold(Mark.of(key))
        yield case


def before_case(
    ctx: click.Context, directory: Path | None, signer_file: Path | None, key: Key | None = None
) -> Held | None:
    """What is in the case of --case by now, for work that must leave nothing behind where it fails.

    None: no case is there yet, or none was asked for.

    Raises:
        as `at_case`, for what shows before it is opened.
    """
    if directory is None:
        _refuse_idle_signer(ctx, signer_file)
        return None
    from detect.bundles.held import LOG, Held
    from detect.bundles.mark import Mark

    if not (directory / LOG).is_file():
        return None
    held = Held.read(directory)
    if key is not None:
        held.refuse_other(Mark.of(key))
    return held


def _refuse_idle_signer(ctx: click.Context, signer_file: Path | None) -> None:
    if signer_file is not None:
        raise click.UsageError("--signer signs the entries of a case: give --case", ctx)


def refuse_lost_check(case: Case | None, accepted: bool | None) -> None:
    """Raise InputError where the case records another outcome of the key's check than the record beside the key.

    Args:
        accepted: as `detect.keycheck.accepted` gives it.
    """
    from watermark.errors import InputError

    recorded = [] if case is None else [entry.details["accepted"] for _, entry in case.log.of("key-checked")]
    if recorded and accepted != all(recorded):
        raise InputError(
            "the case records a check of the key on human text, and the record of it beside the key file (…check.json) "
            "is not there, or another: put it back, or p would not be adjusted for it"
        )


def warn_exploratory(
    ctx: click.Context, case: Case, plan: str, questioned: Mapping[str, str] | None, answers: bytes | None
) -> list[str]:
    """Why nothing that a run finds now can be confirmatory by the case's log; said before a model is touched.

    Args:
        plan: digest of the plan that it carries out.
        questioned: the model, as its entry will name it.
        answers: what the model answered by now, as `why_not` has it.
    """
    from detect.bundles.order import why_not

    at = len(case.log.entries)
    reasons = why_not(case.log, at, case.held.file, plan=plan, questioned=questioned, answers=answers)
    if reasons:
        note(ctx, f"Warning: results will be exploratory: {'; '.join(reasons)}.")
    return reasons


@contextmanager
def at_run(
    case: Case | None,
    command: str,
    key: Key | None,
    inputs: Inputs,
    options: Mapping[str, Any],
    *,
    plan: str | None = None,
    questioned: Mapping[str, str] | None = None,
) -> Iterator[Run | None]:
    """A run, recorded as begun before the block and, unless it finished there, as stopped behind it.

    Args:
        options: from `shown_options`.
        plan: digest of the plan that is carried out.
        questioned: the model; None: texts.
    """
    if case is None:
        yield None
        return
    assert key is not None  # a case is of one mark
    number = case.log.next_run
    try:
        yield case.begin(
            {
                "command": command,
                "key_id": key.key_id,
                "plan": plan,
                "questioned": questioned,
                "inputs": list(inputs.listed),
                "options": options,
            }
        )
    except BaseException as error:
        with suppress(Exception):  # a full disk, say: the next command records that it ended, then
            case.stop(number, _reason(error))
        raise
    case.stop(number, "it ended without results")


def _reason(error: BaseException) -> str:
    if isinstance(error, Stopped):
        return f"interrupted by signal {error.number}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return printable(judge(error)[1])


@dataclass(frozen=True)
class Inputs:
    """What a run reads, digested before it begins.

    Attributes:
        listed: as `begun` lists them: by the last part of their names.
        stdin: what stood in standard input; None: it is not read, or not in a case.
    """

    listed: Sequence[Mapping[str, Any]] = ()
    stdin: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, case: Case | None, paths: Sequence[str], *, prompts_only_ok: bool = False) -> Inputs:
        """Those of a run in a case; of none, nothing is read.

        Args:
            paths: files, directories, globs, addresses and -, as `rows_of` takes them.

        Raises:
            InputError: one cannot be read.
        """
        if case is None:
            return cls()
        from detect.readers.paths import STDIN, STDIN_NAME, files_of

        listed = [_listed_file(file) for file in files_of(paths, prompts_only_ok=prompts_only_ok)]
        if STDIN not in paths or sys.stdin is None:
            return cls(listed)
        content = sys.stdin.buffer.read()
        found = hashlib.sha256(content).hexdigest()
        return cls([*listed, {"name": STDIN_NAME, "sha256": found, "bytes": len(content)}], content)

    def and_files(self, case: Case | None, *paths: Path | None) -> Inputs:
        """These, and files that hold no rows; None: not given."""
        more = [] if case is None else [_listed(path.name, path) for path in paths if path is not None]
        return Inputs([*self.listed, *more], self.stdin)

    def and_those_of(self, case: Case | None, paths: Sequence[str], *, prompts_only_ok: bool = False) -> Inputs:
        """These and more; standard input is read once."""
        more = Inputs.of(case, paths, prompts_only_ok=prompts_only_ok)
        return Inputs([*self.listed, *more.listed], self.stdin or more.stdin)

    def rows(self, paths: Sequence[str], *, prompts_only_ok: bool = False) -> Iterator[Row]:
        """As `rows_of`."""
        stdin = None if self.stdin is None else io.BytesIO(self.stdin)
        return rows_of(paths, prompts_only_ok=prompts_only_ok, stdin=stdin)


def _listed_file(file: File) -> dict[str, Any]:
    from detect.readers.places import named_errors

    with named_errors(file), file.open() as handle:
        return _digested(file.base, handle)


def _listed(name: str, path: Path) -> dict[str, Any]:
    from watermark.errors import InputError

    try:
        with path.open("rb") as handle:
            return _digested(name, handle)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from None


def _digested(name: str, handle: BinaryIO) -> dict[str, Any]:
    digest = hashlib.sha256()
    size = 0
    while block := handle.read(1 << 20):
        digest.update(block)
        size += len(block)
    return {"name": name, "sha256": digest.hexdigest(), "bytes": size}


def shown_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options for the record: paths by their last part, bytes in hex, and none that were not given."""
    return {name: _shown(value) for name, value in options.items() if value not in (None, (), False)}


def _shown(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]
    return value if isinstance(value, str | int | float | bool) else str(value)
