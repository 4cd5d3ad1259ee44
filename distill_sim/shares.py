"""What a share is: the one check for attacks and for what is done to weights."""

from __future__ import annotations

from watermark.errors import InputError


def check_share(share: float) -> None:
    """Raises InputError unless `share` lies inside (0, 1)."""
    if not 0 < share < 1:
        raise InputError(f"a share lies between 0 and 1, not at {share}")
