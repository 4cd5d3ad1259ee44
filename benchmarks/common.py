"""What the benchmarks share: CPU seconds, human text that is on every machine, and where results go."""

from __future__ import annotations

import inspect
import json
import pkgutil
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from watermark import Key

RESULTS = Path(__file__).parent / "results"


def cpu_seconds(work: Callable[[], Any], repeats: int = 1) -> float:
    """CPU seconds of one call, the smallest of three rounds of `repeats`, after one call that is not counted."""
    work()
    rounds = []
    for _ in range(3):
        begun = time.process_time()
        for _ in range(repeats):
            work()
        rounds.append((time.process_time() - begun) / repeats)
    return min(rounds)


def docstrings(characters: int) -> list[str]:
    """Docstrings of Python's standard library: human text without a download. One string per module."""
    texts: list[str] = []
    total = 0
    for module in sorted(name for _, name, _ in pkgutil.iter_modules() if name in sys.stdlib_module_names):
        if module in ("antigravity", "this", "idlelib", "turtledemo", "tkinter", "turtle"):
            continue
        text = _module_text(module)
        if text:
            texts.append(text[: characters - total])
            total += len(texts[-1])
        if total >= characters:
            break
    return texts


def _module_text(name: str) -> str:
    try:
        module = import_module(name)
    except Exception:  # a module of another platform
        return ""
    documented = [module, *vars(module).values()]
    methods = [member for thing in documented if inspect.isclass(thing) for member in vars(thing).values()]
    found = dict.fromkeys(inspect.cleandoc(t.__doc__) for t in [*documented, *methods] if isinstance(t.__doc__, str))
    return "\n\n".join(found)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    names = ("torch", "transformers", "numpy", "scipy", "numba", "cryptography")
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    return {
        "processor": cpu or platform.processor(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }


def revision() -> str:
    """Of the code that is measured; "+" where something was changed since that commit. Results do not count."""
    here = Path(__file__).parents[1]
    found = subprocess.run(["git", "-C", here, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    changes = [
        "git",
        "-C",
        here,
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ":!benchmarks/results",
        ":!docs",
    ]
    return found.stdout.strip() + ("+" if subprocess.run(changes, capture_output=True).stdout else "")


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def save(name: str, command: str, result: dict[str, Any]) -> None:
    """Print the result and write results/<name>.json."""
    measured = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "revision": revision(), "machine": machine()}
    record = {"command": command, **measured, **result}
    text = json.dumps(record, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)


def kept(name: str) -> dict[str, Any]:
    """What results/<name>.json holds, and when each part was measured: for a benchmark that is run part by part."""
    path = RESULTS / f"{name}.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    date = record.pop("date", None)
    about = ("command", "revision", "machine", "measured")
    parts = {part: value for part, value in record.items() if part not in about}
    return {**parts, "measured": record.get("measured") or {part: {"date": date} for part in parts}}


def stage_directory(run: Path, name: str) -> Path:
    """Where a finished run of the demo or of `benchmarks.ten_keys` keeps what stage `name` made."""
    (directory,) = (run / "stages").glob(f"{name}-[0-9a-f]*")
    return directory


def vocab_size(key: Key) -> int:
    assert key.tokenizer is not None
    return key.tokenizer.vocab_size
