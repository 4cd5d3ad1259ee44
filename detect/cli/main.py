"""`taggant`: the commands, loaded when they are asked for, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from typing import Any

import click

from watermark.errors import KeyFileError, TaggantError

EXIT_USAGE, EXIT_INPUT, EXIT_KEY, EXIT_INTERNAL, EXIT_INTERRUPTED = 2, 3, 5, 70, 130

# Commands of distill_sim are named, not imported: detect never depends on it.
COMMANDS = {
    "keygen": "detect.cli.keys:keygen",
    "key": "detect.cli.keys:key",
    "model": "distill_sim.cli:model",
    "generate": "detect.cli.generate:generate",
    "detect": "detect.cli.text:detect",
    "suspect": "detect.cli.suspect:suspect",
    "plan": "detect.cli.plan:plan",
    "demo": "distill_sim.cli:demo",
    "doctor": "detect.cli.doctor:doctor",
}


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


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="taggant", prog_name="taggant")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no notes on stderr.")
@click.option("-v", "--verbose", is_flag=True, help="More notes on stderr.")
@click.pass_context
def cli(ctx: click.Context, quiet: bool, verbose: bool) -> None:
    """Trace a language model's output into the models trained on it.

    stdout is data, stderr is for people. Exit codes: 0 done, whatever the finding; 1 --fail-on-detect met; 2 bad
    options; 3 refused input; 4 inconclusive under --strict; 5 key refused; 70 internal; 130 interrupted.
    """
    ctx.obj = {"quiet": quiet, "verbose": verbose}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the design's code; an error is one line on stderr, never a traceback."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """As `main`, but returns the exit code."""
    try:
        result = cli.main(arguments, prog_name="taggant", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "taggant"
        return _fail(EXIT_USAGE, f"{_one_line(error.format_message())} (see {where} --help)")
    except click.ClickException as error:
        return _fail(EXIT_INPUT, error.format_message())
    except (KeyboardInterrupt, click.Abort):
        return _fail(
            EXIT_INTERRUPTED, "interrupted; what was finished is kept, and the same command goes on from there"
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; nothing more to flush
        return 0
    except KeyFileError as error:
        return _fail(EXIT_KEY, str(error))
    except TaggantError as error:
        return _fail(EXIT_INPUT, str(error))
    except OSError as error:
        return _fail(EXIT_INPUT, _os_error(error))
    except Exception as error:  # the last resort: whatever it is, a user gets one line
        return _internal(error)
    return result if isinstance(result, int) else 0


def _fail(code: int, message: str) -> int:
    print(f"taggant: {_one_line(message)}", file=sys.stderr)
    return code


def _os_error(error: OSError) -> str:
    if error.strerror is None:
        return str(error) or type(error).__name__
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror}"


def _internal(error: Exception) -> int:
    if os.environ.get("TAGGANT_DEBUG") == "1":
        traceback.print_exc()
    name = type(error).__name__
    return _fail(EXIT_INTERNAL, f"internal error ({name}); please report it; TAGGANT_DEBUG=1 shows where it happened")


def _one_line(message: Any) -> str:
    return " ".join(str(message).split())
