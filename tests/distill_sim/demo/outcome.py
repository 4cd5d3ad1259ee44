"""What a demo's directory says, and what it must not say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distill_sim.demo import keys
from distill_sim.pipeline import Event
from watermark.keys import Key, derive

EVIDENCE = ("teacher_marked", "teacher_unmarked", "student", "control", "fluency", "key", "commitment", "condition")


def nobody(event: Event) -> None:
    """An event that nobody looks at."""


def summary(root: Path) -> Any:
    return json.loads((root / "summary.json").read_text())


def evidence(root: Path) -> Any:
    return {name: summary(root)[name] for name in EVIDENCE}


def secrets(root: Path) -> list[bytes]:
    """Everything that must not be seen, in the spellings it might have."""
    raw = []
    for path in (root / "keys").glob("*.key"):
        key = Key.load(path)
        raw += [key._secret, key.chacha_key]
    raw.append(derive(Key.load(root / "keys" / "owner.key")._secret, "account", keys.ACCOUNT))
    return [*raw, *(r.hex().encode() for r in raw), *(r.hex().upper().encode() for r in raw)]
