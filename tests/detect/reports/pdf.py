"""WeasyPrint where it works: it needs the system library pango, and fails with OSError without it."""

from __future__ import annotations

from typing import Any

import pytest


def weasyprint_or_skip() -> Any:
    """The module; the test is skipped, with the reason, where it or its library is missing."""
    try:
        import weasyprint
    except (ImportError, OSError) as error:
        pytest.skip(f"no PDF can be made here: {type(error).__name__}; taggant[report] and the system library pango")
    return weasyprint
