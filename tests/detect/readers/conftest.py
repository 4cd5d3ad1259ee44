"""The tiny model's tokenizer."""

from __future__ import annotations

from typing import Any

import pytest

from tests import tiny
from watermark.engines.models import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(tiny.shared())
