"""The one place where errors become exit codes and a line for people. Nothing of `watermark` is imported here.

`taggant doctor` must run, and everything else fail with good advice, where another distribution's `watermark` package
is found instead of ours.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback

import click

from detect.visible import escaped, segments

EXIT_USAGE, EXIT_INPUT, EXIT_KEY, EXIT_INTERNAL, EXIT_INTERRUPTED = 2, 3, 5, 70, 130


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: what is in the making is cleaned up, as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


RESUMABLE = ("generate", "demo", "validate")
_OURS = ("watermark", "detect", "distill_sim")


def judge(error: BaseException, command: str | None = None) -> tuple[int, str]:
    """Exit code and message of an error that ended `command`."""
    if isinstance(error, Stopped):
        return 128 + error.number, _interrupted(command)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return EXIT_INTERRUPTED, _interrupted(command)
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx is not None else f"taggant {command or ''}".strip()
        return EXIT_USAGE, f"{error.format_message()} (see {where} --help)"
    if isinstance(error, click.ClickException):
        return EXIT_INPUT, error.format_message()
    if _is_ours(error, "KeyFileError"):
        return EXIT_KEY, str(error)
    if _is_ours(error, "TaggantError"):
        return EXIT_INPUT, str(error)
    if isinstance(error, ImportError):
        return EXIT_INTERNAL, _unimportable(error)
    if isinstance(error, MemoryError):
        return EXIT_INTERNAL, "out of memory; give fewer or smaller inputs, or use a larger machine"
    if isinstance(error, OSError) and error.strerror is not None:
        return EXIT_INPUT, _from_the_system(error)
    name = type(error).__name__
    return EXIT_INTERNAL, f"internal error ({name}); please report it; TAGGANT_DEBUG=1 shows where it happened"


def show_traceback(error: BaseException) -> None:
    """For developers, when they ask for it. What a stranger's file wrote into a message cannot steer the terminal."""
    if os.environ.get("TAGGANT_DEBUG") == "1":
        text = "".join(traceback.format_exception(error))
        click.echo("".join(escaped(part) if kind == "escape" else part for kind, part in segments(text)), err=True)


def _interrupted(command: str | None) -> str:
    if command in RESUMABLE:
        return "interrupted; what was finished is kept, and the same command goes on from there"
    return "interrupted; nothing is left half-written"


def _from_the_system(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    advice = "; free some and run the command again" if error.errno == errno.ENOSPC else ""
    return f"{place}{error.strerror}{advice}"


def _is_ours(error: BaseException, name: str) -> bool:
    """Whether `error` is one of watermark.errors; where that was never loaded, nothing can have raised one."""
    kind = getattr(sys.modules.get("watermark.errors"), name, None)
    return kind is not None and isinstance(error, kind)


def _unimportable(error: ImportError) -> str:
    package = (error.name or "").partition(".")[0]
    if package in _OURS:
        found = getattr(sys.modules.get(package), "__path__", None)
        place = f" in {next(iter(found))}" if found else ""
        return f"the package {package!r}{place} is not Taggant's: run `taggant doctor` for what to do"
    return f"{package or 'a library'} cannot be imported ({error.msg}); run `taggant doctor` for what is missing"
