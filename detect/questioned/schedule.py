"""Which request is asked next, and which count: a rule of numbers, the same whatever the order of arrival.

Counted is the smallest run of requests 0, 1, 2 … whose answers hold the planned number of tokens, or with which a
sequential test stops. Whoever is answered beyond it stays in the log and counts nowhere, so the result depends neither
on how many requests were under way at a time nor on which came back first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

EMPTY_RUN = 50  # that many empty answers in a row: nothing will come
DEFAULT_TOKENS = 20_000  # of answers, where nobody says how many
AHEAD = 64  # how far a request may run ahead of the first that is not answered


@dataclass(frozen=True)
class Budget:
    """What may be spent in all, this run's and earlier runs' answers together; None: no limit.

    Attributes:
        tokens: answer tokens, never exceeded as long as the server heeds the length limit of an answer.
        requests: questions. Those that were tried again after a failure count once.
    """

    tokens: int | None = None
    requests: int | None = None


NO_LIMIT = Budget()


class Schedule:
    """The requests under way, those answered, and which may be asked.

    Args:
        target: answer tokens to collect, fixed beforehand; None: until `stop` says so.
        longest: tokens that one answer may cost.
        ahead: how far a request may run ahead of the first that is not answered.
        stop: called with each request once it and all before it are answered, in their order, until it returns True.
    """

    def __init__(
        self,
        target: int | None,
        longest: int,
        budget: Budget = NO_LIMIT,
        *,
        ahead: int = AHEAD,
        stop: Callable[[int], bool] | None = None,
    ) -> None:
        if target is None and stop is None:
            raise ValueError("asking would never end: give a number of tokens or a rule to stop by")
        self._target, self._longest, self._budget, self._ahead = target, longest, budget, ahead
        self._stop = stop
        self._tokens: dict[int, int] = {}
        self._under_way: set[int] = set()
        self._spent = 0
        self._total = 0
        self._last = -1  # the highest request answered
        self._whole = 0  # requests 0 … whole − 1 are answered
        self._in_whole = 0  # tokens in them
        self._empty = 0  # how many of them, at their end, are empty
        self._counted: int | None = None

    @property
    def counted(self) -> int:
        """How many requests count: the smallest run that is enough, or all of the unbroken run so far."""
        return self._whole if self._counted is None else self._counted

    @property
    def complete(self) -> bool:
        """Whether the target is reached, or `stop` said so."""
        return self._counted is not None

    @property
    def tokens(self) -> int:
        """In the unbroken run so far."""
        return self._in_whole

    @property
    def fruitless(self) -> bool:
        """Whether so many answers in a row were empty that asking on is of no use."""
        return not self.complete and self._empty >= EMPTY_RUN

    def answered(self, request: int, tokens: int, cost: int | None = None) -> None:
        """Request `request` was answered with `tokens` tokens; the server says it cost `cost`."""
        self._under_way.discard(request)
        self._tokens[request] = tokens
        self._total += tokens
        self._last = max(self._last, request)
        self._spent += tokens if cost is None else cost
        while not self.complete and not self.fruitless and self._whole in self._tokens:
            new = self._tokens[self._whole]
            self._in_whole += new
            self._whole += 1
            self._empty = 0 if new else self._empty + 1
            stopped = self._stop is not None and self._stop(self._whole - 1)
            if stopped or self._has_enough(self._in_whole):
                self._counted = self._whole

    def next(self) -> int | None:
        """The next request, now under way; None: none at the moment, and none at all when nothing is under way."""
        if self.complete or self.fruitless:
            return None
        request = self._whole
        while request in self._tokens or request in self._under_way:
            request += 1
        if (request > self._last and self._has_enough(self._total)) or request >= self._whole + self._ahead:
            return None  # what is answered and under way may be enough
        if self._budget.requests is not None and request >= self._budget.requests:
            return None
        at_worst = self._spent + self._longest * (len(self._under_way) + 1)
        if self._budget.tokens is not None and at_worst > self._budget.tokens:
            return None
        self._under_way.add(request)
        return request

    def _has_enough(self, tokens: int) -> bool:
        return self._target is not None and tokens >= self._target
