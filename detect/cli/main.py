"""`taggant`: the commands, loaded when they are asked for, and the run that ends in the design's exit codes."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module

import click

from detect.cli.failures import EXIT_INTERNAL, EXIT_USAGE, Stopped, judge, show_traceback
from detect.cli.options import habits
from detect.cli.output import logs_as_notes, printable

# Commands of distill_sim are named, not imported: detect never depends on it.
COMMANDS = {
    "keygen": "detect.cli.keys:keygen",
    "key": "detect.cli.keys:key",
    "model": "distill_sim.cli:model",
    "generate": "detect.cli.generate:generate",
    "detect": "detect.cli.text:detect",
    "suspect": "detect.cli.suspect:suspect",
    "attribute": "detect.cli.attribute:attribute",
    "plan": "detect.cli.plan:plan",
    "case": "detect.cli.casebook:case",
    "seal": "detect.cli.sealing:seal",
    "verify": "detect.cli.verify:verify",
    "validate": "detect.cli.validate:validate",
    "report": "detect.cli.report:report",
    "simulate": "distill_sim.cli:simulate",
    "demo": "distill_sim.cli:demo",
    "doctor": "detect.cli.doctor:doctor",
}
_COMPLETION = "_TAGGANT_COMPLETE"


class LazyGroup(click.Group):
    """A group whose commands are imported by name, in the order of a user's first day."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        near = get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and near and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{near[0]}'?", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=(
        "The whole story on one machine: `taggant demo`. Is the installation sound: `taggant doctor`. "
        'Shell completion (bash): eval "$(_TAGGANT_COMPLETE=bash_source taggant)"'
    ),
)
@click.version_option(package_name="taggant", prog_name="taggant")
@habits
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Trace a language model's output into the models trained on it.

    \b
    taggant keygen -o owner.key --tokenizer MODEL             a secret key for a model
    taggant generate --model MODEL --key owner.key \\
        --prompts prompts.jsonl -o answers.jsonl              marked answers
    taggant detect --key owner.key answers.jsonl              find the mark in texts
    taggant suspect --key owner.key --model OTHER \\
        --reference BASE --probes probes.jsonl                find it in a questioned model

    stdout is data, stderr is for people. Exit codes: 0 done, whatever the finding; 1 --fail-on-detect met, or verify
    failed; 2 bad options; 3 refused input; 4 inconclusive under --strict; 5 key or trust refused; 70 internal;
    130 interrupted.
    """
    ctx.ensure_object(dict)
    ctx.with_resource(logs_as_notes(ctx))


def main() -> None:
    """Run the command line and exit with the design's code; an error is one line on stderr, never a traceback."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries' deprecations are for developers
    _clean_up_when_stopped()
    code = run()
    for stream in (sys.stdout, sys.stderr):
        _settle(stream)
    sys.exit(code)


def _clean_up_when_stopped() -> None:
    """SIGTERM and SIGHUP end a command as Ctrl-C does: nothing, and no secret, is left half-written."""

    def stop(number: int, _: object) -> None:
        for one in stops:  # once is enough: the next one would break into the cleaning up
            signal.signal(one, signal.SIG_IGN)
        raise Stopped(number)

    stops = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) == signal.SIG_DFL]  # not nohup's
    for one in stops:
        signal.signal(one, stop)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    if _COMPLETION in os.environ:
        cli.main(prog_name="taggant", complete_var=_COMPLETION)  # answers the shell and leaves by SystemExit
    command: str | None = None
    try:
        with cli.make_context("taggant", sys.argv[1:] if arguments is None else list(arguments)) as ctx:
            try:
                result = cli.invoke(ctx)
            finally:
                command = ctx.invoked_subcommand
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except BrokenPipeError:
        return 0  # the reader has what it wanted
    except (Exception, KeyboardInterrupt) as error:  # whatever it is, a user gets one line
        return _fail(error, command)
    return result if isinstance(result, int) else 0


def _fail(error: BaseException, command: str | None) -> int:
    code, message = judge(error, command)
    with suppress(OSError):  # stderr may be full, too
        if code == EXIT_INTERNAL:
            show_traceback(error)
        if code == EXIT_USAGE and type(error).__name__ == "NoArgsIsHelpError":
            click.echo(str(error), err=True)  # `taggant` alone: what there is, rather than what was wrong
        else:
            click.echo(f"taggant: {printable(message)}", err=True)
    return code


def _settle(stream: object) -> None:
    """Flush a standard stream; where that fails, point it elsewhere: the interpreter would complain when it leaves."""
    if stream is None:
        return
    try:
        stream.flush()  # type: ignore[attr-defined]
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[attr-defined]
