"""How long work says how far it is: one callback, and a bar on stderr that fits it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int, str], None]
"""Called with (units done, units in all, what is being done)."""


def ignore(done: int, total: int, what: str) -> None:
    """Report to nobody."""


@contextmanager
def bar(name: str, unit: str, *, total: int | None = None, quiet: bool = False) -> Iterator[Progress]:
    """Yield a callback that draws a bar with the time left on stderr, where that is a terminal; cleared at the end."""
    from tqdm import tqdm

    hidden = True if quiet else None  # None: hidden unless stderr is a terminal
    size = shutil.get_terminal_size()  # never 0 × 0, as some pseudo-terminals say: nothing would be drawn
    with tqdm(
        desc=name,
        unit=unit,
        total=total,
        file=sys.stderr,
        leave=False,
        ncols=min(size.columns, 100),
        nrows=size.lines,
        disable=hidden,
    ) as line:

        def show(done: int, total: int, what: str) -> None:
            line.total = total
            line.set_description(f"{name}: {what}" if what else name, refresh=False)
            line.update(done - line.n)

        yield show


@contextmanager
def counter(name: str, total: int, unit: str, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """As `bar`, for work that says how many units it has just done."""
    done = 0
    with bar(name, unit, total=total, quiet=quiet) as show:

        def advance(units: int) -> None:
            nonlocal done
            done += units
            show(done, max(total, done), "")

        yield advance
