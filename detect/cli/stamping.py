"""`--timestamp`: an authority from outside says that something was there at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path

    from detect.bundles.seal import Stamp

WHERE = "It is sent a digest and nothing else. Needs the extra `timestamp`."


def timestamp_option(what: str) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """--timestamp URL; it arrives as `timestamp`."""
    return click.option("--timestamp", metavar="URL", help=f"{what} {WHERE}")


def authority(url: str | None) -> Stamp | None:
    """Some bytes → an authority's response over them; None: none was given.

    Raises:
        InputError: the address is none, or the library is missing.
    """
    if url is None:
        return None
    from detect.bundles.stamps import refuse_unusable, timestamp

    refuse_unusable(url)
    return partial(timestamp, url)


def stamp_for(ctx: click.Context, url: str | None, case_directory: Path | None) -> Stamp | None:
    """As `authority`, for what a case keeps (UsageError: none was asked for)."""
    if url is not None and case_directory is None:
        raise click.UsageError("--timestamp is kept in a case: give --case", ctx)
    return authority(url)
