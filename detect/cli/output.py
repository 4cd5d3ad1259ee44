"""Where words go: data to stdout, everything for people to stderr, results into files that are whole or absent."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from detect.visible import one_line

PACKAGES = ("watermark", "detect", "distill_sim")


def emit(text: str | bytes) -> None:
    """Print a line of data; bytes as they are, for paths that are no text.

    Raises:
        InputError: stdout is full. BrokenPipeError passes: the reader has left.
    """
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror
    else:
        return
    from watermark.errors import InputError

    raise InputError(f"standard output cannot be written ({reason}); free space or send it elsewhere")


def emit_json(value: Any) -> None:
    """Print one line of JSON. ASCII only, so that what strangers wrote cannot steer a terminal."""
    emit(json.dumps(value, allow_nan=False))


def show_members(values: dict[str, Any], as_json: bool) -> None:
    """Print an object: as JSON, or a member a line for people."""
    if as_json:
        emit_json(values)
        return
    width = max(map(len, values))
    emit("\n".join(f"{name:{width}}  {_plain(value)}" for name, value in values.items()))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return f"{len(value):,} values" if len(value) > 12 else " ".join(map(str, value))
    if value is None:
        return "–"
    return ("no", "yes")[value] if isinstance(value, bool) else printable(value)


def is_quiet(ctx: click.Context) -> bool:
    """Whether -q was given, before or after the command's name."""
    return bool((ctx.find_root().obj or {}).get("quiet"))


def is_verbose(ctx: click.Context) -> bool:
    """Whether -v was given (and not -q)."""
    return bool((ctx.find_root().obj or {}).get("verbose")) and not is_quiet(ctx)


def note(ctx: click.Context, message: object) -> None:
    """A line for people, on stderr."""
    if not is_quiet(ctx):
        click.echo(printable(message), err=True)


def detail(ctx: click.Context, message: object) -> None:
    """A line for people who asked for more (-v)."""
    if is_verbose(ctx):
        click.echo(printable(message), err=True)


def printable(message: object) -> str:
    """One line; what a terminal would obey is spelled out."""
    return one_line(" ".join(str(message).split()), limit=4000)


@contextmanager
def progress(ctx: click.Context, name: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """How far it is, on stderr, as `watermark.progress`; yields a function to call with the units just done."""
    from watermark.progress import counter

    with counter(name, total, unit, quiet=is_quiet(ctx)) as advance:
        yield advance


@contextmanager
def logs_as_notes(ctx: click.Context) -> Iterator[None]:
    """What our packages log becomes notes while the block runs: warnings always, the rest with -v."""
    handler = _Notes(ctx)
    loggers = [logging.getLogger(name) for name in PACKAGES]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


class _Notes(logging.Handler):
    def __init__(self, ctx: click.Context) -> None:
        super().__init__()
        self._ctx = ctx

    def emit(self, record: logging.LogRecord) -> None:
        (note if record.levelno >= logging.WARNING else detail)(self._ctx, record.getMessage())


def refuse_output(*paths: Path | None) -> None:
    """Before work begins: raise InputError where its result could not be written. None: not asked for."""
    from watermark.errors import InputError
    from watermark.files import refuse_existing

    for path in paths:
        if path is None:
            continue
        refuse_existing(path)
        if not path.parent.is_dir():
            raise InputError(f"{path.parent} is not a directory; create it first")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise InputError(f"{path.parent} cannot be written to; choose another place")


@contextmanager
def writing(path: Path, advice: str = "free space or choose another place") -> Iterator[None]:
    """Turn the operating system's errors while `path` is written into one that names it."""
    try:
        yield
        return
    except OSError as error:
        reason = error.strerror or type(error).__name__
    from watermark.errors import InputError

    raise InputError(f"{path} cannot be written ({reason}); {advice}")
