"""tools/verify_bundle.py as a module: it is no part of any package."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

FILE = Path(__file__).parents[2] / "tools" / "verify_bundle.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_bundle", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


second: Any = _load()


def outcome_of(source: Path | dict[str, bytes], trust: Sequence[bytes] = (), roots: Sequence[bytes] = ()) -> str:
    """What it says last: "PASSED: ..." or "FAILED: <check>: <reason>"."""
    return str(list(second.verify(source, trust, roots))[-1])


def check_of(source: Path | dict[str, bytes], trust: Sequence[bytes] = (), roots: Sequence[bytes] = ()) -> str:
    """ "passed", or the check that failed."""
    said, check, *_ = outcome_of(source, trust, roots).split()
    return "passed" if said == "PASSED:" else check.rstrip(":")
