"""Jobs without waiting for disks."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _fast_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is synced: a job writes many small files, and no test pulls the plug."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
