"""The tiny model as a reference, and its tokenizer."""

from __future__ import annotations

from typing import Any

import pytest

from tests import tiny
from watermark.engines.models import load_model, load_tokenizer


@pytest.fixture(scope="module")
def reference() -> Any:
    return load_model(tiny.shared())


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(tiny.shared())
