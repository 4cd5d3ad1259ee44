"""What the tests of detect/ share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    """For those who ask a server: short pauses, and no addresses, keys and proxies of the developer's."""
    from detect.questioned import patience

    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.01)
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "TAGGANT_")) or "proxy" in name.lower():
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def compiled_colours() -> Iterator[None]:
    """The compiled colouring from the first pair on, for thousands of keys; one torch thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("watermark.chacha.NUMBA_FROM", 1)
        yield
    torch.set_num_threads(threads)
