"""How long work says how far it is: one callback, and what fits it on stderr.

On a terminal that is a bar, cleared at the end. Elsewhere (a log file, a batch system) it is a plain line when the work
begins and at most one a minute while it lasts; the first after ten seconds, where it will take minutes. Quiet work says
nothing.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Progress = Callable[[int, int, str], None]
"""Called with (units done, units in all, what is being done)."""

EVERY = 60.0  # seconds from one plain line to the next, at least
FIRST = 10.0  # seconds, after which the time left is said if that is more than EVERY
WITHOUT_LEFT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}]"
STALLED = 10.0  # seconds without a new unit, after which a bar no longer says what is left
AT_ONCE = 1.0  # seconds; what is done by then is an earlier run's, and tells nothing of this one's pace


def ignore(done: int, total: int, what: str) -> None:
    """Report to nobody."""


@contextmanager
def bar(name: str, unit: str, *, total: int | None = None, quiet: bool = False) -> Iterator[Progress]:
    """Yield a callback that shows on stderr how far the work is, with the time left."""
    if quiet or sys.stderr is None or sys.stderr.closed:
        yield ignore
    elif sys.stderr.isatty():
        with _drawn(name, unit, total) as show:
            yield show
    else:
        yield Lines(name, unit, total).show


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


@contextmanager
def _drawn(name: str, unit: str, total: int | None) -> Iterator[Progress]:
    from tqdm import tqdm

    size = shutil.get_terminal_size()  # never 0 × 0, as some pseudo-terminals say: nothing would be drawn
    with tqdm(
        desc=name,
        unit=unit,
        total=total,
        file=sys.stderr,
        leave=False,
        ncols=min(size.columns, 100),
        nrows=size.lines,
    ) as line:
        new = time.monotonic()  # when the last new unit came

        def show(done: int, total: int, what: str) -> None:
            nonlocal new
            now = time.monotonic()
            new = now if done > line.n else new
            wanted = WITHOUT_LEFT if now - new > STALLED else None
            if line.bar_format != wanted:
                line.bar_format = wanted
                line.refresh()
            line.total = total
            line.set_description(f"{name}: {what}" if what else name, refresh=False)
            line.update(done - line.n)

        yield show


class Lines:
    """Plain lines on stderr. No work fails because they cannot be written.

    Args:
        total: None: the first line comes with the first report.
    """

    def __init__(self, name: str, unit: str, total: int | None = None) -> None:
        self._name = name
        self._begun = self._said = time.monotonic()
        self._from = (self._begun, 0)  # where the pace is measured from, at the last line: a time, and what was done
        self._silent = total is None
        self._new = not self._silent  # the time left was never said
        if total:
            self._say(f"{total:,} {unit}{'' if total == 1 or unit.isupper() else 's'}")  # MB has no plural

    def show(self, done: int, total: int, what: str) -> None:
        """Say how far it is, if that was not done lately."""
        now = time.monotonic()
        if now - self._begun < AT_ONCE:
            self._from = (now, done)
        if self._silent or now - self._said >= EVERY or (self._new and self._is_long(now, done, total)):
            self._silent, self._new, self._said = False, False, now
            parts = [what, "" if not done else f"{min(1.0, done / total):.0%} done", self._left(now, done, total)]
            self._say(", ".join(part for part in parts if part) or "begun")
            self._from = (now, done)

    def _is_long(self, now: float, done: int, total: int) -> bool:
        seconds = self._seconds_left(now, done, total)
        return now - self._from[0] >= FIRST and seconds is not None and seconds > EVERY

    def _left(self, now: float, done: int, total: int) -> str:
        """ "about 3 minutes left"; nothing where the pace is not known."""
        seconds = self._seconds_left(now, done, total)
        return "" if seconds is None else f"about {in_words(seconds)} left"

    def _seconds_left(self, now: float, done: int, total: int) -> float | None:
        since, before = self._from
        if done <= before or done >= total:
            return None
        return (now - since) / (done - before) * (total - done)

    def _say(self, text: str) -> None:
        with suppress(OSError, ValueError):  # full, or closed
            print(f"{self._name}: {text}", file=sys.stderr, flush=True)


def in_words(seconds: float) -> str:
    """ "40 seconds", "3 minutes", "2.5 hours": for people, who need no more."""
    if seconds < 60:
        number, unit = f"{seconds:.0f}", "second"
    elif seconds < 3600:
        number, unit = f"{seconds / 60:.0f}", "minute"
    else:
        number, unit = f"{seconds / 3600:.1f}".removesuffix(".0"), "hour"
    return f"{number} {unit}{'' if number == '1' else 's'}"
