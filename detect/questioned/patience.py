"""How long a server is waited for, and how long between attempts. Nothing of a result depends on it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds between attempts, doubled each time
GRACE = 1.0  # seconds for an attempt that begins when patience ends
REMEDIES = (
    "is the server up at that address? One that queues requests wants a lower --concurrency, a slow one more time: "
    "raise --give-up-after, and --timeout with it"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How much a server may be asked at a time, and how long it is waited for.

    Attributes:
        concurrency: requests under way at a time.
        timeout: seconds for one attempt.
        give_up_after: seconds without any answer, however long an attempt may take; 0: nothing is tried again.
    """

    concurrency: int = 4
    timeout: float = 120.0
    give_up_after: float = 300.0


class Transient(Exception):
    """An attempt failed for a reason that may pass."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait  # seconds the server asks to wait


class OutOfPatience(Exception):
    """There was no answer for too long, or would be; says so in words."""


class Waiting:
    """The pauses of one run, shared by all requests under way.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, patience: Patience, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._clock = patience, clock
        self._closed_until = 0.0  # the server asked for a pause: no attempt begins earlier
        self.begin()

    def begin(self) -> None:
        """The run begins, or an answer came: be patient anew."""
        self._deadline = self._clock() + self._patience.give_up_after
        self._complained = False
        self._failure: Transient | None = None  # the last one since

    def seconds_left(self) -> float | None:
        """How long requests under way may still go without an answer; None: as long as an attempt may take."""
        if not self._patience.give_up_after:
            return None
        return max(0.0, self._deadline + GRACE - self._clock())

    def give_up(self) -> OutOfPatience:
        """What to raise when there was no answer for too long."""
        waited = self._clock() - self._deadline + self._patience.give_up_after
        last = "requests are under way, and nothing comes back" if self._failure is None else f"last: {self._failure}"
        return OutOfPatience(f"no answer for {waited:.0f} s ({last}); {REMEDIES}")

    def seconds_closed(self) -> float:
        """How long the server still wants to be left alone."""
        return max(0.0, self._closed_until - self._clock())

    def pause(self, failure: Transient, attempt: int) -> float:
        """Seconds to the next attempt, after `attempt` earlier ones: doubling, with jitter; never less than asked for.

        Raises:
            OutOfPatience: there was no answer for too long, or the server wants a pause that is too long.
        """
        self._failure = failure
        left = self._deadline - self._clock()
        if left <= 0:
            raise self.give_up()
        if failure.wait is not None and failure.wait > left:
            raise OutOfPatience(
                f"the server asks to wait {failure.wait:.0f} s, longer than --give-up-after allows ({failure}); "
                "come back then, or raise it"
            )
        if not self._complained:
            self._complained = True
            _log.warning("no answer at the moment (%s); trying again for up to %.0f s", failure, left)
        if failure.wait is not None:
            self._closed_until = max(self._closed_until, self._clock() + failure.wait)
        doubled = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt, 16))
        jittered = doubled * random.uniform(0.5, 1)  # noqa: S311 (no secret)
        return min(max(jittered, failure.wait or 0.0), left)


def retry_after(value: str) -> float | None:
    """Seconds that a Retry-After header asks to wait: a number, or a date (RFC 9110). None: it says neither."""
    try:
        seconds = float(value)
    except ValueError:
        pass
    else:
        return max(0.0, min(seconds, 1e9))
    try:
        until = parsedate_to_datetime(value.strip())
    except ValueError:
        return None
    wait = until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)
    return max(0.0, wait.total_seconds())
