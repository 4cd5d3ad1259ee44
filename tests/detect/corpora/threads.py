"""What a worker is asked after its work; it imports nothing that brings threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from watermark.progress import Progress

PLACE = Path("/proc/self/task")


def count(arguments: Mapping[str, Any], report: Progress) -> None:
    """Write how many threads this process has."""
    Path(arguments["file"]).write_text(str(len(list(PLACE.iterdir()))))


def start_one(arguments: Mapping[str, Any], report: Progress) -> None:
    """A thread that stays."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()
