"""What the simulator's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

STUB = Path(__file__).parent / "stub"


@pytest.fixture
def fast_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes find a torch that does nothing: for tasks that need none. This process keeps its own."""
    import torch  # noqa: F401  (before the stub can be found)

    monkeypatch.syspath_prepend(STUB)
