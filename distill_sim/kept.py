"""What a worker keeps from one stage for the next: an engine takes longer to start than to answer.

It is closed before a stage of another kind begins, whose memory it would take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar


class Closable(Protocol):
    """Something that can be kept."""

    @property
    def is_open(self) -> bool:
        """Whether it can still be used."""

    def close(self) -> None:
        """Let go of what it holds."""


Kept = TypeVar("Kept", bound=Closable)

_kept: tuple[str, str, Any] | None = None  # whose, which one, and the thing itself


def keep(function: str, what: str, make: Callable[[], Kept]) -> Kept:
    """The thing that an earlier stage of the same function kept, or a new one.

    Args:
        function: of the stage, as the pipeline names it.
        what: tells things of one function apart; only the last one is kept.
    """
    global _kept
    if _kept is None or _kept[:2] != (function, what) or not _kept[2].is_open:
        let_go()
        _kept = (function, what, make())
    thing: Kept = _kept[2]
    return thing


def let_go(unless: str | None = None) -> None:
    """Close what is kept, unless it is this function's."""
    global _kept
    if _kept is not None and _kept[0] != unless:
        thing, _kept = _kept[2], None
        thing.close()
